//! `[all]` → groups → route: what holds where several layers speak.
//!
//! Each layer was read once. A chain of groups is merged once, whatever number of routes is part
//! of it; a route only looks at its own keys and then into its chain.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::diagnostic::{At, Diagnostic, Diagnostics};
use super::fields::near_variable;
use super::keys::{KeyId, Merge};
use super::model::{
    Chain, Edits, Group, Headers, Heir, Layer, Model, Rewrite, Route, Said, Setting, Spot,
};
use super::route::unknown_group;
use crate::http::template::Template;
use crate::router::check_pattern;

/// Groups from a route's own to the widest.
const DEPTH_MAX: usize = 4;
/// Routes that a message names before it counts.
const NAMED_MAX: usize = 3;

/// The chain of `[all]` alone, then one of each group, in their order.
pub(super) fn chains(
    all: (Layer, Option<Spot<String>>, At),
    groups: Vec<Group>,
    out: &mut Diagnostics,
) -> Vec<Chain> {
    let (layer, prefix, at) = all;
    let prefix = prefix.map(|spot| spot.value).unwrap_or_default();
    let heirs = inherit(&[], layer.said, &layer.without, 0);
    let Layer { is_unsure, has_unknown, .. } = layer;
    let (name, parent) = ("[all]".to_owned(), None);
    let first = Chain { name, at, parent, heirs, prefix, is_unsure, has_unknown };
    let parents = parents(&groups, out);
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|group| depth(*group, &parents));
    let mut chains = vec![first];
    chains.resize_with(groups.len() + 1, Chain::default);
    let mut groups: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
    for index in order {
        let Some(group) = groups[index].take() else { continue };
        let parent = match parents[index] {
            Parent::Group(parent) => parent + 1,
            Parent::None | Parent::Broken => 0,
        };
        let wider = &chains[parent];
        let is_broken = matches!(parents[index], Parent::Broken);
        if !is_broken {
            check_without(&group.layer.without, wider, out);
        }
        let Group { name, at, prefix, layer, .. } = group;
        chains[index + 1] = Chain {
            name: format!("[group.{name}]"),
            at,
            parent: Some(parent),
            heirs: inherit(&wider.heirs, layer.said, &layer.without, index + 1),
            prefix: format!("{}{}", wider.prefix, prefix.map(|p| p.value).unwrap_or_default()),
            is_unsure: wider.is_unsure || layer.is_unsure || is_broken,
            has_unknown: wider.has_unknown || layer.has_unknown,
        };
    }
    chains
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parent {
    None,
    Group(usize),
    /// It was given and can't be followed.
    Broken,
}

/// The parent of each group, where following them ends.
fn parents(groups: &[Group], out: &mut Diagnostics) -> Vec<Parent> {
    let by_name: BTreeMap<&str, usize> =
        groups.iter().enumerate().map(|(i, group)| (group.name.as_str(), i)).collect();
    let parent = |group: &Group| match &group.parent {
        None => Parent::None,
        Some(spot) => match by_name.get(spot.value.as_str()) {
            Some(index) => Parent::Group(*index),
            None => {
                unknown_group(spot, by_name.keys().copied(), out);
                Parent::Broken
            }
        },
    };
    let mut parents: Vec<Parent> = groups.iter().map(parent).collect();
    for index in 0..groups.len() {
        let above = depth(index, &parents);
        if above <= DEPTH_MAX {
            continue;
        }
        let Some(spot) = &groups[index].parent else { continue };
        let is_circle = above == usize::MAX;
        let error = match is_circle {
            true => Diagnostic::new("E142", spot.at, "these groups are part of each other")
                .note("one of them has no `group`"),
            false => Diagnostic::new("E142", spot.at, "these groups are too deep")
                .note("at most 4, one in the other"),
        };
        out.push(error);
        // Cut here, so that what hangs on it is not reported too.
        parents[index] = Parent::Broken;
    }
    parents
}

