//! `on_status`, label limits and the gate of a receiver, from outside.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use flinkrelay::{push::State, remote_write::SAMPLES_WRITTEN, spool::Reason};
use tempfile::TempDir;

use crate::fakes::{
    flink::{FakeFlink, page},
    http::Answer,
    receiver::{FakeReceiver, Sample, Write},
    relay::{Log, Running, config, job, receiver},
    until_true,
};

/// Settings of a receiver with one lane, which tries again soon.
const SOON: &str = "remote_timeout: 1s\n\
    queue_config: {batch_send_deadline: 10ms, min_backoff: 1ms, max_backoff: 20ms, max_shards: 1}";

fn taken() -> Answer {
    Answer::new(204, &[], "")
}

/// A process with so many series, whose values are the number of the page.
async fn wide_flink(series: usize) -> FakeFlink {
    let pages = AtomicU64::new(0);
    FakeFlink::with_script(move |_| {
        let n = pages.fetch_add(1, Relaxed);
        let line = |i| format!("flink_taskmanager_n{{i=\"{i}\"}} {n}\n");
        page(&(0..series).map(line).collect::<String>())
    })
    .await
}

/// The values of the series number `i`.
fn values(samples: &[Sample], i: usize) -> Vec<f64> {
    let of = samples
        .iter()
        .filter(|s| s.name() == "flink_taskmanager_n" && s.label("i") == i.to_string());
    of.map(|sample| sample.value).collect()
}

fn first(n: usize) -> Vec<f64> {
    (0..n).map(|n| n as f64).collect()
}

#[tokio::test]
async fn a_parked_receiver_loses_nothing_and_a_new_credential_opens_it() {
    let (log, _guard) = Log::start();
    let directory = TempDir::new().unwrap();
    let token = directory.path().join("token");
    fs::write(&token, "expired").unwrap();
    let remote = FakeReceiver::with_script(|write| match write.request.header("authorization") {
        Some("Bearer good") => taken(),
        _ => Answer::words(401, "token expired"),
    })
    .await;
    let flink = wide_flink(2).await;
    let lines = format!("{SOON}\non_status: {{401: park}}\nbearer_token_file: {}", token.display());
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), &lines)], ""));
    until_true("some scrapes", || {
        let counts = running.counts(0);
        assert_eq!(counts.dropped_in_all().samples, 0);
        flink.scrapes() >= 10
    })
    .await;
    let tries = remote.tries().len();
    assert!((1..=3).contains(&tries), "a parked receiver is left alone: {tries} tries");
    let state = running.relay.receivers()[0].state();
    assert_eq!((state.state, state.last_success), (State::Parked, None));
    assert_eq!(state.last_answer.unwrap().words, "HTTP 401 Unauthorized: token expired");
    let oldest = running.relay.receivers()[0].oldest_pending().unwrap();
    assert!(oldest > Duration::from_secs(2), "{oldest:?}");
    fs::write(&token, "good").unwrap();
    until_true("what waited", || remote.samples_of("up").len() >= 10).await;
    assert_eq!(running.relay.receivers()[0].state().state, State::Ok);
    assert_eq!(running.stop().await, 0);
    let got = values(&remote.samples(), 1);
    assert_eq!(got, first(got.len()), "all, once and in order");
    for told in ["the receiver is parked", "the receiver accepts samples again"] {
        let lines = log.lines_with(told);
        assert_eq!(lines.len(), 1, "{told}: {:#?}", log.lines_with(""));
    }
}

/// The receiver asked for an hour, but what it refused was replaced before its answer came.
#[tokio::test]
async fn a_credential_that_is_replaced_during_the_refusal_is_tried_at_once() {
    let directory = TempDir::new().unwrap();
    let token = directory.path().join("token");
    fs::write(&token, "expired").unwrap();
    let rotated = token.clone();
    let remote = FakeReceiver::with_script(move |write| {
        if write.request.header("authorization") == Some("Bearer good") {
            return taken();
        }
        fs::write(&rotated, "good").unwrap();
        Answer::new(401, &[("retry-after", "3600")], "token expired")
    })
    .await;
    let flink = wide_flink(2).await;
    let lines = format!("{SOON}\non_status: {{401: park}}\nbearer_token_file: {}", token.display());
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), &lines)], ""));
    until_true("delivery", || !remote.samples_of("up").is_empty()).await;
    assert_eq!(running.counts(0).dropped_in_all().samples, 0);
    assert_eq!(running.stop().await, 0);
}

