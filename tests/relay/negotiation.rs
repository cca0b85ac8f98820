//! Which message a receiver gets: 2.0 when it understands that, 1.0 when it does not, and every
//! sample once and in order in either case.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flinkrelay::{
    config::Config,
    remote_write::{
        Encoding,
        Message::{self, V1, V2},
        SAMPLES_WRITTEN,
    },
    spool::Reason,
};

use crate::fakes::{
    flink::{FakeFlink, page},
    http::Answer,
    receiver::{FakeReceiver, Old, Write},
    relay::{Log, Running, config, job, receiver},
    rest::{FakeCluster, FakeRest},
    until_true,
};

/// A process with two series of its own, whose values are the number of the page.
async fn counting_flink() -> FakeFlink {
    let pages = AtomicU64::new(0);
    FakeFlink::with_script(move |_| {
        let n = pages.fetch_add(1, Relaxed);
        page(&format!(
            "# HELP flink_taskmanager_n of n\n# TYPE flink_taskmanager_n gauge\nflink_taskmanager_n {n}\n\
             # HELP flink_jobmanager_numRunningJobs numRunningJobs\n\
             # TYPE flink_jobmanager_numRunningJobs gauge\nflink_jobmanager_numRunningJobs {n}\n"
        ))
    })
    .await
}

/// Settings of a receiver that is asked soon and told the message.
fn asked(message: &str) -> String {
    format!(
        "protobuf_message: {message}\n\
         queue_config: {{batch_send_deadline: 10ms, min_backoff: 1ms, max_backoff: 20ms}}"
    )
}

fn of(flink: &FakeFlink, receivers: &[String]) -> Config {
    config(
        &[job("flink", &[flink.address()], "scrape_interval: 100ms\nscrape_timeout: 100ms")],
        receivers,
        "",
    )
}

fn messages(writes: &[Write]) -> Vec<Message> {
    writes.iter().map(|write| write.message).collect()
}

/// Every page's sample is there once and in order, from the first page on.
#[track_caller]
fn complete(remote: &FakeReceiver) {
    for name in ["flink_taskmanager_n", "flink_jobmanager_numRunningJobs"] {
        let values: Vec<_> = remote.samples_of(name).iter().map(|sample| sample.value).collect();
        let expected: Vec<_> = (0..values.len()).map(|n| n as f64).collect();
        assert!(values.len() >= 3, "{values:?}");
        assert_eq!(values, expected);
    }
}

