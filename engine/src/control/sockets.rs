//! Listening sockets over generations: opened for all workers, and probed, before anything is
//! published; kept while any listener has their address.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::ids::{ListenerId, SocketId};
use crate::rt;
use crate::snapshot::{ListenAddress, Snapshot};
use crate::worker::Socket;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Bind {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Bind {
    fn remove_file(&self) {
        if let Bind::Unix(path) = self {
            remove(path);
        }
    }
}

/// The addresses that are held.
#[derive(Debug)]
pub struct Sockets {
    workers: u32,
    held: Vec<(SocketId, Bind)>,
    /// Given up, and the workers that have not closed it yet.
    closing: Vec<(SocketId, Bind, u32)>,
    next: u32,
}

/// What a snapshot asks for, with what it needed opened. Dropped, it changes nothing.
#[derive(Debug)]
pub struct Plan {
    /// By worker.
    opened: Vec<Vec<Socket>>,
    serves: Box<[(SocketId, ListenerId)]>,
    held: Vec<(SocketId, Bind)>,
    next: u32,
    /// Files of unix sockets that were made for it.
    made: Vec<PathBuf>,
}

impl Drop for Plan {
    fn drop(&mut self) {
        self.made.iter().for_each(|path| remove(path));
    }
}

/// For each worker what was opened, and every socket in use with the listener that it serves.
pub type Taken = (Vec<Vec<Socket>>, Box<[(SocketId, ListenerId)]>);

type Failed = (String, io::Error);

impl Sockets {
    pub fn new(workers: u32) -> Sockets {
        Sockets { workers, held: Vec::new(), closing: Vec::new(), next: 0 }
    }

    /// Opens what is not held yet. The message of a failure is one line for the operator.
    pub fn plan(&self, snapshot: &Snapshot) -> Result<Plan, String> {
        let mut plan = Plan {
            opened: (0..self.workers).map(|_| Vec::new()).collect(),
            serves: Box::default(),
            held: Vec::new(),
            next: self.next,
            made: Vec::new(),
        };
        let mut serves = Vec::new();
        for (index, listener) in snapshot.listeners.iter().enumerate() {
            let id = ListenerId(index as u32);
            match self.open(&listener.address, listener.backlog, &mut plan) {
                Ok(sockets) => serves.extend(sockets.into_iter().map(|socket| (socket, id))),
                Err((address, e)) => {
                    let reason = reason(&address, &e);
                    let name = &listener.name;
                    return Err(format!("listener `{name}` can't listen on {address}: {reason}"));
                }
            }
        }
        plan.serves = serves.into();
        Ok(plan)
    }

    /// The plan is in force. Files of unix sockets that it has no more are removed, so that nobody
    /// connects to them any longer.
    pub fn take(&mut self, mut plan: Plan) -> Taken {
        for (id, bind) in self.held.extract_if(.., |held| !plan.held.contains(held)) {
            bind.remove_file();
            self.closing.push((id, bind, self.workers));
        }
        plan.made.clear();
        (self.held, self.next) = (std::mem::take(&mut plan.held), plan.next);
        (std::mem::take(&mut plan.opened), std::mem::take(&mut plan.serves))
    }

    /// One more worker has closed a socket that was given up.
    pub fn closed(&mut self, id: SocketId) {
        for (_, _, left) in self.closing.iter_mut().filter(|(closing, ..)| *closing == id) {
            *left -= 1;
        }
        self.closing.retain(|(.., left)| *left > 0);
    }

    fn open(
        &self,
        address: &ListenAddress,
        backlog: u32,
        plan: &mut Plan,
    ) -> Result<Vec<SocketId>, Failed> {
        let mut sockets = Vec::new();
        match address {
            ListenAddress::Tcp(addresses) => {
                for &address in addresses {
                    match self.open_one(Bind::Tcp(address), backlog, plan) {
                        Ok(id) => sockets.push(id),
                        // `:8080` is both families; a machine without IPv6 has one.
                        Err(e) if address.is_ipv6() && addresses.len() > 1 && no_ipv6(&e) => {}
                        Err(e) => return Err((address.to_string(), e)),
                    }
                }
                if sockets.is_empty() {
                    let e = io::Error::from(io::ErrorKind::AddrNotAvailable);
                    return Err((address_text(address), e));
                }
            }
            ListenAddress::Unix(path) => {
                let failed = |e| (path.display().to_string(), e);
                let bind = Bind::Unix(path.clone());
                sockets.push(self.open_one(bind, backlog, plan).map_err(failed)?);
            }
        }
        Ok(sockets)
    }

    fn open_one(&self, bind: Bind, backlog: u32, plan: &mut Plan) -> io::Result<SocketId> {
        if let Some((id, _)) = self.held.iter().find(|(_, held)| *held == bind) {
            plan.held.push((*id, bind));
            return Ok(*id);
        }
        let id = SocketId(plan.next);
        match &bind {
            Bind::Tcp(address) => {
                // With SO_REUSEPORT a port in use goes unnoticed: probe without it first. What we
                // hold ourselves would refuse the probe.
                let held = self.held.iter().chain(&plan.held).map(|(_, bind)| bind);
                let mut ours = held.chain(self.closing.iter().map(|(_, bind, _)| bind));
                if !ours.any(|bind| overlaps(bind, *address)) {
                    rt::probe_tcp(*address)?;
                }
                for worker in &mut plan.opened {
                    let end = rt::listen_tcp(*address, backlog, true)?;
                    worker.push(Socket { id, end, unix: false });
                }
            }
            Bind::Unix(path) => {
                let end = rt::listen_unix(path, backlog)?;
                plan.made.push(path.clone());
                for worker in &mut plan.opened {
                    worker.push(Socket { id, end: rt::duplicate(&end)?, unix: true });
                }
            }
        }
        plan.next += 1;
        plan.held.push((id, bind));
        Ok(id)
    }
}

impl Sockets {
    /// At the end, before the sockets close: the path of one that is closed is anybody's.
    pub fn remove_files(&mut self) {
        for (_, bind) in self.held.extract_if(.., |(_, bind)| matches!(bind, Bind::Unix(_))) {
            bind.remove_file();
        }
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.remove_files();
    }
}

/// Whether `ours` has the port on an address that the kernel takes for the same.
fn overlaps(ours: &Bind, address: SocketAddr) -> bool {
    let Bind::Tcp(ours) = ours else { return false };
    ours.port() == address.port()
        && ours.is_ipv4() == address.is_ipv4()
        && (ours.ip() == address.ip()
            || ours.ip().is_unspecified()
            || address.ip().is_unspecified())
}

fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

fn reason(address: &str, e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::AddrInUse if address.starts_with('/') => {
            "the path is in use by another process or is no socket; stop that one or choose \
             another `address`"
                .to_owned()
        }
        io::ErrorKind::AddrInUse => {
            "the port is in use by another process; stop that one or choose another `address`"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => e.to_string(),
    }
}

fn no_ipv6(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

pub fn address_text(address: &ListenAddress) -> String {
    address.to_string()
}
