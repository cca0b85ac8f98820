//! Why does no data arrive? From what was seen to findings that say what to write where.
//!
//! ```text
//!  [survey] -> Evidence: each port, page, REST API and receiver as it answered; the data directory
//!      -> rules, one after the other -> Finding: id, severity, seen, why, fixes -> [cli]
//! ```
//!
//! A rule is a function of the whole evidence, since causes show in one place and effects in another: a
//! port that nobody listens on means something else when Flink's own configuration refuses the reporter.
//! Rules do not hide one another's findings, but for those that the evidence contradicts.
//!
//! | module | rules about |
//! |---|---|
//! | [`evidence`] | none: what was seen, as plain data |
//! | `flink` | Flink's configuration, version and log, as REST tells them |
//! | `settings` | what its reporters' keys mean in which version |
//! | `discovery` | where targets are looked for |
//! | `targets` | targets without a Flink page |
//! | `foreign` | what answers there instead |
//! | `pages` | pages that fail, or of which nothing is left |
//! | `receivers` | receivers' answers |
//! | `limits` | labels that a receiver does not take |
//! | `clock` | clocks |
//! | `here` | this machine |
//! | [`letter`] | none: what a receiver is sent |
//!
//! Invariants: no finding without a line to put somewhere; an id never changes its meaning, since scripts
//! and runbooks name it.

mod clock;
mod discovery;
pub mod evidence;
mod finding;
mod flink;
mod foreign;
mod here;
pub mod letter;
mod limits;
mod pages;
mod receivers;
mod settings;
mod targets;
#[cfg(test)]
mod tests;
mod well;

use serde::Serialize;

use self::evidence::Evidence;
pub use self::finding::{Finding, Fix, Id, Severity};
use crate::config::Config;

/// What is concluded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// What is wrong: problems first, causes before their effects.
    pub findings: Vec<Finding>,
    /// What is as it should be, a line each.
    pub well: Vec<Well>,
}

/// Something that is as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Well {
    /// A target, a receiver, a REST API, a directory.
    pub subject: String,
    /// What was seen of it.
    pub seen: String,
}

impl Diagnosis {
    /// Number of findings of that severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Draws the conclusions.
pub fn examine(evidence: &Evidence, config: &Config) -> Diagnosis {
    let mut findings = flink::findings(evidence);
    findings.extend(discovery::findings(evidence));
    findings.extend(targets::findings(evidence));
    findings.extend(pages::findings(evidence, config));
    findings.extend(receivers::findings(evidence));
    findings.extend(limits::findings(evidence));
    findings.extend(here::findings(evidence, config));
    findings.sort_by_key(|finding| finding.severity);
    Diagnosis { findings, well: well::all(evidence) }
}
