//! One lookup in a shuffled order of many, beside `matchit` with the same paths.
//!
//! Both get the same canonical path and give the route's number and its captures. `matchit` knows
//! paths only; Busbar's lookups judge host and method as well, with rules of one method each in
//! the sets named `hosts`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use engine::ids::RouteId;
use engine::router::{Found, Lookup, Params, Router, Rule, build};
use parser::{Fields, Method};

/// Lookups of one round, in an order that no cache can foresee.
const ROUND: usize = 16 * 1024;

const NOUNS: [&str; 24] = [
    "users",
    "orders",
    "invoices",
    "products",
    "carts",
    "payments",
    "refunds",
    "shipments",
    "accounts",
    "sessions",
    "teams",
    "projects",
    "issues",
    "comments",
    "labels",
    "hooks",
    "reports",
    "exports",
    "devices",
    "alerts",
    "metrics",
    "plans",
    "coupons",
    "regions",
];

struct Random(u64);

impl Random {
    /// splitmix64
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// REST paths as services have them, ten to a resource: 4 static, 3 with one param, 2 with two or
/// three, 1 with a rest.
fn paths(count: usize) -> Vec<String> {
    let mut paths = Vec::new();
    let mut number = 0;
    while paths.len() < count {
        let noun = NOUNS[number % NOUNS.len()];
        let other = NOUNS[(number * 7 + 3) % NOUNS.len()];
        let group = number / NOUNS.len();
        let base = format!("/api/v{}/svc-{group}/{noun}", 1 + number % 2);
        paths.extend([
            base.clone(),
            format!("{base}/search"),
            format!("{base}/export/csv"),
            format!("{base}/{other}/summary"),
            format!("{base}/{{id}}"),
            format!("{base}/{{id}}/{other}"),
            format!("{base}/{{id}}/status"),
            format!("{base}/{{id}}/{other}/{{item}}"),
            format!("{base}/{{id}}/{other}/{{item}}/history/{{entry}}"),
            format!("{base}/files/{{*rest}}"),
        ]);
        number += 1;
    }
    paths.truncate(count);
    paths
}

/// A path that `pattern` takes.
fn request(pattern: &str, random: &mut Random) -> String {
    let segment = |segment: &str, random: &mut Random| match segment.as_bytes() {
        [b'{', b'*', ..] => format!("2024/{}/scan.pdf", random.below(100)),
        [b'{', ..] => format!("{:06}", random.below(1_000_000)),
        _ => segment.to_owned(),
    };
    let segments: Vec<String> = pattern.split('/').map(|s| segment(s, random)).collect();
    segments.join("/")
}

fn rule(index: usize, path: &str) -> Rule {
    Rule {
        route: Some(RouteId(index as u32)),
        name: format!("route-{index}"),
        path: path.to_owned(),
        ..Rule::default()
    }
}

struct Set {
    router: Router,
    matchit: matchit::Router<u32>,
    requests: Requests,
}

/// The paths in one text, as a head that was just parsed is: at hand. What is measured is the
/// router's memory, not the benchmark's.
struct Requests {
    text: String,
    ends: Vec<u32>,
}

impl Requests {
    fn new(paths: impl Iterator<Item = String>) -> Requests {
        let mut requests = Requests { text: String::new(), ends: Vec::new() };
        for path in paths {
            requests.text.push_str(&path);
            requests.ends.push(requests.text.len() as u32);
        }
        requests
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let path = &self.text[start..*end as usize];
            start = *end as usize;
            path
        })
    }
}

fn set(count: usize, only_static: bool) -> Set {
    let mut list = paths(if only_static { count * 5 / 2 } else { count });
    list.retain(|path| !only_static || !path.contains('{'));
    let rules: Vec<Rule> = list.iter().enumerate().map(|(i, path)| rule(i, path)).collect();
    let mut matchit = matchit::Router::new();
    for (i, path) in list.iter().enumerate() {
        matchit.insert(path.clone(), i as u32).expect("a path of its own");
    }
    let mut random = Random(7);
    let requests = (0..ROUND).map(|_| request(&list[random.below(list.len())], &mut random));
    let requests = Requests::new(requests);
    let router = build(&rules).expect("paths apart");
    let per_route = router.heap_bytes() / rules.len();
    println!("{} routes: {} bytes of heap for each", rules.len(), per_route);
    Set { router, matchit, requests }
}

