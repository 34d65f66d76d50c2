//! One worker's numbers: plain memory that no other thread sees until it is handed over whole.
//!
//! Rows are found by key (a route's and an upstream's number over generations). What has been
//! touched since the last handover stands in a list, so that absorbing and clearing cost what
//! happened and not what is configured.

use hdrhistogram::Histogram;

use super::greeting::{Greeting, Greetings};
use super::grid::{BUCKETS_US, Grid, Place, histogram, wide_histogram};
use super::reason::Reason;
use crate::ids::Key;

/// Upper bounds of sizes, in bytes; one more is without a bound.
pub const BUCKETS_BYTES: [u64; 8] =
    [256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20, 16 << 20, 256 << 20];
/// By the least power of two that a size is within, its bucket: how many bounds are below it.
const SIZE_BUCKET: [u8; 65] = {
    let mut buckets = [0; 65];
    let mut bits = 1;
    while bits < buckets.len() {
        let is_bound = BUCKETS_BYTES.len() > buckets[bits - 1] as usize
            && BUCKETS_BYTES[buckets[bits - 1] as usize].ilog2() as usize == bits - 1;
        buckets[bits] = buckets[bits - 1] + is_bound as u8;
        bits += 1;
    }
    buckets
};

/// The bucket of a size. Bounds are powers of two.
#[inline]
fn size_bucket(bytes: u64) -> usize {
    usize::from(SIZE_BUCKET[(u64::BITS - bytes.saturating_sub(1).leading_zeros()) as usize])
}

/// Routes with a histogram of their own: those with the lowest keys, so that all workers choose
/// the same ones. Each is 10 KiB in the two recorders of every worker, and once in the totals.
/// Further ones have classic buckets only.
pub const ROUTE_HISTOGRAMS_MAX: usize = 1536;
/// The same of upstreams.
pub const UPSTREAM_HISTOGRAMS_MAX: usize = 512;
/// A sum's histogram of so many times goes on with counts of 64 bits.
const NARROW_MAX: u64 = 1 << 31;

/// Final answers by class: 0 for none, 1 (a tunnel's 101) to 5.
pub type Classes = [u64; 6];

/// What one exchange was, for everything that learns from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exchanged {
    pub route: Option<Key>,
    pub upstream: Option<Key>,
    /// Of the final answer; 0 when the client got none.
    pub status: u16,
    pub reason: Reason,
    pub time_us: u64,
    /// From the request's sending to the answer's head, on the attempt that was answered.
    pub first_byte_us: Option<u64>,
    /// What was not spent in waiting for the service.
    pub own_us: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// Times of one kind: classic buckets, their sum, and a histogram when there is one.
#[derive(Clone, Debug, Default)]
pub struct Times {
    pub buckets: [u64; BUCKETS_US.len() + 1],
    pub sum_us: u64,
    cells: Cells,
}

/// How times are told apart.
#[derive(Clone, Debug, Default)]
enum Cells {
    /// By classic buckets only, or nothing was summed up yet.
    #[default]
    None,
    /// A worker's.
    Grid(Box<Grid>),
    /// A sum, and one that has grown too large for it.
    Sum(Box<Histogram<u32>>),
    Wide(Box<Histogram<u64>>),
}

impl Times {
    fn with_grid() -> Times {
        Times { cells: Cells::Grid(Grid::new()), ..Times::default() }
    }

