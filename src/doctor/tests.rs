//! A world that is well, and for each id one fault in it that makes doctor say it.

use std::{collections::BTreeSet, time::Duration};

use super::{
    evidence::{
        Answer, ClusterLook, DirectoryLook, Evidence, Head, LongValue, Page, PageFailure,
        PageFailureKind, PortAnswer, PortLook, ReceiverLook, Samples, SourceLook, TargetLook,
        Trouble, TroubleKind, ViewLook,
    },
    settings::FACTORY,
    *,
};
use crate::{
    config::{self, Overrides, Purpose},
    flink::{Group, Role},
};

struct World {
    evidence: Evidence,
    config: Config,
}

impl World {
    /// A JobManager, its REST API, a receiver and a data directory, all of them well.
    fn new() -> Self {
        let overrides = Overrides {
            purpose: Purpose::Run,
            targets: vec!["node-1:9249".to_owned()],
            remote_write: vec!["http://mimir:9009/api/v1/push".to_owned()],
            ..Overrides::default()
        };
        let config = config::load(None, &overrides, &|_| None).unwrap();
        let evidence = Evidence {
            targets: vec![target(&config)],
            clusters: vec![cluster()],
            receivers: vec![receiver(&config)],
            data_dir: Some(DirectoryLook {
                path: "data".into(),
                present: "data".into(),
                in_use: false,
                free_bytes: Some(u64::MAX),
                fault: None,
            }),
            now_ms: 1_795_406_400_000,
            ..Evidence::default()
        };
        Self { evidence, config }
    }

    fn diagnosis(&self) -> Diagnosis {
        examine(&self.evidence, &self.config)
    }

    fn source(&mut self, found: Result<usize, String>) {
        let (job, source) = ("flink".to_owned(), "file /etc/targets/*.yaml".to_owned());
        self.evidence.discovery.push(SourceLook { job, source, found });
    }

    fn port(&mut self, answer: PortAnswer) {
        self.evidence.targets[0].ports[0].answer = answer;
    }

    fn trouble(&mut self, kind: TroubleKind) {
        self.port(PortAnswer::None(Trouble { kind, words: "words".to_owned() }));
    }

    fn foreign(&mut self, status: u16, beginning: &str) {
        let head = Head { status, beginning: beginning.to_owned(), ..Head::default() };
        self.port(PortAnswer::Foreign(head));
    }

    fn page(&mut self) -> &mut Page {
        match &mut self.evidence.targets[0].ports[0].answer {
            PortAnswer::Flink(page) => page,
            other => panic!("{other:?}"),
        }
    }

    fn samples(&mut self) -> &mut Samples {
        self.page().scraped.as_mut().unwrap()
    }

    fn page_fails(&mut self, kind: PageFailureKind) {
        self.page().scraped = Err(PageFailure { kind, words: "words".to_owned() });
    }

    /// The JobManager's configuration, whose reporter did not start.
    fn settings(&mut self, settings: &[(&str, &str)]) {
        self.trouble(TroubleKind::Refused);
        self.started_with(settings);
    }

    fn started_with(&mut self, settings: &[(&str, &str)]) {
        let own = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.evidence.clusters[0].settings = Some(own.collect());
    }

    fn answer(&mut self, status: u16, words: &str) {
        let answer = Answer { status, words: words.to_owned(), ..Answer::default() };
        self.evidence.receivers[0].answer = Some(Ok(answer));
    }

    fn no_answer(&mut self, kind: TroubleKind, words: &str) {
        self.evidence.receivers[0].answer = Some(Err(Trouble { kind, words: words.to_owned() }));
    }
}

fn target(config: &Config) -> TargetLook {
    let view = ViewLook { series: 9, ..ViewLook::default() };
    let samples = Samples {
        scraped: 10,
        kept: 9,
        groups: [(Group::Cpu, 10)].into(),
        views: vec![view],
        ..Samples::default()
    };
    let page = Page {
        role: Role::JobManager,
        scraped: Ok(samples),
        took: Duration::from_millis(20),
        bytes: 1000,
        throws: None,
        faults: 0,
        first_fault: None,
    };
    TargetLook {
        spec: config.scrapes[0].static_configs[0].targets[0].clone(),
        job: "flink".to_owned(),
        timeout: Duration::from_secs(10),
        proxy: None,
        ports: vec![PortLook {
            port: 9249,
            url: "http://node-1:9249/metrics".to_owned(),
            answer: PortAnswer::Flink(Box::new(page)),
        }],
        on_loopback: Vec::new(),
    }
}

