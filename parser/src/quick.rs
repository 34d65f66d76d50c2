//! The quick reader of heads: one pass over them, eight bytes at a time.
//!
//! It may only say yes. Whatever is unusual in a head (an empty line before it, HTTP/1.2, a fault,
//! an end that hasn't come yet) is left to the strict reader, `scan` and `line`, which defines what
//! a head is. Each answer given here is the one given there: `tests/quick.rs` holds it to that, and
//! to a list of heads that must not take the slow way.

use crate::bytes::{self, TARGET, TOKEN, VALUE};
use crate::error::Version;
use crate::fields::{Field, FieldId, Fields};
use crate::head::{REASON_AT, RequestHead, ResponseHead};
use crate::limits::Limits;
use crate::method::Method;
use crate::span::Span;
use crate::words::{self, FOLD, beyond_ascii, beyond_letters};

const CRLF: u16 = u16::from_le_bytes(*b"\r\n");

/// The length of the request head that `buf` begins with.
#[inline]
pub(crate) fn request(head: &mut RequestHead, buf: &[u8], limits: &Limits) -> Option<usize> {
    let buf = window(buf, limits);
    let (method, method_len) = method(buf)?;
    let start = method_len + 1;
    let text = buf.get(start..)?;
    let mut target_len = words::first(text, beyond_ascii::<0x21>);
    let mut rest = &text[target_len..];
    if rest.first() != Some(&b' ') {
        // An obs-text byte may stand in a target as far as its line is concerned.
        target_len += bytes::first_outside(rest, TARGET)?;
        rest = &text[target_len..];
    }
    if target_len == 0 || target_len > limits.target_bytes_max as usize {
        return None;
    }
    let line_end: &[u8; 11] = rest.first_chunk()?;
    let (b" HTTP/1.", &[minor, b'\r', b'\n']) = line_end.split_first_chunk::<8>()? else {
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
    let (b"HTTP/1.", line) = buf.split_first_chunk::<7>()? else { return None };
    let [minor, b' ', a, b, c, b' ', ref text @ ..] = *line else { return None };
    head.version = version(minor)?;
    let digit = |b: u8| u16::from(b.wrapping_sub(b'0'));
    let (a, b, c) = (digit(a), digit(b), digit(c));
    if !(1..=5).contains(&a) || b > 9 || c > 9 {
        return None;
    }
    head.status = 100 * a + 10 * b + c;
    let mut reason_len = words::first(text, beyond_ascii::<0x20>);
    if !ends_line(text, reason_len) {
        reason_len += bytes::first_outside(&text[reason_len..], VALUE)?;
        if !ends_line(text, reason_len) {
            return None;
        }
    }
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
        let Some((name_len, id)) = name(line) else {
            return line.starts_with(b"\r\n").then_some(at + 2);
        };
        let (value_start, value_len, line_len) = value(line.get(name_len + 1..)?)?;
        if fields.len() >= limits.fields_max as usize {
            return None;
        }
        let name = Span::new(at, at + name_len);
        at += name_len + 1;
        fields.push(Field {
            name,
            value: Span::new(at + value_start, at + value_start + value_len),
            id,
        });
        at += line_len;
    }
}

/// The length of a field's name, which a colon follows, and which field it is.
#[inline(always)]
fn name(line: &[u8]) -> Option<(usize, FieldId)> {
    let first = words::word(line);
    let end = beyond_letters(first);
    if end != 0 {
        let Some((len, letters)) = last_word(first, end) else {
            // The empty line that ends the head is no name.
            return if first as u16 == CRLF { None } else { rare_name(line) };
        };
        return (len > 0).then(|| (len, known([letters, 0, 0])));
    }
    let first = first | FOLD;
    let second = words::word(line.get(8..)?);
    let end = beyond_letters(second);
    if end != 0 {
        let Some((len, second)) = last_word(second, end) else { return rare_name(line) };
        return Some((8 + len, known([first, second, 0])));
    }
    let second = second | FOLD;
    let third = words::word(line.get(16..)?);
    match last_word(third, beyond_letters(third)) {
        Some((len, third)) => Some((16 + len, known([first, second, third]))),
        None => rare_name(line),
    }
}

/// The letters before the colon that is where `end` is first set: how many, and in lower case.
#[inline(always)]
fn last_word(word: u64, end: u64) -> Option<(usize, u64)> {
    let bits = end.trailing_zeros() & !7;
    let is_colon = end != 0 && (word >> bits) as u8 == b':';
    is_colon.then(|| (bits as usize / 8, (word | FOLD) & !(u64::MAX << bits)))
}

/// A name that is long, or holds what is neither a letter nor `-`. It isn't empty: `name` has seen
/// that no colon begins the line.
#[inline(never)]
fn rare_name(line: &[u8]) -> Option<(usize, FieldId)> {
    let len = bytes::first_outside(line, TOKEN)?;
    (line[len] == b':').then(|| (len, FieldId::of(&line[..len])))
}

/// Where the value begins and its length, without the white space around it, and the length of
/// the rest of the line: `text` is what follows the colon.
#[inline(always)]
fn value(text: &[u8]) -> Option<(usize, usize, usize)> {
    let end = words::first(text, beyond_ascii::<0x20>);
    if let [b' ', first, ..] = *text
        && first > b' '
        && ends_line(text, end)
        && text[end - 1] > b' '
    {
        return Some((1, end - 1, end + 2));
    }
    rare_value(text)
}

/// A value that is empty, holds obs-text or HTAB, or has other white space around it than a
/// single space before it.
#[inline(never)]
fn rare_value(text: &[u8]) -> Option<(usize, usize, usize)> {
    let end = bytes::first_outside(text, VALUE)?;
    if !ends_line(text, end) {
        return None;
    }
    let start = text.iter().position(|&b| !bytes::is_ows(b))?;
    Some((start, bytes::trim_ows(&text[..end]).len(), end + 2))
}

#[inline(always)]
fn ends_line(text: &[u8], end: usize) -> bool {
    text.get(end..).is_some_and(|rest| rest.first_chunk() == Some(b"\r\n"))
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
