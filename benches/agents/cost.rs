//! What a process has cost so far, from /proc.

use std::fs;

/// CPU time of a process so far, in seconds.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    /// By /proc/PID/stat: whole ticks, threads that have ended included.
    ticks: f64,
    /// By the schedstat of its threads: nanoseconds, those that have ended not included.
    threads: f64,
}

impl Cpu {
    /// Linux counts in hundredths of a second on all architectures that we know of.
    const TICK: f64 = 0.01;

    pub(crate) fn of(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let nanoseconds = threads.filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        });
        let threads = nanoseconds.sum::<f64>() / 1e9;
        Self { ticks: (ticks(11) + ticks(12)) * Self::TICK, threads }
    }

    /// What it took since then. A sidecar takes a tick in ten seconds, so the threads' time counts where the two agree.
    pub(crate) fn since(self, before: Self) -> f64 {
        let (ticks, threads) = (self.ticks - before.ticks, self.threads - before.threads);
        if (ticks - threads).abs() <= 2.0 * Self::TICK { threads } else { ticks }
    }
}

/// The most memory that a process has had resident.
pub(crate) fn peak_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0)
        / 1024.0
}