fn lookup<'a>(path: &'a str, host: Option<&'a [u8]>, fields: &'a Fields) -> Lookup<'a> {
    Lookup {
        host,
        path: path.as_bytes(),
        query: b"",
        method: Method::Get,
        method_text: b"GET",
        fields,
        head: b"",
    }
}

fn find(router: &Router, path: &str, fields: &Fields, params: &mut Params) -> u32 {
    match router.find(&lookup(path, None, fields), params) {
        Found::Route(route) => route.0,
        _ => u32::MAX,
    }
}

fn by_path(c: &mut Criterion) {
    for (name, only_static) in [("router", false), ("router_static", true)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(ROUND as u64));
        for count in [200, 10_000, 100_000] {
            let set = set(count, only_static);
            let fields = Fields::default();
            let mut params = Params::default();
            for path in set.requests.iter() {
                let theirs = set.matchit.at(path).map_or(u32::MAX, |found| *found.value);
                assert_eq!(find(&set.router, path, &fields, &mut params), theirs, "{path}");
            }
            group.bench_function(BenchmarkId::new("busbar", count), |b| {
                b.iter(|| {
                    for path in set.requests.iter() {
                        black_box(find(&set.router, black_box(path), &fields, &mut params));
                        black_box(params.as_slice());
                    }
                });
            });
            group.bench_function(BenchmarkId::new("matchit", count), |b| {
                b.iter(|| {
                    for path in set.requests.iter() {
                        let _ = black_box(set.matchit.at(black_box(path)));
                    }
                });
            });
        }
        group.finish();
    }
}

/// 1,000 hosts of ten paths, each path with a rule for reading and one for writing.
fn by_host(c: &mut Criterion) {
    let mut rules = Vec::new();
    let hosts: Vec<String> = (0..1000).map(|i| format!("shop-{i}.example.com")).collect();
    let list = paths(10);
    for host in &hosts {
        for path in &list {
            for methods in [&["GET"][..], &["POST", "PUT", "DELETE"]] {
                let methods = methods.iter().map(|method| (*method).to_owned()).collect();
                let hosts = vec![host.clone()];
                rules.push(Rule { hosts, methods, ..rule(rules.len(), path) });
            }
        }
    }
    let router = build(&rules).expect("rules apart");
    println!("{} routes: {} bytes for each", rules.len(), router.heap_bytes() / rules.len());
    let mut random = Random(9);
    let asked: Vec<&String> = (0..ROUND).map(|_| &hosts[random.below(hosts.len())]).collect();
    let requests = Requests::new((0..ROUND).map(|_| request(&list[random.below(10)], &mut random)));
    let fields = Fields::default();
    let mut params = Params::default();
    let mut group = c.benchmark_group("router_hosts");
    group.throughput(Throughput::Elements(ROUND as u64));
    group.bench_function("busbar/20000", |b| {
        b.iter(|| {
            for (host, path) in asked.iter().zip(requests.iter()) {
                let lookup = lookup(path, Some(host.as_bytes()), &fields);
                black_box(router.find(black_box(&lookup), &mut params));
            }
        });
    });
    group.finish();
}

fn building(c: &mut Criterion) {
    let mut group = c.benchmark_group("router_build");
    group.sample_size(10);
    for count in [10_000, 100_000] {
        let list = paths(count);
        let rules: Vec<Rule> = list.iter().enumerate().map(|(i, path)| rule(i, path)).collect();
        group.bench_function(BenchmarkId::from_parameter(count), |b| b.iter(|| build(&rules)));
    }
    group.finish();
}

criterion_group!(benches, by_path, by_host, building);
criterion_main!(benches);
