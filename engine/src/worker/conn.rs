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

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use parser::{ErrorKind, ParseError};

use crate::h1::server::Request;
use crate::http::forwarded::{AddressText, is_trusted};
use crate::metrics::greeting::Greeting;
use crate::router::Router;
use crate::rt::{self, Buf, Shut, Stop, Stream, Watch};
use crate::snapshot::Listener;
use crate::time::Mono;
use crate::worker::accept::Place;
use crate::worker::exchange::exchange;
use crate::worker::hello::{self, hello};
use crate::worker::outcome::Next;
use crate::worker::view::View;
use crate::worker::wire::Wire;
use crate::worker::{Worker, own};

/// What is discarded of a client that still sends after its answer.
const LINGER_BYTES_MAX: usize = 1 << 20;
/// How long it may send nothing, and take nothing of what is under way to it.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// And how long all of that may take.
const LINGER_TOTAL_MAX: Duration = Duration::from_secs(30);
const EMPTY_LINE: &[u8] = b"\r\n";
/// Pipelined requests served before other connections get their turn.
const REQUESTS_IN_A_ROW: u32 = 64;

/// One downstream connection.
#[derive(Debug)]
pub struct Conn {
    pub w: Rc<Worker>,
    pub stream: Wire,
    pub watch: Watch,
    pub peer: Option<IpAddr>,
    pub peer_text: AddressText,
    pub(super) place: Place,
    /// Its proxy does not say whose it is: nothing that it says of clients is believed.
    pub(super) is_nobodys: bool,
    /// The empty line that may go before a request was read (RFC 9112 §2.2), and nothing since.
    empty_line: Cell<bool>,
}

impl Conn {
    /// What holds for this connection now.
    pub fn view(&self) -> Rc<View> {
        self.place.listening.view(&self.w)
    }

    /// Requests are all that comes.
    fn is_plain(&self) -> bool {
        let view = self.view();
        let listener = self.listener(&view);
        listener.tls.is_none() && !listener.proxy_protocol
    }

    pub fn listener<'v>(&self, view: &'v View) -> &'v Listener {
        view.listener(self.place.listening.key)
    }

    /// The value of `Strict-Transport-Security` here; empty: none.
    pub fn hsts<'v>(&self, view: &'v View) -> &'v str {
        let Some(terms) = &self.listener(view).tls else { return "" }; // Fast path.
        if !self.stream.is_tls() {
            return ""; // from before its listener spoke TLS (RFC 6797 §7.2)
        }
        terms.hsts.as_deref().unwrap_or_default()
    }

    pub fn router<'v>(&self, view: &'v View) -> &'v Router {
        &view.snapshot.routers[self.listener(view).router]
    }

    /// Whether this connection ends after what it has begun.
    pub fn is_draining(&self) -> bool {
        self.w.is_draining()
            || self.place.listening.is_retired()
            || self.w.view.borrow().listener(self.place.listening.key).ticket_key()
                != self.stream.ticket_key()
    }

    pub fn is_trusted(&self, view: &View) -> bool {
        let trusted = &view.snapshot.server.trusted_proxies;
        // Fast path: nobody is trusted.
        !trusted.is_empty()
            && !self.is_nobodys
            && self.peer.is_some_and(|ip| is_trusted(ip, trusted))
    }
}

/// Serves one connection to its end. What it holds is captured once: as arguments of an async fn
/// it would be stored twice, and an idle connection is little else.
pub fn serve(
    w: Rc<Worker>,
    stream: Stream,
    peer: Option<IpAddr>,
    place: Place,
) -> impl Future<Output = ()> {
    let watch = w.timers.watch(place.listening.key.0);
    let peer_text = AddressText::new(peer);
    w.recorder.borrow_mut().whole.connections += 1;
    let stream = Wire::plain(stream);
    let (is_nobodys, empty_line) = (false, Cell::new(false));
    let mut conn = Conn { w, stream, watch, peer, peer_text, place, is_nobodys, empty_line };
    async move {
        let over = match conn.is_plain() {
            true => None, // Fast path.
            // Boxed: every idle connection would have its room.
            false => Box::pin(hello(&mut conn)).await,
        };
        let conn = &conn;
        if conn.is_draining() {
            conn.watch.drain();
        }
        let next = match over {
            None => spells(conn).await,
            Some(over) => over,
        };
        if conn.stream.is_tls() && next != Next::Reset {
            conn.stream.farewell();
            if conn.stream.is_blocked() {
                Box::pin(said(conn)).await; // boxed as the others are
            }
        }
        let is_cut_off = match next {
            // A plain close with unread input would reset the answer away, and so would a byte
            // that comes behind the close, as long as the answer is under way.
            Next::KeepAlive | Next::Close => {
                conn.stream.has_unread() || conn.peer.is_some() && conn.stream.unsent() > 0
            }
            Next::Linger => true,
            Next::Reset => {
                conn.stream.reset_on_close();
                false
            }
        };
        if is_cut_off {
            // Boxed: every idle connection would have its room.
            Box::pin(linger(conn)).await;
        }
    }
}

