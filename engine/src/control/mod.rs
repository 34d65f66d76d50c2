//! The shell of the control plane: one thread on tokio. Starts workers, hears signals, resolves
//! names, drains. A worker never waits for it.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // clocks and threads live here

mod cores;
mod resolver;
mod sockets;

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::metrics::recorder::Recorder;
use crate::rt::{self, Ran};
use crate::snapshot::Snapshot;
use crate::worker::mailbox::{Mailbox, ToWorker, mailbox};
use crate::worker::{self, Report, Seat, Shared};
pub use cores::Cores;

/// Addresses of names are looked up again this often.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// Share of the memory this process may use that connection buffers take at most.
const MEMORY_SHARE: u64 = 4;
const MEMORY_DEFAULT_MAX: u64 = 1 << 30;
/// Descriptors that are not connections: listeners, doorbells, rings, files.
const DESCRIPTORS_SPARE: u64 = 64;

/// Why the gateway did not start, or how it ended.
#[derive(Debug)]
pub enum Failed {
    /// One line: what, where, what to do.
    Start(String),
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Ended {
    /// Everything that was in flight was finished.
    Drained,
    /// A deadline of the drain cut some of it.
    Cut,
    /// A second signal ended it at once.
    AtOnce,
}

struct Running {
    threads: Vec<JoinHandle<()>>,
    mailboxes: Vec<Mailbox>,
    reports: Receiver<FromWorker>,
}

enum FromWorker {
    Runs(Ran),
    Failed(u32, std::io::Error),
    Report(Box<Report>),
}

/// Says one line on standard error. What can't be written is lost.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs the gateway until it is told to end.
pub fn run(snapshot: Snapshot) -> Result<Ended, Failed> {
    let snapshot = Arc::new(snapshot);
    let descriptors = raise_descriptors();
    let cores = Cores::find(&snapshot.server);
    let shared = Shared::new(&bounds(&snapshot, descriptors)?, seed_u64());
    let mut sockets = sockets::open_all(&snapshot, cores.workers).map_err(Failed::Start)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failed::Start(format!("the control thread can't start: {e}")))?;
    let first = runtime.block_on(resolver::resolve_all(&snapshot));
    let running = start(&snapshot, &cores, &shared, &mut sockets)?;
    let mut driver = None;
    for _ in 0..cores.workers {
        match running.reports.recv() {
            Ok(FromWorker::Runs(ran)) => driver = Some(ran),
            Ok(FromWorker::Failed(id, e)) => {
                return Err(Failed::Start(format!("worker {id} can't start: {e}")));
            }
            _ => return Err(Failed::Start("a worker ended before it began".to_owned())),
        }
    }
    for resolved in first {
        send_all(&running.mailboxes, || ToWorker::Resolved(resolved.clone()));
    }
    announce(&snapshot, &cores, driver);
    let ended = runtime.block_on(control(&snapshot, &running, &shared));
    sockets::remove_unix(&snapshot);
    ended
}

fn seed_u64() -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&rt::entropy()[..8]);
    u64::from_le_bytes(bytes)
}

fn announce(snapshot: &Snapshot, cores: &Cores, driver: Option<Ran>) {
    let driver = driver.map_or("?", Ran::name);
    if matches!(snapshot.server.driver, crate::snapshot::Driver::Auto) && driver == "epoll" {
        say("io_uring is refused here (an old kernel, a container's seccomp profile or \
             kernel.io_uring_disabled): running on epoll");
    }
    for listener in &snapshot.listeners {
        let routes = snapshot.routes.len();
        say(&format!(
            "listening on {} ({}): {routes} routes, {} workers, {driver}",
            sockets::address_text(&listener.address),
            listener.name,
            cores.workers
        ));
    }
}

/// Raises the soft limit of descriptors to the hard one; returns what holds now.
fn raise_descriptors() -> u64 {
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    raised.or_else(|_| rlimit::getrlimit(rlimit::Resource::NOFILE).map(|l| l.0)).unwrap_or(1024)
}

/// By listener: connections over all workers, and by client.
fn bounds(snapshot: &Snapshot, descriptors: u64) -> Result<Vec<(u32, Option<u32>)>, Failed> {
    let usable = descriptors.saturating_sub(DESCRIPTORS_SPARE);
    let listeners = snapshot.listeners.len() as u64;
    // Two descriptors each, a tenth spare.
    let derived = usable * 9 / 10 / 2 / listeners.max(1);
    if derived < 8 {
        return Err(Failed::Start(format!(
            "{descriptors} file descriptors are too few for {listeners} listeners: raise the \
             hard limit (ulimit -Hn, or LimitNOFILE= in the unit)"
        )));
    }
    let wanted: u64 =
        snapshot.listeners.iter().filter_map(|l| l.connections_max).map(u64::from).sum();
    if wanted * 2 > usable {
        return Err(Failed::Start(format!(
            "connections_max asks for {wanted} connections, which may need {} file descriptors, \
             but only {descriptors} are allowed: raise the hard limit or lower connections_max",
            wanted * 2 + DESCRIPTORS_SPARE
        )));
    }
    let bound = |l: &crate::snapshot::Listener| {
        let max = l.connections_max.unwrap_or(derived.min(u64::from(u32::MAX)) as u32);
        (max, l.connections_per_client)
    };
    Ok(snapshot.listeners.iter().map(bound).collect())
}

