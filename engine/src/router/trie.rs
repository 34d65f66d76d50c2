//! The paths of all hosts as one frozen radix tree over bytes.
//!
//! ```text
//!  "/users", "/users/me/x", "/users/{id}", "/files/*"
//!
//!  root ─"/"─┬─ "users" ── "/me/x"        a run: static nodes, first byte in the parent
//!            │     └ param ┄ (id)         a new run behind a param
//!            └─ "files" ┄ rest            a place that takes all below
//! ```
//!
//! A *run* is the static part from the path's start or from the end of a param. Within one run a
//! node's end is at a known distance (`depth`), and `back` leads to the nearest node above it
//! which has a param or a rest. So going down remembers nothing, and going back needs no stack:
//! behind a param `back` carries `UP`, and where that param began is in the spans themselves.
//!
//! *Bound*: static bytes and params consume what they consume, so a node is reached in one way
//! only, and a lookup sees each node at most once. With `s` segments and `p ≤ PARAMS_MAX` of them
//! read as params it sees at most `2^s` runs; as many must have been configured. Paths that no
//! rule resembles end at the first byte that differs.

use parser::Span;

use super::Params;
use super::jump::{HOPS_WORTH, Jumps, SEGMENTS_MAX};

pub(super) const NONE: u32 = u32::MAX;
/// In `back`: the node is the one whose param began this run.
const UP: u32 = 1 << 31;
const LABEL_BYTES: usize = 24;
/// `0x01` in every byte.
const ONES: u64 = u64::MAX / 255;
/// `0x80` in every byte.
const HIGHS: u64 = ONES << 7;
const SLASHES: u64 = ONES * b'/' as u64;
/// `label_len` of a label in `Trie::texts`; the label's field holds where and how long.
const LONG: u8 = u8::MAX;
/// Up to this many children are found by comparing all their first bytes at once.
const LISTED_MAX: usize = 8;

/// One cache line.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
struct Node {
    /// First bytes of the children: a list of up to 8, or a bitmap of the 128 ASCII bytes.
    keys: [u64; 2],
    /// What follows the first byte, which the parent has compared. A root's is empty, and its
    /// first byte says how many segments `Trie::jumps` takes, 0 for no jumps.
    label: [u8; LABEL_BYTES],
    /// The first child; the others follow it in the order of `keys`.
    kids: u32,
    /// Candidates of the patterns that end here.
    exact: u32,
    /// Candidates of the patterns that end here with `/*`.
    rest: u32,
    /// The run behind `/{name}`.
    param: u32,
    back: u32,
    /// Bytes from the start of the run to the end of this node.
    depth: u16,
    label_len: u8,
    kids_count: u8,
}

const _: () = assert!(size_of::<Node>() == 64);

#[derive(Debug, Default)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// Labels longer than `LABEL_BYTES`.
    texts: Vec<u8>,
    jumps: Jumps,
}

impl Trie {
    /// Offers the places that `path` falls into, most specific first, until `take` is content
    /// with one; `params` then holds what its pattern captured.
    #[inline]
    pub(super) fn any_place(
        &self,
        root: u32,
        path: &[u8],
        params: &mut Params,
        take: impl FnMut(u32) -> bool,
    ) -> bool {
        self.walk(root, path, params, take, &mut 0)
    }

    #[cfg(test)]
    pub(super) fn any_place_counted(
        &self,
        root: u32,
        path: &[u8],
        params: &mut Params,
        take: impl FnMut(u32) -> bool,
        visited: &mut usize,
    ) -> bool {
        self.walk(root, path, params, take, visited)
    }

    #[cfg(test)]
    pub(super) fn nodes_count(&self) -> usize {
        self.nodes.len()
    }

