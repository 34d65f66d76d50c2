//! Places → marks: where each key of a route was said (`snapshot/origin.rs`).

use super::diagnostic::{At, Diagnostics};
use super::keys::{self, KeyId, Merge};
use super::model::{Chain, Route};
use crate::snapshot::origin::{By, KeyName, Layer, Mark, Origins};

/// What the marks of all routes point into.
pub(super) fn tables(chains: &[Chain], sources: &Diagnostics) -> Origins {
    let name = |key: &keys::Key| KeyName { name: key.name, replaces: key.merge == Merge::Replace };
    let layer = |chain: &Chain| {
        let heirs = chain.heirs.iter();
        let marks =
            heirs.map(|heir| mark(heir.key, heir.at, By::Layer(heir.layer as u32), sources));
        let is_there = chain.at != At::default();
        Layer {
            name: chain.name.as_str().into(),
            place: if is_there { sources.place(chain.at).into() } else { Box::default() },
            parent: chain.parent.map(|parent| parent as u32),
            marks: marks.collect(),
        }
    };
    Origins {
        keys: keys::ROUTE.iter().map(name).collect(),
        files: sources.sources().map(|(name, _)| name.into()).collect(),
        layers: chains.iter().map(layer).collect(),
    }
}

/// Of the keys that a route itself says or takes away.
pub(super) fn of_route(route: &Route, sources: &Diagnostics) -> Box<[Mark]> {
    let said = route.layer.said.iter().map(|said| (said.key, said.at, By::Route));
    let without = route.layer.without.iter().map(|spot| (spot.value, spot.at, By::Without));
    let others = route.keys.iter().map(|(key, at)| (*key, *at, By::Route));
    said.chain(without).chain(others).map(|(key, at, by)| mark(key, at, by, sources)).collect()
}

fn mark(key: KeyId, at: At, by: By, sources: &Diagnostics) -> Mark {
    // A load has at most 1000 files; a place behind more flags than fit is shown without name.
    let file = u16::try_from(at.source).unwrap_or(u16::MAX);
    Mark { key: key.0, file, line: sources.line_column(at).0 as u32, by }
}
