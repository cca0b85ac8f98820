//! Names from Flink's REST API: given when they can be had, once, and never in anybody's way.

use std::{collections::BTreeSet, sync::Arc};

use flinkrelay::{flink::Role, status::TargetStatus};

use crate::{
    fakes::{
        flink::{FakeFlink, page},
        http::Answer,
        receiver::{FakeReceiver, Sample},
        relay::{Running, config, job, receiver},
        rest::{FakeCluster, FakeRest},
        tls, until, until_true,
    },
    task_manager,
};

const JOB: &str = "fb52f4de9dfd7179740c6c76776865ef";
const TASK: &str = "cbc357ccb763df2852fee8c4fc7d55f2";
const NAME: &str = "日志清洗 / log-clean (eu)";
const ON_PAGE: &str = "_______log_clean__eu_";

fn cluster() -> FakeCluster {
    FakeCluster::default()
        .with_job(JOB, NAME, &[(TASK, "Source: a[1] -> Calc[2]")])
        .with_task_manager("tm-1")
}

/// A TaskManager with a process metric and an operator of each of these jobs.
fn tm_page(jobs: &[(&str, &str)]) -> String {
    let mut page = task_manager(&[("Status_JVM_CPU_Load", 0.5)]).replace("tm-1", "tm_1");
    for (id, name) in jobs {
        page += &format!(
            "flink_taskmanager_job_task_operator_x{{job_id=\"{id}\",job_name=\"{name}\",task_id=\"{TASK}\",\
             task_name=\"Source:_a_1_____Calc_2_\",operator_id=\"o\",operator_name=\"Calc_2_\",\
             subtask_index=\"0\",host=\"h\",tm_id=\"tm_1\",}} 1.0\n"
        );
    }
    page
}

/// The page of a JobManager that leads.
fn jm_page(jobs: &[(&str, &str)]) -> String {
    let mut page = format!("flink_jobmanager_numRunningJobs{{host=\"h\",}} {}.0\n", jobs.len());
    for (id, name) in jobs {
        page += &format!(
            "flink_jobmanager_job_uptime{{host=\"h\",job_id=\"{id}\",job_name=\"{name}\",}} 5.0\n"
        );
    }
    page
}

/// The section, and time enough for a second reading on a machine that does other things too.
fn flink_rest(url: &str, lines: &str) -> String {
    format!(
        "global: {{scrape_interval: 800ms, scrape_timeout: 800ms}}\n\
         flink: {{rest: {{urls: [{url}], {lines}}}}}\n"
    )
}

/// A relay between one process and one receiver, with this `flink` section.
async fn relayed(flink: &FakeFlink, section: &str) -> (FakeReceiver, Running) {
    let remote = FakeReceiver::start().await;
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), "")], section));
    (remote, running)
}

const OPERATOR: &str = "flink_taskmanager_job_task_operator_x";
const PROCESS: &str = "flink_taskmanager_Status_JVM_CPU_Load";

/// The label sets of one metric in the order of their first samples, markers not counted.
fn series_of(remote: &FakeReceiver, name: &str) -> Vec<Sample> {
    let mut seen = BTreeSet::new();
    let mut samples = remote.samples_of(name);
    samples.retain(|sample| !sample.is_stale() && seen.insert(sample.series.clone()));
    samples
}

async fn scrapes(remote: &FakeReceiver, more: usize) {
    let before = remote.samples_of("up").len();
    until_true("more scrapes", || remote.samples_of("up").len() >= before + more).await;
}