    #[inline]
    fn record(&mut self, us: u64, place: Place) {
        self.buckets[place.bucket] += 1;
        self.sum_us += us;
        if let Cells::Grid(grid) = &mut self.cells {
            grid.count(place);
        }
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The values at these shares, unless some of the times are in no histogram.
    pub fn quantiles<const N: usize>(&self, shares: [f64; N]) -> Option<[u64; N]> {
        let at = |share| match &self.cells {
            Cells::Sum(sum) => sum.value_at_quantile(share),
            Cells::Wide(wide) => wide.value_at_quantile(share),
            Cells::None | Cells::Grid(_) => 0,
        };
        let len = match &self.cells {
            Cells::Sum(sum) => sum.len(),
            Cells::Wide(wide) => wide.len(),
            Cells::None | Cells::Grid(_) => 0,
        };
        (len > 0 && len == self.count()).then(|| shares.map(at))
    }

    /// Adds a worker's times or another sum's, and clears it.
    pub(super) fn absorb(&mut self, other: &mut Times) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&mut other.buckets) {
            *mine += std::mem::take(theirs);
        }
        self.sum_us += std::mem::take(&mut other.sum_us);
        match &mut other.cells {
            Cells::None => {}
            Cells::Grid(grid) => grid.drain(|us, count| self.add(us, u64::from(count))),
            Cells::Sum(sum) => {
                let steps = sum.iter_recorded();
                steps.for_each(|s| self.add(s.value_iterated_to(), s.count_at_value().into()));
                other.cells = Cells::None;
            }
            Cells::Wide(wide) => {
                let steps = wide.iter_recorded();
                steps.for_each(|s| self.add(s.value_iterated_to(), s.count_at_value()));
                other.cells = Cells::None;
            }
        }
    }

    fn add(&mut self, us: u64, count: u64) {
        let narrow = match &mut self.cells {
            Cells::Wide(wide) => return wide.saturating_record_n(us, count),
            Cells::Sum(sum) => sum,
            other => {
                *other = Cells::Sum(histogram());
                return self.add(us, count);
            }
        };
        if narrow.len() + count <= NARROW_MAX {
            return narrow.saturating_record_n(us, count as u32);
        }
        let mut wide = wide_histogram();
        for step in narrow.iter_recorded() {
            wide.saturating_record_n(step.value_iterated_to(), u64::from(step.count_at_value()));
        }
        wide.saturating_record_n(us, count);
        self.cells = Cells::Wide(wide);
    }
}

/// Numbers of one route, or of one upstream.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub classes: Classes,
    /// Of a route whole exchanges, of an upstream its first bytes.
    pub times: Times,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// What policies refused, once they did.
    pub refusals: Option<Box<Reasons>>,
    touched: bool,
}

impl Row {
    pub(super) fn absorb(&mut self, other: &mut Row) {
        for (mine, theirs) in self.classes.iter_mut().zip(&mut other.classes) {
            *mine += std::mem::take(theirs);
        }
        self.times.absorb(&mut other.times);
        self.bytes_in += std::mem::take(&mut other.bytes_in);
        self.bytes_out += std::mem::take(&mut other.bytes_out);
        if let Some(theirs) = &mut other.refusals {
            self.refusals.get_or_insert_default().absorb(theirs);
        }
        other.touched = false;
    }

    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }
}

/// Rows by key, made on their first use; those below `HISTOGRAMS_MAX` with a histogram.
#[derive(Debug, Default)]
pub struct Rows<const HISTOGRAMS_MAX: usize> {
    rows: Vec<Option<Box<Row>>>,
    touched: Vec<Key>,
}

impl<const HISTOGRAMS_MAX: usize> Rows<HISTOGRAMS_MAX> {
    #[inline]
    fn touch(&mut self, key: Key) -> &mut Row {
        let index = key.index();
        if index >= self.rows.len() {
            self.rows.resize_with(index + 1, || None);
        }
        let row = self.rows[index].get_or_insert_with(|| {
            let times = if index < HISTOGRAMS_MAX { Times::with_grid() } else { Times::default() };
            Box::new(Row { times, ..Row::default() })
        });
        if !row.touched {
            row.touched = true;
            self.touched.push(key);
        }
        row
    }

    /// Gives each row that was touched, and forgets that it was.
    pub(super) fn drain(&mut self, mut take: impl FnMut(Key, &mut Row)) {
        for key in self.touched.drain(..) {
            if let Some(row) = self.rows[key.index()].as_deref_mut() {
                take(key, row);
            }
        }
    }
}

/// A count for each [`Reason`], by its index.
#[derive(Clone, Debug)]
pub struct Reasons(pub [u64; Reason::ALL.len()]);

impl Default for Reasons {
    fn default() -> Reasons {
        Reasons([0; Reason::ALL.len()])
    }
}

impl Reasons {
    fn absorb(&mut self, other: &mut Reasons) {
        for (mine, theirs) in self.0.iter_mut().zip(&mut other.0) {
            *mine += std::mem::take(theirs);
        }
    }
}

