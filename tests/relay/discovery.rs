//! Targets that are looked for: they come, go with their markers, and stay when nobody can tell.

use std::{fs, path::Path, sync::Arc, time::Duration};

use flinkrelay::{
    flink::Role,
    relay::{Relay, SourceLook},
    status::TargetStatus,
};
use serde_json::{Value, json};

use crate::{
    fakes::{
        flink::{FakeFlink, page},
        free_ports,
        http::Answer,
        receiver::{FakeReceiver, Sample},
        relay::{Log, Running, config, receiver},
        until, until_true,
    },
    task_manager,
};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A job without static targets.
fn job(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("  - job_name: flink\n{lines}")
}

/// A process with a page of one metric.
async fn process() -> FakeFlink {
    FakeFlink::with_page(&task_manager(&[("a", 1.0)])).await
}

fn ups_of(remote: &FakeReceiver, instance: &str) -> Vec<Sample> {
    let mut ups = remote.samples_of("up");
    ups.retain(|up| up.label("instance") == instance);
    ups
}

async fn scraped(remote: &FakeReceiver, instance: &str) {
    let before = ups_of(remote, instance).len();
    until_true("two more scrapes", || ups_of(remote, instance).len() >= before + 2).await;
}

async fn ended(remote: &FakeReceiver, instance: &str) {
    let ends = || ups_of(remote, instance).last().is_some_and(Sample::is_stale);
    until_true("its end", ends).await;
}

fn is_unbroken(remote: &FakeReceiver, instance: &str) -> bool {
    let ups = ups_of(remote, instance);
    !ups.is_empty() && !ups.iter().any(Sample::is_stale)
}

fn source(relay: &Relay) -> SourceLook {
    relay.discovery().into_iter().next().unwrap()
}

fn instances(relay: &Relay) -> Vec<String> {
    let targets = relay.status.targets();
    let mut instances: Vec<_> =
        targets.iter().map(|target| target.target.instance().to_owned()).collect();
    instances.sort();
    instances
}

