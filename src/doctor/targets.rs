//! Targets that show no page of Flink's: nobody there, somebody else there, or the wrong door.
//!
//! A range is judged as a whole: one page is enough, for closed ports of a range are as they should be.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::{
    Finding, Fix, Id,
    Severity::{Problem, Warning},
    discovery::explains_none,
    evidence::{
        ClusterLook, Evidence, Head, PortAnswer, PortLook, TargetLook, Trouble, TroubleKind,
    },
    flink::config_file,
    foreign::{Foreign, identify},
    settings::{FACTORY, Kind, Reporter, spelt},
};

/// All findings about targets without a page.
pub(super) fn findings(evidence: &Evidence) -> Vec<Finding> {
    if evidence.targets.is_empty() {
        return if explains_none(evidence) { Vec::new() } else { vec![none(evidence)] };
    }
    let blind =
        evidence.targets.iter().filter(|target| !is_seen(target) && !target.ports.is_empty());
    let mut findings: Vec<_> = blind.flat_map(|target| of_target(evidence, target)).collect();
    findings.extend(evidence.targets.iter().filter(|target| is_seen(target)).flat_map(half_seen));
    findings
}

fn is_seen(target: &TargetLook) -> bool {
    target.ports.iter().any(|port| matches!(port.answer, PortAnswer::Flink(_)))
}

/// As a person wrote it.
pub(super) fn subject(target: &TargetLook) -> String {
    format!("{} (job {})", target.spec, target.job)
}

fn none(evidence: &Evidence) -> Finding {
    let seen = match evidence.elsewhere {
        0 => "relabel_configs drop every target".to_owned(),
        elsewhere => {
            format!("all {elsewhere} targets fall to other relays by the shard of this one")
        }
    };
    let why = "this relay scrapes nothing, so it has nothing to send";
    let finding = Finding::new(Id::TargetNone, Problem, "targets", seen, why);
    match evidence.elsewhere {
        0 => finding.fix("the relay's configuration, scrape_configs", "relabel_configs: []"),
        _ => {
            finding.fix("the relay's command line, to look at all targets from here", "--shard 0/1")
        }
    }
}

/// Ports of a range that answer, though not as Flink does, with trouble that a person can end.
fn half_seen(target: &TargetLook) -> Option<Finding> {
    let silent = target.ports.iter().filter(|port| kind(port) == Some(TroubleKind::Silent)).count();
    (silent > 0).then(|| {
        let seen = format!(
            "{} answer(s) with a Flink page; {silent} port(s) of the range give neither yes nor no",
            target.ports.len() - silent
        );
        let why =
            "a firewall swallows packets to them, so processes that take these ports are not found";
        Finding::new(Id::TargetSilent, Warning, subject(target), seen, why)
            .fix(LET_IN, format!("allow TCP {} from the relay", spelt(&target.spec.ports)))
    })
}

fn kind(port: &PortLook) -> Option<TroubleKind> {
    match &port.answer {
        PortAnswer::None(trouble) => Some(trouble.kind),
        _ => None,
    }
}

fn of_target(evidence: &Evidence, target: &TargetLook) -> Vec<Finding> {
    let mut findings = Vec::new();
    let answers = target.ports.iter().filter_map(|port| match &port.answer {
        PortAnswer::Foreign(head) => Some((port, head, identify(head))),
        _ => None,
    });
    let mut answers: Vec<_> = answers.collect();
    // Several foreign ports of a range are one finding: the most telling.
    answers.sort_by_key(|(.., foreign)| match foreign {
        Foreign::Empty => 0,
        Foreign::FlinkRest => 1,
        Foreign::Credentials => 2,
        Foreign::Status | Foreign::Redirect => 3,
        Foreign::Software(_) => 4,
    });
    if let Some((port, head, what)) = answers.first() {
        findings.push(answered(evidence, target, port, head, what));
    } else {
        findings.extend(troubled(evidence, target));
    }
    if let Some(port) = target.on_loopback.first() {
        findings.push(on_loopback(target, *port));
    }
    findings.extend(other_port(evidence, target));
    findings
}

