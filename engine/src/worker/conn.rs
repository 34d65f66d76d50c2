//! One downstream connection: idle, busy, closing.
//!
//! ```text
//!        ┌────────── idle: small future, no buffer ◀────────┐
//!  accept┤                   │ readable                     │ buffer empty
//!        │                   ▼                              │
//!        │   busy (in a slot): head ─▶ exchange ─▶ pipelined bytes? ─▶ head …
//!        │                   │ close, error
//!        └── drain, timeout ─┴─▶ close | linger | reset
//! ```

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use parser::{ErrorKind, ParseError};

use crate::h1::server::Request;
use crate::http::forwarded::{AddressText, is_trusted};
use crate::http::problem::Problem;
use crate::router::Router;
use crate::rt::{self, Buf, Shut, Stop, Stream, Watch};
use crate::snapshot::Listener;
use crate::time::Mono;
use crate::worker::accept::Place;
use crate::worker::exchange::exchange;
use crate::worker::outcome::Next;
use crate::worker::view::View;
use crate::worker::{Worker, own};

/// What is discarded of a client that still sends after its answer.
const LINGER_BYTES_MAX: usize = 1 << 20;
const LINGER_MAX: Duration = Duration::from_secs(2);
/// Pipelined requests served before other connections get their turn.
const REQUESTS_IN_A_ROW: u32 = 512;

/// One downstream connection.
#[derive(Debug)]
pub struct Conn {
    pub w: Rc<Worker>,
    pub stream: Stream,
    pub watch: Watch,
    pub peer: Option<IpAddr>,
    pub peer_text: AddressText,
    pub(super) place: Place,
}

impl Conn {
    /// What holds for this connection now.
    pub fn view(&self) -> Rc<View> {
        if !self.place.listening.is_retired() {
            return self.w.view(); // Fast path.
        }
        self.place.listening.last_view().unwrap_or_else(|| self.w.view())
    }

    pub fn listener<'v>(&self, view: &'v View) -> &'v Listener {
        view.listener(self.place.listening.key)
    }

    pub fn router<'v>(&self, view: &'v View) -> &'v Router {
        &view.snapshot.routers[self.listener(view).router]
    }

    /// Whether this connection ends after what it has begun.
    pub fn is_draining(&self) -> bool {
        self.w.is_draining() || self.place.listening.is_retired()
    }

    pub fn is_trusted(&self, view: &View) -> bool {
        let trusted = &view.snapshot.server.trusted_proxies;
        // Fast path: nobody is trusted.
        !trusted.is_empty() && self.peer.is_some_and(|ip| is_trusted(ip, trusted))
    }
}

/// Serves one connection to its end.
pub async fn serve(w: Rc<Worker>, stream: Stream, peer: Option<IpAddr>, place: Place) {
    let watch = w.timers.watch(place.listening.key.0);
    let peer_text = AddressText::new(peer);
    w.recorder.borrow_mut().whole.connections += 1;
    let conn = Conn { w, stream, watch, peer, peer_text, place };
    if conn.is_draining() {
        conn.watch.drain();
    }
    match spells(&conn).await {
        // A plain close with unread input would reset the answer away.
        Next::KeepAlive | Next::Close if conn.stream.has_unread() => linger(&conn).await,
        Next::KeepAlive | Next::Close => {}
        Next::Linger => linger(&conn).await,
        Next::Reset => conn.stream.reset(),
    }
}

async fn spells(conn: &Conn) -> Next {
    let (head_timeout, mut idle_timeout) = {
        let view = conn.view();
        let listener = conn.listener(&view);
        (listener.head_timeout, listener.idle_timeout)
    };
    // The first head is timed from the accept on (RFC-less, but what slowloris asks for).
    let mut head_deadline = Some(rt::now().after(head_timeout));
    loop {
        let deadline = head_deadline.unwrap_or_else(|| rt::cached_now().after(idle_timeout));
        conn.watch.arm(deadline);
        conn.watch.idle();
        // What was sent before the drain began, or together with it, is still served.
        let is_due = || conn.is_draining() && conn.stream.has_unread();
        if !is_due() && conn.stream.readable(&conn.watch).await.is_err() && !is_due() {
            return Next::Close;
        }
        let spell = conn.w.slots.place(busy(conn, head_deadline));
        match spell.await {
            // The drain began behind the answer's head, which has not said so: a request that has
            // come since is served, and its answer says it.
            Next::KeepAlive if conn.is_draining() && !is_due() => return Next::Close,
            Next::KeepAlive => {}
            closes => return closes,
        }
        head_deadline = None;
        idle_timeout = conn.listener(&conn.view()).idle_timeout;
    }
}