fn cluster() -> ClusterLook {
    let factory = ("metrics.reporter.prom.factory.class".to_owned(), FACTORY.to_owned());
    ClusterLook {
        url: "http://node-1:8081".to_owned(),
        host: "node-1".to_owned(),
        named: true,
        version: Some("1.20.5".to_owned()),
        settings: Some(vec![factory]),
        clocks_ms: Some((1_000, 1_000)),
        ..ClusterLook::default()
    }
}

fn receiver(config: &Config) -> ReceiverLook {
    let clocks_ms = Some((1_795_406_400_000, 1_795_406_400_900));
    ReceiverLook {
        config: config.receivers[0].clone(),
        view: 0,
        proxy: None,
        with_sample: false,
        answer: Some(Ok(Answer { status: 204, clocks_ms, ..Answer::default() })),
    }
}

/// Makes a world ill.
type Fault = fn(&mut World);

/// Each id with a fault that it tells.
#[expect(clippy::too_many_lines, reason = "a table")]
fn faults() -> Vec<(Id, Fault)> {
    const KEY: &str = "metrics.reporter.prom.factory.class";
    vec![
        (Id::ReporterMissing, |w| w.settings(&[("rest.port", "8081")])),
        (Id::ReporterPushes, |w| w.settings(&[("metrics.reporter.promgateway.host", "x")])),
        (Id::ReporterClass, |w| {
            w.settings(&[("metrics.reporter.prom.class", "x.PrometheusReporter")])
        }),
        (Id::ReporterFactory, |w| w.settings(&[("metrics.reporter.prom.port", "9249")])),
        (Id::ReporterNotListed, |w| w.settings(&[(KEY, FACTORY), ("metrics.reporters", "jmx")])),
        (Id::ReporterJar, |w| {
            w.settings(&[(KEY, FACTORY)]);
            w.evidence.clusters[0].log.push("x could not be found for reporter prom".to_owned());
        }),
        (Id::ReporterPorts, |w| {
            w.settings(&[(KEY, FACTORY)]);
            w.evidence.clusters[0]
                .log
                .push("Could not start … on any configured port. Ports: 9249".to_owned());
        }),
        (Id::ReporterHost, |w| {
            w.started_with(&[(KEY, FACTORY), ("metrics.reporter.prom.host", "::")])
        }),
        (Id::ReporterFilter, |w| {
            w.started_with(&[(KEY, FACTORY), ("metrics.reporter.prom.filter.includes", "*:x")])
        }),
        (Id::ReporterIgnored, |w| {
            w.started_with(&[(KEY, FACTORY), ("metrics.reporter.prom.allowList", "x")])
        }),
        (Id::ReporterVariables, |w| {
            w.started_with(&[
                (KEY, FACTORY),
                ("metrics.reporter.prom.scope.variables.excludes", "job_id;tm_id"),
            ])
        }),
        (Id::RestUnreachable, |w| w.evidence.clusters[0].failure = Some("refused".to_owned())),
        (Id::RestClock, |w| w.evidence.clusters[0].clocks_ms = Some((0, 60_000))),
        (Id::TaskManagersUnseen, |w| {
            w.page().role = Role::Both;
            let registered = ["a", "b"].map(|id| (id.to_owned(), "node-1".to_owned()));
            w.evidence.clusters[0].task_managers = registered.into();
        }),
        (Id::TargetNone, |w| w.evidence.targets.clear()),
        (Id::DiscoveryFails, |w| w.source(Err("no".to_owned()))),
        (Id::DiscoveryEmpty, |w| w.source(Ok(0))),
        (Id::TargetDns, |w| w.trouble(TroubleKind::Dns)),
        (Id::TargetRefused, |w| w.trouble(TroubleKind::Refused)),
        (Id::TargetSilent, |w| w.trouble(TroubleKind::Silent)),
        (Id::TargetUnreachable, |w| w.trouble(TroubleKind::Unreachable)),
        (Id::TargetHangs, |w| w.trouble(TroubleKind::Hangs)),
        (Id::TargetTls, |w| w.trouble(TroubleKind::Tls)),
        (Id::TargetProxy, |w| w.trouble(TroubleKind::Proxy)),
        (Id::TargetStatus, |w| w.trouble(TroubleKind::Closed)),
        (Id::TargetSecret, |w| w.trouble(TroubleKind::Secret)),
        (Id::TargetLoopback, |w| {
            w.trouble(TroubleKind::Refused);
            w.evidence.targets[0].on_loopback.push(9249);
        }),
        (Id::TargetPort, |w| {
            w.settings(&[(KEY, FACTORY), ("metrics.reporter.prom.port", "9250-9260")])
        }),
        (Id::PageForeign, |w| w.foreign(200, "<html>")),
        (Id::PageRest, |w| w.foreign(404, r#"{"errors":["Not found: /metrics"]}"#)),
        (Id::PageEmpty, |w| w.foreign(200, "")),
        (Id::PageThrows, |w| w.page_fails(PageFailureKind::Closed)),
        (Id::PageCut, |w| w.page_fails(PageFailureKind::Cut)),
        (Id::PageLimit, |w| w.page_fails(PageFailureKind::Limit)),
        (Id::PageSlow, |w| w.page().took = Duration::from_millis(5_001)),
        (Id::PageLines, |w| w.page().faults = 1),
        (Id::GroupsDropAll, |w| (w.samples().kept, w.samples().dropped_by_groups) = (0, 10)),
        (Id::RelabelDropsAll, |w| (w.samples().kept, w.samples().dropped_by_rules) = (0, 10)),
        (Id::GroupAbsent, |w| {
            let wanted = ["cpu", "rocksdb"].map(str::to_owned);
            w.config.flink.groups = crate::flink::GroupFilter::try_new(&wanted, &[]).unwrap();
        }),
        (Id::ReceiverNone, |w| w.evidence.receivers.clear()),
        (Id::ReceiverDns, |w| w.no_answer(TroubleKind::Dns, "")),
        (Id::ReceiverRefused, |w| w.no_answer(TroubleKind::Refused, "")),
        (Id::ReceiverUnreachable, |w| w.no_answer(TroubleKind::Silent, "")),
        (Id::ReceiverTls, |w| w.no_answer(TroubleKind::Tls, "Expired")),
        (Id::ReceiverProxy, |w| w.no_answer(TroubleKind::Proxy, "")),
        (Id::ReceiverSecret, |w| w.no_answer(TroubleKind::Secret, "")),
        (Id::ReceiverCredentials, |w| w.answer(401, "HTTP 401 Unauthorized")),
        (Id::ReceiverTenant, |w| w.answer(401, "HTTP 401 Unauthorized: no org id")),
        (Id::ReceiverPath, |w| w.answer(404, "HTTP 404 Not Found")),
        (Id::ReceiverSwitchedOff, |w| {
            w.answer(404, "remote write receiver needs to be enabled with …")
        }),
        (Id::ReceiverRedirect, |w| w.answer(302, "HTTP 302 Found")),
        (Id::ReceiverMessage, |w| w.answer(415, "HTTP 415")),
        (Id::ReceiverFails, |w| w.answer(503, "HTTP 503")),
        (Id::ReceiverRefuses, |w| w.answer(400, "HTTP 400: no")),
        (Id::ReceiverClock, |w| {
            let clocks_ms = Some((1_000_000, 2_000_000));
            w.evidence.receivers[0].answer =
                Some(Ok(Answer { status: 204, clocks_ms, ..Answer::default() }));
        }),
        (Id::LabelLimit, |w| {
            let value = LongValue { bytes: 2049, metric: "m".to_owned(), above: [1, 0] };
            w.samples().views[0].sizes.values.insert("task_name".to_owned(), value);
        }),
        (Id::DataDirUnusable, |w| {
            w.evidence.data_dir.as_mut().unwrap().fault = Some("no".to_owned())
        }),
        (Id::DataDirInUse, |w| w.evidence.data_dir.as_mut().unwrap().in_use = true),
        (Id::DataDirSmall, |w| w.evidence.data_dir.as_mut().unwrap().free_bytes = Some(1 << 20)),
        (Id::Clock, |w| w.evidence.now_ms = 0),
        (Id::Unfinished, |w| w.evidence.unfinished.push("node-1:9249".to_owned())),
    ]
}

#[test]
fn a_world_that_is_well_has_no_finding() {
    let diagnosis = World::new().diagnosis();
    assert_eq!(diagnosis.findings, []);
    assert_eq!(diagnosis.well.len(), 4);
}

#[test]
fn each_fault_is_told_by_its_id_with_something_to_do() {
    let mut told = BTreeSet::new();
    for (id, fault) in faults() {
        let mut world = World::new();
        fault(&mut world);
        let findings = world.diagnosis().findings;
        assert!(findings.iter().any(|finding| finding.id == id), "{id:?} is not in {findings:#?}");
        for finding in findings {
            assert!(!finding.fixes.is_empty(), "{finding:?}");
            for text in [&finding.subject, &finding.why] {
                assert!(!text.is_empty(), "{finding:?}");
            }
            // A line that is copied has no line break, and texts that are wrapped have single blanks.
            let lines = finding.fixes.iter().flat_map(|fix| [&fix.place, &fix.line]);
            let texts = lines.chain([&finding.seen, &finding.why]);
            assert!(texts.clone().all(|text| !text.contains('\n')), "{finding:?}");
            assert!(!finding.why.contains("  "), "{finding:?}");
        }
        told.insert(id);
    }
    let all: BTreeSet<_> = Id::ALL.iter().copied().collect();
    assert_eq!(told, all, "an id that nothing tells is of no use");
}

#[test]
fn ids_are_unique_and_spelt_alike_everywhere() {
    let names: BTreeSet<_> = Id::ALL.iter().map(|id| id.as_str()).collect();
    assert_eq!(names.len(), Id::ALL.len());
    for id in Id::ALL {
        let name = id.as_str();
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{name}");
        assert_eq!(serde_json::to_value(id).unwrap(), name);
    }
}

#[test]
fn problems_come_before_warnings_and_causes_before_effects() {
    let mut world = World::new();
    world.settings(&[
        ("metrics.reporter.prom.class", "x.PrometheusReporter"),
        ("metrics.reporter.prom.host", "x"),
    ]);
    world.answer(401, "HTTP 401");
    let ids: Vec<_> = world.diagnosis().findings.iter().map(|finding| finding.id).collect();
    let expected =
        [Id::ReporterClass, Id::TargetRefused, Id::ReceiverCredentials, Id::ReporterHost];
    assert_eq!(ids, expected);
}

#[test]
fn a_range_is_well_when_one_port_is_and_told_as_a_whole_when_none_is() {
    let mut world = World::new();
    world.evidence.targets[0].spec.ports = 9249..=9251;
    let other = |port, answer| PortLook { port, url: format!("http://node-1:{port}/"), answer };
    let refused =
        || PortAnswer::None(Trouble { kind: TroubleKind::Refused, words: "words".to_owned() });
    world.evidence.targets[0].ports.extend([other(9250, refused()), other(9251, refused())]);
    assert_eq!(world.diagnosis().findings, []);
    world.port(refused());
    let findings = world.diagnosis().findings;
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].seen, "connection refused (3 of 3 ports)");
    // What answers, even wrongly, says more than what does not.
    world.foreign(200, "<html>");
    assert_eq!(world.diagnosis().findings[0].id, Id::PageForeign);
}

