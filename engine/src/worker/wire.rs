//! What an exchange reads and writes: a stream as it is, or with TLS around it.
//!
//! ```text
//!  try_read   plaintext that is there ─▶ else recv into the worker's tray ─▶ session ─▶ room
//!  try_write  rest of the last records ─▶ else session ─▶ the tray ─▶ one send of all records
//! ```
//! Ciphertext passes through the worker's one [`Tray`]; a connection keeps only what the kernel
//! did not take, or what has no end yet. A route without TLS pays one test of a pointer.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use crate::rt::{Buf, Shut, Stop, Stream, Watch};
use crate::tls::Digest;
use crate::tls::identity::Identity;
use crate::tls::session::{RECORD_BYTES_MAX, Session};
use crate::tls::tray::{Out, Tray};

/// Plaintext that is encrypted at once for a peer that took nothing of the last.
const SLOW_BYTES: usize = 16 << 10;
/// Plaintext that is encrypted at once at first: how much the peer takes is not known yet, and
/// what it does not take is kept.
const FIRST_BYTES: usize = 32 << 10;
/// Reads in a row that bring no plaintext.
const FRUITLESS_READS_MAX: u32 = 8;
/// Ciphertext that waits for a peer which sends and does not read.
const PENDING_BYTES_MAX: usize = 256 << 10;

/// A connection, either side's.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    tls: Option<Box<Tls>>,
}

/// What TLS adds to a stream.
#[derive(Debug)]
struct Tls {
    machine: RefCell<Machine>,
    tray: Rc<RefCell<Tray>>,
    read: Cell<u64>,
    written: Cell<u64>,
    client: Option<Box<Client>>,
    key: Digest,
    is_abandoned: Cell<bool>,
}

/// Who the client is by its certificate.
#[derive(Debug)]
pub struct Client {
    pub identity: Identity,
    /// Whole lines that tell services; empty where they are not told.
    pub lines: Box<[u8]>,
}

#[derive(Debug)]
struct Machine {
    session: Session,
    /// Ciphertext that the kernel has not taken.
    pending: Vec<u8>,
    gone: usize,
    /// Plaintext that is in it, whose writer has not been told that it went.
    owed: usize,
    /// Plaintext that is encrypted at once.
    burst: usize,
}

