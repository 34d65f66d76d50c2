//! Another configuration: compiled aside, refused whole or adopted whole.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;

use super::voice::systemd;
use super::watch::Watch;
use super::workers::adoptions;
use super::{Control, doors, logger, say, sockets};
use crate::admin::Answer;
use crate::config::Loaded;
use crate::rt;
use crate::snapshot::{Driver, Listener, Server, Snapshot};
use crate::time::Mono;
use crate::worker::mailbox::ToWorker;

/// A worker that has not adopted a configuration by then hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Configurations that wait for a worker which does not take them up; with as many, reloads are
/// refused. Each holds a snapshot and its sockets.
const BEHIND_MAX: u64 = 64;

type Asker = Option<oneshot::Sender<Answer>>;

/// How the configuration is read, at the start and again.
pub struct Loader {
    /// As messages name it.
    pub name: String,
    pub load: Box<dyn Fn() -> Result<Loaded, String>>,
}

/// What of `[server]` holds from the start to the end.
pub(super) struct Fixed {
    workers: Option<u16>,
    pin: Option<bool>,
    driver: Driver,
    memory_max: Option<u64>,
}

impl Fixed {
    pub(super) fn of(server: &Server) -> Fixed {
        let Server { workers, pin, driver, memory_max, .. } = *server;
        Fixed { workers, pin, driver, memory_max }
    }
}

/// What a configuration needs beside itself. Dropped, it leaves nothing behind.
struct Prepared {
    /// Connections of a listener that has no bound of its own.
    derived: u32,
    sockets: sockets::Plan,
    doors: doors::Plan,
    log: logger::Plan,
}

/// A configuration that some worker has not adopted yet.
pub(super) struct Pending {
    generation: u64,
    pub(super) began: Mono,
    pub(super) patience_ends: Mono,
    changes: String,
    warnings: Vec<String>,
    asker: Asker,
}

impl Control {
    /// Reads the configuration again. Refused, it changes nothing.
    pub(super) async fn reload(&mut self, asker: Asker) {
        if self.drain.is_some() {
            refuse(asker, json!({ "error": "the gateway is draining" }));
            return;
        }
        if let Some(e) = behind(&self.adopted, self.publisher.generation()) {
            self.refused(asker, &e, json!({ "error": e }));
            return;
        }
        let began = rt::now();
        systemd::reloading();
        self.watch.iter_mut().for_each(Watch::mark);
        let loaded = match (self.loader.load)() {
            Ok(loaded) => loaded,
            Err(e) => {
                self.refused(asker, &e, json!({ "error": e }));
                return;
            }
        };
        self.follow(&loaded);
        self.numbers.faulty.clone_from(&loaded.faulty);
        let found = &loaded.diagnostics;
        let Some(mut snapshot) = loaded.snapshot else {
            let report = found.render(false);
            let json = serde_json::from_str::<serde_json::Value>(&found.render_json());
            let json = json!({ "error": "the configuration has mistakes", "report": report,
                               "found": json.unwrap_or_default() });
            self.refused(asker, report.trim_end(), json);
            return;
        };
        let prepared = match self.prepare(&snapshot).await {
            Ok(prepared) => prepared,
            Err(e) => {
                self.refused(asker, &e, json!({ "error": e }));
                return;
            }
        };
        let mut warnings = self.unchanged_until_restart(&snapshot.server);
        warnings.extend(prepared.doors.warnings.iter().cloned());
        let is_over = tokio::select! {
            unknown = async {
                self.issuers.learn(&snapshot).await;
                self.names.learn(&snapshot).await
            } => {
                warnings.extend(unknown);
                false
            }
            () = self.signals.end() => true,
        };
        // Before workers adopt: those who wait have the present view.
        self.issuers.take_news().into_iter().for_each(|news| self.tell_news(news));
        if is_over {
            refuse(asker, json!({ "error": "the gateway is draining" }));
            self.begin_drain();
            return;
        }
        let changes = self.digests.changes_to(&loaded.digests);
        let changes = match self.publisher.present() {
            Some(present) => with_certificates(changes, present, &snapshot),
            None => changes,
        };
        self.digests = loaded.digests;
        let report = found.render(false);
        warnings.extend((!report.is_empty()).then(|| report.trim_end().to_owned()));
        let Prepared { derived, sockets, doors, log } = prepared;
        self.doors.take(doors, &snapshot.admin);
        self.limits.give(&mut snapshot);
        self.tickets.give(&snapshot);
        let snapshot = self.publisher.publish(snapshot, rt::now());
        self.numbers.adopt(&snapshot);
        self.numbers.adopted += 1;
        let generation = snapshot.generation;
        let patience_ends = rt::now().after(PATIENCE);
        self.pending.push(Pending { generation, began, patience_ends, changes, warnings, asker });
        let bounds = self.counted.adopt(&snapshot, derived);
        self.names.keep(&snapshot, &self.learned.0);
        let logs = self.logger.take(log, generation, self.workers.len());
        let taken = self.sockets.take(sockets);
        let adoptions = adoptions(
            &snapshot,
            &bounds,
            taken,
            logs,
            &self.counted,
            &self.names,
            &self.issuers.keys(),
        );
        for (worker, adoption) in adoptions.into_iter().enumerate() {
            self.workers.send(worker, ToWorker::Adopt(Box::new(adoption)));
        }
    }

    async fn prepare(&self, snapshot: &Snapshot) -> Result<Prepared, String> {
        Ok(Prepared {
            derived: self.counted.check(snapshot)?,
            sockets: self.sockets.plan(snapshot)?,
            doors: self.doors.plan(&snapshot.admin).await?,
            log: self.logger.plan(snapshot.log.as_ref())?,
        })
    }

