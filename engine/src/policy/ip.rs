//! Which addresses may call: the longest prefix of both lists counts.
//!
//! The lists become boundaries of ranges when the configuration compiles, so that a look-up is one
//! binary search: 17 steps for 100,000 prefixes.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Phase, Policy, Refusal, RequestCx, Verdict};
use crate::http::forwarded::Prefix;

/// Addresses that may and may not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct IpFilter {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    /// What holds for an address of no list: without an `allow` list everyone may.
    others: bool,
    prefixes: usize,
}

/// From each start to the next, one answer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ranges<A> {
    starts: Box<[A]>,
    /// `None`: no prefix holds it.
    allows: Box<[Option<bool>]>,
}

/// One prefix of a list as a range.
#[derive(Debug, Clone, Copy)]
struct Range {
    first: u128,
    last: u128,
    allows: bool,
}

impl IpFilter {
    /// The same, and who is in no list may not.
    pub fn closed(self) -> IpFilter {
        IpFilter { others: false, ..self }
    }

    pub fn new(allow: &[Prefix], deny: &[Prefix]) -> IpFilter {
        let all = || {
            let allowed = allow.iter().map(|prefix| (prefix, true));
            allowed.chain(deny.iter().map(|prefix| (prefix, false)))
        };
        let of = |is_v4: bool| {
            let same = all().filter(|(prefix, _)| prefix.address.is_ipv4() == is_v4);
            flatten(same.map(|(prefix, allows)| range(prefix, allows)).collect())
        };
        let (mut v4, v6) = (of(true), of(false));
        v4.retain(|(start, _)| *start <= u128::from(u32::MAX)); // behind the last address
        let narrow = |(start, _): &(u128, Option<bool>)| *start as u32;
        IpFilter {
            v4: Ranges {
                starts: v4.iter().map(narrow).collect(),
                allows: v4.iter().map(|(_, allows)| *allows).collect(),
            },
            v6: Ranges {
                starts: v6.iter().map(|(start, _)| *start).collect(),
                allows: v6.iter().map(|(_, allows)| *allows).collect(),
            },
            others: allow.is_empty(),
            prefixes: allow.len() + deny.len(),
        }
    }

    /// Whether an address may. IPv4 addresses in IPv6 clothes count as IPv4.
    pub fn allows(&self, ip: IpAddr) -> bool {
        let found = match ip.to_canonical() {
            IpAddr::V4(ip) => self.v4.find(u32::from(ip)),
            IpAddr::V6(ip) => self.v6.find(u128::from(ip)),
        };
        found.unwrap_or(self.others)
    }
}

impl<A: Copy + PartialOrd> Ranges<A> {
    #[inline]
    fn find(&self, at: A) -> Option<bool> {
        let after = self.starts.partition_point(|start| *start <= at);
        self.allows[after.checked_sub(1)?]
    }
}

