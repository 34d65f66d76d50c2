//! What an exchange costs after its answer: its numbers, and its line on the way to the writer
//! thread.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use engine::ids::Key;
use engine::log::format::{Fields, Format};
use engine::log::record::Record;
use engine::log::ring::ring;
use engine::metrics::recorder::{Exchanged, Recorder};

/// Exchanges that differ, so that neither branches nor buckets are always the same.
fn exchanges(routes: u32) -> Vec<Exchanged> {
    let mut seed = 7u64;
    let mut draw = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let exchanged = |_| {
        let magnitude = draw(12);
        let time_us = 80 + draw(16 << magnitude);
        Exchanged {
            route: Some(Key(draw(u64::from(routes)) as u32)),
            upstream: Some(Key(draw(4) as u32)),
            status: [200, 200, 200, 304, 404, 502][draw(6) as usize],
            time_us,
            first_byte_us: Some(time_us - 40),
            own_us: 20 + draw(20),
            bytes_in: 80 + draw(2000),
            bytes_out: 200 + draw(100_000),
            ..Exchanged::default()
        }
    };
    (0..4096).map(exchanged).collect()
}

fn record(c: &mut Criterion) {
    let mut group = c.benchmark_group("recorder");
    for routes in [1, 200] {
        let (mut recorder, exchanges) = (Recorder::default(), exchanges(routes));
        exchanges.iter().for_each(|x| recorder.exchange(x));
        let mut turn = exchanges.iter().cycle();
        group.bench_function(format!("exchange/{routes}_routes"), |b| {
            b.iter(|| recorder.exchange(black_box(turn.next().expect("it goes round"))));
        });
    }
    group.finish();
}

fn line() -> Record<'static> {
    Record {
        time_us: 1_795_569_723_000_042,
        generation: 3,
        bytes_in: 120,
        bytes_out: 300,
        duration_us: 412,
        first_byte_us: 390,
        own_us: 21,
        status: 200,
        attempts: 1,
        minor: 1,
        client: b"192.0.2.7",
        method: b"GET",
        host: b"api.example.com",
        path: b"/users/42/orders/7",
        route: b"orders",
        upstream: b"orders",
        endpoint: b"10.0.1.11:8080",
        request_id: b"0123456789abcdef0123456789abcdef",
        ..Record::default()
    }
}

fn log(c: &mut Criterion) {
    let line = line();
    let (mut producer, mut consumer) = ring(1 << 20);
    let (mut packed, mut read, mut count) = (Vec::with_capacity(1024), Vec::new(), 0u32);
    c.bench_function("recorder/log_line", |b| {
        b.iter(|| {
            packed.clear();
            black_box(&line).pack(&mut packed);
            producer.push(&packed);
            count += 1;
            if count.is_multiple_of(1024) {
                while consumer.pop(&mut read) {}
            }
        });
    });
}

/// On the writer thread, whose time is the process's as well.
fn format(c: &mut Criterion) {
    let mut group = c.benchmark_group("recorder/format");
    let formats = [
        ("json", Format::Json(Fields::default())),
        ("combined", Format::Combined { query: false }),
        ("short", Format::Short { colour: false }),
    ];
    let (line, mut out) = (line(), Vec::with_capacity(1024));
    for (name, format) in formats {
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                format.write(&mut out, black_box(&line));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, record, log, format);
criterion_main!(benches);