/// The commonest trouble of the ports stands for all.
fn troubled(evidence: &Evidence, target: &TargetLook) -> Option<Finding> {
    let troubles = target.ports.iter().filter_map(|port| match &port.answer {
        PortAnswer::None(trouble) => Some(trouble),
        _ => None,
    });
    let mut kinds = BTreeMap::<TroubleKind, (usize, &Trouble)>::new();
    for trouble in troubles {
        kinds.entry(trouble.kind).or_insert((0, trouble)).0 += 1;
    }
    // What is rarer than silence and refusals says more than they do.
    let rank = |kind: &TroubleKind| match kind {
        TroubleKind::Refused => 0,
        TroubleKind::Silent => 1,
        _ => 2,
    };
    let (_, (_, trouble)) = kinds.iter().max_by_key(|(kind, (count, _))| (rank(kind), *count))?;
    let seen = match target.ports.len() {
        1 => trouble.words.clone(),
        all => {
            let counts = kinds.iter().map(|(kind, (count, trouble))| {
                let words = match kind {
                    TroubleKind::Refused => "connection refused",
                    TroubleKind::Silent => "neither accepted nor refused",
                    _ => trouble.words.as_str(),
                };
                format!("{words} ({count} of {all} ports)")
            });
            counts.collect::<Vec<_>>().join("; ")
        }
    };
    let ((id, why), fixes) = (meaning(trouble.kind), remedies(evidence, target, trouble.kind));
    Some(Finding::new(id, Problem, subject(target), seen, why).fixes(fixes))
}

/// What a kind of trouble is called, and why it matters.
const fn meaning(kind: TroubleKind) -> (Id, &'static str) {
    match kind {
        TroubleKind::Refused => (
            Id::TargetRefused,
            "no process listens there: Flink is down, its reporter is off or did not start, it has \
             another port, or (in containers) this address is the relay's own",
        ),
        TroubleKind::Dns => (
            Id::TargetDns,
            "without an address nothing can be asked; it is tried again at every scrape",
        ),
        TroubleKind::Silent => (
            Id::TargetSilent,
            "a firewall, security group or network policy swallows the packets, or the host is down",
        ),
        TroubleKind::Unreachable => {
            (Id::TargetUnreachable, "the network has no way to that address from here")
        }
        TroubleKind::Hangs => (
            Id::TargetHangs,
            "the process accepts connections and says nothing: it hangs, is in a long garbage \
             collection, or its reporter's five threads are taken",
        ),
        TroubleKind::Closed => (
            Id::TargetStatus,
            "what listens there does not speak HTTP, or ends before it answers: Flink's RPC ports do that",
        ),
        TroubleKind::Tls => (
            Id::TargetTls,
            "Flink's reporter speaks plain HTTP only; with TLS in front of it, both sides have to agree",
        ),
        TroubleKind::Proxy => {
            (Id::TargetProxy, "scrapes go through a proxy, which did not let this one through")
        }
        TroubleKind::Secret => {
            (Id::TargetSecret, "without its credential the target is not asked at all")
        }
    }
}

