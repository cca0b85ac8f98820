//! What Flink's REST API says against what a reporter needs: the most frequent reason for an empty
//! database is a line of Flink's configuration that this version of Flink refuses or ignores.
//!
//! Rules about a reporter that does not start are left out where the JobManager's page was seen: it
//! has started then, whatever the configuration of this REST API says.

use super::{
    Finding, Id,
    Severity::{Problem, Warning},
    evidence::{ClusterLook, Evidence, PortAnswer, TargetLook, task_managers_shown},
    settings::{FACTORY, Kind, Reporter, Version, spelt, value},
    targets::started_port,
};
use crate::flink::Role;

/// All findings about Flink's clusters.
pub(super) fn findings(evidence: &Evidence) -> Vec<Finding> {
    evidence.clusters.iter().flat_map(|cluster| of_cluster(evidence, cluster)).collect()
}

fn of_cluster(evidence: &Evidence, cluster: &ClusterLook) -> Vec<Finding> {
    if let Some(failure) = &cluster.failure {
        return unreachable(evidence, cluster, failure).into_iter().collect();
    }
    let mut findings = Vec::new();
    let version = cluster.version.as_deref().map_or(Version::UNKNOWN, Version::new);
    if let Some(settings) = &cluster.settings {
        let about = About { evidence, cluster, version, settings };
        let reporters = Reporter::all(settings);
        let mut prometheus = reporters.iter().filter(|r| r.kind() == Kind::Prometheus).peekable();
        if prometheus.peek().is_none() {
            findings.extend(about.no_reporter(&reporters));
        }
        for reporter in prometheus {
            findings.extend(about.start(reporter));
            findings.extend(about.keys(reporter));
        }
    }
    findings.extend(jar_of_task_managers(cluster));
    findings.extend(unseen(evidence, cluster));
    findings.extend(clock(cluster));
    findings
}

/// Flink's version on this host, as far as it is known.
pub(super) fn version_of(evidence: &Evidence, host: &str) -> Version {
    let mut clusters = evidence.clusters.iter().filter(|cluster| cluster.version.is_some());
    let of_host = clusters.clone().find(|cluster| cluster.host == host);
    let cluster = of_host.or_else(|| clusters.next().filter(|_| evidence.clusters.len() == 1));
    let version = cluster.and_then(|cluster| cluster.version.as_deref());
    version.map_or(Version::UNKNOWN, Version::new)
}

/// The file of Flink's configuration on this host.
pub(super) fn config_file(evidence: &Evidence, host: &str) -> &'static str {
    version_of(evidence, host).config_file()
}

/// Whether the JobManager of this cluster shows its page to one of the targets.
fn job_manager_is_seen(evidence: &Evidence, cluster: &ClusterLook) -> bool {
    let only = evidence.clusters.len() == 1;
    evidence
        .targets
        .iter()
        .filter(|target| only || target.spec.host == cluster.host)
        .any(|target| roles(target).any(|role| matches!(role, Role::JobManager | Role::Both)))
}

fn roles(target: &TargetLook) -> impl Iterator<Item = Role> + '_ {
    target.ports.iter().filter_map(|port| match &port.answer {
        PortAnswer::Flink(page) => Some(page.role),
        _ => None,
    })
}

fn unreachable(evidence: &Evidence, cluster: &ClusterLook, failure: &str) -> Option<Finding> {
    // Of an address that nobody named, only a JobManager's absence is news.
    if !cluster.named && !job_manager_is_seen(evidence, cluster) {
        return None;
    }
    let why = "without it jobs, tasks and TaskManagers keep the names that the reporter mangled, and \
               doctor cannot look at Flink's configuration; scrapes and pushes do not depend on it";
    Some(
        Finding::new(Id::RestUnreachable, Warning, &cluster.url, failure, why)
            .fix("the relay's command line", "--flink-rest http://JOBMANAGER:8081")
            .fix(
                "Flink's configuration, when REST listens on localhost only (the default since 1.15)",
                "rest.bind-address: 0.0.0.0",
            )
            .fix("or, to do without REST, the relay's command line", "--flink-rest off"),
    )
}

/// A cluster's settings, with what is needed to judge them.
struct About<'e> {
    evidence: &'e Evidence,
    cluster: &'e ClusterLook,
    version: Version,
    settings: &'e [(String, String)],
}

