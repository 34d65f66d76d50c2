//! From a loaded configuration to running workers, or one clear line.

use serde_json::json;
use tokio::sync::mpsc;

use super::bounds::Counted;
use super::cores::{self, Cores};
use super::doors::Doors;
use super::jwks::Issuers;
use super::limits::Limits;
use super::logger::Logger;
use super::numbers::Numbers;
use super::publish::Publisher;
use super::reload::{Fixed, Loader, watched};
use super::resolver::Names;
use super::sockets::{Sockets, address_text};
use super::tickets::Tickets;
use super::voice::{say, say_all, systemd};
use super::watch::Watch;
use super::watchdog::Watchdog;
use super::workers::{Workers, adoptions};
use super::{Control, Ended, Failed, Signals, Total, Untrusted};
use crate::admin;
use crate::config::Loaded;
use crate::rt::{self, Ran};
use crate::snapshot::{Driver, Snapshot};
use crate::worker::mailbox::{FromWorker, ToWorker};

/// Share of the memory this process may use that connection buffers take at most.
const MEMORY_SHARE: u64 = 4;
const MEMORY_DEFAULT_MAX: u64 = 1 << 30;
/// Names of listeners in the line that says where requests are accepted.
const LISTENERS_SAID: usize = 4;
/// Answers of resolvers that wait for control.
const LEARNED_MAX: usize = 256;

/// What a run starts with.
pub struct Options {
    pub loader: Loader,
    pub first: Loaded,
    /// Reload when a file of the configuration changes.
    pub watch: bool,
}

/// Runs the gateway until it is told to end.
pub fn run(options: Options) -> Result<Ended, Failed> {
    rt::no_huge_pages();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failed::Start(format!("the control thread can't start: {e}")))?;
    runtime.block_on(async {
        let control = start(options).await.map_err(Failed::Start)?;
        control.announce();
        systemd::ready(&control.status_line());
        rt::only_text_that_runs();
        Ok(control.run().await)
    })
}

async fn start(options: Options) -> Result<Control, String> {
    let Options { loader, first, watch } = options;
    let watched = watched(&first, watch);
    let mut snapshot = first.snapshot.ok_or("the configuration has mistakes")?;
    let began = rt::now();
    let cores = Cores::find(&snapshot.server);
    let mut counted = Counted::new(cores.workers, seed_u64());
    let derived = counted.check(&snapshot)?;
    let mut sockets = Sockets::new(cores.workers);
    let plan = sockets.plan(&snapshot)?;
    let signals = Signals::new().map_err(|e| format!("signals can't be heard: {e}"))?;
    let (asks, heard) = admin::asks();
    let mut doors = Doors::new(asks);
    let doors_plan = doors.plan(&snapshot.admin).await?;
    doors_plan.warnings.iter().for_each(|warning| say(warning));
    doors.take(doors_plan, &snapshot.admin);
    let mut names = Names::default();
    names.learn(&snapshot).await.iter().for_each(|warning| say(warning));
    let mut publisher = Publisher::new(cores.workers);
    let mut issuers = Issuers::new();
    issuers.learn(&snapshot).await;
    _ = issuers.take_news(); // no worker asks yet
    let mut limits = Limits::new(cores.workers);
    limits.give(&mut snapshot);
    let mut tickets = Tickets::default();
    tickets.give(&snapshot);
    let snapshot = publisher.publish(snapshot, rt::now());
    let mut numbers = Numbers::new(cores.workers as usize);
    numbers.adopt(&snapshot);
    let learned = mpsc::channel(LEARNED_MAX);
    names.keep(&snapshot, &learned.0);
    let bounds = counted.adopt(&snapshot, derived);
    let mut logger = Logger::new();
    let log_plan = logger.plan(snapshot.log.as_ref())?;
    let logs = logger.take(log_plan, snapshot.generation, cores.workers as usize);
    let adoptions =
        adoptions(&snapshot, &bounds, sockets.take(plan), logs, &counted, &names, &issuers.keys());
    let memory = buffer_bytes(&snapshot) / u64::from(cores.workers);
    let workers = Workers::start(adoptions, &cores, snapshot.server.driver, memory as usize)?;
    let mut untrusted = Untrusted::default();
    let driver = all_run(&workers, &mut untrusted).await?;
    workers.send_all(|| ToWorker::Settled(snapshot.generation));
    let adopted = vec![snapshot.generation; workers.len()];
    let watches_all = watch;
    let watch = match watches_all || !watched.is_empty() {
        true => Some(Watch::new(&watched)?),
        false => None,
    };
    let watchdog = Watchdog::new(workers.len(), rt::now());
    Ok(Control {
        loader,
        driver,
        began,
        workers,
        publisher,
        sockets,
        counted,
        limits,
        tickets,
        issuers,
        names,
        learned,
        signals,
        asks: heard,
        doors,
        watch,
        watches_all,
        pending: Vec::new(),
        digests: first.digests,
        adopted,
        numbers,
        logger,
        began_with: Fixed::of(&snapshot.server),
        began_wall_us: rt::wall_us(),
        drain: None,
        untrusted,
        asked: Default::default(),
        total: Total::default(),
        watchdog,
    })
}

