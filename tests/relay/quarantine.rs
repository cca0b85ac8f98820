//! A gauge that throws when it is read ends the whole answer of Flink's reporter. The relay asks around it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use flinkrelay::{relay::Relay, scrape::PartialPage, telemetry::metrics};
use tokio::time::advance;

use crate::{
    fakes::{
        flink::{FakeFlink, gzip_page, limited, page},
        http::{Answer, Request},
        receiver::{FakeReceiver, Sample},
        relay::{Log, Running, config, job, receiver},
    },
    hour::{Frozen, settle},
    task_manager,
};

const GLOBAL: &str = "global: {scrape_interval: 15s, scrape_timeout: 10s}\n";
/// How far the clock is moved at once.
const STEP: Duration = Duration::from_secs(5);

const THROWS: &str = "throws when it is read";

/// What a process answers when a metric throws.
type Answers = fn() -> Answer;

/// What a process is doing.
#[derive(Clone, Default)]
struct Doing {
    /// Names of families that throw at the moment.
    throwing: Arc<Mutex<BTreeSet<String>>>,
    /// Requests so far.
    asked: Arc<AtomicUsize>,
}

/// A Flink process some of whose metrics throw, its relay and the receiver, on a clock that stands still.
struct Scene {
    flink: FakeFlink,
    doing: Doing,
    remote: FakeReceiver,
    running: Running,
    _frozen: Frozen,
}

/// The process as Flink's reporter makes it: it reads what it is asked for, and one that throws ends all.
fn process(text: &str, doing: &Doing, answer: Answers) -> impl FnMut(&Request) -> Answer + use<> {
    let (text, doing) = (text.to_owned(), doing.clone());
    move |request| {
        doing.asked.fetch_add(1, Relaxed);
        let (names, throwing) = (request.names(), doing.throwing.lock().unwrap());
        let is_read = |name: &String| names.is_empty() || names.contains(name);
        if throwing.iter().any(is_read) {
            return answer();
        }
        let limited = limited(&text, request);
        if request.header("accept-encoding") == Some("gzip") {
            gzip_page(&limited)
        } else {
            page(&limited)
        }
    }
}

impl Scene {
    async fn new(text: &str, answer: Answers, lines: &str) -> Self {
        let frozen = Frozen::start();
        let doing = Doing::default();
        let flink = FakeFlink::with_script(process(text, &doing, answer)).await;
        let remote = FakeReceiver::start().await;
        let queue = "queue_config: {batch_send_deadline: 1s}";
        let jobs = [job("flink", &[flink.address()], lines)];
        let receivers = [receiver(&remote.url(), queue)];
        let running = Running::start(&config(&jobs, &receivers, GLOBAL));
        // The first scrape has its place from when the target's task begins.
        while running.relay.status.targets().is_empty() {
            settle().await;
        }
        settle().await;
        Self { flink, doing, remote, running, _frozen: frozen }
    }

    fn throw(&self, names: &[&str]) {
        *self.doing.throwing.lock().unwrap() = names.iter().map(|&name| name.to_owned()).collect();
    }

    /// Lets time pass, some seconds at a time, and each time all that there is to do.
    async fn pass(&self, time: Duration) {
        for _ in 0..time.as_secs() / STEP.as_secs() {
            advance(STEP).await;
            let (mut before, mut quiet) = (self.asked(), 0);
            while quiet < 3 {
                settle().await;
                quiet = if self.asked() == before { quiet + 1 } else { 0 };
                before = self.asked();
            }
        }
    }

    fn asked(&self) -> usize {
        self.doing.asked.load(Relaxed)
    }

    async fn scrapes(&self, scrapes: u32) {
        self.pass(Duration::from_secs(15) * scrapes).await;
    }

    fn partial(&self) -> Option<PartialPage> {
        self.running.relay.status.targets()[0].state().partial
    }

    fn quarantined(&self) -> Vec<String> {
        let partial = self.partial().unwrap_or_default();
        partial.quarantined.iter().map(ToString::to_string).collect()
    }

    /// The series of the page, without the report.
    fn series(&self) -> BTreeMap<String, Vec<Sample>> {
        let mut series = BTreeMap::<String, Vec<Sample>>::new();
        for sample in self.remote.samples() {
            if sample.name().starts_with("flink_taskmanager_") {
                series.entry(sample.series.clone()).or_default().push(sample);
            }
        }
        series
    }

    /// Each scrape has each series but those of these metrics.
    #[track_caller]
    fn check_gapless(&self, but: &[&str]) {
        let ups = self.remote.samples_of("up");
        assert!(ups.iter().all(|up| up.value == 1.0), "{ups:?}");
        let series = self.series();
        assert!(series.len() > but.len());
        for (name, samples) in series {
            if !but.iter().any(|but| samples[0].name() == *but) {
                assert!(samples.iter().all(|sample| !sample.is_stale()), "{name}");
                assert_eq!(samples.len(), ups.len(), "{name}");
            }
        }
    }
}