/// What a worker counts beside routes and upstreams.
#[derive(Clone, Debug, Default)]
pub struct Whole {
    pub classes: Classes,
    /// By [`Reason::index`].
    pub reasons: Reasons,
    pub times: Times,
    /// Exchanges that were answered before they had a route.
    pub unrouted: Row,
    /// Time spent in Busbar itself.
    pub own: Times,
    pub request_bytes: [u64; BUCKETS_BYTES.len() + 1],
    pub answer_bytes: [u64; BUCKETS_BYTES.len() + 1],
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub tunnel_in: u64,
    pub tunnel_out: u64,
    pub connections: u64,
    pub upstream_connections: u64,
    /// Exchanges that took a pooled connection.
    pub reused: u64,
    pub retries: u64,
    /// What limits would have refused, but for their `dry_run`.
    pub dry_refusals: u64,
    /// By [`Greeting`].
    pub greetings: Greetings,
    /// Handshakes with services: full, resumed, failed.
    pub upstream_handshakes: [u64; 3],
}

impl Whole {
    pub fn greeted(&mut self, how: Greeting) {
        self.greetings[how as usize] += 1;
    }

    /// Adds what another counted, and clears it.
    pub fn absorb(&mut self, other: &mut Whole) {
        fn add<const N: usize>(mine: &mut [u64; N], theirs: &mut [u64; N]) {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += std::mem::take(theirs);
            }
        }
        add(&mut self.classes, &mut other.classes);
        self.reasons.absorb(&mut other.reasons);
        add(&mut self.request_bytes, &mut other.request_bytes);
        add(&mut self.answer_bytes, &mut other.answer_bytes);
        add(&mut self.greetings, &mut other.greetings);
        add(&mut self.upstream_handshakes, &mut other.upstream_handshakes);
        self.times.absorb(&mut other.times);
        self.own.absorb(&mut other.own);
        self.unrouted.absorb(&mut other.unrouted);
        let pairs = [
            (&mut self.bytes_in, &mut other.bytes_in),
            (&mut self.bytes_out, &mut other.bytes_out),
            (&mut self.tunnel_in, &mut other.tunnel_in),
            (&mut self.tunnel_out, &mut other.tunnel_out),
            (&mut self.connections, &mut other.connections),
            (&mut self.upstream_connections, &mut other.upstream_connections),
            (&mut self.reused, &mut other.reused),
            (&mut self.retries, &mut other.retries),
            (&mut self.dry_refusals, &mut other.dry_refusals),
        ];
        for (mine, theirs) in pairs {
            *mine += std::mem::take(theirs);
        }
    }

    pub fn exchanges(&self) -> u64 {
        self.classes.iter().sum()
    }
}

/// One worker's numbers since its last handover.
#[derive(Debug)]
pub struct Recorder {
    pub whole: Whole,
    pub(super) routes: Rows<ROUTE_HISTOGRAMS_MAX>,
    pub(super) upstreams: Rows<UPSTREAM_HISTOGRAMS_MAX>,
}

impl Default for Recorder {
    fn default() -> Recorder {
        let (times, own) = (Times::with_grid(), Times::with_grid());
        let whole = Whole { times, own, ..Whole::default() };
        Recorder { whole, routes: Rows::default(), upstreams: Rows::default() }
    }
}

