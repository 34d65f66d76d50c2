//! The quick reader of heads: one pass over words of eight bytes.
//!
//! It may only say yes. Whatever is unusual in a head (an empty line before it, HTTP/1.2, a fault,
//! an end that hasn't come yet) is left to the strict reader, `scan` and `line`, which defines what
//! a head is. Each answer given here is the one given there: `tests/quick.rs` holds it to that, and
//! to a list of heads that must not take the slow way.
//!
//! A word is read with its first byte lowest. A predicate over a word sets the top bit of each
//! byte it holds for; the lowest such bit is the first such byte.

use crate::bytes::{self, TOKEN, VALUE};
use crate::error::Version;
use crate::fields::{Field, FieldId, Fields};
use crate::head::{REASON_AT, RequestHead, ResponseHead};
use crate::limits::Limits;
use crate::method::Method;
use crate::span::Span;

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x80 * ONES;
/// Makes letters lower-case.
const FOLD: u64 = 0x20 * ONES;

/// The length of the request head that `buf` begins with.
#[inline]
pub(crate) fn request(head: &mut RequestHead, buf: &[u8], limits: &Limits) -> Option<usize> {
    let buf = window(buf, limits);
    let (method, method_len) = method(buf)?;
    let start = method_len + 1;
    let text = buf.get(start..)?;
    // Up to a space; an obs-text byte may stand in a target as far as its line is concerned.
    let target_len = run::<0x21>(text);
    if target_len == 0 || target_len > limits.target_bytes_max as usize {
        return None;
    }
    let rest = &text[target_len..];
    let [b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, b'\r', b'\n', ..] = *rest else {
        return None;
    };
    head.version = version(minor)?;
    head.method = method;
    head.method_text = Span::new(0, method_len);
    head.target = Span::new(start, start + target_len);
    let len = fields(buf, start + target_len + 11, limits, &mut head.fields)?;
    head.len = len as u32;
    Some(len)
}

/// The length of the response head that `buf` begins with.
#[inline]
pub(crate) fn response(head: &mut ResponseHead, buf: &[u8], limits: &Limits) -> Option<usize> {
    let buf = window(buf, limits);
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, b' ', a, b, c, b' ', ref text @ ..] =
        *buf
    else {
        return None;
    };
    head.version = version(minor)?;
    let digit = |b: u8| u16::from(b.wrapping_sub(b'0'));
    let (a, b, c) = (digit(a), digit(b), digit(c));
    if !(1..=5).contains(&a) || b > 9 || c > 9 {
        return None;
    }
    head.status = 100 * a + 10 * b + c;
    let reason_len = run::<0x20>(text);
    let Some([b'\r', b'\n', ..]) = text.get(reason_len..) else { return None };
    head.reason = Span::new(REASON_AT, REASON_AT + reason_len);
    let len = fields(buf, REASON_AT + reason_len + 2, limits, &mut head.fields)?;
    head.len = len as u32;
    Some(len)
}

/// What a head may be read from: one that ends behind it is too long.
#[inline]
fn window<'a>(buf: &'a [u8], limits: &Limits) -> &'a [u8] {
    &buf[..buf.len().min(limits.head_bytes_max as usize)]
}

#[inline]
fn version(minor: u8) -> Option<Version> {
    match minor {
        b'0' => Some(Version::Http10),
        b'1' => Some(Version::Http11),
        _ => None,
    }
}

/// The method and its length; a space follows it.
#[inline]
fn method(buf: &[u8]) -> Option<(Method, usize)> {
    match buf {
        [b'G', b'E', b'T', b' ', ..] => Some((Method::Get, 3)),
        [b'P', b'O', b'S', b'T', b' ', ..] => Some((Method::Post, 4)),
        _ => {
            let len = bytes::first_outside(buf, TOKEN)?;
            (len > 0 && buf[len] == b' ').then(|| (Method::of(&buf[..len]), len))
        }
    }
}