    /// `visited` counts the nodes seen; compiled away where nobody reads it.
    #[inline(always)]
    fn walk(
        &self,
        root: u32,
        path: &[u8],
        params: &mut Params,
        mut take: impl FnMut(u32) -> bool,
        visited: &mut usize,
    ) -> bool {
        params.len = 0;
        let (mut at, mut run) = (self.start(root, path), 0);
        loop {
            let pos = self.descend(&mut at, run, path, visited);
            let node = &self.nodes[at as usize];
            if pos == path.len() && node.exact != NONE && take(node.exact) {
                return true;
            }
            let mut is_param_done = false;
            // Back along the run, then along the run before it, until a param can be read.
            loop {
                let node = &self.nodes[at as usize];
                let end = run + node.depth as usize;
                let is_slash = path.get(end) == Some(&b'/');
                if is_slash && !is_param_done && node.param != NONE {
                    let segment = end + 1..segment_end(path, end + 1);
                    if !segment.is_empty() {
                        params.push(Span::new(segment.start, segment.end));
                        (at, run) = (node.param, segment.end);
                        break;
                    }
                }
                if node.rest != NONE && (is_slash || end == path.len()) {
                    params.push(Span::new((end + 1).min(path.len()), path.len()));
                    if take(node.rest) {
                        return true;
                    }
                    params.len -= 1;
                }
                if node.back == NONE {
                    return false;
                }
                is_param_done = node.back & UP != 0;
                at = node.back & !UP;
                if is_param_done {
                    params.len -= 1;
                    run = params.as_slice().last().map_or(0, |span| span.end());
                }
            }
        }
    }

    /// Where to begin: below the root, if the path's first segments are known.
    #[inline(always)]
    fn start(&self, root: u32, path: &[u8]) -> u32 {
        let segments = self.nodes[root as usize].label[0];
        if segments == 0 {
            return root;
        }
        self.jumps.find(root, path, segments.into()).unwrap_or(root)
    }

    /// Follows static children as far as the path does; where in the path that ends.
    #[inline(always)]
    fn descend(&self, at: &mut u32, run: usize, path: &[u8], visited: &mut usize) -> usize {
        let mut node = &self.nodes[*at as usize];
        let mut pos = run + node.depth as usize;
        loop {
            *visited += 1;
            let Some((&b, rest)) = path[pos..].split_first() else {
                return pos;
            };
            let Some(kid) = node.kid(b) else {
                return pos;
            };
            let next = &self.nodes[kid as usize];
            let is_next = match next.label_len {
                LONG => rest.starts_with(self.long_label(next)),
                _ => next.begins(rest),
            };
            if !is_next {
                return pos;
            }
            (*at, node) = (kid, next);
            pos = run + node.depth as usize;
        }
    }

    #[cold]
    fn long_label(&self, node: &Node) -> &[u8] {
        let [a, b, c, d, e, f, g, h, ..] = node.label;
        let start = u32::from_le_bytes([a, b, c, d]) as usize;
        &self.texts[start..start + u32::from_le_bytes([e, f, g, h]) as usize]
    }

    /// The candidates of `/*`, which alone takes `OPTIONS *`.
    pub(super) fn rest_of_root(&self, root: u32) -> u32 {
        self.nodes[root as usize].rest
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.nodes) + self.texts.len() + self.jumps.heap_bytes()
    }
}

impl Node {
    /// Whether `path` begins with the label, which is not `LONG`.
    ///
    /// Fast path: three words under masks while the path is long enough, so that the label's
    /// length is no branch; near the path's end as few words as hold the label.
    #[inline(always)]
    fn begins(&self, path: &[u8]) -> bool {
        let len = self.label_len as usize;
        if let Some(path) = path.first_chunk::<LABEL_BYTES>() {
            let diff = |i: usize| (word(path, i) ^ word(&self.label, i)) & MASKS[len & 31][i];
            return diff(0) | diff(1) | diff(2) == 0;
        }
        if path.len() < len {
            return false;
        }
        is_same(&path[..len], &self.label[..len])
    }

    #[inline(always)]
    fn kid(&self, b: u8) -> Option<u32> {
        if self.kids_count as usize <= LISTED_MAX {
            // The lowest zero byte of `diff` is exact (the trick's false ones lie above it). The
            // list is filled up with 0xFF, which begins no label.
            let diff = self.keys[0] ^ (ONES * u64::from(b));
            let zero = diff.wrapping_sub(ONES) & !diff & HIGHS;
            let i = zero.trailing_zeros() / 8;
            return (i < u32::from(self.kids_count)).then(|| self.kids + i);
        }
        let word = self.keys[usize::from(b >> 6 & 1)];
        let bit = 1 << (b & 63);
        if word & bit == 0 || b >= 128 {
            return None;
        }
        let before = if b < 64 { 0 } else { self.keys[0].count_ones() };
        Some(self.kids + before + (word & (bit - 1)).count_ones())
    }
}