fn seed_u64() -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&rt::entropy()[..8]);
    u64::from_le_bytes(bytes)
}

fn buffer_bytes(snapshot: &Snapshot) -> u64 {
    let given = snapshot.server.memory_max;
    given.unwrap_or_else(|| (cores::memory_allowed() / MEMORY_SHARE).min(MEMORY_DEFAULT_MAX))
}

/// Waits until every worker runs; which driver they run on. The first may serve by then, and have
/// met a peer that it does not believe.
async fn all_run(workers: &Workers, untrusted: &mut Untrusted) -> Result<Ran, String> {
    let mut driver = Ran::Epoll;
    let mut running = 0;
    while running < workers.len() {
        match workers.next().await {
            (_, FromWorker::Runs(ran)) => {
                driver = ran;
                running += 1;
            }
            (_, FromWorker::Untrusted(peer)) => untrusted.tell(peer),
            (id, FromWorker::Failed(e)) => return Err(format!("worker {id} can't start: {e}")),
            (id, _) => return Err(format!("worker {id} ended before it began")),
        }
    }
    Ok(driver)
}

impl Control {
    /// Says what runs, in at most six lines.
    fn announce(&self) {
        let snapshot = self.publisher.present().expect("just published");
        let (version, name) = (env!("CARGO_PKG_VERSION"), &self.loader.name);
        let (routes, upstreams) = (snapshot.routes.len(), snapshot.upstreams.len());
        let mut lines = vec![format!(
            "busbar {version} runs {name}, generation {}: {}, {}",
            snapshot.generation,
            counted(routes, "route"),
            counted(upstreams, "upstream"),
        )];
        let workers = counted(self.workers.len(), "worker");
        let driver = self.driver.name();
        lines.push(match (snapshot.server.driver, self.driver) {
            (Driver::Auto, Ran::Epoll) => format!(
                "{workers} on {driver}: io_uring is refused here (an old kernel, a container's \
                 seccomp profile or kernel.io_uring_disabled)"
            ),
            _ => format!("{workers} on {driver}"),
        });
        let listeners: Vec<String> = snapshot
            .listeners
            .iter()
            .map(|l| format!("{} ({})", address_text(&l.address), l.name))
            .collect();
        let more = match listeners.len().saturating_sub(LISTENERS_SAID) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let said = listeners[..listeners.len().min(LISTENERS_SAID)].join(", ");
        lines.push(format!("listening on {said}{more}"));
        let doors = self.doors.names();
        if !doors.is_empty() {
            lines.push(format!("admin on {}", doors.join(" and ")));
        }
        let mut json = self.status();
        json["event"] = json!("started");
        json["admin"] = json!(doors);
        say_all(&lines, &json);
    }
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