async fn spells(conn: &Conn) -> Next {
    let head_timeout = conn.listener(&conn.view()).head_timeout;
    // The first head is timed from the accept on (RFC-less, but what slowloris asks for).
    let mut deadline = rt::now().after(head_timeout);
    let mut head_deadline = Some(deadline);
    loop {
        if conn.stream.is_mid_record() {
            // Of a request, maybe: it has a head's time, and a drain waits for it.
            let head_timeout = conn.listener(&conn.view()).head_timeout; // (not kept over the wait)
            deadline = deadline.min(rt::cached_now().after(head_timeout));
            conn.watch.unwatched();
        } else {
            conn.watch.idle();
        }
        conn.watch.arm(deadline);
        // What was sent before the drain began, or together with it, is still served.
        let is_due = || conn.is_draining() && conn.stream.has_unread();
        if !is_due() && !conn.stream.is_ready() {
            // (Not the wire's own wait, whose future would be larger.)
            let readable = conn.stream.stream().readable(&conn.watch).await;
            if readable.is_err() && !is_due() {
                return Next::Close;
            }
        }
        let spell = conn.w.slots.place(|| busy(conn, head_deadline));
        match spell.await {
            // The drain began behind the answer's head, which has not said so: a request that has
            // come since is served, and its answer says it.
            Some(Next::KeepAlive) if conn.is_draining() && !is_due() => return Next::Close,
            Some(Next::KeepAlive) => {
                head_deadline = None;
                let idle_timeout = conn.listener(&conn.view()).idle_timeout;
                deadline = rt::cached_now().after(idle_timeout);
            }
            // Nothing came that begins a request: the wait goes on.
            None => {}
            Some(closes) => return closes,
        }
    }
}

/// From the first byte of a request until nothing more is there to be done. `None`: no request
/// came.
async fn busy(conn: &Conn, head_deadline: Option<Mono>) -> Option<Next> {
    let mut buf = conn.w.bufs.lease();
    if conn.empty_line.take() {
        buf.extend(EMPTY_LINE); // so that what may follow it is judged as if they came together
    }
    let mut request = conn.w.take_request();
    let next = requests(conn, &mut buf, &mut request, head_deadline).await;
    conn.w.give_request(request);
    if conn.w.bufs.has_spare() {
        conn.w.sweep_pools();
    }
    next
}

async fn requests(
    conn: &Conn,
    buf: &mut Buf,
    request: &mut Request,
    head_deadline: Option<Mono>,
) -> Option<Next> {
    let mut served = None;
    let mut deadline = head_deadline;
    let mut in_a_row = 0;
    loop {
        in_a_row += 1;
        if in_a_row > REQUESTS_IN_A_ROW {
            in_a_row = 0;
            rt::turn().await;
        }
        conn.watch.unwatched();
        let began = rt::now();
        match next_head(conn, buf, request, began, deadline.take()).await {
            Head::Complete => {}
            Head::Nothing => return served,
            Head::End => return Some(Next::Close),
            Head::Refused(next) => return Some(next),
        }
        let next = exchange(conn, buf, request).await;
        if next == Next::KeepAlive && conn.watch.fired() == Some(Stop::Gone) {
            return Some(Next::Close);
        }
        if next != Next::KeepAlive || buf.is_empty() {
            return Some(next);
        }
        served = Some(next);
        request.reset();
    }
}

