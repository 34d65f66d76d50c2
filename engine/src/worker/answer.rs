//! The origin's answer: interim ones, the head, the body, to the client as they come.

use std::io;

use parser::framing::BodyFraming;
use parser::scan::HeadScan;

use crate::h1::client::{AnswerOut, encode_answer};
use crate::h1::relay::{Body, Out};
use crate::rt::{self, Buf, Stop, Watch};
use crate::time::Mono;
use crate::worker::Scratch;
use crate::worker::admit::answer_marks;
use crate::worker::exchange::Exchange;
use crate::worker::outcome::Failure;
use crate::worker::relay::{Gate, Stint};
use crate::worker::send::{Pace, send};
use crate::worker::wire::Wire;

/// Interim answers passed on for one request.
const INTERIM_MAX: u32 = 16;

/// An answer that was delivered whole.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    /// The client's connection must end after it.
    pub close: bool,
    /// Until when the upstream connection may be kept; `None`: it can't be used again.
    pub keep_until: Option<Mono>,
    /// A 101: what the origin has already sent through the tunnel. Boxed, since it is rare.
    pub tunnel: Option<Box<Option<Buf>>>,
    /// A part of its body came behind the head.
    pub relayed: bool,
}

/// An answer that was not.
#[derive(Debug)]
pub struct Failed {
    pub failure: Failure,
    /// The final head went out: the client can only be cut off.
    pub head_sent: bool,
    /// Anything went out, an interim answer included.
    pub client_has_bytes: bool,
}

/// A final head, ready to go out.
struct Begun {
    status: u16,
    body: Body,
    close: bool,
    keep_until: Option<Mono>,
    events: bool,
    is_tunnel: bool,
    /// `Connection` names fields of the origin's own.
    nominates: bool,
}

enum Seen {
    More,
    Interim,
    Final(Begun),
}

/// Awaits and relays the answer on `up`. Waits end by `watch`.
pub async fn answer(
    x: &Exchange<'_>,
    up: &Wire,
    watch: &Watch,
    gate: &Gate,
) -> Result<Answered, Failed> {
    let mut client_has_bytes = false;
    let mut buf = None;
    let mut out = x.conn.w.scratch_later();
    let begun = head(x, up, watch, gate, &mut buf, &mut out, &mut client_has_bytes).await;
    let begun = begun.map_err(|failure| {
        // A part of an interim answer is no place to put a problem behind.
        let head_sent = gate.writing.get();
        Failed { failure, head_sent, client_has_bytes }
    })?;
    gate.head_seen.set(true);
    if begun.is_tunnel {
        let mut pace = Pace::plain(x.route.body_timeout, x.deadline);
        let sent = send(&x.conn.stream, &out, &[], &[], watch, &mut pace).await;
        return match sent {
            Ok(()) => Ok(Answered {
                status: begun.status,
                close: true,
                keep_until: None,
                tunnel: Some(Box::new(buf)),
                relayed: false,
            }),
            Err(stop) => Err(failed(of_client(x, stop))),
        };
    }
    body(x, up, watch, gate, buf, out, begun).await.map_err(|failure| match failure {
        Failure::BadAnswer => {
            gate.head_seen.set(false);
            Failed { failure, head_sent: false, client_has_bytes }
        }
        failure => failed(failure),
    })
}

fn failed(failure: Failure) -> Failed {
    Failed { failure, head_sent: true, client_has_bytes: true }
}

/// What ended a wait for the client to take its answer.
fn of_client(x: &Exchange<'_>, stop: Stop) -> Failure {
    let is_late = stop == Stop::Expired && x.is_past_deadline(rt::now());
    if is_late { Failure::Deadline } else { Failure::of_client(stop, Failure::ClientSlow) }
}