#[test]
fn an_unnamed_rest_api_is_missed_only_beside_a_job_manager() {
    let mut world = World::new();
    world.evidence.clusters[0].named = false;
    world.evidence.clusters[0].failure = Some("refused".to_owned());
    assert_eq!(world.diagnosis().findings[0].id, Id::RestUnreachable);
    world.page().role = Role::TaskManager;
    assert_eq!(world.diagnosis().findings, []);
}

#[test]
fn limits_that_the_configuration_gives_stand_above_guesses() {
    let mut world = World::new();
    let value = LongValue { bytes: 3000, metric: "m".to_owned(), above: [1, 0] };
    world.samples().views[0].sizes.values.insert("task_name".to_owned(), value);
    assert_eq!(world.diagnosis().findings[0].id, Id::LabelLimit);
    world.evidence.receivers[0].config.label_value_length_limit = 4096;
    assert_eq!(world.diagnosis().findings, []);
    // VictoriaMetrics takes more, and is known by its answers.
    world.evidence.receivers[0].config.label_value_length_limit = 0;
    world.evidence.receivers[0].config.url = "http://vm:8428/api/v1/write".parse().unwrap();
    assert_eq!(world.diagnosis().findings, []);
}

#[test]
fn tls_in_words_becomes_a_line() {
    let check = |words: &str, line: &str| {
        let mut world = World::new();
        world.no_answer(TroubleKind::Tls, words);
        let finding = world.diagnosis().findings.remove(0);
        assert!(finding.fixes[0].line.contains(line), "{words}: {finding:#?}");
    };
    check("invalid peer certificate: UnknownIssuer", "ca_file");
    check("invalid peer certificate: NotValidForNameContext { … }", "server_name");
    check("invalid peer certificate: ExpiredContext { … }", "openssl s_client -connect mimir:9009");
    check("invalid peer certificate: NotValidYetContext { … }", "set-ntp");
    check(
        "received corrupt message of type InvalidContentType",
        "--remote-write https://mimir:9009/",
    );
    check("received fatal alert: CertificateRequired", "cert_file");
}
