//! A chain of three policies, an API key among 1,000 consumers, a rate limit for each of them and
//! 1,000 denied prefixes, beside the chain of a route without any.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use engine::auth::remembered::Remembered;
use engine::config::{self, Input};
use engine::http::template::Facts;
use engine::limit::shard::Table;
use engine::policy::cx::{Admitted, RequestCx};
use engine::policy::{Chain, Outcome};
use engine::snapshot::Snapshot;
use engine::time::Mono;
use parser::{Limits, Method, RequestHead};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONSUMERS: usize = 1000;
const SEEDS: [u64; 4] = [1, 2, 3, 4];

fn key(n: usize) -> String {
    format!("key-{n:04}-0123456789abcdef0123456789abcdef")
}

fn snapshot() -> Snapshot {
    let mut text = String::from(
        "[auth.keys]\nmethod = \"api_key\"\n[route.open]\npath = \"/open\"\nauth = \"none\"\n\
         respond = \"\"\n[route.closed]\nauth = \"keys\"\nrespond = \"\"\n\
         rate_limit = { rate = \"1000000/s\", per = \"consumer\" }\nip = { deny = [",
    );
    for n in 0..1000 {
        let _ = write!(text, "\"203.{}.{}.0/24\",", n / 250, n % 250);
    }
    text.push_str("] }\n");
    for n in 0..CONSUMERS {
        let _ = write!(text, "[consumer.c{n}]\napi_keys = [\"{}\"]\n", key(n));
    }
    let (name, env) = ("bench.toml".to_owned(), &|_: &str| None);
    let loaded = config::load(Input { text, name, base_dir: None, sets: Vec::new(), env });
    loaded.snapshot.expect("no mistakes")
}

fn bench(c: &mut Criterion) {
    let snapshot = snapshot();
    let table = Table::new(SEEDS, 1 << 14);
    let (remembered, hasher) = (Remembered::default(), ahash::RandomState::with_seed(1));
    let heads: Vec<(Vec<u8>, RequestHead)> = (0..CONSUMERS)
        .map(|n| {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Api-Key: {}\r\n\r\n", key(n));
            let mut head = RequestHead::default();
            head.parse(text.as_bytes(), &Limits::default()).expect("a good head");
            (text.into_bytes(), head)
        })
        .collect();
    let mut admitted = Admitted::default();
    let mut n = 0_usize;
    let mut ask = |chain: &Chain| {
        n += 1;
        let (bytes, head) = &heads[n % CONSUMERS];
        let facts = Facts {
            client: b"127.0.0.1",
            host: b"a",
            path: b"/",
            query: b"",
            method: b"GET",
            consumer: b"",
            request_id: b"",
            route: b"",
            params: &[],
            fields: &head.fields,
            head: bytes,
        };
        admitted.clear();
        let outcome = chain.on_request(&mut RequestCx {
            now: Mono(n as u64 * 1000),
            wall: 0,
            client: Some([127, 0, 0, 1].into()),
            certificate: None,
            method: Method::Get,
            facts: &facts,
            consumers: &snapshot.consumers,
            limits: Some(&table),
            desks: &[],
            hasher: &hasher,
            remembered: &remembered,
            is_told: false,
            admitted: &mut admitted,
        });
        assert_eq!(outcome, Outcome::Pass);
        admitted.takings.clear();
    };
    let mut group = c.benchmark_group("chain");
    for (name, route) in [("empty", "open"), ("key_limit_ip", "closed")] {
        let route = snapshot.routes.iter().find(|r| &*r.name == route).expect("it is there");
        group.bench_function(name, |b| b.iter(|| ask(black_box(&route.policies))));
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
