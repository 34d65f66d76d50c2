//! The relay over Busbar's own runtime: a task for each connection, as the gateway has it.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use engine::rt::{self, Buf, BufPool, Listener, Stream};
use engine::snapshot::{Driver, EndpointAddress};

use super::message::{Broken, Step, Tracker};
use super::{POOL_MAX, sys};

/// Above it leases are small; the scenarios stay far below.
const BUFFERS_MAX: usize = 256 << 20;

struct Relay {
    origin: EndpointAddress,
    bufs: Rc<BufPool>,
    pool: RefCell<Vec<Stream>>,
}

impl Relay {
    /// An idle connection that is as it was left, the last one used first.
    fn pooled(&self) -> Option<Stream> {
        loop {
            let up = self.pool.borrow_mut().pop()?;
            if up.is_quiet() {
                return Some(up);
            }
        }
    }
}

pub fn run(port: u16, origin: u16) -> io::Result<()> {
    let end = sys::listen(port)?;
    let relay = Rc::new(Relay {
        origin: EndpointAddress::Ip(([127, 0, 0, 1], origin).into()),
        bufs: BufPool::new(BUFFERS_MAX),
        pool: RefCell::default(),
    });
    let mut done = Ok(());
    rt::run(Driver::Auto, async |_| done = accept(&relay, end).await)?;
    done
}

async fn accept(relay: &Rc<Relay>, end: rt::ListenerEnd) -> io::Result<()> {
    let listener = Listener::adopt(end, false)?;
    loop {
        match listener.try_accept() {
            Ok((client, _)) => {
                let (relay, client) = (relay.clone(), Stream::adopt(client)?);
                // Its error is that of one connection, which ends with it.
                rt::spawn(async move { _ = serve(&relay, client).await }, || {});
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => listener.wait().await?,
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(e) => return Err(e),
        }
    }
}

async fn serve(relay: &Relay, client: Stream) -> io::Result<()> {
    // Boxed while there is something to do, as in the gateway: waiting is small.
    loop {
        client.wait_readable().await?;
        if !Box::pin(exchange(relay, &client)).await? {
            return Ok(());
        }
    }
}

/// Whether a further one may follow on the client's connection. While it waits for the answer it
/// holds no buffer, as the gateway: there are few, and they stay warm.
async fn exchange(relay: &Relay, client: &Stream) -> io::Result<bool> {
    let mut buf = relay.bufs.lease();
    let mut asked = Tracker::request();
    let Some(mut step) = next(client, &mut asked, &mut buf).await? else { return Ok(false) };
    let up = match relay.pooled() {
        Some(up) => up,
        None => Stream::connect(&relay.origin).await?,
    };
    loop {
        write_all(&up, buf.filled()).await?;
        if step == Step::Whole {
            break;
        }
        buf.clear();
        match next(client, &mut asked, &mut buf).await? {
            Some(next) => step = next,
            None => return Ok(false),
        }
    }
    drop(buf);
    up.wait_readable().await?;
    let keeps = relay_answer(relay, client, &up, asked.closes()).await?;
    if keeps && relay.pool.borrow().len() < POOL_MAX {
        relay.pool.borrow_mut().push(up);
    }
    Ok(keeps && !asked.closes())
}

/// Passes an answer on to its end. Whether the origin's connection may be used again.
async fn relay_answer(
    relay: &Relay,
    client: &Stream,
    up: &Stream,
    say_close: bool,
) -> io::Result<bool> {
    let mut tracker = Tracker::answer(say_close);
    let mut buf = relay.bufs.lease();
    while let Some(step) = next(up, &mut tracker, &mut buf).await? {
        write_all(client, buf.filled()).await?;
        buf.clear();
        if step == Step::Whole {
            return Ok(!tracker.closes());
        }
    }
    Ok(false)
}

/// Reads until there are bytes to pass on; `None` is the end.
async fn next(from: &Stream, tracker: &mut Tracker, buf: &mut Buf) -> io::Result<Option<Step>> {
    loop {
        if !buf.has_room() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let n = match from.try_read(buf.room()) {
            Ok(0) => return Ok(None),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                from.wait_readable().await?;
                continue;
            }
            Err(e) => return Err(e),
        };
        match step(tracker, buf, n) {
            Ok(Step::Partial) => {}
            Ok(step) => return Ok(Some(step)),
            Err(_) => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// `n` bytes more were read. They may be changed only before they are committed; those behind a
/// partial head, which is rare, are copied out and in again.
fn step(tracker: &mut Tracker, buf: &mut Buf, n: usize) -> Result<Step, Broken> {
    if buf.is_empty() {
        let step = tracker.step(&mut buf.room()[..n]);
        buf.commit(n);
        return step;
    }
    buf.commit(n);
    let mut all = buf.filled().to_vec();
    let step = tracker.step(&mut all);
    buf.clear();
    buf.extend(&all);
    step
}

async fn write_all(to: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.try_write(bytes, &[]) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => to.wait_writable().await?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