impl About<'_> {
    fn finding(&self, id: Id, seen: impl Into<String>, why: impl Into<String>) -> Finding {
        let subject = match &self.cluster.version {
            Some(version) => format!("Flink {version} at {}", self.cluster.url),
            None => format!("Flink at {}", self.cluster.url),
        };
        Finding::new(id, Problem, subject, seen, why)
    }

    fn file(&self) -> String {
        format!("{}, JobManager and TaskManagers alike", self.version.config_file())
    }

    fn is_seen(&self) -> bool {
        job_manager_is_seen(self.evidence, self.cluster)
    }

    fn no_reporter(&self, reporters: &[Reporter<'_>]) -> Option<Finding> {
        if self.is_seen() {
            return None;
        }
        let pushes = reporters.iter().find(|reporter| reporter.kind() == Kind::PushGateway);
        let finding = match pushes {
            Some(gateway) => self.finding(
                Id::ReporterPushes,
                format!(
                    "the only reporter for Prometheus is `{}`, which pushes to a gateway",
                    gateway.name
                ),
                "a reporter that pushes opens no port, so there is nothing to scrape",
            ),
            None => self.finding(
                Id::ReporterMissing,
                "its configuration has no reporter for Prometheus",
                "without the reporter no process opens a port, and there is nothing to scrape",
            ),
        };
        Some(
            finding
                .fix(self.file(), format!("metrics.reporter.prom.factory.class: {FACTORY}"))
                .fix("the same file", "metrics.reporter.prom.port: 9250-9260"),
        )
    }

    /// Why it may not have started.
    fn start(&self, reporter: &Reporter<'_>) -> Vec<Finding> {
        if self.is_seen() {
            return Vec::new();
        }
        let mut findings: Vec<Finding> = match (reporter.factory(), reporter.class()) {
            (None, Some(class)) => self.class(reporter, class).into_iter().collect(),
            (factory, _) if !reporter.factory_may_be() => {
                let key = reporter.key("factory.class");
                let seen = match factory {
                    Some(factory) => format!("{key}: {factory}, which is no factory of Flink's"),
                    None => format!("keys of a reporter `{}` without {key}", reporter.name),
                };
                let why = "Flink starts a reporter by its factory and goes on without one that it does not know";
                vec![
                    self.finding(Id::ReporterFactory, seen, why)
                        .fix(self.file(), format!("{key}: {FACTORY}")),
                ]
            }
            _ => Vec::new(),
        };
        if !reporter.is_listed(self.settings) {
            let list = value(self.settings, "metrics.reporters").unwrap_or_default();
            let seen = format!("metrics.reporters: {list}, without `{}`", reporter.name);
            let why = "where that list is given, Flink starts no other reporter";
            let line = format!("metrics.reporters: {list},{}", reporter.name);
            findings.push(self.finding(Id::ReporterNotListed, seen, why).fix(self.file(), line));
        }
        let missing =
            self.cluster.log.iter().find(|line| line.contains("could not be found for reporter"));
        if let Some(line) = missing.filter(|_| reporter.factory_may_be()) {
            let version = self.cluster.version.as_deref().unwrap_or("VERSION");
            findings.push(
                self.finding(
                    Id::ReporterJar,
                    format!("the JobManager's log: {line}"),
                    "the reporter's jar is not in this installation, so Flink goes on without the reporter",
                )
                .fix(
                    "every image or installation of Flink: put the jar of Flink's distribution there",
                    format!("plugins/metrics-prometheus/flink-metrics-prometheus-{version}.jar"),
                ),
            );
        }
        findings.extend(self.ports(reporter));
        findings.extend(self.settings_refused(reporter));
        findings
    }

    /// A setting that Flink cannot read costs the reporter, and nothing else.
    fn settings_refused(&self, reporter: &Reporter<'_>) -> Option<Finding> {
        let words = format!("Could not instantiate metrics reporter {}.", reporter.name);
        let line = self.cluster.log.iter().find(|line| line.contains(&words))?;
        if line.contains("on any configured port") {
            return None;
        }
        let why = "Flink could not read one of the reporter's settings, and goes on without the reporter. Most often \
                   a filter stands in quotation marks, which flink-conf.yaml takes for a part of it";
        let key = reporter.key("filter.excludes");
        let line = format!("the JobManager's log: {line}");
        Some(self.finding(Id::ReporterFails, line, why).fix(
            self.file(),
            format!("{key}: *:numBuffers*   # without quotation marks in flink-conf.yaml"),
        ))
    }

    fn class(&self, reporter: &Reporter<'_>, class: &str) -> Option<Finding> {
        let seen = format!("{}: {class}, and no factory.class", reporter.key("class"));
        let (severity, why) = match self.version {
            version if version < Version(1, 16) => return None,
            Version(1, 16) => (Warning, "1.16 warns of this key, and 1.17 refuses it"),
            version if version < Version(2, 0) => (
                Problem,
                "Flink 1.17 to 1.20 refuses this key (\"no longer supported approach\") and runs without a reporter",
            ),
            Version::UNKNOWN => {
                (Warning, "from 1.17 on Flink refuses this key and runs without a reporter")
            }
            _ => (
                Problem,
                "Flink 2.0 and later does not know this key (\"No metrics reporter configured\") and runs without a reporter",
            ),
        };
        let line = format!("{}: {FACTORY}", reporter.key("factory.class"));
        let finding = self.finding(Id::ReporterClass, seen, why).fix(self.file(), line);
        Some(Finding { severity, ..finding })
    }

    /// Whether each process of a host can have a port.
    fn ports(&self, reporter: &Reporter<'_>) -> Option<Finding> {
        let key = reporter.key("port");
        let taken = self.cluster.log.iter().find(|line| line.contains("on any configured port"));
        let ports = reporter.ports()?;
        let count: usize = ports.iter().map(ExactSizeIterator::len).sum();
        let crowded = self.crowded(count);
        let seen = match (taken, crowded) {
            (Some(line), _) => format!("the JobManager's log: {line}"),
            (None, Some((host, processes))) => {
                let spelt: Vec<_> = ports.iter().map(spelt).collect();
                format!("{key}: {}, and {processes} processes run on {host}", spelt.join(","))
            }
            (None, None) => return None,
        };
        let why =
            "each process takes a port of its own, and one that finds none free has no reporter";
        let first = ports.first().map_or(9250, |range| *range.start());
        let line = format!("{key}: {first}-{}", first.saturating_add(PORTS_TO_SPARE));
        Some(self.finding(Id::ReporterPorts, seen, why).fix(self.file(), line))
    }

    /// A host with more TaskManagers than there are ports.
    fn crowded(&self, ports: usize) -> Option<(&str, usize)> {
        let hosts = self.cluster.task_managers.iter().map(|(_, host)| host.as_str());
        let counted =
            hosts.clone().map(|host| (host, hosts.clone().filter(|h| *h == host).count()));
        counted.filter(|(_, processes)| *processes > ports).max_by_key(|(_, processes)| *processes)
    }

    /// Keys that hide something, or that do nothing in this version.
    fn keys(&self, reporter: &Reporter<'_>) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (key, since, what) in SINCE {
            if let Some(value) = reporter.get(key).filter(|_| self.version < since) {
                let seen = format!("{}: {value}", reporter.key(key));
                let why = format!(
                    "Flink {} does not know this key, which came with {since}: {what}",
                    self.version
                );
                let finding = self.finding(Id::ReporterIgnored, seen, why);
                let fixes = finding.fix(self.file(), format!("# {}: {value}", reporter.key(key)));
                findings.push(Finding { severity: Warning, ..fixes });
            }
        }
        if let Some(host) = reporter.get("host") {
            let seen = format!("{}: {host}", reporter.key("host"));
            let why = "the reporter has no such key and listens on all addresses: who is to reach it is \
                       decided by the network, not here";
            let finding = self.finding(Id::ReporterHost, seen, why);
            let fixes = finding.fix(self.file(), format!("# {}: {host}", reporter.key("host")));
            findings.push(Finding { severity: Warning, ..fixes });
        }
        for key in ["filter.includes", "filter.excludes", "allowList"] {
            let since = SINCE.iter().find(|(known, ..)| *known == key).map(|(_, since, _)| *since);
            let Some(value) = reporter.get(key).filter(|_| Some(self.version) >= since) else {
                continue;
            };
            // The values that Flink has anyway.
            if (key, value) == ("filter.includes", "*:*:*") {
                continue;
            }
            findings.push(self.filter(reporter, key, value));
        }
        findings.extend(self.variables(reporter));
        findings
    }

    fn filter(&self, reporter: &Reporter<'_>, key: &str, value: &str) -> Finding {
        let key = reporter.key(key);
        let why = "metrics that the reporter filters out are on no page, and no setting of the relay \
                   brings them back";
        let finding = self.finding(Id::ReporterFilter, format!("{key}: {value}"), why);
        let finding = finding
            .fix(format!("to have them all: {}", self.file()), format!("# {key}: {value}"))
            .fix("and to choose behind the page, the relay's command line", "--groups GROUPS");
        Finding { severity: Warning, ..finding }
    }

    fn variables(&self, reporter: &Reporter<'_>) -> Option<Finding> {
        let key = reporter.key("scope.variables.excludes");
        let list = reporter.get("scope.variables.excludes")?;
        let names = list.trim_matches(['[', ']']).split([';', ',']);
        let names: Vec<_> =
            names.map(|name| name.trim().trim_matches(['<', '>', '"', '\''])).collect();
        let hidden = |of: &[&'static str]| -> Vec<&'static str> {
            of.iter().copied().filter(|name| names.contains(name)).collect()
        };
        let (apart, given_back) = (hidden(&TELL_APART), hidden(&["job_id", "tm_id", "task_id"]));
        let (severity, why) = if !apart.is_empty() {
            let why = format!(
                "without {} several series become one on the page, and only the value of the last one is left",
                apart.join(", ")
            );
            (Problem, why)
        } else if !given_back.is_empty() {
            let why = format!(
                "without {} names cannot be given back, and series of different processes or jobs may become one",
                given_back.join(", ")
            );
            (Warning, why)
        } else {
            return None;
        };
        let kept: Vec<_> = names
            .iter()
            .filter(|name| !apart.contains(name) && !given_back.contains(name))
            .copied()
            .collect();
        let line = match kept.is_empty() {
            true => format!("# {key}: {list}"),
            false => format!("{key}: {}", kept.join(";")),
        };
        let finding = self.finding(Id::ReporterVariables, format!("{key}: {list}"), why);
        Some(Finding { severity, ..finding.fix(self.file(), line) })
    }
}

