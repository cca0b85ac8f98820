//! This machine: the data directory, the clock, and checks that were not over.

use super::{
    Finding, Id,
    Severity::{Problem, Warning},
    clock,
    evidence::{DirectoryLook, Evidence},
};
use crate::config::{ByteSize, Config};

/// All findings about this machine.
pub(super) fn findings(evidence: &Evidence, config: &Config) -> Vec<Finding> {
    let directory = evidence.data_dir.iter().flat_map(|look| directory(look, config));
    let unfinished = evidence.unfinished.iter().map(|what| {
        let why = "time was up before it was over, so nothing is known about it";
        Finding::new(Id::Unfinished, Warning, what, "not looked at to the end", why)
            .fix("the command line of doctor", "--max-time 2m")
    });
    directory.chain(clock::own(evidence.now_ms)).chain(unfinished).collect()
}

fn directory(look: &DirectoryLook, config: &Config) -> Vec<Finding> {
    let path = look.path.display().to_string();
    let mut findings = Vec::new();
    if let Some(fault) = &look.fault {
        let seen = format!("nothing can be written in {}: {fault}", look.present.display());
        let why = "`run` does not start without its data directory";
        findings.push(
            Finding::new(Id::DataDirUnusable, Problem, &path, seen, why)
                .fix(
                    "this machine, for the user that the relay runs as",
                    format!("install -d -o flinkrelay {path}"),
                )
                .fix(
                    "or the relay's command line: another place",
                    "--data-dir /var/lib/flinkrelay",
                ),
        );
    } else if look.in_use {
        let why = "as it should be when that is this relay at work; a second one with the same directory does not start";
        findings.push(
            Finding::new(Id::DataDirInUse, Warning, &path, "another process has it", why)
                .fix("this machine: who", format!("fuser -v {path}/lock")),
        );
    }
    let wanted =
        config.receivers.iter().fold(0_u64, |sum, r| sum.saturating_add(r.queue.max_bytes));
    if let Some(free) = look.free_bytes.filter(|free| *free < wanted && look.fault.is_none()) {
        let receivers = config.receivers.len();
        let seen = format!(
            "{} are free, and the spools of {receivers} receiver(s) may take {}",
            size(free),
            size(wanted)
        );
        let why = "a disk that is full before the spool is drops its oldest samples early";
        let each = free / 2 / receivers.max(1) as u64;
        findings.push(Finding::new(Id::DataDirSmall, Warning, &path, seen, why).fix(
            "the relay's remote_write, each",
            format!("queue_config: {{max_bytes: {}}}", ByteSize(each >> 20 << 20)),
        ));
    }
    findings
}

/// Rounded down, for people.
pub(super) fn size(bytes: u64) -> String {
    let mib = bytes >> 20;
    if mib < 10_240 { format!("{mib} MiB") } else { format!("{} GiB", mib >> 10) }
}
