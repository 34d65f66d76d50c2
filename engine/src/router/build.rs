//! From rules to the frozen router.

use super::conflict::{conflicts_among, overlaps_among};
use super::host::{self, Hosts};
use super::pattern::{self, Piece};
use super::predicate::Collector;
use super::trie::Drafts;
use super::{PatternError, Router, Rule};

/// Why rules make no router. Indexes are those of the rules as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// `at` is the byte in the rule's path.
    BadPattern { rule: usize, reason: PatternError, at: usize },
    /// Two rules want the same requests of this host (empty: of any). `first < second`.
    Conflict { first: usize, second: usize, host: String },
}

/// What is made of rules.
#[derive(Debug)]
pub struct Survey {
    /// The router, or everything that is wrong: bad patterns first, then conflicts.
    pub router: Result<Router, Vec<Problem>>,
    /// As [`overlaps`](super::overlaps) tells.
    pub overlaps: Vec<(usize, usize)>,
}

/// The router of these rules, or everything that is wrong with them. A rule without a route id
/// gets its index as one.
///
/// Linear in the rules' text but for sorting; runs on the control thread.
pub fn build(rules: &[Rule]) -> Result<Router, Vec<Problem>> {
    survey(rules).router
}

/// As `build`, and which rules can want the same request.
///
/// Fast path: only rules that share a place (one host's one path) are compared.
pub fn survey(rules: &[Rule]) -> Survey {
    let mut problems = Vec::new();
    let mut drafts = Drafts::default();
    let mut hosts = Hosts::default();
    let mut crowded = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        let pieces = match pattern::pieces(&rule.path) {
            Ok(pieces) => pieces,
            Err((reason, at)) => {
                problems.push(Problem::BadPattern { rule: i, reason, at });
                continue;
            }
        };
        for host in hosts_of(rule) {
            let root = hosts.root_or(&host, || drafts.run());
            let place = place(&mut drafts, root, &pieces);
            place.push(i as u32);
            match place.as_slice() {
                [first, _] => crowded.extend([*first as usize, i]),
                [_, _, ..] => crowded.push(i),
                _ => {}
            }
        }
    }
    crowded.sort_unstable();
    crowded.dedup();
    problems.extend(conflicts_among(rules, crowded.iter().copied()));
    let overlaps = overlaps_among(rules, &crowded);
    if !problems.is_empty() {
        return Survey { router: Err(problems), overlaps };
    }
    let mut collector = Collector::default();
    let trie = drafts.freeze(hosts.roots_mut(), |indexes| collector.place(rules, indexes));
    Survey { router: Ok(Router { hosts, trie, predicates: collector.finish() }), overlaps }
}

/// The rules of one host's one path.
fn place<'d>(drafts: &'d mut Drafts, root: u32, pieces: &[Piece<'_>]) -> &'d mut Vec<u32> {
    let mut at = root;
    for piece in pieces {
        match piece {
            Piece::Static(text) => at = drafts.below(at, text.as_bytes()),
            Piece::Param(_) => at = drafts.param(at),
            Piece::Rest(_) => return &mut drafts.node_mut(at).rest,
        }
    }
    &mut drafts.node_mut(at).exact
}

/// Each host of a rule once, as it is compared; `""` when it has none.
pub(super) fn hosts_of(rule: &Rule) -> Vec<String> {
    let mut hosts: Vec<String> = rule.hosts.iter().map(|host| host::normal(host)).collect();
    hosts.sort_unstable();
    hosts.dedup();
    if hosts.is_empty() {
        hosts.push(String::new());
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let rule = |path: &str| Rule { path: path.to_owned(), ..Rule::default() };
        let rules = [rule("/a"), rule("/a//"), rule("/{x}"), rule("b"), rule("/{y}")];
        let expect = vec![
            Problem::BadPattern { rule: 1, reason: PatternError::EmptySegment, at: 3 },
            Problem::BadPattern { rule: 3, reason: PatternError::NoLeadingSlash, at: 0 },
            Problem::Conflict { first: 2, second: 4, host: String::new() },
        ];
        assert_eq!(build(&rules).map(|_| ()), Err(expect));
    }

    #[test]
    fn no_rules_make_a_router_that_finds_nothing() {
        assert_eq!(build(&[]).map(|router| router.heap_bytes()), Ok(0));
    }
}
