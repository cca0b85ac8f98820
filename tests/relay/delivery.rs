//! What is scraped arrives: all of it, once, in order, with its labels and its metadata.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use flinkrelay::remote_write::proto::metric_metadata::MetricType;

use crate::fakes::{
    flink::{FakeFlink, gzip_page, page},
    http::{Answer, Request},
    receiver::{FakeReceiver, Sample, Write},
    relay::{Log, Running, config, job, receiver},
    until_true,
};

/// Samples of each page of [`counting_flink`].
const SAMPLES: usize = 2 + 40 + 3;

const REPORT: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// A process whose samples all tell the how manieth page they are of, from 0.
async fn counting_flink(number: usize) -> FakeFlink {
    let pages = AtomicU64::new(0);
    FakeFlink::with_script(move |_| {
        let n = pages.fetch_add(1, Relaxed);
        let mut text = format!(
            "# HELP flink_taskmanager_own_{number} of process {number}\n\
             # TYPE flink_taskmanager_own_{number} gauge\nflink_taskmanager_own_{number} {n}\n\
             # HELP flink_taskmanager_Status_JVM_CPU_Time Time\n\
             # TYPE flink_taskmanager_Status_JVM_CPU_Time gauge\n\
             flink_taskmanager_Status_JVM_CPU_Time{{tm_id=\"tm-{number}\",}} {n}\n\
             # TYPE flink_taskmanager_job_task_numRecordsIn gauge\n"
        );
        for subtask in 0..40 {
            text += &format!(
                "flink_taskmanager_job_task_numRecordsIn{{job_id=\"j\",task_id=\"t\",\
                 task_name=\"Süd → \\\"x\\\"\",subtask_index=\"{subtask}\",}} {n}\n"
            );
        }
        text += "# TYPE flink_taskmanager_latency summary\n";
        for (suffix, quantile) in
            [("_count", ""), ("", "quantile=\"0.5\""), ("", "quantile=\"0.99\"")]
        {
            text += &format!("flink_taskmanager_latency{suffix}{{{quantile}}} {n}\n");
        }
        page(&text)
    })
    .await
}

/// Twenty processes, each scraped at least `scrapes` times; what their receiver has at the end.
async fn relay_twenty(queue: &str, scrapes: usize) {
    let mut flinks = Vec::new();
    for number in 0..20 {
        flinks.push(counting_flink(number).await);
    }
    let remote = FakeReceiver::start().await;
    let addresses: Vec<_> = flinks.iter().map(FakeFlink::address).collect();
    let config = config(
        &[job("flink", &addresses, "")],
        &[receiver(&remote.url(), &format!("queue_config: {{{queue}}}"))],
        "global:\n  scrape_interval: 400ms\n  scrape_timeout: 400ms\n  external_labels: {cluster: eu}\n",
    );
    let running = Running::start(&config);
    until_true("scrapes of each target", || {
        running.counts(0);
        flinks.iter().all(|flink| flink.scrapes() >= scrapes)
    })
    .await;
    let counts = running.relay.receivers()[0].clone();
    assert_eq!(running.stop().await, 0, "all is delivered within the grace");

    let samples = remote.samples();
    assert_eq!(counts.counts().delivered.samples, samples.len() as u64);
    assert_eq!(counts.counts().appended.samples, samples.len() as u64);
    assert!(samples.iter().all(|sample| sample.label("cluster") == "eu"));
    assert!(samples.iter().all(|sample| sample.label("job") == "flink"));
    assert!(samples.iter().all(|s| !s.is_stale()), "no series has ended, nor has the relay's stop");
    for (number, flink) in flinks.iter().enumerate() {
        let address = flink.address();
        let of_target: Vec<_> =
            samples.iter().filter(|s| s.label("instance") == address).cloned().collect();
        check_target(number, &of_target, flink.scrapes());
    }
    check_metadata(&remote.accepted());
}

