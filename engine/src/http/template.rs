//! Texts with `{variables}`, parsed when the configuration compiles.

use parser::Span;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    pub parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Text(Box<[u8]>),
    Var(Var),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Var {
    /// Index in the route's params, in the order they stand in its path.
    Param(u8),
    Client,
    Host,
    Path,
    Query,
    Method,
    RequestId,
    Route,
    QueryParam(Box<[u8]>),
    Header(Box<[u8]>),
}

/// What variables stand for in one request. Spans of params are relative to `path`.
#[derive(Debug)]
pub struct Facts<'a> {
    pub client: &'a [u8],
    pub host: &'a [u8],
    /// Canonical, still percent-encoded.
    pub path: &'a [u8],
    /// Without `?`.
    pub query: &'a [u8],
    pub method: &'a [u8],
    pub request_id: &'a [u8],
    pub route: &'a [u8],
    pub params: &'a [Span],
    pub fields: &'a parser::Fields,
    /// The buffer `fields` was parsed from.
    pub head: &'a [u8],
}

/// Where the text goes; each value is escaped for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    FieldValue,
    /// A URI reference (`Location`).
    Uri,
    Html,
    Json,
    /// As it is, control characters removed.
    Text,
}
