//! Which route: host → path → method, header and query conditions.
//!
//! Among the routes that match *entirely* the most specific wins. In this order:
//!
//! 1. host: exact, then the longest `*.suffix` (one label or more below it), then none. A level
//!    without a complete match leaves the request to the next.
//! 2. path, segment by segment from the left: static, then `{name}` (one segment that is not
//!    empty), then `*` or `{*rest}`. `/users/*` takes `/users`, `/users/` and all below, and
//!    ending exactly goes before it.
//! 3. a rule with methods, then one without. `GET` takes in `HEAD`, but a rule that names `HEAD`
//!    goes first.
//! 4. more header conditions, then more query conditions (`predicate.rs` says how they compare).
//! 5. the name that sorts first.
//!
//! A route that fails on its method or conditions hides nothing wider. When no route matches, the
//! places (one host's one path) that the request falls into are asked, most specific first: the
//! first whose rules all refuse the method gives 405 and its `Allow`, the union of its rules'
//! methods. So `Allow` never names the method that it refuses, and a request that only failed on
//! headers or query is a 404.
//!
//! Cost: `find` takes no lock and does not allocate. It sees a node of the tree at most once
//! (`trie.rs`) and, of each host level, a rule at most once, twice for `HEAD`.

mod build;
mod conflict;
pub mod explain;
mod host;
mod jump;
#[doc(hidden)]
pub mod naive;
mod pattern;
mod predicate;
#[cfg(test)]
mod tests;
mod trie;

use parser::{Fields, Method, Span};

use crate::ids::RouteId;

pub use build::{Problem, Survey, build, survey};
pub use conflict::{conflicts, overlaps};
pub use pattern::{PATTERN_BYTES_MAX, PatternError, check_pattern};
use predicate::Verdict;

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

/// What a header field or query parameter must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    /// Patterns have at most `PARAMS_MAX` params.
    #[inline]
    fn push(&mut self, span: Span) {
        self.spans[self.len as usize] = span;
        self.len += 1;
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Found<'r> {
    Route(RouteId),
    /// The path is known, the method is not: 405 with this `Allow` value.
    MethodNotAllowed {
        allow: &'r str,
    },
    NotFound,
}

/// The frozen form.
#[derive(Debug, Default)]
pub struct Router {
    hosts: host::Hosts,
    trie: trie::Trie,
    predicates: predicate::Predicates,
}

impl Router {
    /// The most specific route that matches entirely, with what its path captured in `params`;
    /// these are empty when there is none.
    #[inline]
    pub fn find(&self, lookup: &Lookup<'_>, params: &mut Params) -> Found<'_> {
        let mut found = None;
        let mut refused_at = trie::NONE;
        let mut take = |place: u32| match self.predicates.judge(place, lookup) {
            Verdict::Route(route) => {
                found = Some(route);
                true
            }
            Verdict::Failed => false,
            Verdict::WrongMethod => {
                if refused_at == trie::NONE {
                    refused_at = place;
                }
                false
            }
        };
        params.len = 0;
        let path = lookup.path;
        self.hosts.any_root(lookup.host, |root| match path.first() {
            Some(b'/') => self.trie.any_place(root, path, params, &mut take),
            _ => path == b"*" && self.take_asterisk(root, params, &mut take),
        });
        match found {
            Some(route) => Found::Route(route),
            None if refused_at == trie::NONE => Found::NotFound,
            None => Found::MethodNotAllowed { allow: self.predicates.allow(refused_at) },
        }
    }

    /// `OPTIONS *` is no path: only `/*` takes it, and captures nothing.
    #[cold]
    fn take_asterisk(
        &self,
        root: u32,
        params: &mut Params,
        take: &mut impl FnMut(u32) -> bool,
    ) -> bool {
        let place = self.trie.rest_of_root(root);
        if place == trie::NONE || !take(place) {
            return false;
        }
        params.push(Span::new(1, 1));
        true
    }

    /// Bytes on the heap; what the host tables take is an estimate.
    pub fn heap_bytes(&self) -> usize {
        self.hosts.heap_bytes() + self.trie.heap_bytes() + self.predicates.heap_bytes()
    }
}
