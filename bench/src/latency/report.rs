//! Rounds of latencies as a table.

use std::fmt;

use crate::table::median;

/// What one run of one proxy showed.
#[derive(Clone, Copy, Default)]
pub struct Round {
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
    /// How late the generator itself took a request up.
    pub late_p99_us: f64,
    /// Good answers to the small requests.
    pub per_second: f64,
    pub errors: u64,
    pub beside_mbps: f64,
    pub beside_per_second: f64,
    pub beside_errors: u64,
    pub memory_mib: f64,
}

pub struct Report {
    title: String,
    rows: Vec<(&'static str, Vec<Round>)>,
}

/// Median (min–max) of one number.
fn spread(rounds: &[Round], digits: usize, number: impl Fn(&Round) -> f64) -> String {
    let low = rounds.iter().map(&number).fold(f64::INFINITY, f64::min);
    let high = rounds.iter().map(&number).fold(0.0, f64::max);
    let middle = median(rounds.iter().map(&number));
    format!("{middle:.digits$} ({low:.digits$}–{high:.digits$})")
}

impl Report {
    pub fn new(title: String) -> Report {
        Report { title, rows: Vec::new() }
    }

    pub fn add(&mut self, name: &'static str, round: Round) {
        match self.rows.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rounds)) => rounds.push(round),
            None => self.rows.push((name, vec![round])),
        }
    }

    /// The better peer's p99.
    fn best_p99_us(&self) -> f64 {
        let peers = self.rows.iter().filter(|(name, _)| ["nginx", "haproxy"].contains(name));
        let p99 = |rounds: &[Round]| median(rounds.iter().map(|r| r.p99_us));
        peers.map(|(_, rounds)| p99(rounds)).fold(f64::INFINITY, f64::min)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let best = self.best_p99_us();
        let has_beside = self.rows.iter().flat_map(|(_, rounds)| rounds);
        let has_beside = has_beside.into_iter().any(|r| r.beside_mbps > 0.0);
        writeln!(f, "### small requests, {}\n", self.title)?;
        write!(f, "| proxy | p50 µs | p99 µs | p99 ratio | p99.9 µs | max µs | requests/s ")?;
        write!(f, "| errors | generator late, p99 µs | RSS MiB |")?;
        writeln!(
            f,
            "{}",
            if has_beside { " beside MB/s | beside answers/s | lost |" } else { "" }
        )?;
        writeln!(f, "|{}", "---|".repeat(if has_beside { 13 } else { 10 }))?;
        for (name, rounds) in &self.rows {
            write!(
                f,
                "| {name} | {} | {} | {:.2} | {} | {} | {:.0} | {} | {:.0} | {:.1} |",
                spread(rounds, 0, |r| r.p50_us),
                spread(rounds, 0, |r| r.p99_us),
                median(rounds.iter().map(|r| r.p99_us)) / best,
                spread(rounds, 0, |r| r.p999_us),
                spread(rounds, 0, |r| r.max_us),
                median(rounds.iter().map(|r| r.per_second)),
                rounds.iter().map(|r| r.errors).sum::<u64>(),
                median(rounds.iter().map(|r| r.late_p99_us)),
                rounds.iter().map(|r| r.memory_mib).fold(0.0, f64::max),
            )?;
            if has_beside {
                write!(
                    f,
                    " {} | {} | {} |",
                    spread(rounds, 3, |r| r.beside_mbps),
                    spread(rounds, 0, |r| r.beside_per_second),
                    rounds.iter().map(|r| r.beside_errors).sum::<u64>(),
                )?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_to_the_better_peers_p99() {
        let mut report = Report::new("x".to_owned());
        for (name, p99_us) in
            [("busbar", 90.0), ("nginx", 200.0), ("haproxy", 100.0), ("no proxy", 10.0)]
        {
            report.add(name, Round { p99_us, ..Round::default() });
        }
        let text = report.to_string();
        assert!(text.contains("| busbar | 0 (0–0) | 90 (90–90) | 0.90 |"), "{text}");
        assert!(text.contains("| no proxy | 0 (0–0) | 10 (10–10) | 0.10 |"), "{text}");
        assert!(!text.contains("beside MB/s"), "{text}");
    }
}
