//! What policies ask, and how it is found out: on a helper thread, by control, or from another
//! service through the pools. Seldom, so that none of it is part of an exchange's own future.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use parser::scan::HeadScan;
use parser::{FieldId, Method, encode};

use crate::h1::client::Answer as Head;
use crate::h1::relay::{Body, Out};
use crate::limit::concurrency::Waited;
use crate::policy::concurrency::Waiting;
use crate::policy::cx::Question;
use crate::policy::forward_auth::{Forward, ForwardAuth};
use crate::policy::identify::{Kind, Method as AuthMethod};
use crate::policy::{Answer, Ask};
use crate::rt::timer::NO_GROUP;
use crate::rt::{self, Stop};
use crate::snapshot::Upstream;
use crate::time::Mono;
use crate::upstream::Tried;
use crate::worker::Worker;
use crate::worker::asks::Open;
use crate::worker::dial::{Lease, lease};
use crate::worker::exchange::Exchange;
use crate::worker::mailbox::{FromWorker, ToWorker};
use crate::worker::outcome::Failure;

/// A password waits for a helper thread, and for its hash.
const PASSWORD_MAX: Duration = Duration::from_secs(5);
/// A token waits for its issuer's newer keys.
const KEYS_MAX: Duration = Duration::from_secs(5);
/// What is read of an authorisation service's answer beside its head, so that its connection can
/// be kept; more is not worth that.
const BODY_BYTES_MAX: usize = 64 << 10;
/// A no that keeps its body back is told after this, and the connection of any answer that does is
/// not kept.
const BODY_WAIT_MAX: Duration = Duration::from_millis(50);
const INTERIM_MAX: u32 = 16;

/// The client left before it was found out.
#[derive(Debug)]
pub struct Gone;

/// Answers a policy's question; what it found out goes back into the question. Whoever leaves
/// meanwhile needs no answer.
pub async fn find_out(x: &Exchange<'_>, ask: Ask, question: &mut Question) -> Result<Answer, Gone> {
    match (ask, question) {
        (Ask::Password, Question::Password(asked)) => {
            let (hash, credentials) = (asked.hash, asked.credentials.clone());
            let w = &x.conn.w;
            let (open, mailbox) = (w.asks.open(), w.mailbox.clone());
            let ticket = open.ticket();
            let submitted = w.offload.submit(move || {
                let is_right = hash.verify(credentials.password());
                let answer = if is_right { Answer::Yes } else { Answer::No };
                mailbox.send(ToWorker::Found(ticket, answer));
            });
            match submitted {
                // Whoever leaves takes the job along.
                Ok(_waits) => heard(x, &open, PASSWORD_MAX).await,
                Err(rt::offload::Busy) => Ok(Answer::Unknown),
            }
        }
        (Ask::Keys, Question::Keys(method)) => {
            match x.view.snapshot.auths[*method as usize].fetches() {
                Some((from, _)) => {
                    let w = &x.conn.w;
                    let open = w.asks.open();
                    let from = Box::new(from.clone());
                    w.outbox.tell(w.id, FromWorker::WantsKeys(from, open.ticket()));
                    heard(x, &open, KEYS_MAX).await
                }
                None => Ok(Answer::Unknown),
            }
        }
        (Ask::Forward, Question::Forward(asked)) => {
            let method: &AuthMethod = &x.view.snapshot.auths[asked.method as usize];
            match &method.kind {
                Kind::Forward(auth) => forward(x, auth, asked).await,
                _ => Ok(Answer::Unknown),
            }
        }
        (Ask::Permit, Question::Permit(waiting)) => permit(x, waiting).await,
        _ => Ok(Answer::Unknown),
    }
}

/// Waits for a place among those that are served at one time.
async fn permit(x: &Exchange<'_>, waiting: &mut Waiting) -> Result<Answer, Gone> {
    let Some(desk) = x.view.desks.get(waiting.number as usize) else {
        return Ok(Answer::Unknown);
    };
    let watch = &x.conn.watch;
    let due = rt::now().after(waiting.wait).min(x.deadline);
    let mut wait = None;
    let turn = pin!(poll_fn(|cx| {
        let wait = match &mut wait {
            Some(wait) => wait,
            None => match desk.wait(waiting.key, due, cx.waker()) {
                Some(new) => wait.insert(new),
                None => return Poll::Ready(Ok(None)), // as many wait as may
            },
        };
        match wait.state(cx.waker()) {
            Waited::NotYet => Poll::Pending,
            Waited::Permit(permit) => Poll::Ready(Ok(Some(permit))),
            Waited::Expired => Poll::Ready(Ok(None)),
        }
    }));
    x.watch_client(watch);
    watch.arm(due);
    let permit = rt::until(turn, watch).await;
    watch.unwatched();
    watch.disarm();
    waiting.permit = unless_gone(permit)?.flatten();
    Ok(if waiting.permit.is_some() { Answer::Yes } else { Answer::No })
}

