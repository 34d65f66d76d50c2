//! How many connections each listener may have, out of the descriptors the process has.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::Key;
use crate::limit::clients::ClientCounts;
use crate::snapshot::{Listener, Snapshot, Upstream};
use crate::worker::{Bounds, Counts};

/// Descriptors of the control thread: files, signals, the admin interface and who asks it.
const CONTROL_SPARE: u64 = 48;
/// Of one worker: its ring or epoll, two ends of its doorbell, three of what it passes turns with,
/// and some more.
const WORKER_SPARE: u64 = 9;

/// What workers count together, over generations.
#[derive(Debug)]
pub struct Counted {
    descriptors: u64,
    workers: u64,
    listeners: BTreeMap<Key, Arc<Counts>>,
    /// Of those that are gone.
    full_before: u64,
    clients: Option<Arc<ClientCounts>>,
    seed: u64,
}

/// Raises the soft limit of descriptors to the hard one; returns what holds now.
fn raise_descriptors() -> u64 {
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    raised.or_else(|_| rlimit::getrlimit(rlimit::Resource::NOFILE).map(|l| l.0)).unwrap_or(1024)
}

impl Counted {
    pub fn new(workers: u32, seed: u64) -> Counted {
        Counted::with_descriptors(raise_descriptors(), workers, seed)
    }

    pub fn with_descriptors(descriptors: u64, workers: u32, seed: u64) -> Counted {
        Counted {
            descriptors,
            workers: u64::from(workers),
            listeners: BTreeMap::new(),
            full_before: 0,
            clients: None,
            seed,
        }
    }

    /// Whether the descriptors suffice; connections of a listener that has no bound of its own.
    pub fn check(&self, snapshot: &Snapshot) -> Result<u32, String> {
        let descriptors = self.descriptors;
        let sockets: u64 = snapshot.listeners.iter().map(|l| l.address.sockets()).sum();
        let spare = CONTROL_SPARE + self.workers * (WORKER_SPARE + sockets);
        let usable = descriptors.saturating_sub(spare);
        let listeners = snapshot.listeners.len() as u64;
        // Two descriptors each, a tenth spare.
        let derived = usable * 9 / 10 / 2 / listeners.max(1);
        if derived < 8 {
            return Err(format!(
                "{descriptors} file descriptors are too few for {} workers and {listeners} \
                 listeners: raise the hard limit (ulimit -Hn, or LimitNOFILE= in the unit)",
                self.workers
            ));
        }
        let wanted: u64 =
            snapshot.listeners.iter().filter_map(|l| l.connections_max).map(u64::from).sum();
        if wanted * 2 > usable {
            return Err(format!(
                "connections_max asks for {wanted} connections, which may need {} file \
                 descriptors, but only {descriptors} are allowed: raise the hard limit or lower \
                 connections_max",
                wanted * 2 + spare
            ));
        }
        let few = |u: &&Upstream| u.connections_max.is_some_and(|m| u64::from(m) < self.workers);
        if let Some(upstream) = snapshot.upstreams.iter().find(few) {
            return Err(format!(
                "connections_max of upstream `{}` is shared out to {} workers, so that each needs \
                 at least one: raise it, or lower `server.workers`",
                upstream.name, self.workers
            ));
        }
        Ok(derived.min(u64::from(u32::MAX)) as u32)
    }

    /// By `ListenerId`. Names that stay keep their counts.
    pub fn adopt(&mut self, snapshot: &Snapshot, derived: u32) -> Box<[Bounds]> {
        if self.clients.is_none()
            && snapshot.listeners.iter().any(|l| l.connections_per_client.is_some())
        {
            self.clients = Some(Arc::new(ClientCounts::new(self.seed)));
        }
        let before = std::mem::take(&mut self.listeners);
        let bound = |(listener, key): (&Listener, &Key)| {
            let counts = before.get(key).cloned().unwrap_or_default();
            self.listeners.insert(*key, counts.clone());
            Bounds {
                counts,
                open_max: listener.connections_max.unwrap_or(derived),
                per_client_max: listener.connections_per_client,
            }
        };
        let bounds = snapshot.listeners.iter().zip(&snapshot.keys.listeners).map(bound).collect();
        let is_gone = |(key, _): &(&Key, &Arc<Counts>)| !self.listeners.contains_key(key);
        self.full_before += before.iter().filter(is_gone).map(|(_, c)| c.full()).sum::<u64>();
        bounds
    }

    pub fn clients(&self) -> Option<Arc<ClientCounts>> {
        self.clients.clone()
    }

    pub fn open_of(&self, listener: &Key) -> u32 {
        self.listeners.get(listener).map_or(0, |counts| counts.open())
    }

    /// Connections open on the listeners there are.
    pub fn open(&self) -> u32 {
        self.listeners.values().map(|counts| counts.open()).sum()
    }

    /// Times a listener was found full.
    pub fn full(&self) -> u64 {
        self.full_before + self.listeners.values().map(|counts| counts.full()).sum::<u64>()
    }
}
