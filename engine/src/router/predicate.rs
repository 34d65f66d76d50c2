//! What a rule asks beside host and path: the method, header fields, query parameters.
//!
//! *Headers*: a field line with that name (any case) must have a value, compared byte by byte as
//! one whole line, that fits. One of several lines is enough.
//! *Query*: one `name=value` between `&` must fit; without `=` the value is empty. Both sides of
//! it are percent-decoded while they are compared, so that `%76=2` is `v=2`. `+` stays `+`: that
//! it means a space is a custom of forms, not of URIs (RFC 3986 §3.4). A `%` that begins no
//! escape stands for itself. The rule's text is taken as it is, not decoded.

use parser::Method;

use super::{Lookup, Rule, ValuePattern};
use crate::ids::RouteId;

/// Bits of `Candidate::methods`: a known method's is `1 << number`.
const GET: u16 = 1 << Method::Get as u16;
const HEAD: u16 = 1 << Method::Head as u16;
/// `HEAD` itself was asked for; the bit `HEAD` comes with `GET`, too.
const OWN_HEAD: u16 = 1 << 10;
/// No other set has the upper bits.
const ANY: u16 = u16::MAX;

/// In the number of a place: its only rule asks for nothing, and the rest is its route. Saves
/// most lookups a cache line.
const PLAIN: u32 = 1 << 31;
const LAST: u8 = 1;
/// This place has both a rule that names `HEAD` and one that only names `GET` (its first says it).
const SPLIT_HEAD: u8 = 2;
const NO_CONDITIONS: u32 = u32::MAX;

/// One rule at one place of the trie. The rules of a place stand one after another, most specific
/// first.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    route: RouteId,
    methods: u16,
    flags: u8,
    /// Index into `Predicates::conditions`.
    conditions: u32,
}

/// A range of `Predicates::tests`: headers, then query, then extension methods.
#[derive(Debug, Clone, Copy)]
struct Conditions {
    start: u32,
    headers: u32,
    query: u32,
    tokens: u32,
}

#[derive(Debug, Clone, Copy)]
struct Text {
    start: u32,
    len: u32,
}

#[derive(Debug, Clone, Copy)]
enum Expect {
    Present,
    Exact(Text),
    Prefix(Text),
}

#[derive(Debug, Clone, Copy)]
struct Test {
    name: Text,
    expect: Expect,
}

/// The candidates of all places.
#[derive(Debug, Default)]
pub(super) struct Predicates {
    candidates: Vec<Candidate>,
    conditions: Vec<Conditions>,
    tests: Vec<Test>,
    texts: Vec<u8>,
    /// First candidate of a place and its `Allow`, for places that don't take all methods. Sorted.
    allows: Vec<(u32, u32)>,
    allow_texts: Vec<Box<str>>,
}

/// What a place has for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Route(RouteId),
    /// Some rule takes the method, but its other conditions fail.
    Failed,
    /// No rule here takes the method.
    WrongMethod,
}

impl Predicates {
    /// The first candidate of the place `first` that holds.
    #[inline(always)]
    pub(super) fn judge(&self, first: u32, lookup: &Lookup<'_>) -> Verdict {
        if first & PLAIN != 0 {
            return Verdict::Route(RouteId(first & !PLAIN)); // Fast path.
        }
        self.judge_rules(first, lookup)
    }

    /// By itself, so that the fast path needs no stack.
    #[inline(never)]
    fn judge_rules(&self, first: u32, lookup: &Lookup<'_>) -> Verdict {
        let head = &self.candidates[first as usize];
        if head.flags & SPLIT_HEAD != 0 && lookup.method == Method::Head {
            return self.judge_head(first, lookup);
        }
        self.judge_by(first, lookup, |_| true)
    }

    /// A rule that names `HEAD` goes before those which take it because they name `GET`.
    #[cold]
    fn judge_head(&self, first: u32, lookup: &Lookup<'_>) -> Verdict {
        let names_head = |methods: u16| methods != ANY && methods & OWN_HEAD != 0;
        match self.judge_by(first, lookup, names_head) {
            Verdict::Route(route) => Verdict::Route(route),
            _ => self.judge_by(first, lookup, |_| true),
        }
    }

    #[inline]
    fn judge_by(&self, first: u32, lookup: &Lookup<'_>, which: impl Fn(u16) -> bool) -> Verdict {
        let mut verdict = Verdict::WrongMethod;
        for candidate in &self.candidates[first as usize..] {
            if which(candidate.methods) && self.takes_method(candidate, lookup) {
                if self.holds(candidate, lookup) {
                    return Verdict::Route(candidate.route);
                }
                verdict = Verdict::Failed;
            }
            if candidate.flags & LAST != 0 {
                break;
            }
        }
        verdict
    }