enum Head {
    Complete,
    /// No byte of a request is there.
    Nothing,
    /// The client left.
    End,
    Refused(Next),
}

/// A head that is not there at once has until `deadline`, or `head_timeout` from `began` on.
async fn next_head(
    conn: &Conn,
    buf: &mut Buf,
    request: &mut Request,
    began: Mono,
    mut deadline: Option<Mono>,
) -> Head {
    let mut fresh = !buf.is_empty();
    loop {
        if fresh {
            let view = conn.view();
            let limits = conn.listener(&view).limits;
            match request.begin(buf.filled(), &limits, view.relaxed.encoded_slash) {
                Ok(true) => return Head::Complete,
                Ok(false) if hello::is_tls(buf.filled()) => return Head::Refused(not_http(conn)),
                Ok(false) => {}
                Err(_) if hello::is_tls(buf.filled()) => return Head::Refused(not_http(conn)),
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
                if buf.filled() == EMPTY_LINE {
                    buf.consume(EMPTY_LINE.len());
                    conn.empty_line.set(true);
                    return Head::Nothing;
                }
                let head_timeout = || conn.listener(&conn.view()).head_timeout;
                conn.watch.arm(*deadline.get_or_insert_with(|| began.after(head_timeout())));
                match conn.stream.readable(&conn.watch).await {
                    // The exchange's clock starts when its head is whole.
                    Ok(()) => _ = rt::now(),
                    Err(Stop::Expired) => {
                        return Head::Refused(own::timed_out(conn, buf, request).await);
                    }
                    Err(_) => return Head::End,
                }
            }
            Err(_) => return Head::End,
        }
    }
}

/// A client speaks TLS where none is spoken: it would not understand an answer.
#[cold]
fn not_http(conn: &Conn) -> Next {
    conn.w.recorder.borrow_mut().whole.greeted(Greeting::TlsOnPlain);
    Next::Linger
}

/// Waits until the kernel has taken the goodbye, too: without it the end of an answer may be none.
async fn said(conn: &Conn) {
    conn.watch.lingers();
    let end = rt::now().after(LINGER_TOTAL_MAX);
    while rt::now() < end {
        conn.watch.arm(rt::cached_now().after(LINGER_MAX));
        if conn.stream.writable(&conn.watch).await.is_err() || conn.stream.flush() != Some(false) {
            return;
        }
    }
}

/// Lets the client read its answer: no more is sent, what still comes is discarded, for a
/// bounded while (RFC 9112 §9.6). Holds no buffer while it waits. Nothing of it is deciphered.
async fn linger(conn: &Conn) {
    conn.stream.shut(Shut::Write);
    let stream = conn.stream.stream();
    conn.watch.lingers();
    let mut now = rt::now();
    let end = now.after(LINGER_TOTAL_MAX);
    let mut unsent = conn.stream.unsent();
    let mut discarded = 0;
    conn.watch.arm(now.after(LINGER_MAX));
    while discarded < LINGER_BYTES_MAX {
        match stream.readable(&conn.watch).await {
            Ok(()) => {}
            Err(Stop::Expired) => {
                now = rt::now();
                let before = std::mem::replace(&mut unsent, conn.stream.unsent());
                if unsent >= before || now >= end {
                    return;
                }
                conn.watch.arm(now.after(LINGER_MAX)); // it takes its answer, slowly
                continue;
            }
            Err(_) => return,
        }
        let mut buf = conn.w.bufs.lease();
        match stream.try_read(buf.room()) {
            Ok(0) => return,
            Ok(n) => discarded += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, F>(_: fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// An idle connection costs this, its socket, and what the runtime keeps of a task.
    #[test]
    fn the_future_of_an_idle_connection_is_small() {
        let size = size_of_future(serve);
        assert!(size <= 336, "{size} bytes");
    }

    /// A busy one has this besides, in a slot that the next busy one takes over.
    #[test]
    fn the_future_of_a_busy_connection_is_bounded() {
        fn size_of<'a, F>(_: fn(&'a Conn, Option<Mono>) -> F) -> usize {
            std::mem::size_of::<F>()
        }
        let size = size_of(busy);
        assert!(size <= 4096, "{size} bytes");
    }
}
