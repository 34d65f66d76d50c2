//! Snapshots on their way to workers and to their end. A core: control's thread and the
//! simulated world drive the same one.
//!
//! ```text
//!  publish ─▶ alive ─▶ adopted by every worker ─▶ nobody holds it ─▶ bury (here, not on a worker)
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::ids::Key;
use crate::snapshot::{Keys, Snapshot, Upstream};
use crate::time::Mono;

/// Names of one kind over generations. A name that goes gives its key back once no snapshot that
/// had it is left.
#[derive(Debug, Default)]
struct Keyring {
    /// With the last generation that had the name.
    names: BTreeMap<Box<str>, (Key, u64)>,
    /// Keys of names that are gone, and the last generation that had them.
    retired: Vec<(Key, u64)>,
    free: Vec<Key>,
    next: u32,
}

impl Keyring {
    fn assign<'n>(
        &mut self,
        names: impl Iterator<Item = &'n Box<str>>,
        generation: u64,
    ) -> Box<[Key]> {
        let mut keys = Vec::new();
        for name in names {
            if let Some((key, seen)) = self.names.get_mut(name) {
                *seen = generation;
                keys.push(*key);
                continue;
            }
            let key = self.free.pop().unwrap_or_else(|| {
                self.next += 1;
                Key(self.next - 1)
            });
            self.names.insert(name.clone(), (key, generation));
            keys.push(key);
        }
        let retired = &mut self.retired;
        self.names.retain(|_, (key, seen)| {
            if *seen != generation {
                retired.push((*key, *seen));
            }
            *seen == generation
        });
        keys.into()
    }

    /// Snapshots before `oldest` are gone.
    fn free(&mut self, oldest: u64) {
        let (free, retired) = self.retired.drain(..).partition(|(_, last)| *last < oldest);
        self.retired = retired;
        self.free.extend(Vec::into_iter(free).map(|(key, _)| key));
    }
}

#[derive(Debug)]
struct Alive {
    snapshot: Arc<Snapshot>,
    published: Mono,
    /// Workers that have adopted it.
    adopted: u32,
}

/// A snapshot that was freed.
#[derive(Debug, PartialEq, Eq)]
pub struct Buried {
    pub generation: u64,
    pub published: Mono,
}

/// Every snapshot that is not freed yet, the present one last.
#[derive(Debug, Default)]
pub struct Publisher {
    workers: u32,
    generation: u64,
    alive: VecDeque<Alive>,
    listeners: Keyring,
    upstreams: Keyring,
    routes: Keyring,
}

impl Publisher {
    pub fn new(workers: u32) -> Publisher {
        Publisher { workers, ..Publisher::default() }
    }

    /// Numbers a snapshot and gives its names their keys. From now on it is the present one.
    pub fn publish(&mut self, mut snapshot: Snapshot, now: Mono) -> Arc<Snapshot> {
        self.generation += 1;
        let generation = self.generation;
        snapshot.generation = generation;
        let unchanged = self.unchanged(&snapshot);
        snapshot.keys = Keys {
            listeners: self
                .listeners
                .assign(snapshot.listeners.iter().map(|l| &l.name), generation),
            upstreams: self
                .upstreams
                .assign(snapshot.upstreams.iter().map(|u| &u.name), generation),
            unchanged,
            routes: self.routes.assign(snapshot.routes.iter().map(|r| &r.name), generation),
        };
        let snapshot = Arc::new(snapshot);
        self.alive.push_back(Alive { snapshot: snapshot.clone(), published: now, adopted: 0 });
        snapshot
    }

    /// By upstream: as it is in the present snapshot. Names are sorted but for the anonymous ones,
    /// which follow in the order of their routes.
    fn unchanged(&self, next: &Snapshot) -> Box<[bool]> {
        let Some(present) = self.present() else {
            return next.upstreams.iter().map(|_| false).collect();
        };
        let known: BTreeMap<&str, &Upstream> =
            present.upstreams.iter().map(|u| (&*u.name, u)).collect();
        next.upstreams.iter().map(|u| known.get(&*u.name).is_some_and(|k| *k == u)).collect()
    }

    /// A worker uses `generation`. True when it was the last one to.
    pub fn adopted(&mut self, generation: u64) -> bool {
        let workers = self.workers;
        let found = self.alive.iter_mut().find(|a| a.snapshot.generation == generation);
        found.is_some_and(|alive| {
            alive.adopted += 1;
            debug_assert!(alive.adopted <= workers, "each worker adopts once");
            alive.adopted == workers
        })
    }

