//! Roll-ups across the targets of a scrape job: what receivers get of several TaskManagers together.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use flinkrelay::{remote_write::proto::metric_metadata::MetricType, server, telemetry::metrics};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    endpoints,
    fakes::{
        flink::FakeFlink,
        http::Answer,
        receiver::{FakeReceiver, Sample},
        relay::{Running, config, job, receiver},
        until_true,
    },
};

const SUM: &str = "flink_taskmanager_job_task_numRecordsIn:task_sum";
const AVG: &str = "flink_taskmanager_job_task_busyTimeMsPerSecond:task_avg";
const MAX: &str = "flink_taskmanager_job_task_busyTimeMsPerSecond:task_max";
const SKEW: &str = "flink_taskmanager_job_task_busyTimeMsPerSecond:task_skew";
/// Of all these tests, in milliseconds: [`job`]'s.
const INTERVAL: i64 = 300;

/// A page of a TaskManager with these subtasks: index, records, busy time.
fn page(tm: usize, subtasks: &[(usize, f64, f64)]) -> String {
    let mut page = format!("flink_taskmanager_Status_JVM_CPU_Load{{tm_id=\"tm-{tm}\"}} 0.5\n");
    for (subtask, records, busy) in subtasks {
        for (metric, value) in [("numRecordsIn", records), ("busyTimeMsPerSecond", busy)] {
            writeln!(
                page,
                "flink_taskmanager_job_task_{metric}{{job_id=\"j\",job_name=\"J\",task_name=\"T\",\
                 task_id=\"t\",subtask_index=\"{subtask}\",tm_id=\"tm-{tm}\",host=\"h{tm}\"}} {value}"
            )
            .unwrap();
        }
    }
    page
}

/// Three TaskManagers of a job that is six wide.
async fn cluster() -> [FakeFlink; 3] {
    [
        FakeFlink::with_page(&page(0, &[(0, 1.0, 100.0), (1, 2.0, 100.0), (2, 3.0, 100.0)])).await,
        FakeFlink::with_page(&page(1, &[(3, 10.0, 1000.0)])).await,
        FakeFlink::with_page(&page(2, &[(4, 100.0, 250.0), (5, 200.0, 250.0)])).await,
    ]
}

fn section(across: bool) -> String {
    format!("flink: {{rollups: {{level: task, across_targets: {across}}}}}\n")
}

fn jobs(flinks: &[FakeFlink]) -> [String; 1] {
    let addresses: Vec<_> = flinks.iter().map(FakeFlink::address).collect();
    [job("flink", &addresses, "")]
}

/// The last value of a series, unless it has ended.
fn last(remote: &FakeReceiver, name: &str) -> Option<f64> {
    remote.samples_of(name).last().filter(|sample| !sample.is_stale()).map(|sample| sample.value)
}

/// One series, on aligned intervals, each time later than the one before.
fn check_series(samples: &[Sample]) {
    let series: BTreeSet<_> = samples.iter().map(|sample| &sample.series).collect();
    assert_eq!(series.len(), 1, "{series:?}");
    let gone = ["instance", "tm_id", "host", "subtask_index"];
    assert!(gone.iter().all(|label| !samples[0].labels.contains_key(*label)), "{series:?}");
    let own = ["job", "job_name", "task_name"].map(|label| samples[0].labels[label].as_str());
    assert_eq!(own, ["flink", "J", "T"]);
    let ends: Vec<_> = samples.iter().map(|sample| sample.timestamp_ms).collect();
    assert!(ends.is_sorted_by(|a, b| a < b), "{ends:?}");
    check_markers(samples);
    let values = samples.iter().filter(|sample| !sample.is_stale());
    assert!(values.clone().all(|sample| sample.timestamp_ms % INTERVAL == 0), "{ends:?}");
}

/// Per series: markers end values and never stand in a row. A machine that does other things may make
/// all targets late, so how many markers there are is not said.
fn check_markers(samples: &[Sample]) {
    let mut by_series: BTreeMap<_, Vec<bool>> = BTreeMap::new();
    for sample in samples {
        by_series.entry(&sample.series).or_default().push(sample.is_stale());
    }
    for (series, markers) in by_series {
        assert!(!markers[0] && markers.windows(2).all(|two| two != [true, true]), "{series}");
    }
}

/// What `/targets` says of the job.
async fn shown_in_targets(running: &Running) -> u64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let serving = tokio::spawn(server::serve(listener, running.relay.clone(), stop.clone()));
    let (_, _, text) = endpoints::get(address, "/targets").await;
    stop.cancel();
    serving.await.unwrap().unwrap();
    let targets: serde_json::Value = serde_json::from_str(&text).unwrap();
    targets["rollupTargets"]["flink"].as_u64().expect("a number of targets")
}