/// Refuses requests with the series number `bad` in them.
fn without(bad: &'static [usize]) -> impl FnMut(&Write) -> Answer + Send {
    move |write| {
        let found = bad.iter().find(|bad| !values(&write.samples, **bad).is_empty());
        match found {
            Some(bad) => Answer::words(400, &format!("out of order: series {bad}")),
            None => taken(),
        }
    }
}

#[tokio::test]
async fn one_bad_series_costs_one_series() {
    check_bisect("prometheus.WriteRequest").await;
}

#[tokio::test]
async fn one_bad_series_costs_one_series_in_2_0_too() {
    check_bisect("io.prometheus.write.v2.Request").await;
}

/// While it is not known what the receiver understands, its refusal may be one of the message.
#[tokio::test]
async fn one_bad_series_costs_one_series_while_the_message_is_found_out() {
    check_bisect("auto").await;
}

async fn check_bisect(message: &str) {
    let (log, _guard) = Log::start();
    let remote = FakeReceiver::with_script(without(&[17])).await;
    let flink = wide_flink(60).await;
    let lines = format!("{SOON}\nprotobuf_message: {message}\non_status: {{400: bisect}}");
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), &lines)], ""));
    until_true("three scrapes", || {
        running.counts(0);
        remote.samples_of("up").len() >= 3
    })
    .await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    let scrapes = remote.samples_of("up").len();
    let samples = remote.samples();
    for series in (0..60).filter(|series| *series != 17) {
        assert_eq!(values(&samples, series), first(scrapes), "series {series}");
    }
    let counts = relay.receivers()[0].counts();
    assert_eq!(counts.dropped(Reason::Rejected).samples, scrapes as u64);
    assert_eq!(counts.dropped_in_all(), counts.dropped(Reason::Rejected));
    assert_eq!(relay.receivers()[0].state().state, State::Ok, "which works but for one series");
    assert_eq!(relay.receivers()[0].numbers.batches_parted.load(Relaxed), scrapes as u64);
    // With metadata a batch has some 130 pieces.
    let tries = remote.tries().len();
    assert!(tries <= scrapes * 17, "{tries} requests for {scrapes} batches");
    let lines = log.lines_with("refused a part of a batch");
    let [line] = &lines[..] else { panic!("once: {lines:?}") };
    for text in ["flink_taskmanager_n{", "17", "samples=1", "out of order: series 17"] {
        assert!(line.contains(text), "{text} in {line}");
    }
}

/// Remote write 2.0 lets a receiver keep what is good and say how much that was.
#[tokio::test]
async fn what_a_receiver_has_written_of_a_refused_batch_counts_as_delivered() {
    let (log, _guard) = Log::start();
    let remote = FakeReceiver::with_script(|write| {
        let written = (write.samples.len() - 2).to_string();
        Answer::new(400, &[(SAMPLES_WRITTEN, &written)], "two are out of order")
    })
    .await;
    let flink = wide_flink(30).await;
    let message = "protobuf_message: io.prometheus.write.v2.Request";
    let receivers = [
        receiver(&remote.url(), &format!("name: drops\n{SOON}\n{message}")),
        receiver(
            &remote.url(),
            &format!("name: bisects\n{SOON}\n{message}\non_status: {{400: bisect}}"),
        ),
    ];
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &receivers, ""));
    until_true("some requests", || {
        (0..2).for_each(|n| {
            running.counts(n);
        });
        remote.tries().len() >= 6
    })
    .await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    let mut batches = 0;
    for receiver in relay.receivers() {
        let counts = receiver.counts();
        let dropped = counts.dropped(Reason::Rejected).samples;
        assert_eq!(counts.delivered.samples + dropped, counts.appended.samples);
        assert_eq!(dropped % 2, 0);
        batches += dropped / 2;
        assert_eq!(receiver.state().state, State::Ok);
        assert_eq!(receiver.numbers.batches_parted.load(Relaxed), 0, "nothing is looked for");
    }
    assert_eq!(batches, remote.tries().len() as u64, "and nothing is sent twice");
    assert_eq!(log.lines_with("refused a part of a batch").len(), 2, "once for each receiver");
}

