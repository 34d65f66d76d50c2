//! What a file says. Each table's keys stand in one list, from which the reader knows them and
//! the reference is written; no behaviour.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use super::access_model::*;
pub use super::address::Site;
use super::diagnostic::At;
use crate::http::forwarded::Prefix;
use crate::http::template::{Place, Template};
use crate::policy::ip::IpFilter;
use crate::router::ValuePattern;
use crate::secret::Secret;
use crate::snapshot::{
    AccessLog, Balance, Choice, Driver, EndpointAddress, HostMode, ListenAddress,
};
use crate::tls::{ClientTerms, ServerTerms};

pub use super::keys::{Key, KeyId, Kind};
pub use super::tls::{ListenerTls, UpstreamTls};

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
    pub admin: Admin,
    pub log: Option<AccessLog>,
    pub auths: Vec<Auth>,
    pub consumers: Vec<Consumer>,
    /// Path and text of the file with the others.
    pub consumers_file: Option<Spot<(String, Vec<u8>)>>,
    pub plans: Vec<Plan>,
    /// Sorted by name, like all tables.
    pub listeners: Vec<Listener>,
    pub upstreams: Vec<Upstream>,
    /// `[all]` alone, then one of each group.
    pub chains: Vec<Chain>,
    pub routes: Vec<Route>,
    /// `[defaults.upstream]`, for upstreams that are only given as URLs.
    pub upstream_defaults: Upstream,
    /// `[defaults.listener]`, for the listener that no file names.
    pub listener_defaults: Listener,
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
    pub limit_keys: Option<u64>,
}

#[derive(Debug, Default)]
pub struct Admin {
    pub socket: Choice<PathBuf>,
    pub address: Choice<Box<[SocketAddr]>>,
    pub address_at: Option<At>,
    pub token: Option<Secret>,
}

#[derive(Debug, Default, Clone)]
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
    pub target_max: Option<Spot<u64>>,
    pub backlog: Option<u64>,
    pub defer_accept: Option<Limit<Duration>>,
    pub ip: Option<Arc<IpFilter>>,
    pub rate_limits: Vec<RateLimit>,
    pub tls: Option<ListenerTls>,
    /// Made of `tls`; `None` for defaults, and where it could not be.
    pub terms: Option<Arc<ServerTerms>>,
    /// With the place of the key.
    pub proxy_protocol: Option<Spot<bool>>,
    /// The port.
    pub redirect: Option<Spot<u16>>,
}

#[derive(Debug, Default, Clone)]
pub struct Upstream {
    pub name: String,
    pub at: At,
    pub endpoints: Vec<Endpoint>,
    pub balance: Option<Balance>,
    pub host: Option<Spot<HostMode>>,
    pub pool_idle: Option<u64>,
    pub pool_idle_timeout: Option<Duration>,
    pub pool_lifetime: Option<Duration>,
    pub connect_timeout: Option<Duration>,
    pub connections_max: Option<Limit<u64>>,
    pub head_max: Option<u64>,
    pub tls: Option<UpstreamTls>,
    /// Made of `tls`; `None` for defaults, and in the clear.
    pub terms: Option<Arc<ClientTerms>>,
}

#[derive(Debug, Clone)]
pub struct Endpoint {
    pub address: EndpointAddress,
    pub weight: u16,
    /// `host:port` or `unix:/path`.
    pub text: String,
    /// By its scheme, if it has one.
    pub is_https: Option<bool>,
    pub at: At,
}

/// What `[all]`, one group or one route says, key by key.
#[derive(Debug, Default)]
pub struct Layer {
    /// Sorted by key.
    pub said: Vec<Said>,
    /// What it takes away of what wider layers say.
    pub without: Vec<Spot<KeyId>>,
    /// A mistake was found in what tells routes from others.
    pub is_unsure: bool,
    /// It has a key that nobody knows: what it says may be more than was read.
    pub has_unknown: bool,
}

#[derive(Debug)]
pub struct Said {
    pub key: KeyId,
    /// Of the key.
    pub at: At,
    pub value: Setting,
}

/// The value of a key of [`keys::LAYER`](super::keys::LAYER).
#[derive(Debug)]
pub enum Setting {
    Time(Limit<Duration>),
    /// A size, or a rate in bytes per second.
    Bytes(Limit<u64>),
    Word(&'static str),
    /// Hosts, methods, protocols.
    Names(Vec<String>),
    When(When),
    Listeners(Vec<Spot<String>>),
    Headers(Box<Headers>),
    Rewrite(Box<Rewrite>),
    Auth(AuthUse),
    Allow(Box<Allow>),
    Ip(Arc<IpFilter>),
    Cors(Box<CorsSource>),
    RateLimits(Vec<RateLimit>),
    Concurrency(Vec<Concurrency>),
}

#[derive(Debug, Default)]
pub struct When {
    pub headers: Vec<(String, ValuePattern)>,
    pub query: Vec<(String, ValuePattern)>,
}

#[derive(Debug, Default, Clone)]
pub struct Headers {
    pub request: Edits,
    pub response: Edits,
}

#[derive(Debug, Default, Clone)]
pub struct Rewrite {
    pub path: Option<Spot<Template>>,
    pub query: Option<Spot<Template>>,
    pub host: Option<Spot<Template>>,
}

#[derive(Debug)]
pub struct Group {
    pub name: String,
    pub at: At,
    pub parent: Option<Spot<String>>,
    /// A pattern without `*`, without a last slash.
    pub prefix: Option<Spot<String>>,
    pub layer: Layer,
}

/// `[all]` and one group after the other, merged: what holds for a route that is part of them.
#[derive(Debug, Default)]
pub struct Chain {
    /// Of the narrowest layer: `[all]` or `[group.api]`.
    pub name: String,
    pub at: At,
    /// Index of the chain that this one adds a group to.
    pub parent: Option<usize>,
    /// Sorted by key, then the narrowest first.
    pub heirs: Vec<Heir>,
    pub prefix: String,
    pub is_unsure: bool,
    pub has_unknown: bool,
}

/// A key with what one layer says of it. Of a key that merges by name, the first has everything.
#[derive(Debug, Clone)]
pub struct Heir {
    pub key: KeyId,
    /// Index of the chain whose narrowest layer says it.
    pub layer: usize,
    pub at: At,
    pub value: Rc<Setting>,
}

#[derive(Debug)]
pub struct Route {
    pub name: String,
    pub at: At,
    /// Index in `Model::chains`.
    pub chain: usize,
    /// With the prefixes of its groups.
    pub path: Spot<String>,
    /// `None` only when it could not be read.
    pub action: Option<Action>,
    pub layer: Layer,
    /// Where the keys stand that no layer above routes has.
    pub keys: Vec<(KeyId, At)>,
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
        site: Site,
    },
}

#[derive(Debug)]
pub struct Respond {
    pub status: u16,
    pub content_type: String,
    pub body: Template,
    pub place: Place,
    pub headers: Vec<Field>,
}

/// A field to be written, or one that an answer has.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    /// Of the value.
    pub at: At,
    pub value: Template,
}

#[derive(Debug, Default, Clone)]
pub struct Edits {
    pub set: Vec<Field>,
    pub add: Vec<Field>,
    pub remove: Vec<String>,
}
