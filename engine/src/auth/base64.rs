//! Base64, strictly: one spelling for each string of bytes (RFC 4648 §3.5, RFC 8725 §3.4).
//!
//! Own code, since the engine needs four alphabets and paddings, into memory that stands, with
//! every other spelling refused.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `-` and `_`, without padding (RFC 7515 §2).
    Url,
    /// `+` and `/`, padded (RFC 7617).
    Padded,
    /// `+` and `/`, without padding (PHC strings).
    Plain,
    /// The alphabet of bcrypt. Spare bits may be set: its own readers overlook them.
    Bcrypt,
}

const WRONG: u8 = 0xff;

const fn values(first: u8, digits: u8, last: [u8; 2]) -> [u8; 256] {
    let mut table = [WRONG; 256];
    let mut i = 0;
    while i < 26 {
        table[(b'A' + i) as usize] = first + i;
        table[(b'a' + i) as usize] = first + 26 + i;
        i += 1;
    }
    let mut i = 0;
    while i < 10 {
        table[(b'0' + i) as usize] = digits + i;
        i += 1;
    }
    let place = if first == 0 { 62 } else { 0 };
    table[last[0] as usize] = place;
    table[last[1] as usize] = place + 1;
    table
}

static URL: [u8; 256] = values(0, 52, *b"-_");
static STANDARD: [u8; 256] = values(0, 52, *b"+/");
static BCRYPT: [u8; 256] = values(2, 54, *b"./");

/// Bytes that `text` stands for, were it valid; for the room they need.
pub const fn bytes_max(text_bytes: usize) -> usize {
    text_bytes / 4 * 3 + 2
}

/// Decodes all of `text` to the front of `out`: how many bytes, or `None` when it is not the one
/// spelling of any bytes, or these don't fit.
pub fn decode(form: Form, text: &[u8], out: &mut [u8]) -> Option<usize> {
    let table = match form {
        Form::Url => &URL,
        Form::Padded | Form::Plain => &STANDARD,
        Form::Bcrypt => &BCRYPT,
    };
    let text = if form == Form::Padded { unpadded(text)? } else { text };
    let quads = text.chunks_exact(4);
    let rest = quads.remainder();
    let (mut filled, mut wrong) = (0, 0u8);
    for quad in quads {
        let [a, b, c, d] = [quad[0], quad[1], quad[2], quad[3]].map(|b| table[usize::from(b)]);
        wrong |= (a | b | c | d) & 0x80;
        let word = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
        out.get_mut(filled..filled + 3)?.copy_from_slice(&word.to_be_bytes()[1..]);
        filled += 3;
    }
    if wrong != 0 || rest.len() == 1 {
        return None;
    }
    let mut word = 0u32;
    for &byte in rest {
        let value = table[usize::from(byte)];
        wrong |= value & 0x80;
        word = word << 6 | u32::from(value);
    }
    if wrong != 0 {
        return None;
    }
    // Two characters are 12 bits, of which 4 are spare; three are 18, of which 2 are.
    let (bytes, spare) = match rest.len() {
        0 => return Some(filled),
        2 => (1, 4),
        _ => (2, 2),
    };
    if word & ((1 << spare) - 1) != 0 && form != Form::Bcrypt {
        return None;
    }
    let tail = (word >> spare).to_be_bytes();
    out.get_mut(filled..filled + bytes)?.copy_from_slice(&tail[4 - bytes..]);
    Some(filled + bytes)
}

/// `text` without the padding that its length asks for.
fn unpadded(text: &[u8]) -> Option<&[u8]> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|&&b| b == b'=').count();
    (padding <= 2).then(|| &text[..text.len() - padding])
}

/// As [`decode`], into memory of its own.
pub fn decoded(form: Form, text: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; bytes_max(text.len())];
    let len = decode(form, text, &mut out)?;
    out.truncate(len);
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bit by bit, by the book.
    fn encoded(form: Form, bytes: &[u8]) -> String {
        let alphabet: &[u8] = match form {
            Form::Url => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
            Form::Bcrypt => b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            _ => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        };
        let bits: Vec<u8> =
            bytes.iter().flat_map(|b| (0..8).map(move |i| b >> (7 - i) & 1)).collect();
        let mut out: String = bits
            .chunks(6)
            .map(|six| (0..6).fold(0, |sum, i| sum << 1 | six.get(i).unwrap_or(&0)))
            .map(|value| alphabet[usize::from(value)] as char)
            .collect();
        while form == Form::Padded && !out.len().is_multiple_of(4) {
            out.push('=');
        }
        out
    }

    proptest! {
        #[test]
        fn each_string_of_bytes_has_one_spelling(bytes: Vec<u8>, flip: u16, bit in 0..8u8) {
            for form in [Form::Url, Form::Padded, Form::Plain, Form::Bcrypt] {
                let text = encoded(form, &bytes);
                prop_assert_eq!(decoded(form, text.as_bytes()), Some(bytes.clone()));
                let mut other = text.into_bytes();
                if form == Form::Bcrypt || other.is_empty() {
                    continue;
                }
                let at = usize::from(flip) % other.len();
                other[at] ^= 1u8 << bit;
                prop_assert_ne!(decoded(form, &other), Some(bytes.clone()));
            }
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        let refused = |form, text: &str| assert_eq!(decoded(form, text.as_bytes()), None, "{text}");
        let fine = |form, text: &str, bytes: &[u8]| {
            assert_eq!(decoded(form, text.as_bytes()).as_deref(), Some(bytes), "{text}");
        };
        fine(Form::Url, "-_8", b"\xfb\xff");
        ["-_9", "-_8=", "-_8\n", " -_8", "+_8", "-/8", "A", "AAAAA", "AB", "A=", "é"]
            .iter()
            .for_each(|text| refused(Form::Url, text));
        fine(Form::Padded, "+/8=", b"\xfb\xff");
        fine(Form::Padded, "", b"");
        ["+/8", "+/9=", "+/8==", "=", "====", "A===", "+/==8A=="]
            .iter()
            .for_each(|text| refused(Form::Padded, text));
        fine(Form::Plain, "+/8", b"\xfb\xff");
        refused(Form::Plain, "+/8=");
        fine(Form::Bcrypt, "./", b"\x00");
        assert_eq!(decode(Form::Url, b"AAAA", &mut [0; 2]), None, "no room");
    }
}