/// A receiver that writes a part of each batch is no longer down, although it accepts no batch.
#[tokio::test]
async fn an_outage_ends_with_a_partial_write() {
    let (log, _guard) = Log::start();
    let remote = FakeReceiver::with_script(|write| match write.number {
        0..3 => Answer::words(503, "down"),
        _ => {
            let written = (write.samples.len() - 1).to_string();
            Answer::new(400, &[(SAMPLES_WRITTEN, &written)], "one is out of order")
        }
    })
    .await;
    let flink = wide_flink(3).await;
    let lines = format!("{SOON}\nprotobuf_message: io.prometheus.write.v2.Request");
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), &lines)], ""));
    until_true("some partial writes", || running.counts(0).delivered.fragments >= 3).await;
    assert_eq!(running.stop().await, 0);
    for told in ["takes no samples now", "accepts samples again"] {
        let lines = log.lines_with(told);
        assert_eq!(lines.len(), 1, "{told}: {:#?}", log.lines_with(""));
    }
}

/// Where single series are too large, their number is not what is wrong.
#[tokio::test]
async fn a_receiver_to_which_everything_is_too_large_is_not_asked_series_by_series() {
    let remote = FakeReceiver::with_script(|_| Answer::words(413, "too large")).await;
    let flink = wide_flink(100).await;
    let lines = format!("{SOON}\non_status: {{413: split}}\nmetadata_config: {{send: false}}");
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), &lines)], ""));
    let relay = running.relay.clone();
    let parted = || relay.receivers()[0].numbers.batches_parted.load(Relaxed);
    until_true("the next batches", || {
        let counts = running.counts(0);
        counts.dropped(Reason::Rejected).fragments >= 4
    })
    .await;
    assert_eq!(parted(), 1, "the first shows it");
    assert_eq!(running.stop().await, 0);
    let counts = relay.receivers()[0].counts();
    assert_eq!(counts.dropped(Reason::Rejected).samples, counts.appended.samples);
    assert_eq!(relay.receivers()[0].state().state, State::Refusing);
}

#[tokio::test]
async fn a_receiver_that_refuses_everything_is_not_asked_series_by_series() {
    let remote = FakeReceiver::with_script(|_| Answer::words(400, "no")).await;
    let flink = wide_flink(200).await;
    let lines = format!("{SOON}\non_status: {{400: bisect}}");
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), &lines)], ""));
    until_true("six scrapes", || {
        running.counts(0);
        flink.scrapes() >= 7
    })
    .await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    let counts = relay.receivers()[0].counts();
    assert_eq!(counts.dropped(Reason::Rejected).samples, counts.appended.samples);
    let state = relay.receivers()[0].state();
    assert_eq!(state.state, State::Refusing);
    assert!(state.failing_since.is_some() && state.last_success.is_none());
    let tries = remote.tries().len();
    assert!(tries <= 50, "{tries} requests");
}

