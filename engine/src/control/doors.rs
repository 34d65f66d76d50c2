//! The admin interface over generations: what is open stays open while the configuration says so.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Task;
use crate::admin::{self, Asks, HttpDoor, SocketDoor, Token};
use crate::config::defaults;
use crate::snapshot::{Admin, Choice};

/// The doors that are open.
pub(super) struct Doors {
    asks: Asks,
    token: Token,
    socket: Option<(PathBuf, Task)>,
    http: Vec<(SocketAddr, Task)>,
}

/// What a configuration asks for that is not open yet. Dropped, it changes nothing.
pub(super) struct Plan {
    socket: Option<PathBuf>,
    addresses: Vec<SocketAddr>,
    socket_door: Option<SocketDoor>,
    http_doors: Vec<HttpDoor>,
    pub(super) warnings: Vec<String>,
}

impl Doors {
    pub(super) fn new(asks: Asks) -> Doors {
        Doors { asks, token: Token::default(), socket: None, http: Vec::new() }
    }

    /// Opens what is not open yet. One that was written and can't be had is an error, a default
    /// one a warning.
    pub(super) async fn plan(&self, admin: &Admin) -> Result<Plan, String> {
        let (socket, socket_given) = match &admin.socket {
            Choice::Default => (Some(admin::default_path()), false),
            Choice::Off => (None, false),
            Choice::Given(path) => (Some(path.clone()), true),
        };
        let default = defaults::ADMIN_ADDRESS.parse().expect("the default is an address");
        let (addresses, address_given) = match &admin.address {
            Choice::Default => (vec![default], false),
            Choice::Off => (Vec::new(), false),
            Choice::Given(addresses) => (addresses.to_vec(), true),
        };
        let mut plan = Plan {
            socket,
            addresses,
            socket_door: None,
            http_doors: Vec::new(),
            warnings: Vec::new(),
        };
        if let Some(path) = plan.socket.clone()
            && self.socket.as_ref().is_none_or(|(open, _)| *open != path)
        {
            match SocketDoor::bind(&path) {
                Ok(door) => plan.socket_door = Some(door),
                Err(e) if socket_given => return Err(socket_refused(&path, &e)),
                Err(e) => plan.warnings.push(format!(
                    "warning: {}; `busbar reload` does not reach this gateway",
                    socket_refused(&path, &e)
                )),
            }
        }
        for address in plan.addresses.clone() {
            if self.http.iter().any(|(open, _)| *open == address) {
                continue;
            }
            match HttpDoor::bind(address).await {
                Ok(door) => plan.http_doors.push(door),
                Err(e) if address_given => return Err(http_refused(address, &e)),
                Err(e) => plan.warnings.push(format!("warning: {}", http_refused(address, &e))),
            }
        }
        Ok(plan)
    }

    /// The plan is in force.
    pub(super) fn take(&mut self, plan: Plan, admin: &Admin) {
        self.token.set(admin.token.clone());
        if self.socket.as_ref().is_some_and(|(open, _)| Some(open) != plan.socket.as_ref()) {
            self.socket = None;
        }
        if let Some(door) = plan.socket_door {
            let path = door.path().to_owned();
            self.socket = Some((path, Task(door.serve(self.asks.clone()))));
        }
        self.http.retain(|(open, _)| plan.addresses.contains(open));
        for door in plan.http_doors {
            let address = door.address();
            self.http.push((address, Task(door.serve(self.asks.clone(), self.token.clone()))));
        }
    }

    /// As the start-up line names them.
    pub(super) fn names(&self) -> Vec<String> {
        let http = self.http.iter().map(|(address, _)| format!("http://{address}"));
        http.chain(self.socket.iter().map(|(path, _)| path.display().to_string())).collect()
    }
}

fn socket_refused(path: &Path, e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::AddrInUse => {
            format!("the admin socket {} is another gateway's or no socket", path.display())
        }
        _ => format!("no admin socket at {}: {e}", path.display()),
    }
}

fn http_refused(address: SocketAddr, e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::AddrInUse => format!("no admin on http://{address}: the port is in use"),
        _ => format!("no admin on http://{address}: {e}"),
    }
}
