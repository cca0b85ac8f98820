//! When a series ends, its receivers are told once, at the time of the scrape that missed it.

use std::collections::BTreeSet;

use crate::{
    fakes::{
        flink::{FakeFlink, page},
        http::Answer,
        receiver::{FakeReceiver, Sample},
        relay::{Running, config, job, receiver},
        until_true,
    },
    task_manager,
};

/// A process, its receiver and the relay between them.
async fn relayed(text: &str) -> (FakeFlink, FakeReceiver, Running) {
    let flink = FakeFlink::with_page(text).await;
    let remote = FakeReceiver::start().await;
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), "")], ""));
    (flink, remote, running)
}

/// Waits for `more` further scrapes to arrive.
async fn scrapes(remote: &FakeReceiver, more: usize) {
    let before = remote.samples_of("up").len();
    until_true("more scrapes", || remote.samples_of("up").len() >= before + more).await;
}

fn markers(samples: &[Sample]) -> Vec<i64> {
    samples.iter().filter(|s| s.is_stale()).map(|s| s.timestamp_ms).collect()
}

#[tokio::test]
async fn a_series_that_leaves_the_page_ends_once() {
    let both = task_manager(&[("a", 1.0), ("b", 2.0)]);
    let (flink, remote, running) = relayed(&both).await;
    scrapes(&remote, 2).await;
    flink.set_page(&task_manager(&[("a", 1.0)]));
    scrapes(&remote, 4).await;
    flink.set_page(&both);
    scrapes(&remote, 3).await;
    assert_eq!(running.stop().await, 0);

    let b = remote.samples_of("flink_taskmanager_b");
    let ended = markers(&b);
    let a = remote.samples_of("flink_taskmanager_a");
    assert_eq!(ended.len(), 1, "{b:?}");
    assert!(markers(&a).is_empty(), "a never left");
    let at = b.iter().position(Sample::is_stale).unwrap();
    assert!(at >= 1 && b.len() > at + 1, "values before and after the marker: {b:?}");
    assert!(b.iter().filter(|s| !s.is_stale()).all(|s| s.value == 2.0));
    // The marker stands at the first scrape without the series, and no scrape lies between.
    let scrape_times: Vec<_> = a.iter().map(|sample| sample.timestamp_ms).collect();
    let last = scrape_times.iter().position(|&t| t == b[at - 1].timestamp_ms).unwrap();
    assert_eq!(scrape_times[last + 1], ended[0]);
    let ups = remote.samples_of("up");
    assert!(ups.iter().all(|up| up.value == 1.0));
    let added: Vec<_> = remote.samples_of("scrape_series_added").iter().map(|s| s.value).collect();
    assert_eq!(added[0], 2.0);
    assert_eq!(added[1..].iter().sum::<f64>(), 1.0, "b came back: {added:?}");
}

#[tokio::test]
async fn a_failed_scrape_ends_all_series_and_a_good_one_ends_the_failure() {
    let (flink, remote, running) = relayed(&task_manager(&[("a", 1.0), ("b", 2.0)])).await;
    scrapes(&remote, 2).await;
    flink.set(|_| Answer::words(500, "no"));
    scrapes(&remote, 3).await;
    flink.set(|_| Answer::words(200, "what?"));
    scrapes(&remote, 3).await;
    flink.set_page(&task_manager(&[("a", 3.0), ("b", 4.0)]));
    scrapes(&remote, 3).await;
    assert_eq!(running.stop().await, 0);

    let ups = remote.samples_of("up");
    let down: Vec<_> = ups.iter().filter(|s| s.value == 0.0).map(|s| s.timestamp_ms).collect();
    let back = ups.iter().rev().take_while(|s| s.value == 1.0).last().unwrap().timestamp_ms;
    assert!(down.len() >= 4 && *down.last().unwrap() < back, "{ups:?}");
    assert!(markers(&ups).is_empty(), "up tells the outage, it does not end");
    for name in ["flink_taskmanager_a", "flink_taskmanager_b"] {
        let samples = remote.samples_of(name);
        assert_eq!(markers(&samples), [down[0]], "one marker, at the first failure");
        let at = samples.iter().position(Sample::is_stale).unwrap();
        assert_eq!(samples[at + 1].timestamp_ms, back, "{name} goes on with the first good page");
    }
    let failures = remote.samples_of("flinkrelay_scrape_failure");
    let of = |reason: &str| -> Vec<Sample> {
        failures.iter().filter(|s| s.label("reason") == reason).cloned().collect()
    };
    let (status, parse) = (of("http_status"), of("parse"));
    assert_eq!(status.len() + parse.len(), failures.len());
    assert_eq!(status[0].timestamp_ms, down[0]);
    let (first_parse, end) = (parse[0].timestamp_ms, parse.last().unwrap().timestamp_ms);
    assert_eq!(markers(&status), [first_parse], "another reason ends the first");
    assert_eq!(markers(&parse), [back], "the good scrape ends the failure");
    assert_eq!(end, back);
    let values = failures.iter().filter(|s| !s.is_stale());
    assert!(values.clone().all(|s| s.value == 1.0));
    let times: BTreeSet<_> = values.map(|s| s.timestamp_ms).collect();
    assert_eq!(times, down.into_iter().collect(), "a reason for each failure");
}

#[tokio::test]
async fn a_page_with_timestamps_of_its_own_gets_no_markers() {
    let (flink, remote, running) = relayed("").await;
    // The timestamps move, or the receiver would rightly call the second sample a repetition.
    let mut seconds = 0;
    flink.set(move |_| {
        seconds += 1;
        page(&format!("flink_taskmanager_old 1 {seconds}000\nflink_taskmanager_a 1\n"))
    });
    scrapes(&remote, 2).await;
    flink.set_page("flink_taskmanager_a 1\n");
    scrapes(&remote, 2).await;
    flink.set(|_| Answer::close());
    scrapes(&remote, 2).await;
    assert_eq!(running.stop().await, 0);
    let old = remote.samples_of("flink_taskmanager_old");
    assert!(markers(&old).is_empty(), "a marker now says nothing about a sample of 1970");
    assert!(old.iter().enumerate().all(|(n, s)| s.timestamp_ms == (n as i64 + 1) * 1000));
    assert_eq!(markers(&remote.samples_of("flink_taskmanager_a")).len(), 1);
}