#[tokio::test]
async fn what_is_too_large_is_split_also_through_trouble() {
    // Takes 16 samples at most, and fails now and then.
    let remote = FakeReceiver::with_script(|write| match write.number % 5 {
        4 => Answer::words(500, "what?"),
        _ if write.samples.len() > 16 => Answer::words(413, "too large"),
        _ => taken(),
    })
    .await;
    let flink = wide_flink(100).await;
    let lines = format!("{SOON}\non_status: {{413: split}}\nmetadata_config: {{send: false}}");
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), &lines)], ""));
    until_true("three scrapes", || {
        running.counts(0);
        remote.samples_of("up").len() >= 3
    })
    .await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    let scrapes = remote.samples_of("up").len();
    let samples = remote.samples();
    (0..100).for_each(|series| assert_eq!(values(&samples, series), first(scrapes), "{series}"));
    let counts = relay.receivers()[0].counts();
    assert_eq!(counts.delivered, counts.appended, "nothing is lost");
}

/// What is sent in parts waits in flight while the receiver fails, where the spool does not see how old it
/// becomes.
#[tokio::test]
async fn the_parts_of_a_batch_become_too_old_as_others_do() {
    let down = Arc::new(AtomicBool::new(false));
    let goes_down = Arc::clone(&down);
    // Takes 16 samples at most, and fails for a time after the first part.
    let remote = FakeReceiver::with_script(move |write| {
        if goes_down.load(Relaxed) {
            return Answer::words(503, "down");
        }
        if write.samples.len() > 16 {
            return Answer::words(413, "too large");
        }
        if write.number < 10 && values(&write.samples, 0) == [0.0] {
            goes_down.store(true, Relaxed);
        }
        taken()
    })
    .await;
    let flink = wide_flink(100).await;
    let soon = SOON.replace("max_shards: 1", "max_shards: 1, sample_age_limit: 1s");
    let lines = format!("{soon}\non_status: {{413: split}}\nmetadata_config: {{send: false}}");
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), &lines)], ""));
    until_true("old parts", || running.counts(0).dropped(Reason::TooOld).samples > 0).await;
    let dropped = running.counts(0).dropped(Reason::TooOld).samples;
    down.store(false, Relaxed);
    until_true("later scrapes", || remote.samples_of("up").len() >= 3).await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    let counts = relay.receivers()[0].counts();
    assert_eq!(counts.dropped_in_all(), counts.dropped(Reason::TooOld));
    assert_eq!(counts.delivered.samples, remote.samples().len() as u64, "no sample twice");
    let samples = remote.samples();
    let of_first = (0..100).filter(|series| values(&samples, *series).contains(&0.0)).count();
    assert!((1..=16).contains(&of_first), "the first part arrived: {of_first}");
    let scrape = 100 + 5;
    assert!(dropped >= scrape - 16, "the rest of it did not: {dropped}");
}

#[tokio::test]
async fn a_single_series_that_is_too_large_is_dropped() {
    let remote = FakeReceiver::with_script(|write| match values(&write.samples, 3)[..] {
        [] => taken(),
        _ => Answer::words(413, "too large"),
    })
    .await;
    let flink = wide_flink(8).await;
    let lines = format!("{SOON}\non_status: {{413: split}}\nmetadata_config: {{send: false}}");
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), &lines)], ""));
    until_true("three scrapes", || remote.samples_of("up").len() >= 3).await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    let scrapes = remote.samples_of("up").len();
    assert_eq!(values(&remote.samples(), 4), first(scrapes));
    let counts = relay.receivers()[0].counts();
    assert_eq!(counts.dropped(Reason::Rejected).samples, scrapes as u64);
}

#[tokio::test]
async fn retry_and_drop_are_what_on_status_makes_of_them() {
    let moved = FakeReceiver::with_script(|write| match write.number {
        0..3 => Answer::words(404, "not yet"),
        _ => taken(),
    })
    .await;
    let hasty = FakeReceiver::with_script(|write| match write.number {
        0 => Answer::words(503, "busy"),
        _ => taken(),
    })
    .await;
    let flink = wide_flink(1).await;
    let receivers = [
        receiver(&moved.url(), &format!("name: moved\n{SOON}\non_status: {{404: retry}}")),
        receiver(&hasty.url(), &format!("name: hasty\n{SOON}\non_status: {{5xx: drop}}")),
    ];
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &receivers, ""));
    until_true("deliveries", || moved.accepted().len() >= 3 && hasty.accepted().len() >= 3).await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    let counts = [0, 1].map(|n| relay.receivers()[n].counts());
    assert_eq!(counts[0].delivered, counts[0].appended);
    assert_eq!(moved.tries()[3].request.header("retry-attempt"), Some("3"));
    let dropped = counts[1].dropped(Reason::Rejected).samples;
    assert_eq!(dropped, hasty.tries()[0].samples.len() as u64);
    assert_eq!(counts[1].delivered.samples + dropped, counts[1].appended.samples);
}

