//! One decision of a rate limit, beside `governor` with the same keys.
//!
//! Ours is with the hashing of the key (a number, as `governor` gets it), on a time that the caller
//! read before; `governor` reads a clock for each decision, so it is there with its usual one and
//! with one that only loads an atomic. All decisions are "allowed". With two threads both work on
//! the same keys; the time is that of one decision on one of them.
//!
//! Printed before: ten million strangers against a million slots, with an honest key among them.

#![allow(clippy::disallowed_methods)] // clocks and threads are what is measured with

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use engine::limit::gcra::Rate;
use engine::limit::shard::{Answer, Table};
use engine::limit::taken::{Taken, Wanted};
use engine::time::Mono;
use governor::clock::{Clock, FakeRelativeClock, QuantaClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

const SEEDS: [u64; 4] = [0x2545_f491, 0x9e37_79b9, 0x7f4a_7c15, 0x1234_5678];
const SECOND: Duration = Duration::from_secs(1);
const MILLION: u64 = 1_000_000;

/// The n-th decision's key: an order that no cache foresees.
fn key_of(n: u64, keys: u64) -> u64 {
    (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % keys
}

/// On all threads at once, from a common start.
fn timed(threads: usize, decisions: u64, decide: impl Fn(u64) + Sync) -> Duration {
    let start = Barrier::new(threads);
    let run = |thread: u64| {
        start.wait();
        let began = Instant::now();
        let first = thread << 40;
        (first..first + decisions).for_each(&decide);
        began.elapsed()
    };
    let run = &run;
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads as u64).map(|t| scope.spawn(move || run(t))).collect();
        all.into_iter().map(|thread| thread.join().expect("it ends")).max().expect("threads")
    })
}

fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, decide: impl Fn(u64) + Sync) {
    for threads in [1, 2] {
        group.bench_function(format!("{name}/{threads}"), |b| {
            b.iter_custom(|decisions| timed(threads, decisions, &decide));
        });
    }
}

fn governor_of<C: Clock>(
    clock: C,
) -> RateLimiter<u64, DashMapStateStore<u64>, C, NoOpMiddleware<C::Instant>> {
    let most = NonZeroU32::new(MILLION as u32 * 1000).expect("above 0");
    RateLimiter::new(Quota::per_second(most), DashMapStateStore::default(), clock)
}

fn decisions(c: &mut Criterion) {
    let rate = Rate::new(1_000_000_000, SECOND, 1_000_000_000).expect("a limit");
    for (name, keys) in [("limit_hot_key", 1), ("limit_million_keys", MILLION)] {
        let table = Table::new(SEEDS, 1 << 21);
        let ours = |n: u64| {
            let hash = table.key(7).route(key_of(n, keys)).finish();
            let decision = table.take(hash, &rate, 1, Mono((n & 0xff_ffff_ffff) * 10));
            assert!(black_box(decision).answer != Answer::Refused);
        };
        let usual = governor_of(QuantaClock::default());
        let fixed = governor_of(FakeRelativeClock::default());
        for n in 0..4 * keys {
            ours(n);
            let key = key_of(n, keys);
            assert!(usual.check_key(&key).is_ok() && fixed.check_key(&key).is_ok());
        }
        let mut group = c.benchmark_group(name);
        measure(&mut group, "busbar", ours);
        measure(&mut group, "governor", |n| _ = black_box(usual.check_key(&key_of(n, keys))));
        measure(&mut group, "governor_fixed_clock", |n| {
            _ = black_box(fixed.check_key(&key_of(n, keys)));
        });
        group.finish();
        println!("{name}: full {} times, {} MiB", table.full(), table.bytes() >> 20);
    }
}

fn parts(c: &mut Criterion) {
    let rate = Rate::new(1_000_000_000, SECOND, 1_000_000_000).expect("a limit");
    let one = Rate::new(1, SECOND * 86_400, 1).expect("a limit");
    let table = Table::new(SEEDS, 1 << 16);
    let hash = table.key(1).route(1).finish();
    let mut group = c.benchmark_group("limit_parts");
    let mut now = Mono(0);
    let mut next = || {
        now.0 += 10;
        now
    };
    group.bench_function("key_of_client", |b| {
        let ip = "2001:db8::1".parse().expect("an address");
        b.iter(|| table.key(black_box(1)).client(black_box(ip)).finish());
    });
    group.bench_function("take", |b| b.iter(|| table.take(black_box(hash), &rate, 1, next())));
    let other = table.key(2).route(1).finish();
    table.take(other, &one, 1, Mono(0));
    group.bench_function("refuse", |b| b.iter(|| table.take(black_box(other), &one, 1, next())));
    let wanted = [1, 2, 3].map(|route| Wanted {
        hash: table.key(3).route(route).finish(),
        rate: &rate,
        cost: 1,
        passes_full: true,
    });
    group.bench_function("take_all_of_three", |b| {
        b.iter(|| {
            let mut taken = Taken::default();
            let now = next();
            _ = black_box(taken.take_all(&table, black_box(&wanted), now, || now));
        });
    });
    group.finish();
}

/// Each stranger owes something for an hour. The honest key has 10/s and sends 20/s.
fn strangers(_: &mut Criterion) {
    let table = Table::new(SEEDS, 1 << 20);
    let (hour, honest) = (Rate::new(1, SECOND * 3600, 1), Rate::new(10, SECOND, 10));
    let (hour, honest) = (hour.expect("a limit"), honest.expect("a limit"));
    let hash = table.key(2).route(0).finish();
    let began = Instant::now();
    let mut allowed = 0;
    for n in 0..10 * MILLION {
        let now = Mono(n * 10_000); // a hundred seconds in all
        if n % 5_000 == 0 {
            allowed += u64::from(table.take(hash, &honest, 1, now).answer == Answer::Allowed);
        }
        black_box(table.take(table.key(1).route(n).finish(), &hour, 1, now));
    }
    let each = began.elapsed().as_nanos() as u64 / (10 * MILLION);
    println!(
        "10 M strangers: {each} ns each, {} found no place in {} slots ({} MiB); the honest key \
         was allowed {allowed} of 2000 times in 100 s",
        table.full(),
        table.slots(),
        table.bytes() >> 20,
    );
    assert!((1005..=1010).contains(&allowed));
}

criterion_group!(benches, strangers, parts, decisions);
criterion_main!(benches);
