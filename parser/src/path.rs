//! One canonical form of a path, in which it is routed and authorised.
//!
//! Escapes of unreserved characters are decoded, hex digits of the others are upper-case, bytes
//! from 0x80 on count as their escapes, dot segments (escaped ones too) are resolved, and then
//! `//` is merged. What is *sent* is the path as it came, unless it held dot segments or `//`:
//! then it is the canonical form, so that gateway and service can't disagree about it.

use crate::bytes::{self, CLASS, PLAIN_PATH, SLASH, SLASH_OR_DOT, UNRESERVED};
use crate::error::{ErrorKind, ParseError};
use crate::words;

/// Where the canonical form is, and what is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Canonical {
    /// The path as received is canonical. The output holds nothing of use.
    AsIs,
    /// The output holds the canonical form; the path as received is sent.
    Decoded,
    /// The output holds the canonical form, and that is sent.
    Rewritten,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathFacts {
    pub canonical: Canonical,
    /// `%2F` or `%5C` occurred (only with `encoded_slash_keep`, else it is refused).
    pub had_encoded_slash: bool,
    pub had_double_slash: bool,
}

/// What a route may relax.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PathOptions {
    /// `%2F` and `%5C` stay, encoded. Dot segments are then judged with them as separators too.
    pub encoded_slash_keep: bool,
    /// `//` stays.
    pub slashes_keep: bool,
}

/// The canonical form of `raw`, a path without its query. `out` is overwritten, never read; its
/// storage is reused. An empty path means `/`, and `*` (of `OPTIONS *`) is canonical.
///
/// Fast path: one pass over a path that has nothing to decode or to judge.
#[inline]
pub fn canonical(
    raw: &[u8],
    options: PathOptions,
    out: &mut Vec<u8>,
) -> Result<PathFacts, ParseError> {
    if is_plain(raw) {
        return Ok(PathFacts {
            canonical: Canonical::AsIs,
            had_encoded_slash: false,
            had_double_slash: false,
        });
    }
    full(raw, options, out)
}

/// Begins with `/`, holds plain bytes only, and no `/` is followed by `/` or `.`.
#[inline]
pub(crate) fn is_plain(raw: &[u8]) -> bool {
    if raw.first() != Some(&b'/') {
        return false;
    }
    let Some(last) = raw.last_chunk() else { return is_plain_by_bytes(raw) };
    // Words begin seven bytes apart, so that each two neighbours are together in one.
    let mut rest = raw;
    while let Some(word) = rest.first_chunk() {
        if !words::is_plain_path(u64::from_le_bytes(*word)) {
            return false;
        }
        rest = &rest[7..];
    }
    words::is_plain_path(u64::from_le_bytes(*last))
}

#[inline]
fn is_plain_by_bytes(raw: &[u8]) -> bool {
    let mut all = PLAIN_PATH;
    let mut pairs = 0;
    let mut before = 0;
    for &b in raw {
        let class = CLASS[b as usize];
        all &= class;
        // SLASH is one bit below SLASH_OR_DOT.
        pairs |= (before << 1) & class;
        before = class & SLASH;
    }
    all != 0 && pairs & SLASH_OR_DOT == 0
}

fn full(raw: &[u8], options: PathOptions, out: &mut Vec<u8>) -> Result<PathFacts, ParseError> {
    out.clear();
    let mut facts =
        PathFacts { canonical: Canonical::AsIs, had_encoded_slash: false, had_double_slash: false };
    match raw {
        b"" => {
            out.push(b'/');
            return Ok(PathFacts { canonical: Canonical::Rewritten, ..facts });
        }
        b"*" => return Ok(facts),
        [b'/', ..] => {}
        _ => return Err(ParseError::new(ErrorKind::BadTarget, 0)),
    }
    let mut had_dots = false;
    let mut start = 1;
    loop {
        let len = memchr::memchr(b'/', &raw[start..]);
        let end = len.map_or(raw.len(), |len| start + len);
        let is_last = len.is_none();
        out.push(b'/');
        let segment_at = out.len();
        facts.had_encoded_slash |=
            decode(&raw[start..end], options, out).map_err(|error| error.moved(start))?;
        facts.had_double_slash |= !is_last && start == end;
        let refuse = |kind| Err(ParseError::new(kind, start));
        match judge(&out[segment_at..]) {
            Dots::None => {}
            Dots::Parameter => return refuse(ErrorKind::DotParameter),
            Dots::BesideSlash => return refuse(ErrorKind::EncodedDots),
            dots => {
                had_dots = true;
                out.truncate(segment_at - 1);
                if dots == Dots::Two && !pop_segment(out) {
                    return refuse(ErrorKind::AboveRoot);
                }
                if is_last {
                    out.push(b'/');
                }
            }
        }
        if is_last {
            break;
        }
        start = end + 1;
    }
    if facts.had_double_slash && !options.slashes_keep {
        out.dedup_by(|b, a| *a == b'/' && *b == b'/');
    }
    facts.canonical = if had_dots || (facts.had_double_slash && !options.slashes_keep) {
        Canonical::Rewritten
    } else if out == raw {
        Canonical::AsIs
    } else {
        Canonical::Decoded
    };
    Ok(facts)
}