/// The field lines from `at` on, which is where a line begins, and the empty line behind them.
/// Returns where that ends.
#[inline]
fn fields(buf: &[u8], mut at: usize, limits: &Limits, fields: &mut Fields) -> Option<usize> {
    fields.clear();
    loop {
        let line = buf.get(at..)?;
        if let [b'\r', b'\n', ..] = line {
            return Some(at + 2);
        }
        let (name_len, id) = name(line)?;
        let after = line.get(name_len + 1..)?;
        let lead = match *after {
            [b' ', b, ..] if b > b' ' => 1,
            _ => after.iter().position(|&b| !bytes::is_ows(b))?,
        };
        let text = &after[lead..];
        let (len, line_len) = value(text)?;
        if fields.len() >= limits.fields_max as usize {
            return None;
        }
        let start = at + name_len + 1 + lead;
        fields.push(Field {
            name: Span::new(at, at + name_len),
            value: Span::new(start, start + len),
            id,
        });
        at = start + line_len;
    }
}

/// The length of a field's name, which a colon follows, and which field it is.
#[inline]
fn name(line: &[u8]) -> Option<(usize, FieldId)> {
    let mut words = [0; WORDS];
    for i in 0..WORDS {
        let word = word(line.get(8 * i..)?);
        let end = beyond_letters(word);
        if end == 0 {
            words[i] = word | FOLD;
            continue;
        }
        let bits = end.trailing_zeros() & !7;
        let len = 8 * i + bits as usize / 8;
        if (word >> bits) as u8 != b':' || len == 0 {
            break;
        }
        words[i] = (word | FOLD) & !(u64::MAX << bits);
        return Some((len, known(words)));
    }
    rare_name(line)
}

/// A name that is long, or holds what is neither a letter nor `-`.
#[inline(never)]
fn rare_name(line: &[u8]) -> Option<(usize, FieldId)> {
    let len = bytes::first_outside(line, TOKEN)?;
    (len > 0 && line[len] == b':').then(|| (len, FieldId::of(&line[..len])))
}

/// The length of the value at the start of `text` without the white space behind it, and that of
/// the rest of its line.
#[inline]
fn value(text: &[u8]) -> Option<(usize, usize)> {
    let mut end = run::<0x20>(text);
    if text.get(end) == Some(&b'\t') {
        end += bytes::first_outside(&text[end..], VALUE)?;
    }
    let Some([b'\r', b'\n', ..]) = text.get(end..) else { return None };
    let len = match text[..end].last() {
        Some(&last) if bytes::is_ows(last) => bytes::trim_ows(&text[..end]).len(),
        _ => end,
    };
    Some((len, end + 2))
}

/// How many bytes are neither below `BELOW` nor DEL, up to the first that is.
#[inline(always)]
fn run<const BELOW: u8>(text: &[u8]) -> usize {
    let mut rest = text;
    loop {
        let word = word(rest);
        // A borrow goes upwards only: the lowest bit is right.
        let below = word.wrapping_sub(u64::from(BELOW) * ONES) & !word;
        let delete = word ^ (0x7f * ONES);
        let delete = delete.wrapping_sub(ONES) & !delete;
        let end = (below | delete) & TOPS;
        if end != 0 {
            return text.len() - rest.len() + end.trailing_zeros() as usize / 8;
        }
        // A word of fewer than eight bytes has zeros, at which it ended.
        rest = &rest[8..];
    }
}

/// The first eight bytes; zeros behind them when there are fewer.
#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(first) => u64::from_le_bytes(*first),
        None => short_word(bytes),
    }
}

#[cold]
#[inline(never)]
fn short_word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &b| word << 8 | u64::from(b))
}

/// The top bits of bytes other than letters and `-`. Exact for every byte.
#[inline(always)]
const fn beyond_letters(word: u64) -> u64 {
    let low = word & !TOPS;
    let folded = low | FOLD;
    // A sum of seven bits and a constant of up to 0x7f has no carry.
    let letters = (folded + (0x80 - b'a' as u64) * ONES) & !(folded + (0x7f - b'z' as u64) * ONES);
    let others = (low ^ (b'-' as u64 * ONES)) + 0x7f * ONES;
    (word | (!letters & others)) & TOPS
}

/// Words of a name that the quick reader knows.
const WORDS: usize = 3;

/// Where each known name is, by a hash that no two of them share.
static SLOTS: [FieldId; 1 << SLOT_BITS] = slots(MULTIPLIER);
static NAMES: [[u64; WORDS]; 64] = names();
const SLOT_BITS: u32 = 7;
const MULTIPLIER: u64 = multiplier();

