//! Receivers that answer: what they refuse is dropped and counted, what they cannot take now is kept
//! and sent again, in order, and none of it concerns another receiver.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use flinkrelay::spool::Reason;

use crate::fakes::{
    flink::{FakeFlink, page},
    http::Answer,
    receiver::{FakeReceiver, Write},
    relay::{Log, Running, config, job, receiver},
    until_true,
};

/// A process with one series of its own, whose value is the number of the page.
async fn counting_flink() -> FakeFlink {
    let pages = AtomicU64::new(0);
    FakeFlink::with_script(move |_| {
        page(&format!("flink_taskmanager_n {}\n", pages.fetch_add(1, Relaxed)))
    })
    .await
}

fn taken() -> Answer {
    Answer::new(204, &[], "")
}

/// A receiver that answers the first tries of every batch with `no`.
async fn reluctant(no: impl Fn(&Write) -> Answer + Send + 'static) -> FakeReceiver {
    let mut refused = None;
    FakeReceiver::with_script(move |write| {
        let times = match &refused {
            Some((body, times)) if *body == write.request.body => *times,
            _ => 0,
        };
        refused = Some((write.request.body.clone(), times + 1));
        if times < 2 { no(write) } else { taken() }
    })
    .await
}

/// Settings of a receiver that tries again soon.
const SOON: &str = "remote_timeout: 200ms\n\
    queue_config: {batch_send_deadline: 10ms, min_backoff: 1ms, max_backoff: 20ms}";

#[tokio::test]
async fn what_a_receiver_cannot_take_now_is_sent_again_until_it_does() {
    let (log, _guard) = Log::start();
    let reluctant = [
        ("500", reluctant(|_| Answer::words(500, "out of memory")).await),
        ("503", reluctant(|_| Answer::words(503, "starting")).await),
        ("429", reluctant(|_| Answer::words(429, "too fast")).await),
        ("999", reluctant(|_| Answer::words(999, "?")).await),
        ("302", reluctant(|_| Answer::new(302, &[("location", "/login")], "")).await),
        ("garbage", reluctant(|_| Answer::raw(*b"\x16\x03\x01 what\r\n\r\n")).await),
        ("closed", reluctant(|_| Answer::close()).await),
        ("cut head", reluctant(|_| Answer::raw("HTTP/1.1 204 No Con")).await),
        ("hang", reluctant(|_| Answer::hang()).await),
        ("words without end", reluctant(|_| Answer::words(500, "so many words").stuck(4)).await),
        ("words cut off", reluctant(|_| Answer::words(503, "so many words").cut(4)).await),
    ];
    let flink = counting_flink().await;
    let receivers: Vec<_> = reluctant
        .iter()
        .map(|(name, remote)| receiver(&remote.url(), &format!("name: {name}\n{SOON}")))
        .collect();
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &receivers, ""));
    until_true("five scrapes", || {
        (0..reluctant.len()).for_each(|n| {
            running.counts(n);
        });
        flink.scrapes() >= 5
    })
    .await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0, "everything is delivered in the end");
    for ((name, remote), receiver) in reluctant.iter().zip(relay.receivers()) {
        let values: Vec<_> =
            remote.samples_of("flink_taskmanager_n").iter().map(|s| s.value).collect();
        let expected: Vec<_> = (0..values.len()).map(|n| n as f64).collect();
        assert!(values.len() >= 4, "{name}: {values:?}");
        assert_eq!(values, expected, "{name}: all, once and in order");
        let counts = receiver.counts();
        assert_eq!(counts.delivered, counts.appended, "{name}");
        let batches = remote.accepted().len();
        assert_eq!(remote.tries().len(), batches * 3, "{name}: two in vain for each batch");
        assert_eq!(counts.retried.samples, counts.delivered.samples * 2, "{name}");
        let began = log.lines_with("takes no samples now");
        let began = began.iter().filter(|line| line.contains(&format!("receiver={name} "))).count();
        assert!((1..=batches).contains(&began), "{name}: {began} lines for {batches} outages");
    }
}