    #[inline]
    fn takes_method(&self, candidate: &Candidate, lookup: &Lookup<'_>) -> bool {
        candidate.methods == ANY
            || candidate.methods & 1 << lookup.method as u16 != 0
                && (lookup.method != Method::Other || self.has_token(candidate, lookup))
    }

    #[cold]
    fn has_token(&self, candidate: &Candidate, lookup: &Lookup<'_>) -> bool {
        let conditions = self.conditions[candidate.conditions as usize];
        let start = (conditions.start + conditions.headers + conditions.query) as usize;
        let tokens = &self.tests[start..start + conditions.tokens as usize];
        tokens.iter().any(|token| self.text(token.name) == lookup.method_text)
    }

    #[inline]
    fn holds(&self, candidate: &Candidate, lookup: &Lookup<'_>) -> bool {
        candidate.conditions == NO_CONDITIONS || self.all_hold(candidate, lookup)
    }

    fn all_hold(&self, candidate: &Candidate, lookup: &Lookup<'_>) -> bool {
        let conditions = self.conditions[candidate.conditions as usize];
        let query_at = (conditions.start + conditions.headers) as usize;
        let headers = &self.tests[conditions.start as usize..query_at];
        let query = &self.tests[query_at..query_at + conditions.query as usize];
        headers.iter().all(|test| self.header_holds(test, lookup))
            && query.iter().all(|test| self.query_holds(test, lookup.query))
    }

    fn header_holds(&self, test: &Test, lookup: &Lookup<'_>) -> bool {
        let mut lines = lookup.fields.named(lookup.head, self.text(test.name));
        lines.any(|field| {
            let value = field.value.of(lookup.head);
            match test.expect {
                Expect::Present => true,
                Expect::Exact(text) => value == self.text(text),
                Expect::Prefix(text) => value.starts_with(self.text(text)),
            }
        })
    }

    fn query_holds(&self, test: &Test, query: &[u8]) -> bool {
        query.split(|b| *b == b'&').filter(|pair| !pair.is_empty()).any(|pair| {
            let eq = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
            let value = pair.get(eq + 1..).unwrap_or_default();
            Decoded(&pair[..eq]).eq(self.text(test.name).iter().copied())
                && match test.expect {
                    Expect::Present => true,
                    Expect::Exact(text) => Decoded(value).eq(self.text(text).iter().copied()),
                    Expect::Prefix(text) => {
                        let mut value = Decoded(value);
                        self.text(text).iter().all(|b| value.next() == Some(*b))
                    }
                }
        })
    }

    /// The `Allow` value of a place that doesn't take all methods; empty for others.
    pub(super) fn allow(&self, first: u32) -> &str {
        match self.allows.binary_search_by_key(&first, |(first, _)| *first) {
            Ok(at) => &self.allow_texts[self.allows[at].1 as usize],
            Err(_) => "",
        }
    }

    #[inline]
    fn text(&self, text: Text) -> &[u8] {
        &self.texts[text.start as usize..][..text.len as usize]
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.candidates)
            + size_of_val(&*self.conditions)
            + size_of_val(&*self.tests)
            + self.texts.len()
            + size_of_val(&*self.allows)
            + self.allow_texts.iter().map(|text| size_of_val(text) + text.len()).sum::<usize>()
    }
}

/// The bytes of a query component without their escapes.
struct Decoded<'a>(&'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let (&b, rest) = self.0.split_first()?;
        if b == b'%'
            && let [high, low, rest @ ..] = rest
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            self.0 = rest;
            return Some(high << 4 | low);
        }
        self.0 = rest;
        Some(b)
    }
}

const fn hex(b: u8) -> Option<u8> {
    match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'A'..=b'F' => Some(b - b'A' + 10),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    }
}

/// A rule's conditions, each once, in an order of their own: what conflicts are judged by, and
/// how specific the rule is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Normal<'a> {
    pub(super) headers: Vec<(String, &'a ValuePattern)>,
    pub(super) query: Vec<(&'a str, &'a ValuePattern)>,
    pub(super) methods: Vec<&'a str>,
}

impl<'a> Normal<'a> {
    pub(super) fn of(rule: &'a Rule) -> Normal<'a> {
        let headers = rule.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
        let query = rule.query.iter().map(|(name, value)| (name.as_str(), value));
        Normal {
            headers: once_each(headers.collect()),
            query: once_each(query.collect()),
            methods: once_each(rule.methods.iter().map(String::as_str).collect()),
        }
    }

    /// Smaller is more specific, at one host and path.
    pub(super) fn rank(&self) -> impl Ord + Copy + use<> {
        use std::cmp::Reverse;
        (Reverse(!self.methods.is_empty()), Reverse(self.headers.len()), Reverse(self.query.len()))
    }

    fn is_empty(&self) -> bool {
        self.methods.is_empty() && self.headers.is_empty() && self.query.is_empty()
    }

    fn mask(&self) -> u16 {
        if self.methods.is_empty() {
            return ANY;
        }
        let bit = |token: &&str| match Method::of(token.as_bytes()) {
            Method::Get => GET | HEAD,
            Method::Head => HEAD | OWN_HEAD,
            method => 1 << method as u16,
        };
        self.methods.iter().map(bit).fold(0, |mask, bit| mask | bit)
    }
}

fn once_each<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list.dedup();
    list
}

