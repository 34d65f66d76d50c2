//! Scripted origins: they answer what they are asked, in every legal way and some that are not.

use std::net::SocketAddr;
use std::time::Duration;

use parser::framing::{BodyFraming, request_framing};
use parser::head::RequestHead;
use parser::scan::HeadScan;
use parser::{Limits, Method};

use crate::h1::relay::{Body, Out};
use crate::rt::{Listener, Peer, Stream, pause};
use crate::sim::client::{Reader, read_body};
use crate::sim::exec::{note, spawn, world};
use crate::sim::fault::Faults;
use crate::sim::oracle::{Shared, answer_body};
use crate::sim::tunnel;

fn strikes(pick: impl Fn(&Faults) -> u32) -> bool {
    world(|w| Faults::strikes(pick(&w.faults), &mut w.rng))
}

fn below(n: u32) -> u32 {
    world(|w| w.rng.below(n))
}

/// Accepts for ever; the world ends it.
pub async fn origin(at: SocketAddr, oracle: Shared, until: crate::time::Mono) {
    let listener = Listener::bind(at);
    loop {
        match listener.try_accept() {
            Ok((stream, Peer::Ip(_) | Peer::Unix)) => {
                let oracle = oracle.clone();
                spawn(async move { serve(stream, oracle).await }, || {});
            }
            Err(_) => {
                let mut wait = std::pin::pin!(listener.wait());
                let mut end = std::pin::pin!(crate::rt::sleep_until(until));
                let ended = std::future::poll_fn(|cx| {
                    if end.as_mut().poll(cx).is_ready() {
                        return std::task::Poll::Ready(true);
                    }
                    wait.as_mut().poll(cx).map(|_| false)
                })
                .await;
                if ended {
                    return;
                }
            }
        }
    }
}

async fn serve(stream: Stream, oracle: Shared) {
    let mut reader = Reader { stream: &stream, buf: Vec::new() };
    let limits = Limits::default();
    let mut head = RequestHead::with_capacity(64);
    loop {
        let mut scan = HeadScan::request();
        let len = loop {
            match scan.push(&reader.buf, &limits) {
                Ok(Some(len)) => break len,
                Ok(None) => {}
                Err(e) => {
                    let what = format!("an origin got a bad head: {:?}", e.kind);
                    return oracle.borrow_mut().violated(what);
                }
            }
            if reader.more().await != Ok(true) {
                return;
            }
        };
        let bytes: Vec<u8> = reader.buf.drain(..len).collect();
        if head.parse(&bytes, &limits).is_err() {
            return oracle.borrow_mut().violated("an origin got a bad head".to_owned());
        }
        let nonce = head.fields.named(&bytes, b"x-nonce").next();
        let nonce = nonce.and_then(|f| std::str::from_utf8(f.value.of(&bytes)).ok()?.parse().ok());
        let Some(nonce) = nonce else {
            return oracle.borrow_mut().violated("an origin got a request out of step".to_owned());
        };
        note!("origin gets {} {nonce}", head.method.name());
        oracle.borrow_mut().origin_saw_head(nonce);
        let Ok(framing) = request_framing(&head, &bytes) else {
            return oracle.borrow_mut().violated("an origin got a bad framing".to_owned());
        };
        if head.fields.named(&bytes, b"upgrade").next().is_some() {
            return tunnel::echo(&mut reader, nonce).await;
        }
        if !exchange(&mut reader, &head, framing, nonce, &oracle).await {
            return;
        }
    }
}

/// One request; false ends the connection.
async fn exchange(
    reader: &mut Reader<'_>,
    head: &RequestHead,
    framing: BodyFraming,
    nonce: u64,
    oracle: &Shared,
) -> bool {
    if strikes(|f| f.origin_reset) {
        note!("origin resets {nonce}");
        world(|w| w.reset(reader.stream.end));
        return false;
    }
    let early = strikes(|f| f.early_answer) && framing != BodyFraming::None;
    if !early {
        let body = Body::new(framing, Out::Data, &Limits::default());
        let Some(body) = read_body(reader, body).await else { return false };
        oracle.borrow_mut().origin_saw_body(nonce, &body);
    }
    if strikes(|f| f.origin_slow) {
        pause(Duration::from_millis(u64::from(below(40_000)))).await;
    }
    if strikes(|f| f.interim) {
        let interim: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
        if !write(reader.stream, interim).await {
            return false;
        }
    }
    if strikes(|f| f.bad_answer) {
        note!("origin answers {nonce} badly");
        const BAD: [&[u8]; 5] = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
            b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            b"SSH-2.0-OpenSSH\r\n\r\n",
        ];
        write(reader.stream, BAD[below(5) as usize]).await;
        return false;
    }
    let (wire, close) = draw_answer(head.method, nonce);
    let truncates = strikes(|f| f.origin_truncates);
    let extra = strikes(|f| f.extra_bytes) && !truncates && !close && !early;
    let mut end = if truncates { below(wire.len() as u32) as usize } else { wire.len() };
    let mut wire = wire;
    if extra {
        // A desync in the making: nobody may ever read this as an answer. It arrives together
        // with the answer's last byte; what comes later can't be told from an answer.
        end -= 1;
        wire.extend_from_slice(b"HTTP/1.1 200 OK\r\nX-Nonce: 7\r\nContent-Length: 0\r\n\r\n");
    }
    if !write(reader.stream, &wire[..end]).await || truncates || close || early {
        return false;
    }
    if extra {
        world(|w| w.write_together(reader.stream.end, &wire[end..]));
    }
    if strikes(|f| f.origin_closes_idle) {
        pause(Duration::from_micros(u64::from(below(3000)))).await;
        return false;
    }
    true
}

/// A legal answer in one of its framings, and whether the connection ends with it.
fn draw_answer(method: Method, nonce: u64) -> (Vec<u8>, bool) {
    let len = [0, 1, 300, 5_000, 70_000][below(5) as usize];
    let body = answer_body(nonce, len);
    let mut wire = format!("HTTP/1.1 200 OK\r\nX-Nonce: {nonce}\r\n").into_bytes();
    if method == Method::Head {
        wire.extend_from_slice(format!("Content-Length: {len}\r\n\r\n").as_bytes());
        return (wire, false);
    }
    match below(4) {
        0 => {
            wire.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for part in body.chunks(1 + below(9000) as usize) {
                wire.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                wire.extend_from_slice(part);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\nX-Sum: 1\r\n\r\n");
            (wire, false)
        }
        1 => {
            wire.extend_from_slice(format!("Content-Length: {len}\r\n").as_bytes());
            wire.extend_from_slice(b"Connection: close\r\n\r\n");
            wire.extend_from_slice(&body);
            (wire, true)
        }
        _ => {
            wire.extend_from_slice(format!("Content-Length: {len}\r\n\r\n").as_bytes());
            wire.extend_from_slice(&body);
            (wire, false)
        }
    }
}

pub(super) async fn write(stream: &Stream, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match stream.try_write(bytes, &[]) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                if stream.wait_writable().await.is_err() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
    true
}
