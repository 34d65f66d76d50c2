//! Listening sockets, opened for all workers before any of them starts.

use std::io;
use std::net::SocketAddr;

use crate::ids::ListenerId;
use crate::rt;
use crate::snapshot::{ListenAddress, Listener, Snapshot};
use crate::worker::Socket;

/// One list of sockets per worker. The message of a failure is one line for the operator.
pub fn open_all(snapshot: &Snapshot, workers: u32) -> Result<Vec<Vec<Socket>>, String> {
    let mut sockets: Vec<Vec<Socket>> = (0..workers).map(|_| Vec::new()).collect();
    for (index, listener) in snapshot.listeners.iter().enumerate() {
        let id = ListenerId(index as u32);
        open(listener, id, &mut sockets).map_err(|(address, e)| {
            format!("listener `{}` can't listen on {address}: {}", listener.name, reason(&e))
        })?;
    }
    Ok(sockets)
}

fn reason(e: &io::Error) -> String {
    match e.kind() {
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

type Failed = (String, io::Error);

fn open(listener: &Listener, id: ListenerId, sockets: &mut [Vec<Socket>]) -> Result<(), Failed> {
    match &listener.address {
        ListenAddress::Tcp(addresses) => {
            let mut opened = 0;
            for &address in addresses {
                match open_tcp(address, listener.backlog, id, sockets) {
                    Ok(()) => opened += 1,
                    // `:8080` is both families; a machine without IPv6 has one.
                    Err(e) if address.is_ipv6() && addresses.len() > 1 && no_ipv6(&e) => {}
                    Err(e) => return Err((address.to_string(), e)),
                }
            }
            if opened == 0 {
                let e = io::Error::from(io::ErrorKind::AddrNotAvailable);
                return Err((address_text(&listener.address), e));
            }
        }
        ListenAddress::Unix(path) => {
            let failed = |e| (path.display().to_string(), e);
            let fd = rt::listen_unix(path, listener.backlog).map_err(failed)?;
            for worker in sockets {
                let fd = rt::duplicate(&fd).map_err(failed)?;
                worker.push(Socket { listener: id, fd, unix: true });
            }
        }
    }
    Ok(())
}

fn no_ipv6(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn open_tcp(
    address: SocketAddr,
    backlog: u32,
    id: ListenerId,
    sockets: &mut [Vec<Socket>],
) -> io::Result<()> {
    // With SO_REUSEPORT a port in use goes unnoticed: probe without it first.
    drop(rt::listen_tcp(address, 1, false)?);
    for worker in sockets {
        let fd = rt::listen_tcp(address, backlog, true)?;
        worker.push(Socket { listener: id, fd, unix: false });
    }
    Ok(())
}

pub fn address_text(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(addresses) => {
            let texts: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            texts.join(" and ")
        }
        ListenAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Removes the files of our unix listeners.
pub fn remove_unix(snapshot: &Snapshot) {
    for listener in &snapshot.listeners {
        if let ListenAddress::Unix(path) = &listener.address {
            let _ = std::fs::remove_file(path);
        }
    }
}
