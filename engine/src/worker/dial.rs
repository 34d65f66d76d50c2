//! A connection to an endpoint: from the pool, or a new one within its time.

use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use crate::ids::UpstreamId;
use crate::rt::{self, Stop, Stream};
use crate::snapshot::Upstream;
use crate::time::Mono;
use crate::tls::client::ClientTerms;
use crate::tls::session::Session;
use crate::upstream::{Local, Target, Tried};
use crate::worker::Worker;
use crate::worker::exchange::Exchange;
use crate::worker::mailbox::FromWorker;
use crate::worker::outcome::Failure;
use crate::worker::wire::Wire;

/// An upstream connection. Counts as open until it is dropped.
#[derive(Debug)]
pub struct Connection {
    pub stream: Wire,
    /// It is given up then at the latest (`pool.lifetime`).
    retires: Mono,
    _counted: Counted,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stream.farewell(); // a request's end is told by its framing, never by this
    }
}

/// Keeps a connection counted among those open to its upstream.
#[derive(Debug)]
struct Counted(Rc<Local<Connection>>);

impl Counted {
    fn new(local: &Rc<Local<Connection>>) -> Counted {
        local.open.set(local.open.get() + 1);
        Counted(local.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.wake_next();
    }
}

/// A connection in use by one exchange. It goes back to its pool or is closed: never both.
#[derive(Debug)]
pub struct Lease {
    pub target: Rc<Target<Connection>>,
    local: Rc<Local<Connection>>,
    connection: Option<Connection>,
    pub reused: bool,
}

impl Lease {
    pub fn stream(&self) -> &Wire {
        &self.connection.as_ref().expect("taken only at the end").stream
    }

