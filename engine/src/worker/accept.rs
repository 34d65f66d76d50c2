//! Listeners of one worker: connections come in, within their bounds.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crossbeam::utils::CachePadded;

use crate::ids::{Key, SocketId};
use crate::rt::{self, Listener, ListenerEnd, Peer, Stream, StreamEnd};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::worker::view::View;
use crate::worker::{Worker, conn};

/// Pause after the process ran out of descriptors or memory for a connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);
/// Connections taken before those that stand get their turn.
const ACCEPTS_IN_A_ROW: u32 = 64;
/// While a listener is full, how often other workers' closings are looked for.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Connections of one listener as all workers count them together. Touched when one opens and
/// when it closes. Lives as long as the listener's name does, whatever its address.
#[derive(Debug, Default)]
pub struct Counts {
    open: CachePadded<AtomicU32>,
    /// Times that accepting stopped because the listener was full.
    full: AtomicU64,
}

impl Counts {
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    fn enter(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Times the listener was found full.
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }
}

/// A listener's counts and what bounds them in one generation.
#[derive(Debug, Clone)]
pub struct Bounds {
    pub counts: Arc<Counts>,
    pub open_max: u32,
    pub per_client_max: Option<u32>,
}

/// A listener on one worker. Its connections hold on to it over generations.
#[derive(Debug)]
pub struct Listening {
    pub key: Key,
    counts: Arc<Counts>,
    open_max: Cell<u32>,
    per_client_max: Cell<Option<u32>>,
    /// The configuration has this listener no more: its connections end after what they have
    /// begun.
    retired: Cell<bool>,
    /// The last view that had it, for what was begun, as long as anybody needs it.
    last: RefCell<Option<Rc<View>>>,
    users: Cell<u32>,
}

impl Listening {
    pub(super) fn new(key: Key, bounds: &Bounds) -> Rc<Listening> {
        Rc::new(Listening {
            key,
            counts: bounds.counts.clone(),
            open_max: Cell::new(bounds.open_max),
            per_client_max: Cell::new(bounds.per_client_max),
            retired: Cell::new(false),
            last: RefCell::default(),
            users: Cell::new(0),
        })
    }

    pub(super) fn adopt(&self, bounds: &Bounds) {
        self.open_max.set(bounds.open_max);
        self.per_client_max.set(bounds.per_client_max);
    }

    /// Its connections end after what they have begun, which `last` is kept for.
    pub(super) fn retire(&self, last: Rc<View>) {
        self.retired.set(true);
        if self.users.get() > 0 {
            self.last.replace(Some(last));
        }
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// The view that holds for its connections when it is not the worker's own.
    fn last_view(&self) -> Option<Rc<View>> {
        self.last.borrow().clone()
    }

    /// What holds for its connections now.
    pub(super) fn view(&self, w: &Worker) -> Rc<View> {
        if !self.is_retired() {
            return w.view(); // Fast path.
        }
        self.last_view().unwrap_or_else(|| w.view())
    }

    /// Its connections begin with a PROXY header.
    fn is_proxied(&self, w: &Worker) -> bool {
        self.view(w).listener(self.key).proxy_protocol
    }

    pub(super) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    fn is_full(&self) -> bool {
        self.counts.open() >= self.open_max.get()
    }
}

/// Somebody who needs the view of a listener: an acceptor, a connection that is no tunnel, or one
/// that may be on its way here.
#[derive(Debug)]
pub(super) struct Use(Rc<Listening>);

impl Use {
    pub(super) fn of(listening: &Rc<Listening>) -> Use {
        listening.users.set(listening.users.get() + 1);
        Use(listening.clone())
    }

    pub(super) fn listening(&self) -> Rc<Listening> {
        self.0.clone()
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let left = self.0.users.get() - 1;
        self.0.users.set(left);
        if left == 0 {
            self.0.last.take();
        }
    }
}

/// A listening socket on its way to a worker.
#[derive(Debug)]
pub struct Socket {
    pub id: SocketId,
    pub end: ListenerEnd,
    pub unix: bool,
}

/// A listening socket of one worker and the listener that it serves now.
#[derive(Debug)]
pub(super) struct Acceptor {
    pub(super) id: SocketId,
    pub(super) listener: Listener,
    pub(super) listening: RefCell<Use>,
    /// The configuration has this address no more.
    pub(super) retired: Cell<bool>,
}

/// One connection's place among those allowed; given back when dropped.
pub struct Place {
    worker: Rc<Worker>,
    pub(super) listening: Rc<Listening>,
    using: Cell<Option<Use>>,
    client: Cell<Option<u64>>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("listening", &self.listening.key).finish_non_exhaustive()
    }
}

