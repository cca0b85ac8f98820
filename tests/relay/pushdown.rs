//! Where most of a page is left out, the relay asks for the rest by name; receivers see no difference.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use flinkrelay::{
    scrape::{PushdownState, Whole},
    status::TargetState,
    telemetry::metrics,
};
use tokio::time::advance;

use crate::{
    fakes::{
        flink::{FakeFlink, limited, page},
        http::{Answer, Request},
        receiver::FakeReceiver,
        relay::{Running, config, job, receiver},
    },
    hour::{Frozen, settle},
};

const GLOBAL: &str = "global: {scrape_interval: 15s, scrape_timeout: 10s}\n";
const STEP: Duration = Duration::from_secs(5);
const PAGE: &str = include_str!("../pages/2.3.0/taskmanager-2.prom");
const LATER: &str = include_str!("../pages/2.3.0/taskmanager-1.prom");

/// A Flink process, its relay and the receiver, on a clock that stands still.
struct Scene {
    flink: FakeFlink,
    remote: FakeReceiver,
    running: Running,
    /// Scrapes so far.
    ups: usize,
}

impl Scene {
    async fn new(
        server: impl FnMut(&Request) -> Answer + Send + 'static,
        flink_section: &str,
        job_lines: &str,
    ) -> Self {
        let flink = FakeFlink::with_script(server).await;
        let remote = FakeReceiver::start().await;
        // One port differs from another; the series must not.
        let lines =
            format!("relabel_configs: [{{target_label: instance, replacement: tm}}]\n{job_lines}");
        let jobs = [job("flink", &[flink.address()], &lines)];
        let receivers = [receiver(&remote.url(), "queue_config: {batch_send_deadline: 1s}")];
        let sections = format!("{GLOBAL}flink: {{rest: off, {flink_section}}}\n");
        let running = Running::start(&config(&jobs, &receivers, &sections));
        while running.relay.status.targets().is_empty() {
            settle().await;
        }
        settle().await;
        Self { flink, remote, running, ups: 0 }
    }

    /// Lets time pass until so many further scrapes have arrived.
    async fn scrapes(&mut self, scrapes: usize) {
        self.ups += scrapes;
        let mut steps = 0;
        while self.remote.samples_of("up").len() < self.ups {
            advance(STEP).await;
            let (mut before, mut quiet) = (self.flink.requests().len(), 0);
            while quiet < 3 {
                settle().await;
                let requests = self.flink.requests().len();
                quiet = if requests == before { quiet + 1 } else { 0 };
                before = requests;
            }
            steps += 1;
            assert!(steps < 10 * scrapes + 10, "scrapes do not arrive");
        }
        assert_eq!(self.remote.samples_of("up").len(), self.ups);
    }

    fn state(&self) -> TargetState {
        self.running.relay.status.targets()[0].state()
    }

    /// Requests for whole pages, and by name.
    fn requests(&self) -> (usize, usize) {
        let requests = self.flink.requests();
        let whole = requests.iter().filter(|request| request.names().is_empty()).count();
        (whole, requests.len() - whole)
    }

    /// What was sent of Flink's series, in order: values, and markers as `None`.
    fn series(&self) -> BTreeMap<String, Vec<Option<String>>> {
        let mut series = BTreeMap::<String, Vec<_>>::new();
        for sample in self.remote.samples() {
            if sample.name().starts_with("flink_") {
                let value = (!sample.is_stale()).then(|| sample.value.to_string());
                series.entry(sample.series.clone()).or_default().push(value);
            }
        }
        series
    }
}

/// A process that is replaced by another one at the same address after 26 scrapes, as in a restart: other
/// tasks, other attempts.
async fn restart(flink_section: &str) -> Scene {
    let text = Arc::new(Mutex::new(PAGE));
    let served = Arc::clone(&text);
    let process = move |request: &Request| page(&limited(&served.lock().unwrap(), request));
    let mut scene = Scene::new(process, flink_section, "").await;
    scene.scrapes(26).await;
    *text.lock().unwrap() = LATER;
    scene.scrapes(25).await;
    scene
}

