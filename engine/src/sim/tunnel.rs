//! Scripted WebSockets: what goes in comes back, for as long as nobody may end it.

use std::net::SocketAddr;
use std::time::Duration;

use parser::head::ResponseHead;

use crate::rt::{Shut, Stream, pause};
use crate::sim::client::{Reader, write};
use crate::sim::exec::{note, world};
use crate::sim::oracle::{Flaw, Sent, Shared};
use crate::sim::seen::{Kind, Promise, checked, saw};
use crate::sim::tls;

/// Messages of one tunnel, and the longest pause between them.
const MESSAGES: u32 = 12;
const PAUSE_MS: u32 = 400;

/// Opens a tunnel through the gateway and speaks through it.
pub async fn tunneller(
    number: u32,
    from: SocketAddr,
    gateway: SocketAddr,
    is_tls: bool,
    oracle: Shared,
) {
    pause(Duration::from_millis(u64::from(world(|w| w.rng.below(300))))).await;
    let (nonce, is_early) = world(|w| (w.rng.next_u64(), w.rng.one_in(2)));
    oracle.borrow_mut().sent.insert(nonce, Sent::new(Vec::new(), true, Flaw::None));
    let Ok(stream) = Stream::dial(from, gateway).await else { return };
    let Some(stream) = tls::client(stream, is_tls).await else { return };
    let mut head = format!(
        "GET /n/{nonce} HTTP/1.1\r\nHost: sim.test\r\nX-Nonce: {nonce}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    .into_bytes();
    if is_early {
        // It speaks before it knows whether it may.
        head.extend_from_slice(&message(nonce, 0));
    }
    if !write(&stream, &head).await {
        return;
    }
    let mut reader = Reader::new(&stream);
    let mut answer = ResponseHead::with_capacity(64);
    if reader.head(&mut answer, &oracle).await.is_none() {
        return;
    }
    match answer.status {
        101 if is_early => saw(Kind::TunnelSpokenToEarly),
        101 => {}
        _ => return saw(Kind::TunnelRefused),
    }
    note!("tunnel {number} is open");
    for number in 0..MESSAGES {
        if number > 0 {
            pause(Duration::from_millis(u64::from(world(|w| w.rng.below(PAUSE_MS))))).await;
        }
        let mut expected = message(nonce, number);
        let mut whole = number == 0 && is_early || write(&stream, &expected).await;
        if number == 0 {
            expected.splice(..0, greeting(nonce));
        }
        while whole && reader.buf.len() < expected.len() {
            whole = reader.more().await == Ok(true);
        }
        if !whole {
            return ended_early(nonce, &oracle);
        }
        let back: Vec<u8> = reader.buf.drain(..expected.len()).collect();
        if back != expected {
            let what = format!("tunnel {nonce} got other bytes than were sent");
            return oracle.borrow_mut().violated(what);
        }
    }
    saw(Kind::Tunnel);
    checked(Promise::WholeBodies);
    oracle.borrow_mut().tunnelled += 1;
    stream.shut(Shut::Write);
    while reader.more().await == Ok(true) {}
}

fn ended_early(nonce: u64, oracle: &Shared) {
    note!("tunnel {nonce} ends early");
    let (is_calm, mut oracle) = (world(|w| w.faults.are_off()), oracle.borrow_mut());
    if is_calm && !oracle.cutting {
        oracle.violated(format!("tunnel {nonce} was cut"));
    }
}

fn message(nonce: u64, number: u32) -> Vec<u8> {
    format!("{nonce:016x}/{number:04}").into_bytes().repeat(3)
}

/// What the origin sends right behind its 101.
fn greeting(nonce: u64) -> Vec<u8> {
    format!("hello {nonce:016x}").into_bytes()
}

/// The origin's side: switches, then gives back what comes.
pub async fn echo(reader: &mut Reader<'_>, nonce: u64) {
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         X-Nonce: {nonce}\r\n\r\n"
    )
    .into_bytes();
    head.extend_from_slice(&greeting(nonce));
    if !write(reader.stream, &head).await {
        return;
    }
    loop {
        let bytes = std::mem::take(&mut reader.buf);
        if !bytes.is_empty() && !write(reader.stream, &bytes).await {
            return;
        }
        if reader.more().await != Ok(true) {
            return;
        }
    }
}
