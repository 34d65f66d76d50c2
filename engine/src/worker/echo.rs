//! The echo service of the embedded default: the request comes back as text.

use parser::Method;
use parser::framing::BodyFraming;

use crate::http::reply::{self, ReplyHead};
use crate::rt::{self, Buf};
use crate::worker::exchange::{Done, Exchange, body_in};
use crate::worker::outcome::{Failure, Next};
use crate::worker::own;
use crate::worker::send::{Pace, send};

/// Largest body that is echoed.
const ECHO_BODY_MAX: usize = 64 << 10;

/// Answers with the request as it arrived: its line, its fields, its body.
pub async fn echo(x: &Exchange<'_>) -> Done {
    let mut read = None;
    let body = match body_in(x.request, x.bytes) {
        Some(end) => &x.bytes[x.request.head_len()..end],
        None => match read_body(x).await {
            Ok(buf) => read.insert(buf).filled(),
            Err(failure) => return own::fail(x, failure).await,
        },
    };
    let mut text = x.conn.w.scratch();
    let head = x.bytes[..x.request.head_len()].trim_ascii();
    text.extend_from_slice(head);
    text.extend_from_slice(b"\n\n");
    text.extend_from_slice(body);
    let whole = body_in(x.request, x.bytes);
    let stays = whole.is_some() && x.request.persistent && !x.conn.is_draining();
    let date = x.conn.w.date(rt::cached_now());
    let head = ReplyHead {
        status: 200,
        content_type: "text/plain; charset=utf-8",
        hsts: x.conn.hsts(x.view),
        date: &date,
        close: !stays,
        keep_alive: stays && x.request.is_http10(),
        head_only: x.request.head.method == Method::Head,
    };
    let mut out = x.conn.w.scratch();
    reply::write(&mut out, &head, &text, |out| {
        out.extend_from_slice(b"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n");
    });
    let mut pace = Pace::of_body(x);
    let sent = send(&x.conn.stream, &out, &[], &[], &x.conn.watch, &mut pace).await;
    let next = match (sent, stays) {
        (Err(_), _) => Next::Reset,
        (Ok(()), true) => Next::KeepAlive,
        (Ok(()), false) => Next::Linger,
    };
    Done::new(200, next, whole.unwrap_or(0))
}

/// Reads the rest of a body, data only.
async fn read_body(x: &Exchange<'_>) -> Result<Buf, Failure> {
    use crate::h1::relay::{Body, Out};
    if matches!(x.request.framing, BodyFraming::Length(n) if n > ECHO_BODY_MAX as u64) {
        return Err(Failure::BodyTooLarge);
    }
    let (w, stream, watch) = (&x.conn.w, &x.conn.stream, &x.conn.watch);
    let mut pace = Pace::of_body(x);
    if x.request.expect_continue {
        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let sent = send(stream, CONTINUE, &[], &[], watch, &mut pace).await;
        // A part of it may have gone: nothing can be put behind that.
        sent.map_err(|_| Failure::ClientGone)?;
    }
    let limits = x.conn.listener(x.view).limits;
    let mut body = Body::new(x.request.framing, Out::Data, &limits);
    let (mut input, mut data) = (w.bufs.lease(), w.bufs.lease());
    let mut rest = &x.bytes[x.request.head_len()..];
    while !rest.is_empty() {
        rest = &rest[input.extend(rest)..];
        if !rest.is_empty() && !input.make_room() {
            return Err(Failure::BodyTooLarge);
        }
    }
    loop {
        let mut aux = w.scratch();
        let step = x.step(&mut body, input.filled(), &mut aux);
        let step = step.map_err(|_| Failure::ClientBody)?;
        let raw = &input.filled()[..step.raw];
        if data.len() + raw.len() + aux.len() > ECHO_BODY_MAX
            || data.extend(raw) < raw.len()
            || data.extend(&aux) < aux.len()
        {
            return Err(Failure::BodyTooLarge);
        }
        input.consume(step.taken);
        if body.is_done() {
            return Ok(data);
        }
        if !input.has_room() && !input.make_room() {
            return Err(Failure::ClientBody);
        }
        pace.wait(watch, || stream.readable(watch))
            .await
            .map_err(|s| Failure::of_client(s, Failure::ClientSlow))?;
        match stream.try_read(input.room()) {
            Ok(0) => return Err(Failure::ClientGone),
            Ok(n) => {
                input.commit(n);
                pace.moved(n);
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Failure::ClientGone),
        }
    }
}
