//! A path pattern as text, its pieces, or the byte at which it goes wrong.

use super::PARAMS_MAX;

/// Longest pattern. Positions in one fit in 16 bits (`trie.rs`); targets are not longer by far.
pub const PATTERN_BYTES_MAX: usize = 4096;

/// Why a path is no pattern. The byte that comes with it is where to point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternError {
    NoLeadingSlash,
    /// More than [`PATTERN_BYTES_MAX`].
    TooLong,
    /// `//` does not occur in canonical paths.
    EmptySegment,
    /// `.`, `..`, also before `;`: canonical paths have none.
    DotSegment,
    /// Must be written as an escape: controls, spaces, `?`, `#`, `"`, anything beyond ASCII.
    BadByte,
    /// Not two upper-case hex digits, or the escape of an unreserved character or of NUL.
    BadEscape,
    /// Text beside `{name}` or `*` within one segment.
    MixedSegment,
    /// Not `[A-Za-z_][A-Za-z0-9_-]*`.
    BadName,
    DuplicateName,
    /// `*` or `{*rest}` before the last segment.
    RestNotLast,
    /// More than [`PARAMS_MAX`].
    TooManyParams,
}

/// One piece of a pattern, from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Static segments, each with the slash before it.
    Static(&'a str),
    /// One segment and the slash before it.
    Param(&'a str),
    /// Nothing, or a slash and all that follows.
    Rest(&'a str),
}

/// The names of a pattern's params in their order, `"*"` for a bare rest; or the first mistake
/// and the byte at which it is.
pub fn check_pattern(path: &str) -> Result<Vec<&str>, (PatternError, usize)> {
    let names = pieces(path)?.into_iter().filter_map(|piece| match piece {
        Piece::Static(_) => None,
        Piece::Param(name) | Piece::Rest(name) => Some(name),
    });
    Ok(names.collect())
}

pub(super) fn pieces(path: &str) -> Result<Vec<Piece<'_>>, (PatternError, usize)> {
    if !path.starts_with('/') {
        return Err((PatternError::NoLeadingSlash, 0));
    }
    if path.len() > PATTERN_BYTES_MAX {
        return Err((PatternError::TooLong, PATTERN_BYTES_MAX));
    }
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let mut static_from = 0;
    let mut at = 1;
    for segment in path[1..].split('/') {
        let end = at + segment.len();
        let is_last = end == path.len();
        let found = template(segment).map_err(|(error, byte)| (error, at + byte))?;
        if let Some((piece, name, name_at)) = found {
            if matches!(piece, Piece::Rest(_)) && !is_last {
                return Err((PatternError::RestNotLast, at));
            }
            if names.contains(&name) {
                return Err((PatternError::DuplicateName, at + name_at));
            }
            if names.len() == PARAMS_MAX {
                return Err((PatternError::TooManyParams, at));
            }
            names.push(name);
            if static_from < at - 1 {
                pieces.push(Piece::Static(&path[static_from..at - 1]));
            }
            pieces.push(piece);
            static_from = end;
        } else {
            check_static(segment, is_last).map_err(|(error, byte)| (error, at + byte))?;
        }
        at = end + 1;
    }
    if static_from < path.len() {
        pieces.push(Piece::Static(&path[static_from..]));
    }
    Ok(pieces)
}

type Template<'a> = (Piece<'a>, &'a str, usize);

/// The piece, its name and the name's place when `segment` is `{name}`, `*` or `{*rest}`; `None`
/// when it is static.
fn template(segment: &str) -> Result<Option<Template<'_>>, (PatternError, usize)> {
    if segment == "*" {
        return Ok(Some((Piece::Rest(segment), segment, 0)));
    }
    let Some(mark) = segment.find(['{', '}', '*']) else {
        return Ok(None);
    };
    let inner = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}'));
    let Some(inner) = inner else {
        return Err((PatternError::MixedSegment, mark));
    };
    let is_rest = inner.starts_with('*');
    let name_at = 1 + usize::from(is_rest);
    let name = &inner[name_at - 1..];
    if let Some(brace) = name.find(['{', '}']) {
        return Err((PatternError::MixedSegment, name_at + brace));
    }
    let is_named =
        |(i, b): (usize, u8)| b.is_ascii_alphabetic() || b == b'_' || i > 0 && is_tail(b);
    match name.bytes().enumerate().position(|b| !is_named(b)) {
        Some(bad) => Err((PatternError::BadName, name_at + bad)),
        None if name.is_empty() => Err((PatternError::BadName, name_at)),
        None if is_rest => Ok(Some((Piece::Rest(name), name, name_at))),
        None => Ok(Some((Piece::Param(name), name, name_at))),
    }
}

const fn is_tail(b: u8) -> bool {
    b.is_ascii_digit() || b == b'-'
}