impl Place {
    /// Counts a client whose address came later than its connection. False: it has its share.
    pub(super) fn is_within_share(&self, ip: Option<IpAddr>) -> bool {
        let (Some(ip), Some(max)) = (ip, self.listening.per_client_max.get()) else { return true };
        let clients = self.worker.clients.borrow();
        let Some(clients) = clients.as_ref() else { return true };
        self.client.set(clients.enter(ip, max));
        self.client.get().is_some()
    }

    /// A tunnel needs no configuration any more, and must not keep one alive.
    pub(super) fn needs_no_view(&self) {
        self.using.take();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let w = &self.worker;
        self.listening.counts.leave();
        if let (Some(client), Some(clients)) = (self.client.get(), w.clients.borrow().as_ref()) {
            clients.leave(client);
        }
        w.set_connections(w.connections.get() - 1);
        if w.full.get() || w.is_draining() {
            w.full.set(false);
            w.announce();
        }
    }
}

/// Accepts until the worker drains or the address is given up; then takes what the kernel has
/// queued and closes.
pub(super) async fn accept_loop(w: Rc<Worker>, acceptor: &Acceptor) {
    let listener = &acceptor.listener;
    let listening = || acceptor.listening.borrow().listening();
    let is_over = || w.is_draining() || acceptor.retired.get();
    let (mut in_a_row, mut refusing) = (0, false);
    loop {
        in_a_row += 1;
        if in_a_row > ACCEPTS_IN_A_ROW {
            in_a_row = 0;
            rt::turn().await;
        }
        let mut was_full = false;
        while !is_over() && listening().is_full() {
            if !std::mem::replace(&mut was_full, true) {
                listening().counts.full.fetch_add(1, Ordering::Relaxed);
            }
            w.full.set(true);
            either(w.event(), rt::pause(FULL_PAUSE)).await;
        }
        if is_over() && !refusing {
            // Or a connection could be queued behind our last look, and be reset by the close.
            listener.refuse_new();
            refusing = true;
        }
        match listener.try_accept() {
            Ok((end, peer)) => admit(&w, end, peer, &listening()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                if refusing {
                    return;
                }
                if is_over() {
                    continue;
                }
                let ready = async { _ = listener.wait().await };
                let over = async {
                    while !is_over() {
                        w.event().await;
                    }
                };
                either(ready, over).await;
                in_a_row = 0;
            }
            Err(e) if is_exhausted(&e) => rt::pause(EXHAUSTED_PAUSE).await,
            Err(_) if refusing => return,
            Err(_) => {} // that one connection broke before we took it
        }
    }
}

fn is_exhausted(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

async fn either(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    std::future::poll_fn(|cx| match a.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => b.as_mut().poll(cx),
    })
    .await
}

/// Counts a new connection; it stays here, goes to another worker, or its client has its share.
fn admit(w: &Rc<Worker>, end: StreamEnd, peer: Peer, listening: &Rc<Listening>) {
    let ip = match peer {
        Peer::Ip(address) => Some(address.ip().to_canonical()),
        Peer::Unix => None,
    };
    let mut client = None;
    // Behind a proxy that says whose they are, connections are counted once that is known.
    if let (Some(ip), Some(max)) = (ip, listening.per_client_max.get())
        && !listening.is_proxied(w)
        && let Some(clients) = w.clients.borrow().as_ref()
    {
        client = clients.enter(ip, max);
        if client.is_none() {
            return; // closed at once: this client has its share
        }
    }
    listening.counts.enter();
    if let Some(end) = w.hand_over(end, ip, client, listening) {
        welcome(w, end, ip, client, listening);
    }
}

/// Serves a connection that is counted, whoever accepted it.
pub(super) fn welcome(
    w: &Rc<Worker>,
    end: StreamEnd,
    ip: Option<IpAddr>,
    client: Option<u64>,
    listening: &Rc<Listening>,
) {
    w.set_connections(w.connections.get() + 1);
    let place = Place {
        worker: w.clone(),
        listening: listening.clone(),
        using: Cell::new(Some(Use::of(listening))),
        client: Cell::new(client),
    };
    match Stream::adopt(end) {
        Ok(stream) => w.spawn(conn::serve(w.clone(), stream, ip, place)),
        Err(_) => drop(place), // the runtime can't wait for it: closed
    }
}
