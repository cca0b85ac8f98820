//! The relay's own endpoints, asked over HTTP.

use std::{collections::BTreeSet, time::Duration};

use flinkrelay::{
    exposition::{self, Entry, Limits},
    server,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use crate::{
    fakes::{
        flink::{FakeFlink, page},
        http::Answer,
        receiver::FakeReceiver,
        relay::{Running, config, job, receiver},
        until_true,
    },
    task_manager,
};

/// Asks for a path; returns status, content type and body.
pub(crate) async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: "));
    (status, kind.unwrap_or_default().to_owned(), body.to_owned())
}

#[tokio::test]
async fn the_endpoints_tell_how_it_is() {
    let good =
        FakeFlink::with_page(&task_manager(&[("a", 1.0), ("Status_JVM_CPU_Time", 2.0)])).await;
    let bad = FakeFlink::with_script(|_| Answer::words(500, "no")).await;
    let torn = "flink_jobmanager_x 1\nflink_jobmanager_y what\nflink_jobmanager_x 1\n";
    let torn = FakeFlink::with_script(move |_| page(torn)).await;
    let remote = FakeReceiver::start().await;
    let refusing = FakeReceiver::with_script(|_| Answer::words(400, "no")).await;
    let jobs = [
        job("good", &[good.address()], ""),
        // Quotes, backslashes and line breaks must not break the relay's own page.
        job(
            "bad",
            &[bad.address()],
            "relabel_configs:\n  - target_label: instance\n    replacement: \"a \\\"b\\\" \\\\ \\n c\"",
        ),
        job("torn", &[torn.address()], ""),
    ];
    let receivers =
        [receiver(&remote.url(), "name: takes"), receiver(&refusing.url(), "name: refuses")];
    let config = config(&jobs, &receivers, "");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();

    let running = Running::start(&config);
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server::serve(listener, running.relay.clone(), stop.clone()));
    // The relay's task has not had its turn yet.
    assert!(!running.relay.is_ready());
    until_true("deliveries", || {
        remote.samples_of("up").len() >= 9 && running.counts(1).dropped_in_all().samples > 0
    })
    .await;
    assert_eq!(get(address, "/-/healthy").await.0, 200);
    let (status, _, body) = get(address, "/-/ready").await;
    assert_eq!((status, &*body), (200, "flinkrelay is ready.\n"));
    assert_eq!(get(address, "/nothing").await.0, 404);
    assert!(get(address, "/").await.2.contains("/metrics"));
    for _ in 0..20 {
        let (status, kind, text) = get(address, "/metrics").await;
        assert_eq!(
            (status, &*kind),
            (200, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        );
        check_metrics(&text);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (status, kind, text) = get(address, "/targets").await;
    assert_eq!((status, &*kind), (200, "application/json"));
    let mut targets: Value = serde_json::from_str(&text).unwrap();
    let ports = [good.address(), bad.address(), torn.address()];
    let names = ["GOOD", "BAD", "TORN"];
    redact(&mut targets, &|text| {
        let mut text = text.replace(&remote.url(), "TAKES").replace(&refusing.url(), "REFUSES");
        for (port, name) in ports.iter().zip(names) {
            text = text.replace(port, name);
        }
        text
    });
    // By name, since the order of the URLs is that of the ports.
    let list = targets["activeTargets"].as_array_mut().unwrap();
    list.sort_by_key(|target| target["labels"]["job"].as_str().unwrap().to_owned());
    insta::assert_json_snapshot!(targets);

    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    assert!(!relay.is_ready());
    let (status, _, body) = get(address, "/-/ready").await;
    assert_eq!((status, &*body), (503, "flinkrelay is starting or stopping.\n"));
    stop.cancel();
    serving.await.unwrap().unwrap();
}

/// Numbers that differ from run to run become their kind, texts lose their ports.
fn redact(value: &mut Value, text: &impl Fn(&str) -> String) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let varies = [
                    "lastScrape",
                    "lastScrapeDurationSeconds",
                    "samplesAppended",
                    "samplesDelivered",
                    "samplesPending",
                    "rejected",
                    "failingSince",
                    "lastSuccess",
                    "at",
                    "requestsInFlight",
                    "shards",
                    "oldestPendingSeconds",
                ];
                if varies.contains(&name.as_str()) {
                    assert!(value.is_number(), "{name}: {value}");
                    *value = "NUMBER".into();
                } else {
                    redact(value, text);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| redact(value, text)),
        Value::String(string) => *string = text(string),
        _ => {}
    }
}

/// The page is OpenMetrics: families in one piece, TYPE first, no series twice, counters end in
/// `_total`, `# EOF` at the end; and the accounts on it balance.
fn check_metrics(text: &str) {
    let body = text.strip_suffix("# EOF\n").expect("the end is marked");
    assert!(!body.contains("# EOF"));
    let page = exposition::page(body.as_bytes(), &Limits::default()).unwrap();
    assert!(page.faults.is_empty(), "{:?}", page.faults);
    let mut types = Vec::<(String, String)>::new();
    for line in body.lines() {
        assert!(!line.is_empty());
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            assert!(types.iter().all(|(known, _)| known != name), "{name} comes twice");
            types.push((name.to_owned(), kind.to_owned()));
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let (family, kind) = types.last().unwrap();
            let suffix = name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{line}"));
            let allowed: &[&str] = match &**kind {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_bucket", "_sum", "_count"],
                kind => panic!("{kind}: {line}"),
            };
            assert!(allowed.contains(&suffix), "{line} in the {kind} {family}");
        }
    }
    let series: BTreeSet<_> = page.samples().map(|sample| sample.series).collect();
    assert_eq!(series.len(), page.samples().count(), "a series stands twice");
    for entry in &page.entries {
        assert!(matches!(
            entry.1,
            Entry::Sample(_)
                | Entry::Help { .. }
                | Entry::Type { .. }
                | Entry::Comment
                | Entry::Blank
        ));
    }
    check_account(&page);
}

fn check_account(page: &exposition::Page<'_>) {
    let sum = |name: &str, label: &str, value: &str| -> f64 {
        let of_name = page.samples().filter(|sample| sample.name == name);
        let wanted = of_name.filter(|s| s.labels().any(|(l, v)| l == label && v == value));
        wanted.map(|sample| sample.value).sum()
    };
    for receiver in ["takes", "refuses"] {
        let of = |metric: &str| {
            sum(&format!("flinkrelay_remote_write_samples_{metric}"), "receiver", receiver)
        };
        let delivered = sum("flinkrelay_remote_write_samples_total", "receiver", receiver);
        assert_eq!(of("appended_total"), delivered + of("dropped_total") + of("pending"));
        assert!(of("appended_total") > 0.0);
    }
    for job in ["good", "bad", "torn"] {
        let of =
            |metric: &str| sum(&format!("flinkrelay_target_samples_{metric}_total"), "job", job);
        assert_eq!(of("scraped"), of("kept") + of("dropped"), "{job}");
        assert_eq!(sum("flinkrelay_target_up", "job", job), f64::from(job != "bad"));
    }
    let value = "a \"b\" \\ \n c";
    assert!(sum("flinkrelay_target_scrapes_total", "instance", value) > 0.0);
    assert!(sum("flinkrelay_target_scrape_failures_total", "reason", "http_status") > 0.0);
}
