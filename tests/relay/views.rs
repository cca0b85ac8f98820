//! What a receiver is sent and how it is spoken to is its own affair: rules, tenant, credentials, TLS.

use std::{fs, path::Path, time::Duration};

use flinkrelay::spool::Reason;
use tempfile::TempDir;

use crate::{
    fakes::{
        flink::FakeFlink,
        receiver::{FakeReceiver, Write},
        relay::{Log, Running, config, job, receiver},
        tls::Authority,
        until_true,
    },
    task_manager,
};

/// The values of a header in the requests taken so far.
fn header(writes: &[Write], name: &str) -> Vec<Option<String>> {
    let mut values: Vec<_> =
        writes.iter().map(|w| w.request.header(name).map(str::to_owned)).collect();
    values.dedup();
    values
}

#[tokio::test]
async fn each_receiver_has_its_own_rules_headers_and_credentials() {
    let directory = TempDir::new().unwrap();
    let token = directory.path().join("token");
    fs::write(&token, "first\n").unwrap();
    let flink = FakeFlink::with_page(&task_manager(&[("a", 1.0), ("b", 2.0)])).await;
    let (all, some, bearer) =
        (FakeReceiver::start().await, FakeReceiver::start().await, FakeReceiver::start().await);
    let receivers = [
        receiver(&all.url(), "tenant: team-1\nheaders: {X-Extra: one}"),
        receiver(
            &some.url(),
            "basic_auth: {username: relay, password: 's:cret'}\nwrite_relabel_configs:\n\
             \x20 - {source_labels: [__name__], regex: flink_taskmanager_b|scrape_.*, action: drop}\n\
             \x20 - {regex: cluster|tm_id, action: labeldrop}\n\
             \x20 - {target_label: view, replacement: some}",
        ),
        receiver(&bearer.url(), &format!("bearer_token_file: {}", token.display())),
    ];
    let jobs = [job("flink", &[flink.address()], "")];
    let sections = "global:\n  scrape_interval: 200ms\n  external_labels: {cluster: eu}\n";
    let running = Running::start(&config(&jobs, &receivers, sections));
    until_true("two scrapes everywhere", || {
        [&all, &some, &bearer].iter().all(|remote| remote.samples_of("up").len() >= 2)
    })
    .await;
    let filtered = |receiver| running.counts(receiver).dropped(Reason::WriteRelabel).samples;
    assert!(filtered(1) >= 2, "what the rules keep from a receiver is in its account");
    assert_eq!((filtered(0), filtered(2)), (0, 0));
    // As Kubernetes swaps a mounted secret: a new file takes the name.
    let new = directory.path().join("new");
    fs::write(&new, "second").unwrap();
    fs::rename(&new, &token).unwrap();
    until_true("the new token", || header(&bearer.accepted(), "authorization").len() == 2).await;
    fs::remove_file(&token).unwrap();
    until_true("samples that wait for a token", || {
        running.counts(2).queued.samples > 0 && running.counts(2).retried.samples > 0
    })
    .await;
    fs::write(&token, "third").unwrap();
    until_true("the third token", || header(&bearer.accepted(), "authorization").len() == 3).await;
    assert_eq!(running.stop().await, 0);

    let basic = "Basic cmVsYXk6czpjcmV0".to_owned();
    assert_eq!(header(&all.accepted(), "x-scope-orgid"), [Some("team-1".to_owned())]);
    assert_eq!(header(&all.accepted(), "x-extra"), [Some("one".to_owned())]);
    assert_eq!(header(&all.accepted(), "authorization"), [None]);
    assert_eq!(header(&some.accepted(), "authorization"), [Some(basic)]);
    assert_eq!(header(&some.accepted(), "x-scope-orgid"), [None]);
    let bearers = ["first", "second", "third"].map(|token| Some(format!("Bearer {token}")));
    assert_eq!(header(&bearer.accepted(), "authorization"), bearers);

    let mut names: Vec<_> = some.samples().iter().map(|s| s.name().to_owned()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names, ["flink_taskmanager_a", "up"]);
    let instance = flink.address();
    let series = |remote: &FakeReceiver| remote.samples_of("flink_taskmanager_a")[0].series.clone();
    let labels =
        |text: &str| format!("flink_taskmanager_a{{{}}}", text.replace("ADDRESS", &instance));
    let everything = "cluster=\"eu\",instance=\"ADDRESS\",job=\"flink\",tm_id=\"tm-1\"";
    assert_eq!(series(&all), labels(everything));
    assert_eq!(series(&bearer), labels(everything));
    assert_eq!(series(&some), labels("instance=\"ADDRESS\",job=\"flink\",view=\"some\""));
}

fn path(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

#[tokio::test]
async fn tls_is_verified_as_configured() {
    let (log, _guard) = Log::start();
    let directory = TempDir::new().unwrap();
    let ours = Authority::new(directory.path(), "ours");
    let theirs = Authority::new(directory.path(), "theirs");
    let (ca, other_ca) = (path(&ours.ca_file()), path(&theirs.ca_file()));
    let (cert, key) = ours.client_files();
    let client = format!("cert_file: {}, key_file: {}", path(&cert), path(&key));
    let wants_client = || ours.server("localhost", Some(&ours));
    let cases = [
        ("own_ca", true, ours.server("localhost", None), format!("ca_file: {ca}")),
        ("client", true, wants_client(), format!("ca_file: {ca}, {client}")),
        ("unverified", true, theirs.server("x", None), "insecure_skip_verify: true".to_owned()),
        ("named", true, ours.server("vm.internal", None), {
            format!("ca_file: {ca}, server_name: vm.internal")
        }),
        ("other_ca", false, ours.server("localhost", None), format!("ca_file: {other_ca}")),
        ("system_ca", false, ours.server("localhost", None), "{}".to_owned()),
        ("other_name", false, ours.server("elsewhere", None), format!("ca_file: {ca}")),
        ("no_client", false, wants_client(), format!("ca_file: {ca}")),
    ];
    let (mut remotes, mut receivers) = (Vec::new(), Vec::new());
    for (name, good, server, tls) in cases {
        let remote = FakeReceiver::with_tls(server).await;
        let tls = if tls == "{}" { tls } else { format!("{{{tls}}}") };
        receivers.push(receiver(&remote.url(), &format!("name: {name}\ntls_config: {tls}")));
        remotes.push((name, good, remote));
    }
    let flink = FakeFlink::with_page(&task_manager(&[("a", 1.0)])).await;
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::with_grace(&config(&jobs, &receivers, ""), Duration::from_millis(200));
    until_true("two scrapes, or an error", || {
        remotes.iter().enumerate().all(|(n, (_, good, remote))| match good {
            true => remote.samples_of("up").len() >= 2,
            false => running.counts(n).retried.samples > 0,
        })
    })
    .await;
    let relay = running.relay.clone();
    running.stop().await;
    for ((name, good, remote), receiver) in remotes.iter().zip(relay.receivers()) {
        let counts = receiver.counts();
        if *good {
            assert_eq!(counts.delivered, counts.appended, "{name}");
            continue;
        }
        assert!(remote.tries().is_empty(), "{name}: nothing is said to a stranger");
        assert_eq!(counts.delivered.samples, 0, "{name}");
        let lines = log.lines_with(&format!("receiver={name} "));
        let why =
            if *name == "no_client" { "CertificateRequired" } else { "invalid peer certificate" };
        assert!(lines.iter().any(|line| line.contains(why)), "{name}: {lines:?}");
    }
}