#[tokio::test(start_paused = true)]
async fn receivers_get_the_same_from_a_part_of_the_page() {
    let _frozen = Frozen::start();
    let groups = "groups: [checkpointing, memory]";
    let whole = restart(&format!("{groups}, pushdown: off")).await;
    assert_eq!(whole.requests(), (51, 0));
    assert_eq!(whole.state().pushdown, PushdownState::Off);
    let expect = whole.series();
    assert!(expect.values().any(|samples| samples.contains(&None)), "something ends");
    whole.running.stop().await;

    let pushed = restart(groups).await;
    let series = pushed.series();
    assert!(series.len() > 40, "{} series", series.len());
    assert_eq!(series.keys().collect::<Vec<_>>(), expect.keys().collect::<Vec<_>>());
    for (name, samples) in &series {
        assert_eq!(samples, &expect[name], "{name}");
    }
    let (wholes, by_name) = pushed.requests();
    assert!(by_name >= 40, "{by_name} requests by name");
    assert!((3..=9).contains(&wholes), "{wholes} whole pages in 13 minutes");
    let state = pushed.state();
    assert!(state.scrapes_pushed >= 40, "{} pages by name", state.scrapes_pushed);
    let PushdownState::Pushed(counts) = state.pushdown else { panic!("{:?}", state.pushdown) };
    assert!(counts.pushed_bytes * 4 < counts.whole_bytes, "{counts:?}");
    let own = metrics::encode(&pushed.running.relay).unwrap();
    let line = format!(" {}.0", state.scrapes_pushed);
    let family = "flinkrelay_target_scrapes_pushed_down_total{";
    assert!(own.lines().any(|l| l.starts_with(family) && l.ends_with(&line)), "{own}");
    pushed.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_long_requests_is_asked_for_whole_pages() {
    let _frozen = Frozen::start();
    let refuses = |request: &Request| match request.names().is_empty() {
        true => page(PAGE),
        false => Answer::words(414, "URI Too Long"),
    };
    let mut scene = Scene::new(refuses, "groups: [memory]", "").await;
    scene.scrapes(1).await;
    scene.scrapes(20).await;
    assert_eq!(scene.requests(), (21, 1));
    assert_eq!(scene.state().pushdown, PushdownState::Whole(Whole::Refused));
    assert!(scene.remote.samples_of("up").iter().all(|up| up.value == 1.0));
    assert!(scene.series().values().all(|samples| samples.len() == 21 && !samples.contains(&None)));
    scene.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_metric_that_throws_is_found_as_ever() {
    let _frozen = Frozen::start();
    const THROWS: &str = "flink_taskmanager_Status_JVM_Memory_Heap_Used";
    let throwing = Arc::new(Mutex::new(false));
    let throws = Arc::clone(&throwing);
    let server = move |request: &Request| {
        let names = request.names();
        let is_read = names.is_empty() || names.iter().any(|name| name == THROWS);
        match *throws.lock().unwrap() && is_read {
            true => Answer::close(),
            false => page(&limited(PAGE, request)),
        }
    };
    let mut scene = Scene::new(server, "groups: [memory]", "").await;
    scene.scrapes(1).await;
    scene.scrapes(3).await;
    assert!(scene.state().scrapes_pushed >= 2);
    *throwing.lock().unwrap() = true;
    scene.scrapes(4).await;
    let partial = scene.state().partial.expect("the page comes in parts");
    assert_eq!(partial.quarantined.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), [THROWS]);
    *throwing.lock().unwrap() = false;
    scene.scrapes(50).await;
    assert_eq!(scene.state().partial, None);
    assert!(matches!(scene.state().pushdown, PushdownState::Pushed(_)), "{:?}", scene.state());
    assert!(scene.remote.samples_of("up").iter().all(|up| up.value == 1.0));
    let gaps: BTreeSet<_> = scene
        .series()
        .into_iter()
        .filter(|(_, samples)| samples.contains(&None))
        .map(|(name, _)| name.split('{').next().unwrap().to_owned())
        .collect();
    assert!(gaps.iter().all(|name| name.contains("eap")), "{gaps:?}");
    scene.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn names_in_params_and_targets_without_filters_stay_as_they_are() {
    let _frozen = Frozen::start();
    let name = "flink_taskmanager_Status_JVM_Memory_Heap_Used";
    let params = format!("params: {{\"name[]\": [{name}]}}");
    let process = |request: &Request| page(&limited(PAGE, request));
    let mut own = Scene::new(process, "groups: [memory]", &params).await;
    own.scrapes(5).await;
    let mut all = Scene::new(process, "names: canonical", "").await;
    all.scrapes(5).await;
    for scene in [&own, &all] {
        assert_eq!(scene.state().pushdown, PushdownState::Off);
        assert_eq!(scene.state().scrapes_pushed, 0);
    }
    assert!(own.flink.requests().iter().all(|request| request.names() == [name]));
    assert_eq!(all.requests(), (5, 0));
    own.running.stop().await;
    all.running.stop().await;
}
