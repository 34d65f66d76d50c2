//! From rules to the frozen router.

use super::host::{self, Hosts};
use super::pattern::{self, Piece};
use super::predicate::Collector;
use super::trie::Drafts;
use super::{PatternError, Router, Rule, conflicts};

/// Why rules make no router. Indexes are those of the rules as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// `at` is the byte in the rule's path.
    BadPattern { rule: usize, reason: PatternError, at: usize },
    /// Two rules want the same requests of this host (empty: of any). `first < second`.
    Conflict { first: usize, second: usize, host: String },
}

/// The router of these rules, or everything that is wrong with them: bad patterns first, then
/// conflicts. A rule without a route id gets its index as one.
///
/// Linear in the rules' text but for sorting; runs on the control thread.
pub fn build(rules: &[Rule]) -> Result<Router, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut drafts = Drafts::default();
    let mut hosts = Hosts::default();
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
            insert(&mut drafts, root, &pieces, i as u32);
        }
    }
    problems.extend(conflicts(rules));
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut collector = Collector::default();
    let trie = drafts.freeze(hosts.roots_mut(), |indexes| collector.place(rules, indexes));
    Ok(Router { hosts, trie, predicates: collector.finish() })
}

fn insert(drafts: &mut Drafts, root: u32, pieces: &[Piece<'_>], rule: u32) {
    let mut at = root;
    for piece in pieces {
        match piece {
            Piece::Static(text) => at = drafts.below(at, text.as_bytes()),
            Piece::Param(_) => at = drafts.param(at),
            Piece::Rest(_) => return drafts.node_mut(at).rest.push(rule),
        }
    }
    drafts.node_mut(at).exact.push(rule);
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
