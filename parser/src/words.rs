//! Eight bytes at a time, as words whose lowest byte is the first.
//!
//! A predicate over a word sets the top bit of each byte it holds for, so that the lowest such bit
//! tells the first such byte. Of bits above that some predicates say nothing.

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x80 * ONES;
/// Makes letters lower-case.
pub(crate) const FOLD: u64 = 0x20 * ONES;

/// The first eight bytes; zeros behind them when there are fewer.
#[inline(always)]
pub(crate) fn word(bytes: &[u8]) -> u64 {
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

/// How many bytes a predicate doesn't hold for, up to the first it holds for. It must hold for 0.
#[inline(always)]
pub(crate) fn first(text: &[u8], odd: impl Fn(u64) -> u64) -> usize {
    let mut at = 0;
    let mut rest = text;
    while let Some((word, behind)) = rest.split_first_chunk() {
        let end = odd(u64::from_le_bytes(*word));
        if end != 0 {
            return at + end.trailing_zeros() as usize / 8;
        }
        at += 8;
        rest = behind;
    }
    let word = match text.last_chunk() {
        Some(last) if !rest.is_empty() => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
        _ => short_word(rest),
    };
    at + odd(word).trailing_zeros() as usize / 8
}

/// Bytes below `BELOW` and from DEL on.
#[inline(always)]
pub(crate) const fn beyond_ascii<const BELOW: u8>(word: u64) -> u64 {
    // Borrows and carries go upwards only, and begin in a byte that it holds for.
    (word.wrapping_sub(BELOW as u64 * ONES) | word.wrapping_add(ONES) | word) & TOPS
}

/// Bytes from `low` to `high`, of a word that has no top bits. Sums of seven bits have no carry.
#[inline(always)]
const fn between(word: u64, low: u8, high: u8) -> u64 {
    (word + (0x80 - low as u64) * ONES) & !(word + (0x7f - high as u64) * ONES)
}

/// Bytes other than `b`, of a word that has no top bits.
#[inline(always)]
const fn differs(word: u64, b: u8) -> u64 {
    (word ^ (b as u64 * ONES)) + 0x7f * ONES
}

/// Bytes other than letters and `-`. Exact for every byte.
#[inline(always)]
pub(crate) const fn beyond_letters(word: u64) -> u64 {
    let low = word & !TOPS;
    (word | (!between(low | FOLD, b'a', b'z') & differs(low, b'-'))) & TOPS
}

/// All bytes are plain ones of a path, and no `/` is followed by `/` or `.`.
#[inline(always)]
pub(crate) const fn is_plain_path(word: u64) -> bool {
    if word & TOPS != 0 {
        return false;
    }
    let visible = word + (0x80 - 0x21) * ONES;
    let plain = visible
        & differs(word, 0x7f)
        & differs(word, b'%')
        & differs(word, b'#')
        & differs(word, b'\\')
        & differs(word, b'?');
    // `.` and `/` differ in their lowest bit.
    let after_slash = !(differs(word, b'/') << 8 | 0xff) & !differs(word | ONES, b'/');
    (!plain | after_slash) & TOPS == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte, between neighbours that could carry into it.
    fn words(mut check: impl FnMut([u8; 8], u64)) {
        for b in 0..=255u8 {
            for other in *b"az-.0/?\x00\x01\x20\x7e\x7f\x80\xff" {
                for at in 0..8 {
                    let mut text = [other; 8];
                    text[at] = b;
                    check(text, u64::from_le_bytes(text));
                }
            }
        }
    }

    #[test]
    fn exact_predicates_hold_for_the_bytes_they_name() {
        words(|text, word| {
            let bits =
                |holds: fn(u8) -> bool| u64::from_le_bytes(text.map(|b| u8::from(holds(b)) << 7));
            let letters = bits(|b| !b.is_ascii_alphabetic() && b != b'-');
            assert_eq!(beyond_letters(word), letters, "{text:?}");
            let is_plain = text.iter().all(|b| b.is_ascii_graphic() && !b"%#\\?".contains(b))
                && text.windows(2).all(|pair| pair != b"//" && pair != b"/.");
            assert_eq!(is_plain_path(word), is_plain, "{text:?}");
        });
    }

    #[test]
    fn the_first_byte_is_found_at_every_length() {
        words(|text, _| {
            for len in 0..=8 {
                let check = |text: &[u8]| {
                    let at = |below| text.iter().position(|&b| b < below || b >= 0x7f);
                    let expect = |below| at(below).unwrap_or(text.len());
                    assert_eq!(first(text, beyond_ascii::<0x20>), expect(0x20), "{text:?}");
                    assert_eq!(first(text, beyond_ascii::<0x21>), expect(0x21), "{text:?}");
                };
                check(&text[..len]);
                check(&[&text[..], &text[..len]].concat());
                check(&[b"abcdefgh", &text[..len]].concat());
            }
        });
    }
}
