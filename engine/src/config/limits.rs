//! Limits that several routes share have to be the same wherever they are said.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::{Diagnostic, Diagnostics};
use super::keys::known;
use super::merge::Effective;
use super::model::{Action, Concurrency, Model, PerRequests, Route, Setting, TargetName};

/// An upstream has one count of its requests, so that two limits of it would contradict.
pub(super) fn one_of_each_upstream(model: &Model, out: &mut Diagnostics) {
    let mut firsts: BTreeMap<&str, &Concurrency> = BTreeMap::new();
    let mut told = BTreeSet::new();
    let effective: Vec<_> =
        model.routes.iter().map(|route| (route, Effective::of(route, &model.chains))).collect();
    for (route, effective) in &effective {
        let Some(upstream) = only_upstream(route) else { continue };
        for (setting, ..) in effective.all(known::CONCURRENCY) {
            let Setting::Concurrency(limits) = setting else { continue };
            for limit in limits.iter().filter(|limit| limit.per == PerRequests::Upstream) {
                let first = *firsts.entry(upstream).or_insert(limit);
                let is_same = (first.limit, first.queue) == (limit.limit, limit.queue);
                if is_same || !told.insert((upstream, limit.at)) {
                    continue;
                }
                let says = |limit: &Concurrency| match limit.queue {
                    0 => limit.limit.to_string(),
                    queue => format!("{} and a queue of {queue}", limit.limit),
                };
                let title = format!("upstream `{upstream}` has two limits");
                let place = out.beside(limit.at, first.at);
                let note = format!("{}, and {} {place}", says(limit), says(first));
                let error = Diagnostic::new("E160", limit.at, title).note(note);
                out.push(error.help("say the same in both places, or per = \"route\""));
            }
        }
    }
}

fn only_upstream(route: &Route) -> Option<&str> {
    let Some(Action::To(targets)) = &route.action else { return None };
    match targets.as_slice() {
        [target] => Some(match &target.to {
            TargetName::Named(name) => name,
            TargetName::Url { url, .. } => url,
        }),
        _ => None,
    }
}
