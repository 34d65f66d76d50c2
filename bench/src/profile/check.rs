//! Instructions of one exchange against those that were recorded: what repeats on a noisy machine
//! where time does not.

use std::collections::BTreeMap;

/// A layer may cost so much more than was recorded before that is a fault: a wait more or less
/// makes some difference, and so do inlining and a processor's copying routines.
const TOLERANCE: f64 = 1.10;
/// And so much more than that: the recorder's buckets differ with the times they count.
const SLACK: f64 = 20.0;
/// Layers smaller than this are not judged on their own.
const JUDGED_MIN: f64 = 100.0;
const TOTAL: &str = "all of these";

/// Instructions by layer.
pub type Counts = BTreeMap<String, f64>;

/// Those layers, and their sum.
pub fn judged(layers: impl Iterator<Item = (String, f64)>) -> Counts {
    let mut counts: Counts = layers.collect();
    counts.insert(TOTAL.to_owned(), counts.values().sum());
    counts
}

pub fn write(counts: &Counts) -> String {
    let head = "# Instructions of one exchange by layer: bench profile --record FILE\n";
    counts.iter().fold(head.to_owned(), |text, (layer, n)| text + &format!("{n:.0}\t{layer}\n"))
}

pub fn read(text: &str) -> Result<Counts, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (count, layer) = line.split_once('\t').ok_or(format!("no tab in {line:?}"))?;
            let count = count.parse().map_err(|e| format!("{count:?}: {e}"))?;
            Ok((layer.to_owned(), count))
        })
        .collect()
}

/// What is dearer than was recorded, in words, and what is so much cheaper that it should be
/// recorded anew.
pub fn compare(recorded: &Counts, measured: &Counts) -> (Vec<String>, Vec<String>) {
    let (mut dearer, mut cheaper) = (Vec::new(), Vec::new());
    for (layer, &now) in measured {
        let before = recorded.get(layer).copied().unwrap_or(0.0);
        if now.max(before) < JUDGED_MIN {
            continue;
        }
        let text = format!("{layer}: {now:.0} instructions, {before:.0} recorded");
        if now > before * TOLERANCE + SLACK {
            dearer.push(text);
        } else if now * TOLERANCE + SLACK < before {
            cheaper.push(text);
        }
    }
    (dearer, cheaper)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, f64)]) -> Counts {
        of.iter().map(|(layer, n)| ((*layer).to_owned(), *n)).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let some = counts(&[("parse", 4295.0), ("shell (worker)", 2521.0)]);
        assert_eq!(read(&write(&some)), Ok(some));
        assert!(read("nonsense").is_err() && read("x\tparse").is_err());
    }

    #[test]
    fn a_dearer_layer_is_named_and_a_new_one_too() {
        let recorded = counts(&[("parse", 1000.0), ("route", 1000.0), ("pick", 10.0)]);
        let measured =
            counts(&[("parse", 1131.0), ("route", 1110.0), ("pick", 90.0), ("new", 200.0)]);
        let (dearer, cheaper) = compare(&recorded, &measured);
        assert_eq!(dearer.len(), 2, "{dearer:?}");
        assert!(dearer[0].starts_with("new") && dearer[1].starts_with("parse"));
        assert!(cheaper.is_empty());
        assert_eq!(compare(&measured, &recorded).1.len(), 1);
    }
}
