//! Tree → model: what `[all]`, a group or a route says of who may call, and how much.

use std::sync::Arc;
use std::time::Duration;

use parser::encode::is_token;

use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::files::Outside;
use super::keys::{self, Key};
use super::model::{
    Allow, AuthUse, Concurrency, CorsSource, Per, PerRequests, RateLimit, Setting, Spot,
};
use super::reader::{Section, text_of, wrong_type};
use super::source::{Node, Value};
use super::{fields, read};
use crate::http::edit::EditName;
use crate::http::forwarded::Prefix;
use crate::policy::cors::OriginPattern;
use crate::policy::ip::IpFilter;

/// 100,000 prefixes, with comments.
const LIST_BYTES_MAX: u64 = 16 << 20;
/// Limits that one table may have at once.
const LIMITS_MAX: usize = 16;
/// Mistakes of one file that are named.
const NAMED_MAX: usize = 10;

/// `"none"`, `"a"`, `["a", "b"]`, or `{ all = ["a", "b"] }`.
pub(super) fn auth(section: &Section<'_>, out: &mut Diagnostics) -> Option<Setting> {
    let node = section.node("auth")?;
    if matches!(&node.value, Value::Text(text) if text == "none") {
        return Some(Setting::Word("none"));
    }
    if let Value::Table(_) = node.value {
        let all = section.section("auth", keys::AUTH_ALL, out)?;
        if all.entry("all").is_none() && !out.is_torn() {
            let error = Diagnostic::new("E107", all.at, "`all` is missing");
            out.push(error.note("such as auth = { all = [\"a\", \"b\"] }; one is auth = \"a\""));
        }
        let names = owned(all.texts("all", false, out)?);
        return Some(Setting::Auth(AuthUse { names, all: true }));
    }
    let names = owned(section.texts("auth", false, out)?);
    if let Some(none) = names.iter().find(|spot| spot.value == "none") {
        let error = Diagnostic::new("E103", none.at, "\"none\" stands alone");
        out.push(error.note("beside other methods it would open the route"));
        return None;
    }
    Some(Setting::Auth(AuthUse { names, all: false }))
}

fn owned(list: Vec<Spot<&str>>) -> Vec<Spot<String>> {
    list.into_iter().map(|spot| Spot { value: spot.value.to_owned(), at: spot.at }).collect()
}

pub(super) fn allow(section: &Section<'_>, out: &mut Diagnostics) -> Option<Setting> {
    let allow = section.section("allow", keys::ALLOW, out)?;
    let before = out.errors();
    let names = |key: &str, out: &mut Diagnostics| allow.texts(key, false, out).map(owned);
    let words = |key: &str, out: &mut Diagnostics| {
        let word = |spot: &Spot<&str>, out: &mut Diagnostics| {
            Some(Spot { value: super::access::words(spot, out)?, at: spot.at })
        };
        let found = allow.texts(key, false, out)?;
        Some(found.iter().filter_map(|spot| word(spot, out)).collect::<Vec<_>>())
    };
    let claims = allow.named("claims", out).iter().filter_map(|entry| {
        let (text, _) = text_of(&entry.node, out)?;
        Some((entry.key.clone(), text.to_owned()))
    });
    let claims: Vec<_> = claims.collect();
    let allow = Allow {
        at: allow.at,
        consumers: names("consumers", out),
        groups: words("groups", out),
        scopes: words("scopes", out).unwrap_or_default(),
        claims,
    };
    if allow.is_empty() && !out.is_torn() && out.errors() == before {
        let error = Diagnostic::new("E107", allow.at, "`allow` says nothing");
        out.push(error.note("name `groups`, `scopes`, `claims` or `consumers`"));
        return None;
    }
    Some(Setting::Allow(Box::new(allow)))
}

pub(super) fn ip(
    section: &Section<'_>,
    outside: &Outside<'_>,
    out: &mut Diagnostics,
) -> Option<Arc<IpFilter>> {
    let ip = section.section("ip", keys::IP, out)?;
    let errors = out.errors();
    let [allow, deny] = ["allow", "deny"].map(|key| {
        let list = ip.texts(key, true, out).unwrap_or_default();
        list.iter().flat_map(|spot| prefixes(spot, outside, out)).collect::<Vec<_>>()
    });
    if ip.entry("allow").is_none() && ip.entry("deny").is_none() && !out.is_torn() {
        let error = Diagnostic::new("E107", ip.at, "`ip` says nothing");
        out.push(error.note("such as deny = [\"192.0.2.0/24\"]"));
    }
    let mut both: Vec<(Prefix, bool, At)> = Vec::new();
    both.extend(allow.iter().map(|(prefix, at)| (*prefix, true, *at)));
    both.extend(deny.iter().map(|(prefix, at)| (*prefix, false, *at)));
    both.sort_by_key(|(prefix, may, _)| (prefix.address, prefix.bits, *may));
    for pair in both.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        if (a.0, true) == (b.0, a.1 != b.1) {
            let text = format!("{}/{} is in both lists", a.0.address, a.0.bits);
            let error = Diagnostic::new("E151", b.2, text);
            out.push(error.note("remove it from one of them; the longest prefix counts"));
        }
    }
    let plain = |list: Vec<(Prefix, At)>| list.into_iter().map(|(p, _)| p).collect::<Vec<_>>();
    // An empty `allow`, of a file say, lets nobody in.
    let is_closed = ip.entry("allow").is_some();
    let filter = || IpFilter::new(&plain(allow), &plain(deny));
    (out.errors() == errors).then(|| Arc::new(if is_closed { filter().closed() } else { filter() }))
}