/// Keys with the version that brought them, and what they are for.
const SINCE: [(&str, Version, &str); 4] = [
    ("filter.includes", Version(1, 16), "nothing is filtered"),
    ("filter.excludes", Version(1, 16), "nothing is filtered"),
    ("allowList", Version(2, 3), "nothing is filtered"),
    ("scope.variables.additional", Version(1, 15), "no label is added"),
];

/// Labels that alone tell two series of one page apart.
const TELL_APART: [&str; 2] = ["subtask_index", "operator_id"];

/// Ports beyond the first that a proposed range has.
const PORTS_TO_SPARE: u16 = 10;

/// Images of TaskManagers may lack what the JobManager's has.
fn jar_of_task_managers(cluster: &ClusterLook) -> Option<Finding> {
    let logs = cluster.task_manager_logs.iter();
    let lacks = |line: &&String| line.contains("could not be found for reporter");
    let (host, line) =
        logs.filter_map(|(host, log)| log.iter().find(lacks).map(|line| (host, line))).next()?;
    let version = cluster.version.as_deref().unwrap_or("VERSION");
    let why = "the reporter's jar is not in this installation, so the TaskManager goes on without the reporter";
    let subject = format!("the TaskManager on {host}");
    Some(
        Finding::new(Id::ReporterJar, Problem, subject, format!("its log: {line}"), why).fix(
            "the TaskManagers' image or installation of Flink: put the jar of Flink's distribution there",
            format!("plugins/metrics-prometheus/flink-metrics-prometheus-{version}.jar"),
        ),
    )
}

