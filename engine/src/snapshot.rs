//! The compiled configuration: everything a request may read, frozen.
//!
//! Made by `config/compile.rs` on the control thread, read by workers through their `View`.
//! Nothing here is written after it was made.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parser::Limits;
use rustls::pki_types::ServerName;

use crate::action::Action;
use crate::auth::consumers::Consumers;
use crate::http::edit::HeaderEdits;
use crate::http::forwarded::Prefix;
use crate::http::rewrite::Rewrite;
use crate::ids::{Key, ListenerId, RouteId, UpstreamId};
use crate::limit::concurrency::Permits;
use crate::limit::shard::Table;
use crate::log::format::Format;
use crate::policy::identify::Method;
use crate::policy::{AnyPolicy, Chain};
use crate::router::Router;
use crate::router::explain::Wanted;
use crate::secret::Secret;
use crate::tls::{ClientTerms, ServerTerms};

pub mod origin;

#[derive(Debug)]
pub struct Snapshot {
    /// Counts adopted configurations, from 1.
    pub generation: u64,
    pub server: Server,
    pub admin: Admin,
    /// `None`: no lines are written.
    pub log: Option<AccessLog>,
    pub listeners: Box<[Listener]>,
    pub upstreams: Box<[Upstream]>,
    pub routes: Box<[Route]>,
    /// Listeners share a router unless routes name listeners; see `Listener::router`.
    pub routers: Box<[Router]>,
    /// Known callers; empty where there are none.
    pub consumers: Arc<Consumers>,
    /// `[auth.NAME]`, by the number that methods have.
    pub auths: Box<[Arc<Method>]>,
    /// What rate limits have counted, over generations; `None` without limits.
    pub limits: Option<Arc<Table>>,
    /// Concurrency limits, by the number that policies have.
    pub permits: Box<[PermitCell]>,
    /// Where routes' keys come from; ask `Snapshot::origin`.
    pub origin_tables: origin::Origins,
    /// Given by control before a snapshot is published.
    pub keys: Keys,
}

/// What names are known by over generations: everything that outlives a snapshot (pools, counts)
/// hangs on these.
#[derive(Debug, Default)]
pub struct Keys {
    /// By `ListenerId`.
    pub listeners: Box<[Key]>,
    /// By `UpstreamId`.
    pub upstreams: Box<[Key]>,
    /// By `UpstreamId`: nothing about it differs from the generation before.
    pub unchanged: Box<[bool]>,
    /// By `RouteId`.
    pub routes: Box<[Key]>,
}

impl Snapshot {
    #[inline]
    pub fn route(&self, id: RouteId) -> &Route {
        &self.routes[id.index()]
    }

    /// Whether some limit has to count.
    pub fn has_rate_limits(&self) -> bool {
        let chains = self.routes.iter().map(|route| &*route.policies);
        let guards = self.listeners.iter().map(|listener| &listener.guards);
        chains.chain(guards).flat_map(Chain::policies).any(AnyPolicy::counts)
    }

    #[inline]
    pub fn upstream(&self, id: UpstreamId) -> &Upstream {
        &self.upstreams[id.index()]
    }

    #[inline]
    pub fn listener(&self, id: ListenerId) -> &Listener {
        &self.listeners[id.index()]
    }

    #[inline]
    pub fn router_of(&self, id: ListenerId) -> &Router {
        &self.routers[self.listener(id).router]
    }
}

/// What a concurrency limit counts in.
#[derive(Debug)]
pub struct PermitCell {
    /// The same over generations.
    pub id: u64,
    /// Each caller on its own; else all together.
    pub is_by_key: bool,
    pub limit: u32,
    /// How many may wait in each worker.
    pub queue: u32,
    /// Given by control before a snapshot is published.
    pub permits: Option<Arc<Permits>>,
}

/// Which of monoio's drivers the workers run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Driver {
    /// io_uring where the kernel grants it, else epoll.
    #[default]
    Auto,
    /// io_uring or a failed start.
    Uring,
    Epoll,
}