/// Groups from this one to the widest; `usize::MAX` for a circle.
fn depth(group: usize, parents: &[Parent]) -> usize {
    let mut at = group;
    for depth in 1..=parents.len() {
        match parents[at] {
            Parent::Group(parent) => at = parent,
            Parent::None | Parent::Broken => return depth,
        }
    }
    usize::MAX
}

/// What holds below a layer, by the rule of each key.
fn inherit(wider: &[Heir], own: Vec<Said>, without: &[Spot<KeyId>], layer: usize) -> Vec<Heir> {
    let is_kept = |heir: &&Heir| !without.iter().any(|spot| spot.value == heir.key);
    let mut heirs: Vec<Heir> = wider.iter().filter(is_kept).cloned().collect();
    for Said { key, at, mut value } in own {
        let from = heirs.partition_point(|heir| heir.key < key);
        match key.key().merge {
            Merge::Replace => heirs.retain(|heir| heir.key != key),
            Merge::ByName => {
                if let Some(wide) = heirs.get(from).filter(|heir| heir.key == key) {
                    merge_names(&mut value, &wide.value);
                }
            }
            Merge::AddUp => {}
        }
        heirs.insert(from, Heir { key, layer, at, value: Rc::new(value) });
    }
    heirs
}

/// Reports what `without` names and nobody says. An unknown key may be what it meant.
fn check_without(without: &[Spot<KeyId>], wider: &Chain, out: &mut Diagnostics) {
    if wider.has_unknown {
        return;
    }
    let wider = &wider.heirs;
    for spot in without.iter().filter(|spot| wider.iter().all(|heir| heir.key != spot.value)) {
        let title = format!("`{}` is not inherited here", spot.value.key().name);
        let mut names: Vec<&str> = wider.iter().map(|heir| heir.key.key().name).collect();
        names.dedup();
        let error = Diagnostic::new("E143", spot.at, title);
        out.push(match names.is_empty() {
            true => error.note("nothing is: remove `without`"),
            false => error.note(format!("inherited: {}", names.join(", "))),
        });
    }
}

/// Adds to a value what the wider one says under other names.
fn merge_names(value: &mut Setting, wider: &Setting) {
    match (value, wider) {
        (Setting::Headers(value), Setting::Headers(wider)) => {
            merge_edits(&mut value.request, &wider.request);
            merge_edits(&mut value.response, &wider.response);
        }
        (Setting::Rewrite(value), Setting::Rewrite(wider)) => {
            let Rewrite { path, query, host } = &**wider;
            value.path = value.path.take().or_else(|| path.clone());
            value.query = value.query.take().or_else(|| query.clone());
            value.host = value.host.take().or_else(|| host.clone());
        }
        _ => debug_assert!(false, "a key has one kind of value"),
    }
}

fn merge_edits(edits: &mut Edits, wider: &Edits) {
    let fields = edits.set.iter().chain(&edits.add).map(|field| &field.name);
    let said: Vec<String> =
        fields.chain(&edits.remove).map(|name| name.to_ascii_lowercase()).collect();
    let is_new = |name: &str| !said.contains(&name.to_ascii_lowercase());
    edits.set.extend(wider.set.iter().filter(|field| is_new(&field.name)).cloned());
    edits.add.extend(wider.add.iter().filter(|field| is_new(&field.name)).cloned());
    edits.remove.extend(wider.remove.iter().filter(|name| is_new(name)).cloned());
}

/// Makes each route's own keys complete where they merge by name, and checks what depends on both
/// a route and its groups.
pub(super) fn routes(model: &mut Model, out: &mut Diagnostics) {
    let names: Vec<Vec<(KeyId, &str, At)>> =
        model.chains.iter().map(|chain| names_of_chain(&chain.heirs)).collect();
    let mut missing = Missing::default();
    for route in &mut model.routes {
        let chain = &model.chains[route.chain];
        let is_broken = route.is_unsure;
        if !is_broken {
            check_without(&route.layer.without, chain, out);
        }
        let mut merged = Vec::new();
        for said in &mut route.layer.said {
            if said.key.key().merge != Merge::ByName || is_without(&route.layer.without, said.key) {
                continue;
            }
            if let Some(heir) = chain.heirs.iter().find(|heir| heir.key == said.key) {
                merge_names(&mut said.value, &heir.value);
                merged.push(said.key);
            }
        }
        if !is_broken {
            missing.look(route, &names[route.chain], &merged);
        }
    }
    missing.report(out);
}

