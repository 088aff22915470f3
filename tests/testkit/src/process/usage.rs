//! What a process uses, read from `/proc`.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fs, io};

/// One reading of one process (its children not included).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Resident now.
    pub rss_bytes: u64,
    /// The most that was ever resident.
    pub rss_bytes_peak: u64,
    /// User and system time of all threads since the start, to the kernel's tick (usually 10 ms).
    pub cpu: Duration,
    /// Sent towards the disk since the start, page cache to device; 0 where the kernel does not count it.
    pub disk_bytes_written: u64,
    pub threads: u32,
}

pub(super) fn of(pid: u32) -> io::Result<Usage> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
    let stat = read("stat")?;
    let status = read("status")?;
    let disk = read("io").unwrap_or_default();
    parse(&stat, &status, &disk, ticks_per_second())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("process {pid} has ended")))
}

/// By name; threads that have ended are not in it.
pub(super) fn cpu_by_thread(pid: u32) -> io::Result<BTreeMap<String, Duration>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        // It may end meanwhile.
        let Ok(stat) = fs::read_to_string(entry?.path().join("stat")) else {
            continue;
        };
        let name = stat.split_once('(').and_then(|(_, it)| it.rsplit_once(')'));
        if let (Some((name, _)), Some(cpu)) = (name, cpu(&stat, ticks_per_second())) {
            *all.entry(name.to_owned()).or_default() += cpu;
        }
    }
    Ok(all)
}

fn ticks_per_second() -> u64 {
    // SAFETY: sysconf reads no memory of ours.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks_per_second).unwrap_or(100)
}

/// Of a process's or a thread's `stat`.
fn cpu(stat: &str, ticks_per_second: u64) -> Option<Duration> {
    // The second field is the program's name in brackets and may itself hold blanks and brackets.
    let mut after_name = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || after_name.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    Some(Duration::from_millis(
        ticks * 1000 / ticks_per_second.max(1),
    ))
}

/// `None` when a field is missing, as it is for a process that has ended and was not waited for.
fn parse(stat: &str, status: &str, disk: &str, ticks_per_second: u64) -> Option<Usage> {
    Some(Usage {
        rss_bytes: field(status, "VmRSS:")? * 1024,
        rss_bytes_peak: field(status, "VmHWM:")? * 1024,
        cpu: cpu(stat, ticks_per_second)?,
        disk_bytes_written: field(disk, "write_bytes:").unwrap_or(0),
        threads: u32::try_from(field(status, "Threads:")?).ok()?,
    })
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let stat =
            "4242 (a) b (c) S 1 4242 4242 0 -1 4194560 900 0 0 0 150 50 7 7 20 0 12 0 100 1 1 1";
        let status = "Name:\ta) b (c\nVmHWM:\t    2000 kB\nVmRSS:\t    1000 kB\nThreads:\t12\n";
        assert_eq!(
            parse(
                stat,
                status,
                "rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 9\n",
                100
            ),
            Some(Usage {
                rss_bytes: 1_024_000,
                rss_bytes_peak: 2_048_000,
                cpu: Duration::from_secs(2),
                disk_bytes_written: 4096,
                threads: 12
            })
        );
    }

    #[test]
    fn a_zombie_has_no_memory_and_no_reading() {
        assert_eq!(
            parse(
                "1 (x) Z 1 1 1 0 -1 0 0 0 0 0 1 1 0 0",
                "Name:\tx\nThreads:\t1\n",
                "",
                100
            ),
            None
        );
    }
}
