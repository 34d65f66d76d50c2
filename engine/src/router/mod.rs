//! Which route: host → path → method, header and query conditions.

use parser::{Fields, Method, Span};

use crate::ids::RouteId;

/// Most params a path pattern may have.
pub const PARAMS_MAX: usize = 16;

/// The conditions of one route, as `config/compile.rs` hands them over.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    pub route: Option<RouteId>,
    /// Sorts ties: the first name wins.
    pub name: String,
    /// Lower case, no port: `example.com` or `*.example.com`. Empty: any host, or none at all.
    pub hosts: Vec<String>,
    /// `/users`, `/users/{id}`, `/files/*`, `/files/{*rest}`; canonical. `/*` for any.
    pub path: String,
    /// Upper case as sent. Empty: any. `GET` takes in `HEAD`.
    pub methods: Vec<String>,
    pub headers: Vec<(String, ValuePattern)>,
    pub query: Vec<(String, ValuePattern)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValuePattern {
    Exact(String),
    /// `"*"`
    Present,
    /// `"beta*"`
    Prefix(String),
}

/// What of a request the router looks at.
#[derive(Debug)]
pub struct Lookup<'a> {
    /// Without port, any case; `None`: an HTTP/1.0 request without Host, which matches only rules
    /// without hosts.
    pub host: Option<&'a [u8]>,
    /// Canonical (`parser::path`), starts with `/`; or `*` of `OPTIONS *`, which matches no rule
    /// with a path other than `/*`.
    pub path: &'a [u8],
    /// Without `?`; empty when there is none.
    pub query: &'a [u8],
    pub method: Method,
    pub method_text: &'a [u8],
    pub fields: &'a Fields,
    /// The buffer `fields` was parsed from.
    pub head: &'a [u8],
}

/// Captured spans of the canonical path, in the order of the pattern.
#[derive(Debug, Clone, Copy, Default)]
pub struct Params {
    spans: [Span; PARAMS_MAX],
    len: u8,
}

impl Params {
    #[inline]
    pub fn as_slice(&self) -> &[Span] {
        &self.spans[..self.len as usize]
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Found<'r> {
    Route(RouteId),
    /// The path is known, the method is not: 405 with this `Allow` value.
    MethodNotAllowed { allow: &'r str },
    NotFound,
}

/// The frozen form.
#[derive(Debug)]
pub struct Router {}