#[tokio::test]
async fn a_receiver_that_understands_2_0_gets_it_with_metadata() {
    let (log, _guard) = Log::start();
    let (remote, flink) = (FakeReceiver::start().await, counting_flink().await);
    let running = Running::start(&of(&flink, &[receiver(&remote.url(), &asked("auto"))]));
    until_true("four scrapes", || remote.samples_of("up").len() >= 4).await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    complete(&remote);
    assert!(messages(&remote.tries()).iter().all(|&message| message == V2));
    assert_eq!(remote.tries().len(), remote.accepted().len());
    let counts = relay.receivers()[0].counts();
    assert_eq!(counts.delivered, counts.appended);
    for write in remote.accepted() {
        let about = |name: &str| {
            let found = write.metadata.iter().find(|about| about.metric_family_name == name);
            found.map(|about| (about.r#type, about.help.as_str())).unwrap()
        };
        // The catalogue's words, not the page's; the page's for what the catalogue does not know.
        assert_eq!(about("flink_taskmanager_n"), (2, "of n"));
        let (kind, help) = about("flink_jobmanager_numRunningJobs");
        assert!(kind == 2 && help.len() > 15, "{help}");
        assert_eq!(about("up").0, 2);
    }
    assert_eq!(log.lines_with("understands remote write 2.0").len(), 1);
}

#[tokio::test]
async fn a_receiver_of_1_0_is_found_out_and_loses_nothing() {
    let (log, _guard) = Log::start();
    let cases = [
        ("silent", Old::Silent, "wrote nothing"),
        ("r415", Old::Refuses(415), "status=415"),
        ("r400", Old::Refuses(400), "status=400"),
        ("r500", Old::Refuses(500), "status=500"),
    ];
    let (flink, mut remotes, mut receivers) = (counting_flink().await, Vec::new(), Vec::new());
    for (name, old, _) in cases {
        let remote = FakeReceiver::of_1_0(old).await;
        receivers.push(receiver(&remote.url(), &format!("name: {name}\n{}", asked("auto"))));
        remotes.push(remote);
    }
    let running = Running::start(&of(&flink, &receivers));
    until_true("four scrapes", || remotes.iter().all(|r| r.samples_of("up").len() >= 4)).await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    for ((remote, (name, _, word)), receiver) in remotes.iter().zip(cases).zip(relay.receivers()) {
        complete(remote);
        let messages = messages(&remote.tries());
        // The first scrape is offered as 2.0, and perhaps a second one that had begun meanwhile.
        let offered = messages.iter().filter(|&&message| message == V2).count();
        assert!((1..=2).contains(&offered), "{name}: {messages:?}");
        assert_eq!(messages[..2], [V2, V1], "{name}");
        let counts = receiver.counts();
        assert_eq!(counts.delivered, counts.appended, "{name}");
        assert_eq!(counts.retried.samples, 0, "{name}: the same request goes again at once");
        let told: Vec<_> = log.lines_with(&format!("receiver={name} "));
        let told: Vec<_> = told.iter().filter(|line| line.contains("gets 1.0")).collect();
        assert!(matches!(told[..], [line] if line.contains(word)), "{name}: {told:?}");
    }
}

#[tokio::test]
async fn receivers_of_one_view_get_different_messages() {
    let (new, old) = (FakeReceiver::start().await, FakeReceiver::of_1_0(Old::Silent).await);
    let flink = counting_flink().await;
    let receivers = [&new, &old].map(|remote| receiver(&remote.url(), &asked("auto")));
    let running = Running::start(&of(&flink, &receivers));
    let [first, second] = &running.relay.receivers()[..] else { panic!("two receivers") };
    let views = [first, second].map(|r| r.config.write_relabel_configs.len());
    assert_eq!(views, [0, 0], "both have one view");
    until_true("four scrapes", || [&new, &old].iter().all(|r| r.samples_of("up").len() >= 4)).await;
    assert_eq!(running.stop().await, 0);
    let of = |remote: &FakeReceiver| messages(&remote.accepted());
    assert!(of(&new).iter().all(|&message| message == V2));
    assert!(of(&old).iter().all(|&message| message == V1));
    for remote in [&new, &old] {
        complete(remote);
    }
    let series = |remote: &FakeReceiver| {
        remote
            .samples()
            .iter()
            .take(7)
            .map(|s| (s.series.clone(), s.timestamp_ms))
            .collect::<Vec<_>>()
    };
    assert_eq!(series(&new), series(&old), "the same samples in the same order");
}

#[tokio::test]
async fn what_was_configured_is_sent_whatever_the_answers() {
    let (log, _guard) = Log::start();
    let flink = counting_flink().await;
    let only_1 = FakeReceiver::start().await;
    let only_2 = FakeReceiver::of_1_0(Old::Silent).await;
    let refused = FakeReceiver::of_1_0(Old::Refuses(415)).await;
    let receivers = [
        receiver(&only_1.url(), &asked("prometheus.WriteRequest")),
        receiver(&only_2.url(), &format!("name: two\n{}", asked(V2.name()))),
        receiver(&refused.url(), &asked(V2.name())),
    ];
    let running = Running::start(&of(&flink, &receivers));
    until_true("four scrapes", || {
        [&only_1, &only_2, &refused].iter().all(|remote| remote.tries().len() >= 4)
    })
    .await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    complete(&only_1);
    assert!(messages(&only_1.tries()).iter().all(|&message| message == V1));
    for (remote, receiver) in [&only_2, &refused].into_iter().zip(&relay.receivers()[1..]) {
        assert!(messages(&remote.tries()).iter().all(|&message| message == V2));
        let counts = receiver.counts();
        // A success that wrote nothing is no delivery.
        assert_eq!(counts.dropped(Reason::Rejected), counts.appended);
    }
    let told = log.lines_with("receiver=two ");
    assert!(told.iter().any(|line| line.contains("did not understand")), "{told:?}");
}

/// What waits as 2.0 when a receiver turns out to be one of 1.0, or is replaced by one.
#[tokio::test]
async fn what_is_queued_as_2_0_goes_out_as_1_0() {
    let (remote, flink) = (FakeReceiver::start().await, counting_flink().await);
    let running = Running::start(&of(&flink, &[receiver(&remote.url(), &asked("auto"))]));
    until_true("two scrapes", || remote.samples_of("up").len() >= 2).await;
    remote.set(|_| Answer::words(503, "upgrading"));
    until_true("a backlog", || running.counts(0).queued.fragments >= 3).await;
    // An older one comes up in its place.
    remote.set_old(Some(Old::Silent));
    remote.set(|_| Answer::new(204, &[], ""));
    until_true("delivery of it", || running.counts(0).queued.fragments == 0).await;
    let before = remote.samples_of("up").len();
    until_true("two more scrapes", || remote.samples_of("up").len() >= before + 2).await;
    assert_eq!(running.stop().await, 0);
    complete(&remote);
    let accepted = messages(&remote.accepted());
    let first = accepted.iter().position(|&message| message == V1).unwrap();
    assert!(first >= 2, "{accepted:?}");
    assert!(accepted[first..].iter().all(|&message| message == V1), "{accepted:?}");
    // One offer was in vain for each lane that had one in flight, and the target has one lane.
    let silent = |write: &&Write| write.message == V2 && write.samples.is_empty();
    assert_eq!(remote.tries().iter().filter(silent).count(), 1);
}

/// A bad request is no reason to doubt a receiver that is known to understand.
#[tokio::test]
async fn a_refusal_of_samples_is_not_taken_for_one_of_the_message() {
    let flink = counting_flink().await;
    let remote = FakeReceiver::with_script(|write| match write.number {
        1 => Answer::words(400, "out of order"),
        _ => Answer::new(204, &[], ""),
    })
    .await;
    // A stranger refuses at once, and says by the header that it has read the samples.
    let stranger = FakeReceiver::with_script(|_| {
        Answer::words(400, "out of order").with_header(SAMPLES_WRITTEN, "0")
    })
    .await;
    let receivers = [&remote, &stranger].map(|remote| receiver(&remote.url(), &asked("auto")));
    let running = Running::start(&of(&flink, &receivers));
    until_true("four tries", || {
        [&remote, &stranger].iter().all(|remote| remote.tries().len() >= 4)
    })
    .await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    for remote in [&remote, &stranger] {
        assert!(messages(&remote.tries()).iter().all(|&message| message == V2));
    }
    let counts = relay.receivers()[0].counts();
    assert_eq!(counts.dropped(Reason::Rejected).samples, remote.tries()[1].samples.len() as u64);
    let counts = relay.receivers()[1].counts();
    assert_eq!(counts.dropped(Reason::Rejected), counts.appended);
}

/// VictoriaMetrics' zstd: given up for a receiver that does not know it, without losing a sample.
#[tokio::test]
async fn zstd_is_sent_to_who_takes_it() {
    let (log, _guard) = Log::start();
    let flink = counting_flink().await;
    let (takes, r415, r400) =
        (FakeReceiver::start().await, FakeReceiver::start().await, FakeReceiver::start().await);
    r415.refuse_zstd(415);
    r400.refuse_zstd(400);
    let receiver =
        |remote: &FakeReceiver| receiver(&remote.url(), &asked("auto\ncompression: zstd"));
    let running = Running::start(&of(&flink, &[&takes, &r415, &r400].map(receiver)));
    until_true("four scrapes", || {
        [&takes, &r415, &r400].iter().all(|remote| remote.samples_of("up").len() >= 4)
    })
    .await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    for (remote, receiver) in [&takes, &r415, &r400].into_iter().zip(relay.receivers()) {
        complete(remote);
        assert!(messages(&remote.tries()).iter().all(|&message| message == V1));
        let counts = receiver.counts();
        assert_eq!((counts.delivered, counts.retried.samples), (counts.appended, 0));
    }
    assert!(takes.tries().iter().all(|write| write.encoding == Encoding::Zstd));
    for remote in [&r415, &r400] {
        let encodings: Vec<_> = remote.tries().iter().map(|write| write.encoding).collect();
        assert_eq!(encodings[0], Encoding::Zstd);
        assert!(encodings[1..].iter().all(|&encoding| encoding == Encoding::Snappy));
    }
    assert_eq!(log.lines_with("refuses zstd").len(), 2);
}

/// What is known of a receiver goes to its successor, but not over what the successor is told to do.
#[tokio::test]
async fn another_compression_begins_with_a_reload() {
    let (flink, remote) = (counting_flink().await, FakeReceiver::start().await);
    let with = |compression: &str| {
        let lines = asked(&format!("prometheus.WriteRequest\ncompression: {compression}"));
        of(&flink, &[receiver(&remote.url(), &lines)])
    };
    let running = Running::start(&with("snappy"));
    until_true("a scrape", || !remote.samples_of("up").is_empty()).await;
    for (compression, encoding) in [("zstd", Encoding::Zstd), ("snappy", Encoding::Snappy)] {
        running.reload(&with(compression)).await;
        let is_used = || remote.tries().last().is_some_and(|write| write.encoding == encoding);
        until_true(compression, is_used).await;
    }
    until_true("three scrapes", || remote.samples_of("up").len() >= 3).await;
    assert_eq!(running.stop().await, 0);
    complete(&remote);
}

/// A counter's start is that of the attempt which counts, as Flink's REST API tells it; nothing else has one.
#[tokio::test]
async fn counters_have_the_start_of_their_attempt() {
    const JOB: &str = "fb52f4de9dfd7179740c6c76776865ef";
    const TASK: &str = "cbc357ccb763df2852fee8c4fc7d55f2";
    let counter = "flink_taskmanager_job_task_numRecordsIn";
    let gauge = "flink_taskmanager_job_task_busyTimeMsPerSecond";
    let cluster = FakeCluster::default().with_job(JOB, "clicks", &[(TASK, "Source: a")]);
    let cluster = cluster.with_task_manager("tm-1").with_attempt(1, 1, 9);
    let rest = FakeRest::of(cluster.clone()).await;
    let line = |name: &str, subtask: u32, attempt: u32| {
        format!(
            "{name}{{job_id=\"{JOB}\",job_name=\"clicks\",task_id=\"{TASK}\",task_name=\"Source:_a\",\
             subtask_index=\"{subtask}\",task_attempt_num=\"{attempt}\",host=\"h\",tm_id=\"tm_1\",}} 5.0\n"
        )
    };
    let page = |attempts: [u32; 2]| {
        let [first, second] = attempts;
        [line(counter, 0, first), line(counter, 1, second), line(gauge, 0, first)].concat()
    };
    let flink = FakeFlink::with_page(&page([0, 1])).await;
    let remote = FakeReceiver::start().await;
    let section = format!("flink: {{rest: {{urls: [{}], poll_interval: 500ms}}}}\n", rest.url());
    let jobs = [job("flink", &[flink.address()], "scrape_interval: 1s\nscrape_timeout: 1s")];
    let config = config(&jobs, &[receiver(&remote.url(), &asked("auto"))], &section);
    let running = Running::start(&config);
    let has_start = |subtask: &str, start_ms| {
        let samples = remote.samples_of(counter);
        samples.iter().any(|s| s.label("subtask_index") == subtask && s.start_ms == start_ms)
    };
    until_true("the starts", || has_start("0", 7) && has_start("1", 9)).await;
    // The job restarts: its series go on, its counters begin anew.
    rest.set(cluster.with_attempt(0, 1, 11).with_attempt(1, 2, 13));
    flink.set_page(&page([1, 2]));
    until_true("the next starts", || has_start("0", 11) && has_start("1", 13)).await;
    assert_eq!(running.stop().await, 0);
    for sample in remote.samples() {
        let expect: &[i64] = match (sample.name(), sample.label("subtask_index")) {
            (name, "0") if name == counter => &[0, 7, 11],
            (name, "1") if name == counter => &[0, 9, 13],
            _ => &[0],
        };
        assert!(expect.contains(&sample.start_ms), "{} {expect:?}", sample.series);
        // Under the page's names when names came after the first scrape.
        let is_named = sample.label("task_name") != "Source:_a";
        assert!(!(is_named && sample.is_stale()), "{} has ended", sample.series);
    }
    let asked = rest.paths();
    let vertices = asked.iter().filter(|path| path.ends_with(&format!("/vertices/{TASK}"))).count();
    assert!(vertices <= 6, "a task is asked about when an attempt is new: {asked:?}");
}

/// Starts travel in 2.0 alone, so nobody asks for them when nobody can be told.
#[tokio::test]
async fn without_a_receiver_of_2_0_no_starts_are_asked_for() {
    let line = "flink_taskmanager_job_task_numRecordsIn{job_id=\"1\",job_name=\"clicks\",task_id=\"2\",\
                task_name=\"a\",subtask_index=\"0\",task_attempt_num=\"3\",tm_id=\"tm_1\",} 5.0\n";
    let cluster = FakeCluster::default().with_job("1", "clicks", &[("2", "a")]);
    let rest = FakeRest::of(cluster.with_task_manager("tm-1").with_attempt(0, 3, 9)).await;
    let (flink, remote) = (FakeFlink::with_page(line).await, FakeReceiver::start().await);
    let section = format!("flink: {{rest: {{urls: [{}], poll_interval: 100ms}}}}\n", rest.url());
    let jobs = [job("flink", &[flink.address()], "scrape_interval: 200ms\nscrape_timeout: 200ms")];
    let asked = asked("prometheus.WriteRequest");
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), &asked)], &section));
    let name = "flink_taskmanager_job_task_numRecordsIn";
    until_true("five samples", || remote.samples_of(name).len() >= 5).await;
    assert_eq!(running.stop().await, 0);
    let paths = rest.paths();
    assert!(paths.iter().any(|path| path == "/jobs/1"), "{paths:?}");
    assert!(!paths.iter().any(|path| path.contains("/vertices/")), "{paths:?}");
}

