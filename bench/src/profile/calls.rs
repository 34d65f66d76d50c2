//! What strace and perf wrote about system calls.

use std::collections::BTreeMap;

/// Calls by name, of `strace -c`'s table.
pub fn counts(text: &str) -> BTreeMap<String, u64> {
    let table = text.lines().skip_while(|line| !line.trim_start().starts_with("% time"));
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (name, calls) = (fields.last()?, fields.get(3)?);
        Some(((*name).to_owned(), calls.parse::<u64>().ok()?))
    };
    table.filter_map(row).filter(|(name, _)| name != "total").collect()
}

/// Ring operations that were submitted: `io_uring_enter` returns how many it took.
pub fn submitted(text: &str) -> u64 {
    let enters = text.lines().filter(|l| l.contains("io_uring_enter") && !l.ends_with("...>"));
    let result = |line: &str| line.rsplit_once("= ")?.1.split_whitespace().next()?.parse().ok();
    enters.filter_map(result).filter(|n: &i64| *n > 0).sum::<i64>() as u64
}

/// Counts by event, of `perf stat -x,`; what perf could not count is left out.
pub fn events(text: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let mut fields = line.split(',');
        let count = fields.next()?.parse().ok()?;
        Some((fields.nth(1)?.to_owned(), count))
    };
    text.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRACE: &str = "\
71 recvfrom(9, \"GET /128\", 8192, 0, NULL, NULL) = 40\n\
71 io_uring_enter(5, 2, 1, IORING_ENTER_GETEVENTS, NULL, 128 <unfinished ...>\n\
71 <... io_uring_enter resumed>)         = 2\n\
71 io_uring_enter(5, 1, 1, IORING_ENTER_GETEVENTS, NULL, 128) = 1\n\
71 io_uring_enter(5, 0, 1, 0, NULL, 128) = -1 ETIME (Timer expired)\n\
% time     seconds  usecs/call     calls    errors syscall\n\
------ ----------- ----------- --------- --------- ----------------\n\
 50.00    0.000100           1       100        20 recvfrom\n\
 49.00    0.000098          32         3           io_uring_enter\n\
------ ----------- ----------- --------- --------- ----------------\n\
100.00    0.000198           1       103        20 total\n";

    #[test]
    fn straces_table_is_understood() {
        let counts: Vec<_> = counts(STRACE).into_iter().collect();
        let expect = [("io_uring_enter".to_owned(), 3), ("recvfrom".to_owned(), 100)];
        assert_eq!(counts, expect);
    }

    #[test]
    fn what_the_ring_took_is_summed() {
        assert_eq!(submitted(STRACE), 3);
    }

    #[test]
    fn perfs_lines_are_understood() {
        let text = "# started on\n\n29,,raw_syscalls:sys_enter,1058150,100.00,,\n\
                    <not counted>,,io_uring:io_uring_submit_req,0,100.00,,\n";
        let expect = [("raw_syscalls:sys_enter".to_owned(), 29)];
        assert_eq!(events(text).into_iter().collect::<Vec<_>>(), expect);
    }
}
