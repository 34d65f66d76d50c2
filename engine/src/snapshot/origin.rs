//! Where each key of a route comes from: for messages, never on the request path.
//!
//! A route keeps marks of its own keys only. What it inherits is marked once, at the groups it is
//! part of, so that a hundred thousand routes of one group share one list.

use super::{Route, Snapshot};
use crate::ids::RouteId;

/// Where a key was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `[all]`, `[group.api]` or `[route.users]`.
    pub layer: String,
    /// `file:line`.
    pub place: String,
}

/// The tables that marks point into.
#[derive(Debug, Default)]
pub struct Origins {
    /// By `Mark::key`.
    pub keys: Box<[KeyName]>,
    /// By `Mark::file`.
    pub files: Box<[Box<str>]>,
    /// `[all]` first; `Route::chain` and `Mark::layer` are indices.
    pub layers: Box<[Layer]>,
}

#[derive(Debug)]
pub struct KeyName {
    pub name: &'static str,
    /// Only the narrowest layer's value holds, so that only its origin is of interest.
    pub replaces: bool,
}

/// `[all]` or a group, and what holds below it.
#[derive(Debug)]
pub struct Layer {
    pub name: Box<str>,
    /// `file:line` of its table; empty when there is none.
    pub place: Box<str>,
    /// Index of the layer around this one.
    pub parent: Option<u32>,
    /// Sorted by key, then the narrowest layer first.
    pub marks: Box<[Mark]>,
}

/// One key and where it was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub key: u8,
    pub file: u16,
    pub line: u32,
    pub by: By,
}

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Layer(u32),
    /// The route itself.
    Route,
    /// The route itself, which takes away what is inherited.
    Without,
}

impl Snapshot {
    /// Where the value of `key` comes from, by the key's name: the narrowest layer that says it.
    /// `None`: nobody does, and the default holds.
    pub fn origin(&self, route: RouteId, key: &str) -> Option<Origin> {
        self.origins(route, key).into_iter().next()
    }

    /// As `origin`, with every layer that has a part in the value (`headers`), narrowest first.
    pub fn origins(&self, route: RouteId, key: &str) -> Vec<Origin> {
        let route = self.route(route);
        let marks = self.marks(route);
        let keys = &self.origin_tables.keys;
        let here = marks.iter().filter(|mark| keys[usize::from(mark.key)].name == key);
        here.map(|mark| self.show(route, mark)).collect()
    }

    /// The names of the keys that have an origin, in the order of the reference.
    pub fn said(&self, route: RouteId) -> Vec<&'static str> {
        let keys = &self.origin_tables.keys;
        let marks = self.marks(self.route(route));
        let mut names: Vec<_> = marks.iter().map(|m| keys[usize::from(m.key)].name).collect();
        names.dedup();
        names
    }

    /// The layers around a route, narrowest first.
    pub fn layers_around(&self, route: RouteId) -> Vec<&Layer> {
        let layers = &self.origin_tables.layers;
        let mut next = Some(self.route(route).chain);
        let mut around = Vec::new();
        while let Some(layer) = next.and_then(|index| layers.get(index as usize)) {
            around.push(layer);
            next = layer.parent;
        }
        around
    }

    /// What counts, sorted by key, then the narrowest layer first.
    fn marks(&self, route: &Route) -> Vec<Mark> {
        let own = |key: u8| route.origins.iter().filter(move |mark| mark.key == key);
        let mut marks: Vec<Mark> =
            route.origins.iter().filter(|mark| mark.by == By::Route).copied().collect();
        let layer = self.origin_tables.layers.get(route.chain as usize);
        for mark in layer.map_or(&[][..], |layer| &layer.marks) {
            let replaces = self.origin_tables.keys[usize::from(mark.key)].replaces;
            let is_hidden = own(mark.key).any(|own| own.by == By::Without || replaces);
            if !is_hidden {
                marks.push(*mark);
            }
        }
        marks.sort_by_key(|mark| mark.key);
        marks
    }

    fn show(&self, route: &Route, mark: &Mark) -> Origin {
        let tables = &self.origin_tables;
        let layer = match mark.by {
            By::Layer(index) => tables.layers[index as usize].name.to_string(),
            By::Route | By::Without => format!("[route.{}]", route.name),
        };
        let file = tables.files.get(usize::from(mark.file)).map_or("", |file| file);
        Origin { layer, place: format!("{file}:{}", mark.line) }
    }
}
