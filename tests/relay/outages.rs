//! Receivers that are gone: bounded memory, an account that balances at every moment, and nobody else
//! who notices.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use flinkrelay::spool::Reason;

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

/// Samples of one scrape of [`counting_flink`], report included.
const SAMPLES: u64 = 10 + 5;

/// A process with ten series, whose values are the number of the page.
pub(crate) async fn counting_flink() -> FakeFlink {
    let pages = AtomicU64::new(0);
    FakeFlink::with_script(move |_| {
        let n = pages.fetch_add(1, Relaxed);
        let line = |i| format!("flink_taskmanager_n{{i=\"{i}\"}} {n}\n");
        page(&(0..10).map(line).collect::<String>())
    })
    .await
}

#[tokio::test]
async fn a_dead_receiver_delays_neither_scrapes_nor_the_others_and_costs_its_grace() {
    let dead = FakeReceiver::start().await;
    let refuses = dead.url();
    dead.kill().await;
    let hangs = FakeReceiver::with_script(|_| Answer::hang()).await;
    let well = FakeReceiver::start().await;
    let flink = counting_flink().await;
    let receivers = [
        receiver(&refuses, "name: refuses"),
        receiver(&hangs.url(), "name: hangs\nremote_timeout: 30s"),
        receiver("http://nonexistent.invalid/api/v1/write", "name: nowhere"),
        receiver(&well.url(), "name: well"),
    ];
    let jobs = [job("flink", &[flink.address()], "")];
    let grace = Duration::from_millis(400);
    let running = Running::with_grace(&config(&jobs, &receivers, ""), grace);
    until_true("six scrapes", || {
        (0..4).for_each(|n| {
            running.counts(n);
        });
        flink.scrapes() >= 6
    })
    .await;
    let ups = well.samples_of("up");
    assert!(ups.len() >= 5, "the well one has what was scraped: {}", ups.len());
    let apart: Vec<_> = ups.windows(2).map(|up| up[1].timestamp_ms - up[0].timestamp_ms).collect();
    assert!(apart.iter().all(|ms| (200..500).contains(ms)), "scrapes keep their pace: {apart:?}");

    let relay = running.relay.clone();
    let stopping = Instant::now();
    let lost = running.stop().await;
    let stopping = stopping.elapsed();
    assert!(stopping >= grace && stopping < grace * 4, "{stopping:?}");
    let counts: Vec<_> = relay.receivers().iter().map(|receiver| receiver.counts()).collect();
    let appended = counts[3].appended;
    assert_eq!(counts[3].delivered, appended);
    assert_eq!(well.samples().len() as u64, appended.samples);
    for counts in &counts[..3] {
        assert_eq!(counts.appended.samples, appended.samples);
        assert_eq!(counts.dropped(Reason::Shutdown), counts.appended, "all of it is accounted for");
    }
    assert_eq!(lost, appended.samples * 3);
}

#[tokio::test]
async fn a_full_queue_drops_the_oldest_and_counts_it() {
    let remote = FakeReceiver::with_script(|_| Answer::words(503, "full")).await;
    let flink = counting_flink().await;
    let capacity = SAMPLES * 3;
    let queue = format!(
        "queue_config: {{batch_send_deadline: 10ms, min_backoff: 5ms, max_backoff: 50ms, max_shards: 1, \
         capacity: {capacity}, max_samples_per_send: {SAMPLES}}}"
    );
    let jobs = [job("flink", &[flink.address()], "scrape_interval: 250ms\nscrape_timeout: 250ms")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), &queue)], ""));
    until_true("more than fits", || {
        let counts = running.counts(0);
        assert!(counts.queued.samples <= capacity, "{counts:?}");
        assert_eq!(counts.delivered.samples, 0);
        counts.dropped(Reason::QueueFull).samples >= SAMPLES * 4
    })
    .await;
    remote.set(|_| Answer::new(204, &[], ""));
    until_true("the end of the outage", || {
        running.counts(0);
        remote.samples_of("up").len() >= 5
    })
    .await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    let counts = relay.receivers()[0].counts();
    let dropped = counts.dropped_in_all();
    assert_eq!(dropped, counts.dropped(Reason::QueueFull));
    assert_eq!(dropped.samples % SAMPLES, 0, "whole scrapes go");
    let samples = remote.samples_of("flink_taskmanager_n");
    let values: Vec<_> = samples.iter().filter(|s| s.label("i") == "7").map(|s| s.value).collect();
    // A batch that is in flight while room is made stays; it may be the first.
    let newest: Vec<_> = (1..values.len()).map(|n| values[1] + (n - 1) as f64).collect();
    assert_eq!(values[1..], newest, "what is delivered is the newest, without a gap");
    assert!(values[0] < values[1]);
    let missing = values[values.len() - 1] + 1.0 - values.len() as f64;
    assert_eq!(missing, (dropped.samples / SAMPLES) as f64, "and what is missing was counted");
}

#[tokio::test]
async fn samples_above_the_age_limit_are_dropped_also_while_they_are_tried() {
    let remote = FakeReceiver::with_script(|_| Answer::words(503, "not now")).await;
    let flink = FakeFlink::with_page(&task_manager(&[("a", 1.0)])).await;
    let queue = "queue_config: {batch_send_deadline: 10ms, min_backoff: 5ms, max_backoff: 20ms, max_shards: 1, \
                 sample_age_limit: 500ms}";
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), queue)], ""));
    until_true("old samples", || running.counts(0).dropped(Reason::TooOld).samples > 0).await;
    let first = &remote.tries()[0];
    let tried = remote.tries().iter().filter(|w| w.request.body == first.request.body).count();
    assert!(tried > 3, "it was tried until it was too old: {tried} times");
    remote.set(|_| Answer::new(204, &[], ""));
    until_true("younger ones", || !remote.accepted().is_empty()).await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    let first = first.samples[0].timestamp_ms;
    assert!(remote.samples().iter().all(|sample| sample.timestamp_ms > first));
    let counts = relay.receivers()[0].counts();
    assert_eq!(counts.dropped_in_all(), counts.dropped(Reason::TooOld));
}

/// What was scraped but waits for its batch to fill goes out at once when the relay stops.
#[tokio::test]
async fn a_stop_flushes_what_waits() {
    let remote = FakeReceiver::start().await;
    let flink = counting_flink().await;
    let jobs = [job("flink", &[flink.address()], "")];
    let queue = "queue_config: {batch_send_deadline: 1h}";
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), queue)], ""));
    until_true("two scrapes", || running.counts(0).queued.samples >= SAMPLES * 2).await;
    assert!(remote.tries().is_empty());
    let stopping = Instant::now();
    assert_eq!(running.stop().await, 0);
    assert!(stopping.elapsed() < Duration::from_secs(2), "{:?}", stopping.elapsed());
    assert!(remote.samples_of("up").len() >= 2);
    assert!(remote.samples().iter().all(|sample| !sample.is_stale()), "a stop ends no series");
}