fn pop_segment(out: &mut Vec<u8>) -> bool {
    match memchr::memrchr(b'/', out) {
        Some(at) => {
            out.truncate(at);
            true
        }
        None => false,
    }
}

/// Appends one segment in canonical form. `true`: it held an encoded slash or backslash.
fn decode(raw: &[u8], options: PathOptions, out: &mut Vec<u8>) -> Result<bool, ParseError> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut had_slash = false;
    let mut at = 0;
    while let Some(&b) = raw.get(at) {
        let refuse = |kind| Err(ParseError::new(kind, at));
        if bytes::is(b, PLAIN_PATH) {
            out.push(b);
            at += 1;
            continue;
        }
        let value = match b {
            b'%' => {
                let digit = |i| raw.get(i).copied().and_then(bytes::hex_value);
                let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
                    return refuse(ErrorKind::BadPercent);
                };
                high << 4 | low
            }
            b'\\' => return refuse(ErrorKind::Backslash),
            0x80.. => b,
            _ => return refuse(ErrorKind::PathByte),
        };
        match value {
            0 => return refuse(ErrorKind::EncodedNul),
            b'/' | b'\\' if !options.encoded_slash_keep => {
                return refuse(ErrorKind::EncodedSlash);
            }
            b'/' | b'\\' => had_slash = true,
            _ => {}
        }
        if b == b'%' && bytes::is(value, UNRESERVED) {
            out.push(value);
        } else {
            out.extend([b'%', HEX[value as usize >> 4], HEX[value as usize & 15]]);
        }
        at += if b == b'%' { 3 } else { 1 };
    }
    Ok(had_slash)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dots {
    None,
    One,
    Two,
    /// `..;x`: some servers cut a segment at its parameters.
    Parameter,
    /// `a%2F..`: a dot segment for servers that decode the slash.
    BesideSlash,
}

/// What a canonical segment is to whoever looks for dots in it.
fn judge(segment: &[u8]) -> Dots {
    match segment {
        b"." => return Dots::One,
        b".." => return Dots::Two,
        _ if !segment.contains(&b'.') => return Dots::None,
        _ => {}
    }
    let mut rest = segment;
    let mut had_slash = false;
    loop {
        let cut = rest.windows(3).position(|w| w == b"%2F" || w == b"%5C");
        let part = &rest[..cut.unwrap_or(rest.len())];
        had_slash |= cut.is_some();
        if matches!(without_parameters(part), b"." | b"..") {
            return if had_slash { Dots::BesideSlash } else { Dots::Parameter };
        }
        match cut {
            Some(cut) => rest = &rest[cut + 3..],
            None => return Dots::None,
        }
    }
}

