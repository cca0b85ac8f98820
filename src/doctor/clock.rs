//! Clocks that differ: samples carry this machine's time, and receivers hold it against their own.

use super::{Finding, Id, Severity};

/// Skew from which a person is told: HTTP dates have whole seconds, and answers take their way.
pub(super) const NOTICED_MS: i64 = 5_000;

/// Skew from which data goes missing: Prometheus looks back five minutes for the present value, and Mimir
/// refuses what is ten minutes ahead.
pub(super) const HARMFUL_MS: i64 = 300_000;

/// 2026-01-01: a clock before this program was written is wrong.
const EARLIEST_MS: i64 = 1_767_225_600_000;

/// Who is ahead of whom, and by how much.
pub(super) fn skew(whose: &str, skew_ms: i64) -> String {
    let seconds = skew_ms.unsigned_abs().div_ceil(1000);
    let by = match seconds {
        0..=120 => format!("{seconds} s"),
        121..=7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    };
    let way = if skew_ms > 0 { "ahead of" } else { "behind" };
    format!("{whose} is {by} {way} this machine's")
}

/// Adds what sets clocks right.
pub(super) fn remedy(finding: Finding) -> Finding {
    finding
        .fix(
            "both machines: see which clock is wrong",
            "timedatectl timesync-status || chronyc tracking",
        )
        .fix("the machine whose clock is wrong", "timedatectl set-ntp true")
}

/// This machine's clock by itself.
pub(super) fn own(now_ms: i64) -> Option<Finding> {
    if now_ms >= EARLIEST_MS {
        return None;
    }
    let seen = format!("it is {} ms after 1970 by this machine's clock", now_ms.max(0));
    let why = "every sample carries that time, so receivers refuse it as too old or file it where nobody looks";
    let finding = Finding::new(Id::Clock, Severity::Problem, "this machine", seen, why);
    Some(finding.fix("this machine", "timedatectl set-ntp true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skews_in_words() {
        let check = |skew_ms, words| assert_eq!(skew("X", skew_ms), words);
        check(5_000, "X is 5 s ahead of this machine's");
        check(-601_000, "X is 10 min 1 s behind this machine's");
        check(7_260_000, "X is 2 h 1 min ahead of this machine's");
    }

    #[test]
    fn a_clock_of_the_past_is_wrong() {
        assert!(own(1_795_406_400_000).is_none());
        assert_eq!(own(1_000).map(|finding| finding.id), Some(Id::Clock));
        assert_eq!(own(-1).map(|finding| finding.id), Some(Id::Clock));
    }
}