#[inline(always)]
fn word(bytes: &[u8; LABEL_BYTES], i: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[i * 8..i * 8 + 8]);
    u64::from_le_bytes(word)
}

/// By length, the bits of a label's words that count.
static MASKS: [[u64; 3]; 32] = {
    let mut masks = [[0; 3]; 32];
    let mut len = 0;
    while len <= LABEL_BYTES {
        let mut i = 0;
        while i < len {
            masks[len][i / 8] |= 0xFF << (i % 8 * 8);
            i += 1;
        }
        len += 1;
    }
    masks
};

/// Equality of two slices of one length up to `LABEL_BYTES`.
#[inline(always)]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    if let (Some((a8, a_rest)), Some((b8, b_rest))) =
        (a.split_first_chunk::<8>(), b.split_first_chunk::<8>())
        && let (Some(a_last), Some(b_last)) = (a.last_chunk::<8>(), b.last_chunk::<8>())
    {
        let mut diff = u64::from_ne_bytes(*a8) ^ u64::from_ne_bytes(*b8);
        diff |= u64::from_ne_bytes(*a_last) ^ u64::from_ne_bytes(*b_last);
        if let (Some(a8), Some(b8)) = (a_rest.first_chunk::<8>(), b_rest.first_chunk::<8>()) {
            diff |= u64::from_ne_bytes(*a8) ^ u64::from_ne_bytes(*b8);
        }
        return diff == 0;
    }
    if let (Some(a4), Some(b4)) = (a.first_chunk::<4>(), b.first_chunk::<4>())
        && let (Some(a_last), Some(b_last)) = (a.last_chunk::<4>(), b.last_chunk::<4>())
    {
        return a4 == b4 && a_last == b_last;
    }
    a.iter().zip(b).all(|(a, b)| a == b)
}

impl Node {
    fn each_kid(&self) -> impl Iterator<Item = (u8, u32)> {
        (0..128).filter_map(|b| self.kid(b).map(|kid| (b, kid)))
    }
}