fn is_without(without: &[Spot<KeyId>], key: KeyId) -> bool {
    without.iter().any(|spot| spot.value == key)
}

/// The names of params that a chain's templates ask for.
fn names_of_chain(heirs: &[Heir]) -> Vec<(KeyId, &str, At)> {
    let mut names = Vec::new();
    for (i, heir) in heirs.iter().enumerate() {
        // Of a key that merges by name, the first has everything.
        if i == 0 || heirs[i - 1].key != heir.key || heir.key.key().merge == Merge::AddUp {
            names.extend(names_of(&heir.value).map(|(name, at)| (heir.key, name, at)));
        }
    }
    names
}

/// Each template of a setting, and where it stands.
fn templates(setting: &Setting) -> impl Iterator<Item = (&Template, At)> {
    let (headers, rewrite) = match setting {
        Setting::Headers(headers) => (Some(&**headers), None),
        Setting::Rewrite(rewrite) => (None, Some(&**rewrite)),
        _ => (None, None),
    };
    let edits = headers.into_iter().flat_map(|Headers { request, response }| [request, response]);
    let fields = edits.flat_map(|edits| edits.set.iter().chain(&edits.add));
    let spots = rewrite.into_iter().flat_map(|r| [&r.path, &r.query, &r.host]).flatten();
    fields.map(|field| (&field.value, field.at)).chain(spots.map(|spot| (&spot.value, spot.at)))
}

/// The names of params that a setting's templates ask for.
pub(super) fn names_of(setting: &Setting) -> impl Iterator<Item = (&str, At)> {
    templates(setting).flat_map(|(template, at)| template.names().map(move |name| (name, at)))
}

/// Params that groups' templates name and routes' paths do not have, by template.
#[derive(Default)]
struct Missing(BTreeMap<(At, String), Without>);

/// The routes that lack one.
#[derive(Default)]
struct Without {
    /// The first few.
    routes: Vec<String>,
    count: usize,
    params: Vec<String>,
}

impl Missing {
    /// `merged` are the keys whose names are the route's own affair.
    fn look(&mut self, route: &Route, chain: &[(KeyId, &str, At)], merged: &[KeyId]) {
        let own = route.layer.said.iter().filter(|said| merged.contains(&said.key));
        let own = own.flat_map(|said| names_of(&said.value));
        let is_replaced = |key: KeyId| {
            let is_said = route.layer.said.iter().any(|said| said.key == key);
            is_said || is_without(&route.layer.without, key)
        };
        let inherited = chain.iter().filter(|(key, ..)| !is_replaced(*key));
        let mut asked = own.chain(inherited.map(|(_, name, at)| (*name, *at))).peekable();
        if asked.peek().is_none() {
            return; // Fast path.
        }
        let params = check_pattern(&route.path.value).unwrap_or_default();
        for (name, at) in asked.filter(|(name, _)| !params.contains(name)) {
            let without = self.0.entry((at, name.to_owned())).or_default();
            without.count += 1;
            if without.routes.len() < NAMED_MAX {
                without.routes.push(route.name.clone());
                without.params.extend(params.iter().map(|name| (*name).to_owned()));
            }
        }
    }

    fn report(self, out: &mut Diagnostics) {
        for ((at, name), Without { routes, count, params }) in self.0 {
            let title = format!("the path of route `{}` has no {{{name}}}", routes[0]);
            let error = Diagnostic::new("E137", at, title);
            let params: Vec<&str> = params.iter().map(String::as_str).collect();
            let error = match near_variable(&name, &params, out) {
                Some(near) => error.note(format!("did you mean {{{near}}}?")),
                None => error.note("all routes of the group need it in their paths"),
            };
            out.push(match count {
                1 => error,
                _ => error.help(format!("nor that of {}", and_more(&routes[1..], count - 1))),
            });
        }
    }
}

