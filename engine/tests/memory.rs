//! A compiled route costs less than 1 KiB, its part of the router included.

#![allow(unsafe_code)] // counts on behalf of the system's allocator

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::config::{self, Input};
use engine::snapshot::Snapshot;

struct Counting;

/// Bytes that are in use.
static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUTES: usize = 10_000;
const ROUTE_BYTES_MAX: usize = 1024;

const LAYERS: &str = "\
[upstream.u]
endpoints = [\"10.0.0.1:80\"]
[all]
timeout = \"10s\"
deadline = \"1m\"
headers.response = { remove = [\"Server\", \"X-Powered-By\"], set = { X-Frame-Options = \"DENY\" } }
[group.outer]
body_limit = \"1MiB\"
upgrade = [\"websocket\", \"other\"]
headers.request.set = { X-Tenant = \"{tenant}\", X-Route = \"{route}\" }
[group.api]
group = \"outer\"
prefix = \"/{tenant}\"
methods = [\"GET\", \"POST\"]
rewrite = { path = \"/of/{tenant}{path}\", query = \"{query}&t={tenant}\" }
";

fn load(text: String) -> Snapshot {
    let name = "test".to_owned();
    let sets = Vec::new();
    let loaded = config::load(Input { text, name, base_dir: None, sets, env: &|_| None });
    loaded.snapshot.unwrap_or_else(|| panic!("{}", loaded.diagnostics.render(false)))
}

/// Bytes of a snapshot, by route. What the load itself takes is given back before it ends.
fn cost(text: &str) -> usize {
    let before = BYTES.load(Ordering::Relaxed);
    let snapshot = load(text.to_owned());
    let after = BYTES.load(Ordering::Relaxed);
    assert_eq!(snapshot.routes.len(), ROUTES);
    (after - before) / ROUTES
}

fn many(head: &str, lines: &str) -> String {
    let mut text = String::with_capacity(ROUTES * 200);
    text.push_str(head);
    for i in 0..ROUTES {
        let _ = write!(
            text,
            "[route.service-{i}]\nhost = \"h{}.example.com\"\n\
             path = \"/api/v{}/things-{i}/{{id}}\"\nto = \"u\"\n{lines}",
            i % 100,
            i % 7
        );
    }
    text
}

/// One test, since the counter is one.
#[test]
fn a_route_costs_less_than_a_kibibyte() {
    let plain = "[upstream.u]\nendpoints = [\"10.0.0.1:80\"]\n";
    let own = "timeout = \"3s\"\nmethods = \"GET\"\nbody_limit = \"1KiB\"\n\
               headers.request.set.X-Id = \"{id}\"\n";
    let rows = [
        ("plain", many(plain, "")),
        ("in a group with much to say", many(LAYERS, "group = \"api\"\n")),
        ("with keys of its own", many(plain, own)),
    ];
    for (what, text) in rows {
        let bytes = cost(&text);
        println!("a route {what}: {bytes} bytes");
        assert!(bytes < ROUTE_BYTES_MAX, "{what}: {bytes} bytes");
    }
}
