//! The process metrics that every Prometheus client exports, under the names that dashboards and
//! alerts know: `process_cpu_seconds_total`, `process_resident_memory_bytes` and so on.
//!
//! They are read from `/proc` when somebody asks. On systems without `/proc` there are none, and a
//! file that cannot be read costs its own metrics only.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// Reads the metrics of this process.
#[derive(Debug)]
pub(super) struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (stat, status) = (Stat::parse(&read("/proc/self/stat")), read("/proc/self/status"));
        let started = boot_seconds(&read("/proc/stat"))
            .zip(stat)
            .map(|(boot, stat)| boot + stat.start_ticks / TICKS_PER_SECOND);
        // The directory is open itself while it is read.
        let open_fds = fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as f64 - 1.0);
        let mut write = |name, help, value: Option<&dyn EncodeMetric>| {
            let Some(value) = value else { return Ok(()) };
            value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)
        };
        let cpu = stat.map(|stat| ConstCounter::new(stat.cpu_ticks / TICKS_PER_SECOND));
        let help = "User and system CPU time of the process.";
        write("process_cpu_seconds", help, cpu.as_ref().map(|cpu| cpu as _))?;
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Memory of the process that is in RAM.",
                status_bytes(&status, "VmRSS:"),
            ),
            (
                "process_virtual_memory_bytes",
                "Address space of the process.",
                status_bytes(&status, "VmSize:"),
            ),
            ("process_threads", "Threads of the process.", stat.map(|stat| stat.threads)),
            ("process_open_fds", "Open file descriptors.", open_fds),
            (
                "process_max_fds",
                "File descriptors that may be open, the soft limit.",
                fds_max(&read("/proc/self/limits")),
            ),
            ("process_start_time_seconds", "When the process started.", started),
        ] {
            let gauge = value.map(ConstGauge::new);
            write(name, help, gauge.as_ref().map(|gauge| gauge as _))?;
        }
        Ok(())
    }
}

/// The wanted fields of `/proc/PID/stat`, see proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    threads: f64,
    start_ticks: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name, in brackets, and may hold anything.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // The manual counts from 1, and two fields are gone.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let cpu_ticks = field(14)? + field(15)?;
        Some(Self { cpu_ticks, threads: field(20)?, start_ticks: field(22)? })
    }
}

/// When the machine started, in seconds since the epoch, from `/proc/stat`.
fn boot_seconds(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// A line of `/proc/PID/status` that counts kibibytes.
fn status_bytes(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// The soft limit of open files, from `/proc/PID/limits`; `None` when there is none.
fn fds_max(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// `USER_HZ`, the unit of CPU times in `/proc`: 100 on every architecture that Rust's Linux targets
/// run on, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4711 (a ) b) S 1 4711 4711 0 -1 4194560 2000 0 3 0 250 31 0 0 20 0 7 0 \
                        888000 1234567168 2560 18446744073709551615 1 1 0 0 0 0 0 4096 17 0 0 0";

    #[test]
    fn fields_are_found_behind_any_program_name() {
        let expect = Stat { cpu_ticks: 281.0, threads: 7.0, start_ticks: 888_000.0 };
        assert_eq!(Stat::parse(STAT), Some(expect));
        assert_eq!(Stat::parse(""), None);
        assert_eq!(Stat::parse("1 (a) S 1 2 3"), None);
    }

    #[test]
    fn the_other_files_are_read_line_by_line() {
        let status = "VmPeak:\t  300 kB\nVmSize:\t  200 kB\nVmRSS:\t   100 kB\n";
        assert_eq!(status_bytes(status, "VmRSS:"), Some(102_400.0));
        assert_eq!(status_bytes(status, "VmSwap:"), None);
        assert_eq!(boot_seconds("cpu  1 2 3\nbtime 1700000000\nprocesses 9\n"), Some(1.7e9));
        let limits =
            "Limit   Soft Limit  Hard Limit  Units\nMax open files   1024   4096   files\n";
        assert_eq!(fds_max(limits), Some(1024.0));
        assert_eq!(fds_max("Max open files   unlimited   unlimited   files\n"), None);
    }
}
