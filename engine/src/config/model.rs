//! What a file says. Each table's keys stand in one list, from which the reader knows them and
//! the reference is written; no behaviour.

use std::time::Duration;

use super::diagnostic::At;
use crate::http::forwarded::Prefix;
use crate::http::template::{Place, Template};
use crate::router::ValuePattern;
use crate::snapshot::{Balance, Driver, EndpointAddress, HostMode, ListenAddress};

pub use super::keys::{Key, Kind};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot<T> {
    pub value: T,
    pub at: At,
}

/// A limit that `"none"` lifts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit<T> {
    Off,
    Max(T),
}

impl<T> Limit<T> {
    pub fn option(self) -> Option<T> {
        match self {
            Limit::Off => None,
            Limit::Max(value) => Some(value),
        }
    }
}

#[derive(Debug, Default)]
pub struct Model {
    pub server: Server,
    /// Sorted by name, like all tables.
    pub listeners: Vec<Listener>,
    pub upstreams: Vec<Upstream>,
    pub routes: Vec<Route>,
}

#[derive(Debug, Default)]
pub struct Server {
    pub workers: Option<u64>,
    pub pin: Option<bool>,
    pub driver: Driver,
    pub drain_timeout: Option<Duration>,
    pub drain_delay: Option<Duration>,
    pub tunnel_drain: Option<Duration>,
    pub trusted_proxies: Vec<Prefix>,
    pub memory_max: Option<u64>,
    pub via: bool,
}

#[derive(Debug)]
pub struct Listener {
    pub name: String,
    /// Of its table.
    pub at: At,
    /// `None` only when it could not be read.
    pub address: Option<Spot<ListenAddress>>,
    pub head_timeout: Option<Duration>,
    pub idle_timeout: Option<Duration>,
    pub connections_max: Option<u64>,
    pub connections_per_client: Option<Limit<u64>>,
    pub head_max: Option<u64>,
    pub headers_max: Option<u64>,
    pub target_max: Option<u64>,
    pub backlog: Option<u64>,
}

#[derive(Debug)]
pub struct Upstream {
    pub name: String,
    pub at: At,
    pub endpoints: Vec<Endpoint>,
    pub balance: Balance,
    pub host: HostMode,
    pub pool_idle: Option<u64>,
    pub pool_idle_timeout: Option<Duration>,
    pub pool_lifetime: Option<Duration>,
    pub connect_timeout: Option<Duration>,
    pub connections_max: Option<Limit<u64>>,
    pub head_max: Option<u64>,
}

impl Upstream {
    pub fn new(name: String, at: At) -> Upstream {
        Upstream {
            name,
            at,
            endpoints: Vec::new(),
            balance: Balance::default(),
            host: HostMode::default(),
            pool_idle: None,
            pool_idle_timeout: None,
            pool_lifetime: None,
            connect_timeout: None,
            connections_max: None,
            head_max: None,
        }
    }
}

#[derive(Debug)]
pub struct Endpoint {
    pub address: EndpointAddress,
    pub weight: u16,
    /// `host:port` or `unix:/path`.
    pub text: String,
    pub at: At,
}

#[derive(Debug)]
pub struct Route {
    pub name: String,
    pub at: At,
    pub hosts: Vec<String>,
    pub path: Spot<String>,
    pub methods: Vec<String>,
    pub headers_when: Vec<(String, ValuePattern)>,
    pub query_when: Vec<(String, ValuePattern)>,
    pub listeners: Vec<Spot<String>>,
    /// `None` only when it could not be read.
    pub action: Option<Action>,
    pub request_edits: Edits,
    pub response_edits: Edits,
    pub timeout: Option<Limit<Duration>>,
    pub deadline: Option<Limit<Duration>>,
    pub body_timeout: Option<Limit<Duration>>,
    pub body_limit: Option<Limit<u64>>,
    pub body_rate_min: Option<Limit<u64>>,
    pub tunnel_timeout: Option<Limit<Duration>>,
    pub upgrade: Option<Vec<String>>,
    pub encoded_slash_keep: bool,
    pub slashes_keep: bool,
    pub slash_redirect: bool,
    /// A mistake was found in what tells this route from others: it takes no part in conflicts.
    pub is_unsure: bool,
}

#[derive(Debug)]
pub enum Action {
    To(Vec<Target>),
    Respond(Respond),
    Redirect { status: u16, to: Template },
    Echo,
}

/// One share of a route's requests.
#[derive(Debug)]
pub struct Target {
    pub to: TargetName,
    pub weight: u32,
    pub at: At,
}

#[derive(Debug)]
pub enum TargetName {
    Named(String),
    /// An upstream without a table, shared by all who give the same URL.
    Url {
        url: String,
        endpoint: EndpointAddress,
        text: String,
    },
}

#[derive(Debug)]
pub struct Respond {
    pub status: u16,
    pub content_type: String,
    pub body: Template,
    pub place: Place,
    pub headers: Vec<(String, Template)>,
}

#[derive(Debug, Default)]
pub struct Edits {
    pub set: Vec<(String, Template)>,
    pub add: Vec<(String, Template)>,
    pub remove: Vec<String>,
}