/// TaskManagers on a target's host that REST knows and no page is of.
fn unseen(evidence: &Evidence, cluster: &ClusterLook) -> Option<Finding> {
    for target in &evidence.targets {
        let registered = cluster.task_managers.iter().filter(|(_, host)| *host == target.spec.host);
        let registered = registered.count();
        let on_host = evidence.targets.iter().filter(|other| other.spec.host == target.spec.host);
        let shown = task_managers_shown(on_host);
        // With none at all it is the target's own trouble.
        if shown > 0 && registered > shown {
            let host = &target.spec.host;
            let seen = format!(
                "{registered} TaskManagers are registered on {host}, {shown} of them show a page to this relay's targets"
            );
            let why = "the others have taken a port that is no target, or found none";
            let first = target.spec.ports.start();
            let line = format!("--target {host}:{first}-{}", first.saturating_add(PORTS_TO_SPARE));
            let finding = Finding::new(Id::TaskManagersUnseen, Warning, &cluster.url, seen, why);
            let place = "the relay's command line: the whole range that the reporter may use";
            let told = cluster.task_manager_logs.iter().filter(|(on, _)| on == host);
            let ports = told.filter_map(|(_, log)| started_port(log));
            return Some(ports.fold(finding.fix(place, line), |finding, port| {
                let place = "or the port that the log of one of them tells";
                finding.fix(place, format!("--target {host}:{port}"))
            }));
        }
    }
    None
}

/// Flink's times, such as those of checkpoints, are compared with the relay's.
fn clock(cluster: &ClusterLook) -> Option<Finding> {
    let (there, here) = cluster.clocks_ms?;
    let skew_ms = there - here;
    if skew_ms.abs() < CLOCK_MS {
        return None;
    }
    let seen = super::clock::skew("the JobManager's clock", skew_ms);
    let why = "the age of checkpoints and other times of Flink's come out wrong by that much";
    Some(super::clock::remedy(Finding::new(Id::RestClock, Warning, &cluster.url, seen, why)))
}

/// Below this, the answer's way explains it.
const CLOCK_MS: i64 = 10_000;