#[tokio::test]
async fn a_series_above_a_receivers_limits_is_kept_from_it_alone() {
    let (log, _guard) = Log::start();
    let (strict, generous) = (FakeReceiver::start().await, FakeReceiver::start().await);
    let long = "x".repeat(50);
    let flink = FakeFlink::with_page(&format!(
        "flink_taskmanager_a 1\nflink_taskmanager_b{{x=\"{long}\"}} 2\n"
    ))
    .await;
    let receivers = [
        receiver(
            &strict.url(),
            &format!("name: strict\n{SOON}\nlabel_value_length_limit: 49\nlong_label_values: drop"),
        ),
        receiver(&generous.url(), &format!("name: generous\n{SOON}")),
    ];
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &receivers, ""));
    until_true("three scrapes", || {
        (0..2).for_each(|n| {
            running.counts(n);
        });
        strict.samples_of("up").len() >= 3
    })
    .await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    let scrapes = strict.samples_of("up").len();
    assert_eq!(strict.samples_of("flink_taskmanager_a").len(), scrapes);
    assert_eq!(strict.samples_of("flink_taskmanager_b").len(), 0);
    assert_eq!(generous.samples_of("flink_taskmanager_b").len(), generous.samples_of("up").len());
    let counts = relay.receivers()[0].counts();
    assert_eq!(counts.dropped(Reason::LabelLimit).samples, scrapes as u64);
    assert_eq!(counts.dropped(Reason::WriteRelabel).samples, 0);
    assert_eq!(relay.receivers()[1].counts().dropped_in_all().samples, 0);
    let lines = log.lines_with("kept from this receiver");
    let [line] = &lines[..] else { panic!("once: {lines:?}") };
    assert!(line.contains("receiver=strict") && line.contains("flink_taskmanager_b"), "{line}");
}

#[tokio::test]
async fn long_label_values_are_cut_for_a_receiver_that_takes_no_longer_ones() {
    let (log, _guard) = Log::start();
    let (strict, generous) = (FakeReceiver::start().await, FakeReceiver::start().await);
    let long = "日志".repeat(20);
    let text = ["1", "2"].map(|end| format!("flink_taskmanager_b{{x=\"{long}{end}\"}} {end}\n"));
    let flink = FakeFlink::with_page(&text.concat()).await;
    let receivers = [
        receiver(&strict.url(), &format!("name: strict\n{SOON}\nlabel_value_length_limit: 50")),
        receiver(&generous.url(), &format!("name: generous\n{SOON}")),
    ];
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &receivers, ""));
    until_true("three scrapes", || strict.samples_of("up").len() >= 3).await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    let of = |remote: &FakeReceiver| -> BTreeMap<String, Vec<f64>> {
        let mut series = BTreeMap::<_, Vec<_>>::new();
        for sample in remote.samples_of("flink_taskmanager_b") {
            series.entry(sample.label("x").to_owned()).or_default().push(sample.value);
        }
        series
    };
    let (cut, whole) = (of(&strict), of(&generous));
    assert_eq!(whole.keys().cloned().collect::<Vec<_>>(), ["1", "2"].map(|n| format!("{long}{n}")));
    assert_eq!(cut.len(), 2, "what differs goes on to differ: {cut:?}");
    for (value, values) in &cut {
        // 31 bytes are left, of which whole characters fill 30.
        assert!(value.starts_with("日志日志日志日志日志…") && value.len() == 49, "{value}");
        assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "{values:?}");
    }
    let scrapes = strict.samples_of("up").len();
    assert!(cut.values().all(|values| values.len() == scrapes));
    assert_eq!(relay.receivers()[0].counts().dropped_in_all().samples, 0);
    let count = |n: usize| relay.receivers()[n].numbers.samples_cut.load(Relaxed);
    assert_eq!((count(0), count(1)), (2 * scrapes as u64, 0));
    let lines = log.lines_with("are cut, with a hash behind");
    let [line] = &lines[..] else { panic!("once: {lines:?}") };
    assert!(line.contains("receiver=strict") && line.contains("flink_taskmanager_b"), "{line}");
}

