//! Scripted WebSockets: what goes in comes back, for as long as nobody may end it.

use std::net::SocketAddr;
use std::time::Duration;

use parser::Limits;
use parser::head::ResponseHead;
use parser::scan::HeadScan;

use crate::rt::{Shut, Stream, pause};
use crate::sim::client::Reader;
use crate::sim::exec::{note, world};
use crate::sim::oracle::{Sent, Shared};
use crate::sim::origin::write;

/// Messages of one tunnel, and the longest pause between them.
const MESSAGES: u32 = 12;
const PAUSE_MS: u32 = 400;

/// Opens a tunnel through the gateway and speaks through it.
pub async fn tunneller(number: u32, gateway: SocketAddr, oracle: Shared) {
    pause(Duration::from_millis(u64::from(world(|w| w.rng.below(300))))).await;
    let nonce = world(|w| w.rng.next_u64());
    let body = Vec::new();
    let sent = Sent { body, idempotent: true, seen: 0, answered: false };
    oracle.borrow_mut().sent.insert(nonce, sent);
    let from = SocketAddr::from(([10, 0, 3, (number % 250) as u8 + 1], 40_000));
    let Ok(stream) = Stream::dial(from, gateway).await else { return };
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: sim.test\r\nX-Nonce: {nonce}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\n\r\n"
    );
    if !write(&stream, head.as_bytes()).await {
        return;
    }
    let mut reader = Reader { stream: &stream, buf: Vec::new() };
    if head_of(&mut reader).await != Some(101) {
        return;
    }
    note!("tunnel {number} is open");
    for message in 0..MESSAGES {
        pause(Duration::from_millis(u64::from(world(|w| w.rng.below(PAUSE_MS))))).await;
        let bytes = format!("{nonce:016x}/{message:04}").into_bytes().repeat(3);
        let mut whole = write(&stream, &bytes).await;
        while whole && reader.buf.len() < bytes.len() {
            whole = reader.more().await == Ok(true);
        }
        if !whole {
            note!("tunnel {number} ends early");
            let (is_calm, mut oracle) = (world(|w| w.faults.are_off()), oracle.borrow_mut());
            if is_calm && !oracle.cutting {
                oracle.violated(format!("tunnel {number} was cut"));
            }
            return;
        }
        let back: Vec<u8> = reader.buf.drain(..bytes.len()).collect();
        if back != bytes {
            return oracle.borrow_mut().violated(format!("tunnel {number} got another's bytes"));
        }
    }
    oracle.borrow_mut().tunnelled += 1;
    stream.shut(Shut::Write);
    while reader.more().await == Ok(true) {}
}

/// The status of the next head.
async fn head_of(reader: &mut Reader<'_>) -> Option<u16> {
    let limits = Limits::default();
    let mut scan = HeadScan::response();
    let len = loop {
        if let Some(len) = scan.push(&reader.buf, &limits).ok()? {
            break len;
        }
        if reader.more().await != Ok(true) {
            return None;
        }
    };
    let bytes: Vec<u8> = reader.buf.drain(..len).collect();
    let mut head = ResponseHead::with_capacity(64);
    head.parse(&bytes, &limits).ok()?;
    Some(head.status)
}

/// The origin's side: switches, then gives back what comes.
pub async fn echo(reader: &mut Reader<'_>, nonce: u64) {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         X-Nonce: {nonce}\r\n\r\n"
    );
    if !write(reader.stream, head.as_bytes()).await {
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
