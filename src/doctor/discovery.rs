//! Sources of targets that cannot tell, or that know of nothing.

use super::{
    Finding, Id,
    Severity::{Problem, Warning},
    evidence::{Evidence, SourceLook},
};

/// All findings about `…_sd_configs`.
pub(super) fn findings(evidence: &Evidence) -> Vec<Finding> {
    evidence.discovery.iter().filter_map(of_source).collect()
}

/// Whether it is told here why there is no target.
pub(super) fn explains_none(evidence: &Evidence) -> bool {
    let sources = &evidence.discovery;
    !sources.is_empty() && sources.iter().all(|source| !matches!(source.found, Ok(1..)))
}

/// As logs and `/targets` name it.
pub(super) fn subject(look: &SourceLook) -> String {
    format!("{} (job {})", look.source, look.job)
}

fn of_source(look: &SourceLook) -> Option<Finding> {
    const PLACE: &str = "the relay's configuration, the entry of scrape_configs";
    match &look.found {
        Err(failure) => {
            let why =
                "its targets are not known; while the relay runs, those it knew before are kept";
            let finding = Finding::new(Id::DiscoveryFails, Problem, subject(look), failure, why);
            Some(match look.source.split(' ').next() {
                Some("file") => finding.fix("that file, as Prometheus writes it", FILE_EXAMPLE),
                Some("dns") => finding.fix("this machine, /etc/resolv.conf", "nameserver ADDRESS"),
                _ => finding.fix(PLACE, "url: http://HOST:PORT"),
            })
        }
        Ok(0) => {
            let seen = "it answers, and names no target";
            let why = "nothing is scraped because of this entry until it names some";
            let finding = Finding::new(Id::DiscoveryEmpty, Warning, subject(look), seen, why);
            Some(match look.source.split(' ').next() {
                Some("file") => finding.fix(PLACE, "files: [/PATH/*.yaml]"),
                Some("dns") => finding.fix(PLACE, "names: [_SERVICE._tcp.DOMAIN]"),
                _ => finding.fix(PLACE, "url: http://HOST:PORT"),
            })
        }
        Ok(_) => None,
    }
}

const FILE_EXAMPLE: &str = "- targets: [\"HOST:9249\"]";