    /// Gives the connection back for the next exchange, `keep_until` at the latest.
    pub fn checkin(mut self, now: Mono, keep_until: Mono) {
        let connection = self.connection.take().expect("taken only here");
        let expires = keep_until.min(connection.retires);
        self.target.pool.borrow_mut().checkin(connection, now, expires);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.target.inflight.set(self.target.inflight.get() - 1);
        drop(self.connection.take());
        self.local.wake_next();
    }
}

/// A connection for this exchange. Targets that refuse are skipped and others tried; `fresh_only`
/// after a pooled connection turned out closed.
pub async fn lease(
    x: &Exchange<'_>,
    id: UpstreamId,
    deadline: Mono,
    tried: &mut Tried,
    fresh_only: bool,
) -> Result<Lease, Failure> {
    let w = &x.conn.w;
    let local = &x.view.upstreams[id.index()];
    let mut failure = if local.has_targets() { Failure::Connect } else { Failure::NoEndpoint };
    while !tried.is_full() {
        let now = rt::cached_now();
        let Some(target) = local.pick(now, &mut w.rng.borrow_mut(), tried) else { break };
        if !fresh_only && let Some(connection) = pooled(&target, now) {
            return Ok(leased(target, local, connection, true));
        }
        match open(x, id, &target, deadline, fresh_only).await {
            Ok((connection, reused)) => {
                target.connected();
                return Ok(leased(target, local, connection, reused));
            }
            Err((
                e @ (Failure::ClientGone
                | Failure::Busy
                | Failure::AnswerTimeout
                | Failure::Deadline),
                _,
            )) => return Err(e),
            Err((e, blame)) => {
                failure = e;
                if blame {
                    target.refused(rt::now());
                }
                tried.add(target.serial);
                w.recorder.borrow_mut().whole.retries += 1;
                if rt::cached_now() >= deadline {
                    break;
                }
            }
        }
    }
    Err(failure)
}

fn leased(
    target: Rc<Target<Connection>>,
    local: &Rc<Local<Connection>>,
    connection: Connection,
    reused: bool,
) -> Lease {
    target.inflight.set(target.inflight.get() + 1);
    Lease { target, local: local.clone(), connection: Some(connection), reused }
}

/// The most recently used idle connection that is as it was left.
fn pooled(target: &Target<Connection>, now: Mono) -> Option<Connection> {
    loop {
        let connection = target.pool.borrow_mut().checkout(now)?;
        if connection.stream.is_quiet() {
            return Some(connection);
        }
    }
}

async fn open(
    x: &Exchange<'_>,
    id: UpstreamId,
    target: &Target<Connection>,
    deadline: Mono,
    fresh_only: bool,
) -> Result<(Connection, bool), (Failure, bool)> {
    let (w, watch) = (&x.conn.w, &x.conn.watch);
    let upstream = x.view.snapshot.upstream(id);
    let local = &x.view.upstreams[id.index()];
    x.watch_client(watch);
    while !local.may_open() {
        if local.drop_one_idle() {
            continue;
        }
        watch.arm(deadline);
        in_line(local, watch).await.map_err(|stop| match stop {
            Stop::Expired => (Failure::Busy, false),
            _ => (Failure::ClientGone, false),
        })?;
        if !fresh_only && let Some(connection) = pooled(target, rt::now()) {
            return Ok((connection, true));
        }
    }
    // Counted before the wait, so that those who connect together keep to the bound.
    let counted = Counted::new(local);
    let now = rt::now();
    let connect_deadline = now.after(upstream.connect_timeout).min(deadline);
    watch.arm(connect_deadline);
    let stream = rt::until(pin!(Stream::connect(&target.address)), watch).await;
    let stream = match (stream, &target.tls) {
        (Ok(stream), None) => Ok(Wire::plain(stream)), // Fast path.
        (Ok(stream), Some(terms)) => {
            // Boxed: each exchange would have its room.
            let secured = Box::pin(secured(x, upstream, target, terms, stream, watch)).await;
            secured.inspect_err(|_| watch.unwatched())?
        }
        (Err(stop), _) => Err(stop),
    };
    watch.unwatched();
    match stream {
        Ok(stream) => {
            w.recorder.borrow_mut().whole.upstream_connections += 1;
            let retires = now.after(upstream.pool_lifetime);
            Ok((Connection { stream, retires, _counted: counted }, false))
        }
        Err(Stop::Expired) if x.is_past_deadline(rt::now()) => Err((Failure::Deadline, false)),
        // The route's time was over first: no fault of this endpoint's.
        Err(Stop::Expired) if connect_deadline == deadline => Err((Failure::AnswerTimeout, false)),
        Err(Stop::Expired) => Err((Failure::ConnectTimeout, true)),
        Err(Stop::Gone | Stop::Drain) => Err((Failure::ClientGone, false)),
        Err(Stop::Broken(kind)) => Err((Failure::Connect, is_endpoints_fault(kind))),
    }
}

/// Shakes hands with an endpoint. A wait that ended is the caller's to judge.
async fn secured(
    x: &Exchange<'_>,
    upstream: &Upstream,
    target: &Target<Connection>,
    terms: &ClientTerms,
    stream: Stream,
    watch: &rt::Watch,
) -> Result<Result<Wire, Stop>, (Failure, bool)> {
    let w = &x.conn.w;
    let failed = |why: &dyn std::fmt::Display| {
        w.recorder.borrow_mut().whole.upstream_handshakes[HANDSHAKES_FAILED] += 1;
        tell(w, upstream, target, why);
        (Failure::UpstreamTls, true)
    };
    let Some(name) = terms.name_of(&target.named) else {
        return Err(failed(&"the endpoint has no name to ask its certificate for"));
    };
    let mut wire = Wire::plain(stream);
    match Session::client(terms.config.clone(), name) {
        Ok(session) => wire.begin_tls(session, w.tray(), [0; 32]),
        Err(e) => return Err(failed(&e)),
    }
    let mut shaken = wire.first_flight().map(|()| false);
    loop {
        match shaken {
            Ok(true) => break,
            Ok(false) => {}
            Err(e) => return Err(failed(&e)),
        }
        if let Err(stop) = wire.shaken(watch).await {
            if matches!(stop, Stop::Expired | Stop::Broken(_)) {
                failed(&"it does not answer");
            }
            return Ok(Err(stop));
        }
        shaken = wire.shake();
    }
    let is_resumed = wire.session(Session::is_resumed).unwrap_or(false);
    w.recorder.borrow_mut().whole.upstream_handshakes[usize::from(is_resumed)] += 1;
    Ok(Ok(wire))
}

/// Where failed ones stand among the counted handshakes.
const HANDSHAKES_FAILED: usize = 2;
/// Between two times that a worker tells why handshakes fail.
const TOLD_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Tells the operator, and nobody else, why an endpoint is not spoken with.
#[cold]
fn tell(w: &Worker, upstream: &Upstream, target: &Target<Connection>, why: &dyn std::fmt::Display) {
    let now = rt::cached_now();
    if now < w.tells_tls_at.get() {
        return;
    }
    w.tells_tls_at.set(now.after(TOLD_EVERY));
    let text = format!("upstream `{}`: TLS with {}: {why}", upstream.name, target.text);
    w.outbox.tell(w.id, FromWorker::Unverified(text.into()));
}

/// Whether a failed connect says something of the endpoint. Too few descriptors or ports say
/// something of this machine.
fn is_endpoints_fault(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind as K;
    matches!(
        kind,
        K::ConnectionRefused
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::TimedOut
            | K::NotFound
            | K::PermissionDenied
            | K::AddrNotAvailable
    )
}

async fn in_line(local: &Local<Connection>, watch: &rt::Watch) -> Result<(), Stop> {
    let mut waited = false;
    let turn = pin!(async {
        std::future::poll_fn(|cx| {
            if std::mem::replace(&mut waited, true) {
                return Poll::Ready(());
            }
            local.wait_in_line(cx.waker()); // once by task: who gives up is not there twice
            Poll::Pending
        })
        .await;
        Ok(())
    });
    rt::until(turn, watch).await
}
