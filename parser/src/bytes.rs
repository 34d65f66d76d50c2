//! Which bytes belong to which rule of the grammars: one table, one bit per rule.

/// `tchar` (RFC 9110 §5.6.2).
pub(crate) const TOKEN: u8 = 1;
/// Unreserved characters of a URI (RFC 3986 §2.3).
pub(crate) const UNRESERVED: u8 = 2;
/// A byte that a URI path may hold as it is: neither escaped nor to be escaped, refused or judged.
pub(crate) const PLAIN_PATH: u8 = 4;
/// A byte of a field value: HTAB, SP, VCHAR, obs-text (RFC 9110 §5.5).
pub(crate) const VALUE: u8 = 8;
/// A byte of a request target, as far as the request line is concerned: VCHAR and obs-text.
pub(crate) const TARGET: u8 = 16;
/// Inside a quoted-string, unescaped (RFC 9110 §5.6.4).
pub(crate) const QDTEXT: u8 = 32;
/// `/` alone, and `/` or `.`: two of these in a row need a closer look at the path.
pub(crate) const SLASH: u8 = 64;
pub(crate) const SLASH_OR_DOT: u8 = 128;

pub(crate) static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = class(i as u8);
        i += 1;
    }
    table
}

const fn class(b: u8) -> u8 {
    let mut bits = 0;
    let alnum = b.is_ascii_alphanumeric();
    let is_visible = b > b' ' && b != 0x7f;
    if alnum || is_one_of(b, b"!#$%&'*+-.^_`|~") {
        bits |= TOKEN;
    }
    if alnum || is_one_of(b, b"-._~") {
        bits |= UNRESERVED;
    }
    if is_visible && b < 0x80 && !is_one_of(b, b"%#\\?") {
        bits |= PLAIN_PATH;
    }
    if is_visible || b == b' ' || b == b'\t' {
        bits |= VALUE;
        if b != b'"' && b != b'\\' {
            bits |= QDTEXT;
        }
    }
    if is_visible {
        bits |= TARGET;
    }
    if b == b'/' {
        bits |= SLASH;
    }
    if b == b'/' || b == b'.' {
        bits |= SLASH_OR_DOT;
    }
    bits
}

const fn is_one_of(b: u8, set: &[u8]) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == b {
            return true;
        }
        i += 1;
    }
    false
}

#[inline]
pub(crate) fn is(b: u8, class: u8) -> bool {
    CLASS[b as usize] & class != 0
}

/// The place of the first byte outside `class`.
#[inline]
pub(crate) fn first_outside(bytes: &[u8], class: u8) -> Option<usize> {
    bytes.iter().position(|&b| !is(b, class))
}

/// One or more `tchar`.
#[inline]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is(b, TOKEN))
}

#[inline]
pub(crate) const fn is_ows(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// Without the optional white space around it (RFC 9110 §5.6.3: SP and HTAB only).
#[inline]
pub(crate) fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_ows(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_ows(*last)
    {
        bytes = rest;
    }
    bytes
}

/// The value of one hex digit.
#[inline]
pub(crate) const fn hex_value(b: u8) -> Option<u8> {
    match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_rfc_9110_tchars_and_nothing_else() {
        let tchars = (0..=255u8).filter(|&b| is(b, TOKEN)).count();
        assert_eq!(tchars, 26 + 26 + 10 + 15);
        for b in b"()<>@,;:\\\"/[]?={} \t\x7f\x80" {
            assert!(!is(*b, TOKEN), "{b}");
        }
    }

    #[test]
    fn white_space_is_trimmed_on_both_sides_and_only_sp_and_htab() {
        assert_eq!(trim_ows(b" \ta b\t "), b"a b");
        assert_eq!(trim_ows(b" \t "), b"");
        assert_eq!(trim_ows(b"\x0ba"), b"\x0ba");
    }
}