/// Every page that was served is there as a whole, except a last one that the stop met.
fn check_target(number: usize, samples: &[Sample], served: usize) {
    let mut pages = BTreeMap::<i64, Vec<&Sample>>::new();
    for sample in samples {
        pages.entry(sample.timestamp_ms).or_default().push(sample);
    }
    assert!(pages.len() == served || pages.len() + 1 == served, "{} of {served}", pages.len());
    for (n, page) in pages.values().enumerate() {
        let series: BTreeSet<_> = page.iter().map(|sample| &sample.series).collect();
        assert_eq!(series.len(), SAMPLES + REPORT.len(), "page {n} of process {number}");
        assert_eq!(page.len(), series.len());
        for sample in page {
            let expected = match sample.name() {
                "up" => 1.0,
                "scrape_samples_scraped" | "scrape_samples_post_metric_relabeling" => {
                    SAMPLES as f64
                }
                "scrape_series_added" => {
                    if n == 0 {
                        SAMPLES as f64
                    } else {
                        0.0
                    }
                }
                "scrape_duration_seconds" => {
                    assert!(sample.value > 0.0 && sample.value < 0.4, "{}", sample.value);
                    continue;
                }
                _ => n as f64,
            };
            assert_eq!(sample.value, expected, "page {n}: {}", sample.series);
        }
    }
    let own = format!("flink_taskmanager_own_{number}");
    assert!(samples.iter().any(|sample| sample.name() == own));
}

/// A target's metadata comes with its first samples, and not again within the minute.
fn check_metadata(writes: &[Write]) {
    let mut seen = HashMap::<&str, usize>::new();
    for write in writes {
        let new: BTreeSet<_> = write.samples.iter().map(|sample| sample.name()).collect();
        let told: Vec<_> = write.metadata.iter().map(|m| m.metric_family_name.as_str()).collect();
        for family in &told {
            *seen.entry(family).or_default() += 1;
        }
        for name in new.iter().filter(|name| name.contains("_own_")) {
            assert!(seen.contains_key(name), "samples of {name} before its metadata");
        }
    }
    for number in 0..20 {
        assert_eq!(seen.remove(&*format!("flink_taskmanager_own_{number}")), Some(1));
    }
    let shared = ["job_task_numRecordsIn", "Status_JVM_CPU_Time", "latency"];
    for name in shared.map(|name| format!("flink_taskmanager_{name}")) {
        assert_eq!(seen.remove(&*name), Some(20), "{name}");
    }
    assert!(seen.is_empty(), "{seen:?}");
    let family = |name: &str| {
        let mut all = writes.iter().flat_map(|write| &write.metadata);
        all.find(|metadata| metadata.metric_family_name == name).unwrap()
    };
    assert_eq!(family("flink_taskmanager_own_7").help, "of process 7");
    assert_eq!(family("flink_taskmanager_own_7").r#type(), MetricType::Gauge);
    let records = family("flink_taskmanager_job_task_numRecordsIn");
    assert_eq!(
        records.r#type(),
        MetricType::Counter,
        "Flink says gauge, the catalogue knows better"
    );
    assert_eq!(family("flink_taskmanager_latency").r#type(), MetricType::Summary);
}

#[tokio::test]
async fn every_sample_of_every_scrape_arrives_once_and_in_order() {
    relay_twenty("batch_send_deadline: 50ms", 4).await;
}

#[tokio::test]
async fn scrapes_that_are_cut_into_many_small_batches_arrive_likewise() {
    relay_twenty("batch_send_deadline: 50ms, max_samples_per_send: 7, max_shards: 2", 3).await;
}

/// Servers that are odd but right. None of them costs a single scrape.
#[tokio::test]
async fn odd_but_right_answers_are_pages() {
    const PAGE: &str = "flink_taskmanager_a 1\nflink_taskmanager_b 2\n";
    let chunks: &[&[u8]] = &[b"flink_taskmanager_a", b" ", b"1\nflink_taskmanager_b 2", b"\r\n"];
    let millisecond = Duration::from_millis(1);
    let mut flinks = vec![
        ("gzip", FakeFlink::with_script(|_| gzip_page(PAGE)).await),
        ("trickle", FakeFlink::with_script(move |_| page(PAGE).trickle(9, millisecond)).await),
        ("gzip trickle", {
            FakeFlink::with_script(move |_| gzip_page(PAGE).trickle(7, millisecond)).await
        }),
        ("chunked", FakeFlink::with_script(|_| Answer::chunked(&[], chunks)).await),
        ("no last newline", FakeFlink::with_script(|_| page(PAGE.trim_end())).await),
        ("no length", {
            let bytes = format!("HTTP/1.0 200 OK\r\n\r\n{PAGE}");
            FakeFlink::with_script(move |_| Answer::raw(bytes.clone())).await
        }),
        ("closes while idle", FakeFlink::with_script(|_| page(PAGE).then_close()).await),
    ];
    // Closes just when the second request of the connection has come.
    let script = |request: &Request| match request.on_connection {
        0 => page(PAGE),
        _ => Answer::close(),
    };
    flinks.push(("closes when asked again", FakeFlink::with_script(script).await));

    let remote = FakeReceiver::start().await;
    let addresses: Vec<_> = flinks.iter().map(|(_, flink)| flink.address()).collect();
    let jobs = [job("flink", &addresses, "compression: gzip\nsample_limit: 2")];
    // Long enough that a busy machine makes none of them late.
    let global = "global: {scrape_interval: 1s, scrape_timeout: 1s}\n";
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), "")], global));
    until_true("three scrapes of each", || {
        flinks.iter().all(|(_, flink)| {
            let ups = remote.samples_of("up");
            ups.iter().filter(|up| up.label("instance") == flink.address()).count() >= 3
        })
    })
    .await;
    assert_eq!(running.stop().await, 0);
    for (what, flink) in flinks {
        let values = |name: &str| {
            let mut samples = remote.samples_of(name);
            samples.retain(|sample| sample.label("instance") == flink.address());
            samples.dedup_by_key(|sample| sample.value.to_bits());
            samples.iter().map(|sample| sample.value).collect::<Vec<_>>()
        };
        assert_eq!(values("up"), [1.0], "{what}");
        assert_eq!(values("flink_taskmanager_a"), [1.0], "{what}");
        assert_eq!(values("flink_taskmanager_b"), [2.0], "{what}");
        let encoding = flink.requests()[0].header("accept-encoding").map(str::to_owned);
        assert_eq!(encoding.as_deref(), Some("gzip"));
    }
}