/// What a receiver of 2.0 says it has written is delivered, whatever the status, and is not sent again.
#[tokio::test]
async fn a_partial_write_is_accounted_for() {
    let (log, _guard) = Log::start();
    let flink = counting_flink().await;
    let partly = |status| {
        move |write: &Write| {
            let written = (write.samples.len() - 2).to_string();
            Answer::words(status, "two are out of order").with_header(SAMPLES_WRITTEN, &written)
        }
    };
    let mut remotes = Vec::new();
    for status in [400, 200] {
        remotes.push(FakeReceiver::with_script(partly(status)).await);
    }
    // Also when it is to be parted: it was parted already.
    remotes.push(FakeReceiver::with_script(partly(400)).await);
    let mut receivers: Vec<_> =
        remotes.iter().map(|remote| receiver(&remote.url(), &asked("auto"))).collect();
    receivers[2] += "    name: bisect\n    on_status: {400: bisect}\n";
    let running = Running::start(&of(&flink, &receivers));
    until_true("four tries", || remotes.iter().all(|remote| remote.tries().len() >= 4)).await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    for (remote, receiver) in remotes.iter().zip(relay.receivers().iter()) {
        let (counts, tries) = (receiver.counts(), remote.tries());
        let dropped = counts.dropped(Reason::Rejected).samples;
        assert_eq!(dropped, 2 * tries.len() as u64, "{}", receiver.config.name);
        assert_eq!(counts.delivered.samples, counts.appended.samples - dropped);
        let mut bodies: Vec<_> = tries.iter().map(|write| &write.request.body).collect();
        bodies.dedup();
        assert_eq!(bodies.len(), tries.len(), "nothing is sent again");
    }
    let told = log.lines_with("receiver=bisect ");
    assert!(told.iter().any(|line| line.contains("refused a part of a batch")), "{told:?}");
}
