//! The table of rate limits: one for the life of the process, so that counts survive reloads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::say;
use crate::limit::concurrency::Permits;
use crate::limit::gcra::SWEEP_WITHIN;
use crate::limit::shard::{Sweep, Table};
use crate::policy::AnyPolicy;
use crate::policy::rate_limit::{Given, RateLimit};
use crate::rt;
use crate::snapshot::Snapshot;
use crate::time::Mono;

/// Pieces of a whole sweep; one each second, with room for a thread that is late.
const PIECES: usize = 30;
/// Keys fall into buckets by chance: so one of some thousands finds no place when all are there.
const SLOTS_FOR_A_KEY: usize = 4;
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const _: () = assert!(PIECES as u64 * 2 <= SWEEP_WITHIN.as_secs());

/// The table, once a configuration has had a limit.
#[derive(Debug, Default)]
pub struct Limits {
    table: Option<Arc<Table>>,
    sweep: Sweep,
    due: Option<Mono>,
    /// Keys that owed something when the table was last looked through.
    live: usize,
    workers: u32,
    /// Of concurrency limits, by their ids, and whether they count by caller.
    permits: BTreeMap<(u64, bool), Arc<Permits>>,
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&rt::entropy()[..8]);
    u64::from_le_bytes(bytes)
}

impl Limits {
    pub fn new(workers: u32) -> Limits {
        Limits { workers, ..Limits::default() }
    }

    /// Gives a configuration's limits what they count in.
    pub fn give(&mut self, snapshot: &mut Snapshot) {
        self.give_permits(snapshot);
        if !snapshot.has_rate_limits() {
            return;
        }
        let keys = snapshot.server.limit_keys as usize;
        let table = self.table.get_or_insert_with(|| {
            Arc::new(Table::new(std::array::from_fn(|_| seed()), keys * SLOTS_FOR_A_KEY))
        });
        if table.slots() != (keys * SLOTS_FOR_A_KEY).next_power_of_two() {
            say("warning: `server.limit_keys` has changed; that takes a restart");
        }
        snapshot.limits = Some(table.clone());
        self.due.get_or_insert_with(|| rt::now().after(SWEEP_EVERY));
    }

    /// Cells that no configuration has any more are forgotten; requests that hold permits of one
    /// keep it alive as long as they need it.
    fn give_permits(&mut self, snapshot: &mut Snapshot) {
        let before = std::mem::take(&mut self.permits);
        for cell in &mut snapshot.permits {
            let key = (cell.id, cell.is_by_key);
            let made = || {
                Arc::new(match cell.is_by_key {
                    true => Permits::by_key(self.workers as usize, seed()),
                    false => Permits::together(self.workers as usize),
                })
            };
            let permits = self.permits.entry(key);
            let permits = permits.or_insert_with(|| before.get(&key).cloned().unwrap_or_else(made));
            cell.permits = Some(permits.clone());
        }
    }

    pub fn table(&self) -> Option<&Arc<Table>> {
        self.table.as_ref()
    }

    /// Keys that are being counted, as of the last minute.
    pub fn live(&self) -> usize {
        self.live
    }

    pub fn next_at(&self) -> Mono {
        self.due.unwrap_or(Mono::NEVER)
    }

    /// Drops what is over from the next piece of the table, when that is due.
    pub fn sweep(&mut self, now: Mono) {
        let Some(table) = self.table.as_ref().filter(|_| self.due.is_some_and(|due| due <= now))
        else {
            return;
        };
        let piece = table.buckets().div_ceil(PIECES);
        if let Some(live) = table.sweep(&mut self.sweep, piece, now) {
            self.live = live;
        }
        self.due = Some(now.after(SWEEP_EVERY));
    }
}

/// What the limits of a configuration have counted of somebody; `query` is
/// `{ "parts": { "client": "203.0.113.7" }, "reset": false }`. Those are shown whose parts are all
/// given; one by route that is given no route, for each. With `reset`, as they are then.
pub fn look(snapshot: &Snapshot, query: &str, now: Mono) -> Result<Value, String> {
    let query: Value = serde_json::from_str(query).map_err(|e| format!("not JSON: {e}"))?;
    let parts = query["parts"].as_object().ok_or("`parts` are a table")?;
    let mut given = Vec::new();
    for (name, value) in parts {
        let value = value.as_str().ok_or_else(|| format!("`{name}` is a text"))?;
        given.push(match name.starts_with("claim:") {
            true => Given::of(name, &as_json(value))?,
            false => Given::of(name, value)?,
        });
    }
    let is_reset = query["reset"].as_bool().unwrap_or_default();
    let Some(table) = &snapshot.limits else { return Err("there are no rate limits".to_owned()) };
    let mut shown = BTreeMap::new();
    for (route, limit) in rate_limits(snapshot) {
        let Some(hash) = limit.key_of(table, &given, route) else { continue };
        if is_reset {
            table.reset(hash);
        }
        let state = table.look(hash, limit.rate(), now);
        let of = if limit.is_by_route() {
            format!("{} of {route}", limit.name())
        } else {
            limit.name().to_owned()
        };
        let json = json!({
            "limit": of,
            "rate": limit.text(),
            "left": limit.rate().remaining(state),
            "burst": limit.rate().burst(),
            "full_in_s": limit.rate().reset(state).as_secs_f64(),
            "reset": is_reset,
        });
        shown.insert((of, limit.text()), json);
    }
    match shown.is_empty() {
        true => {
            let all = rate_limits(snapshot).into_iter().map(|(_, limit)| limit.parts());
            let all: Vec<String> = BTreeSet::from_iter(all).into_iter().collect();
            Err(format!("no limit counts by exactly these; they count by {}", all.join("; by ")))
        }
        false => Ok(json!({ "limits": shown.into_values().collect::<Vec<_>>() })),
    }
}

/// A claim's value as a token has it: what is no JSON was meant as a text.
fn as_json(value: &str) -> String {
    match serde_json::from_str::<Value>(value) {
        Ok(_) => value.to_owned(),
        Err(_) => Value::from(value).to_string(),
    }
}

/// Each with the name of a route that it holds for; empty before there is one.
fn rate_limits(snapshot: &Snapshot) -> Vec<(&str, &RateLimit)> {
    let of_routes = snapshot.routes.iter().map(|route| (&*route.name, &*route.policies));
    let of_listeners = snapshot.listeners.iter().map(|listener| ("", &listener.guards));
    let mut found = Vec::new();
    for (route, chain) in of_routes.chain(of_listeners) {
        for policy in chain.policies() {
            match policy {
                AnyPolicy::RateLimit(limit) => found.push((route, &**limit)),
                AnyPolicy::PlanLimits(plans) => {
                    let limits = plans.by_plan.iter().flatten();
                    found.extend(limits.map(|limit| (route, limit)));
                }
                _ => {}
            }
        }
    }
    found
}
