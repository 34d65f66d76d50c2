//! What runs, in words and in numbers.

use serde_json::{Value, json};

use super::bounds::Counted;
use super::{Control, Total};
use crate::metrics::totals::Totals;
use crate::rt;

impl Control {
    /// For `GET /status`.
    pub(super) fn status(&self) -> Value {
        let snapshot = self.publisher.present().expect("it runs on one");
        let listeners: Vec<Value> = snapshot
            .listeners
            .iter()
            .map(|l| json!({ "name": l.name, "address": super::sockets::address_text(&l.address) }))
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "configuration": self.loader.name,
            "generation": snapshot.generation,
            "snapshots": self.publisher.alive(),
            "driver": self.driver.name(),
            "workers": self.workers.len(),
            "adopted": self.adopted,
            "ready": self.is_ready(),
            "draining": self.drain.is_some(),
            "hangs": self.watchdog.hangs(),
            "connections": self.counted.open(),
            "routes": snapshot.routes.len(),
            "upstreams": snapshot.upstreams.len(),
            "listeners": listeners,
            "uptime_s": rt::now().since(self.began).as_secs(),
            "pid": std::process::id(),
        })
    }

    pub(super) fn status_line(&self) -> String {
        let snapshot = self.publisher.present().expect("it runs on one");
        format!("generation {}: {} routes", snapshot.generation, snapshot.routes.len())
    }
}

/// The last line of a run.
pub(super) fn summary(totals: &Totals, total: &Total, counted: &Counted) -> String {
    let whole = &totals.whole;
    let [none, c1, c2, c3, c4, c5] = whole.classes;
    let at = whole.times.quantiles([0.50, 0.99]).unwrap_or_default();
    let [half, most] = at.map(|us| us as f64 / 1000.0);
    format!(
        "served {} requests on {} connections (1xx {c1}, 2xx {c2}, 3xx {c3}, 4xx {c4}, 5xx {c5}, \
         aborted {none}), {} upstream connections, {} retries; p50 {:.2} ms, p99 {:.2} ms; {} \
         times full; {} cut, {} panics",
        whole.exchanges(),
        whole.connections,
        whole.upstream_connections,
        whole.retries,
        half,
        most,
        counted.full(),
        total.cut,
        total.panics,
    )
}
