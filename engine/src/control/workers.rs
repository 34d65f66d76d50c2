//! The workers' threads: started, told, heard.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::Notify;

use super::bounds::Counted;
use super::cores::Cores;
use super::resolver::Names;
use super::{say, sockets};
use crate::rt;
use crate::rt::offload::Offload;
use crate::snapshot::{Driver, Snapshot};
use crate::worker::mailbox::{
    self, Adoption, FromWorker, IssuerKeys, LogEnd, Mailbox, Outbox, ToWorker, mailbox,
};
use crate::worker::{self, Bounds, Peers, Seat};

/// All workers of the process.
#[derive(Debug)]
pub struct Workers {
    mailboxes: Vec<Mailbox>,
    /// Joined by the end of the process: a worker that hangs must not hang that.
    _threads: Vec<JoinHandle<()>>,
    outbox: Outbox,
    heard: Arc<Notify>,
}

impl Workers {
    /// One thread for each adoption.
    pub fn start(
        adoptions: Vec<Adoption>,
        cores: &Cores,
        driver: Driver,
        buf_bytes_max: usize,
    ) -> Result<Workers, String> {
        let heard = Arc::new(Notify::new());
        let wake = heard.clone();
        let outbox = Outbox::new(move || wake.notify_one());
        let workers = adoptions.len() as u32;
        let failed = |id: u32| move |e: std::io::Error| format!("worker {id} can't start: {e}");
        let (mut mailboxes, mut slots) = (Vec::new(), Vec::new());
        for id in 0..workers {
            let (mailbox, slot) = mailbox().map_err(failed(id))?;
            mailboxes.push(mailbox);
            slots.push(slot);
        }
        let (peers, mut threads) = (Peers::of(&mailboxes), Vec::new());
        let (offload, hasher) = (Arc::new(Offload::default()), worker::hasher(rt::entropy()));
        for (id, (adoption, slot)) in (0..workers).zip(adoptions.into_iter().zip(slots)) {
            let (seed, outbox, peers) = (rt::entropy(), outbox.clone(), peers.clone());
            let (mailbox, offload) = (mailboxes[id as usize].clone(), offload.clone());
            let hasher = hasher.clone();
            let seat = Seat {
                id,
                workers,
                adoption,
                peers,
                outbox,
                mailbox,
                offload,
                hasher,
                buf_bytes_max,
                seed,
            };
            let core = cores.pin_to(id);
            let thread = std::thread::Builder::new()
                .name(format!("worker-{id}"))
                .spawn(move || work(seat, slot, core, driver))
                .map_err(failed(id))?;
            threads.push(thread);
        }
        Ok(Workers { mailboxes, _threads: threads, outbox, heard })
    }

    pub fn len(&self) -> usize {
        self.mailboxes.len()
    }

    pub fn send(&self, worker: usize, message: ToWorker) {
        if !self.mailboxes[worker].send(message) {
            say(&format!("worker {worker} takes no messages: it hangs"));
        }
    }

    pub fn send_all(&self, message: impl Fn() -> ToWorker) {
        (0..self.len()).for_each(|worker| self.send(worker, message()));
    }

    /// A message that has come already.
    pub fn try_next(&self) -> Option<(u32, FromWorker)> {
        self.outbox.next()
    }

    /// The next message of any worker. Dropped, it loses none.
    pub async fn next(&self) -> (u32, FromWorker) {
        loop {
            if let Some(message) = self.try_next() {
                return message;
            }
            self.heard.notified().await;
        }
    }
}

/// By worker, what it takes up of a configuration in force.
pub fn adoptions(
    snapshot: &Arc<Snapshot>,
    bounds: &[Bounds],
    (opened, serves): sockets::Taken,
    logs: Vec<Option<LogEnd>>,
    counted: &Counted,
    names: &Names,
    keys: &[Arc<IssuerKeys>],
) -> Vec<Adoption> {
    let adoption = |(opened, log)| Adoption {
        log,
        snapshot: snapshot.clone(),
        bounds: bounds.into(),
        clients: counted.clients(),
        opened,
        sockets: serves.clone(),
        resolved: names.resolved(),
        keys: keys.to_vec(),
    };
    opened.into_iter().zip(logs).map(adoption).collect()
}

/// A worker's thread.
fn work(seat: Seat, slot: mailbox::Slot, core: Option<core_affinity::CoreId>, driver: Driver) {
    if let Some(core) = core {
        core_affinity::set_for_current(core);
    }
    let (id, outbox) = (seat.id, seat.outbox.clone());
    let last = outbox.clone();
    let ran = rt::run(driver, |ran| async move {
        let inbox = match slot.open() {
            Ok(inbox) => inbox,
            Err(e) => return outbox.tell(id, FromWorker::Failed(e)),
        };
        outbox.tell(id, FromWorker::Runs(ran));
        let report = worker::run(seat, inbox).await;
        outbox.tell(id, FromWorker::Report(Box::new(report)));
    });
    if let Err(e) = ran {
        last.tell(id, FromWorker::Failed(e));
    }
}
