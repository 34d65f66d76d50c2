//! Counts of times in the cells of an HDR histogram, as a worker fills them: one index, one add.
//! They become `hdrhistogram`'s when they are summed up.
//!
//! A cell is 1 µs wide up to 255 µs, and from then on a 128th of its octave or less: two
//! significant digits (Tene, HdrHistogram). Classic buckets are found by the cell as well, so that
//! nothing is searched for.

use hdrhistogram::Histogram;

/// Upper bounds of the classic buckets, in microseconds; one more is without a bound.
pub const BUCKETS_US: [u64; 19] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];
/// Longest time that is told apart; longer ones count as this.
pub const TIME_MAX_US: u64 = 60_000_000;

/// Cells of an octave, as a power of two.
const OCTAVE_BITS: u32 = 7;
const CELLS: usize = cell_of(TIME_MAX_US) + 1;

/// The cell of a time, which is at most [`TIME_MAX_US`].
#[inline]
const fn cell_of(us: u64) -> usize {
    let shift = (us | 1 << OCTAVE_BITS).ilog2() - OCTAVE_BITS;
    ((shift as usize) << OCTAVE_BITS) + (us >> shift) as usize
}

/// The shortest time of a cell.
const fn lowest_of(cell: usize) -> u64 {
    let shift = (cell >> OCTAVE_BITS).saturating_sub(1);
    ((cell - (shift << OCTAVE_BITS)) as u64) << shift
}

/// By cell, the classic bucket of its shortest time. No cell reaches over two bounds.
const BUCKET_OF: [u8; CELLS] = {
    let mut buckets = [0; CELLS];
    let mut cell = 0;
    while cell < CELLS {
        let mut bucket = 0;
        while BUCKETS_US[bucket] < lowest_of(cell) {
            bucket += 1;
        }
        buckets[cell] = bucket as u8;
        cell += 1;
    }
    buckets
};

/// Where a time is counted. Found once for all that count it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    cell: usize,
    pub bucket: usize,
}

impl Place {
    #[inline]
    pub fn of(us: u64) -> Place {
        let cell = cell_of(us.min(TIME_MAX_US));
        let bucket = usize::from(BUCKET_OF[cell]);
        Place { cell, bucket: bucket + usize::from(us > BUCKETS_US[bucket]) }
    }
}

/// Counts by cell: 10 KiB.
#[derive(Clone, Debug)]
pub struct Grid([u32; CELLS]);

impl Grid {
    pub fn new() -> Box<Grid> {
        Box::new(Grid([0; CELLS]))
    }

    #[inline]
    pub fn count(&mut self, place: Place) {
        self.0[place.cell] += 1;
    }

    /// Gives each count with a time of its cell, and clears it.
    pub fn drain(&mut self, mut take: impl FnMut(u64, u32)) {
        for (cell, count) in self.0.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            take(lowest_of(cell), std::mem::take(count));
        }
    }
}

/// An empty sum of grids, with their cells.
pub fn histogram() -> Box<Histogram<u32>> {
    Box::new(Histogram::new_with_max(TIME_MAX_US, 2).expect("fixed bounds are valid"))
}

/// The same with counts of 64 bits.
pub fn wide_histogram() -> Box<Histogram<u64>> {
    Box::new(Histogram::new_with_max(TIME_MAX_US, 2).expect("fixed bounds are valid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> impl Iterator<Item = u64> {
        let around = |us: u64| us.saturating_sub(2)..us + 3;
        let octaves = (0..26).flat_map(move |bits| around(1 << bits).chain(around(3 << bits)));
        octaves.chain(BUCKETS_US.into_iter().flat_map(around)).chain([u64::MAX])
    }

    #[test]
    fn cells_are_those_of_the_library() {
        let histogram = histogram();
        for us in times().map(|us| us.min(TIME_MAX_US)) {
            let lowest = lowest_of(cell_of(us));
            assert_eq!(lowest, histogram.lowest_equivalent(us), "{us}");
            assert_eq!(cell_of(lowest), cell_of(us));
        }
    }

    #[test]
    fn buckets_are_exact() {
        for us in times() {
            let searched = BUCKETS_US.partition_point(|bound| *bound < us);
            assert_eq!(Place::of(us).bucket, searched, "{us}");
        }
    }

    #[test]
    fn what_is_counted_is_drained_once() {
        let mut grid = Grid::new();
        for us in [7, 7, 1_000_000, u64::MAX] {
            grid.count(Place::of(us));
        }
        let mut seen = Vec::new();
        grid.drain(|us, count| seen.push((us, count)));
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[0], (7, 2));
        assert!(seen[2].0 <= TIME_MAX_US && seen[2].0 > TIME_MAX_US - TIME_MAX_US / 100);
        grid.drain(|_, _| panic!("it is empty"));
    }
}