#[tokio::test]
async fn the_first_sample_has_the_true_names() {
    let rest = FakeRest::of(cluster()).await;
    let flink = FakeFlink::with_page(&tm_page(&[(JOB, ON_PAGE)])).await;
    let (remote, running) = relayed(&flink, &flink_rest(&rest.url(), "")).await;
    scrapes(&remote, 5).await;
    running.stop().await;

    let [operator] = &series_of(&remote, OPERATOR)[..] else { panic!("one series") };
    for (label, expected) in [
        ("job_name", NAME),
        ("task_name", "Source: a[1] -> Calc[2]"),
        ("operator", "Calc[2]"),
        ("tm_id", "tm-1"),
        ("job_id", JOB),
        ("operator_id", ""),
    ] {
        assert_eq!(operator.label(label), expected, "{label}");
    }
    let [process] = &series_of(&remote, PROCESS)[..] else { panic!("one series") };
    assert_eq!((process.label("job_id"), process.label("job_name")), (JOB, NAME));
    // All of it with one page more and one request of each kind, and none after it.
    assert_eq!(flink.scrapes(), remote.samples_of("up").len() + 1);
    let details = format!("/jobs/{JOB}");
    assert_eq!(rest.paths(), ["/config", "/jobs/overview", "/taskmanagers", &details]);
}

#[tokio::test]
async fn rest_that_comes_late_changes_each_series_once_and_at_one_moment() {
    let rest = FakeRest::of(cluster()).await;
    rest.script(|_| Some(Answer::close()));
    let flink = FakeFlink::with_page(&tm_page(&[(JOB, ON_PAGE)])).await;
    // A short interval is also the longest pause after a failure.
    let (remote, running) = relayed(&flink, &flink_rest(&rest.url(), "poll_interval: 500ms")).await;
    scrapes(&remote, 3).await;
    assert!(series_of(&remote, OPERATOR).iter().all(|sample| sample.label("job_name") == ON_PAGE));
    rest.script(|_| None);
    until_true("true names", || series_of(&remote, OPERATOR).len() == 2).await;
    scrapes(&remote, 4).await;
    running.stop().await;

    for name in [OPERATOR, PROCESS] {
        let [before, after] = &series_of(&remote, name)[..] else { panic!("two series of {name}") };
        assert_eq!((before.label("tm_id"), after.label("tm_id")), ("tm_1", "tm-1"));
        let samples = remote.samples_of(name);
        let ended: Vec<_> = samples.iter().filter(|sample| sample.is_stale()).collect();
        assert_eq!(ended.len(), 1, "{ended:?}");
        assert_eq!(ended[0].series, before.series);
        assert_eq!(ended[0].timestamp_ms, after.timestamp_ms, "at the time the new one begins");
    }
}

#[tokio::test]
async fn names_stay_when_rest_falls_silent_and_new_jobs_wait_for_nobody() {
    let rest = FakeRest::of(cluster()).await;
    let flink = FakeFlink::with_page(&tm_page(&[(JOB, ON_PAGE)])).await;
    let (remote, running) = relayed(&flink, &flink_rest(&rest.url(), "poll_interval: 500ms")).await;
    until_true("true names", || !series_of(&remote, OPERATOR).is_empty()).await;
    rest.script(|_| Some(Answer::close()));
    // The job restarts: its lines go and come back. A new one comes, and REST does not tell its name.
    flink.set_page(&tm_page(&[]));
    scrapes(&remote, 2).await;
    flink.set_page(&tm_page(&[(JOB, ON_PAGE), ("0123", "new_job")]));
    until_true("the new job", || series_of(&remote, OPERATOR).len() == 2).await;
    scrapes(&remote, 6).await;
    running.stop().await;

    let of: Vec<_> =
        series_of(&remote, OPERATOR).iter().map(|s| s.label("job_name").to_owned()).collect();
    assert_eq!(of, [NAME, "new_job"]);
    assert!(remote.samples_of("up").iter().all(|up| up.value == 1.0));
}

#[tokio::test]
async fn a_slow_rest_holds_a_scrape_no_longer_than_allowed() {
    let rest = FakeRest::of(cluster()).await;
    rest.script(|_| Some(Answer::hang()));
    let flink = FakeFlink::with_page(&tm_page(&[(JOB, ON_PAGE)])).await;
    let (remote, running) =
        relayed(&flink, &flink_rest(&rest.url(), "hold: 300ms, timeout: 10s")).await;
    scrapes(&remote, 4).await;
    running.stop().await;

    let held: Vec<_> =
        remote.samples_of("scrape_duration_seconds").iter().map(|s| s.value).collect();
    assert!(held.iter().all(|&seconds| seconds < 0.6), "{held:?}");
    assert!(held[0] >= 0.3, "the first one waited: {held:?}");
    assert!(held[1..].iter().all(|&seconds| seconds < 0.3), "the others did not: {held:?}");
    assert_eq!(series_of(&remote, OPERATOR).len(), 1);
    assert_eq!(flink.scrapes(), remote.samples_of("up").len(), "nothing came, so no second look");
}

