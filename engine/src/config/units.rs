//! Quantities with units: times, sizes, rates, counts.

use std::time::Duration;

/// Why a text is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    Number,
    NoUnit,
    /// An unknown unit; the known ones.
    Unit(&'static str),
    TooLarge,
}

fn split(text: &str) -> Result<(u64, &str), Bad> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 {
        return Err(Bad::Number);
    }
    let number = text[..end].parse().map_err(|_| Bad::TooLarge)?;
    match text[end..].trim_start() {
        "" => Err(Bad::NoUnit),
        unit => Ok((number, unit)),
    }
}

/// `us ms s m h d`.
pub fn time(text: &str) -> Result<Duration, Bad> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (n, unit) = split(text)?;
    let us = match unit {
        "us" => 1,
        "ms" => 1000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return Err(Bad::Unit("us, ms, s, m, h and d")),
    };
    n.checked_mul(us).map(Duration::from_micros).ok_or(Bad::TooLarge)
}

/// `B KiB MiB GiB`, and `kB MB GB` as powers of ten.
pub fn size(text: &str) -> Result<u64, Bad> {
    let (n, unit) = split(text)?;
    let factor: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(Bad::Unit("B, KiB, MiB and GiB (and kB, MB, GB)")),
    };
    n.checked_mul(factor).ok_or(Bad::TooLarge)
}

/// `100B/s`, `1MiB/s`.
pub fn byte_rate(text: &str) -> Result<u64, Bad> {
    match text.strip_suffix("/s") {
        Some(text) => size(text),
        None if text.bytes().all(|b| b.is_ascii_digit()) => Err(Bad::NoUnit),
        None => Err(Bad::Unit("B/s, KiB/s and MiB/s")),
    }
}

/// A count, `k M G` allowed.
pub fn count(text: &str) -> Option<u64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1000),
        b'M' => (&text[..text.len() - 1], 1_000_000),
        b'G' => (&text[..text.len() - 1], 1_000_000_000),
        _ => (text, 1),
    };
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_and_their_neighbours_refused() {
        assert_eq!(time("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(time("1d"), Ok(Duration::from_secs(86_400)));
        assert_eq!(time("10"), Err(Bad::NoUnit));
        assert!(matches!(time("10S"), Err(Bad::Unit(_))));
        assert_eq!(time("-1s"), Err(Bad::Number));
        assert_eq!(time("99999999999999999999s"), Err(Bad::TooLarge));
        assert_eq!(time("9999999999999d"), Err(Bad::TooLarge));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1MB"), Ok(1_000_000));
        assert!(matches!(size("1K"), Err(Bad::Unit(_))));
        assert_eq!(byte_rate("100B/s"), Ok(100));
        assert!(matches!(byte_rate("100B"), Err(Bad::Unit(_))));
        assert_eq!((count("5M"), count("5x"), count("")), (Some(5_000_000), None, None));
    }
}
