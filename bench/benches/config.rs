//! `busbar check` of many routes: text → snapshot, everything but reading the file.
//!
//! The bounds are 100 ms for 10,000 routes and 2 s for 100,000 (docs/performance.md).

use std::fmt::Write;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use engine::config::{self, Input};

/// The gateway's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Routes of a hundred hosts in ten groups, as a generator would write them.
fn text(routes: usize) -> String {
    let mut text = String::from(
        "[listener.web]\naddress = \"127.0.0.1:8080\"\n[all]\ntimeout = \"10s\"\n\
         headers.response.remove = [\"Server\"]\n",
    );
    for i in 0..10 {
        let _ = write!(
            text,
            "[upstream.u{i}]\nendpoints = [\"10.0.0.{i}:80\", \"10.0.1.{i}:80\"]\n\
             [group.g{i}]\nprefix = \"/v{i}\"\nbody_limit = \"1MiB\"\n\
             headers.request.set.X-Id = \"{{id}}\"\n"
        );
    }
    for i in 0..routes {
        let _ = write!(
            text,
            "[route.service-{i}]\ngroup = \"g{}\"\nhost = \"h{}.example.com\"\n\
             path = \"/things-{i}/{{id}}\"\nmethods = [\"GET\"]\nto = \"u{}\"\n",
            i % 10,
            i % 100,
            i % 10
        );
    }
    text
}

fn check(text: &str) -> usize {
    let input = Input {
        text: text.to_owned(),
        name: "bench.toml".to_owned(),
        base_dir: None,
        sets: Vec::new(),
        env: &|_| None,
    };
    config::load(input).snapshot.expect("no mistakes").routes.len()
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("check");
    group.sample_size(10);
    for routes in [1_000, 10_000, 100_000] {
        let text = text(routes);
        group.throughput(Throughput::Elements(routes as u64));
        group.bench_with_input(BenchmarkId::from_parameter(routes), &text, |b, text| {
            b.iter(|| check(black_box(text)));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