#[tokio::test]
async fn a_new_job_is_asked_for_at_once_and_a_foreign_one_a_few_times() {
    let rest = FakeRest::of(cluster()).await;
    let flink = FakeFlink::with_page(&tm_page(&[(JOB, ON_PAGE)])).await;
    let (remote, running) = relayed(&flink, &flink_rest(&rest.url(), "")).await;
    scrapes(&remote, 2).await;
    let before = rest.requests().len();
    rest.set(cluster().with_job("0123", "订单", &[(TASK, "Source: a[1] -> Calc[2]")]));
    flink.set_page(&tm_page(&[(JOB, ON_PAGE), ("0123", "__")]));
    scrapes(&remote, 3).await;
    assert_eq!(rest.paths()[before..], ["/jobs/overview", "/jobs/0123"]);
    let of: Vec<_> =
        series_of(&remote, OPERATOR).iter().map(|s| s.label("job_name").to_owned()).collect();
    assert_eq!(of, [NAME, "订单"], "one series each, with the true name from its beginning");

    flink.set_page(&tm_page(&[(JOB, ON_PAGE), ("0123", "__"), ("4567", "elsewhere")]));
    scrapes(&remote, 8).await;
    let asked = rest.paths().split_off(before + 2);
    assert!(asked.iter().all(|path| path == "/jobs/overview"), "{asked:?}");
    assert_eq!(asked.len(), 4, "nobody knows it; tried for some seconds, and then seldom");
    running.stop().await;
    assert_eq!(series_of(&remote, OPERATOR).last().unwrap().label("job_name"), "elsewhere");
}

#[tokio::test]
async fn a_job_that_is_being_set_up_is_waited_for() {
    // Flink answers out of a cache of three seconds, in which the job has no tasks yet, and the TaskManager
    // shows its page before it has registered.
    let rest = FakeRest::of(FakeCluster::default().with_job(JOB, NAME, &[])).await;
    let flink = FakeFlink::with_page(&tm_page(&[(JOB, ON_PAGE)])).await;
    let remote = FakeReceiver::start().await;
    let jobs = [job("flink", &[flink.address()], "scrape_interval: 5s\nscrape_timeout: 5s\n")];
    let section = flink_rest(&rest.url(), "");
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), "")], &section));
    until_true("a try", || rest.paths().iter().any(|path| path.starts_with("/jobs/f"))).await;
    rest.set(cluster());
    until_true("samples", || !remote.samples_of(OPERATOR).is_empty()).await;
    running.stop().await;
    let [operator] = &series_of(&remote, OPERATOR)[..] else { panic!("one series") };
    assert_eq!((operator.label("operator"), operator.label("tm_id")), ("Calc[2]", "tm-1"));
}

#[tokio::test]
async fn a_shared_task_manager_names_no_job() {
    let tasks = [(TASK, "Source: a[1] -> Calc[2]")];
    let rest = FakeRest::of(cluster().with_job("0123", "b", &tasks)).await;
    let flink = FakeFlink::with_page(&tm_page(&[(JOB, ON_PAGE), ("0123", "b")])).await;
    let (remote, running) = relayed(&flink, &flink_rest(&rest.url(), "")).await;
    scrapes(&remote, 3).await;
    running.stop().await;
    let [process] = &series_of(&remote, PROCESS)[..] else { panic!("one series") };
    assert_eq!((process.label("job_id"), process.label("tm_id")), ("", "tm-1"));
}

