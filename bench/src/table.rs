//! Medians, ranges and ratios as text.

use std::fmt;

#[derive(Clone, Copy)]
pub struct Measured {
    pub cpu_us: f64,
    pub per_second: f64,
    pub p99_us: f64,
    pub memory_kib: u64,
}

/// The rounds of one scenario.
pub struct Table {
    scenario: &'static str,
    rows: Vec<(&'static str, Vec<Measured>)>,
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Table {
    pub fn new(scenario: &'static str) -> Table {
        Table { scenario, rows: Vec::new() }
    }

    pub fn add(&mut self, peer: &'static str, measured: Measured) {
        match self.rows.iter_mut().find(|(name, _)| *name == peer) {
            Some((_, runs)) => runs.push(measured),
            None => self.rows.push((peer, vec![measured])),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = |runs: &[Measured]| median(runs.iter().map(|m| m.cpu_us));
        let others = self.rows.iter().filter(|(name, _)| *name != "busbar");
        let best = others.map(|(_, runs)| cpu(runs)).fold(f64::INFINITY, f64::min);
        writeln!(f, "### {}\n", self.scenario)?;
        writeln!(f, "| proxy | CPU µs/request | ratio | requests/s | p99 µs | RSS MiB |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for (name, runs) in &self.rows {
            let low = runs.iter().map(|m| m.cpu_us).fold(f64::INFINITY, f64::min);
            let high = runs.iter().map(|m| m.cpu_us).fold(0.0, f64::max);
            let memory = runs.iter().map(|m| m.memory_kib).max().unwrap_or(0) as f64 / 1024.0;
            writeln!(
                f,
                "| {name} | {:.1} ({low:.1}–{high:.1}) | {:.2} | {:.0} | {:.0} | {memory:.1} |",
                cpu(runs),
                cpu(runs) / best,
                median(runs.iter().map(|m| m.per_second)),
                median(runs.iter().map(|m| m.p99_us)),
            )?;
        }
        Ok(())
    }
}

/// CPU µs per request without and with an access log, by proxy and round.
#[derive(Default)]
pub struct Pairs {
    rows: Vec<(&'static str, Vec<(f64, f64)>)>,
}

impl Pairs {
    pub fn add(&mut self, peer: &'static str, off: f64, on: f64) {
        match self.rows.iter_mut().find(|(name, _)| *name == peer) {
            Some((_, rounds)) => rounds.push((off, on)),
            None => self.rows.push((peer, vec![(off, on)])),
        }
    }
}

impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.rows.first().map_or(0, |(_, rounds)| rounds.len());
        writeln!(f, "### access log: what a JSON line for each request adds ({rounds} pairs)\n")?;
        writeln!(f, "| proxy | off µs | on µs | added: median | quartiles |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for (name, rounds) in &self.rows {
            let mut added: Vec<f64> = rounds.iter().map(|(off, on)| on - off).collect();
            added.sort_by(f64::total_cmp);
            let at = |part: usize| added.get(added.len() * part / 4).copied().unwrap_or(f64::NAN);
            writeln!(
                f,
                "| {name} | {:.1} | {:.1} | {:.2} | {:.2}–{:.2} |",
                median(rounds.iter().map(|(off, _)| *off)),
                median(rounds.iter().map(|(_, on)| *on)),
                at(2),
                at(1),
                at(3),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_the_best_peer() {
        let mut table = Table::new("x");
        let run = |cpu_us| Measured { cpu_us, per_second: 1.0, p99_us: 1.0, memory_kib: 1024 };
        for cpu in [9.0, 10.0, 30.0] {
            table.add("busbar", run(cpu));
        }
        table.add("nginx", run(20.0));
        table.add("haproxy", run(12.5));
        let text = table.to_string();
        assert!(text.contains("| busbar | 10.0 (9.0–30.0) | 0.80 |"), "{text}");
    }

    #[test]
    fn pairs_tell_the_median_of_differences() {
        let mut pairs = Pairs::default();
        for (off, on) in [(10.0, 10.5), (20.0, 20.7), (10.0, 19.0)] {
            pairs.add("busbar", off, on);
        }
        assert!(pairs.to_string().contains("| busbar | 10.0 | 19.0 | 0.70 | 0.50–9.00 |"));
    }
}