/// Reads up to the final head and writes it into `out`.
async fn head(
    x: &Exchange<'_>,
    up: &Wire,
    watch: &Watch,
    gate: &Gate,
    buf: &mut Option<Buf>,
    out: &mut Scratch<'_>,
    client_has_bytes: &mut bool,
) -> Result<Begun, Failure> {
    let mut scan = HeadScan::response();
    let mut interims = 0;
    loop {
        if let Some(bytes) = buf.as_mut().filter(|b| !b.is_empty()) {
            match look(x, bytes, &mut scan, gate, out)? {
                Seen::Final(begun) => return Ok(begun),
                Seen::Interim => {
                    interims += 1;
                    if interims > INTERIM_MAX {
                        return Err(Failure::BadAnswer);
                    }
                    if !out.is_empty() {
                        *client_has_bytes = true;
                        let mut pace = Pace::plain(x.route.body_timeout, x.deadline);
                        gate.writing.set(true);
                        send(&x.conn.stream, out, &[], &[], watch, &mut pace)
                            .await
                            .map_err(|stop| of_client(x, stop))?;
                        gate.writing.set(false);
                        out.clear();
                    }
                    scan = HeadScan::response();
                    continue;
                }
                Seen::More => {}
            }
        }
        let due = if gate.clock_runs.get() { gate.due.get() } else { Mono::NEVER };
        watch.arm(due.min(x.deadline));
        let began = buf.as_ref().is_some_and(|b| !b.is_empty());
        match fill(x, up, watch, buf, began).await {
            Ok(0) | Err(Stop::Broken(_)) if began => return Err(Failure::BadAnswer),
            Ok(0) | Err(Stop::Broken(_)) => return Err(Failure::Closed { sent: true }),
            Ok(_) => {}
            Err(Stop::Expired) if x.is_past_deadline(rt::now()) => return Err(Failure::Deadline),
            Err(Stop::Expired) => return Err(Failure::AnswerTimeout),
            Err(Stop::Gone | Stop::Drain) => return Err(Failure::ClientGone),
        }
    }
}

/// Looks whether a head is complete, and consumes it. Interim and final heads are encoded.
fn look(
    x: &Exchange<'_>,
    bytes: &mut Buf,
    scan: &mut HeadScan,
    gate: &Gate,
    out: &mut Scratch<'_>,
) -> Result<Seen, Failure> {
    let w = &x.conn.w;
    let mut answer = w.answer.borrow_mut();
    let limits = &x.upstream().limits;
    match answer.begin(bytes.filled(), scan, limits, x.request.head.method) {
        Ok(true) => {}
        Ok(false) => return Ok(Seen::More),
        Err(_) => return Err(Failure::BadAnswer),
    }
    let buf = bytes.filled();
    let (status, http10) = (answer.head.status, x.request.is_http10());
    let asked = x.upgrade();
    let is_tunnel = status == 101;
    let upgrade = match asked {
        Some(name) if is_tunnel => Some(answer.upgrade_among(buf, name).ok_or(Failure::BadAnswer)?),
        None if is_tunnel => return Err(Failure::BadAnswer), // nobody asked
        _ => None,
    };
    let is_interim = status < 200 && !is_tunnel;
    let now = rt::cached_now();
    if !is_interim {
        x.noted.first_byte.set(now);
    }
    let date = w.date(now);
    let framing = answer.framing;
    let way = match framing {
        BodyFraming::Chunked if http10 => Out::Data,
        BodyFraming::UntilClose if http10 => Out::Data,
        BodyFraming::UntilClose => Out::Chunked,
        _ => Out::Raw,
    };
    // An answer that is over before its request is ends the connection, and says so.
    let is_early = !gate.request_done.get()
        && (status >= 300 || is_whole(framing, &buf[answer.head.len as usize..]));
    let stays = x.request.persistent && !x.conn.is_draining() && way != Out::Data && !is_early;
    let close = !stays && !is_interim && !is_tunnel;
    if !(is_interim && http10) {
        let edits = x.route.headers.as_deref().map(|h| &h.response);
        let edits = edits.filter(|e| !is_interim && !e.is_empty());
        let facts = edits.map(|_| x.facts());
        let o = AnswerOut {
            answer: &answer,
            buf,
            chunked: !http10
                && !is_interim
                && matches!(framing, BodyFraming::Chunked | BodyFraming::UntilClose),
            close,
            keep_alive: http10 && stays && !is_interim,
            upgrade,
            date: &date,
            hsts: x.conn.hsts(x.view),
            edits: edits.zip(facts.as_ref()),
            marks: answer_marks(x),
            via: x.view.snapshot.server.via,
        };
        out.ready();
        encode_answer(out, &o);
    }
    let keep_until = answer.is_persistent().then(|| {
        let idle = x.upstream().pool_idle_timeout;
        let said = answer.keep_alive_seconds(buf);
        let said = said.map(|s| std::time::Duration::from_secs(s.saturating_sub(1)));
        now.after(said.map_or(idle, |s| s.min(idle)))
    });
    let begun = Begun {
        status,
        body: Body::new(framing, way, limits),
        close,
        keep_until,
        events: answer.is_event_stream(buf),
        is_tunnel,
        nominates: answer.options.nominated,
    };
    let head_len = answer.head.len as usize;
    drop(answer);
    bytes.consume(head_len);
    Ok(if is_interim { Seen::Interim } else { Seen::Final(begun) })
}