/// What was waited for, if it came.
fn unless_gone<T>(waited: Result<T, Stop>) -> Result<Option<T>, Gone> {
    match waited {
        Ok(found) => Ok(Some(found)),
        Err(Stop::Gone) => Err(Gone),
        Err(Stop::Expired | Stop::Drain | Stop::Broken(_)) => Ok(None),
    }
}

async fn heard(x: &Exchange<'_>, open: &Open<'_>, most: Duration) -> Result<Answer, Gone> {
    let watch = &x.conn.watch;
    x.watch_client(watch);
    watch.arm(rt::now().after(most).min(x.deadline));
    let answer = open.heard(watch).await;
    watch.unwatched();
    watch.disarm();
    Ok(unless_gone(answer)?.unwrap_or(Answer::Unknown))
}

/// Asks an authorisation service: a yes is any 2xx; a redirect, a 401 or a 403 is what the client
/// is told. Anything else is no answer.
async fn forward(
    x: &Exchange<'_>,
    auth: &ForwardAuth,
    asked: &mut Forward,
) -> Result<Answer, Gone> {
    let due = rt::now().after(auth.timeout).min(x.deadline);
    let mut tried = Tried::default();
    // A kept connection may turn out closed: one more, on a new one.
    for is_fresh in [false, true] {
        let lease = match lease(x, auth.upstream, due, &mut tried, is_fresh).await {
            Ok(lease) => lease,
            Err(Failure::ClientGone) => return Err(Gone),
            Err(_) => return Ok(Answer::Unknown),
        };
        let reused = lease.reused;
        let answer = ask_service(x, auth, lease, due, asked).await;
        x.conn.watch.unwatched();
        x.conn.watch.disarm();
        match answer? {
            Some(answer) => return Ok(answer),
            None if reused && rt::now() < due => {}
            None => break,
        }
    }
    Ok(Answer::Unknown)
}

/// `None`: no whole head came.
async fn ask_service(
    x: &Exchange<'_>,
    auth: &ForwardAuth,
    lease: Lease,
    due: Mono,
    asked: &mut Forward,
) -> Result<Option<Answer>, Gone> {
    let (w, watch) = (&x.conn.w, &x.conn.watch);
    let upstream = x.view.snapshot.upstream(auth.upstream);
    let mut out = w.scratch();
    encode::request_line(&mut out, b"GET", auth.target.as_bytes());
    encode::field(&mut out, b"Host", lease.target.host_text());
    encode::field(&mut out, b"X-Request-Id", x.request_id.as_bytes());
    out.extend_from_slice(&asked.shown);
    out.extend_from_slice(b"\r\n");
    watch.arm(due);
    x.watch_client(watch);
    if unless_gone(lease.stream().write_all(&out, watch, |_| {}).await)?.is_none() {
        return Ok(None);
    }
    let mut buf = w.bufs.lease();
    let mut head = Head::new(usize::from(upstream.limits.fields_max));
    let mut scan = HeadScan::response();
    let mut interims = 0;
    loop {
        let begun = match buf.is_empty() {
            true => Ok(false),
            false => head.begin(buf.filled(), &mut scan, &upstream.limits, Method::Get),
        };
        let Ok(has_head) = begun else { return Ok(None) };
        if has_head {
            if head.head.status >= 200 {
                break;
            }
            interims += 1;
            buf.consume(head.head.len as usize);
            scan = HeadScan::response();
            match interims > INTERIM_MAX || head.head.status == 101 {
                true => return Ok(Some(Answer::Unknown)),
                false => continue,
            }
        }
        if !buf.has_room() && !buf.make_room() {
            return Ok(Some(Answer::Unknown));
        }
        match unless_gone(lease.stream().read(&mut buf, watch).await)? {
            None | Some(0) => return Ok(None),
            Some(_) => {}
        }
    }
    let answer = judge(auth, &head, buf.filled(), asked);
    let until = rt::now().after(BODY_WAIT_MAX);
    let rest = Rest::of(&head, buf, lease, upstream);
    match answer {
        Answer::Yes => rest.read_beside(w, until),
        _ => {
            watch.arm(until.min(due));
            rest.read(w, watch).await;
        }
    }
    Ok(Some(answer))
}