#[derive(Debug)]
pub struct Server {
    /// `None`: one per core of the CPU set, fewer under a cgroup quota.
    pub workers: Option<u16>,
    /// `None`: pinned unless a cgroup quota holds the process below its CPU set.
    pub pin: Option<bool>,
    pub driver: Driver,
    pub drain_timeout: Duration,
    pub drain_delay: Duration,
    pub tunnel_drain: Duration,
    pub trusted_proxies: Box<[Prefix]>,
    /// Bytes of connection buffers of all workers together before they shrink; `None`: a quarter
    /// of the memory this process may use, at most 1 GiB.
    pub memory_max: Option<u64>,
    /// Whether `Via` is added (RFC 9110 §7.6.3).
    pub via: bool,
    /// Keys that rate limits count at once.
    pub limit_keys: u64,
}

/// Where the operator asks and tells.
#[derive(Debug, Default)]
pub struct Admin {
    /// The socket for all that changes something. By default `busbar.sock` in
    /// `$RUNTIME_DIRECTORY`, else in `/tmp/busbar-$UID`.
    pub socket: Choice<PathBuf>,
    /// HTTP for all that reads. By default `defaults::ADMIN_ADDRESS`.
    pub address: Choice<Box<[SocketAddr]>>,
    /// What changes over `address` need; `None`: there are none.
    pub token: Option<Secret>,
}

/// All, where a share is told in millionths.
pub const SHARE_WHOLE: u32 = 1_000_000;

/// Which exchanges have a line, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    pub to: LogTo,
    pub format: Format,
    /// All 5xx, and those that got no answer.
    pub errors: bool,
    pub slower_than: Option<Duration>,
    /// Of the others, so many in a million.
    pub sample: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTo {
    Stdout,
    Stderr,
    File(PathBuf),
}

/// What a file says where `"none"` has a meaning and so has silence: a default that can't be had
/// is a warning, a written one an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice<T> {
    #[default]
    Default,
    Off,
    Given(T),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// `":8080"` is both families: `[::]:8080` and `0.0.0.0:8080`.
    Tcp(Box<[SocketAddr]>),
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(addresses) => {
                let texts: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
                f.write_str(&texts.join(" and "))
            }
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl ListenAddress {
    /// Sockets that each worker has for it.
    pub fn sockets(&self) -> u64 {
        match self {
            ListenAddress::Tcp(addresses) => addresses.len() as u64,
            ListenAddress::Unix(_) => 1,
        }
    }
}

#[derive(Debug)]
pub struct Listener {
    pub name: Box<str>,
    pub address: ListenAddress,
    pub limits: Limits,
    pub head_timeout: Duration,
    pub idle_timeout: Duration,
    /// Over all workers; `None`: derived from RLIMIT_NOFILE.
    pub connections_max: Option<u32>,
    /// By client address; `None`: off.
    pub connections_per_client: Option<u32>,
    pub backlog: u32,
    /// Connections are accepted once they have sent something, or after that.
    pub defer_accept: Option<Duration>,
    /// What may stop a request before it has a route.
    pub guards: Chain,
    /// Index in `Snapshot::routers`.
    pub router: usize,
    /// `None`: what arrives is HTTP in the clear.
    pub tls: Option<Arc<ServerTerms>>,
    /// Each connection begins with a PROXY header (from peers of `server.trusted_proxies`).
    pub proxy_protocol: bool,
    /// Every request is sent to the same place over HTTPS, at this port.
    pub https_redirect: Option<u16>,
}