#[tokio::test]
async fn several_task_managers_come_to_one_series_and_one_that_dies_keeps_its_share() {
    for message in ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] {
        let flinks = cluster().await;
        let remote = FakeReceiver::start().await;
        let settings = receiver(&remote.url(), &format!("protobuf_message: {message}"));
        let running = Running::start(&config(&jobs(&flinks), &[settings], &section(true)));
        until_true("all of the three", || {
            last(&remote, SUM) == Some(316.0) && last(&remote, AVG) == Some(300.0)
        })
        .await;
        assert_eq!(last(&remote, MAX), Some(1000.0));
        until_true("its skew", || last(&remote, SKEW) == Some(1000.0 / 300.0)).await;
        until_true("the metric", || {
            metrics::encode(&running.relay)
                .unwrap()
                .contains("flinkrelay_rollup_targets{job=\"flink\"} 3")
        })
        .await;

        flinks[1].set(|_| Answer::new(500, &[], ""));
        flinks[0].set_page(&page(0, &[(0, 2.0, 100.0), (1, 2.0, 100.0), (2, 3.0, 100.0)]));
        until_true("gauges without it", || last(&remote, AVG) == Some(160.0)).await;
        until_true("its share of the counter", || last(&remote, SUM) == Some(317.0)).await;
        until_true("its absence told", || {
            metrics::encode(&running.relay)
                .unwrap()
                .contains("flinkrelay_rollup_targets{job=\"flink\"} 2")
        })
        .await;
        assert_eq!(shown_in_targets(&running).await, 2);
        // It is back, and has begun anew.
        flinks[1].set_page(&page(1, &[(3, 4.0, 1000.0)]));
        until_true("it is back", || last(&remote, SUM) == Some(321.0)).await;
        assert_eq!(running.stop().await, 0);

        for name in [SUM, AVG, MAX, SKEW] {
            check_series(&remote.samples_of(name));
        }
        let mut sums = remote.samples_of(SUM);
        sums.retain(|sum| !sum.is_stale());
        assert!(sums.is_sorted_by(|a, b| a.value <= b.value), "it never falls: {sums:?}");
        let raw = remote.samples_of("flink_taskmanager_job_task_numRecordsIn");
        assert!(raw.is_empty(), "{raw:?}");
        let families: Vec<_> = remote.accepted().into_iter().flat_map(|w| w.metadata).collect();
        let family = families.iter().find(|family| family.metric_family_name == SUM).unwrap();
        assert_eq!(family.r#type, MetricType::Counter as i32);
    }
}

#[tokio::test]
async fn when_no_target_has_it_the_series_ends_once_and_a_restart_goes_on() {
    let flinks = cluster().await;
    let remote = FakeReceiver::start().await;
    let receivers = [receiver(&remote.url(), "")];
    let settings = config(&jobs(&flinks), &receivers, &section(true));
    let running = Running::start(&settings);
    until_true("all of the three", || last(&remote, SUM) == Some(316.0)).await;
    let pages = [(0, 1.0, 1.0)];
    for (tm, flink) in flinks.iter().enumerate() {
        flink.set_page(&page(tm, &[]));
    }
    until_true("the end", || remote.samples_of(SUM).last().is_some_and(Sample::is_stale)).await;
    flinks[0].set_page(&page(0, &pages));
    until_true("it begins anew", || last(&remote, SUM) == Some(1.0)).await;
    assert_eq!(running.stop().await, 0);
    let stopped = remote.samples_of(SUM);
    assert!(!stopped.last().unwrap().is_stale(), "a relay that stops ends nothing");

    let running = Running::start(&settings);
    until_true("more", || remote.samples_of(SUM).len() > stopped.len() + 1).await;
    assert_eq!(running.stop().await, 0);
    let samples = remote.samples_of(SUM);
    check_series(&samples);
}

#[tokio::test]
async fn a_reload_switches_them_on_and_off_and_each_series_ends_once() {
    let flinks = cluster().await;
    let remote = FakeReceiver::start().await;
    let receivers = [receiver(&remote.url(), "")];
    let with = |across: bool| config(&jobs(&flinks), &receivers, &section(across));
    let running = Running::start(&with(false));
    let of = |by_target: bool| {
        let mut samples = remote.samples_of(SUM);
        samples.retain(|sample| sample.labels.contains_key("instance") == by_target);
        samples
    };
    // How many series there are that have ended, and that go on.
    let ends = |samples: &[Sample]| {
        let last: BTreeMap<_, _> = samples.iter().map(|s| (&s.series, s.is_stale())).collect();
        let ended = last.values().filter(|stale| **stale).count();
        (ended, last.len() - ended)
    };
    until_true("each target's", || of(true).len() >= 6).await;
    assert_eq!(of(false).len(), 0);
    running.reload(&with(true)).await;
    until_true("one for all", || of(false).iter().any(|sample| sample.value == 316.0)).await;
    until_true("no more of each target", || ends(&of(true)) == (3, 0)).await;
    until_true("one for all goes on", || ends(&of(false)) == (0, 1)).await;
    running.reload(&with(false)).await;
    until_true("the end", || ends(&of(false)) == (1, 0)).await;
    until_true("each target's again", || ends(&of(true)) == (0, 3)).await;
    assert_eq!(running.stop().await, 0);
    assert_eq!(ends(&of(false)), (1, 0));
    check_markers(&of(true));
    check_markers(&of(false));
}