fn range(prefix: &Prefix, allows: bool) -> Range {
    let (first, width) = match prefix.address {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    let free = width - u32::from(prefix.bits);
    let rest = 1u128.checked_shl(free).map_or(u128::MAX, |n| n - 1);
    Range { first, last: first | rest, allows }
}

/// Boundaries with the answer of the longest prefix behind each. Prefixes nest or are apart.
fn flatten(mut ranges: Vec<Range>) -> Vec<(u128, Option<bool>)> {
    ranges.sort_by_key(|range| (range.first, std::cmp::Reverse(range.last)));
    let mut found: Vec<(u128, Option<bool>)> = Vec::with_capacity(ranges.len() * 2);
    let mut around: Vec<Range> = Vec::new();
    let put = |found: &mut Vec<(u128, Option<bool>)>, start: u128, allows| match found.last_mut() {
        Some(last) if last.0 == start => last.1 = allows,
        Some(last) if last.1 == allows => {}
        _ => found.push((start, allows)),
    };
    for range in ranges {
        while let Some(ended) = around.pop_if(|wide| wide.last < range.first) {
            put(&mut found, ended.last + 1, around.last().map(|wide| wide.allows));
        }
        put(&mut found, range.first, Some(range.allows));
        around.push(range);
    }
    while let Some(ended) = around.pop() {
        if let Some(next) = ended.last.checked_add(1) {
            put(&mut found, next, around.last().map(|wide| wide.allows));
        }
    }
    found
}

/// One table of lists, shared by the routes that it holds for.
#[derive(Debug)]
pub struct Ip {
    lists: Arc<IpFilter>,
}

impl Ip {
    pub fn new(lists: Arc<IpFilter>) -> Ip {
        Ip { lists }
    }
}

impl Policy for Ip {
    const KEY: &'static str = "ip";

    fn phase(&self) -> Phase {
        Phase::Guard
    }

    /// Who comes over a unix socket has no address, and is on this machine.
    fn on_request(&self, cx: &mut RequestCx<'_>) -> Verdict {
        match cx.client {
            Some(ip) if !self.lists.allows(ip) => Verdict::Refuse(Refusal::ADDRESS),
            _ => Verdict::Pass,
        }
    }

    fn tell(&self, out: &mut String) {
        let others = if self.lists.others { "others may" } else { "others may not" };
        let _ = write!(out, "ip {} prefixes, {others}", self.lists.prefixes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn prefix(text: &str) -> Prefix {
        let (address, bits) = text.split_once('/').expect("a prefix");
        Prefix { address: address.parse().expect("an address"), bits: bits.parse().expect("bits") }
    }

    fn filter(allow: &[&str], deny: &[&str]) -> IpFilter {
        let list = |texts: &[&str]| texts.iter().map(|text| prefix(text)).collect::<Vec<_>>();
        IpFilter::new(&list(allow), &list(deny))
    }

    #[test]
    fn the_longest_prefix_counts() {
        let nested = filter(&["10.0.0.0/8", "10.1.2.3/32", "2001:db8::/32"], &["10.1.0.0/16"]);
        let rows = [
            ("10.0.0.1", true),
            ("10.1.0.1", false),
            ("10.1.2.3", true),
            ("10.1.2.4", false),
            ("10.2.0.0", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("::ffff:10.0.0.1", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
        ];
        for (ip, expect) in rows {
            assert_eq!(nested.allows(ip.parse().expect("an address")), expect, "{ip}");
        }
        let denied = filter(&[], &["0.0.0.0/1", "255.255.255.255/32", "ffff::/16"]);
        let rows = [
            ("1.2.3.4", false),
            ("128.0.0.0", true),
            ("255.255.255.255", false),
            ("255.255.255.254", true),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false),
            ("fffe::", true),
        ];
        for (ip, expect) in rows {
            assert_eq!(denied.allows(ip.parse().expect("an address")), expect, "{ip}");
        }
        let everyone = filter(&["0.0.0.0/0", "::/0"], &["192.0.2.0/24"]);
        assert!(everyone.allows("::1".parse().expect("an address")));
        assert!(!everyone.allows("192.0.2.9".parse().expect("an address")));
    }

    /// Against a walk over all prefixes, in a narrow space where they nest often.
    #[test]
    fn ranges_say_what_a_walk_says() {
        let mut rng = Rng::from_u64(3);
        for _ in 0..300 {
            let mut lists = [Vec::new(), Vec::new()];
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..rng.below(12) {
                let bits = 20 + rng.below(13) as u8;
                let mask = u32::MAX << (32 - u32::from(bits));
                let start = rng.below(1 << 12) & mask;
                if seen.insert((start, bits)) {
                    let address = IpAddr::V4(start.into());
                    lists[rng.below(2) as usize].push(Prefix { address, bits });
                }
            }
            let filter = IpFilter::new(&lists[0], &lists[1]);
            for at in 0..1 << 12 {
                let ip = IpAddr::V4(at.into());
                let longest = |list: &[Prefix]| {
                    list.iter().filter(|p| p.contains(ip)).map(|p| i16::from(p.bits)).max()
                };
                let (yes, no) = (longest(&lists[0]), longest(&lists[1]));
                let expect = if yes == no { lists[0].is_empty() } else { yes > no };
                assert_eq!(filter.allows(ip), expect, "{ip} {lists:?}");
            }
        }
    }
}