/// What is still to come of an answer that has been judged: read so that its connection can be
/// used again, dropped otherwise.
struct Rest {
    lease: Lease,
    buf: rt::Buf,
    body: Body,
    is_persistent: bool,
    left: usize,
    idle_max: Duration,
}

impl Rest {
    fn of(head: &Head, mut buf: rt::Buf, lease: Lease, upstream: &Upstream) -> Rest {
        buf.consume(head.head.len as usize);
        Rest {
            lease,
            buf,
            body: Body::new(head.framing, Out::Raw, &upstream.limits),
            is_persistent: head.is_persistent(),
            left: BODY_BYTES_MAX,
            idle_max: upstream.pool_idle_timeout,
        }
    }

    /// Takes what is here. Whether the connection can be used again, once that is known.
    fn step(&mut self) -> Option<bool> {
        let (mut trailers, mut aux) = (parser::Fields::default(), Vec::new());
        let step = self.body.step(self.buf.filled(), &mut aux, &mut trailers, |_| false);
        let Ok(step) = step else { return Some(false) };
        self.buf.consume(step.taken);
        if self.body.is_done() {
            return Some(self.buf.is_empty() && self.is_persistent);
        }
        let is_hopeless = !self.is_persistent || (!self.buf.has_room() && !self.buf.make_room());
        is_hopeless.then_some(false)
    }

    /// As long as `watch` allows.
    async fn read(mut self, w: &Rc<Worker>, watch: &rt::Watch) {
        loop {
            match self.step() {
                Some(true) => return self.keep(w),
                Some(false) => return,
                None => {}
            }
            match self.lease.stream().read(&mut self.buf, watch).await {
                Ok(n) if n > 0 && n <= self.left => self.left -= n,
                _ => return,
            }
        }
    }

    /// A yes lets its request go on at once: what is not here of its body comes beside it. There
    /// are as many of these at most as connections to the service.
    fn read_beside(mut self, w: &Rc<Worker>, until: Mono) {
        match self.step() {
            Some(true) => self.keep(w),
            Some(false) => {}
            None => {
                let watch = w.timers.watch(NO_GROUP);
                watch.arm(until);
                let worker = w.clone();
                w.spawn(async move { self.read(&worker, &watch).await });
            }
        }
    }

    fn keep(self, w: &Rc<Worker>) {
        self.lease.checkin(rt::cached_now(), rt::now().after(self.idle_max));
        w.sweep_pools();
    }
}

/// What a whole head says.
fn judge(auth: &ForwardAuth, head: &Head, bytes: &[u8], asked: &mut Forward) -> Answer {
    let fields = &head.head.fields;
    let value = |field: &parser::Field| field.value.of(bytes);
    match head.head.status {
        200..=299 => {
            for field in fields.iter() {
                if auth.response_headers.iter().any(|name| name.is(field, bytes)) {
                    encode::field(&mut asked.yes.lines, field.name.of(bytes), value(field));
                }
            }
            if let Some(name) = &auth.consumer_header {
                let mut found = fields.iter().filter(|field| name.is(field, bytes));
                match (found.next(), found.next()) {
                    (_, Some(_)) => return Answer::Unknown, // two names are none
                    (Some(field), None) => asked.yes.name.extend_from_slice(value(field)),
                    (None, None) => {}
                }
            }
            Answer::Yes
        }
        status @ (301 | 302 | 303 | 307 | 308 | 401 | 403) => {
            let mut lines = Vec::new();
            for field in fields.iter() {
                let name = field.name.of(bytes);
                let is_told = field.id == FieldId::SetCookie
                    || name.eq_ignore_ascii_case(b"location")
                    || name.eq_ignore_ascii_case(b"www-authenticate");
                if is_told {
                    encode::field(&mut lines, name, value(field));
                }
            }
            asked.no = Some((status, lines));
            Answer::No
        }
        _ => Answer::Unknown,
    }
}