/// "`a`, `b` and 7 more" of `count` names.
pub(super) fn and_more(names: &[impl AsRef<str>], count: usize) -> String {
    let shown: Vec<String> =
        names.iter().take(NAMED_MAX).map(|name| format!("`{}`", name.as_ref())).collect();
    match (shown.split_last(), count - shown.len()) {
        (None, _) => format!("{count} more"),
        (Some((last, [])), 0) => last.clone(),
        (Some((last, rest)), 0) => format!("{} and {last}", rest.join(", ")),
        (Some(_), more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// What holds for one route.
#[derive(Clone, Copy)]
pub(super) struct Effective<'m> {
    own: &'m Layer,
    chain: &'m Chain,
}

impl<'m> Effective<'m> {
    pub(super) fn of(route: &'m Route, chains: &'m [Chain]) -> Effective<'m> {
        Effective { own: &route.layer, chain: &chains[route.chain] }
    }

    /// The narrowest layer's value, complete when the key merges by name; and whether it is the
    /// route's own.
    pub(super) fn find(&self, key: KeyId) -> Option<(&'m Setting, bool)> {
        if let Some(said) = self.own.said.iter().find(|said| said.key == key) {
            return Some((&said.value, true));
        }
        if is_without(&self.own.without, key) {
            return None;
        }
        let heir = self.chain.heirs.iter().find(|heir| heir.key == key)?;
        Some((&heir.value, false))
    }

    /// What all layers say of a key that adds up, widest first, each with the number of its chain;
    /// `None` for the route's own.
    pub(super) fn all(&self, key: KeyId) -> Vec<(&'m Setting, At, Option<usize>)> {
        let is_kept = !is_without(&self.own.without, key);
        let wider = self.chain.heirs.iter().rev().filter(|heir| is_kept && heir.key == key);
        let wider = wider.map(|heir| (&*heir.value, heir.at, Some(heir.layer)));
        let own = self.own.said.iter().filter(|said| said.key == key);
        wider.chain(own.map(|said| (&said.value, said.at, None))).collect()
    }

    pub(super) fn get(&self, key: KeyId) -> Option<&'m Setting> {
        self.find(key).map(|(setting, _)| setting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{ROUTE, known};

    fn said(key: KeyId, value: Setting) -> Said {
        Said { key, at: At::default(), value }
    }

    fn words(heirs: &[Heir]) -> Vec<(&'static str, usize)> {
        heirs.iter().map(|heir| (heir.key.key().name, heir.layer)).collect()
    }

    #[test]
    fn each_key_merges_by_its_rule() {
        let adds = ROUTE.iter().position(|key| key.name == "ip").expect("a key that adds up");
        let adds = KeyId(adds as u8);
        let word = |word| Setting::Word(word);
        let headers = || Setting::Headers(Box::default());
        let layer = |slash| {
            vec![
                said(known::HEADERS, headers()),
                said(known::SLASH, word(slash)),
                said(adds, word("x")),
            ]
        };
        let wide = inherit(&[], layer("exact"), &[], 0);
        let narrow = inherit(&wide, layer("redirect"), &[], 1);
        let expect = [("headers", 1), ("headers", 0), ("slash", 1), ("ip", 1), ("ip", 0)];
        assert_eq!(words(&narrow), expect);
        let without = [Spot { value: adds, at: At::default() }];
        let narrower = inherit(&narrow, Vec::new(), &without, 2);
        assert_eq!(words(&narrower), [("headers", 1), ("headers", 0), ("slash", 1)]);
    }

    #[test]
    fn names_are_counted_when_they_are_many() {
        let names = ["a", "b", "c"];
        assert_eq!(and_more(&names[..1], 1), "`a`");
        assert_eq!(and_more(&names[..2], 2), "`a` and `b`");
        assert_eq!(and_more(&names, 9), "`a`, `b`, `c` and 6 more");
        assert_eq!(and_more(&names[..0], 2), "2 more");
    }
}
