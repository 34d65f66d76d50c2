//! How many workers, on which cores: the process's CPU set, less under a cgroup quota.

use std::fs;

use crate::snapshot::Server;

#[derive(Debug)]
pub struct Cores {
    pub workers: u32,
    /// The cores to pin to, by worker; empty when workers are not pinned.
    pins: Vec<core_affinity::CoreId>,
}

impl Cores {
    pub fn find(server: &Server) -> Cores {
        let set = core_affinity::get_core_ids().unwrap_or_default();
        let quota = cgroup_quota();
        let under_quota = quota.is_some_and(|q| q < set.len().max(1) as f64);
        let default = match quota {
            Some(q) if under_quota => (q.floor() as u32).max(1),
            _ => set.len().max(1) as u32,
        };
        let workers = server.workers.map_or(default, u32::from).max(1);
        let pinned = server.pin.unwrap_or(!under_quota);
        Cores { workers, pins: if pinned { set } else { Vec::new() } }
    }

    pub fn pin_to(&self, worker: u32) -> Option<core_affinity::CoreId> {
        let at = worker as usize % self.pins.len().max(1);
        self.pins.get(at).copied()
    }
}

/// A file of this process's cgroup and of each one above it. (cgroup v2; a container sees its own
/// as the root.)
fn cgroup_files(name: &str) -> Vec<String> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|l| l.strip_prefix("0::")).unwrap_or("/");
    let above = std::path::Path::new(path).ancestors();
    let files = above.map(|p| format!("/sys/fs/cgroup{}/{name}", p.display()));
    files.filter_map(|file| fs::read_to_string(file).ok()).collect()
}

/// Cores' worth of time that cgroups grant, when they bound it.
fn cgroup_quota() -> Option<f64> {
    cgroup_files("cpu.max").iter().filter_map(|text| read_quota(text)).reduce(f64::min)
}

/// `"150000 100000"` is one and a half cores, `"max 100000"` no bound.
fn read_quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (period > 0.0).then(|| quota / period)
}

/// Bytes this process may use: the cgroup's bound or the machine's memory.
pub fn memory_allowed() -> u64 {
    let files = cgroup_files("memory.max");
    let bounds = files.iter().filter_map(|text| text.trim().parse::<u64>().ok());
    bounds.min().unwrap_or(u64::MAX).min(machine_memory())
}

fn machine_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|l| {
        let rest = l.strip_prefix("MemTotal:")?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    kib.map_or(1 << 30, |k| k << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_read() {
        assert_eq!(read_quota("150000 100000\n"), Some(1.5));
        assert_eq!(read_quota("max 100000\n"), None);
        assert_eq!(read_quota(""), None);
    }
}
