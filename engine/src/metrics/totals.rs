//! What workers handed over, added up since the start.

use super::recorder::{Recorder, Row, Rows, Whole};
use crate::ids::Key;

/// Rows of one kind by key, and the sum of those whose names are gone.
#[derive(Debug, Default)]
pub struct Table {
    by_key: Vec<Option<Entry>>,
    retired: Row,
}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    row: Row,
}

impl Table {
    /// From now on these names have these keys. Rows of other names are folded together, so that
    /// no counter ever goes back.
    fn adopt<'n>(&mut self, names: impl Iterator<Item = (Key, &'n str)>) {
        let mut old = std::mem::take(&mut self.by_key);
        for (key, name) in names {
            let index = key.index();
            if index >= self.by_key.len() {
                self.by_key.resize_with(index + 1, || None);
            }
            let known = old.get_mut(index).and_then(Option::take);
            let row = match known {
                Some(entry) if *entry.name == *name => entry.row,
                Some(mut entry) => {
                    self.retired.absorb(&mut entry.row);
                    Row::default()
                }
                None => Row::default(),
            };
            self.by_key[index] = Some(Entry { name: name.into(), row });
        }
        for mut entry in old.into_iter().flatten() {
            self.retired.absorb(&mut entry.row);
        }
    }

    fn absorb<const N: usize>(&mut self, rows: &mut Rows<N>) {
        rows.drain(|key, row| match self.by_key.get_mut(key.index()) {
            Some(Some(entry)) => entry.row.absorb(row),
            _ => self.retired.absorb(row),
        });
    }

    /// Rows that count something, with their names; the retired ones last.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &Row)> {
        let named = self.by_key.iter().flatten().map(|e| (&*e.name, &e.row));
        named.chain([("(retired)", &self.retired)]).filter(|(_, row)| row.count() > 0)
    }
}

/// Everything since the start.
#[derive(Debug, Default)]
pub struct Totals {
    pub whole: Whole,
    pub routes: Table,
    pub upstreams: Table,
}

impl Totals {
    /// Another configuration: its names by key.
    pub fn adopt<'n>(
        &mut self,
        routes: impl Iterator<Item = (Key, &'n str)>,
        upstreams: impl Iterator<Item = (Key, &'n str)>,
    ) {
        self.routes.adopt(routes);
        self.upstreams.adopt(upstreams);
    }

    /// Adds what one worker counted, and clears it: it is the next spare.
    pub fn absorb(&mut self, recorder: &mut Recorder) {
        self.whole.absorb(&mut recorder.whole);
        self.routes.absorb(&mut recorder.routes);
        self.upstreams.absorb(&mut recorder.upstreams);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::recorder::Exchanged;

    fn names<'n>(names: &'n [(u32, &'n str)]) -> impl Iterator<Item = (Key, &'n str)> {
        names.iter().map(|&(key, name)| (Key(key), name))
    }

    fn counts(totals: &Totals) -> Vec<(String, u64)> {
        totals.routes.rows().map(|(name, row)| (name.to_owned(), row.count())).collect()
    }

    #[test]
    fn rows_follow_names_and_nothing_is_lost() {
        let (mut totals, mut recorder) = (Totals::default(), Recorder::default());
        totals.adopt(names(&[(0, "a"), (1, "b")]), names(&[]));
        let once = |recorder: &mut Recorder, key| {
            recorder.exchange(&Exchanged {
                route: Some(Key(key)),
                status: 200,
                ..Default::default()
            })
        };
        (0..3).for_each(|_| once(&mut recorder, 0));
        once(&mut recorder, 1);
        totals.absorb(&mut recorder);
        assert_eq!(counts(&totals), [("a".into(), 3), ("b".into(), 1)]);
        totals.absorb(&mut recorder);
        assert_eq!(totals.whole.exchanges(), 4, "handed over once");
        // b goes; its last exchange is told later.
        totals.adopt(names(&[(0, "a")]), names(&[]));
        once(&mut recorder, 1);
        totals.absorb(&mut recorder);
        assert_eq!(counts(&totals), [("a".into(), 3), ("(retired)".into(), 2)]);
        // The key comes back under another name.
        totals.adopt(names(&[(0, "a"), (1, "c")]), names(&[]));
        once(&mut recorder, 1);
        totals.absorb(&mut recorder);
        let expect = [("a".into(), 3), ("c".into(), 1), ("(retired)".into(), 2)];
        assert_eq!(counts(&totals), expect);
    }

    #[test]
    fn merged_quantiles_are_those_of_all_times() {
        let mut totals = Totals::default();
        totals.adopt(names(&[(0, "a")]), names(&[]));
        let mut workers = [Recorder::default(), Recorder::default()];
        for ms in 1..=1000u64 {
            let x = Exchanged {
                route: Some(Key(0)),
                status: 200,
                time_us: ms * 1000,
                ..Default::default()
            };
            workers[ms as usize % 2].exchange(&x);
        }
        workers.iter_mut().for_each(|w| totals.absorb(w));
        let (_, row) = totals.routes.rows().next().unwrap();
        let median = row.times.quantiles([0.5]).unwrap()[0];
        assert!(median.abs_diff(500_000) < 5_000, "{median}");
        let [most] = totals.whole.times.quantiles([0.99]).unwrap();
        assert!(most.abs_diff(990_000) < 9_900, "{most}");
    }
}