#[tokio::test]
async fn a_task_manager_whose_job_is_over_names_it_no_longer() {
    let rest = FakeRest::of(cluster()).await;
    let flink = FakeFlink::with_page(&tm_page(&[(JOB, ON_PAGE)])).await;
    let (remote, running) = relayed(&flink, &flink_rest(&rest.url(), "")).await;
    scrapes(&remote, 2).await;
    // It restarts: REST still has it among those that run.
    flink.set_page(&tm_page(&[]));
    scrapes(&remote, 2).await;
    flink.set_page(&tm_page(&[(JOB, ON_PAGE)]));
    scrapes(&remote, 2).await;
    assert_eq!(series_of(&remote, PROCESS).len(), 1);
    flink.set_page(&tm_page(&[]));
    rest.set(FakeCluster::default().with_task_manager("tm-1"));
    until_true("it goes", || series_of(&remote, PROCESS).len() == 2).await;
    running.stop().await;

    let [with, without] = &series_of(&remote, PROCESS)[..] else { panic!("two series") };
    assert_eq!((with.label("job_name"), without.label("job_name")), (NAME, ""));
    let samples = remote.samples_of(PROCESS);
    let ended: Vec<_> = samples.iter().filter(|sample| sample.is_stale()).collect();
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!((&ended[0].series, ended[0].timestamp_ms), (&with.series, without.timestamp_ms));
    let ends = remote.samples_of(OPERATOR);
    let last = ends.iter().rfind(|sample| sample.is_stale()).unwrap().timestamp_ms;
    let scrapes = remote.samples_of("up").iter().filter(|up| up.timestamp_ms > last).count();
    assert!(ended[0].timestamp_ms > last && scrapes > 0);
    let between = remote.samples_of("up");
    let between =
        between.iter().filter(|up| (last..ended[0].timestamp_ms).contains(&up.timestamp_ms));
    assert_eq!(between.count(), 1, "with the next scrape after the job's own series");
}

#[tokio::test]
async fn the_leaders_page_carries_the_info_series() {
    let told = FakeCluster { checkpoint_path: Some("s3://b/c/JOB/chk-9".to_owned()), ..cluster() };
    let rest = FakeRest::of(told).await;
    let jobs = [(JOB, ON_PAGE)];
    let leader = FakeFlink::with_page(&jm_page(&jobs)).await;
    let standby =
        FakeFlink::with_page("flink_jobmanager_Status_JVM_CPU_Load{host=\"h\",} 1.0\n").await;
    let worker = FakeFlink::with_page(&tm_page(&jobs)).await;
    let remote = FakeReceiver::start().await;
    let targets = [leader.address(), standby.address(), worker.address()];
    let section = flink_rest(&rest.url(), "poll_interval: 500ms");
    let config = config(
        &[job("flink", &targets, "")],
        &[receiver(&remote.url(), "metadata_config: {send_interval: 1s}\n")],
        &section,
    );
    let running = Running::start(&config);
    let info = || {
        let mut series: Vec<_> = remote.samples();
        series.retain(|sample| sample.name().contains("_info") && !sample.is_stale());
        series
            .iter()
            .map(|s| s.series.replace(&leader.address(), "LEADER"))
            .collect::<BTreeSet<_>>()
    };
    until_true("info series", || info().len() >= 5).await;
    insta::assert_snapshot!(info().into_iter().collect::<Vec<_>>().join("\n"));
    let metadata = || remote.accepted().into_iter().flat_map(|write| write.metadata);
    let is_told = || metadata().any(|family| family.metric_family_name == "flink_task_info");
    until_true("metadata", is_told).await;

    // It is told of TaskManagers there, and stays a JobManager's page.
    let targets = running.relay.status.targets();
    let is_leader = |target: &&Arc<TargetStatus>| target.target.instance() == leader.address();
    let role = targets.iter().find(is_leader).unwrap().state().role;
    assert_eq!(role, Role::JobManager);

    // A job that ends takes its info with it, though REST still tells of it.
    leader.set_page(&jm_page(&[]));
    let gone = || {
        let samples = remote.samples_of("flink_task_info");
        samples.last().is_some_and(Sample::is_stale)
    };
    until_true("its end", gone).await;
    assert!(!remote.samples_of("flink_cluster_info").last().unwrap().is_stale());
    // When REST is silent for several intervals the rest of it ends, too.
    rest.kill().await;
    let gone = || remote.samples_of("flink_cluster_info").last().unwrap().is_stale();
    until_true("its end", gone).await;
    running.stop().await;
}