/// From the first byte of a request until nothing more is there to be done.
async fn busy(conn: &Conn, head_deadline: Option<Mono>) -> Next {
    let mut buf = conn.w.bufs.lease();
    let mut request = conn.w.take_request();
    let next = requests(conn, &mut buf, &mut request, head_deadline).await;
    conn.w.give_request(request);
    next
}

async fn requests(
    conn: &Conn,
    buf: &mut Buf,
    request: &mut Request,
    head_deadline: Option<Mono>,
) -> Next {
    let mut deadline = head_deadline;
    let mut in_a_row = 0;
    loop {
        in_a_row += 1;
        if in_a_row > REQUESTS_IN_A_ROW {
            in_a_row = 0;
            rt::turn().await;
        }
        conn.watch.unwatched();
        let now = rt::now();
        let deadline_now =
            deadline.take().unwrap_or_else(|| now.after(conn.listener(&conn.view()).head_timeout));
        match next_head(conn, buf, request, deadline_now).await {
            Head::Complete => {}
            Head::Nothing => return Next::KeepAlive,
            Head::End => return Next::Close,
            Head::Refused(next) => return next,
        }
        let next = exchange(conn, buf, request).await;
        if conn.watch.fired() == Some(Stop::Gone) {
            return Next::Close;
        }
        if next != Next::KeepAlive || buf.is_empty() {
            return next;
        }
        request.reset();
    }
}

enum Head {
    Complete,
    /// Woken for nothing: no byte was there.
    Nothing,
    /// The client left.
    End,
    Refused(Next),
}

async fn next_head(conn: &Conn, buf: &mut Buf, request: &mut Request, deadline: Mono) -> Head {
    let mut fresh = !buf.is_empty();
    loop {
        if fresh {
            let view = conn.view();
            let limits = conn.listener(&view).limits;
            match request.begin(buf.filled(), &limits, view.any_encoded_slash) {
                Ok(true) => return Head::Complete,
                Ok(false) => {}
                Err(e) => return Head::Refused(own::refuse_head(conn, buf, request, e).await),
            }
        }
        if !buf.has_room() && !buf.make_room() {
            let e = ParseError { kind: ErrorKind::HeadTooLong, at: 0 };
            return Head::Refused(own::refuse_head(conn, buf, request, e).await);
        }
        fresh = false;
        match conn.stream.try_read(buf.room()) {
            Ok(0) => return Head::End,
            Ok(n) => {
                buf.commit(n);
                fresh = true;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                if buf.is_empty() {
                    return Head::Nothing;
                }
                conn.watch.arm(deadline);
                match conn.stream.readable(&conn.watch).await {
                    // The exchange's clock starts when its head is whole.
                    Ok(()) => _ = rt::now(),
                    Err(Stop::Expired) => {
                        let next = own::problem(conn, buf, request, Problem::RequestTimeout, "");
                        return Head::Refused(next.await);
                    }
                    Err(_) => return Head::End,
                }
            }
            Err(_) => return Head::End,
        }
    }
}

/// Lets the client read its answer: no more is sent, what still comes is discarded, for a
/// bounded while (RFC 9112 §9.6).
async fn linger(conn: &Conn) {
    conn.stream.shut(Shut::Write);
    conn.watch.arm(rt::now().after(LINGER_MAX));
    let mut discarded = 0;
    while discarded < LINGER_BYTES_MAX {
        if conn.stream.readable(&conn.watch).await.is_err() {
            return;
        }
        let mut buf = conn.w.bufs.lease();
        match conn.stream.try_read(buf.room()) {
            Ok(0) => return,
            Ok(n) => discarded += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
