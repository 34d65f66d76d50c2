//! The `Date` value (RFC 9110 §5.6.7), formatted once a second.

use crate::time::Mono;

/// Length of an IMF-fixdate.
pub const DATE_LEN: usize = 29;

/// One worker's `Date`. The wall clock is read when a second of the monotonic clock has passed.
#[derive(Debug)]
pub struct DateCache {
    second: u64,
    text: [u8; DATE_LEN],
}

impl Default for DateCache {
    fn default() -> DateCache {
        DateCache { second: u64::MAX, text: [b' '; DATE_LEN] }
    }
}

impl DateCache {
    /// The date at `now`; `wall` is asked for seconds since 1970 at most once a second.
    #[inline]
    pub fn at(&mut self, now: Mono, wall: impl FnOnce() -> u64) -> &[u8; DATE_LEN] {
        let second = now.0 / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.text = format_date(wall());
        }
        &self.text
    }
}

/// IMF-fixdate of a count of seconds since 1970 (years up to 9999).
pub fn format_date(seconds: u64) -> [u8; DATE_LEN] {
    const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: [&[u8; 3]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    let days = seconds / 86_400;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let (year, month, day) = civil(days);
    let mut out = *b"Xxx, 00 Xxx 0000 00:00:00 GMT";
    let mut two = |at: usize, n: u64| {
        out[at] = b'0' + (n / 10 % 10) as u8;
        out[at + 1] = b'0' + (n % 10) as u8;
    };
    two(5, day);
    two(12, year / 100);
    two(14, year % 100);
    two(17, hour);
    two(20, minute);
    two(23, second);
    out[..3].copy_from_slice(DAYS[(days % 7) as usize]);
    out[8..11].copy_from_slice(MONTHS[month as usize - 1]);
    out
}

/// Year, month and day of a count of days since 1970-01-01 in the Gregorian calendar, by whole
/// 400-year cycles that begin on March 1st.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153; // from March
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_imf_fixdates() {
        let check = |seconds: u64, text: &str| {
            assert_eq!(std::str::from_utf8(&format_date(seconds)).unwrap(), text);
        };
        check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
        check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"); // RFC 9110's example
        check(951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT");
        check(1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT");
        check(4_102_444_800, "Fri, 01 Jan 2100 00:00:00 GMT");
    }

    #[test]
    fn the_wall_clock_is_read_once_a_second() {
        let mut cache = DateCache::default();
        let first = *cache.at(Mono(5_000_000_000), || 60);
        assert_eq!(*cache.at(Mono(5_999_999_999), || unreachable!()), first);
        assert_ne!(*cache.at(Mono(6_000_000_000), || 61), first);
    }
}
