//! The gateway's exposition, read line by line and held against the rules of its format.

use std::collections::{BTreeMap, BTreeSet};

/// Labels of a line by name.
pub type Labels = BTreeMap<String, String>;

/// One line that is not a comment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: Labels,
    pub value: f64,
}

/// A metric family as its comments say, and its lines.
#[derive(Debug, Clone, Default)]
pub struct Family {
    pub kind: String,
    pub unit: Option<String>,
    pub samples: Vec<Sample>,
}

/// A whole exposition.
#[derive(Debug, Clone, Default)]
pub struct Exposition {
    pub families: BTreeMap<String, Family>,
}

impl Exposition {
    /// Reads either format. Panics at what is neither.
    pub fn read(text: &str) -> Exposition {
        let mut all = Exposition::default();
        let mut present = String::new();
        for line in text.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "EOF"] => assert!(text.ends_with("\n# EOF\n"), "EOF in the middle"),
                ["#", "HELP", name, help] => {
                    assert!(!help.is_empty() && present != name, "{line}");
                    let again = all.families.insert(name.to_owned(), Family::default());
                    assert!(again.is_none(), "a family stands twice: {line}");
                    name.clone_into(&mut present);
                }
                ["#", what, name, text] => {
                    assert_eq!(name, present, "comments of a family stand together");
                    let family = all.families.get_mut(name).expect("HELP comes first");
                    assert!(family.samples.is_empty(), "comments come before lines: {line}");
                    match what {
                        "TYPE" => text.clone_into(&mut family.kind),
                        "UNIT" => family.unit = Some(text.to_owned()),
                        _ => panic!("no such comment: {line}"),
                    }
                }
                _ => {
                    let sample = sample(line);
                    let rest = sample.name.strip_prefix(present.as_str());
                    assert!(rest.is_some(), "{line} stands under {present}");
                    all.families.get_mut(&present).expect("seen").samples.push(sample);
                }
            }
        }
        all
    }

    fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.families.values().flat_map(|family| &family.samples)
    }

    /// The sum of all lines of this name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |s: &&Sample| {
            let mut wanted = labels.iter();
            s.name == name && wanted.all(|(l, v)| s.labels.get(*l).is_some_and(|x| x == v))
        };
        self.samples().filter(has).map(|s| s.value).sum()
    }

    /// The one line of this name with exactly these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels: Labels = labels.iter().map(|(l, v)| (l.to_string(), v.to_string())).collect();
        let found = self.samples().find(|s| s.name == name && s.labels == labels);
        found.unwrap_or_else(|| panic!("no {name} with {labels:?}")).value
    }

    /// All lines of this name, by the values of these labels.
    pub fn by(&self, name: &str, labels: &[&str]) -> BTreeMap<Vec<String>, u64> {
        let lines = self.samples().filter(|s| s.name == name);
        let key = |s: &Sample| labels.iter().map(|l| s.labels[*l].clone()).collect();
        lines.map(|s| (key(s), s.value as u64)).collect()
    }

    /// What OpenMetrics 1.0.0 demands beyond what its readers refuse.
    pub fn assert_open_metrics(&self) {
        let mut names = BTreeSet::new();
        for (name, family) in &self.families {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            assert!(name.bytes().all(plain), "{name}");
            let suffixes = suffixes(&family.kind);
            for suffix in suffixes {
                assert!(names.insert(format!("{name}{suffix}")), "{name}{suffix} is another's");
            }
            if let Some(unit) = &family.unit {
                assert!(name.ends_with(&format!("_{unit}")), "{name} has the unit {unit}");
            }
            let mut seen = BTreeSet::new();
            for s in &family.samples {
                let suffix = s.name.strip_prefix(name.as_str()).expect("read so");
                assert!(suffixes.contains(&suffix), "{} in a {}", s.name, family.kind);
                assert!(seen.insert((&s.name, &s.labels)), "twice: {s:?}");
                assert!(s.value >= 0.0, "nothing here is negative: {s:?}");
            }
            if family.kind == "histogram" {
                assert_histogram(name, family);
            }
        }
    }
}

fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "info" => &["_info"],
        "histogram" => &["_bucket", "_sum", "_count"],
        "summary" => &["", "_sum", "_count"],
        kind => panic!("no such type: {kind}"),
    }
}

/// Buckets rise, in their bounds and their counts; the last is without a bound and tells all.
fn assert_histogram(name: &str, family: &Family) {
    let mut rows: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for s in family.samples.iter().filter(|s| s.name.ends_with("_bucket")) {
        let mut labels = s.labels.clone();
        let le = labels.remove("le").expect("a bucket has a bound");
        assert!(le == "+Inf" || le.contains('.'), "bounds are floats: {le}");
        rows.entry(labels).or_default().push((le.parse().expect("a number"), s.value));
    }
    let counts = family.samples.iter().filter(|s| s.name.ends_with("_count"));
    let counts: BTreeMap<&Labels, f64> = counts.map(|s| (&s.labels, s.value)).collect();
    for (labels, row) in rows {
        assert!(row.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1), "{name} {labels:?}");
        let (bound, all) = *row.last().expect("made with one");
        assert_eq!((bound, all), (f64::INFINITY, counts[&labels]), "{name} {labels:?}");
    }
}

fn sample(line: &str) -> Sample {
    let (name, mut rest) = match line.find(['{', ' ']) {
        Some(at) => line.split_at(at),
        None => panic!("no value: {line}"),
    };
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            rest = rest.strip_prefix(',').unwrap_or(rest);
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            let (value, after) = quoted(after).unwrap_or_else(|| panic!("{line}"));
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = after;
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').and_then(|v| v.parse().ok());
    let value = value.unwrap_or_else(|| panic!("one space and a number: {line}"));
    Sample { name: name.to_owned(), labels, value }
}

/// A label's value up to its quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}