    /// Frees the snapshots that nobody holds any more, the present one excepted.
    pub fn bury(&mut self) -> Vec<Buried> {
        let mut buried = Vec::new();
        let present = self.generation;
        self.alive.retain(|alive| {
            let generation = alive.snapshot.generation;
            // Ours is the only one: no worker, no message to one.
            let is_held = generation == present || Arc::strong_count(&alive.snapshot) > 1;
            if !is_held {
                buried.push(Buried { generation, published: alive.published });
            }
            is_held
        });
        buried
    }

    /// The oldest generation that is not freed.
    pub fn oldest(&self) -> u64 {
        self.alive.front().map_or(self.generation, |alive| alive.snapshot.generation)
    }

    /// Keys of names that only generations before `oldest` had may be given to others: nothing
    /// that was counted under them is still to come.
    pub fn free_keys(&mut self, oldest: u64) {
        for keys in [&mut self.listeners, &mut self.upstreams, &mut self.routes] {
            keys.free(oldest);
        }
    }

    pub fn present(&self) -> Option<&Arc<Snapshot>> {
        self.alive.back().map(|alive| &alive.snapshot)
    }

    /// The number of the present one; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Snapshots that are not freed yet.
    pub fn alive(&self) -> usize {
        self.alive.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Input};

    fn snapshot(text: &str) -> Snapshot {
        let name = "publish.toml".to_owned();
        let sets = Vec::new();
        let loaded = config::load(Input {
            text: text.to_owned(),
            name,
            base_dir: None,
            sets,
            env: &|_| None,
        });
        loaded.snapshot.expect("a valid configuration")
    }

    fn routes(names: &[&str]) -> Snapshot {
        let table = |name| format!("[route.{name}]\npath = \"/{name}\"\nrespond = \"x\"\n");
        snapshot(&names.iter().map(table).collect::<String>())
    }

    fn keys(snapshot: &Snapshot) -> Vec<u32> {
        snapshot.keys.routes.iter().map(|key| key.0).collect()
    }

    #[test]
    fn a_name_keeps_its_key_and_a_key_waits_for_the_burial() {
        let mut publisher = Publisher::new(1);
        let first = publisher.publish(routes(&["a", "b", "c"]), Mono(1));
        assert_eq!(keys(&first), [0, 1, 2]);
        let second = publisher.publish(routes(&["b", "c", "d"]), Mono(2));
        assert_eq!(keys(&second), [1, 2, 3], "a's key is not free while the first lives");
        // It comes back as somebody new.
        let third = publisher.publish(routes(&["a", "b"]), Mono(3));
        assert_eq!(keys(&third), [4, 1]);
        drop((first, second));
        assert_eq!(publisher.bury().len(), 2);
        let early = publisher.publish(routes(&["b", "x"]), Mono(4));
        assert_eq!(keys(&early), [1, 5], "not before what was counted under them is told");
        publisher.free_keys(publisher.oldest());
        let fifth = publisher.publish(routes(&["b", "x", "y", "z"]), Mono(5));
        let mut used = keys(&fifth);
        used.sort_unstable();
        assert_eq!(used, [1, 2, 3, 5], "freed keys are used again");
    }

    #[test]
    fn what_is_as_it_was_is_marked() {
        let text = |max: u32| {
            format!(
                "[upstream.a]\nendpoints = [\"h:1\"]\n[upstream.b]\nendpoints = [\"h:2\"]\n\
                 connections_max = {max}\n[route.r]\npath = \"/r\"\nto = {{ a = 1, b = 1 }}\n\
                 [route.s]\nto = \"http://h:3\"\n"
            )
        };
        let mut publisher = Publisher::new(1);
        let unchanged = |publisher: &mut Publisher, max: u32| {
            publisher.publish(snapshot(&text(max)), Mono(1)).keys.unchanged.to_vec()
        };
        assert_eq!(unchanged(&mut publisher, 7), [false; 3]);
        assert_eq!(unchanged(&mut publisher, 7), [true; 3]);
        assert_eq!(unchanged(&mut publisher, 8), [true, false, true]);
    }

    #[test]
    fn the_present_one_and_those_that_are_held_are_not_buried() {
        let mut publisher = Publisher::new(2);
        let first = publisher.publish(routes(&["a"]), Mono(1));
        assert!(publisher.bury().is_empty());
        assert!(!publisher.adopted(1));
        assert!(publisher.adopted(1), "both workers have");
        let second = publisher.publish(routes(&["a"]), Mono(2));
        assert_eq!((second.generation, publisher.alive()), (2, 2));
        drop(second);
        assert!(publisher.bury().is_empty(), "the first is held, the second is present");
        drop(first);
        assert_eq!(publisher.bury(), [Buried { generation: 1, published: Mono(1) }]);
        assert_eq!(publisher.alive(), 1);
        assert!(!publisher.adopted(1), "a late word of one that is gone");
    }
}
