//! What a value must lose or change to stand in its place.

use super::Place;

/// How bytes are escaped: a `Place`, told apart further by what the value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escape {
    DropControls,
    /// All but unreserved characters.
    Percent,
    /// A piece of a canonical path: escapes and what may stand in a path stay.
    PercentPath,
    PercentQuery,
    /// A piece of a canonical path within a query, where it ends no parameter.
    PercentPathInQuery,
    PercentHost,
    Html,
    Json,
}

impl Place {
    pub(super) fn plain(self) -> Escape {
        match self {
            Place::FieldValue | Place::Text => Escape::DropControls,
            Place::Uri | Place::Path | Place::Query => Escape::Percent,
            // With its port. What is no host then is refused.
            Place::Host => Escape::PercentHost,
            Place::Html => Escape::Html,
            Place::Json => Escape::Json,
        }
    }

    pub(super) fn for_path(self) -> Escape {
        match self {
            Place::Uri | Place::Path => Escape::PercentPath,
            Place::Query => Escape::PercentPathInQuery,
            place => place.plain(),
        }
    }

    pub(super) fn for_query(self) -> Escape {
        match self {
            Place::Uri | Place::Query => Escape::PercentQuery,
            place => place.plain(),
        }
    }

    pub(super) fn for_host(self) -> Escape {
        match self {
            Place::Uri | Place::Query => Escape::PercentHost,
            place => place.plain(),
        }
    }
}

/// Appends `value`.
pub(super) fn escape(value: &[u8], how: Escape, out: &mut Vec<u8>) {
    match how {
        Escape::DropControls => out.extend(value.iter().filter(|b| !b.is_ascii_control())),
        Escape::Html => text(value, out, html),
        Escape::Json => text(value, out, json),
        Escape::Percent => percent(value, out, b""),
        // RFC 3986 §3.3: pchar, `/`, and escapes that the path already has.
        Escape::PercentPath => percent(value, out, b"!$&'()*+,;=:@/%"),
        Escape::PercentPathInQuery => percent(value, out, b"!$'()*,:@/%"),
        Escape::PercentQuery => percent(value, out, b"!$&'()*+,;=:@/?%[]"),
        Escape::PercentHost => percent(value, out, b":[]"),
    }
}

/// Appends `value` without its percent-encoding.
pub(super) fn escape_decoded(value: &[u8], how: Escape, out: &mut Vec<u8>) {
    match how {
        // These look at characters.
        Escape::Html | Escape::Json => escape(&decoded(value).collect::<Vec<u8>>(), how, out),
        _ => decoded(value).for_each(|b| escape(&[b], how, out)),
    }
}

fn percent(value: &[u8], out: &mut Vec<u8>, keep: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &b in value {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) || keep.contains(&b) {
            out.push(b);
        } else {
            out.extend([b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        }
    }
}

/// Characters through `one`; what is not UTF-8 becomes U+FFFD, so that a reader who guesses
/// another encoding finds no quote in it.
fn text(value: &[u8], out: &mut Vec<u8>, one: fn(u8, &mut Vec<u8>)) {
    for chunk in value.utf8_chunks() {
        chunk.valid().bytes().for_each(|b| one(b, out));
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn html(b: u8, out: &mut Vec<u8>) {
    match b {
        b'&' => out.extend_from_slice(b"&amp;"),
        b'<' => out.extend_from_slice(b"&lt;"),
        b'>' => out.extend_from_slice(b"&gt;"),
        b'"' => out.extend_from_slice(b"&quot;"),
        b'\'' => out.extend_from_slice(b"&#39;"),
        b'\n' | b'\t' => out.push(b),
        b if b.is_ascii_control() => {}
        b => out.push(b),
    }
}

/// Also safe within a `<script>` and between single quotes.
fn json(b: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match b {
        b'"' | b'\\' => out.extend([b'\\', b]),
        b'<' | b'>' | b'&' | b'\'' | 0..=0x1f | 0x7f => {
            out.extend_from_slice(b"\\u00");
            out.extend([HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        }
        b => out.push(b),
    }
}

/// Without percent-encoding; a `%` that begins no escape stands for itself.
pub(super) fn decoded(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let b = *text.get(at)?;
        let hex = |i: usize| text.get(i).and_then(|b| char::from(*b).to_digit(16));
        if b == b'%'
            && let Some((high, low)) = hex(at + 1).zip(hex(at + 2))
        {
            at += 3;
            return Some((high << 4 | low) as u8);
        }
        at += 1;
        Some(b)
    })
}
