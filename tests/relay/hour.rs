//! An hour in some seconds: real sockets, and a clock that the test moves on.

#![expect(clippy::disallowed_methods, reason = "a blocking task is what stops tokio's clock")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};

use flinkrelay::push::State;
use tokio::time::{Instant, advance};

use crate::fakes::{
    flink::{FakeFlink, page},
    http::Answer,
    receiver::FakeReceiver,
    relay::{Running, config, job, receiver},
};

const HOUR: Duration = Duration::from_secs(60 * 60);
const INTERVAL: Duration = Duration::from_secs(15);

/// How far the clock is moved at once; nothing can be told more exactly.
const STEP: Duration = Duration::from_secs(1);

/// While it lives, tokio's paused clock stands still unless it is moved: by itself it would run ahead
/// of the sockets, whose data it does not see coming.
pub(super) struct Frozen {
    _stop: mpsc::Sender<()>,
}

impl Frozen {
    pub(super) fn start() -> Self {
        let (stop, stopped) = mpsc::channel();
        // The clock never moves by itself while a blocking task runs.
        tokio::task::spawn_blocking(move || stopped.recv());
        Self { _stop: stop }
    }
}

/// Gives what is under way the time to arrive; the clock stands still. Several short waits, because
/// each lets the sockets be looked at once more, however busy the machine is.
pub(super) async fn settle() {
    for _ in 0..4 {
        let pause = || std::thread::sleep(Duration::from_micros(150));
        tokio::task::spawn_blocking(pause).await.unwrap();
    }
}

/// When something happened, by the simulated clock.
type Times = Arc<Mutex<Vec<Duration>>>;

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_for_an_hour_is_noticed_by_nobody_else() {
    let _frozen = Frozen::start();
    let start = Instant::now();
    let note = move |times: &Times| times.lock().unwrap().push(start.elapsed());
    let (scraped, arrived): (Times, Times) = Default::default();
    let (pages, of_flink) = (AtomicU64::new(0), Arc::clone(&scraped));
    let flink = FakeFlink::with_script(move |_| {
        note(&of_flink);
        page(&format!("flink_taskmanager_n {}\n", pages.fetch_add(1, Relaxed)))
    })
    .await;
    let hangs = FakeReceiver::with_script(|_| Answer::hang()).await;
    let of_well = Arc::clone(&arrived);
    let well = FakeReceiver::with_script(move |_| {
        note(&of_well);
        Answer::new(204, &[], "")
    })
    .await;
    let queue = "queue_config: {batch_send_deadline: 5s}";
    let receivers = [
        receiver(&hangs.url(), &format!("name: hangs\n{queue}")),
        receiver(&well.url(), &format!("name: well\n{queue}")),
    ];
    let sections = "global: {scrape_interval: 15s, scrape_timeout: 10s}\n";
    let jobs = [job("flink", &[flink.address()], "")];
    let running = Running::start(&config(&jobs, &receivers, sections));
    while start.elapsed() < HOUR {
        advance(STEP).await;
        settle().await;
    }
    running.counts(0);
    let state = running.relay.receivers()[0].state();
    assert_eq!(state.state, State::Failing);
    assert!(state.last_answer.unwrap().words.contains("no answer within 30s"));
    assert_eq!(running.counts(0).delivered.samples, 0);
    // One request at a time, each given up after 30 s.
    let tries = hangs.tries().len();
    assert!((60..=121).contains(&tries), "{tries} tries in an hour");

    let (scraped, arrived) = (scraped.lock().unwrap().clone(), arrived.lock().unwrap().clone());
    assert!((238..=241).contains(&scraped.len()), "{} scrapes", scraped.len());
    for pair in scraped.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(apart.abs_diff(INTERVAL) <= STEP * 2, "scrapes {apart:?} apart at {:?}", pair[1]);
    }
    assert!(arrived.len() + 1 >= scraped.len(), "{} deliveries", arrived.len());
    for (scraped, arrived) in scraped.iter().zip(&arrived) {
        let delay = *arrived - *scraped;
        assert!(delay <= Duration::from_secs(5) + STEP * 3, "{delay:?} late at {arrived:?}");
    }
    hangs.set(|_| Answer::new(204, &[], ""));
    for _ in 0..1200 {
        advance(STEP).await;
        settle().await;
        if running.counts(0).delivered.samples == running.counts(1).delivered.samples {
            break;
        }
    }
    assert_eq!(running.counts(0).delivered.samples, running.counts(1).delivered.samples);
    let values: Vec<_> = hangs.samples_of("flink_taskmanager_n").iter().map(|s| s.value).collect();
    let expected: Vec<_> = (0..values.len()).map(|n| n as f64).collect();
    assert_eq!(values, expected, "an hour's samples, once and in order");
    assert!(values.len() >= 240);
    assert_eq!(running.relay.receivers()[0].state().state, State::Ok);
}