fn prefixes(spot: &Spot<&str>, outside: &Outside<'_>, out: &mut Diagnostics) -> Vec<(Prefix, At)> {
    let Some(path) = spot.value.strip_prefix("file:") else {
        return read::prefix(spot, out).map(|prefix| (prefix, spot.at)).into_iter().collect();
    };
    let content = outside.read_list(path, spot.at, LIST_BYTES_MAX);
    let text = content.map(|content| String::from_utf8_lossy(&content.bytes).into_owned());
    let text = match text {
        Ok(text) => text,
        Err(note) => {
            let error = Diagnostic::new("E114", spot.at, format!("\"{path}\" can't be read"));
            out.push(error.note(note));
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        match super::address::prefix(line) {
            _ if line.is_empty() => {}
            Ok(prefix) => found.push((prefix, spot.at)),
            Err(_) => wrong.push(format!("{path}:{}: \"{line}\" is no prefix", number + 1)),
        }
    }
    if !wrong.is_empty() {
        let more = wrong.len().saturating_sub(NAMED_MAX);
        wrong.truncate(NAMED_MAX);
        if more > 0 {
            wrong.push(format!("and {more} more"));
        }
        let title = format!("there are mistakes in \"{path}\"");
        let error = Diagnostic::new("E149", spot.at, title).note(wrong.remove(0));
        out.push(error.help(wrong.join("\n")));
    }
    found
}

pub(super) fn cors(section: &Section<'_>, out: &mut Diagnostics) -> Option<Setting> {
    let cors = section.section("cors", keys::CORS, out)?;
    if cors.entry("origins").is_none() && !out.is_torn() {
        let error = Diagnostic::new("E107", cors.at, "`origins` is missing");
        out.push(error.note("such as origins = [\"https://example.com\"]"));
    }
    let origins = cors.texts("origins", false, out)?;
    let credentials = cors.bool("credentials", out).unwrap_or_default();
    let any = origins.iter().find(|spot| spot.value == "*").map(|spot| spot.at);
    if let (Some(at), true) = (any, credentials) {
        let error = Diagnostic::new("E152", at, "any page could act for whoever visits it");
        out.push(error.note("with `credentials`, name the origins"));
    }
    let named: Vec<&Spot<&str>> = origins.iter().filter(|spot| spot.value != "*").collect();
    for spot in &named {
        check_origin(spot, out);
    }
    let names = |key: &str, out: &mut Diagnostics| {
        let list = cors.texts(key, true, out)?;
        let good = list.iter().filter(|spot| {
            let is_good = is_token(spot.value.as_bytes());
            if !is_good {
                let title = format!("`{}` is no name", spot.value);
                out.push(Diagnostic::new("E135", spot.at, title));
            }
            is_good
        });
        Some(good.map(|spot| spot.value.to_owned()).collect::<Vec<_>>())
    };
    let headers = names("headers", out).unwrap_or_default();
    Some(Setting::Cors(Box::new(CorsSource {
        any: any.is_some(),
        origins: named.iter().map(|spot| OriginPattern::new(spot.value)).collect(),
        methods: names("methods", out),
        headers: (!headers.iter().any(|name| name == "*")).then(|| headers.join(", ")),
        expose: names("expose", out).unwrap_or_default().join(", "),
        credentials,
        max_age: cors.time("max_age", out).unwrap_or(Duration::from_secs(600)),
    })))
}

fn check_origin(spot: &Spot<&str>, out: &mut Diagnostics) {
    let text = spot.value;
    let rest = text.split_once("://").map(|(scheme, rest)| (is_token(scheme.as_bytes()), rest));
    let fault = match rest {
        _ if text == "null" => None,
        None => Some("an origin has a scheme"),
        Some((false, _)) => Some("this is no origin"),
        Some((_, rest)) if rest.contains(['/', '?', '#', '@']) || rest.is_empty() => {
            Some("an origin is a scheme and a host, with its port")
        }
        Some((_, rest)) => match rest.strip_prefix("*.").unwrap_or(rest) {
            host if host.contains('*') => Some("`*` stands for the first labels only"),
            host if super::address::authority(host).is_err() => Some("this is no origin"),
            _ => None,
        },
    };
    if let Some(title) = fault {
        let error = Diagnostic::new("E153", spot.at, title);
        out.push(error.note("such as \"https://example.com\" or \"https://*.example.com\""));
    }
}

/// A table, or a list of them; a text stands for its first key.
fn tables<'t>(
    section: &Section<'t>,
    name: &str,
    keys: &'static [Key],
    out: &mut Diagnostics,
) -> Option<Vec<(&'t Node, Option<Section<'t>>)>> {
    let node = section.node(name)?;
    let one = |node: &'t Node, out: &mut Diagnostics| match &node.value {
        Value::Table(table) => (node, Some(Section::open(table, node.at, keys, out))),
        _ => (node, None),
    };
    match &node.value {
        Value::List(list) if list.is_empty() || list.len() > LIMITS_MAX => {
            let error = Diagnostic::new("E106", node.at, "this is out of its range");
            out.push(error.note("from 1 to 16 limits"));
            None
        }
        Value::List(list) => Some(list.iter().map(|node| one(node, out)).collect()),
        _ => Some(vec![one(node, out)]),
    }
}

