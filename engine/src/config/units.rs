//! Quantities as text: `"10s"`, `"64KiB"`, `"100B/s"`, `"5k"`.

use std::time::Duration;

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitError {
    /// A number alone; the text is what it may have meant.
    NoUnit(String),
    /// Not a whole number first.
    NoNumber,
    /// The closest text that can be read, empty when there is none.
    BadUnit(String),
    TooLarge,
}

type Unit = (&'static str, u64);

/// In microseconds.
const TIMES: &[Unit] = &[
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];
/// In bytes.
const SIZES: &[Unit] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];
const COUNTS: &[Unit] = &[("", 1), ("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)];

/// What people write and what they mean by it.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minutes", "m"),
    ("hours", "h"),
    ("days", "d"),
    ("msec", "ms"),
    ("usec", "us"),
    ("µs", "us"),
    ("k", "KiB"),
    ("m", "MiB"),
    ("g", "GiB"),
    ("bytes", "B"),
];

pub fn time(text: &str) -> Result<Duration, UnitError> {
    quantity(text, TIMES, "s").map(Duration::from_micros)
}

pub fn size(text: &str) -> Result<u64, UnitError> {
    quantity(text, SIZES, "KiB")
}

pub fn count(text: &str) -> Result<u64, UnitError> {
    quantity(text, COUNTS, "")
}

/// Bytes per second.
pub fn byte_rate(text: &str) -> Result<u64, UnitError> {
    let Some(bytes) = text.strip_suffix("/s") else {
        return Err(match size(text) {
            Ok(_) => UnitError::NoUnit(format!("{text}/s")),
            Err(UnitError::NoUnit(_)) => UnitError::NoUnit(format!("{text}B/s")),
            Err(UnitError::BadUnit(_)) => UnitError::BadUnit(String::new()),
            Err(error) => error,
        });
    };
    size(bytes).map_err(|error| match error {
        UnitError::NoUnit(_) => UnitError::NoUnit(format!("{bytes}B/s")),
        UnitError::BadUnit(fix) if !fix.is_empty() => UnitError::BadUnit(fix + "/s"),
        error => error,
    })
}

/// So many in a time: `10/s`, `100/10s`, `5k/m`.
pub fn rate(text: &str) -> Result<(u64, Duration), UnitError> {
    let Some((count, time)) = text.split_once('/') else {
        return Err(match self::count(text) {
            Ok(_) => UnitError::NoUnit(format!("{text}/s")),
            Err(error) => error,
        });
    };
    let one = match time.bytes().next() {
        Some(b'0'..=b'9') => time.to_owned(),
        _ => format!("1{time}"),
    };
    let fixed = |fix: String| match (time.bytes().next(), fix.strip_prefix('1')) {
        _ if fix.is_empty() => String::new(),
        (Some(b'0'..=b'9'), _) | (_, None) => format!("{count}/{fix}"),
        (_, Some(unit)) => format!("{count}/{unit}"),
    };
    let time = self::time(&one).map_err(|error| match error {
        UnitError::NoUnit(fix) => UnitError::NoUnit(fixed(fix)),
        UnitError::BadUnit(fix) => UnitError::BadUnit(fixed(fix)),
        error => error,
    })?;
    Ok((self::count(count)?, time))
}

fn quantity(text: &str, units: &[Unit], usual: &str) -> Result<u64, UnitError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(UnitError::NoNumber);
    }
    if let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) {
        let value: u64 = number.parse().map_err(|_| UnitError::TooLarge)?;
        return value.checked_mul(*factor).ok_or(UnitError::TooLarge);
    }
    if unit.is_empty() {
        return Err(UnitError::NoUnit(format!("{number}{usual}")));
    }
    let trimmed = unit.trim();
    let known = |word: &str| units.iter().find(|(name, _)| *name == word).map(|(name, _)| *name);
    let meant = known(trimmed)
        .or_else(|| units.iter().find(|u| u.0.eq_ignore_ascii_case(trimmed)).map(|u| u.0))
        .or_else(|| {
            let mut others = OTHER_NAMES.iter().filter(|(o, _)| o.eq_ignore_ascii_case(trimmed));
            others.find_map(|(_, name)| known(name))
        });
    Err(UnitError::BadUnit(meant.map(|unit| format!("{number}{unit}")).unwrap_or_default()))
}