/// A target for each lane.
const LANES: usize = 8;

async fn many_lanes(queue: &str, remote: &FakeReceiver) -> (Running, Vec<FakeFlink>) {
    let mut flinks = Vec::new();
    for _ in 0..LANES {
        flinks.push(wide_flink(1).await);
    }
    let addresses: Vec<_> = flinks.iter().map(FakeFlink::address).collect();
    let jobs = [job("flink", &addresses, "")];
    let queue = format!("queue_config: {{batch_send_deadline: 10ms, max_shards: 64, {queue}}}");
    (Running::start(&config(&jobs, &[receiver(&remote.url(), &queue)], "")), flinks)
}

#[tokio::test]
async fn a_receiver_that_is_down_is_asked_by_one_lane() {
    let remote = FakeReceiver::with_script(|_| Answer::words(503, "down")).await;
    let queue = "min_shards: 64, min_backoff: 100ms, max_backoff: 200ms";
    let (running, flinks) = many_lanes(queue, &remote).await;
    until_true("some scrapes", || flinks.iter().all(|flink| flink.scrapes() >= 8)).await;
    // Eight lanes with pauses of 150 ms on average would ask some 100 times in these two seconds.
    let tries = remote.tries().len();
    assert!((5..40).contains(&tries), "{tries} tries");
    assert_eq!(running.relay.receivers()[0].in_flight().1, 1, "one probes");
    remote.set(|_| taken());
    until_true("all lanes", || remote.samples_of("up").len() >= LANES * 8).await;
    assert_eq!(running.stop().await, 0, "and the end finds them all open");
}

#[tokio::test]
async fn what_one_lane_was_asked_for_holds_for_all() {
    let asked = Duration::from_secs(1);
    let remote = FakeReceiver::with_script(|write| match write.number {
        6 => Answer::new(429, &[("retry-after", "1")], "slower"),
        _ => taken(),
    })
    .await;
    let (running, _flinks) = many_lanes("min_shards: 64", &remote).await;
    until_true("what comes after the pause", || remote.tries().len() >= 30).await;
    assert_eq!(running.stop().await, 0);
    let tries = remote.tries();
    let told = tries[6].at;
    // What was on its way already is no breach.
    let on_its_way = Duration::from_millis(250);
    let early: Vec<_> = tries[7..]
        .iter()
        .map(|write| write.at - told)
        .filter(|after| (on_its_way..asked).contains(after))
        .collect();
    assert!(early.is_empty(), "asked for {asked:?}, got {early:?}");
}

#[tokio::test]
async fn requests_in_flight_grow_with_the_backlog_and_shrink_with_trouble() {
    let slow = || Answer::new(204, &[], "").trickle(10, Duration::from_millis(20));
    let remote = FakeReceiver::with_script(move |_| slow()).await;
    let (running, _flinks) = many_lanes("min_shards: 2, max_backoff: 50ms", &remote).await;
    let shards = || running.relay.receivers()[0].in_flight().1;
    assert_eq!(shards(), 2);
    until_true("more at once", || shards() >= 4).await;
    remote.set(|write| match write.number % 2 {
        0 => Answer::words(429, "slower"),
        _ => taken(),
    });
    until_true("fewer at once", || shards() == 2).await;
    remote.set(|_| taken());
    assert_eq!(running.stop().await, 0);
}
