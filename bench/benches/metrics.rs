//! What a scrape of 10,000 routes costs the control thread: a worker's recorder added to the
//! totals, and the text. Workers only swap a pointer.

#![allow(clippy::disallowed_methods)] // it measures

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use engine::ids::Key;
use engine::metrics::expose::{self, Facts, Format};
use engine::metrics::recorder::{Exchanged, Recorder};
use engine::metrics::totals::Totals;

/// The gateway's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUTES: u32 = 10_000;

/// Every route was used a few times, each time with another duration.
fn fill(recorder: &mut Recorder) {
    for round in 1..=4u64 {
        for key in 0..ROUTES {
            recorder.exchange(&Exchanged {
                route: Some(Key(key)),
                upstream: Some(Key(key % 100)),
                status: 200,
                time_us: round * 377 + u64::from(key),
                first_byte_us: Some(round * 300),
                own_us: 40,
                bytes_in: 120,
                bytes_out: 900,
                ..Exchanged::default()
            });
        }
    }
}

fn totals() -> Totals {
    let names: Vec<(Key, String)> =
        (0..ROUTES).map(|n| (Key(n), format!("service-{n}-of-many"))).collect();
    let mut totals = Totals::default();
    totals.adopt(
        names.iter().map(|(key, name)| (*key, name.as_str())),
        names[..100].iter().map(|(key, name)| (*key, name.as_str())),
    );
    totals
}

fn scrape(c: &mut Criterion) {
    let (mut totals, mut recorder) = (totals(), Recorder::default());
    c.bench_function("absorb 10,000 routes", |b| {
        b.iter_custom(|rounds| {
            (0..rounds).map(|_| absorb(&mut totals, &mut recorder)).sum::<Duration>()
        })
    });
    c.bench_function("write 10,000 routes", |b| {
        b.iter(|| expose::write(&totals, &Facts::default(), Format::OpenMetrics))
    });
    let text = expose::write(&totals, &Facts::default(), Format::OpenMetrics);
    println!("{} bytes, {} lines", text.len(), text.lines().count());
}

#[allow(clippy::disallowed_methods)] // it measures
fn absorb(totals: &mut Totals, recorder: &mut Recorder) -> Duration {
    fill(recorder);
    let began = Instant::now();
    totals.absorb(recorder);
    began.elapsed()
}

criterion_group!(benches, scrape);
criterion_main!(benches);
