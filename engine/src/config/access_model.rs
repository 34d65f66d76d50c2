//! What a file says of who may call, and how much. Part of the model.

use std::sync::Arc;
use std::time::Duration;

use super::address::Url;
use super::diagnostic::At;
use super::model::Spot;
use crate::auth::consumers::Consumers;
use crate::auth::jwks::{Algs, KeySet};
use crate::auth::jwt::Rules;
use crate::auth::keys::Digest;
use crate::http::edit::EditName;
use crate::policy::api_key::ApiKey;
use crate::policy::cors::OriginPattern;
use crate::secret::Secret;

#[derive(Debug)]
pub struct Auth {
    pub name: String,
    pub at: At,
    /// `None` only when it could not be read.
    pub method: Option<AuthMethod>,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // there are few, and they are moved once
pub enum AuthMethod {
    ApiKey(ApiKey),
    Basic {
        realm: String,
        keep: bool,
        /// Of a file; consumers' own count, too.
        users: Option<Box<Consumers>>,
    },
    Jwt(Box<JwtSource>),
    Forward(Box<ForwardSource>),
}

/// Where an issuer's keys come from.
#[derive(Debug)]
pub enum Keys {
    Known(Arc<KeySet>),
    Fetched(Url),
}

#[derive(Debug)]
pub struct JwtSource {
    pub keys: Keys,
    pub algorithms: Algs,
    pub rules: Rules,
    /// Fields for the service, and the claims they hold.
    pub to_headers: Vec<(EditName, String)>,
    pub header: EditName,
    pub cookie: Option<Box<[u8]>>,
    pub keep: bool,
}

#[derive(Debug)]
pub struct ForwardSource {
    pub to: Spot<Url>,
    pub request_headers: Vec<EditName>,
    pub response_headers: Vec<EditName>,
    pub consumer_header: Option<EditName>,
    pub timeout: Option<Duration>,
    pub remember: Option<Duration>,
}

#[derive(Debug)]
pub struct Consumer {
    pub name: String,
    pub at: At,
    pub groups: Vec<String>,
    pub scopes: Vec<String>,
    pub plan: Option<Spot<String>>,
    pub api_keys: Vec<Spot<Digest>>,
    pub basic: Option<Spot<Secret>>,
}

/// What a consumer has bought.
#[derive(Debug)]
pub struct Plan {
    pub name: String,
    pub at: At,
    pub rate_limits: Vec<RateLimit>,
    pub concurrency: Vec<Concurrency>,
}

/// The methods of a route.
#[derive(Debug, Clone)]
pub struct AuthUse {
    pub names: Vec<Spot<String>>,
    /// All of them, not any.
    pub all: bool,
}

#[derive(Debug)]
pub struct Allow {
    pub at: At,
    pub consumers: Option<Vec<Spot<String>>>,
    pub groups: Option<Vec<Spot<String>>>,
    pub scopes: Vec<Spot<String>>,
    pub claims: Vec<(String, String)>,
}

impl Allow {
    pub fn is_empty(&self) -> bool {
        let lists = self.consumers.is_none() && self.groups.is_none();
        lists && self.scopes.is_empty() && self.claims.is_empty()
    }
}

#[derive(Debug)]
pub struct CorsSource {
    pub any: bool,
    pub origins: Vec<OriginPattern>,
    /// `None`: those of the route.
    pub methods: Option<Vec<String>>,
    /// `None`: all that are asked for.
    pub headers: Option<String>,
    pub expose: String,
    pub credentials: bool,
    pub max_age: Duration,
}

/// What a rate limit counts by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Per {
    Client,
    Consumer,
    Route,
    Header(EditName),
    Claim(String),
}

#[derive(Debug, Clone)]
pub struct RateLimit {
    pub at: At,
    /// So many in this time.
    pub count: u64,
    pub time: Duration,
    pub burst: Option<u64>,
    pub per: Vec<Per>,
    pub cost: u32,
    pub dry_run: bool,
    pub refuse_when_full: bool,
}

impl RateLimit {
    pub fn plain(at: At, (count, time): (u64, Duration)) -> RateLimit {
        let (burst, per) = (None, vec![Per::Client]);
        let (dry_run, refuse_when_full) = (false, false);
        RateLimit { at, count, time, burst, per, cost: 1, dry_run, refuse_when_full }
    }

    pub fn burst(&self) -> u64 {
        self.burst.unwrap_or(self.count)
    }
}

/// What a limit of requests at one time counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerRequests {
    Route,
    Consumer,
    Upstream,
}

#[derive(Debug, Clone)]
pub struct Concurrency {
    pub at: At,
    pub limit: u32,
    pub per: PerRequests,
    pub queue: u32,
    pub wait: Duration,
}

impl Concurrency {
    pub fn plain(at: At, limit: u32) -> Concurrency {
        let (per, queue, wait) = (PerRequests::Route, 0, Duration::from_secs(1));
        Concurrency { at, limit, per, queue, wait }
    }
}