/// Collects the candidates of places; `allow_ids` finds equal `Allow` values.
#[derive(Debug, Default)]
pub(super) struct Collector {
    done: Predicates,
    allow_ids: std::collections::BTreeMap<String, u32>,
}

impl Collector {
    /// Adds a place with these rules (indexes), at least one; its number, `PLAIN` or the first
    /// candidate.
    pub(super) fn place(&mut self, rules: &[Rule], indexes: &[u32]) -> u32 {
        let mut order: Vec<(u32, Normal<'_>)> =
            indexes.iter().map(|&i| (i, Normal::of(&rules[i as usize]))).collect();
        order.sort_by(|(a, x), (b, y)| {
            let name = |i: &u32| &rules[*i as usize].name;
            x.rank().cmp(&y.rank()).then_with(|| name(a).cmp(name(b))).then(a.cmp(b))
        });
        let first = self.done.candidates.len();
        let route_of = |i: u32| rules[i as usize].route.unwrap_or(RouteId(i));
        if let [(only, normal)] = order.as_slice()
            && normal.is_empty()
        {
            let route = route_of(*only).0;
            assert!(route < PLAIN - 1, "2^31 routes don't fit in memory");
            return PLAIN | route;
        }
        for (i, normal) in &order {
            let route = route_of(*i);
            let conditions = self.conditions(normal);
            let methods = normal.mask();
            self.done.candidates.push(Candidate { route, methods, flags: 0, conditions });
        }
        let place = &mut self.done.candidates[first..];
        let own = place.iter().any(|c| c.methods != ANY && c.methods & OWN_HEAD != 0);
        let through_get = place.iter().any(|c| c.methods & (GET | OWN_HEAD) == GET);
        if own && through_get {
            place[0].flags |= SPLIT_HEAD;
        }
        place[order.len() - 1].flags |= LAST;
        if place.iter().all(|c| c.methods != ANY) {
            let tokens = order.iter().flat_map(|(_, normal)| normal.methods.iter().copied());
            self.allow(first as u32, tokens.collect());
        }
        first as u32
    }

    pub(super) fn finish(mut self) -> Predicates {
        self.done.candidates.shrink_to_fit();
        self.done.conditions.shrink_to_fit();
        self.done.tests.shrink_to_fit();
        self.done.texts.shrink_to_fit();
        self.done.allows.shrink_to_fit();
        self.done.allow_texts.shrink_to_fit();
        self.done
    }

    fn conditions(&mut self, normal: &Normal<'_>) -> u32 {
        let is_token = |token: &&&str| Method::of(token.as_bytes()) == Method::Other;
        let tokens: Vec<&str> = normal.methods.iter().filter(is_token).copied().collect();
        if normal.headers.is_empty() && normal.query.is_empty() && tokens.is_empty() {
            return NO_CONDITIONS;
        }
        let start = self.done.tests.len() as u32;
        for (name, value) in &normal.headers {
            self.test(name, value);
        }
        for (name, value) in &normal.query {
            self.test(name, value);
        }
        for token in &tokens {
            self.test(token, &ValuePattern::Present);
        }
        let count = |len: usize| u32::try_from(len).expect("conditions fit in memory");
        let (headers, query) = (count(normal.headers.len()), count(normal.query.len()));
        let conditions = Conditions { start, headers, query, tokens: count(tokens.len()) };
        self.done.conditions.push(conditions);
        self.done.conditions.len() as u32 - 1
    }

    fn test(&mut self, name: &str, value: &ValuePattern) {
        let name = self.text(name);
        let expect = match value {
            ValuePattern::Present => Expect::Present,
            ValuePattern::Exact(text) => Expect::Exact(self.text(text)),
            ValuePattern::Prefix(text) => Expect::Prefix(self.text(text)),
        };
        self.done.tests.push(Test { name, expect });
    }

    fn text(&mut self, text: &str) -> Text {
        let start = self.done.texts.len() as u32;
        self.done.texts.extend_from_slice(text.as_bytes());
        Text { start, len: text.len() as u32 }
    }

    fn allow(&mut self, first: u32, mut methods: Vec<&str>) {
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        let text = once_each(methods).join(", ");
        let texts = &mut self.done.allow_texts;
        let id = *self.allow_ids.entry(text).or_insert_with_key(|text| {
            texts.push(text.as_str().into());
            texts.len() as u32 - 1
        });
        self.done.allows.push((first, id));
    }
}
