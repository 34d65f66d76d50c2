//! The router as the precedence reads, rule by rule, slow and obvious: what `Router` is held
//! against by tests and the fuzzer.

use std::cmp::Reverse;

use parser::{Field, FieldId, Fields, Method, Span};

use super::{Found, Lookup, Params, Problem, Rule, ValuePattern, build, conflicts};
use crate::ids::RouteId;

/// What `Router::find` must say: the same with owned text, and the captured spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Route(RouteId, Vec<Span>),
    MethodNotAllowed(String),
    NotFound,
}

/// Smaller goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HostLevel {
    Exact,
    Suffix(Reverse<usize>),
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Static,
    Param,
    End,
    Rest,
}

type Place = (HostLevel, Vec<Kind>);

/// The answer by looking at every rule.
pub fn find(rules: &[Rule], lookup: &Lookup<'_>) -> Answer {
    let mut matches = Vec::new();
    let mut places: Vec<(Place, usize)> = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        let Some((kinds, spans)) = path_match(&rule.path, lookup.path) else { continue };
        for level in host_levels(&rule.hosts, lookup.host) {
            let place = (level, kinds.clone());
            places.push((place.clone(), i));
            let own_head = rule.methods.iter().any(|method| method == "HEAD");
            if takes(&rule.methods, lookup) && holds(rule, lookup) {
                let methods = Reverse(!rule.methods.is_empty());
                let head = Reverse(lookup.method == Method::Head && own_head);
                let headers = Reverse(count(&rule.headers, true));
                let query = Reverse(count(&rule.query, false));
                let key = (place, methods, head, headers, query, &rule.name, i);
                matches.push((key, spans.clone()));
            }
        }
    }
    matches.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some((key, spans)) = matches.into_iter().next() {
        return Answer::Route(rules[key.6].route.unwrap_or(RouteId(key.6 as u32)), spans);
    }
    places.sort();
    for group in places.chunk_by(|a, b| a.0 == b.0) {
        if group.iter().all(|(_, i)| !takes(&rules[*i].methods, lookup)) {
            let tokens = group.iter().flat_map(|(_, i)| rules[*i].methods.clone());
            let mut allow: Vec<String> = tokens.collect();
            if allow.iter().any(|method| method == "GET") {
                allow.push("HEAD".to_owned());
            }
            allow.sort();
            allow.dedup();
            return Answer::MethodNotAllowed(allow.join(", "));
        }
    }
    Answer::NotFound
}

/// Conditions that are not the same; names of headers have no case.
pub(super) fn count<T: AsRef<str>>(conditions: &[(T, ValuePattern)], has_no_case: bool) -> usize {
    let name = |name: &T| match has_no_case {
        true => name.as_ref().to_ascii_lowercase(),
        false => name.as_ref().to_owned(),
    };
    let mut distinct: Vec<_> = conditions.iter().map(|(n, value)| (name(n), value)).collect();
    distinct.sort();
    distinct.dedup();
    distinct.len()
}

/// The levels at which hosts take a request in; none when they don't.
pub(super) fn host_levels<T: AsRef<str>>(hosts: &[T], host: Option<&[u8]>) -> Vec<HostLevel> {
    if hosts.is_empty() {
        return vec![HostLevel::Any];
    }
    let Some(host) = host else { return vec![] };
    let host = host.strip_suffix(b".").unwrap_or(host).to_ascii_lowercase();
    if host.len() > 256 {
        return vec![];
    }
    let level = |pattern: &T| match pattern.as_ref().strip_prefix("*.") {
        None => (pattern.as_ref().as_bytes() == host).then_some(HostLevel::Exact),
        Some(suffix) => {
            let dotted = format!(".{suffix}");
            let is_below = host.ends_with(dotted.as_bytes()) && host.len() > dotted.len();
            is_below.then_some(HostLevel::Suffix(Reverse(suffix.len())))
        }
    };
    hosts.iter().filter_map(level).collect()
}

/// How a pattern takes a path, and what it captures.
pub(super) fn path_match(pattern: &str, path: &[u8]) -> Option<(Vec<Kind>, Vec<Span>)> {
    if path == b"*" {
        let is_all = pattern == "/*" || pattern.starts_with("/{*");
        return is_all.then(|| (vec![Kind::Rest], vec![Span::new(1, 1)]));
    }
    if path.first() != Some(&b'/') {
        return None;
    }
    let (mut kinds, mut spans) = (Vec::new(), Vec::new());
    // Where the slash before the next segment stands, or the end.
    let mut at = 0;
    for segment in pattern[1..].split('/') {
        if segment == "*" || segment.starts_with("{*") {
            kinds.push(Kind::Rest);
            spans.push(Span::new((at + 1).min(path.len()), path.len()));
            return Some((kinds, spans));
        }
        if at == path.len() {
            return None;
        }
        let len = path[at + 1..].iter().position(|b| *b == b'/');
        let end = len.map_or(path.len(), |len| at + 1 + len);
        if segment.starts_with('{') {
            if end == at + 1 {
                return None;
            }
            kinds.push(Kind::Param);
            spans.push(Span::new(at + 1, end));
        } else if path[at + 1..end] == *segment.as_bytes() {
            kinds.push(Kind::Static);
        } else {
            return None;
        }
        at = end;
    }
    kinds.push(Kind::End);
    (at == path.len()).then_some((kinds, spans))
}