fn start(
    snapshot: &Arc<Snapshot>,
    cores: &Cores,
    shared: &Arc<Shared>,
    sockets: &mut Vec<Vec<worker::Socket>>,
) -> Result<Running, Failed> {
    let (sender, reports) = channel();
    let memory = snapshot
        .server
        .memory_max
        .unwrap_or_else(|| (cores::memory_allowed() / MEMORY_SHARE).min(MEMORY_DEFAULT_MAX));
    let mut running = Running { threads: Vec::new(), mailboxes: Vec::new(), reports };
    for id in 0..cores.workers {
        let failed = |e: std::io::Error| Failed::Start(format!("worker {id} can't start: {e}"));
        let (mailbox, slot) = mailbox().map_err(failed)?;
        let seat = Seat {
            id,
            workers: cores.workers,
            snapshot: snapshot.clone(),
            sockets: sockets.pop().unwrap_or_default(),
            shared: shared.clone(),
            buf_bytes_max: (memory / u64::from(cores.workers)) as usize,
            seed: rt::entropy(),
        };
        let (core, sender) = (cores.pin_to(id), sender.clone());
        let thread = std::thread::Builder::new()
            .name(format!("worker-{id}"))
            .spawn(move || work(seat, slot, core, &sender))
            .map_err(failed)?;
        running.threads.push(thread);
        running.mailboxes.push(mailbox);
    }
    Ok(running)
}

/// A worker's thread.
fn work(
    seat: Seat,
    slot: worker::mailbox::Slot,
    core: Option<core_affinity::CoreId>,
    reports: &Sender<FromWorker>,
) {
    if let Some(core) = core {
        core_affinity::set_for_current(core);
    }
    let (id, driver) = (seat.id, seat.snapshot.server.driver);
    let ran = rt::run(driver, |ran| async move {
        let inbox = match slot.open() {
            Ok(inbox) => inbox,
            Err(e) => return drop(reports.send(FromWorker::Failed(id, e))),
        };
        let _ = reports.send(FromWorker::Runs(ran));
        let report = worker::run(seat, inbox).await;
        let _ = reports.send(FromWorker::Report(Box::new(report)));
    });
    if let Err(e) = ran {
        let _ = reports.send(FromWorker::Failed(id, e));
    }
}

fn send_all(mailboxes: &[Mailbox], message: impl Fn() -> ToWorker) {
    for (id, mailbox) in mailboxes.iter().enumerate() {
        if !mailbox.send(message()) {
            say(&format!("worker {id} takes no messages: it hangs"));
        }
    }
}

struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

async fn control(
    snapshot: &Arc<Snapshot>,
    running: &Running,
    shared: &Shared,
) -> Result<Ended, Failed> {
    let heard = |e| Failed::Start(format!("signals can't be heard: {e}"));
    let mut signals = Signals {
        term: signal(SignalKind::terminate()).map_err(heard)?,
        int: signal(SignalKind::interrupt()).map_err(heard)?,
    };
    let resolving = resolver::keep_resolving(snapshot, RESOLVE_EVERY, |resolved| {
        send_all(&running.mailboxes, || ToWorker::Resolved(resolved.clone()));
    });
    tokio::select! {
        () = signals.next() => {}
        () = resolving => {}
    }
    drain(snapshot, running, shared, &mut signals).await
}

/// Ends the workers: no new connections, then the deadlines of exchanges and of tunnels.
async fn drain(
    snapshot: &Snapshot,
    running: &Running,
    shared: &Shared,
    signals: &mut Signals,
) -> Result<Ended, Failed> {
    let server = &snapshot.server;
    say(&format!("draining {} connections (a second signal ends at once)", shared.open()));
    let began = tokio::time::Instant::now();
    if !server.drain_delay.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(server.drain_delay) => {}
            () = signals.next() => return Ok(Ended::AtOnce),
        }
    }
    send_all(&running.mailboxes, || ToWorker::Drain);
    let cut_exchanges = began + server.drain_delay + server.drain_timeout;
    let cut_tunnels = (began + server.drain_delay + server.tunnel_drain).max(cut_exchanges);
    let (mut exchanges_cut, mut tunnels_cut) = (false, false);
    let mut total = Recorder::default();
    let (mut cut, mut panics, mut left) = (0, 0, running.threads.len());
    while left > 0 {
        let report = match running.reports.try_recv() {
            Ok(FromWorker::Report(report)) => report,
            Ok(_) => continue,
            Err(_) => {
                let now = tokio::time::Instant::now();
                if now >= cut_exchanges && !exchanges_cut {
                    exchanges_cut = true;
                    send_all(&running.mailboxes, || ToWorker::CutExchanges);
                }
                if now >= cut_tunnels && !tunnels_cut {
                    tunnels_cut = true;
                    send_all(&running.mailboxes, || ToWorker::CutAll);
                }
                if now >= cut_tunnels + Duration::from_secs(5) {
                    say("a worker did not end: giving up on it");
                    return Ok(Ended::Cut);
                }
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(5)) => {}
                    () = signals.next() => return Ok(Ended::AtOnce),
                }
                continue;
            }
        };
        left -= 1;
        total.absorb(&report.recorder);
        cut += report.cut;
        panics += report.panics;
    }
    say(&summary(&total, shared, cut, panics));
    Ok(if cut > 0 { Ended::Cut } else { Ended::Drained })
}

fn summary(total: &Recorder, shared: &Shared, cut: u32, panics: u32) -> String {
    let [c1, c2, c3, c4, c5] = total.by_class;
    let at = |q: f64| total.time_us.value_at_quantile(q) as f64 / 1000.0;
    format!(
        "served {} requests on {} connections (1xx {c1}, 2xx {c2}, 3xx {c3}, 4xx {c4}, 5xx {c5}, \
         aborted {}), {} upstream connections, {} retries; p50 {:.2} ms, p99 {:.2} ms; {} times \
         full; {cut} cut, {panics} panics",
        total.exchanges(),
        total.connections,
        total.aborted,
        total.upstream_connections,
        total.retries,
        at(0.50),
        at(0.99),
        shared.full(),
    )
}