/// Names as users have them, some of Flink's, and enough of them for several requests.
fn names() -> Vec<String> {
    let own = (0..70).map(|n| format!("job_task_operator_my_operators_gauge_number_{n}"));
    own.chain(["Status_JVM_Threads_Count", "job_task_numRecordsIn"].map(str::to_owned)).collect()
}

fn text() -> String {
    let names = names();
    let samples: Vec<_> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
    task_manager(&samples)
}

fn bad(number: usize) -> String {
    format!("flink_taskmanager_job_task_operator_my_operators_gauge_number_{number}")
}

/// The value of one of the relay's own metrics.
fn own(relay: &Arc<Relay>, name: &str) -> f64 {
    let page = metrics::encode(relay).unwrap();
    let line = page.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// What a metric that throws may look like: with Flink's own server, with one that takes it for a bad
/// request, with a proxy, with one that answers all the same.
const ANSWERS: [(&str, Answers); 4] = [
    ("closes the connection", Answer::close),
    ("answers 400", || Answer::words(400, "<h1>400 Bad Request</h1>NumberFormatException thrown")),
    ("answers 500", || Answer::words(500, "java.lang.IllegalStateException")),
    ("answers with nothing", || page("")),
];

#[tokio::test(start_paused = true)]
async fn a_gauge_that_throws_costs_its_own_series_and_no_other() {
    for (what, answer) in ANSWERS {
        let (log, _guard) = Log::start();
        let scene = Scene::new(&text(), answer, "").await;
        scene.scrapes(3).await;
        let asked = scene.asked();
        scene.throw(&[&bad(42)]);
        scene.scrapes(1).await;
        let searched = scene.asked() - asked;
        assert!((10..60).contains(&searched), "{what}: {searched} requests");
        scene.scrapes(4).await;
        assert_eq!(scene.quarantined(), [bad(42)], "{what}");
        assert!(scene.partial().unwrap().retry_in > Duration::from_secs(500), "{what}");
        let relay = &scene.running.relay;
        assert_eq!(own(relay, "flinkrelay_target_metrics_quarantined"), 1.0);
        assert_eq!(own(relay, "flinkrelay_target_page_partial"), 1.0);
        assert_eq!(own(relay, "flinkrelay_target_up"), 1.0);
        let told = log.lines_with(THROWS);
        assert_eq!(told.len(), 1, "{what}: {told:?}");
        assert!(told[0].contains("WARN") && told[0].contains(&bad(42)), "{told:?}");

        // It works again, which is seen when the whole page is tried.
        scene.throw(&[]);
        scene.scrapes(4).await;
        assert_eq!(scene.quarantined(), [bad(42)], "{what}: not tried all the time");
        scene.pass(Duration::from_secs(10 * 60)).await;
        assert_eq!(scene.partial(), None, "{what}");
        assert_eq!(own(relay, "flinkrelay_target_page_partial"), 0.0);
        assert_eq!(log.lines_with("comes whole again").len(), 1, "{what}");
        assert_eq!(log.lines_with("scrape failed").len(), 0, "{what}");
        scene.check_gapless(&[&bad(42)]);
        let series = scene.remote.samples_of(&bad(42));
        let markers: Vec<_> = series.iter().filter(|sample| sample.is_stale()).collect();
        assert_eq!(markers.len(), 1, "{what}: it ended once");
        assert!(!series.last().unwrap().is_stale(), "{what}: and began again");
        let told = scene.remote.samples_of("flinkrelay_scrape_metrics_quarantined");
        assert!(told.iter().rev().skip(1).all(|sample| sample.value == 1.0), "{what}: {told:?}");
        assert!(told.last().unwrap().is_stale() && told.len() > 40, "{what}: {}", told.len());
        assert_eq!(told[0].timestamp_ms, markers[0].timestamp_ms, "{what}: at the same scrape");
        for request in scene.flink.requests() {
            assert!(request.target.len() < 4200, "{what}: {} bytes", request.target.len());
        }
        assert_eq!(scene.running.stop().await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn several_that_throw_are_found_and_freed_one_by_one() {
    let (log, _guard) = Log::start();
    // A real page, compressed, with the names that it has.
    let text = include_str!("../pages/2.3.0/taskmanager-2.prom");
    let scene = Scene::new(text, Answer::close, "compression: gzip");
    let scene = scene.await;
    scene.scrapes(2).await;
    let two = [
        "flink_taskmanager_job_task_operator_accState_rocksdb_estimate_num_keys",
        "flink_taskmanager_job_task_operator_watermarkLatency",
    ];
    scene.throw(&two);
    scene.scrapes(2).await;
    assert_eq!(scene.quarantined(), two);
    assert_eq!(log.lines_with(THROWS).len(), 1, "both at once");
    scene.throw(&two[..1]);
    scene.pass(Duration::from_secs(10 * 60)).await;
    assert_eq!(scene.quarantined(), two[..1]);
    assert_eq!(log.lines_with("work again").len(), 1);
    let third = "flink_taskmanager_Status_JVM_GarbageCollector_G1_Old_Generation_Count";
    scene.throw(&[two[0], third]);
    scene.scrapes(2).await;
    assert_eq!(scene.quarantined(), [third, two[0]]);
    assert_eq!(log.lines_with(THROWS).len(), 2, "one more is told");
    let state = scene.running.relay.status.targets()[0].state();
    let (scraped, made, kept) = (state.tally.scraped, state.tally.made, state.tally.kept);
    assert_eq!(scraped + made, kept + state.tally.dropped.total());
    assert!(scraped > 1400, "{scraped} samples of 1582");
    assert_eq!(scene.running.stop().await, 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_throws_now_and_then_takes_nothing_with_it() {
    let (log, _guard) = Log::start();
    // A connection that is closed would be tried again at once.
    let answer = || Answer::words(500, "java.util.ConcurrentModificationException");
    let scene = Scene::new(&text(), answer, "").await;
    let doing = scene.doing.clone();
    let mut inner = process(&text(), &doing, answer);
    scene.flink.set(move |request| {
        let mut now = doing.throwing.lock().unwrap();
        now.clear();
        now.extend((doing.asked.load(Relaxed) % 5 == 2).then(|| bad(7)));
        drop(now);
        inner(request)
    });
    scene.pass(Duration::from_secs(60 * 60)).await;
    scene.check_gapless(&[&bad(7)]);
    let told = log.lines_with(THROWS).len();
    assert!((1..8).contains(&told), "{told} times in an hour");
    assert_eq!(scene.running.stop().await, 0);
}

/// A job begins whose gauge throws from the first moment on: no page has ever shown its name.
#[tokio::test(start_paused = true)]
async fn a_job_that_throws_from_its_beginning_is_not_invisible() {
    let (log, _guard) = Log::start();
    let idle = task_manager(&[("Status_JVM_Threads_Count", 1.0), ("my_own", 1.0)]);
    let scene = Scene::new(&idle, Answer::close, "").await;
    scene.scrapes(2).await;
    scene.throw(&["flink_taskmanager_job_task_operator_never_seen"]);
    scene.flink.set(process(
        &(idle.clone()
            + &task_manager(&[("job_task_numRecordsIn", 5.0), ("job_task_operator_mine", 6.0)])),
        &scene.doing,
        Answer::close,
    ));
    scene.scrapes(4).await;
    let relay = &scene.running.relay;
    assert_eq!(own(relay, "flinkrelay_target_metrics_quarantined"), 0.0);
    assert_eq!(own(relay, "flinkrelay_target_page_partial"), 1.0);
    let told = log.lines_with(THROWS);
    assert!(told.len() == 1 && told[0].contains("which one is not known"), "{told:?}");
    // The last scrape may still wait for its batch.
    let ups = scene.remote.samples_of("up").len();
    assert!(ups >= 5, "{ups} scrapes");
    let of_job = scene.remote.samples_of("flink_taskmanager_job_task_numRecordsIn").len();
    assert_eq!(of_job, ups - 2, "each scrape since the job began");
    assert!(scene.remote.samples_of("flink_taskmanager_job_task_operator_mine").is_empty());
    assert_eq!(scene.remote.samples_of("flink_taskmanager_my_own").len(), ups);
    scene.throw(&[]);
    scene.pass(Duration::from_secs(10 * 60)).await;
    assert_eq!(scene.partial(), None);
    assert!(!scene.remote.samples_of("flink_taskmanager_job_task_operator_mine").is_empty());
    assert_eq!(scene.running.stop().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_fails_otherwise_is_not_searched() {
    let unavailable = || Answer::words(503, "no");
    let empty = || page("");
    for answer in [Answer::close, unavailable, empty] {
        let (log, _guard) = Log::start();
        let scene = Scene::new(&text(), Answer::close, "").await;
        scene.scrapes(2).await;
        let doing = scene.doing.clone();
        let before = scene.asked();
        scene.flink.set(move |_| {
            doing.asked.fetch_add(1, Relaxed);
            answer()
        });
        scene.scrapes(4).await;
        assert_eq!(scene.partial(), None);
        // The page and the canary, each once more on a new connection.
        let asked = scene.asked() - before;
        assert!(asked <= 4 * 4, "{asked} requests in 4 scrapes");
        assert_eq!(log.lines_with("scrape failed").len(), 1);
        let ups: Vec<_> = scene.remote.samples_of("up").iter().map(|up| up.value).collect();
        // The newest ones may still wait to be sent.
        assert!(ups.len() >= 4 && ups[0] == 1.0 && ups[3..].iter().all(|&up| up == 0.0), "{ups:?}");
        assert_eq!(scene.running.stop().await, 0);
    }
}
