//! One more scrape when the relay stops: the job beside it may have ended, and its last values count.

use std::time::{Duration, Instant};

use flinkrelay::config::Config;

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

fn with(targets: &[String], remote: &FakeReceiver, global: &str) -> Config {
    let global = format!("global: {{scrape_interval: 1h, {global}}}\n");
    config(&[job("flink", targets, "")], &[receiver(&remote.url(), "")], &global)
}

fn last(remote: &FakeReceiver, flink: &FakeFlink, name: &str) -> Option<f64> {
    let mut samples = remote.samples_of(name);
    samples.retain(|sample| sample.label("instance") == flink.address());
    samples.last().map(|sample| sample.value)
}

#[tokio::test]
async fn the_last_values_arrive_and_who_does_not_answer_is_left_out() {
    let done = FakeFlink::with_page(&task_manager(&[("a", 2.0)])).await;
    let hangs = FakeFlink::with_script(|_| Answer::hang()).await;
    let fails = FakeFlink::with_script(|_| Answer::words(500, "bye")).await;
    let remote = FakeReceiver::start().await;
    let targets = [done.address(), hangs.address(), fails.address()];
    // In an hour's interval nothing is scraped before the stop, most probably.
    let config = with(&targets, &remote, "final_scrape: true");
    let running = Running::with_grace(&config, Duration::from_secs(2));
    until_true("all targets", || running.relay.status.targets().len() == 3).await;
    let asked = Instant::now();
    assert_eq!(running.stop().await, 0);
    let took = asked.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(2), "{took:?}");
    assert_eq!(last(&remote, &done, "flink_taskmanager_a"), Some(2.0));
    assert_eq!(last(&remote, &done, "up"), Some(1.0));
    assert_eq!((hangs.scrapes(), fails.scrapes()), (1, 1), "they were asked");
    for left_out in [&hangs, &fails] {
        assert_eq!(last(&remote, left_out, "up"), None);
    }
    assert!(!remote.samples().iter().any(Sample::is_stale));
}

#[tokio::test]
async fn a_scrape_under_way_ends_and_is_followed_by_the_last() {
    let flink = FakeFlink::with_page("").await;
    let text = task_manager(&[("a", 1.0)]);
    flink.set(move |_| page(&text).trickle(20, Duration::from_millis(20)));
    let remote = FakeReceiver::start().await;
    let lines = "scrape_interval: 2s";
    let config = config(
        &[job("flink", &[flink.address()], lines)],
        &[receiver(&remote.url(), "")],
        "global: {final_scrape: true}\n",
    );
    let running = Running::start(&config);
    until_true("a scrape under way", || flink.scrapes() >= 1).await;
    let under_way = flink.scrapes();
    assert_eq!(running.stop().await, 0);
    assert_eq!(flink.scrapes(), under_way + 1);
    assert_eq!(remote.samples_of("flink_taskmanager_a").len(), under_way + 1);
}

#[tokio::test]
async fn a_hurry_waits_for_nothing() {
    let hangs = FakeFlink::with_script(|_| Answer::hang()).await;
    let remote = FakeReceiver::with_script(|_| Answer::hang()).await;
    let config = with(&[hangs.address()], &remote, "final_scrape: true");
    let running = Running::with_grace(&config, Duration::from_secs(60));
    until_true("the target", || running.relay.status.targets().len() == 1).await;
    running.relay.hurry();
    let asked = Instant::now();
    running.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(5));
}