/// In the largest unit that leaves a whole number.
pub fn time_text(time: Duration) -> String {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    if micros == 0 {
        return "0s".to_owned();
    }
    shortest(micros, TIMES)
}

/// As `time_text`, in powers of two.
pub fn size_text(bytes: u64) -> String {
    shortest(bytes, &SIZES[..4])
}

fn shortest(value: u64, units: &[Unit]) -> String {
    let fits = |unit: &&Unit| value >= unit.1 && value.is_multiple_of(unit.1);
    let (name, factor) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{}{name}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use UnitError::*;

    #[test]
    fn times_and_their_neighbours() {
        let micros = |n| Ok(Duration::from_micros(n));
        let rows = [
            ("1us", micros(1)),
            ("250ms", micros(250_000)),
            ("10s", micros(10_000_000)),
            ("2m", micros(120_000_000)),
            ("1h", micros(3_600_000_000)),
            ("7d", micros(604_800_000_000)),
            ("0s", micros(0)),
            ("10", Err(NoUnit("10s".into()))),
            ("", Err(NoNumber)),
            ("s", Err(NoNumber)),
            ("-1s", Err(NoNumber)),
            ("1.5s", Err(BadUnit(String::new()))),
            ("10S", Err(BadUnit("10s".into()))),
            ("10 s", Err(BadUnit("10s".into()))),
            ("10sec", Err(BadUnit("10s".into()))),
            ("1m30s", Err(BadUnit(String::new()))),
            ("99999999999999999999s", Err(TooLarge)),
            ("18446744073709551615d", Err(TooLarge)),
        ];
        for (text, expect) in rows {
            assert_eq!(time(text), expect, "{text}");
        }
    }

    #[test]
    fn sizes_counts_and_rates_and_their_neighbours() {
        let rows = [
            ("1B", Ok(1)),
            ("64KiB", Ok(65536)),
            ("10MiB", Ok(10 << 20)),
            ("2GiB", Ok(2 << 30)),
            ("1kB", Ok(1000)),
            ("1MB", Ok(1_000_000)),
            ("64", Err(NoUnit("64KiB".into()))),
            ("64KB", Err(BadUnit("64kB".into()))),
            ("64k", Err(BadUnit("64KiB".into()))),
            ("64kib", Err(BadUnit("64KiB".into()))),
            ("64m", Err(BadUnit("64MiB".into()))),
            ("64x", Err(BadUnit(String::new()))),
        ];
        for (text, expect) in rows {
            assert_eq!(size(text), expect, "{text}");
        }
        assert_eq!(count("5k"), Ok(5000));
        assert_eq!(count("5"), Ok(5));
        assert_eq!(count("5K"), Err(BadUnit("5k".into())));
        assert_eq!(byte_rate("100B/s"), Ok(100));
        assert_eq!(byte_rate("1MiB/s"), Ok(1 << 20));
        assert_eq!(byte_rate("100"), Err(NoUnit("100B/s".into())));
        assert_eq!(byte_rate("100/s"), Err(NoUnit("100B/s".into())));
        assert_eq!(byte_rate("100B"), Err(NoUnit("100B/s".into())));
        assert_eq!(byte_rate("100b/s"), Err(BadUnit("100B/s".into())));
        assert_eq!(byte_rate("100B/m"), Err(BadUnit(String::new())));
    }

    #[test]
    fn what_is_printed_reads_as_the_same() {
        for micros in [0, 1, 999, 1000, 1_500_000, 60_000_000, 90_000_000, 86_400_000_000] {
            let duration = Duration::from_micros(micros);
            assert_eq!(time(&time_text(duration)), Ok(duration));
        }
        assert_eq!(time_text(Duration::from_secs(75)), "75s");
        assert_eq!(time_text(Duration::from_secs(3600)), "1h");
        for bytes in [1, 100, 1024, 1536, 10 << 20, 1 << 30] {
            assert_eq!(size(&size_text(bytes)), Ok(bytes));
        }
    }
}
