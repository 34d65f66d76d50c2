//! What the kernel knows of this process, for the metrics that every Prometheus program has.
//! Costs some reads of /proc, 0.1 ms, for each scrape.

use std::fs;

use crate::metrics::expose::Process;

/// One tick of /proc's processor times: USER_HZ is 100 on everything that this is built for.
const TICK_US: u64 = 10_000;

/// Zeros where /proc is not mounted.
pub(super) fn process() -> Process {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    Process {
        cpu_us: ticks(&stat) * TICK_US,
        resident_bytes: kib(&status, "VmRSS") << 10,
        virtual_bytes: kib(&status, "VmSize") << 10,
        open_fds: open_fds(),
        max_fds: rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(0, |(soft, _)| soft),
    }
}

/// User and system time. The second field is a name that may hold anything (proc(5)).
fn ticks(stat: &str) -> u64 {
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    let fields = behind.split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn kib(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Since Linux 6.2 the size of the directory is their number; before, they are walked.
fn open_fds() -> u64 {
    let told = fs::metadata("/proc/self/fd").map_or(0, |fds| fds.len());
    match told {
        // One of those that are seen is the directory itself.
        0 => fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count().saturating_sub(1) as u64),
        told => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_brackets_and_spaces_is_stepped_over() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20";
        assert_eq!(ticks(stat), 150);
        assert_eq!(ticks(""), 0);
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let before = process();
        assert!(before.resident_bytes > 1 << 20 && before.virtual_bytes >= before.resident_bytes);
        let _file = fs::File::open("/proc/self/stat").unwrap();
        let now = process();
        assert!(now.open_fds >= 1 && now.open_fds <= now.max_fds);
    }
}