pub(super) fn takes<T: AsRef<str>>(methods: &[T], lookup: &Lookup<'_>) -> bool {
    let takes_token = |method: &T| {
        let method = method.as_ref();
        method.as_bytes() == lookup.method_text || method == "GET" && lookup.method == Method::Head
    };
    methods.is_empty() || methods.iter().any(takes_token)
}

fn holds(rule: &Rule, lookup: &Lookup<'_>) -> bool {
    rule.headers.iter().all(|(name, pattern)| header_holds(name, pattern, lookup))
        && rule.query.iter().all(|(name, pattern)| query_holds(name, pattern, lookup))
}

fn fits(pattern: &ValuePattern, value: &[u8]) -> bool {
    match pattern {
        ValuePattern::Present => true,
        ValuePattern::Exact(text) => value == text.as_bytes(),
        ValuePattern::Prefix(text) => value.starts_with(text.as_bytes()),
    }
}

pub(super) fn header_holds(name: &str, pattern: &ValuePattern, lookup: &Lookup<'_>) -> bool {
    lookup.fields.iter().any(|field| {
        field.name.of(lookup.head).eq_ignore_ascii_case(name.as_bytes())
            && fits(pattern, field.value.of(lookup.head))
    })
}

pub(super) fn query_holds(name: &str, pattern: &ValuePattern, lookup: &Lookup<'_>) -> bool {
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = lookup
        .query
        .split(|b| *b == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut halves = pair.splitn(2, |b| *b == b'=');
            let mut half = || decode(halves.next().unwrap_or_default());
            (half(), half())
        })
        .collect();
    pairs.iter().any(|(key, value)| key == name.as_bytes() && fits(pattern, value))
}

fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let is_hex = |digits: &&str| digits.bytes().all(|b| b.is_ascii_hexdigit());
        match digits.filter(is_hex).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) if text[at] == b'%' => {
                out.push(value);
                at += 3;
            }
            _ => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}

/// Makes rules and requests of any bytes and panics unless `Router` and this module agree on each,
/// and on what conflicts.
pub fn check_bytes(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut rules: Vec<Rule> = (0..bytes.below(24)).map(|i| bytes.rule(i)).collect();
    let refused: Vec<usize> = conflicts(&rules)
        .iter()
        .map(|problem| match problem {
            Problem::Conflict { second, .. } => *second,
            Problem::BadPattern { .. } => unreachable!("conflicts judges no patterns"),
        })
        .collect();
    assert_eq!(build(&rules).is_ok(), refused.is_empty(), "{rules:#?}");
    let mut index = 0;
    rules.retain(|_| {
        index += 1;
        !refused.contains(&(index - 1))
    });
    let router = build(&rules).expect("conflicts are gone and patterns are good");
    while !bytes.0.is_empty() {
        let request = bytes.request();
        let lookup = request.lookup();
        let mut params = Params::default();
        let found = match router.find(&lookup, &mut params) {
            Found::Route(route) => Answer::Route(route, params.as_slice().to_vec()),
            Found::MethodNotAllowed { allow } => Answer::MethodNotAllowed(allow.to_owned()),
            Found::NotFound => Answer::NotFound,
        };
        assert_eq!(found, find(&rules, &lookup), "{request:?} {rules:#?}");
        let id = |(i, rule): (usize, &Rule)| rule.route.unwrap_or(RouteId(i as u32));
        let winner = match found {
            Answer::Route(route, _) => rules.iter().enumerate().position(|r| id(r) == route),
            _ => None,
        };
        super::explain::check(&rules, &lookup, winner);
    }
}

const HOSTS: [&str; 6] = ["a.b.c", "*.b.c", "*.c", "b.c", "x.a.b.c", "*.a.b.c"];
const ASKED_HOSTS: [&str; 9] =
    ["a.b.c", "A.b.C.", "b.c", "c", "z.b.c", "y.x.a.b.c", ".c", "", "zb.c"];
