//! Rules that want the same requests.

use std::cmp::Ordering;
use std::collections::HashMap;

use ahash::RandomState;

use super::build::{Problem, hosts_of};
use super::pattern::{Piece, pieces};
use super::predicate::Normal;
use super::{Rule, ValuePattern};

/// Rules after one rule, in the order of their conditions, that `overlaps` compares it with.
const NEIGHBOURS_MAX: usize = 32;

/// Every rule that has the same host, path and conditions as one before it; names of params
/// don't tell them apart. Each is reported beside the first of its kind, once, with the first host
/// they share. Rules with bad paths are passed over.
///
/// Linear: one hash per rule and host.
pub fn conflicts(rules: &[Rule]) -> Vec<Problem> {
    conflicts_among(rules, 0..rules.len())
}

/// As `conflicts`, among some of the rules.
pub(super) fn conflicts_among(rules: &[Rule], some: impl Iterator<Item = usize>) -> Vec<Problem> {
    let mut kinds: HashMap<(String, Normal<'_>), u32, RandomState> = HashMap::default();
    let mut firsts: HashMap<(String, u32), usize, RandomState> = HashMap::default();
    let mut found = Vec::new();
    for second in some {
        let rule = &rules[second];
        let Some(shape) = shape(&rule.path) else { continue };
        let fresh = kinds.len() as u32;
        let kind = *kinds.entry((shape, asked(rule))).or_insert(fresh);
        let mut partners: Vec<usize> = Vec::new();
        for host in hosts_of(rule) {
            let first = *firsts.entry((host.clone(), kind)).or_insert(second);
            if first != second && !partners.contains(&first) {
                partners.push(first);
                found.push(Problem::Conflict { first, second, host });
            }
        }
    }
    found
}

/// Pairs that share a host, a path and a method and are equally specific, whose other conditions
/// one request can fulfil together: the rule whose name sorts first gets it. Pairs are indexes,
/// the smaller first, sorted; conflicts are not among them.
///
/// Two rules that expect different values of one header or parameter count as apart, although a
/// request may carry it twice.
///
/// Near-linear: at one place rules are sorted by their conditions and compared with the next
/// `NEIGHBOURS_MAX` only. Where more rules than that stand in one place some pairs go unreported,
/// but every family of conditions meets the next one.
pub fn overlaps(rules: &[Rule]) -> Vec<(usize, usize)> {
    let all: Vec<usize> = (0..rules.len()).collect();
    overlaps_among(rules, &all)
}

/// As `overlaps`, among some of the rules.
pub(super) fn overlaps_among(rules: &[Rule], some: &[usize]) -> Vec<(usize, usize)> {
    let normals: Vec<Normal<'_>> = some.iter().map(|i| asked(&rules[*i])).collect();
    let mut shapes: HashMap<String, u32, RandomState> = HashMap::default();
    let mut places: HashMap<(String, u32), Vec<usize>, RandomState> = HashMap::default();
    for (i, rule) in some.iter().map(|i| &rules[*i]).enumerate() {
        let Some(shape) = shape(&rule.path) else { continue };
        let fresh = shapes.len() as u32;
        let shape = *shapes.entry(shape).or_insert(fresh);
        for host in hosts_of(rule) {
            places.entry((host, shape)).or_default().push(i);
        }
    }
    let mut found = Vec::new();
    for place in places.values_mut().filter(|place| place.len() > 1) {
        place.sort_by(|a, b| by_rank(&normals[*a], &normals[*b]).then(a.cmp(b)));
        for (i, a) in place.iter().enumerate() {
            for b in place[i + 1..].iter().take(NEIGHBOURS_MAX) {
                if normals[*a].rank() != normals[*b].rank() {
                    break;
                }
                if normals[*a] != normals[*b] && may_meet(&normals[*a], &normals[*b]) {
                    found.push((some[*a.min(b)], some[*a.max(b)]));
                }
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// What a rule asks for; `GET` takes in `HEAD`, so that naming both asks for nothing more.
fn asked(rule: &Rule) -> Normal<'_> {
    let mut normal = Normal::of(rule);
    if normal.methods.contains(&"GET") {
        normal.methods.retain(|method| *method != "HEAD");
    }
    normal
}

fn by_rank(a: &Normal<'_>, b: &Normal<'_>) -> Ordering {
    a.rank().cmp(&b.rank()).then_with(|| a.cmp(b))
}

/// The path without the names of its params; `None` for a bad one.
fn shape(path: &str) -> Option<String> {
    let pieces = pieces(path).ok()?;
    let text = pieces.into_iter().map(|piece| match piece {
        Piece::Static(text) => text,
        Piece::Param(_) => "/{}",
        Piece::Rest(_) => "/*",
    });
    Some(text.collect())
}

fn may_meet(a: &Normal<'_>, b: &Normal<'_>) -> bool {
    let both = |x: &Normal<'_>, y: &Normal<'_>| {
        // Of two rules for HEAD the one that names it goes first; who wrote the other may not know.
        x.methods.contains(&"GET") && y.methods.contains(&"HEAD")
    };
    let has_method = a.methods.is_empty()
        || a.methods.iter().any(|method| b.methods.contains(method))
        || both(a, b)
        || both(b, a);
    let is_apart = |x: &ValuePattern, y: &ValuePattern| match (x, y) {
        (ValuePattern::Exact(x), ValuePattern::Exact(y)) => x != y,
        (ValuePattern::Exact(x), ValuePattern::Prefix(y))
        | (ValuePattern::Prefix(y), ValuePattern::Exact(x)) => !x.starts_with(y.as_str()),
        (ValuePattern::Prefix(x), ValuePattern::Prefix(y)) => {
            !x.starts_with(y.as_str()) && !y.starts_with(x.as_str())
        }
        _ => false,
    };
    let by_header = a
        .headers
        .iter()
        .any(|(name, x)| b.headers.iter().any(|(other, y)| name == other && is_apart(x, y)));
    let by_query = a
        .query
        .iter()
        .any(|(name, x)| b.query.iter().any(|(other, y)| name == other && is_apart(x, y)));
    has_method && !by_header && !by_query
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    /// `name` or `name=value`, where the value may be `*` or end in it.
    fn conditions(pairs: Pairs<'_>) -> Vec<(String, ValuePattern)> {
        let value = |text: &str| match text.strip_suffix('*') {
            Some("") => ValuePattern::Present,
            Some(prefix) => ValuePattern::Prefix(prefix.to_owned()),
            None => ValuePattern::Exact(text.to_owned()),
        };
        pairs.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect()
    }

    fn rule(hosts: &[&str], methods: &[&str], path: &str, headers: Pairs<'_>) -> Rule {
        Rule {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            path: path.to_owned(),
            headers: conditions(headers),
            ..Rule::default()
        }
    }

    fn conflict(a: &Rule, b: &Rule) -> Option<String> {
        let mut found = conflicts(&[a.clone(), b.clone()]);
        assert!(found.len() <= 1, "{found:?}");
        found.pop().map(|problem| match problem {
            Problem::Conflict { first: 0, second: 1, host } => host,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn equal_conditions_conflict_and_their_neighbours_do_not() {
        let base = rule(&["a.example", "b.example"], &["GET"], "/u/{id}", &[("X", "1")]);
        let same = [
            rule(&["b.example"], &["GET"], "/u/{name}", &[("x", "1")]),
            rule(&["c.example", "B.example."], &["GET", "GET"], "/u/{id}", &[("x", "1")]),
            rule(&["b.example"], &["GET"], "/u/{id}", &[("x", "1"), ("X", "1")]),
            // GET takes in HEAD.
            rule(&["b.example"], &["HEAD", "GET"], "/u/{id}", &[("x", "1")]),
        ];
        for rule in &same {
            assert_eq!(conflict(&base, rule).as_deref(), Some("b.example"), "{rule:?}");
        }
        let apart = [
            rule(&["c.example"], &["GET"], "/u/{id}", &[("x", "1")]),
            rule(&["*.b.example"], &["GET"], "/u/{id}", &[("x", "1")]),
            rule(&[], &["GET"], "/u/{id}", &[("x", "1")]),
            rule(&["b.example"], &["GET", "POST"], "/u/{id}", &[("x", "1")]),
            rule(&["b.example"], &["HEAD"], "/u/{id}", &[("x", "1")]),
            rule(&["b.example"], &[], "/u/{id}", &[("x", "1")]),
            rule(&["b.example"], &["GET"], "/u/*", &[("x", "1")]),
            rule(&["b.example"], &["GET"], "/u/{id}/", &[("x", "1")]),
            rule(&["b.example"], &["GET"], "/u/{id}", &[("x", "2")]),
            rule(&["b.example"], &["GET"], "/u/{id}", &[("x", "1*")]),
            rule(&["b.example"], &["GET"], "/u/{id}", &[]),
        ];
        for rule in &apart {
            assert_eq!(conflict(&base, rule), None, "{rule:?}");
        }
        let rest = rule(&[], &[], "/u/*", &[]);
        assert_eq!(conflict(&rest, &rule(&[], &[], "/u/{*r}", &[])).as_deref(), Some(""));
    }

    #[test]
    fn conditions_that_one_request_can_fulfil_together_overlap() {
        let rows: [(Rule, Rule, bool); 15] = [
            (rule(&[], &[], "/a", &[("x", "1")]), rule(&[], &[], "/a", &[("y", "1")]), true),
            (rule(&[], &[], "/a", &[("x", "1")]), rule(&[], &[], "/a", &[("x", "2")]), false),
            (rule(&[], &[], "/a", &[("x", "1")]), rule(&[], &[], "/a", &[("x", "*")]), true),
            (rule(&[], &[], "/a", &[("x", "12")]), rule(&[], &[], "/a", &[("x", "1*")]), true),
            (rule(&[], &[], "/a", &[("x", "2")]), rule(&[], &[], "/a", &[("x", "1*")]), false),
            (rule(&[], &[], "/a", &[("x", "1*")]), rule(&[], &[], "/a", &[("x", "12*")]), true),
            (rule(&[], &[], "/a", &[("x", "1")]), rule(&[], &[], "/b", &[("y", "1")]), false),
            // The one with more headers is more specific: no tie.
            (rule(&[], &[], "/a", &[("x", "1")]), rule(&[], &[], "/a", &[]), false),
            (rule(&[], &["GET"], "/a", &[]), rule(&[], &["GET", "PUT"], "/a", &[]), true),
            (rule(&[], &["GET"], "/a", &[]), rule(&[], &["HEAD", "PUT"], "/a", &[]), true),
            (rule(&[], &["GET"], "/a", &[]), rule(&[], &["HEAD"], "/a", &[]), true),
            (rule(&[], &["PUT"], "/a", &[]), rule(&[], &["HEAD"], "/a", &[]), false),
            // The same requests: a conflict, not an overlap.
            (rule(&[], &["GET"], "/a", &[]), rule(&[], &["GET", "HEAD"], "/a", &[]), false),
            (rule(&[], &["GET"], "/a", &[]), rule(&[], &[], "/a", &[]), false),
            (rule(&["h"], &["GET"], "/a", &[]), rule(&[], &["GET", "PUT"], "/a", &[]), false),
        ];
        for (a, b, expect) in rows {
            let expect: &[(usize, usize)] = if expect { &[(0, 1)] } else { &[] };
            assert_eq!(overlaps(&[a.clone(), b.clone()]), expect, "{a:?} {b:?}");
            assert_eq!(overlaps(&[b, a]), expect);
        }
    }

    #[test]
    fn families_of_conditions_meet_however_many_rules_there_are() {
        let of = |name: &str, i: usize| rule(&[], &[], "/a", &[(name, &i.to_string())]);
        let rules: Vec<Rule> =
            (0..500).map(|i| of("x", i)).chain((0..500).map(|i| of("y", i))).collect();
        assert!(!overlaps(&rules).is_empty());
        assert!(overlaps(&rules[..500]).is_empty());
    }
}