fn remedies(evidence: &Evidence, target: &TargetLook, kind: TroubleKind) -> Vec<Fix> {
    let (host, ports) = (&target.spec.host, spelt(&target.spec.ports));
    match kind {
        // Where Flink's configuration is known, what is wrong with it has findings of its own.
        TroubleKind::Refused
            if cluster_of(evidence, host).is_some_and(|c| c.settings.is_some()) =>
        {
            let place = "Flink's log, when the findings about its configuration are put right, says on which port it listens";
            vec![Fix::new(place, GREP)]
        }
        TroubleKind::Refused => vec![
            Fix::new(
                config_file(evidence, host),
                format!("metrics.reporter.prom.factory.class: {FACTORY}"),
            ),
            Fix::new("the same file", format!("metrics.reporter.prom.port: {ports}")),
            Fix::new("then Flink's log says on which port", GREP),
        ],
        TroubleKind::Dns => vec![
            Fix::new("where the relay runs: the same question", format!("getent ahosts {host}")),
            Fix::new(
                "in Kubernetes, the full name of a headless service",
                "--target SERVICE.NAMESPACE.svc.cluster.local:9249",
            ),
        ],
        TroubleKind::Silent => vec![Fix::new(LET_IN, format!("allow TCP {ports} from the relay"))],
        TroubleKind::Unreachable => {
            let line = format!("ip route get {host}");
            vec![Fix::new("where the relay runs: which way is taken", line)]
        }
        TroubleKind::Hangs => {
            let line = "jstack PID | grep -A20 -i prometheus";
            vec![Fix::new("the process's machine: what its threads do", line)]
        }
        TroubleKind::Closed => vec![Fix::new(WHICH_PORT, GREP)],
        TroubleKind::Tls => vec![
            Fix::new(
                "the relay's scrape_configs, unless something in front of Flink speaks TLS",
                "scheme: http",
            ),
            Fix::new(
                "otherwise its scrape_configs",
                "tls_config: {ca_file: /etc/flinkrelay/ca.pem}",
            ),
        ],
        TroubleKind::Proxy => {
            let place = "the relay's scrape_configs, or the variable NO_PROXY";
            vec![Fix::new(place, format!("no_proxy: {host}"))]
        }
        TroubleKind::Secret => {
            let line = "mount the file, or give its user the right to read it";
            vec![Fix::new("where the relay runs", line)]
        }
    }
}

/// What finds the port in Flink's logs.
const GREP: &str = "grep -h PrometheusReporter log/flink-*.log";

const WHICH_PORT: &str = "Flink's log says which port is the reporter's";

const LET_IN: &str = "the firewall or network policy of the target's host: let the relay in";

/// Somebody answers, and not with a page of Flink's.
fn answered(
    evidence: &Evidence,
    target: &TargetLook,
    port: &PortLook,
    head: &Head,
    what: &Foreign,
) -> Finding {
    let url = &port.url;
    let finding =
        |id, seen: String, why: &str| Finding::new(id, Problem, subject(target), seen, why);
    let host = &target.spec.host;
    match what {
        Foreign::FlinkRest => {
            let ports = reporter_ports(evidence).unwrap_or_else(|| "9249".to_owned());
            finding(
                Id::PageRest,
                format!("{url} is Flink's REST API and web page"),
                "the reporter has a port of its own, 9249 unless Flink's configuration names another",
            )
            .fix("the relay's command line", format!("--target {host}:{ports} --flink-rest http://{host}:{}", port.port))
        }
        Foreign::Empty => finding(
            Id::PageEmpty,
            format!("{url} answers 200 with a page without a sample"),
            "the reporter's filters let nothing through, or a URL parameter asks for names that are not there",
        )
        .fix(
            format!("to have all metrics: {}", config_file(evidence, host)),
            "# metrics.reporter.prom.filter.includes: …   (and filter.excludes)",
        ),
        Foreign::Credentials => finding(
            Id::TargetStatus,
            format!("{url} answers HTTP {}", head.status),
            "the reporter itself asks for nothing, so something in front of it wants credentials",
        )
        .fix("the relay's scrape_configs", "basic_auth: {username: NAME, password_file: /run/secrets/password}"),
        Foreign::Redirect => finding(
            Id::TargetStatus,
            format!("{url} answers HTTP {} to {}", head.status, head.location),
            "what is in front of the reporter sends clients elsewhere, to a login page for instance",
        )
        .fix("the relay's command line: the address of the reporter itself", format!("--target http://{host}:{}/metrics", port.port)),
        Foreign::Status => finding(
            Id::TargetStatus,
            format!("{url} answers HTTP {}{}", head.status, words(head)),
            "the reporter answers 200 at any path, so this is something else, or something in front of it",
        )
        .fix(WHICH_PORT, GREP),
        Foreign::Software(name) => {
            let more = match target.ports.len() {
                1 => String::new(),
                ports => format!("; no other port of the {ports} has a Flink page"),
            };
            finding(
                Id::PageForeign,
                format!("{url} is {name}{more}"),
                "Flink's reporter listens on another port: when the first of its range is taken, it takes the next",
            )
            .fix("the relay's command line: the whole range", format!("--target {host}:{}", range_from(*target.spec.ports.start())))
            .fix(WHICH_PORT, GREP)
        }
    }
}