const SEGMENTS: [&str; 10] =
    ["a", "b", "ab", "abc", "%2F", "{x}", "{y}", "long-segment-of-more-than-24-bytes", "", "ac"];
const ASKED_SEGMENTS: [&str; 9] =
    ["a", "b", "ab", "abc", "%2F", "", "c", "long-segment-of-more-than-24-bytes", "long-segment"];
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PURGE", "get", "DELETE"];
const NAMES: [&str; 4] = ["v", "x-canary", "V", "a=b"];
const VALUES: [&str; 5] = ["", "1", "1 2", "12", "%31"];
const QUERIES: [&str; 8] =
    ["", "v=1", "v=%31&v=2", "%76=12", "V", "v&x-canary=1+2", "a%3Db=1%202", "&&v=%2531&x=%3"];

/// Bytes as decisions; 0 when they have run out.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn below(&mut self, bound: usize) -> usize {
        match self.0.split_first() {
            Some((b, rest)) => {
                self.0 = rest;
                *b as usize % bound
            }
            None => 0,
        }
    }

    fn one_of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len())]
    }

    fn rule(&mut self, index: usize) -> Rule {
        // Half of the rules have conditions; small numbers, so that they meet.
        let shape = self.below(256);
        let some = |bit: usize, n: usize| if shape >> bit & 1 == 1 { n } else { 0 };
        Rule {
            route: (shape >> 7 & 1 == 1).then_some(RouteId(1000 + index as u32)),
            name: format!("{}{index}", self.one_of(&["m", "k", "z"])),
            hosts: (0..some(0, 2)).map(|_| self.one_of(&HOSTS).to_owned()).collect(),
            path: self.pattern(),
            methods: (0..some(1, 2)).map(|_| self.one_of(&METHODS).to_owned()).collect(),
            headers: (0..some(2, 1) + some(3, 1)).map(|_| self.condition()).collect(),
            query: (0..some(4, 1) + some(5, 1)).map(|_| self.condition()).collect(),
        }
    }

    fn pattern(&mut self) -> String {
        let mut path = String::new();
        let segments = self.below(5);
        for i in 0..segments {
            let segment = self.one_of(&SEGMENTS);
            match segment {
                // Only the last segment may be empty.
                "" if i + 1 < segments => path.push_str("/a"),
                // Each name once.
                "{x}" | "{y}" => path.push_str(&format!("/{{p{i}}}")),
                _ => path.push_str(&format!("/{segment}")),
            }
        }
        match self.below(4) {
            0 if !path.ends_with('/') => path.push_str("/*"),
            1 if !path.ends_with('/') => path.push_str("/{*rest}"),
            _ if path.is_empty() => path.push('/'),
            _ => {}
        }
        path
    }

    fn condition(&mut self) -> (String, ValuePattern) {
        let name = self.one_of(&NAMES).to_owned();
        let value = match self.below(4) {
            0 => ValuePattern::Present,
            1 => ValuePattern::Prefix(self.one_of(&VALUES).to_owned()),
            _ => ValuePattern::Exact(self.one_of(&VALUES).to_owned()),
        };
        (name, value)
    }

    fn request(&mut self) -> Request {
        let host = self.below(10).checked_sub(1).map(|i| ASKED_HOSTS[i].to_owned());
        let mut path: String =
            (0..self.below(6)).map(|_| format!("/{}", self.one_of(&ASKED_SEGMENTS))).collect();
        if path.is_empty() {
            path = self.one_of(&["/", "*", "", "/\u{ff}", "/*", "a"]).to_owned();
        }
        let method = self.one_of(&METHODS);
        let mut request = Request {
            host,
            path,
            query: self.one_of(&QUERIES).to_owned(),
            method,
            fields: Fields::default(),
            head: Vec::new(),
        };
        for _ in 0..self.below(4) {
            let name = request.append(self.one_of(&NAMES));
            let value = request.append(self.one_of(&VALUES));
            request.fields.push(Field { name, value, id: FieldId::Other });
        }
        request
    }
}

#[derive(Debug)]
struct Request {
    host: Option<String>,
    path: String,
    query: String,
    method: &'static str,
    fields: Fields,
    head: Vec<u8>,
}

impl Request {
    fn append(&mut self, text: &str) -> Span {
        let start = self.head.len();
        self.head.extend_from_slice(text.as_bytes());
        Span::new(start, self.head.len())
    }

    fn lookup(&self) -> Lookup<'_> {
        Lookup {
            host: self.host.as_deref().map(str::as_bytes),
            path: self.path.as_bytes(),
            query: self.query.as_bytes(),
            method: Method::of(self.method.as_bytes()),
            method_text: self.method.as_bytes(),
            fields: &self.fields,
            head: &self.head,
        }
    }
}
