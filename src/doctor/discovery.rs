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
                // The rule itself is in the failure.
                Some("kubernetes" | "flink_kubernetes") if failure.contains("403 Forbidden") => {
                    finding.fix("the Role of the relay's ServiceAccount, in Kubernetes", RULE)
                }
                Some("kubernetes" | "flink_kubernetes") => {
                    finding.fix(PLACE, "api_server: https://HOST:6443")
                }
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
                Some("flink_kubernetes") => finding
                    .fix("a shell, to see what is asked for", PODS)
                    .fix(PLACE, "namespaces: {names: [NAMESPACE]}"),
                Some("kubernetes") => finding.fix(PLACE, "namespaces: {names: [NAMESPACE]}"),
                _ => finding.fix(PLACE, "url: http://HOST:PORT"),
            })
        }
        Ok(_) => None,
    }
}

const RULE: &str = "{apiGroups: [\"\"], resources: [pods], verbs: [list, watch]}";
const PODS: &str = "kubectl get pods -n NAMESPACE -l 'app,component in (jobmanager,taskmanager)'";
const FILE_EXAMPLE: &str = "- targets: [\"HOST:9249\"]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_about_kubernetes() {
        let check = |source: &str, found: Result<usize, &str>, expect: &[&str]| {
            let look = SourceLook {
                job: "flink".to_owned(),
                source: source.to_owned(),
                found: found.map_err(str::to_owned),
            };
            let fixes = of_source(&look).unwrap().fixes;
            assert_eq!(fixes.iter().map(|fix| &*fix.line).collect::<Vec<_>>(), expect, "{source}");
        };
        let (flink, pods) = ("flink_kubernetes this cluster", "kubernetes this cluster");
        let forbidden = "cannot list pods in all namespaces: not allowed (403 Forbidden); add";
        check(flink, Err(forbidden), &[RULE]);
        check(pods, Err(forbidden), &[RULE]);
        check(flink, Err("not in a Kubernetes pod"), &["api_server: https://HOST:6443"]);
        check(flink, Ok(0), &[PODS, "namespaces: {names: [NAMESPACE]}"]);
        check(pods, Ok(0), &["namespaces: {names: [NAMESPACE]}"]);
    }
}