impl Recorder {
    /// Records one exchange; the one call on the request path.
    #[inline]
    pub fn exchange(&mut self, x: &Exchanged) {
        let class = usize::from(x.status / 100).min(5);
        let whole = &mut self.whole;
        whole.classes[class] += 1;
        whole.reasons.0[x.reason.index()] += 1;
        let place = Place::of(x.time_us);
        whole.times.record(x.time_us, place);
        whole.own.record(x.own_us, Place::of(x.own_us));
        whole.request_bytes[size_bucket(x.bytes_in)] += 1;
        whole.answer_bytes[size_bucket(x.bytes_out)] += 1;
        whole.bytes_in += x.bytes_in;
        whole.bytes_out += x.bytes_out;
        let row = match x.route {
            Some(key) => self.routes.touch(key),
            None => &mut whole.unrouted,
        };
        row.classes[class] += 1;
        row.times.record(x.time_us, place);
        row.bytes_in += x.bytes_in;
        row.bytes_out += x.bytes_out;
        if x.reason.is_of_policy() {
            row.refusals.get_or_insert_default().0[x.reason.index()] += 1;
        }
        if let Some(key) = x.upstream {
            let row = self.upstreams.touch(key);
            row.classes[class] += 1;
            row.bytes_in += x.bytes_in;
            row.bytes_out += x.bytes_out;
            if let Some(us) = x.first_byte_us {
                row.times.record(us, Place::of(us));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_stands_in_every_row_it_belongs_to() {
        let mut recorder = Recorder::default();
        let x = Exchanged {
            route: Some(Key(7)),
            upstream: Some(Key(2)),
            status: 200,
            time_us: 1500,
            first_byte_us: Some(1200),
            own_us: 40,
            bytes_in: 100,
            bytes_out: 70_000,
            ..Exchanged::default()
        };
        recorder.exchange(&x);
        recorder.exchange(&Exchanged { status: 0, reason: Reason::ClientGone, ..x });
        recorder.exchange(&Exchanged { route: None, upstream: None, status: 404, ..x });
        assert_eq!(recorder.whole.classes, [1, 0, 1, 0, 1, 0]);
        assert_eq!(recorder.whole.reasons.0[Reason::ClientGone.index()], 1);
        assert_eq!(recorder.whole.answer_bytes[5], 3);
        let mut seen = Vec::new();
        recorder.routes.drain(|key, row| seen.push((key, row.count(), row.times.sum_us)));
        assert_eq!(seen, [(Key(7), 2, 3000)]);
        recorder.routes.drain(|_, _| panic!("drained rows are not touched"));
    }

    #[test]
    fn a_time_on_a_bound_is_within_it() {
        let mut times = Times::default();
        for us in [0, 50, 51, 60_000_000, 60_000_001] {
            times.record(us, Place::of(us));
        }
        assert_eq!((times.buckets[0], times.buckets[1]), (2, 1));
        assert_eq!((times.buckets[18], times.buckets[19]), (1, 1));
    }

    /// Two workers that meet the routes in another order tell of the same ones.
    #[test]
    fn which_rows_have_histograms_does_not_depend_on_their_order() {
        let of = |keys: &mut dyn Iterator<Item = usize>| {
            let mut recorder = Recorder::default();
            for key in keys {
                let route = Some(Key(key as u32));
                recorder.exchange(&Exchanged { route, status: 200, ..Exchanged::default() });
            }
            let (mut with, mut sum) = (Vec::new(), Times::default());
            recorder.routes.drain(|key, row| {
                sum.absorb(&mut row.times);
                with.extend(sum.quantiles([0.5]).map(|_| key.0));
                sum = Times::default();
            });
            with.sort_unstable();
            with
        };
        let all = ROUTE_HISTOGRAMS_MAX + 100;
        let forward = of(&mut (0..all));
        assert_eq!(forward.len(), ROUTE_HISTOGRAMS_MAX);
        assert_eq!(forward, of(&mut (0..all).rev()));
    }

    /// A bucket of 32 bits would be full after some hours.
    #[test]
    fn quantiles_of_a_busy_route_stay_right() {
        let (mut sum, mut part) = (Times::default(), Times::default());
        for _ in 0..20 {
            part.add(1_000, 700_000_000);
            part.add(50_000, 300_000_000);
            part.buckets[4] += 700_000_000;
            part.buckets[9] += 300_000_000;
            sum.absorb(&mut part);
        }
        let mut again = Times::default();
        again.absorb(&mut sum);
        assert_eq!(again.count(), 20_000_000_000);
        let [half, most] = again.quantiles([0.69, 0.71]).unwrap();
        assert!(half.abs_diff(1_000) <= 10 && most.abs_diff(50_000) <= 500, "{half} {most}");
        again.buckets[0] += 1;
        assert_eq!(again.quantiles([0.5]), None, "one is in no histogram");
    }

    #[test]
    fn wholes_are_merged_and_cleared() {
        let (mut a, mut b) = (Whole::default(), Recorder::default());
        b.exchange(&Exchanged { status: 503, time_us: 90_000_000, ..Exchanged::default() });
        b.whole.retries = 2;
        a.absorb(&mut b.whole);
        a.absorb(&mut b.whole);
        assert_eq!((a.exchanges(), a.retries), (1, 2));
        assert_eq!((a.times.count(), a.own.count()), (1, 1));
        let [longest] = a.times.quantiles([1.0]).unwrap();
        assert!(longest >= 59_000_000, "{longest}");
    }

    #[test]
    fn sizes_on_a_bound_are_within_it() {
        for bytes in (0..=40).flat_map(|bits| (1u64 << bits) - 1..=(1 << bits) + 1) {
            let searched = BUCKETS_BYTES.partition_point(|b| *b < bytes);
            assert_eq!(size_bucket(bytes), searched, "{bytes}");
        }
        assert_eq!(size_bucket(u64::MAX), BUCKETS_BYTES.len());
    }
}
