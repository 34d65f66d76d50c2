//! What the gateway says of itself, collected as control does it: numbers and lines.

use std::sync::Arc;

use crate::log::record::Record;
use crate::log::ring::{Consumer, ring};
use crate::metrics::recorder::Recorder;
use crate::metrics::totals::Totals;
use crate::rt::alarm::Alarm;
use crate::sim::exec::world;
use crate::sim::oracle::{Oracle, Shared};
use crate::sim::seen::{Kind, Promise, checked, saw};
use crate::snapshot::Snapshot;
use crate::worker::mailbox::LogEnd;

pub struct Learned {
    totals: Totals,
    /// By worker: its next recorder, unless that is with it.
    spares: Vec<Option<Box<Recorder>>>,
    rings: Vec<Consumer>,
    /// Lines there were, with a route, by class of status; and the bytes they tell of.
    lines: u64,
    routed: u64,
    classes: [u64; 6],
    bytes: (u64, u64),
}

impl Learned {
    pub fn new(workers: u32) -> Learned {
        Learned {
            totals: Totals::default(),
            spares: (0..workers).map(|_| Some(Box::default())).collect(),
            rings: Vec::new(),
            lines: 0,
            routed: 0,
            classes: [0; 6],
            bytes: (0, 0),
        }
    }

    /// The log's end of one more worker.
    pub fn log_end(&mut self, ring_bytes: usize) -> LogEnd {
        let (producer, consumer) = ring(ring_bytes);
        self.rings.push(consumer);
        LogEnd { producer, alarm: Arc::new(Alarm::default()) }
    }

    /// The names of a configuration, by their keys.
    pub fn adopt(&mut self, snapshot: &Snapshot) {
        let routes = snapshot.routes.iter().zip(&snapshot.keys.routes);
        let upstreams = snapshot.upstreams.iter().zip(&snapshot.keys.upstreams);
        self.totals.adopt(
            routes.map(|(route, key)| (*key, &*route.name)),
            upstreams.map(|(upstream, key)| (*key, &*upstream.name)),
        );
    }

    /// The recorder that a worker may go on with.
    pub fn spare(&mut self, worker: usize) -> Option<Box<Recorder>> {
        self.spares[worker].take().inspect(|_| saw(Kind::NumbersAsked))
    }

    /// A worker has handed its recorder over, in the middle or at its end.
    pub fn absorb(&mut self, worker: u32, mut recorder: Box<Recorder>) {
        self.totals.absorb(&mut recorder);
        self.spares[worker as usize] = Some(recorder);
    }

    /// Reads the lines that are there.
    pub fn read_lines(&mut self, oracle: &Shared) {
        let mut packed = Vec::new();
        for ring in &mut self.rings {
            while ring.pop(&mut packed) {
                let mut oracle = oracle.borrow_mut();
                let Some(record) = Record::unpack(&packed) else {
                    oracle.violated("a line can't be read".to_owned());
                    continue;
                };
                if record.status > 0 && record.bytes_out == 0 && world(|w| w.faults.are_off()) {
                    oracle.violated(format!("a {} of no bytes", record.status));
                }
                self.lines += 1;
                self.routed += u64::from(!record.route.is_empty());
                self.classes[usize::from(record.status / 100).min(5)] += 1;
                self.bytes.0 += record.bytes_in;
                self.bytes.1 += record.bytes_out;
                let nonce = record.path.strip_prefix(b"/n/");
                let nonce = nonce.and_then(|n| std::str::from_utf8(n).ok()?.parse().ok());
                if let Some(nonce) = nonce {
                    oracle.line(nonce, record.status, record.attempts);
                }
            }
        }
    }

    /// Oracle 10, when every worker has ended.
    pub fn judge(&mut self, oracle: &mut Oracle) {
        let dropped: u64 = self.rings.iter().map(Consumer::dropped).sum();
        let whole = &self.totals.whole;
        if whole.exchanges() != self.lines + dropped {
            let (counted, lines) = (whole.exchanges(), self.lines);
            let what = format!("{counted} exchanges, {lines} lines and {dropped} dropped");
            oracle.violated(what);
        }
        oracle.judge_lines(dropped > 0);
        checked(Promise::CountedOnce);
        if dropped > 0 {
            return saw(Kind::LineDropped);
        }
        let by_route: u64 = self.totals.routes.rows().map(|(_, row)| row.count()).sum();
        let counted = (whole.classes, by_route, (whole.bytes_in, whole.bytes_out));
        let told = (self.classes, self.routed, self.bytes);
        if counted != told {
            oracle.violated(format!("numbers say {counted:?}, lines {told:?}"));
        }
    }
}