    fn follow(&mut self, loaded: &Loaded) {
        let files = watched(loaded, self.watches_all);
        match &mut self.watch {
            Some(watch) => watch.follow(&files),
            None if files.is_empty() => {}
            None => match Watch::new(&files) {
                Ok(watch) => self.watch = Some(watch),
                Err(e) => say(&format!("warning: lists are read only by a reload ({e})")),
            },
        }
    }

    fn refused(&mut self, asker: Asker, why: &str, json: serde_json::Value) {
        self.numbers.refused += 1;
        let generation = self.publisher.present().map_or(0, |s| s.generation);
        say(&format!("{why}\nrefused; generation {generation} stays in force"));
        systemd::ready(&self.status_line());
        refuse(asker, json);
    }

    /// What a file may say and a running process can't follow.
    fn unchanged_until_restart(&self, next: &Server) -> Vec<String> {
        let now = &self.began_with;
        let changed = [
            ("workers", now.workers != next.workers),
            ("pin", now.pin != next.pin),
            ("driver", now.driver != next.driver),
            ("memory_max", now.memory_max != next.memory_max),
        ];
        let changed = changed.iter().filter(|(_, changed)| *changed);
        let line = |(key, _): &(&str, bool)| {
            format!("warning: `server.{key}` has changed; that takes a restart")
        };
        changed.map(line).collect()
    }

    /// The last worker has adopted `generation`.
    pub(super) fn in_force(&mut self, generation: u64) {
        self.workers.send_all(|| ToWorker::Settled(generation));
        let took = |pending: &Pending| rt::now().since(pending.began);
        for pending in self.pending.extract_if(.., |p| p.generation <= generation) {
            let ms = took(&pending).as_secs_f64() * 1000.0;
            let (changes, generation) = (&pending.changes, pending.generation);
            let text = format!("generation {generation} in force ({changes}) in {ms:.1} ms");
            for line in pending.warnings.iter().chain([&text]) {
                say(line);
            }
            let json = json!({ "generation": generation, "changes": changes, "took_ms": ms,
                               "text": text, "warnings": pending.warnings });
            answer(pending.asker, true, json);
        }
        systemd::ready(&self.status_line());
    }

    /// Says which workers have not adopted what was published long ago.
    pub(super) fn tell_overdue(&mut self) {
        let now = rt::now();
        let mut any = false;
        for pending in self.pending.extract_if(.., |p| p.patience_ends <= now) {
            let is_late = |(_, adopted): &(usize, &u64)| **adopted < pending.generation;
            let late = self.adopted.iter().enumerate().filter(is_late);
            let late: Vec<String> = late.map(|(worker, _)| worker.to_string()).collect();
            let text = format!(
                "generation {} is published, but workers have not taken it up: {}; they hang",
                pending.generation,
                late.join(", ")
            );
            say(&text);
            answer(pending.asker, false, json!({ "error": text }));
            any = true;
        }
        if any {
            // It is as ready as it will be; systemd waits for the end of the reload.
            systemd::ready(&self.status_line());
        }
    }
}

/// What has changed, with the listeners that have other certificates than before: their text says
/// nothing of it.
fn with_certificates(changes: String, present: &Snapshot, next: &Snapshot) -> String {
    let digest = |listener: &Listener| listener.tls.as_ref().map(|tls| tls.certs.digest());
    let is_other = |listener: &&Listener| {
        let mut before = present.listeners.iter().filter(|known| known.name == listener.name);
        let before = before.find_map(digest);
        before.is_some() && digest(listener).is_some_and(|now| Some(now) != before)
    };
    let names: Vec<&str> = next.listeners.iter().filter(is_other).map(|l| &*l.name).collect();
    if names.is_empty() {
        return changes;
    }
    let certificates = format!("other certificates on {}", names.join(", "));
    match changes.as_str() {
        "nothing changed" => certificates,
        _ => format!("{changes}, {certificates}"),
    }
}

/// Why there must not be another generation after `present`: by worker, what they have `adopted`.
fn behind(adopted: &[u64], present: u64) -> Option<String> {
    let late = adopted.iter().position(|adopted| present - adopted >= BEHIND_MAX)?;
    Some(format!(
        "worker {late} has not taken up the last {BEHIND_MAX} configurations: it hangs; restart \
         the gateway"
    ))
}

/// What a configuration was read from, and where it looked for more; or only the lists among it.
pub(super) fn watched(loaded: &Loaded, all: bool) -> Vec<PathBuf> {
    if !all {
        return loaded.lists.clone();
    }
    loaded.files.iter().chain(&loaded.folders).cloned().collect()
}

fn refuse(asker: Asker, json: serde_json::Value) {
    answer(asker, false, json);
}

fn answer(asker: Asker, is_done: bool, json: serde_json::Value) {
    if let Some(asker) = asker {
        let _ = asker.send(match is_done {
            true => Answer::Done(json),
            false => Answer::Refused(json),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What waits for a worker that hangs is bounded.
    #[test]
    fn a_worker_that_takes_nothing_up_ends_the_reloads() {
        assert_eq!(behind(&[70, 7, 70], 70), None);
        let why = behind(&[71, 7, 71], 71).expect("one more");
        assert!(why.starts_with("worker 1 has not taken up the last 64"), "{why}");
        assert_eq!(behind(&[71, 70, 71], 71), None, "it has caught up");
    }
}