#[tokio::test]
async fn what_a_receiver_refuses_is_dropped_counted_and_logged_once() {
    let (log, _guard) = Log::start();
    // The numbers differ each time, as timestamps do in receivers' words.
    let words = |write: &Write| format!("bad sample at {}\nin\tmetric", write.number);
    let statuses = [400, 401, 403, 404, 409, 413, 415, 422];
    let mut remotes = Vec::new();
    for status in statuses {
        let script = move |write: &Write| Answer::words(status, &words(write));
        remotes.push((status.to_string(), FakeReceiver::with_script(script).await));
    }
    let stuck = move |write: &Write| Answer::words(400, &words(write)).stuck(3);
    remotes.push(("stuck".to_owned(), FakeReceiver::with_script(stuck).await));
    let long = |_: &Write| Answer::words(400, &"long ".repeat(100_000));
    remotes.push(("long".to_owned(), FakeReceiver::with_script(long).await));
    let no_429 = FakeReceiver::with_script(|_| Answer::words(429, "too fast")).await;

    let flink = counting_flink().await;
    let mut receivers: Vec<_> = remotes
        .iter()
        .map(|(name, remote)| {
            let url = format!("{}?token=hush", remote.url());
            receiver(&url, &format!("name: r{name}\n{SOON}"))
        })
        .collect();
    let queue = "queue_config: {batch_send_deadline: 10ms, retry_on_http_429: false}";
    receivers.push(receiver(&no_429.url(), &format!("name: r429\n{queue}")));
    remotes.push(("429".to_owned(), no_429));
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &receivers, ""));
    until_true("three tries each", || {
        (0..remotes.len()).all(|n| {
            running.counts(n);
            remotes[n].1.tries().len() >= 3
        })
    })
    .await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0, "what is refused does not wait");
    for ((name, remote), receiver) in remotes.iter().zip(relay.receivers()) {
        let counts = receiver.counts();
        assert_eq!(counts.dropped(Reason::Rejected), counts.appended, "{name}");
        let tries = remote.tries();
        let mut bodies: Vec<_> = tries.iter().map(|write| &write.request.body).collect();
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), tries.len(), "{name}: nothing is sent twice");
        let lines = log.lines_with(&format!("receiver=r{name} "));
        let refused: Vec<_> = lines.iter().filter(|l| l.contains("refused a batch")).collect();
        let [line] = refused[..] else { panic!("{name}: {refused:?}") };
        assert!(line.contains("samples=") && line.len() < 2000, "{line}");
        assert!(line.contains(&format!("url={} ", remote.url())), "{line}");
        assert_eq!(receiver.url(), remote.url(), "as `/targets` shows it");
    }
    assert_eq!(log.lines_with("hush"), [""; 0], "a key in the URL is nobody's business");
    let first = log.lines_with("receiver=r400 ");
    assert!(first[0].contains("HTTP 400 Bad Request: bad sample at 0 in metric"), "{first:?}");
    let long = log.lines_with("receiver=rlong ");
    assert!(long[0].contains("long long long"), "the first words of many: {long:?}");
}

/// The status counts, whatever happens to the words after it.
#[tokio::test]
async fn a_2xx_is_taken_although_its_body_does_not_end() {
    let remote =
        FakeReceiver::with_script(|_| Answer::words(200, "a long thank you").stuck(5)).await;
    let flink = counting_flink().await;
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), SOON)], ""));
    until_true("three scrapes", || remote.samples_of("up").len() >= 3).await;
    assert_eq!(running.stop().await, 0);
    assert_eq!(remote.tries().len(), remote.accepted().len(), "nothing is sent twice");
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let waits = Duration::from_secs(1);
    let remote = FakeReceiver::with_script(|write| match write.number {
        0 => Answer::new(429, &[("retry-after", "1")], "slower"),
        _ => taken(),
    })
    .await;
    let flink = counting_flink().await;
    let jobs = [job("flink", &[flink.address()], "")];
    let queue = "queue_config: {batch_send_deadline: 10ms, min_backoff: 5ms, max_backoff: 50ms, max_shards: 1}";
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), queue)], ""));
    until_true("delivery", || remote.accepted().len() >= 2).await;
    let during = remote.tries();
    assert_eq!(running.stop().await, 0);
    let pause = during[1].at - during[0].at;
    assert_eq!(during[1].request.body, during[0].request.body);
    assert!(pause >= waits && pause < waits * 3, "{pause:?}");
    let values: Vec<_> = remote.samples_of("flink_taskmanager_n").iter().map(|s| s.value).collect();
    assert!(values.len() >= 3 && values.is_sorted(), "what came meanwhile is there: {values:?}");
}