/// Whether all of a body is there already.
fn is_whole(framing: BodyFraming, bytes: &[u8]) -> bool {
    match framing {
        BodyFraming::None => true,
        BodyFraming::Length(n) => n <= bytes.len() as u64,
        BodyFraming::Chunked => bytes.ends_with(b"0\r\n\r\n"),
        BodyFraming::UntilClose => false,
    }
}

/// Relays the body, the first part together with the head. [`Failure::BadAnswer`]: that part is
/// broken, and nothing went out.
async fn body(
    x: &Exchange<'_>,
    up: &Wire,
    watch: &Watch,
    gate: &Gate,
    mut buf: Option<Buf>,
    mut out: Scratch<'_>,
    begun: Begun,
) -> Result<Answered, Failure> {
    let Begun { status, mut body, close, keep_until, events, nominates, .. } = begun;
    let w = &x.conn.w;
    let mut writing = Pace::of_body(x);
    let silence = if events { x.route.tunnel_timeout } else { x.route.body_timeout };
    let mut reading = Pace::plain(silence, x.deadline);
    let mut stint = Stint::default();
    let mut relayed = false;
    loop {
        let mut aux = w.scratch_for(&body);
        let input = buf.as_ref().map_or(&[][..], Buf::filled);
        // The head is gone: where it nominated anything, no trailer is known to be for the client
        // as well, and any may be left out (RFC 9110 §6.5.1).
        let step = body.step(input, &mut aux, &mut w.trailers.borrow_mut(), |_| nominates);
        // The head waits in `out` for the first part.
        let broken = if out.is_empty() { Failure::Truncated } else { Failure::BadAnswer };
        let step = step.map_err(|_| broken)?;
        let raw = &input[..step.raw];
        send(&x.conn.stream, &out, raw, &aux, watch, &mut writing)
            .await
            .map_err(|stop| of_client(x, stop))?;
        out.clear();
        if let Some(bytes) = &mut buf {
            bytes.consume(step.taken);
        }
        if body.is_done() {
            break;
        }
        relayed = true;
        match next_part(x, up, watch, &mut buf, &mut reading, &mut stint).await {
            Ok(0) => {
                if !body.end(&mut out) {
                    return Err(Failure::Truncated);
                }
                buf = None;
            }
            Ok(_) => {}
            Err(Stop::Broken(_)) => return Err(Failure::Truncated),
            Err(Stop::Expired) if x.is_past_deadline(rt::now()) => return Err(Failure::Deadline),
            Err(Stop::Expired) => return Err(Failure::BodyTimeout),
            Err(Stop::Gone | Stop::Drain) => return Err(Failure::ClientGone),
        }
    }
    let unread = buf.is_some_and(|b| !b.is_empty());
    let keep_until = keep_until.filter(|_| !unread && gate.request_done.get());
    Ok(Answered { status, close, keep_until, tunnel: None, relayed })
}

async fn next_part(
    x: &Exchange<'_>,
    up: &Wire,
    watch: &Watch,
    buf: &mut Option<Buf>,
    pace: &mut Pace,
    stint: &mut Stint,
) -> Result<usize, Stop> {
    stint.ends().await;
    if let Some(n) = try_fill(x, up, buf)? {
        stint.moved(n);
        return Ok(n);
    }
    loop {
        stint.waited();
        if buf.as_ref().is_some_and(Buf::is_empty) {
            *buf = None;
        }
        pace.wait(watch, || up.readable(watch)).await?;
        if let Some(n) = try_fill(x, up, buf)? {
            return Ok(n);
        }
    }
}

/// Waits until `up` has bytes and reads them; nothing is leased before. `began`: bytes are
/// buffered already, so there may be more.
async fn fill(
    x: &Exchange<'_>,
    up: &Wire,
    watch: &Watch,
    buf: &mut Option<Buf>,
    began: bool,
) -> Result<usize, Stop> {
    if began && let Some(n) = try_fill(x, up, buf)? {
        return Ok(n);
    }
    loop {
        up.readable(watch).await?;
        rt::now(); // what is timed from here on starts after the wait
        if let Some(n) = try_fill(x, up, buf)? {
            return Ok(n);
        }
    }
}

/// Reads what is there; `None` is nothing yet.
fn try_fill(x: &Exchange<'_>, up: &Wire, slot: &mut Option<Buf>) -> Result<Option<usize>, Stop> {
    let buf = slot.get_or_insert_with(|| x.conn.w.bufs.lease());
    if !buf.has_room() && !buf.make_room() {
        return Err(Stop::Broken(io::ErrorKind::InvalidData));
    }
    match up.try_read(buf.room()) {
        Ok(n) => {
            buf.commit(n);
            Ok(Some(n))
        }
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            if buf.is_empty() {
                *slot = None;
            }
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}