/// Up to the first `;` or `%3B`.
fn without_parameters(part: &[u8]) -> &[u8] {
    let end = (0..part.len()).find(|&i| part[i] == b';' || part[i..].starts_with(b"%3B"));
    &part[..end.unwrap_or(part.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use Canonical::{AsIs, Decoded, Rewritten};

    const STRICT: PathOptions = PathOptions { encoded_slash_keep: false, slashes_keep: false };
    const SLASHES: PathOptions = PathOptions { encoded_slash_keep: false, slashes_keep: true };
    const ENCODED: PathOptions = PathOptions { encoded_slash_keep: true, slashes_keep: false };

    fn read(raw: &str, options: PathOptions) -> Result<(Canonical, String), ErrorKind> {
        let mut out = b"/left/over".to_vec();
        let facts = canonical(raw.as_bytes(), options, &mut out).map_err(|error| error.kind)?;
        let path = if facts.canonical == AsIs { raw.as_bytes() } else { &out };
        Ok((facts.canonical, String::from_utf8(path.to_vec()).expect("a canonical path is ASCII")))
    }

    fn check(options: PathOptions, rows: &[(&str, Canonical, &str)]) {
        for &(raw, canonical, path) in rows {
            assert_eq!(read(raw, options), Ok((canonical, path.to_owned())), "{raw}");
        }
    }

    fn refuse(options: PathOptions, rows: &[(&str, ErrorKind)]) {
        for &(raw, kind) in rows {
            assert_eq!(read(raw, options), Err(kind), "{raw}");
        }
    }

    #[test]
    fn a_canonical_path_is_left_alone() {
        for raw in
            ["/", "/a", "/a/", "/a.b/c", "/.a/..b/...", "/a;b=c/d", "/%2C%20", "/a:@!$&'()*+,;="]
        {
            check(STRICT, &[(raw, AsIs, raw)]);
        }
    }

    #[test]
    fn unreserved_escapes_are_decoded_and_others_upper_case_but_the_path_is_sent_as_it_came() {
        check(
            STRICT,
            &[
                ("/%41%7e%2D", Decoded, "/A~-"),
                ("/%c3%a9", Decoded, "/%C3%A9"),
                ("/\u{e9}", Decoded, "/%C3%A9"),
                ("/a%3ab", Decoded, "/a%3Ab"),
                ("/%252e%252E", AsIs, "/%252e%252E"),
                ("/%2ea", Decoded, "/.a"),
            ],
        );
    }

    #[test]
    fn dot_segments_and_double_slashes_are_removed_and_the_result_is_sent() {
        check(
            STRICT,
            &[
                ("/a/./b", Rewritten, "/a/b"),
                ("/a/../b", Rewritten, "/b"),
                ("/a/b/..", Rewritten, "/a/"),
                ("/a/.", Rewritten, "/a/"),
                ("/.", Rewritten, "/"),
                ("/a/%2e%2E/b", Rewritten, "/b"),
                ("/a/.%2e/%7e", Rewritten, "/~"),
                ("//", Rewritten, "/"),
                ("//a///b//", Rewritten, "/a/b/"),
                ("/a//../b", Rewritten, "/a/b"),
                ("/a/..//b", Rewritten, "/b"),
                ("", Rewritten, "/"),
            ],
        );
    }

    #[test]
    fn what_others_could_read_as_another_path_is_refused() {
        refuse(
            STRICT,
            &[
                ("/a%2Fb", ErrorKind::EncodedSlash),
                ("/a%5cb", ErrorKind::EncodedSlash),
                ("/a%00", ErrorKind::EncodedNul),
                ("/a\\b", ErrorKind::Backslash),
                ("/a%", ErrorKind::BadPercent),
                ("/a%4", ErrorKind::BadPercent),
                ("/a%4g", ErrorKind::BadPercent),
                ("/a%/41", ErrorKind::BadPercent),
                ("/a#b", ErrorKind::PathByte),
                ("/a?b", ErrorKind::PathByte),
                ("/a b", ErrorKind::PathByte),
                ("/a\tb", ErrorKind::PathByte),
                ("/..", ErrorKind::AboveRoot),
                ("/a/../..", ErrorKind::AboveRoot),
                ("/%2e%2e/a", ErrorKind::AboveRoot),
                ("/..;x", ErrorKind::DotParameter),
                ("/a/.;/b", ErrorKind::DotParameter),
                ("/a/..%3bx", ErrorKind::DotParameter),
                ("/a/%2e%2e%3B", ErrorKind::DotParameter),
                ("a", ErrorKind::BadTarget),
                ("*a", ErrorKind::BadTarget),
            ],
        );
        check(STRICT, &[("/...;x", AsIs, "/...;x"), ("/a..;x", AsIs, "/a..;x")]);
    }

    #[test]
    fn kept_slashes_stay_empty_segments() {
        check(
            SLASHES,
            &[
                ("//a//b", AsIs, "//a//b"),
                ("//%41", Decoded, "//A"),
                ("/a//../b", Rewritten, "/a/b"),
                ("/a//./b", Rewritten, "/a//b"),
            ],
        );
        refuse(SLASHES, &[("/a%2Fb", ErrorKind::EncodedSlash)]);
    }

    #[test]
    fn kept_encoded_slashes_stay_encoded_and_separate_dots() {
        check(
            ENCODED,
            &[
                ("/a%2Fb", AsIs, "/a%2Fb"),
                ("/a%2fb%5c", Decoded, "/a%2Fb%5C"),
                ("/a%2Fb/../c", Rewritten, "/c"),
                ("/a%2F..b", AsIs, "/a%2F..b"),
                ("/a%2F%2Fb", AsIs, "/a%2F%2Fb"),
            ],
        );
        refuse(
            ENCODED,
            &[
                ("/a%2F..", ErrorKind::EncodedDots),
                ("/a%2f%2e%2e%2fb", ErrorKind::EncodedDots),
                ("/..%5Ca", ErrorKind::EncodedDots),
                ("/.%2Fa", ErrorKind::EncodedDots),
                ("/a%2F..;x", ErrorKind::EncodedDots),
                ("/a%00", ErrorKind::EncodedNul),
                ("/a\\b", ErrorKind::Backslash),
            ],
        );
    }

    #[test]
    fn facts_tell_what_there_was_and_errors_where() {
        let mut out = Vec::new();
        let facts = canonical(b"/a%2F//b", ENCODED, &mut out).expect("good");
        assert!(facts.had_encoded_slash && facts.had_double_slash);
        let error = canonical(b"/ab/c%2F", STRICT, &mut out).expect_err("an encoded slash");
        assert_eq!((error.kind, error.at), (ErrorKind::EncodedSlash, 5));
    }
}
