//! What callgrind wrote: own costs by function and source file, and who calls whom how often.
//!
//! The format is in the Valgrind manual ("Callgrind Format Specification"). Names are said once,
//! `fn=(7) name`, and are `(7)` from then on. The line after `calls=` is what the callee cost, all
//! it called included: it is no cost of the function that stands there.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Of one function: how much of it came from one source file (inlining mixes them).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    pub function: Rc<str>,
    pub file: Rc<str>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Call {
    pub caller: Rc<str>,
    pub callee: Rc<str>,
}

/// Numbers of a run, or of one exchange when two runs were compared.
#[derive(Default, Debug)]
pub struct Costs {
    pub own: BTreeMap<Place, f64>,
    pub calls: BTreeMap<Call, f64>,
}

/// Names by their numbers.
#[derive(Default)]
struct Names(HashMap<u32, Rc<str>>);

impl Names {
    /// `(7) name` says a name, `(7)` repeats it; without a number it is itself.
    fn read(&mut self, text: &str) -> Rc<str> {
        let numbered = text.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let Some((Ok(number), name)) = numbered.map(|(n, name)| (n.parse::<u32>(), name)) else {
            return without_cycle(text).into();
        };
        match name.trim() {
            "" => self.0.get(&number).cloned().unwrap_or_else(|| "?".into()),
            name => self.0.entry(number).or_insert(without_cycle(name).into()).clone(),
        }
    }
}

/// A function that calls itself is `name'2` further down.
fn without_cycle(name: &str) -> &str {
    match name.rsplit_once('\'') {
        Some((front, level)) if level.parse::<u32>().is_ok() => front,
        _ => name,
    }
}

/// The first event's costs; lines that are not understood are left out.
pub fn read(text: &str) -> Costs {
    let (mut files, mut functions) = (Names::default(), Names::default());
    let nobody: Rc<str> = "?".into();
    let mut place = Place { function: nobody.clone(), file: nobody.clone() };
    let mut callee = nobody;
    let mut is_inclusive = false;
    let mut costs = Costs::default();
    for line in text.lines() {
        match line.split_once('=') {
            Some(("fl" | "fi" | "fe", name)) => place.file = files.read(name),
            Some(("cfl" | "cfi", name)) => drop(files.read(name)),
            Some(("fn", name)) => place.function = functions.read(name),
            Some(("cfn", name)) => callee = functions.read(name),
            Some(("calls", counts)) => {
                let count = counts.split_whitespace().next().and_then(|c| c.parse().ok());
                let call = Call { caller: place.function.clone(), callee: callee.clone() };
                *costs.calls.entry(call).or_default() += count.unwrap_or(0.0);
                is_inclusive = true;
            }
            Some(_) => {}
            None if !line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) => {}
            None if std::mem::take(&mut is_inclusive) => {}
            None => {
                let cost = line.split_whitespace().nth(1).and_then(|c| c.parse::<f64>().ok());
                *costs.own.entry(place.clone()).or_default() += cost.unwrap_or(0.0);
            }
        }
    }
    costs
}

/// What one exchange costs, from two runs that differ by so many.
pub fn per_exchange(short: &Costs, long: &Costs, exchanges: u32) -> Costs {
    fn difference<K: Ord + Clone>(
        short: &BTreeMap<K, f64>,
        long: &BTreeMap<K, f64>,
        exchanges: u32,
    ) -> BTreeMap<K, f64> {
        let keys = short.keys().chain(long.keys());
        let of = |costs: &BTreeMap<K, f64>, key| costs.get(key).copied().unwrap_or(0.0);
        keys.map(|k| (k.clone(), (of(long, k) - of(short, k)) / f64::from(exchanges))).collect()
    }
    Costs {
        own: difference(&short.own, &long.own, exchanges),
        calls: difference(&short.calls, &long.calls, exchanges),
    }
}

impl Costs {
    pub fn total(&self) -> f64 {
        self.own.values().sum()
    }

    /// Own costs, the dearest first.
    pub fn by(&self, key: impl Fn(&Place) -> String) -> Vec<(String, f64)> {
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        for (place, cost) in &self.own {
            *sums.entry(key(place)).or_default() += cost;
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        sums
    }

    /// Calls into the allocator from outside of it: what asks for memory, and how often.
    pub fn allocations(&self) -> Vec<(&str, f64)> {
        let asks = ["malloc", "zalloc", "calloc", "realloc", "rezalloc"];
        let is_allocator = |name: &str| name.starts_with("mi_") || name.starts_with("_mi_");
        let is_ask = |name: &str| {
            let word = name.strip_prefix("mi_").unwrap_or(name);
            asks.iter().any(|ask| word.starts_with(ask) && !word.contains("usable"))
        };
        let from_outside = self.calls.iter().filter(|(call, count)| {
            **count > 0.0 && is_ask(&call.callee) && !is_allocator(&call.caller)
        });
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        for (call, count) in from_outside {
            *sums.entry(&call.caller).or_default() += count;
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "# callgrind format\nversion: 1\ncmd:  busbar run --x=y\npositions: line\n\
        events: Ir\nsummary: 999\n\nob=(1) /busbar\nfl=(1) engine/src/a.rs\nfn=(1) engine::a\n\
        16 400\n+3 50\ncfi=(2) alloc.c\ncob=(2) /lib\ncfn=(2) mi_malloc_aligned\ncalls=3 50\n\
        16 9000\nfi=(3) parser/src/b.rs\n* 7\nfe=(1)\n-2 5\n\nfl=(2)\nfn=(2)\n1 30\n\
        cfn=(3) mi_malloc_aligned'2\ncalls=1 1\n* 99\n\nfl=(3)\nfn=(4) engine::b\n9 1\n\
        totals: 493\n";

    #[test]
    fn own_costs_are_summed_by_function_and_file() {
        let costs = read(SAMPLE);
        let got: Vec<_> = costs.own.iter().map(|(p, c)| (&*p.function, &*p.file, *c)).collect();
        let expect = [
            ("engine::a", "engine/src/a.rs", 455.0),
            ("engine::a", "parser/src/b.rs", 7.0),
            ("engine::b", "parser/src/b.rs", 1.0),
            ("mi_malloc_aligned", "alloc.c", 30.0),
        ];
        assert_eq!(got, expect);
        assert_eq!(costs.total(), 493.0);
    }

    #[test]
    fn allocations_are_the_calls_from_outside() {
        assert_eq!(read(SAMPLE).allocations(), [("engine::a", 3.0)]);
    }

    #[test]
    fn an_exchange_is_the_difference_of_two_runs() {
        let short = read("fl=(1) a\nfn=(1) f\n1 100\nfn=(2) once\n1 9\n");
        let long = read("fl=(1) a\nfn=(1) f\n1 180\nfn=(2) once\n1 9\nfn=(3) g\n1 8\n");
        let costs = per_exchange(&short, &long, 8).by(|p| p.function.to_string());
        assert_eq!(costs[..2], [("f".to_owned(), 10.0), ("g".to_owned(), 1.0)]);
        assert_eq!(costs[2], ("once".to_owned(), 0.0));
    }
}