pub(super) fn rate_limits(
    section: &Section<'_>,
    keys: &'static [Key],
    out: &mut Diagnostics,
) -> Option<Vec<RateLimit>> {
    let tables = tables(section, "rate_limit", keys, out)?;
    let limits: Vec<_> = tables.iter().filter_map(|(node, s)| rate_limit(node, s, out)).collect();
    (limits.len() == tables.len()).then_some(limits)
}

fn rate_limit(
    node: &Node,
    section: &Option<Section<'_>>,
    out: &mut Diagnostics,
) -> Option<RateLimit> {
    let Some(section) = section else {
        let rate = super::reader::rate(node, out)?;
        return Some(RateLimit::plain(node.at, rate));
    };
    if section.entry("rate").is_none() && !out.is_torn() {
        let error = Diagnostic::new("E107", section.at, "`rate` is missing");
        out.push(error.note("such as rate = \"10/s\""));
    }
    let rate = section.node("rate").and_then(|node| super::reader::rate(node, out));
    let per = match section.has_key("per") && section.entry("per").is_some() {
        true => per(section, out),
        false => Some(vec![Per::Client]),
    };
    let burst = section.count("burst", out);
    let cost = section.count("cost", out).unwrap_or(1) as u32;
    let dry_run = section.bool("dry_run", out).unwrap_or_default();
    let refuse_when_full = section.word("when_full", out) == Some("refuse");
    let limit = RateLimit {
        per: per?,
        burst,
        cost,
        dry_run,
        refuse_when_full,
        ..RateLimit::plain(section.at, rate?)
    };
    if u64::from(limit.cost) > limit.burst() {
        let error = Diagnostic::new("E106", limit.at, "nothing would pass");
        out.push(error.note("`cost` is more than `burst`"));
        return None;
    }
    Some(limit)
}

fn per(section: &Section<'_>, out: &mut Diagnostics) -> Option<Vec<Per>> {
    let list = section.texts("per", false, out)?;
    let mut found = Vec::new();
    for spot in &list {
        let named = |prefix: &str| spot.value.strip_prefix(prefix).filter(|n| !n.is_empty());
        let per = match spot.value {
            "client" => Some(Per::Client),
            "consumer" => Some(Per::Consumer),
            "route" => Some(Per::Route),
            _ => match (named("header:"), named("claim:")) {
                (Some(name), _) if fields::check_field_name(name, spot.at, true, out) => {
                    Some(Per::Header(EditName::new(name)))
                }
                (Some(_), _) => return None,
                (_, Some(name)) => Some(Per::Claim(name.into())),
                _ => None,
            },
        };
        match per {
            Some(per) if !found.contains(&per) => found.push(per),
            Some(_) => {}
            None => {
                let title = format!("a limit can't count by \"{}\"", spot.value);
                let error = Diagnostic::new("E103", spot.at, title);
                out.push(error.note(
                    "\"client\", \"consumer\", \"route\", \"header:NAME\" or \"claim:NAME\"",
                ));
                return None;
            }
        }
    }
    Some(found)
}

pub(super) fn concurrency(
    section: &Section<'_>,
    keys: &'static [Key],
    out: &mut Diagnostics,
) -> Option<Vec<Concurrency>> {
    let tables = tables(section, "concurrency", keys, out)?;
    let mut limits = Vec::new();
    for (node, section) in &tables {
        let Some(section) = section else {
            match &node.value {
                Value::Integer(count) if (1..=65_535).contains(count) => {
                    limits.push(Concurrency::plain(node.at, *count as u32));
                }
                _ => out.push(wrong_type(node, "a table or a number from 1 to 65535")),
            }
            continue;
        };
        if section.entry("limit").is_none() && !out.is_torn() {
            let error = Diagnostic::new("E107", section.at, "`limit` is missing");
            out.push(error.note("such as limit = 100"));
        }
        let limit = section.count("limit", out);
        let per = match section.has_key("per").then(|| section.word("per", out)).flatten() {
            Some("consumer") => PerRequests::Consumer,
            Some("upstream") => PerRequests::Upstream,
            _ => PerRequests::Route,
        };
        let queue = section.count("queue", out).unwrap_or(0) as u32;
        let wait = section.time("wait", out).unwrap_or(Duration::from_secs(1));
        if let Some(limit) = limit {
            let plain = Concurrency::plain(section.at, limit as u32);
            limits.push(Concurrency { per, queue, wait, ..plain });
        }
    }
    (limits.len() == tables.len()).then_some(limits)
}