/// As a careful writer writes: whole or not at all.
fn write(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[tokio::test]
async fn a_file_that_changes_changes_the_targets() {
    let (first, second) = (process().await, process().await);
    let (a, b) = (first.address(), second.address());
    let remote = FakeReceiver::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("targets.yaml");
    write(&path, &format!("- targets: ['{a}']\n  labels: {{team: red, __meta_own: x}}\n"));
    let pattern = directory.path().join("*.yaml");
    let rules = "relabel_configs:\n  - {source_labels: [__meta_filepath], target_label: file}\n  \
                 - {source_labels: [__meta_own], target_label: own}";
    let lines = format!("file_sd_configs: [{{files: ['{}']}}]\n{rules}", pattern.display());
    let running = Running::start(&config(&[job(&lines)], &[receiver(&remote.url(), "")], ""));
    scraped(&remote, &a).await;
    let up = ups_of(&remote, &a).remove(0);
    assert_eq!(
        ["team", "own", "file"].map(|name| up.label(name)),
        ["red", "x", &path.to_string_lossy()]
    );

    write(
        &path,
        &format!(
            "- targets: ['{a}']\n  labels: {{team: red, __meta_own: x}}\n- targets: ['{b}']\n"
        ),
    );
    scraped(&remote, &b).await;
    // Broken, it keeps what it said last; the log and the state name the place.
    let (log, guard) = Log::start();
    write(&path, "- targets: [x:1]\n  lables: {}\n");
    let place = format!("{}:2:3:", path.display());
    until_true("the fault", || {
        source(&running.relay).source.state().failure.is_some_and(|why| why.starts_with(&place))
    })
    .await;
    scraped(&remote, &a).await;
    scraped(&remote, &b).await;
    assert_eq!(log.lines_with(&place).len(), 1, "told once");
    drop(guard);
    let state = source(&running.relay).source.state();
    assert_eq!((state.targets, state.failures), (Some(2), 1));

    write(&path, &format!("- targets: ['{b}']\n"));
    ended(&remote, &a).await;
    until_true("that it is gone", || instances(&running.relay) == [b.clone()]).await;
    scraped(&remote, &b).await;
    assert!(source(&running.relay).source.state().failure.is_none());
    fs::remove_file(&path).unwrap();
    ended(&remote, &b).await;
    until_true("that all are gone", || instances(&running.relay).is_empty()).await;
    assert_eq!(running.stop().await, 0);
    for instance in [a, b] {
        let markers = ups_of(&remote, &instance).into_iter().filter(Sample::is_stale).count();
        assert_eq!(markers, 1, "{instance} ended once");
    }
}

/// The list of targets that a server answers with.
fn list(targets: &[&str]) -> Answer {
    let list = json!([{"targets": targets, "labels": {"__meta_own": "x"}}]);
    Answer::new(200, &[JSON], list.to_string())
}

fn http_job(server: &FakeFlink, lines: &str) -> String {
    let address = server.address();
    job(&format!(
        "http_sd_configs: [{{url: 'http://{address}/targets?of=flink', refresh_interval: 200ms}}]\n{lines}"
    ))
}

#[tokio::test]
async fn a_server_of_targets_is_believed_when_it_answers_and_only_then() {
    let (first, second) = (process().await, process().await);
    let (a, b) = (first.address(), second.address());
    let remote = FakeReceiver::start().await;
    let of_first = a.clone();
    let server = FakeFlink::with_script(move |_| list(&[&of_first])).await;
    let rules = "relabel_configs: [{source_labels: [__meta_url], target_label: from}]";
    let running =
        Running::start(&config(&[http_job(&server, rules)], &[receiver(&remote.url(), "")], ""));
    scraped(&remote, &a).await;
    let url = format!("http://{}/targets?of=flink", server.address());
    assert_eq!(ups_of(&remote, &a)[0].label("from"), url);
    let asked = server.requests().remove(0);
    assert_eq!(asked.target, "/targets?of=flink");
    assert_eq!(asked.header("x-prometheus-refresh-interval-seconds"), Some("0.2"));
    assert_eq!(asked.header("accept"), Some("application/json"));

    // Whatever is no good answer says nothing about the targets.
    let failure = |part: &'static str| {
        let relay = Arc::clone(&running.relay);
        until_true(part, move || {
            source(&relay).source.state().failure.is_some_and(|why| why.contains(part))
        })
    };
    server.set(|_| Answer::words(503, "later"));
    failure("/targets: HTTP 503").await;
    server.set(|_| Answer::new(200, &[("content-type", "text/html")], "[]"));
    failure("the content type is `text/html`").await;
    server.set(|_| Answer::new(200, &[JSON], "[{\"target\": []}]"));
    failure("/targets:1:10: unknown field `target`").await;
    server.set(|_| Answer::new(200, &[JSON], "[{\"targets\": [").cut(5));
    failure("/targets").await;
    server.set(|_| Answer::hang());
    failure("no answer within 0.2 s").await;
    scraped(&remote, &a).await;
    assert!(is_unbroken(&remote, &a));

    let of_second = b.clone();
    server.set(move |_| list(&[&of_second]));
    ended(&remote, &a).await;
    scraped(&remote, &b).await;
    // An empty list is an answer.
    server.set(|_| Answer::new(200, &[JSON], "[]"));
    ended(&remote, &b).await;
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn a_reload_keeps_sources_that_stay_and_waits_for_those_that_are_new() {
    let flink = process().await;
    let a = flink.address();
    let remote = FakeReceiver::start().await;
    let of_flink = a.clone();
    let server = FakeFlink::with_script(move |_| list(&[&of_flink])).await;
    let receivers = [receiver(&remote.url(), "")];
    let running = Running::start(&config(&[http_job(&server, "")], &receivers, ""));
    scraped(&remote, &a).await;
    let before = source(&running.relay).source;
    // Nobody answers any more: what is scraped from here on was found before.
    server.set(|_| Answer::words(500, "no"));
    running.reload(&config(&[http_job(&server, "label_limit: 99")], &receivers, "")).await;
    assert!(Arc::ptr_eq(&before, &source(&running.relay).source));
    scraped(&remote, &a).await;
    // Another source in its place has not answered yet.
    let of_flink = a.clone();
    let silent = FakeFlink::with_script(|_| Answer::words(500, "not yet")).await;
    running.reload(&config(&[http_job(&silent, "")], &receivers, "")).await;
    assert!(!Arc::ptr_eq(&before, &source(&running.relay).source));
    until_true("that it was asked", || !silent.requests().is_empty()).await;
    scraped(&remote, &a).await;
    silent.set(move |_| list(&[&of_flink]));
    until_true("its answer", || source(&running.relay).source.state().targets == Some(1)).await;
    scraped(&remote, &a).await;
    assert!(is_unbroken(&remote, &a));
    // Without any source all that was found ends.
    let alone = crate::fakes::relay::job("flink", &["127.0.0.1:1"], "");
    running.reload(&config(&[alone], &receivers, "")).await;
    ended(&remote, &a).await;
    assert!(running.relay.discovery().is_empty());
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn what_relabelling_leaves_invalid_is_left_out_and_told() {
    let flink = process().await;
    let a = flink.address();
    let remote = FakeReceiver::start().await;
    let of_flink = a.clone();
    let port = a.rsplit_once(':').unwrap().1.to_owned();
    let server = FakeFlink::with_script(move |_| {
        list(&[&of_flink, "dropped:1", "no port at all", "localhost"])
    })
    .await;
    // The usual way to give a port to an address that was found without one.
    let rules = format!(
        "relabel_configs:\n  - {{source_labels: [__address__], regex: 'dropped.*', action: drop}}\n  \
         - {{source_labels: [__address__], regex: 'localhost', target_label: __address__, replacement: 'localhost:{port}'}}"
    );
    let (log, guard) = Log::start();
    let running =
        Running::start(&config(&[http_job(&server, &rules)], &[receiver(&remote.url(), "")], ""));
    scraped(&remote, &format!("localhost:{port}")).await;
    scraped(&remote, &a).await;
    let state = source(&running.relay).source.state();
    assert_eq!(state.targets, Some(4));
    assert_eq!((state.left_out.relabel, state.left_out.invalid), (1, 1));
    let told = log.lines_with("cannot be scraped after relabelling");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("no port at all"), "{told:?}");
    drop(guard);
    assert_eq!(running.stop().await, 0);
}

/// A target's identity over all its scrapes.
fn states(relay: &Relay) -> Vec<(String, *const ())> {
    let targets = relay.status.targets();
    let state = |target: &Arc<TargetStatus>| Arc::as_ptr(target).cast();
    let mut states: Vec<_> =
        targets.iter().map(|target| (target.target.instance().to_owned(), state(target))).collect();
    states.sort();
    states
}

#[tokio::test]
async fn of_five_thousand_targets_only_those_that_change_are_touched() {
    let remote = FakeReceiver::start().await;
    let address = |n: usize| format!("127.1.{}.{}:1", n / 250, n % 250);
    let of = move |range: std::ops::Range<usize>| {
        let groups =
            range.map(|n| json!({"targets": [address(n)], "labels": {"n": n.to_string()}}));
        Answer::new(200, &[JSON], Value::from_iter(groups).to_string())
    };
    let server = FakeFlink::with_script(move |_| of(0..5_000)).await;
    let config =
        config(&[http_job(&server, "scrape_interval: 1h")], &[receiver(&remote.url(), "")], "");
    let running = Running::start(&config);
    let count = |n: usize| {
        let relay = Arc::clone(&running.relay);
        until_true("the targets", move || relay.status.targets().len() == n)
    };
    count(5_000).await;
    let before = states(&running.relay);
    let began = std::time::Instant::now();
    server.set(move |_| of(3..5_003));
    let first = "127.1.0.0:1".to_owned();
    until_true("the first to be gone", || !instances(&running.relay).contains(&first)).await;
    count(5_000).await;
    println!("three of 5,000 targets changed within {:?}", began.elapsed());
    let after = states(&running.relay);
    let kept = after.iter().filter(|state| before.binary_search(state).is_ok()).count();
    assert_eq!(kept, 4_997, "the others go on as they are");
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn a_found_target_that_only_moves_to_another_relay_gets_no_markers() {
    let flink = process().await;
    let a = flink.address();
    let remote = FakeReceiver::start().await;
    let of_flink = a.clone();
    let server = FakeFlink::with_script(move |_| list(&[&of_flink])).await;
    let of = |shard: &str| {
        let global =
            format!("global: {{scrape_interval: 300ms, scrape_timeout: 300ms, shard: {shard}}}\n");
        config(&[http_job(&server, "")], &[receiver(&remote.url(), "")], &global)
    };
    let owner = flinkrelay::shard::owner(flinkrelay::shard::key("flink", &a), 2);
    let running = Running::start(&of(&format!("{owner}/2")));
    scraped(&remote, &a).await;
    running.reload(&of(&format!("{}/2", 1 - owner))).await;
    until_true("that it has moved", || instances(&running.relay).is_empty()).await;
    assert_eq!(source(&running.relay).source.state().left_out.shard, 1);
    assert_eq!(running.stop().await, 0);
    assert!(is_unbroken(&remote, &a));
}

/// A recorded file of a real Flink.
fn recorded(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages/2.3.0").join(name);
    fs::read_to_string(path).unwrap()
}

fn roles(relay: &Relay) -> Vec<(String, Role)> {
    let targets = relay.status.targets();
    let mut roles: Vec<_> = targets
        .iter()
        .map(|target| (target.target.instance().to_owned(), target.state().role))
        .collect();
    roles.sort_by(|a, b| a.0.cmp(&b.0));
    roles
}

/// REST of the recorded cluster, whose processes all run on 127.0.0.1; logs say these ports.
async fn rest(logs: Vec<(&'static str, u16)>) -> FakeFlink {
    let task_managers = recorded("rest_taskmanagers.json");
    FakeFlink::with_script(move |request| {
        if request.target == "/taskmanagers" {
            return Answer::new(200, &[JSON], task_managers.as_str());
        }
        match logs.iter().find(|(path, _)| request.target == *path) {
            Some((_, port)) => {
                let line =
                    format!("Started PrometheusReporter HTTP server on port {port}.\nmore\n");
                Answer::new(200, &[("content-type", "text/plain")], line)
            }
            None => Answer::words(404, "no such log"),
        }
    })
    .await
}

async fn cluster(first: u16) -> [FakeFlink; 3] {
    [
        FakeFlink::on_port(first, &recorded("jobmanager.prom")).await,
        FakeFlink::on_port(first + 1, &recorded("taskmanager-1.prom")).await,
        FakeFlink::on_port(first + 2, &recorded("taskmanager-2.prom")).await,
    ]
}

fn expected(first: u16) -> Vec<(String, Role)> {
    let of = |n: u16, role| (format!("127.0.0.1:{}", first + n), role);
    vec![of(0, Role::JobManager), of(1, Role::TaskManager), of(2, Role::TaskManager)]
}

#[tokio::test]
async fn rest_names_the_hosts_and_probes_find_the_ports() {
    let first = free_ports(6).start;
    let _processes = cluster(first).await;
    let rest = rest(Vec::new()).await;
    let remote = FakeReceiver::start().await;
    let rules = "relabel_configs:\n  - {source_labels: [__meta_flink_rest_url], target_label: rest}\n  \
                 - {source_labels: [__meta_flink_role], target_label: role}";
    let url = format!("http://{}", rest.address());
    let lines = format!(
        "probe_interval: 200ms\nflink_sd_configs: [{{source: rest, url: '{url}/', ports: {first}-{}}}]\n{rules}",
        first + 5
    );
    let running = Running::start(&config(&[job(&lines)], &[receiver(&remote.url(), "")], ""));
    until_true("the cluster", || roles(&running.relay) == expected(first)).await;
    let up = until("samples", || {
        ups_of(&remote, &format!("127.0.0.1:{}", first + 2)).into_iter().next()
    })
    .await;
    assert_eq!(["rest", "role"].map(|name| up.label(name)), [&*url, "taskmanager"]);
    // JobManager and TaskManagers share the host, so it is one range.
    assert_eq!(running.relay.status.ranges().len(), 1);
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn rest_shows_the_logs_that_name_the_ports() {
    let first = free_ports(3).start;
    let _processes = cluster(first).await;
    let logs =
        [("/jobmanager/log", 0), ("/taskmanagers/tm-1/log", 1), ("/taskmanagers/tm-2/log", 2)];
    let with = |silent: &str| {
        let told = logs.iter().filter(|(path, _)| *path != silent);
        rest(told.map(|(path, n)| (*path, first + n)).collect())
    };
    let remote = FakeReceiver::start().await;
    let of = |rest: &FakeFlink| {
        let url = format!("http://{}", rest.address());
        let rules = "relabel_configs: [{source_labels: [__meta_flink_tm_id], target_label: id}]";
        let lines = format!(
            "flink_sd_configs: [{{source: rest, url: '{url}', ports: logs, refresh_interval: 200ms}}]\n{rules}"
        );
        config(&[job(&lines)], &[receiver(&remote.url(), "")], "")
    };
    let all = with("").await;
    let running = Running::start(&of(&all));
    until_true("the cluster", || roles(&running.relay) == expected(first)).await;
    let up = until("samples", || {
        ups_of(&remote, &format!("127.0.0.1:{}", first + 1)).into_iter().next()
    })
    .await;
    assert_eq!(up.label("id"), "tm-1");
    let asked = all.requests();
    let of_log = asked.iter().filter(|request| request.target == "/taskmanagers/tm-2/log").count();
    assert_eq!(of_log, 1, "a log is read once");
    // Who does not tell is named, and the others are targets.
    let some = with("/taskmanagers/tm-2/log").await;
    running.reload(&of(&some)).await;
    until_true("the other two", || roles(&running.relay) == expected(first)[..2]).await;
    let why = until("the fault", || source(&running.relay).source.state().failure).await;
    assert!(why.starts_with("1 process(es) whose log"), "{why}");
    assert!(why.contains("/taskmanagers/tm-2/log: HTTP 404"), "{why}");
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn who_looks_once_sees_what_is_found_and_what_is_not() {
    let flink = process().await;
    let of_flink = flink.address();
    let server = FakeFlink::with_script(move |_| list(&[&of_flink])).await;
    let remote = FakeReceiver::start().await;
    let of = |server: &FakeFlink| {
        let config = config(&[http_job(server, "")], &[receiver(&remote.url(), "")], "");
        Relay::new(&config).unwrap()
    };
    let once = of(&server).scrape_once().await;
    assert_eq!((once.targets.len(), once.failures.len()), (1, 0));
    assert!(once.targets[0].1.result.is_ok());
    server.set(|_| page("no list"));
    let once = tokio::time::timeout(Duration::from_secs(60), of(&server).scrape_once()).await;
    let once = once.expect("it does not wait for ever");
    assert!(once.targets.is_empty());
    assert!(once.failures[0].1.contains("the content type is"), "{:?}", once.failures);
}