/// Whether `segment` can occur in a canonical path (`parser::path`).
fn check_static(segment: &str, is_last: bool) -> Result<(), (PatternError, usize)> {
    if segment.is_empty() {
        return if is_last { Ok(()) } else { Err((PatternError::EmptySegment, 0)) };
    }
    let bytes = segment.as_bytes();
    let cut = (0..bytes.len()).find(|&i| bytes[i] == b';' || bytes[i..].starts_with(b"%3B"));
    if matches!(&bytes[..cut.unwrap_or(bytes.len())], b"." | b"..") {
        return Err((PatternError::DotSegment, 0));
    }
    let mut at = 0;
    while at < bytes.len() {
        let b = bytes[at];
        if b == b'%' {
            let high = bytes.get(at + 1).copied().and_then(upper_hex);
            let low = bytes.get(at + 2).copied().and_then(upper_hex);
            match high.zip(low).map(|(high, low)| high << 4 | low) {
                Some(value) if value != 0 && !is_unreserved(value) => at += 3,
                _ => return Err((PatternError::BadEscape, at)),
            }
        } else if is_unreserved(b) || b"!$&'()+,;=:@".contains(&b) {
            at += 1;
        } else {
            return Err((PatternError::BadByte, at));
        }
    }
    Ok(())
}

/// RFC 3986 §2.3.
const fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

const fn upper_hex(b: u8) -> Option<u8> {
    match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_stand_give_the_names_of_their_params() {
        let rows: &[(&str, &[&str])] = &[
            ("/", &[]),
            ("/*", &["*"]),
            ("/users", &[]),
            ("/users/", &[]),
            ("/users/{id}", &["id"]),
            ("/users/{id}/", &["id"]),
            ("/{a}/{_b}/{c-1}", &["a", "_b", "c-1"]),
            ("/files/*", &["*"]),
            ("/files/{*rest}", &["rest"]),
            ("/{a}/{*b}", &["a", "b"]),
            ("/a;b=c/d:e@f/!$&'()+,=", &[]),
            ("/caf%C3%A9/%2F", &[]),
            ("/.well-known/...", &[]),
        ];
        for (path, names) in rows {
            assert_eq!(check_pattern(path).as_deref(), Ok(*names), "{path}");
        }
    }

    #[test]
    fn mistakes_are_found_at_their_byte() {
        use PatternError::*;
        let rows = [
            ("", NoLeadingSlash, 0),
            ("*", NoLeadingSlash, 0),
            ("users", NoLeadingSlash, 0),
            ("//", EmptySegment, 1),
            ("/a//b", EmptySegment, 3),
            ("/a/.", DotSegment, 3),
            ("/../a", DotSegment, 1),
            ("/a/..;x", DotSegment, 3),
            ("/a/.%3Bx", DotSegment, 3),
            ("/a b", BadByte, 2),
            ("/a?b", BadByte, 2),
            ("/a#b", BadByte, 2),
            ("/a\\b", BadByte, 2),
            ("/caf\u{e9}", BadByte, 4),
            ("/%", BadEscape, 1),
            ("/a%2", BadEscape, 2),
            ("/a%2f", BadEscape, 2),
            ("/a%41", BadEscape, 2),
            ("/a%7E", BadEscape, 2),
            ("/a%00", BadEscape, 2),
            ("/a{b}", MixedSegment, 2),
            ("/{b}a", MixedSegment, 1),
            ("/{a}{b}", MixedSegment, 3),
            ("/{a", MixedSegment, 1),
            ("/a}", MixedSegment, 2),
            ("/{a/b}", MixedSegment, 1),
            ("/a*", MixedSegment, 2),
            ("/**", MixedSegment, 1),
            ("/{}", BadName, 2),
            ("/{*}", BadName, 3),
            ("/{1a}", BadName, 2),
            ("/{-a}", BadName, 2),
            ("/{a.b}", BadName, 3),
            ("/{a}/x/{a}", DuplicateName, 8),
            ("/{a}/{*a}", DuplicateName, 7),
            ("/*/a", RestNotLast, 1),
            ("/*/", RestNotLast, 1),
            ("/a/{*r}/b", RestNotLast, 3),
        ];
        for (path, error, at) in rows {
            assert_eq!(check_pattern(path), Err((error, at)), "{path}");
        }
    }

    #[test]
    fn sixteen_params_are_accepted_and_seventeen_refused() {
        let path = |n: usize| (0..n).map(|i| format!("/{{p{i}}}")).collect::<String>();
        assert_eq!(check_pattern(&path(PARAMS_MAX)).map(|names| names.len()), Ok(PARAMS_MAX));
        let at = path(PARAMS_MAX).len() + 1;
        let error = Err((PatternError::TooManyParams, at));
        assert_eq!(check_pattern(&path(PARAMS_MAX + 1)), error);
        assert_eq!(check_pattern(&format!("{}/*", path(PARAMS_MAX))), error);
    }

    #[test]
    fn the_longest_pattern_is_accepted_and_one_byte_more_refused() {
        let path = format!("/{}", "a".repeat(PATTERN_BYTES_MAX));
        assert_eq!(check_pattern(&path[..PATTERN_BYTES_MAX]), Ok(vec![]));
        assert_eq!(check_pattern(&path), Err((PatternError::TooLong, PATTERN_BYTES_MAX)));
    }

    #[test]
    fn pieces_are_runs_of_static_segments_between_params() {
        use Piece::*;
        let found = pieces("/a/b/{c}/d/{e}/*").expect("a pattern");
        assert_eq!(found, [Static("/a/b"), Param("c"), Static("/d"), Param("e"), Rest("*")],);
        assert_eq!(pieces("/{a}/"), Ok(vec![Param("a"), Static("/")]));
        assert_eq!(pieces("/"), Ok(vec![Static("/")]));
    }
}
