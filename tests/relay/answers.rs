//! A receiver's answer, and what it leads to by default: what is sent next, and what is counted. One
//! line for each answer, to be read as a table.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use flinkrelay::{push, spool::Reason};

use crate::fakes::{
    flink::{FakeFlink, page},
    http::Answer,
    receiver::{FakeReceiver, Write},
    relay::{Running, config, job, receiver},
    until_true,
};

/// Lanes are not what this is about.
const SETTINGS: &str = "remote_timeout: 300ms\n\
    queue_config: {batch_send_deadline: 10ms, min_backoff: 1ms, max_backoff: 20ms, max_shards: 1}";

fn answers() -> Vec<(&'static str, Answer)> {
    let after = |status, words: &str| Answer::new(status, &[("retry-after", "2")], words);
    let mimir = "the sample is too old (err-mimir-sample-timestamp-too-old). It is from series up";
    let megabyte = "no ".repeat(350_000);
    let slowly = Duration::from_millis(100);
    vec![
        ("200", Answer::words(200, "thank you")),
        ("204", Answer::new(204, &[], "")),
        ("200, 1 MB of thanks", Answer::words(200, &megabyte)),
        ("302", Answer::new(302, &[("location", "/login")], "")),
        ("400", Answer::words(400, "out of order sample")),
        ("400 of Mimir", Answer::words(400, mimir)),
        ("400, 1 MB of words", Answer::words(400, &megabyte)),
        ("401", Answer::words(401, "who are you")),
        ("404", Answer::words(404, "404 page not found")),
        ("408", Answer::words(408, "too slow")),
        ("413", Answer::words(413, "too large")),
        ("422", Answer::words(422, "no")),
        ("422 with Retry-After", after(422, "no")),
        ("429", Answer::words(429, "too fast (err-mimir-tenant-max-request-rate)")),
        ("429 with Retry-After", after(429, "too fast")),
        ("500", Answer::words(500, "oh")),
        ("500, 1 MB of words", Answer::words(500, &megabyte)),
        ("503", Answer::words(503, "starting")),
        ("503 with Retry-After", after(503, "starting")),
        ("999", Answer::words(999, "?")),
        ("garbage", Answer::raw(*b"\x16\x03\x01 what\r\n\r\n")),
        ("hang", Answer::hang()),
        ("trickle", Answer::words(500, "slow").trickle(4, slowly)),
        ("cut before an answer", Answer::close()),
        ("cut in the head", Answer::raw("HTTP/1.1 500 Inter")),
        ("cut in the words", Answer::words(500, "so many words").cut(4)),
    ]
}

/// A receiver that gives this answer once, and takes everything from then on.
async fn once(answer: Answer) -> FakeReceiver {
    FakeReceiver::with_script(move |write| match write.number {
        0 => answer.clone(),
        _ => Answer::new(204, &[], ""),
    })
    .await
}

#[tokio::test]
async fn what_is_sent_next_and_what_is_counted() {
    let answers = answers();
    let mut remotes = Vec::new();
    for (_, answer) in &answers {
        remotes.push(once(answer.clone()).await);
    }
    let pages = AtomicU64::new(0);
    let flink = FakeFlink::with_script(move |_| {
        page(&format!("flink_taskmanager_n {}\n", pages.fetch_add(1, Relaxed)))
    });
    let flink = flink.await;
    let receivers: Vec<_> = remotes
        .iter()
        .enumerate()
        .map(|(n, remote)| receiver(&remote.url(), &format!("name: r{n}\n{SETTINGS}")))
        .collect();
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &receivers, ""));
    until_true("the next requests", || {
        (0..remotes.len()).for_each(|n| {
            running.counts(n);
        });
        remotes.iter().all(|remote| remote.accepted().len() >= 4)
    })
    .await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0, "every other sample is delivered");
    let mut table = String::new();
    for ((what, _), (remote, receiver)) in
        answers.iter().zip(remotes.iter().zip(&relay.receivers()))
    {
        let line = describe(&remote.tries(), receiver);
        writeln!(table, "{what}: {line}").unwrap();
        let values: Vec<_> =
            remote.samples_of("flink_taskmanager_n").iter().map(|s| s.value).collect();
        let lost = receiver.counts().dropped(Reason::Rejected).samples > 0;
        let first = f64::from(u8::from(lost));
        let expected: Vec<_> = (0..values.len()).map(|n| first + n as f64).collect();
        assert_eq!(values, expected, "{what}: all others once and in order");
        assert_eq!(receiver.state().state, push::State::Ok, "{what}");
    }
    insta::assert_snapshot!(table);
}

/// What followed the first request, and what the first answer was counted as.
fn describe(tries: &[Write], receiver: &push::Receiver) -> String {
    let (first, second) = (&tries[0], &tries[1]);
    let next = if second.request.body == first.request.body {
        let attempt = second.request.header("retry-attempt").unwrap_or("none");
        let pause = (second.at - first.at).as_millis();
        let pause = if pause >= 2000 { "after 2 s" } else { "soon" };
        format!("again {pause}, Retry-Attempt {attempt}")
    } else {
        assert_eq!(second.request.header("retry-attempt"), None);
        "the next batch".to_owned()
    };
    let again = tries[2..].iter().filter(|w| w.request.header("retry-attempt").is_some()).count();
    assert_eq!(again, 0, "trouble ends with the first good answer");
    let counts = receiver.counts();
    let batch = first.samples.len() as u64;
    let in_batches = |samples: u64| {
        assert_eq!(samples % batch, 0);
        samples / batch
    };
    let (dropped, retried) = (counts.dropped_in_all(), counts.retried);
    assert_eq!(dropped, counts.dropped(Reason::Rejected));
    let numbers = &receiver.numbers;
    assert_eq!(retried.samples, numbers.samples_retried.load(Relaxed));
    let classes = push::ANSWERS.iter().zip(&numbers.answers);
    let classes: BTreeMap<_, _> = classes.map(|(class, n)| (*class, n.load(Relaxed))).collect();
    assert_eq!(classes.values().sum::<u64>(), tries.len() as u64, "each request has one answer");
    let bad: Vec<_> =
        classes.iter().filter(|(class, n)| **class != "2xx" && **n > 0).map(|(c, _)| *c).collect();
    let errors: Vec<_> = numbers
        .errors()
        .iter()
        .map(|(key, count)| format!("{count} {} {}", key.status, key.id).trim_end().to_owned())
        .collect();
    format!(
        "{next}; batches dropped {}, retried {}; answers {bad:?}; errors {errors:?}",
        in_batches(dropped.samples),
        in_batches(retried.samples)
    )
}