fn words(head: &Head) -> String {
    let first = head.beginning.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let words: String = first.trim().chars().take(WORDS_CHARS_MAX).collect();
    if words.is_empty() { words } else { format!(": {words}") }
}

fn range_from(first: u16) -> String {
    format!("{first}-{}", first.saturating_add(10))
}

fn on_loopback(target: &TargetLook, port: u16) -> Finding {
    let host = &target.spec.host;
    let seen = format!(
        "127.0.0.1:{port} on this machine answers with a Flink page, {host}:{port} does not"
    );
    let why = "Flink runs here and its port is published on loopback only (docker -p 127.0.0.1:…, a tunnel, \
               a port-forward), or that address is not this machine's";
    Finding::new(Id::TargetLoopback, Problem, subject(target), seen, why)
        .fix(
            "the relay's command line, when it runs on this machine",
            format!("--target 127.0.0.1:{port}"),
        )
        .fix("or, with Docker, the container of Flink", format!("-p {port}:{port}"))
}

/// What Flink says of its reporter's port against the ports that were asked.
fn other_port(evidence: &Evidence, target: &TargetLook) -> Option<Finding> {
    let host = &target.spec.host;
    let cluster = cluster_of(evidence, host)?;
    let asked = &target.spec.ports;
    let finding = |seen, ports: String| {
        let why = "what listens on other ports than those that are asked is not found";
        Finding::new(Id::TargetPort, Problem, subject(target), seen, why)
            .fix("the relay's command line", format!("--target {host}:{ports}"))
    };
    if let Some(port) = started_port(cluster).filter(|port| !asked.contains(port)) {
        let seen =
            format!("the JobManager's log: Started PrometheusReporter HTTP server on port {port}");
        // Another process of the host has another port of the range.
        let ranges = configured_ports(cluster).map(|(_, ports)| ports).unwrap_or_default();
        let range = ranges.iter().find(|range| range.contains(&port)).map(spelt);
        return Some(finding(seen, range.unwrap_or_else(|| port.to_string())));
    }
    let (key, ports) = configured_ports(cluster)?;
    let overlaps =
        |range: &RangeInclusive<u16>| range.start() <= asked.end() && asked.start() <= range.end();
    if ports.is_empty() || ports.iter().any(overlaps) {
        return None;
    }
    let spelt: Vec<_> = ports.iter().map(spelt).collect();
    let seen = format!("Flink's configuration has {key}: {}", spelt.join(","));
    Some(finding(seen, spelt.first().cloned().unwrap_or_default()))
}

/// The REST API that speaks for a host.
fn cluster_of<'e>(evidence: &'e Evidence, host: &str) -> Option<&'e ClusterLook> {
    let only = evidence.clusters.len() == 1;
    evidence.clusters.iter().find(|cluster| cluster.host == host || only)
}

/// The reporter's ports by any cluster's configuration, as a target has them.
fn reporter_ports(evidence: &Evidence) -> Option<String> {
    let ports = evidence.clusters.iter().find_map(configured_ports)?.1;
    ports.first().map(spelt)
}

fn configured_ports(cluster: &ClusterLook) -> Option<(String, Vec<RangeInclusive<u16>>)> {
    let all = Reporter::all(cluster.settings.as_deref()?);
    let reporter = all
        .iter()
        .find(|r| r.kind() == Kind::Prometheus && (r.factory().is_some() || r.class().is_some()))?;
    Some((reporter.key("port"), reporter.ports()?))
}

/// Where the JobManager's reporter listens, by its log.
fn started_port(cluster: &ClusterLook) -> Option<u16> {
    let lines = cluster.log.iter();
    let mut told =
        lines.filter_map(|line| line.split_once("PrometheusReporter HTTP server on port "));
    let (_, port) = told.next_back()?;
    port.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// Characters of a foreign answer that are shown.
const WORDS_CHARS_MAX: usize = 120;