impl Listener {
    /// Who is asked for what on it: connections under another one are of another listener, in
    /// truth. `None`: it speaks no TLS.
    #[inline]
    pub fn ticket_key(&self) -> Option<&crate::tls::Digest> {
        self.tls.as_ref().map(|terms| &terms.ticket_key)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Balance {
    /// Weighted round robin.
    #[default]
    RoundRobin,
    /// The less loaded of two random choices.
    LeastRequest,
}

/// What the upstream sees as `Host`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum HostMode {
    /// The client's.
    #[default]
    Keep,
    /// The endpoint's own `host:port`, as written.
    Endpoint,
    Fixed(Box<str>),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Anonymous upstreams (a route's `to = "http://…"`) are named by their URL.
    pub name: Box<str>,
    pub endpoints: Box<[Endpoint]>,
    pub balance: Balance,
    pub host: HostMode,
    /// Idle connections kept per endpoint and worker.
    pub pool_idle: u16,
    pub pool_idle_timeout: Duration,
    pub pool_lifetime: Duration,
    pub connect_timeout: Duration,
    /// Connections over all workers to this upstream, shared out to them; `None`: off.
    pub connections_max: Option<u32>,
    /// Bounds of response heads and of chunked answers.
    pub limits: Limits,
    /// `None`: it is spoken to in the clear.
    pub tls: Option<Arc<ClientTerms>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointAddress {
    Ip(SocketAddr),
    /// Resolved by the control thread; all addresses are used.
    Name {
        host: Box<str>,
        port: u16,
    },
    Unix(PathBuf),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: EndpointAddress,
    /// 1 to 1000; 0 takes no traffic.
    pub weight: u16,
    /// As written in the file: for `Host` under `HostMode::Endpoint`, and for messages.
    pub text: Box<str>,
}

impl Endpoint {
    pub fn host_text(&self) -> &[u8] {
        host_text(&self.address, &self.text)
    }
}

impl ClientTerms {
    /// The name that an endpoint's certificate has to hold. `None`: it has no name, as a unix
    /// socket has none.
    pub fn name_of(&self, endpoint: &EndpointAddress) -> Option<ServerName<'static>> {
        match endpoint {
            EndpointAddress::Ip(address) => Some(self.name_for_ip(address.ip())),
            EndpointAddress::Name { host, .. } => self.name_for(Some(host)),
            EndpointAddress::Unix(_) => self.name_for(None),
        }
    }
}

/// The value of `Host` under `HostMode::Endpoint`, from an endpoint's address and text; a unix
/// socket's is `localhost`.
pub fn host_text<'t>(address: &EndpointAddress, text: &'t str) -> &'t [u8] {
    match address {
        EndpointAddress::Unix(_) => b"localhost",
        _ => text.as_bytes(),
    }
}

#[derive(Debug)]
pub struct Route {
    pub name: Box<str>,
    /// `file:line` of its table, for messages.
    pub place: Box<str>,
    /// What it matches, for messages; the router has its own form.
    pub wanted: Wanted,
    pub action: Action,
    /// `None` when the route changes no fields. Routes of one group share them.
    pub headers: Option<Arc<HeaderEdits>>,
    /// `None` when target and host are sent as they came. Routes of one group share it.
    pub rewrite: Option<Arc<Rewrite>>,
    /// From the choice of an endpoint to the head of the final answer.
    pub timeout: Option<Duration>,
    /// Hard total of the exchange.
    pub deadline: Option<Duration>,
    /// Longest wait for one read or write of a body, either way.
    pub body_timeout: Option<Duration>,
    /// Bytes of a request body; `None`: no limit.
    pub body_limit: Option<u64>,
    /// Bytes per second a body must average over each 10 s; `None`: off.
    pub body_rate_min: Option<u64>,
    /// Silence in both directions of a tunnel or of a `text/event-stream`.
    pub tunnel_timeout: Option<Duration>,
    /// Lower-case names that may be tunnelled.
    pub upgrade: Box<[Box<str>]>,
    /// `encoded_slash = "keep"`: `%2F` and `%5C` are accepted in the path.
    pub encoded_slash_keep: bool,
    /// `slashes = "keep"`: `//` is matched and sent as it came.
    pub slashes_keep: bool,
    /// What may stop a request, and what that leaves behind.
    /// Routes without any share an empty one.
    pub policies: Arc<Chain>,
    /// `slash = "redirect"`: a path that only misses or has too much a last slash is redirected.
    pub slash_redirect: bool,
    /// `auth = "none"` was said: that everyone may use the route is meant.
    pub is_open_on_purpose: bool,
    /// Index in `origin_tables.layers`: the narrowest layer around the route.
    pub chain: u32,
    /// Marks of the route's own keys.
    pub origins: Box<[origin::Mark]>,
}
