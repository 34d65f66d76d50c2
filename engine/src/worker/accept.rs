//! Listeners of one worker: connections come in, within their bounds.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crossbeam::utils::CachePadded;

use crate::ids::ListenerId;
use crate::limit::clients::ClientCounts;
use crate::rt::{self, Listener, Peer, Stream};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::worker::{Worker, conn};

/// Pause after the process ran out of descriptors or memory for a connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);
/// Connections taken before those that stand get their turn.
const ACCEPTS_IN_A_ROW: u32 = 64;
/// While a listener is full, how often other workers' closings are looked for.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// What all workers count together. Touched when a connection opens and when it closes.
#[derive(Debug)]
pub struct Shared {
    listeners: Box<[Counts]>,
    /// Only when some listener bounds connections by client.
    clients: Option<ClientCounts>,
}

#[derive(Debug)]
struct Counts {
    open: CachePadded<AtomicU32>,
    open_max: u32,
    per_client_max: Option<u32>,
    /// Times that accepting stopped because the listener was full.
    full: AtomicU64,
}

impl Shared {
    /// By listener: its bound, and its bound by client address.
    pub fn new(bounds: &[(u32, Option<u32>)], seed: u64) -> Arc<Shared> {
        let counts = |&(open_max, per_client_max): &(u32, Option<u32>)| Counts {
            open: CachePadded::new(AtomicU32::new(0)),
            open_max,
            per_client_max,
            full: AtomicU64::new(0),
        };
        let clients = bounds.iter().any(|b| b.1.is_some()).then(|| ClientCounts::new(seed));
        Arc::new(Shared { listeners: bounds.iter().map(counts).collect(), clients })
    }

    /// Times a listener was found full.
    pub fn full(&self) -> u64 {
        self.listeners.iter().map(|l| l.full.load(Ordering::Relaxed)).sum()
    }

    pub fn open(&self) -> u32 {
        self.listeners.iter().map(|l| l.open.load(Ordering::Relaxed)).sum()
    }
}

/// A listening socket on its way to a worker.
#[derive(Debug)]
pub struct Socket {
    pub listener: ListenerId,
    pub fd: OwnedFd,
    pub unix: bool,
}

impl Socket {
    pub(super) fn open(self) -> io::Result<(Listener, ListenerId)> {
        Ok((Listener::adopt(self.fd, self.unix)?, self.listener))
    }
}

/// One connection's place among those allowed; given back when dropped.
#[derive(Debug)]
pub struct Place {
    worker: Rc<Worker>,
    listener: ListenerId,
    client: Option<u64>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let w = &self.worker;
        let counts = &w.shared.listeners[self.listener.index()];
        counts.open.fetch_sub(1, Ordering::Relaxed);
        if let (Some(client), Some(clients)) = (self.client, &w.shared.clients) {
            clients.leave(client);
        }
        w.connections.set(w.connections.get() - 1);
        if w.full.get() || w.is_draining() {
            w.full.set(false);
            w.announce();
        }
    }
}

/// Accepts until the worker drains; then takes what the kernel has queued and closes.
pub async fn accept_loop(w: Rc<Worker>, listener: Listener, id: ListenerId) {
    let mut in_a_row = 0;
    loop {
        in_a_row += 1;
        if in_a_row > ACCEPTS_IN_A_ROW {
            in_a_row = 0;
            rt::turn().await;
        }
        while is_full(&w, id) && !w.is_draining() {
            w.shared.listeners[id.index()].full.fetch_add(1, Ordering::Relaxed);
            w.full.set(true);
            either(w.event(), rt::pause(FULL_PAUSE)).await;
        }
        match listener.try_accept() {
            Ok((stream, peer)) => admit(&w, stream, peer, id),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                if w.is_draining() {
                    return;
                }
                let ready = async { _ = listener.wait().await };
                either(ready, drained(&w)).await;
                in_a_row = 0;
            }
            Err(e) if is_exhausted(&e) => rt::pause(EXHAUSTED_PAUSE).await,
            Err(_) if w.is_draining() => return,
            Err(_) => {} // that one connection broke before we took it
        }
    }
}

fn is_exhausted(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

async fn drained(w: &Worker) {
    while !w.is_draining() {
        w.event().await;
    }
}

async fn either(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    std::future::poll_fn(|cx| match a.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => b.as_mut().poll(cx),
    })
    .await
}

fn is_full(w: &Worker, id: ListenerId) -> bool {
    let counts = &w.shared.listeners[id.index()];
    counts.open.load(Ordering::Relaxed) >= counts.open_max
}

fn admit(w: &Rc<Worker>, stream: Stream, peer: Peer, id: ListenerId) {
    let counts = &w.shared.listeners[id.index()];
    counts.open.fetch_add(1, Ordering::Relaxed);
    w.connections.set(w.connections.get() + 1);
    let mut place = Place { worker: w.clone(), listener: id, client: None };
    let ip = match peer {
        Peer::Ip(address) => Some(address.ip().to_canonical()),
        Peer::Unix => None,
    };
    if let (Some(ip), Some(clients), Some(max)) = (ip, &w.shared.clients, counts.per_client_max) {
        match clients.enter(ip, max) {
            Some(client) => place.client = Some(client),
            None => return, // closed at once: this client has its share
        }
    }
    w.spawn(conn::serve(w.clone(), stream, ip, place));
}

impl Place {
    pub fn listener(&self) -> ListenerId {
        self.listener
    }
}