fn broken(e: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

impl Machine {
    /// Sends what waits. False: some of it still does.
    fn flush(&mut self, stream: &Stream) -> io::Result<bool> {
        while self.gone < self.pending.len() {
            match stream.try_write(&self.pending[self.gone..], &[]) {
                Ok(n) => self.gone += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        (self.pending, self.gone) = (Vec::new(), 0);
        Ok(true)
    }

    /// Sends what the session has to say of its own, behind what waits. `out` is empty afterwards.
    fn say(&mut self, stream: &Stream, out: &mut Out) -> io::Result<()> {
        let mut bytes = out.filled();
        if bytes.is_empty() {
            return Ok(()); // Fast path.
        }
        if self.pending.is_empty() {
            match stream.try_write(bytes, &[]) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        self.pending.extend_from_slice(bytes);
        out.clear();
        match self.pending.len() - self.gone > PENDING_BYTES_MAX {
            true => Err(io::ErrorKind::OutOfMemory.into()),
            false => Ok(()),
        }
    }

    fn read(&mut self, stream: &Stream, tray: &mut Tray, room: &mut [u8]) -> io::Result<usize> {
        if self.session.has_plain() {
            return Ok(self.session.read(room)); // Fast path: no ciphertext is needed.
        }
        if self.session.has_ended() {
            return Ok(0);
        }
        if !self.pending.is_empty() {
            _ = self.flush(stream); // its writer hears of what is wrong; there may be an answer
        }
        for _ in 0..FRUITLESS_READS_MAX {
            let kept = self.session.kept().len();
            // Plaintext is shorter than its records: what is read has room.
            let most = room.len().max(kept + RECORD_BYTES_MAX).min(tray.incoming.len());
            let n = stream.try_read(&mut tray.incoming[kept..most])?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into()); // nobody said that this is the end
            }
            tray.incoming[..kept].copy_from_slice(self.session.kept());
            let cipher = &mut tray.incoming[..kept + n];
            tray.out.clear();
            let received = self.session.receive(cipher, room, &mut tray.out);
            let said = self.say(stream, &mut tray.out);
            let plain = received.map_err(broken)?;
            if plain == 0 {
                said?;
            }
            if plain > 0 || self.session.has_ended() || self.session.has_plain() {
                return Ok(plain);
            }
            if kept + n < most {
                return Err(io::ErrorKind::WouldBlock.into()); // all that there was
            }
        }
        Err(io::ErrorKind::WouldBlock.into()) // it is readable still: others have their turn
    }

    /// How much of `head` and `body` the far end will get. After less than all, or `WouldBlock`,
    /// the same bytes have to come again, from there on: some are encrypted already.
    fn write(
        &mut self,
        stream: &Stream,
        tray: &mut Tray,
        head: &[u8],
        body: &[u8],
    ) -> io::Result<usize> {
        // (A read may have sent all that waits, and not said so.)
        if !self.pending.is_empty() || self.owed > 0 {
            let before = self.gone;
            let is_all = self.flush(stream)?;
            if self.owed > 0 {
                return self.account(if is_all { self.owed } else { self.gone - before }, is_all);
            }
            if !is_all {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        tray.out.clear();
        let n = self.session.send(head, body, self.burst, tray).map_err(broken)?;
        let bytes = tray.out.filled();
        let went = match stream.try_write(bytes, &[]) {
            Ok(went) => went,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            Err(e) => return Err(e),
        };
        if went == bytes.len() {
            self.burst = (self.burst * 2).min(Tray::SEND_BYTES_MAX);
            return Ok(n); // Fast path.
        }
        self.burst = SLOW_BYTES;
        self.pending.extend_from_slice(&bytes[went..]);
        self.owed = n;
        self.account(went, false)
    }

    /// Tells the writer of plaintext that went, the last byte not before all has gone.
    fn account(&mut self, went: usize, is_all: bool) -> io::Result<usize> {
        let told = if is_all { self.owed } else { went.min(self.owed - 1) };
        self.owed -= told;
        if told == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(told) }
    }
}

impl Wire {
    pub fn plain(stream: Stream) -> Wire {
        Wire { stream, tls: None }
    }

    /// From here on it speaks TLS. Of what was written before nothing is pending.
    pub fn begin_tls(&mut self, session: Session, tray: Rc<RefCell<Tray>>, key: Digest) {
        let pending = Vec::new();
        let burst = FIRST_BYTES;
        let machine = Machine { session, pending, gone: 0, owed: 0, burst };
        let (read, written, client, is_abandoned) = Default::default();
        let machine = RefCell::new(machine);
        self.tls = Some(Box::new(Tls { machine, tray, read, written, client, key, is_abandoned }));
    }

    /// What happens below TLS.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Who the client is by its certificate.
    pub fn client(&self) -> Option<&Client> {
        self.tls.as_ref()?.client.as_deref()
    }

    pub fn set_client(&mut self, client: Client) {
        if let Some(tls) = &mut self.tls {
            tls.client = Some(Box::new(client));
        }
    }

    /// What services are told of the client's certificate.
    #[inline]
    pub fn certificate_lines(&self) -> &[u8] {
        match &self.tls {
            None => &[], // Fast path.
            Some(tls) => tls.client.as_ref().map_or(&[], |client| &client.lines),
        }
    }

    /// Asks the session, where there is one.
    pub fn session<T>(&self, ask: impl FnOnce(&Session) -> T) -> Option<T> {
        self.tls.as_ref().map(|tls| ask(&tls.machine.borrow().session))
    }

    /// Goes on with the handshake. `Ok(true)`: it is over; false: more has to come, or be taken.
    pub fn shake(&self) -> io::Result<bool> {
        let Some(tls) = &self.tls else { return Ok(true) };
        let (machine, tray) = (&mut *tls.machine.borrow_mut(), &mut *tls.tray.borrow_mut());
        if !machine.session.is_handshaking() {
            return machine.flush(&self.stream);
        }
        match machine.read(&self.stream, tray, &mut []) {
            Ok(0) if !machine.session.has_plain() => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        Ok(!machine.session.is_handshaking() && machine.pending.is_empty())
    }

    /// Sends a client's first flight.
    pub fn first_flight(&self) -> io::Result<()> {
        let Some(tls) = &self.tls else { return Ok(()) };
        let (machine, tray) = (&mut *tls.machine.borrow_mut(), &mut *tls.tray.borrow_mut());
        tray.out.clear();
        machine.session.begin(&mut tray.out).map_err(broken)?;
        machine.say(&self.stream, &mut tray.out)
    }

    /// Ciphertext waits for the kernel to take it.
    pub fn is_blocked(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.machine.borrow().pending.is_empty())
    }

    /// Sends what waits; whether all of it went. `None`: the stream broke.
    pub fn flush(&self) -> Option<bool> {
        let Some(tls) = &self.tls else { return Some(true) };
        tls.machine.borrow_mut().flush(&self.stream).ok()
    }

    /// Waits for what a handshake waits for.
    pub async fn shaken(&self, watch: &Watch) -> Result<(), Stop> {
        match self.is_blocked() {
            true => self.stream.writable(watch).await,
            false => self.stream.readable(watch).await,
        }
    }

    /// Says that nothing more comes, as far as the far end takes it now.
    pub fn farewell(&self) {
        if let Some(tls) = &self.tls {
            tls.farewell(&self.stream);
        }
    }

    #[inline]
    pub fn bytes_read(&self) -> u64 {
        match &self.tls {
            None => self.stream.bytes_read(),
            Some(tls) => tls.read.get(),
        }
    }

    #[inline]
    pub fn bytes_written(&self) -> u64 {
        match &self.tls {
            None => self.stream.bytes_written(),
            Some(tls) => tls.written.get(),
        }
    }

    // (Not `async`: another future around each of them would be polled and kept for nothing.)
    #[inline]
    pub fn readable(&self, watch: &Watch) -> impl Future<Output = Result<(), Stop>> {
        self.stream.readable_unless(self.is_ready(), watch)
    }

    #[inline]
    pub fn writable(&self, watch: &Watch) -> impl Future<Output = Result<(), Stop>> {
        self.stream.writable(watch)
    }

    /// As `Stream::try_read`. An end that the far end has not announced is an error.
    #[inline]
    pub fn try_read(&self, room: &mut [u8]) -> io::Result<usize> {
        match &self.tls {
            None => self.stream.try_read(room),
            Some(tls) => tls.try_read(&self.stream, room),
        }
    }

    /// As `Stream::try_write`. After less than all, or `WouldBlock`, the rest of the same bytes
    /// has to come next.
    #[inline]
    pub fn try_write(&self, head: &[u8], body: &[u8]) -> io::Result<usize> {
        match &self.tls {
            None => self.stream.try_write(head, body),
            Some(tls) => tls.try_write(&self.stream, head, body),
        }
    }

    /// Waits for bytes and reads them into the room of `buf`; 0 is the end.
    pub async fn read(&self, buf: &mut Buf, watch: &Watch) -> Result<usize, Stop> {
        loop {
            self.readable(watch).await?;
            match self.try_read(buf.room()) {
                Ok(n) => {
                    buf.commit(n);
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Writes all of `bytes`. `progress` is called after each part, to re-arm deadlines.
    pub async fn write_all(
        &self,
        mut bytes: &[u8],
        watch: &Watch,
        mut progress: impl FnMut(usize),
    ) -> Result<(), Stop> {
        while !bytes.is_empty() {
            match self.try_write(bytes, &[]) {
                Ok(n) => {
                    bytes = &bytes[n..];
                    progress(n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.writable(watch).await?,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Plaintext, or its end, can be read without a wait.
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_ready())
    }

    /// A part of a record has come, and not its end.
    #[inline]
    pub fn is_mid_record(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_mid_record())
    }

    /// What its listener asked of clients when it shook hands. `None`: it speaks no TLS.
    #[inline]
    pub fn ticket_key(&self) -> Option<&Digest> {
        self.tls.as_ref().map(|tls| &tls.key)
    }

    /// What it was in the middle of is broken: its end is not announced any more.
    pub fn abandon(&self) {
        if let Some(tls) = &self.tls {
            tls.is_abandoned.set(true);
        }
    }

    /// Whether an idle connection is as it was left: open, and without a byte of plaintext. What
    /// TLS says of its own (tickets, new keys) is heard.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        let is_quiet = self.stream.is_quiet();
        match &self.tls {
            Some(tls) if !is_quiet => tls.is_quiet(&self.stream),
            _ => is_quiet && !self.is_ready(),
        }
    }

    pub fn has_unread(&self) -> bool {
        self.is_ready() || self.stream.has_unread()
    }

    pub fn unsent(&self) -> usize {
        let pending = |tls: &Tls| {
            let machine = tls.machine.borrow();
            machine.pending.len() - machine.gone
        };
        self.stream.unsent() + self.tls.as_deref().map_or(0, pending)
    }

    /// Shut for writing, it says so in TLS before.
    pub fn shut(&self, how: Shut) {
        if how == Shut::Write {
            self.farewell();
        }
        self.stream.shut(how);
    }

    pub fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }

    #[inline]
    pub fn handle(&self) -> i32 {
        self.stream.handle()
    }
}

/// Out of the way of connections without it.
impl Tls {
    #[inline(never)]
    fn is_ready(&self) -> bool {
        let session = &self.machine.borrow().session;
        session.has_plain() || session.has_ended()
    }

    #[inline(never)]
    fn is_mid_record(&self) -> bool {
        !self.machine.borrow().session.kept().is_empty()
    }

    #[inline(never)]
    fn try_read(&self, stream: &Stream, room: &mut [u8]) -> io::Result<usize> {
        let (machine, tray) = (&mut *self.machine.borrow_mut(), &mut *self.tray.borrow_mut());
        let n = machine.read(stream, tray, room)?;
        self.read.set(self.read.get() + n as u64);
        Ok(n)
    }

    #[inline(never)]
    fn try_write(&self, stream: &Stream, head: &[u8], body: &[u8]) -> io::Result<usize> {
        let (machine, tray) = (&mut *self.machine.borrow_mut(), &mut *self.tray.borrow_mut());
        let n = machine.write(stream, tray, head, body)?;
        self.written.set(self.written.get() + n as u64);
        Ok(n)
    }

    #[inline(never)]
    fn farewell(&self, stream: &Stream) {
        if self.is_abandoned.get() {
            return;
        }
        let (machine, tray) = (&mut *self.machine.borrow_mut(), &mut *self.tray.borrow_mut());
        tray.out.clear();
        machine.session.close(&mut tray.out);
        _ = machine.say(stream, &mut tray.out);
    }

    #[inline(never)]
    fn is_quiet(&self, stream: &Stream) -> bool {
        let (machine, tray) = (&mut *self.machine.borrow_mut(), &mut *self.tray.borrow_mut());
        let read = machine.read(stream, tray, &mut []);
        let is_silent = matches!(read, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        let session = &machine.session;
        is_silent && !session.has_plain() && !session.has_ended() && machine.pending.is_empty()
    }
}