/// Fast path: params are short, so words here beat a search made for long texts.
#[inline(always)]
fn segment_end(path: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(word) = path[at..].first_chunk::<8>() {
        let diff = u64::from_le_bytes(*word) ^ SLASHES;
        let zero = diff.wrapping_sub(ONES) & !diff & HIGHS;
        if zero != 0 {
            return at + zero.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    path[at..].iter().position(|b| *b == b'/').map_or(path.len(), |len| at + len)
}

/// A node while rules are added.
#[derive(Debug)]
pub(super) struct Draft {
    label: Vec<u8>,
    kids: Vec<u32>,
    param: u32,
    pub(super) exact: Vec<u32>,
    pub(super) rest: Vec<u32>,
}

/// The tree while rules are added.
#[derive(Debug, Default)]
pub(super) struct Drafts(Vec<Draft>);

impl Drafts {
    /// A node without text: the root of a host, or what stands behind a param.
    pub(super) fn run(&mut self) -> u32 {
        self.add(Vec::new())
    }

    pub(super) fn node_mut(&mut self, at: u32) -> &mut Draft {
        &mut self.0[at as usize]
    }

    /// The node behind `/{name}` at `at`.
    pub(super) fn param(&mut self, at: u32) -> u32 {
        if self.0[at as usize].param == NONE {
            self.0[at as usize].param = self.run();
        }
        self.0[at as usize].param
    }

    /// The node `text` bytes below `at`.
    pub(super) fn below(&mut self, mut at: u32, mut text: &[u8]) -> u32 {
        while let Some(first) = text.first() {
            let kids = &self.0[at as usize].kids;
            let kid = kids.iter().copied().find(|kid| self.0[*kid as usize].label[0] == *first);
            let Some(kid) = kid else {
                let leaf = self.add(text.to_vec());
                self.0[at as usize].kids.push(leaf);
                return leaf;
            };
            let label = &self.0[kid as usize].label;
            let same = label.iter().zip(text).take_while(|(a, b)| a == b).count();
            if same < label.len() {
                self.split(kid, same);
            }
            (at, text) = (kid, &text[same..]);
        }
        at
    }

    /// Cuts a node's label in two: `at` keeps the first `len` bytes, a child has all the rest.
    fn split(&mut self, at: u32, len: usize) {
        let tail = self.0[at as usize].label.split_off(len);
        let lower = self.add(tail);
        let upper = &mut self.0[at as usize];
        let kids = std::mem::replace(&mut upper.kids, vec![lower]);
        let param = std::mem::replace(&mut upper.param, NONE);
        let (exact, rest) = (std::mem::take(&mut upper.exact), std::mem::take(&mut upper.rest));
        let lower = &mut self.0[lower as usize];
        (lower.kids, lower.param, lower.exact, lower.rest) = (kids, param, exact, rest);
    }

    fn add(&mut self, label: Vec<u8>) -> u32 {
        let at = u32::try_from(self.0.len()).expect("nodes fit in memory");
        assert!(at < UP, "2^31 nodes are 128 GiB");
        self.0.push(Draft { label, kids: vec![], param: NONE, exact: vec![], rest: vec![] });
        at
    }

    /// The frozen tree. `roots` become its roots; `place` turns rules into candidates.
    ///
    /// Children stand together, and their subtrees follow depth first: what one lookup touches is
    /// close together.
    pub(super) fn freeze<'a>(
        mut self,
        roots: impl Iterator<Item = &'a mut u32>,
        mut place: impl FnMut(&[u32]) -> u32,
    ) -> Trie {
        let mut trie = Trie::default();
        let mut todo: Vec<(u32, u32)> = Vec::new();
        let mut place = |rules: &[u32]| if rules.is_empty() { NONE } else { place(rules) };
        for root in roots {
            let frozen = trie.add(&self.0[*root as usize].label, 0, NONE);
            todo.push((std::mem::replace(root, frozen), frozen));
            while let Some((from, at)) = todo.pop() {
                let has_turn = self.has_turn(from);
                let mut kids = std::mem::take(&mut self.0[from as usize].kids);
                kids.sort_by_key(|kid| self.0[*kid as usize].label[0]);
                let draft = &self.0[from as usize];
                let (exact, rest) = (place(&draft.exact), place(&draft.rest));
                let node = &trie.nodes[at as usize];
                let (depth, back) = (node.depth, if has_turn { at } else { node.back });
                let first = trie.nodes.len() as u32;
                for (i, kid) in kids.iter().enumerate() {
                    trie.add(&self.0[*kid as usize].label, depth, back);
                    todo.push((*kid, first + i as u32));
                }
                let param = match draft.param {
                    NONE => NONE,
                    param => {
                        let frozen = trie.add(&[], 0, at | UP);
                        todo.push((param, frozen));
                        frozen
                    }
                };
                let node = &mut trie.nodes[at as usize];
                (node.exact, node.rest, node.param) = (exact, rest, param);
                node.kids = first;
                node.kids_count = kids.len() as u8;
                node.keys = keys(kids.iter().map(|kid| self.0[*kid as usize].label[0]));
            }
        }
        trie.add_jumps();
        trie.nodes.shrink_to_fit();
        trie.texts.shrink_to_fit();
        trie
    }

    fn has_turn(&self, at: u32) -> bool {
        let draft = &self.0[at as usize];
        draft.param != NONE || !draft.rest.is_empty()
    }
}

impl Trie {
    fn add(&mut self, text: &[u8], depth_above: u16, back: u32) -> u32 {
        let mut label = [0; LABEL_BYTES];
        let tail = text.get(1..).unwrap_or_default();
        let label_len = if tail.len() <= LABEL_BYTES {
            label[..tail.len()].copy_from_slice(tail);
            tail.len() as u8
        } else {
            label[..4].copy_from_slice(&(self.texts.len() as u32).to_le_bytes());
            label[4..8].copy_from_slice(&(tail.len() as u32).to_le_bytes());
            self.texts.extend_from_slice(tail);
            LONG
        };
        self.nodes.push(Node {
            keys: [0; 2],
            label,
            kids: 0,
            exact: NONE,
            rest: NONE,
            param: NONE,
            back,
            depth: depth_above + text.len() as u16,
            label_len,
            kids_count: 0,
        });
        self.nodes.len() as u32 - 1
    }
}

/// Choosing the jumps.
impl Trie {
    fn add_jumps(&mut self) {
        let is_root = |at: &u32| {
            let node = &self.nodes[*at as usize];
            node.depth == 0 && node.back == NONE
        };
        let roots: Vec<u32> = (0..self.nodes.len() as u32).filter(is_root).collect();
        let mut list = Vec::new();
        for root in roots {
            // Nodes that jumps of so many segments skip, less what jumps cost, over all places.
            let mut gain = [0; SEGMENTS_MAX + 1];
            self.each_text(root, |text, above| {
                let places = self.places(above[above.len() - 1]);
                for (segments, gain) in gain.iter_mut().enumerate().skip(1) {
                    let hops = beginning(text, segments).map_or(0, |end| self.hops(above, end));
                    *gain += (hops as isize - HOPS_WORTH as isize) * places as isize;
                }
            });
            let best = (1..=SEGMENTS_MAX).max_by_key(|segments| gain[*segments]).unwrap_or(0);
            if gain[best] <= 0 {
                continue;
            }
            self.nodes[root as usize].label[0] = best as u8;
            let from = list.len();
            self.each_text(root, |text, above| {
                if let Some(end) = beginning(text, best) {
                    list.push((root, text[..end].to_vec(), above[self.hops(above, end)]));
                }
            });
            list[from..].sort();
            list.dedup();
        }
        self.jumps = Jumps::new(&list);
    }

    /// Every static text of the root's run that ends a pattern or comes before a param, with the
    /// nodes from the root down to it.
    fn each_text(&self, root: u32, mut take: impl FnMut(&[u8], &[u32])) {
        let mut text: Vec<u8> = Vec::new();
        let mut above: Vec<u32> = Vec::new();
        let mut todo = vec![(root, 0, 0)];
        while let Some((at, first, hops)) = todo.pop() {
            let node = &self.nodes[at as usize];
            above.truncate(hops);
            text.truncate(above.last().map_or(0, |at| self.nodes[*at as usize].depth.into()));
            if hops > 0 {
                text.push(first);
                text.extend_from_slice(self.label(node));
            }
            above.push(at);
            if node.exact != NONE || node.rest != NONE || node.param != NONE {
                take(&text, &above);
            }
            todo.extend(node.each_kid().map(|(first, kid)| (kid, first, hops + 1)));
        }
    }

    /// The last of the nodes `above` that ends within the first `end` bytes.
    fn hops(&self, above: &[u32], end: usize) -> usize {
        above.partition_point(|at| self.nodes[*at as usize].depth as usize <= end) - 1
    }

    /// The places of a node itself and behind its param.
    fn places(&self, at: u32) -> usize {
        let own = |node: &Node| usize::from(node.exact != NONE) + usize::from(node.rest != NONE);
        let node = &self.nodes[at as usize];
        let mut count = own(node);
        let mut todo: Vec<u32> = (node.param != NONE).then_some(node.param).into_iter().collect();
        while let Some(at) = todo.pop() {
            let node = &self.nodes[at as usize];
            count += own(node);
            todo.extend((node.param != NONE).then_some(node.param));
            todo.extend(node.each_kid().map(|(_, kid)| kid));
        }
        count
    }

    fn label<'a>(&'a self, node: &'a Node) -> &'a [u8] {
        match node.label_len {
            LONG => self.long_label(node),
            len => &node.label[..len as usize],
        }
    }
}

/// Where the first `segments` segments of a text end, if it has as many.
fn beginning(text: &[u8], segments: usize) -> Option<usize> {
    let slashes = text.iter().enumerate().filter(|(i, b)| **b == b'/' && *i > 0).map(|(i, _)| i);
    slashes.chain([text.len()]).filter(|end| *end > 0).nth(segments - 1)
}

fn keys(bytes: impl ExactSizeIterator<Item = u8>) -> [u64; 2] {
    if bytes.len() <= LISTED_MAX {
        let mut list = [0xFF; LISTED_MAX];
        for (slot, b) in list.iter_mut().zip(bytes) {
            *slot = b;
        }
        return [u64::from_le_bytes(list), 0];
    }
    let mut map = [0; 2];
    for b in bytes {
        debug_assert!(b.is_ascii(), "patterns are canonical");
        map[usize::from(b >> 6 & 1)] |= 1 << (b & 63);
    }
    map
}
