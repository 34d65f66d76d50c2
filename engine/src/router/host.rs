//! Which levels of hosts a request falls into, the narrowest first: the exact host, the longest
//! `*.suffix` and so on to the shortest, then the rules without hosts.

use std::collections::HashMap;

use ahash::RandomState;

/// Longer hosts match only rules without hosts (DNS names have at most 253 bytes, RFC 1035 §2.3.4).
pub(super) const HOST_BYTES_MAX: usize = 256;

type Table = HashMap<Box<[u8]>, u32, RandomState>;

/// From a host to the root of its trie.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: Table,
    /// By what follows `*.`.
    suffixes: Table,
    /// Labels of the longest suffix: no more suffixes of a host than that are looked up, so that
    /// a host of 128 labels costs what the configuration allows.
    labels_max: usize,
    any: Option<u32>,
}

impl Hosts {
    /// The root for a host as a rule writes it, `""` for any; `fresh` makes it when it is new.
    pub(super) fn root_or(&mut self, host: &str, fresh: impl FnOnce() -> u32) -> u32 {
        if host.is_empty() {
            return *self.any.get_or_insert_with(fresh);
        }
        if let Some(suffix) = host.strip_prefix("*.") {
            self.labels_max = self.labels_max.max(suffix.split('.').count());
            return *self.suffixes.entry(suffix.as_bytes().into()).or_insert_with(fresh);
        }
        *self.exact.entry(host.as_bytes().into()).or_insert_with(fresh)
    }

    /// Every root, to be replaced by where it is now.
    pub(super) fn roots_mut(&mut self) -> impl Iterator<Item = &mut u32> {
        self.exact.values_mut().chain(self.suffixes.values_mut()).chain(&mut self.any)
    }

    /// Offers the roots of all levels that `host` falls into, the narrowest first, until `take`
    /// is content with one.
    #[inline]
    pub(super) fn any_root(&self, host: Option<&[u8]>, mut take: impl FnMut(u32) -> bool) -> bool {
        if let Some(host) = host
            && !(self.exact.is_empty() && self.suffixes.is_empty())
            && self.any_named(host, &mut take)
        {
            return true;
        }
        self.any.is_some_and(take)
    }

    fn any_named(&self, host: &[u8], take: &mut impl FnMut(u32) -> bool) -> bool {
        let host = host.strip_suffix(b".").unwrap_or(host);
        if host.len() > HOST_BYTES_MAX {
            return false;
        }
        let mut lower = [0; HOST_BYTES_MAX];
        let host = if host.iter().any(u8::is_ascii_uppercase) {
            let lower = &mut lower[..host.len()];
            lower.copy_from_slice(host);
            lower.make_ascii_lowercase();
            &*lower
        } else {
            host
        };
        if !self.exact.is_empty()
            && let Some(&root) = self.exact.get(host)
            && take(root)
        {
            return true;
        }
        if self.suffixes.is_empty() {
            return false;
        }
        let dots = || host.iter().enumerate().filter(|(_, b)| **b == b'.').map(|(at, _)| at);
        let surplus = dots().count().saturating_sub(self.labels_max);
        dots()
            .skip(surplus)
            .filter(|&at| at > 0)
            .any(|at| self.suffixes.get(&host[at + 1..]).is_some_and(|&root| take(root)))
    }

    /// Estimate: a map's slots with one byte of control each, and the keys.
    pub(super) fn heap_bytes(&self) -> usize {
        let slot = size_of::<(Box<[u8]>, u32)>() + 1;
        let table = |table: &Table| {
            let slots = if table.is_empty() { 0 } else { table.capacity() * 8 / 7 };
            slots * slot + table.keys().map(|key| key.len()).sum::<usize>()
        };
        table(&self.exact) + table(&self.suffixes)
    }
}

/// A rule's host as it is compared: lower case, without the dot at its end.
pub(super) fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(list: &[&str]) -> Hosts {
        let mut hosts = Hosts::default();
        for (i, host) in list.iter().enumerate() {
            hosts.root_or(host, || i as u32);
        }
        hosts
    }

    fn levels(hosts: &Hosts, host: Option<&[u8]>) -> Vec<u32> {
        let mut levels = Vec::new();
        hosts.any_root(host, |root| {
            levels.push(root);
            false
        });
        levels
    }

    #[test]
    fn levels_come_from_the_narrowest_to_the_widest() {
        let hosts = hosts(&["", "*.example.com", "*.a.example.com", "b.a.example.com", "*.com"]);
        let rows: &[(&str, &[u32])] = &[
            ("b.a.example.com", &[3, 2, 1, 4, 0]),
            ("c.a.example.com", &[2, 1, 4, 0]),
            ("x.y.z.c.a.example.com", &[2, 1, 4, 0]),
            ("a.example.com", &[1, 4, 0]),
            ("example.com", &[4, 0]),
            ("xexample.com", &[4, 0]),
            ("com", &[0]),
            (".com", &[0]),
            ("B.A.eXample.COM", &[3, 2, 1, 4, 0]),
            ("b.a.example.com.", &[3, 2, 1, 4, 0]),
            ("b.a.example.com..", &[0]),
            ("[::1]", &[0]),
            ("", &[0]),
        ];
        for (host, expect) in rows {
            assert_eq!(levels(&hosts, Some(host.as_bytes())), *expect, "{host}");
        }
        assert_eq!(levels(&hosts, None), [0]);
    }

    #[test]
    fn a_host_of_256_bytes_is_known_and_one_of_257_is_not() {
        let longest = "a".repeat(HOST_BYTES_MAX);
        let longer = "a".repeat(HOST_BYTES_MAX + 1);
        let hosts = hosts(&["", &longest, &longer]);
        assert_eq!(levels(&hosts, Some(longest.to_uppercase().as_bytes())), [1, 0]);
        assert_eq!(levels(&hosts, Some(longer.as_bytes())), [0]);
    }
}