#[tokio::test]
async fn failures_are_told_in_words_that_help() {
    let rest = FakeRest::of(cluster()).await;
    let flink = FakeFlink::with_page(&tm_page(&[(JOB, ON_PAGE)])).await;
    let json = r#"{"errors":["Service temporarily unavailable due to an ongoing leader election. Please refresh.\n\tat x"]}"#;
    let answers = [
        ("auth", Answer::new(401, &[], "")),
        ("redirect", Answer::new(307, &[("location", "http://other:8081/config")], "")),
        ("leaderless", Answer::new(503, &[], json)),
        ("html", Answer::new(200, &[("content-type", "text/html")], "<html></html>")),
        ("closed", Answer::close()),
        ("cut", Answer::new(200, &[], "{\"flink-version\": 1}").cut(4)),
        ("slow", Answer::hang()),
    ];
    let mut told = String::new();
    for (what, answer) in answers {
        rest.script(move |_| Some(answer.clone()));
        let section = flink_rest(&rest.url(), "timeout: 1s, follow_redirects: false");
        let (remote, running) = relayed(&flink, &section).await;
        scrapes(&remote, 1).await;
        let failure = || running.relay.rest().unwrap().endpoints()[0].1.failure.clone();
        let failure = until("a failure", failure).await;
        told += &format!("{what}: {failure}\n");
        assert!(remote.samples_of("up").iter().all(|up| up.value == 1.0));
        running.stop().await;
    }
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn rest_behind_tls_and_a_password_is_asked_with_both() {
    let directory = tempfile::tempdir().unwrap();
    let authority = tls::Authority::new(directory.path(), "rest");
    let rest = FakeRest::with_tls(cluster(), authority.server("localhost", None)).await;
    rest.script(|request| {
        let is_known = request.header("authorization") == Some("Basic Zmxpbms6c2VjcmV0");
        (!is_known).then(|| Answer::new(401, &[], ""))
    });
    let flink = FakeFlink::with_page(&tm_page(&[(JOB, ON_PAGE)])).await;
    let lines = format!(
        "basic_auth: {{username: flink, password: secret}}, tls_config: {{ca_file: {:?}}}",
        authority.ca_file()
    );
    let (remote, running) = relayed(&flink, &flink_rest(&rest.url(), &lines)).await;
    scrapes(&remote, 2).await;
    running.stop().await;
    assert_eq!(series_of(&remote, OPERATOR)[0].label("job_name"), NAME);
    assert!(flink.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn one_round_of_scrapes_shows_the_true_names() {
    let rest = FakeRest::of(cluster()).await;
    let flink = FakeFlink::with_page(&tm_page(&[(JOB, ON_PAGE)])).await;
    let jobs = [job("flink", &[flink.address()], "")];
    let config =
        config(&jobs, &[receiver("http://127.0.0.1:1/", "")], &flink_rest(&rest.url(), ""));
    let relay = flinkrelay::relay::Relay::new(&config).unwrap();
    let once = relay.scrape_once().await;
    let (scraper, scraped) = &once.targets[0];
    assert_eq!(scraped.result.as_ref().unwrap().kept, 2);
    let series: Vec<_> = scraper
        .samples(0)
        .map(|(block, ..)| flinkrelay::remote_write::v1::decode_labels(block).unwrap().to_string())
        .collect();
    assert!(series.iter().all(|series| series.contains(NAME)), "{series:?}");
}

#[tokio::test]
async fn many_relays_make_no_load() {
    let rest = FakeRest::of(cluster()).await;
    let flink = FakeFlink::with_script(|_| page(&tm_page(&[(JOB, ON_PAGE)]))).await;
    let mut relays = Vec::new();
    for _ in 0..6 {
        relays.push(relayed(&flink, &flink_rest(&rest.url(), "")).await);
    }
    for (remote, _) in &relays {
        scrapes(remote, 4).await;
        assert_eq!(series_of(remote, OPERATOR).len(), 1);
    }
    // Four requests each when a job begins, and nothing as long as it runs.
    assert_eq!(rest.requests().len(), 6 * 4);
    for (_, running) in relays {
        running.stop().await;
    }
}