/// The id of a name of letters and `-` in lower case, zeros behind it.
#[inline(always)]
fn known(words: [u64; WORDS]) -> FieldId {
    let id = SLOTS[slot(words, MULTIPLIER)];
    let name = &NAMES[id as usize & 63];
    let difference = (name[0] ^ words[0]) | (name[1] ^ words[1]) | (name[2] ^ words[2]);
    if difference == 0 { id } else { FieldId::Other }
}

#[inline(always)]
const fn slot(words: [u64; WORDS], multiplier: u64) -> usize {
    // No two known names begin with the same two words.
    let sum = words[0] ^ words[1].rotate_left(29);
    (sum.wrapping_mul(multiplier) >> (64 - SLOT_BITS)) as usize
}

const fn names() -> [[u64; WORDS]; 64] {
    let mut names = [[0; WORDS]; 64];
    let mut i = 0;
    while i < FieldId::KNOWN.len() {
        let (id, name) = FieldId::KNOWN[i];
        let name = name.as_bytes();
        assert!(name.len() < 8 * WORDS);
        let mut at = 0;
        while at < name.len() {
            names[id as usize][at / 8] |= (name[at] as u64) << (at % 8 * 8);
            at += 1;
        }
        i += 1;
    }
    names
}

/// The first of some odd numbers that gives every known name a slot of its own.
const fn multiplier() -> u64 {
    let names = names();
    let mut number = 0x9e37_79b9_7f4a_7c15u64;
    loop {
        let mut taken = 0u128;
        let mut i = 0;
        while i < FieldId::KNOWN.len() {
            let slot = 1 << slot(names[FieldId::KNOWN[i].0 as usize], number);
            if taken & slot != 0 {
                break;
            }
            taken |= slot;
            i += 1;
        }
        if i == FieldId::KNOWN.len() {
            return number;
        }
        number = number.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ (number >> 29);
        number |= 1;
    }
}

const fn slots(multiplier: u64) -> [FieldId; 1 << SLOT_BITS] {
    let names = names();
    let mut slots = [FieldId::Other; 1 << SLOT_BITS];
    let mut i = 0;
    while i < FieldId::KNOWN.len() {
        let id = FieldId::KNOWN[i].0;
        slots[slot(names[id as usize], multiplier)] = id;
        i += 1;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte, alone and between neighbours that could carry into it.
    #[test]
    fn predicates_over_words_are_those_over_bytes() {
        for b in 0..=255u8 {
            for other in [b'a', b'z', b'-', 0, 0x7f, 0x80, 0xff] {
                for at in 0..8 {
                    let mut text = [other; 8];
                    text[at] = b;
                    let odd = beyond_letters(u64::from_le_bytes(text));
                    let is_odd = |b: u8| !b.is_ascii_alphabetic() && b != b'-';
                    let bits = text.map(|b| u8::from(is_odd(b)) << 7);
                    assert_eq!(odd, u64::from_le_bytes(bits), "{text:?}");
                    let first =
                        |below: u8| text.iter().position(|&b| b < below || b == 0x7f).unwrap_or(8);
                    assert_eq!(run::<0x20>(&text), first(0x20), "{text:?}");
                    assert_eq!(run::<0x21>(&text), first(0x21), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn a_name_is_found_as_by_its_bytes() {
        let mut line = Vec::new();
        let long = ["x", "etag", "x-y", "last-modified", "a-name-of-24-bytes-a-b-c", "x_y", "Te-"];
        let names = FieldId::KNOWN.iter().map(|(_, name)| *name).chain(long);
        for text in names.flat_map(|name| [name.to_owned(), name.to_uppercase()]) {
            for cut in 0..=text.len() {
                let text = &text.as_bytes()[..cut];
                for tail in [&b":"[..], b": b\r\nabcdefgh"] {
                    line.clear();
                    line.extend_from_slice(text);
                    line.extend_from_slice(tail);
                    let expect = (cut > 0).then(|| (cut, FieldId::of(text)));
                    assert_eq!(name(&line), expect, "{text:?}");
                }
            }
        }
    }
}
