//! `process_*`: what the operating system says of this process, read when a scrape asks. These names have no prefix:
//! every Prometheus client gives them under the same ones, and dashboards rely on it.

use super::metrics::{Kind, MetricInfo};

/// One reading; what the system does not tell is left out.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProcessSample {
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// CPU time, user and system.
    pub cpu_seconds: Option<f64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// The limit on them.
    pub max_fds: Option<u64>,
}

/// Reads `/proc/self`.
pub fn sample() -> ProcessSample {
    let statm = std::fs::read_to_string("/proc/self/statm").ok();
    let page = u64::try_from(rustix::param::page_size()).unwrap_or_default();
    ProcessSample {
        resident_bytes: statm.as_deref().and_then(resident_pages).map(|pages| pages * page),
        cpu_seconds: cpu_seconds_of(std::process::id()),
        open_fds: open_fds(),
        max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
    }
}

/// CPU time of a process of this machine, user and system.
pub fn cpu_seconds_of(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    cpu_ticks(&stat).map(seconds)
}

#[expect(clippy::cast_precision_loss, reason = "2^53 ticks are longer than a process lives")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

#[expect(clippy::disallowed_methods, reason = "/proc is no data directory")]
fn open_fds() -> Option<u64> {
    // The descriptor that lists the folder is one of them.
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u64::try_from(count).ok()
}

fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// User and system time. The program's name, in parentheses, may hold spaces and parentheses itself.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

const fn info(name: &'static str, kind: Kind, help: &'static str) -> MetricInfo {
    MetricInfo { name, kind, labels: &[], help }
}

/// The metrics this file gives.
pub const INFOS: [MetricInfo; 5] = [
    info("process_resident_memory_bytes", Kind::Gauge, "Resident memory."),
    info("process_cpu_seconds_total", Kind::Counter, "CPU time spent, user and system."),
    info("process_open_fds", Kind::Gauge, "Open file descriptors."),
    info("process_max_fds", Kind::Gauge, "The limit on open file descriptors."),
    info("process_start_time_seconds", Kind::Gauge, "When the process started, in Unix seconds."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_proc_are_found_after_any_program_name() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu_ticks(stat), Some(200));
        assert_eq!(cpu_ticks("7 (x) S 1"), None);
        assert_eq!(resident_pages("900 123 4"), Some(123));
        assert_eq!(resident_pages(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_descriptors() {
        let sample = sample();
        assert!(sample.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(sample.open_fds.is_some_and(|fds| fds >= 3) && sample.cpu_seconds.is_some());
    }
}
