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
    /// What the CPU time is for.
    unit: &'static str,
    rows: Vec<(&'static str, Vec<Measured>)>,
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Table {
    pub fn new(scenario: &'static str, unit: &'static str) -> Table {
        Table { scenario, unit, rows: Vec::new() }
    }

    pub fn add(&mut self, peer: &'static str, measured: Measured) {
        match self.rows.iter_mut().find(|(name, _)| *name == peer) {
            Some((_, runs)) => runs.push(measured),
            None => self.rows.push((peer, vec![measured])),
        }
    }
}

/// The proxies that ratios are to.
const OTHERS: [&str; 2] = ["nginx", "haproxy"];
/// What the names of relays begin with.
const FLOOR: &str = "floor ";

/// The row of a scenario that costs least among some.
fn best(rows: &[(&'static str, Vec<Measured>)], among: impl Fn(&str) -> bool) -> f64 {
    let among = rows.iter().filter(|(name, _)| among(name));
    let costs = among.map(|(_, runs)| median(runs.iter().map(|m| m.cpu_us)));
    costs.fold(f64::INFINITY, f64::min)
}

/// What the gateway adds to the best relay, if both were measured.
fn own_part(rows: &[(&'static str, Vec<Measured>)]) -> Option<f64> {
    let part = best(rows, |name| name == "busbar") - best(rows, |name| name.starts_with(FLOOR));
    part.is_finite().then_some(part)
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpu = |runs: &[Measured]| median(runs.iter().map(|m| m.cpu_us));
        let best = best(&self.rows, |name| OTHERS.contains(&name));
        writeln!(f, "### {}\n", self.scenario)?;
        let unit = self.unit;
        writeln!(f, "| proxy | CPU µs/{unit} | ratio | {unit}s/s | p99 µs | RSS MiB |")?;
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
        if let Some(part) = own_part(&self.rows) {
            writeln!(f, "\nBusbar's own part: busbar − best relay = {part:.1} µs")?;
        }
        Ok(())
    }
}

/// CPU µs per request without something and with it, by proxy and round.
pub struct Pairs {
    title: &'static str,
    rows: Vec<(&'static str, Vec<(f64, f64)>)>,
}

impl Pairs {
    pub fn new(title: &'static str) -> Pairs {
        Pairs { title, rows: Vec::new() }
    }

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
        writeln!(f, "### {} ({rounds} pairs)\n", self.title)?;
        writeln!(f, "| | off µs | on µs | added: median | quartiles |")?;
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

/// A proxy's memory before connections stood idle, and for each of them.
#[derive(Clone, Copy)]
pub struct Rest {
    pub before_kib: u64,
    pub each_kib: f64,
}

pub struct IdleTable {
    pub scenario: &'static str,
    pub connections: u32,
    pub rows: Vec<(&'static str, Vec<Rest>)>,
}

impl fmt::Display for IdleTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |rounds: &[Rest]| median(rounds.iter().map(|r| r.each_kib));
        let others = self.rows.iter().filter(|(name, _)| OTHERS.contains(name));
        let best = others.map(|(_, rounds)| each(rounds)).fold(f64::INFINITY, f64::min);
        let rounds = self.rows.first().map_or(0, |(_, rounds)| rounds.len());
        let IdleTable { scenario, connections, .. } = self;
        writeln!(f, "### {scenario}: {connections} ({rounds} rounds)\n")?;
        writeln!(f, "| proxy | KiB/connection | ratio | RSS at rest before, MiB |")?;
        writeln!(f, "|---|---|---|---|")?;
        for (name, rounds) in &self.rows {
            let low = rounds.iter().map(|r| r.each_kib).fold(f64::INFINITY, f64::min);
            let high = rounds.iter().map(|r| r.each_kib).fold(0.0, f64::max);
            writeln!(
                f,
                "| {name} | {:.2} ({low:.2}–{high:.2}) | {:.2} | {:.1} |",
                each(rounds),
                each(rounds) / best,
                median(rounds.iter().map(|r| r.before_kib as f64 / 1024.0)),
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
        let mut table = Table::new("x", "request");
        let run = |cpu_us| Measured { cpu_us, per_second: 1.0, p99_us: 1.0, memory_kib: 1024 };
        for cpu in [9.0, 10.0, 30.0] {
            table.add("busbar", run(cpu));
        }
        table.add("nginx", run(20.0));
        table.add("haproxy", run(12.5));
        let text = table.to_string();
        assert!(text.contains("| busbar | 10.0 (9.0–30.0) | 0.80 |"), "{text}");
        assert!(!text.contains("own part"), "{text}");
        table.add("floor epoll", run(9.0));
        table.add("floor rt", run(8.75));
        let text = table.to_string();
        assert!(text.contains("| busbar | 10.0 (9.0–30.0) | 0.80 |"), "{text}");
        assert!(text.contains("| floor rt | 8.8 (8.8–8.8) | 0.70 |"), "{text}");
        assert!(text.ends_with("busbar − best relay = 1.2 µs\n"), "{text}");
    }

    #[test]
    fn idle_connections_are_told_in_kib() {
        let rest = |each_kib| vec![Rest { before_kib: 2048, each_kib }];
        let rows = vec![("busbar", rest(0.5)), ("nginx", rest(1.0)), ("haproxy", rest(2.0))];
        let text = IdleTable { scenario: "idle connections", connections: 9, rows }.to_string();
        assert!(text.starts_with("### idle connections: 9 (1 rounds)\n"), "{text}");
        assert!(text.contains("| busbar | 0.50 (0.50–0.50) | 0.50 | 2.0 |"), "{text}");
    }

    #[test]
    fn pairs_tell_the_median_of_differences() {
        let mut pairs = Pairs::new("x");
        for (off, on) in [(10.0, 10.5), (20.0, 20.7), (10.0, 19.0)] {
            pairs.add("busbar", off, on);
        }
        assert!(pairs.to_string().contains("| busbar | 10.0 | 19.0 | 0.70 | 0.50–9.00 |"));
    }
}