/// Rules can give a target more time than its job has.
#[tokio::test]
async fn a_timeout_that_rules_lengthen_is_obeyed() {
    // Half a second to the end of the head, so that the client's own limit would strike.
    let slowly = Duration::from_millis(60);
    let script = move |_: &Request| page("flink_taskmanager_a 1\n").trickle(15, slowly);
    let flink = FakeFlink::with_script(script).await;
    let rules = "relabel_configs:\n\
        \x20 - {target_label: __scrape_interval__, replacement: 2s}\n\
        \x20 - {target_label: __scrape_timeout__, replacement: 2s}";
    let remote = FakeReceiver::start().await;
    let jobs = [job("flink", &[flink.address()], rules)];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), "")], ""));
    until_true("a scrape", || !remote.samples_of("up").is_empty()).await;
    assert_eq!(running.stop().await, 0);
    let took = remote.samples_of("scrape_duration_seconds")[0].value;
    assert!(took > 0.3, "longer than the job's own timeout: {took}");
    assert_eq!(remote.samples_of("up")[0].value, 1.0);
    assert_eq!(remote.samples_of("flink_taskmanager_a").len(), 1);
}

/// A bad line costs itself, is counted on each page, and is logged when it begins.
#[tokio::test]
async fn bad_lines_are_counted_on_each_page_and_logged_once() {
    let (log, _guard) = Log::start();
    let text = "# TYPE flink_taskmanager_a what\nflink_taskmanager_a 1\nflink_taskmanager_b 1,5\n";
    let flink = FakeFlink::with_page(text).await;
    let remote = FakeReceiver::start().await;
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), "")], ""));
    until_true("four scrapes", || remote.samples_of("up").len() >= 4).await;
    let states: Vec<_> = running.relay.status.targets().iter().map(|t| t.state()).collect();
    assert_eq!(states[0].faults_total, 2, "{:?}", states[0].faults);
    assert_eq!(running.stop().await, 0);
    let lines = log.lines_with("lines that cannot be read");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("lines=2 first=line 1, column "), "{lines:?}");
    assert!(remote.samples_of("up").iter().all(|up| up.value == 1.0));
    assert!(remote.samples_of("flink_taskmanager_a").len() >= 4);
    assert!(remote.samples_of("flink_taskmanager_b").is_empty());
}
