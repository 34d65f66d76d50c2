//! One worker's numbers: plain memory, no atomics.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest time that is told apart; longer ones count as this.
const TIME_MAX_US: u64 = 60_000_000;

/// Counters and the histogram of whole exchanges, in microseconds with three digits.
#[derive(Debug, Clone)]
pub struct Recorder {
    /// Final answers by class: 1xx (a tunnel's 101), 2xx … 5xx.
    pub by_class: [u64; 5],
    /// Exchanges that ended without a final answer to the client.
    pub aborted: u64,
    pub retries: u64,
    pub connections: u64,
    pub upstream_connections: u64,
    pub time_us: Histogram<u64>,
}

impl Default for Recorder {
    fn default() -> Recorder {
        let time_us = Histogram::new_with_max(TIME_MAX_US, 3).expect("fixed bounds are valid");
        Recorder {
            by_class: [0; 5],
            aborted: 0,
            retries: 0,
            connections: 0,
            upstream_connections: 0,
            time_us,
        }
    }
}

impl Recorder {
    /// Records one exchange; the one call on the request path.
    #[inline]
    pub fn exchange(&mut self, status: u16, time: Duration) {
        match self.by_class.get_mut(usize::from(status / 100).wrapping_sub(1)) {
            Some(class) => *class += 1,
            None => self.aborted += 1,
        }
        self.time_us.saturating_record((time.as_nanos() / 1000) as u64);
    }

    /// Adds what another worker counted.
    pub fn absorb(&mut self, other: &Recorder) {
        for (mine, theirs) in self.by_class.iter_mut().zip(other.by_class) {
            *mine += theirs;
        }
        self.aborted += other.aborted;
        self.retries += other.retries;
        self.connections += other.connections;
        self.upstream_connections += other.upstream_connections;
        self.time_us.add(&other.time_us).expect("all recorders have the same bounds");
    }

    pub fn exchanges(&self) -> u64 {
        self.by_class.iter().sum::<u64>() + self.aborted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_are_counted_by_class_and_merged() {
        let (mut a, mut b) = (Recorder::default(), Recorder::default());
        a.exchange(200, Duration::from_micros(150));
        a.exchange(503, Duration::from_secs(90));
        b.exchange(0, Duration::from_micros(10));
        b.exchange(101, Duration::from_micros(10));
        a.absorb(&b);
        assert_eq!((a.by_class, a.aborted), ([1, 1, 0, 0, 1], 1));
        assert_eq!((a.exchanges(), a.time_us.len()), (4, 4));
        assert!(a.time_us.max() >= TIME_MAX_US - TIME_MAX_US / 1000);
    }
}
