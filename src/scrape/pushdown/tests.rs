//! What receivers get of pages by name is what they get of whole ones, but for names that nobody has seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use proptest::prelude::*;

use super::*;
use crate::{
    flink::{
        GroupFilter, NameMode,
        rest::{Cluster, Names, cluster},
    },
    labels::{Labels, METRIC_NAME},
    relabel,
    remote_write::v1,
    scrape::page::Page,
    series::{Limits, Tracker, View},
};

const INTERVAL: Duration = Duration::from_secs(15);

/// Names of each kind: of the process, of tasks, of operators with a state's name inside, users' own, a summary.
const FAMILIES: [(&str, bool); 9] = [
    ("flink_taskmanager_Status_JVM_Memory_Heap_Used", false),
    ("flink_taskmanager_Status_JVM_CPU_Load", false),
    ("flink_taskmanager_job_task_numRecordsIn", false),
    ("flink_taskmanager_job_task_busyTimeMsPerSecond", false),
    ("flink_taskmanager_job_task_checkpointAlignmentTime", false),
    ("flink_taskmanager_job_task_operator_a_rocksdb_estimate_num_keys", false),
    ("flink_taskmanager_job_task_operator_b_rocksdb_estimate_num_keys", false),
    ("flink_taskmanager_job_task_operator_orders_placed", false),
    ("flink_taskmanager_job_task_operator_waited", true),
];

/// A process: for each family the tasks that it has lines of, by job and number.
type Process = BTreeMap<usize, BTreeSet<(u8, u8)>>;

fn text(process: &Process, value: u32) -> String {
    let mut text = String::new();
    for (&at, tasks) in process {
        let (name, is_summary) = FAMILIES[at];
        let kind = if is_summary { "summary" } else { "gauge" };
        let help = name.strip_prefix("flink_taskmanager_").unwrap();
        let _ = writeln!(text, "# HELP {name} x (scope: taskmanager_{help})\n# TYPE {name} {kind}");
        // Long labels, as tasks have: a page by name is worth its request.
        let pad = "GlobalWindowAggregate".repeat(50);
        let process = r#"host="h",tm_id="tm_1""#;
        let labels: Vec<String> = if name.contains("_Status_") {
            vec![process.to_owned()]
        } else {
            let of_task = |(job, task): &(u8, u8)| {
                format!(
                    r#"{process},job_id="{job:032x}",job_name="j{job}",task_id="{task:032x}",task_name="{pad}",subtask_index="0""#
                )
            };
            tasks.iter().map(of_task).collect()
        };
        for (i, labels) in labels.iter().enumerate() {
            let value = value + at as u32 * 100 + i as u32;
            if is_summary {
                let _ = writeln!(text, "{name}_count{{{labels},}} {value}.0");
                let _ = writeln!(text, "{name}{{{labels},quantile=\"0.5\",}} {value}.5");
            } else {
                let _ = writeln!(text, "{name}{{{labels},}} {value}.0");
            }
        }
    }
    text
}

/// What Flink's reporter makes of `name[]`.
fn limited(text: &str, query: &str) -> String {
    let names: BTreeSet<_> = form_urlencoded::parse(query.as_bytes())
        .map(|(key, name)| {
            assert_eq!(key, "name[]");
            name.into_owned()
        })
        .collect();
    let family = |line: &str| line.split(' ').nth(2).unwrap().to_owned();
    let mut limited = String::new();
    let mut head = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') {
            head.push(line);
            continue;
        }
        if names.contains(line.split('{').next().unwrap()) {
            let own = line.split('{').next().unwrap();
            for head in head.drain(..).filter(|head| own.starts_with(&family(head))) {
                let _ = writeln!(limited, "{head}");
            }
            let _ = writeln!(limited, "{line}");
        }
    }
    limited
}

/// The families of a page that the filter lets through, with their lines.
fn only(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut is_wanted = false;
    let mut kept = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            is_wanted = wanted(rest.split(' ').next().unwrap());
        }
        if is_wanted {
            let _ = writeln!(kept, "{line}");
        }
    }
    kept
}

fn shaper(groups: &[&str], dropped: Option<&str>) -> Arc<Shaper> {
    let groups: Vec<_> = groups.iter().map(|&group| group.to_owned()).collect();
    let rule = |regex: &str| {
        relabel::Rule::try_new(relabel::RawRule {
            source_labels: Some(vec![METRIC_NAME.to_owned()]),
            regex: Some(regex.to_owned()),
            action: Some("drop".to_owned()),
            ..relabel::RawRule::default()
        })
        .unwrap()
    };
    let view = View {
        max_samples_per_send: 2000,
        metadata_interval: None,
        external_labels: BTreeMap::new(),
        write_relabel_configs: Vec::new(),
        limits: Limits::default(),
    };
    Arc::new(Shaper {
        groups: GroupFilter::try_new(&groups, &[]).unwrap(),
        metric_relabel_configs: dropped.map(rule).into_iter().collect(),
        names: NameMode::Canonical,
        views: Arc::from([view]),
        ..Shaper::plain()
    })
}

/// What a scrape comes to.
#[derive(Debug, Default, PartialEq)]
struct Sent {
    samples: BTreeMap<String, String>,
    stale: BTreeSet<String>,
    jobs: BTreeSet<String>,
    role: Role,
}

/// One target's scrapes.
struct Scrapes {
    tracker: Tracker,
    page: Page,
    pushdown: Pushdown,
    names: Arc<Names>,
    now: Instant,
    now_ms: i64,
    whole_at: Instant,
    requests: usize,
}

/// A server: the page, or what of it is asked for.
type Server<'s> = &'s dyn Fn(&str, Option<&str>) -> String;

fn flink(text: &str, query: Option<&str>) -> String {
    query.map_or_else(|| text.to_owned(), |query| limited(text, query))
}

impl Scrapes {
    fn new(shaper: &Arc<Shaper>, is_on: bool) -> Self {
        let mut labels: Labels<'static> =
            [("instance", "tm:9250"), ("job", "flink")].into_iter().collect();
        labels.sort();
        let mut pushdown = Pushdown::new(7, Arc::clone(shaper));
        pushdown.set(is_on, None);
        let job = |id: u8| {
            let mut job = cluster::Job::default();
            job.name = format!("j{id}").into();
            (Box::from(format!("{id:032x}")), job)
        };
        let cluster = Cluster { jobs: (0..4).map(job).collect(), ..Cluster::default() };
        Self {
            tracker: Tracker::new(Arc::clone(shaper), labels),
            page: Page::new(u64::MAX, 0, shaper),
            pushdown,
            names: Arc::new(Names::new([Arc::new(cluster)])),
            now: Instant::now(),
            now_ms: 1_000_000,
            whole_at: Instant::now(),
            requests: 0,
        }
    }

    fn begin(&mut self) {
        self.tracker.begin();
        self.page.begin(false, self.now_ms);
    }

    fn fetch(&mut self, text: &str, query: Option<&str>, server: Server<'_>) {
        self.requests += 1;
        self.page.feed(server(text, query).as_bytes(), &mut self.tracker).unwrap();
        self.page.finish_part(&mut self.tracker).unwrap();
    }

    /// As `Scraper::read` does it. Returns whether the page came by name.
    fn read(&mut self, text: &str, server: Server<'_>) -> bool {
        self.begin();
        if let Some(query) = self.pushdown.query(self.now).map(str::to_owned) {
            assert!(query.len() <= PUSHED_QUERY_BYTES_MAX);
            self.fetch(text, Some(&query), server);
            let is_empty = !self.page.has_samples();
            match self.pushdown.answered(&self.page.seen.present, is_empty, self.now) {
                Answer::Pushed => return true,
                Answer::Whole => return false,
                Answer::Doubtful => {}
            }
            self.tracker.abort();
            self.begin();
        }
        self.page.seen.census = self.pushdown.census(self.now);
        self.fetch(text, None, server);
        if let Some(census) = self.page.seen.census.take() {
            self.pushdown.learn(&census, self.page.bytes(), self.page.role(), self.now);
        }
        self.whole_at = self.now;
        false
    }

    /// As `Scraper::scrape` does it.
    fn scrape(&mut self, text: &str, server: Server<'_>) -> (Sent, bool) {
        self.now += INTERVAL;
        self.now_ms += 15_000;
        self.tracker.take_names(&self.names);
        let mut is_pushed = self.read(text, server);
        if self.tracker.wants_another_look() {
            self.tracker.abort();
            self.tracker.take_names(&self.names);
            is_pushed = self.read(text, server);
        }
        if is_pushed && self.tracker.has_new_subjects() {
            self.pushdown.begun(self.now);
        }
        self.tracker.close(self.now_ms);
        let text = |block: v1::Block<'_>| v1::decode_labels(block).unwrap().to_string();
        let samples = self.tracker.samples(0);
        let sent = Sent {
            samples: samples.map(|(block, _, value)| (text(block), value.to_string())).collect(),
            stale: self.tracker.stale(0).map(text).collect(),
            jobs: self.tracker.jobs().into_iter().map(str::to_owned).collect(),
            role: self.page.role(),
        };
        self.tracker.forget_stale();
        (sent, is_pushed)
    }

    /// The families that the next page is asked for, by name.
    fn asks(&self) -> Option<BTreeSet<String>> {
        match &self.pushdown.state {
            State::Asks(plan) if self.now + INTERVAL < plan.whole_next => {
                Some(plan.families.keys().map(ToString::to_string).collect())
            }
            _ => None,
        }
    }
}

fn everything() -> Process {
    (0..FAMILIES.len()).map(|at| (at, [(1, 0), (1, 1)].into())).collect()
}

const GROUPS: [&[&str]; 4] =
    [&["memory"], &["cpu", "rocksdb"], &["io"], &["checkpointing", "custom"]];

fn settings() -> impl Strategy<Value = Arc<Shaper>> {
    let dropped = [None, Some(".*rocksdb.*"), Some(".*numRecords.*|.*waited.*")];
    let select = (prop::sample::select(GROUPS.to_vec()), prop::sample::select(dropped.to_vec()));
    select.prop_map(|(groups, dropped)| shaper(groups, dropped))
}

/// Pages that follow each other: mostly the same, with families and tasks that come and go.
fn histories() -> impl Strategy<Value = Vec<Process>> {
    let tasks = prop::collection::btree_set((0..3_u8, 0..2_u8), 0..4);
    let change = (0..FAMILIES.len(), prop::option::weighted(0.8, tasks.clone()), any::<bool>());
    let changes = prop::collection::vec(prop::option::weighted(0.4, (change, tasks)), 1..40);
    changes.prop_map(|changes| {
        let mut process = everything();
        let mut pages = vec![process.clone()];
        for change in changes {
            match change {
                // A job begins or ends, with all that it has.
                Some(((_, _, true), tasks)) => {
                    let families = process.values_mut();
                    families.for_each(|of| of.clone_from(&tasks));
                    // What Flink has of each task.
                    process.insert(2, tasks);
                }
                Some(((at, Some(tasks), false), _)) if at != 2 => {
                    let here = process.entry(2).or_default();
                    here.extend(&tasks);
                    process.insert(at, tasks);
                }
                Some(((at, None, false), _)) if at > 2 => {
                    process.remove(&at);
                }
                _ => {}
            }
            pages.push(process.clone());
        }
        pages
    })
}

/// A TaskManager with so many tasks of job 1, and no users' own metrics.
fn process(tasks: u8) -> Process {
    let tasks: BTreeSet<_> = (0..tasks).map(|task| (1, task)).collect();
    (0..7).map(|at| (at, tasks.clone())).collect()
}

#[test]
fn what_is_left_out_is_not_asked_for_and_the_rest_goes_on() {
    let mut scrapes = Scrapes::new(&shaper(&["memory"], None), true);
    let page = |value| text(&process(3), value);
    let (first, is_pushed) = scrapes.scrape(&page(1), &flink);
    assert!(!first.samples.is_empty(), "{first:?}");
    assert!(is_pushed, "read once more, for the job's name");
    let asked = scrapes.asks().unwrap();
    assert!(asked.contains(FAMILIES[0].0) && asked.contains(FAMILIES[2].0), "{asked:?}");
    assert!(!asked.contains(FAMILIES[5].0), "{asked:?}");
    for value in 2..8 {
        let (sent, is_pushed) = scrapes.scrape(&page(value), &flink);
        assert!(is_pushed && sent.stale.is_empty());
        assert_eq!(
            sent.samples.keys().collect::<Vec<_>>(),
            first.samples.keys().collect::<Vec<_>>()
        );
        // Which job uses the TaskManager alone is told by a metric that is not sent.
        assert!(sent.samples.keys().all(|name| name.contains(r#"job_name="j1""#)), "{sent:?}");
    }
    let PushdownState::Pushed(counts) = scrapes.pushdown.state() else { panic!("not pushed") };
    assert_eq!(counts.left_out, 5);
    assert!(counts.pushed_bytes * 4 < counts.whole_bytes, "{counts:?}");
}

#[test]
fn a_whole_page_comes_every_few_minutes_and_at_different_times() {
    let mut waits = BTreeSet::new();
    for seed in 0..20 {
        let mut scrapes = Scrapes::new(&shaper(&["memory"], None), true);
        scrapes.pushdown.seed = seed;
        scrapes.scrape(&text(&process(3), 1), &flink);
        let State::Asks(plan) = &scrapes.pushdown.state else { panic!("not pushed") };
        let wait = plan.whole_next - scrapes.now;
        assert!(wait >= WHOLE_EVERY / 2 && wait <= WHOLE_EVERY, "{wait:?}");
        waits.insert(wait);
    }
    assert!(waits.len() > 15, "{waits:?}");
}

#[test]
fn what_begins_is_followed_by_a_whole_page() {
    let check = |before: &Process, after: &Process, what: &str| {
        let mut scrapes = Scrapes::new(&shaper(&["memory", "rocksdb"], None), true);
        for value in 1..4 {
            scrapes.scrape(&text(before, value), &flink);
        }
        assert!(scrapes.asks().is_some(), "{what}");
        let (_, is_pushed) = scrapes.scrape(&text(after, 4), &flink);
        assert!(is_pushed, "{what}");
        assert_eq!(scrapes.asks(), None, "{what}");
        let (sent, is_pushed) = scrapes.scrape(&text(after, 5), &flink);
        assert!(!is_pushed);
        let has = |state: &str| sent.samples.keys().any(|name| name.contains(state));
        let rows: Vec<_> = after.keys().map(|&at| FAMILIES[at].0).collect();
        for state in ["a", "b"] {
            let is_there = rows.iter().any(|name| name.contains(&format!("_{state}_rocksdb_")));
            assert_eq!(has(&format!("state=\"{state}\"")), is_there, "{what}: {state}");
        }
    };
    let others: BTreeSet<_> = (0..9).map(|task| (2, task)).collect();
    let before: Process = [0, 1, 2, 7].map(|at| (at, others.clone())).into();
    let mut after = process(3);
    before.iter().for_each(|(at, tasks)| after.entry(*at).or_default().extend(tasks));
    check(&before, &after, "another job");
    let mut more = process(11);
    let states = more.remove(&6).unwrap();
    check(&more.clone(), &process(12), "another task, with another state");
    more.insert(6, states);
    check(&process(10), &more, "another task");
    let mut fewer = process(10);
    fewer.remove(&6);
    check(&process(10), &fewer, "a name goes");
}

#[test]
fn a_server_that_does_not_take_names_is_left_alone_for_an_hour() {
    let everything = |text: &str, _: Option<&str>| text.to_owned();
    let nothing = |text: &str, query: Option<&str>| match query {
        Some(_) => String::new(),
        None => text.to_owned(),
    };
    // As one that takes a parameter's last value for all of them.
    let last = |text: &str, query: Option<&str>| match query {
        Some(query) => limited(text, query.rsplit('&').next().unwrap()),
        None => text.to_owned(),
    };
    for server in [&everything as Server<'_>, &nothing, &last] {
        let (page, shaper) = (|value| text(&process(3), value), shaper(&["memory"], None));
        let (mut whole, mut pushed) = (Scrapes::new(&shaper, false), Scrapes::new(&shaper, true));
        for value in 0..240 {
            let (expect, _) = whole.scrape(&page(value), &flink);
            let (sent, is_pushed) = pushed.scrape(&page(value), server);
            assert!(!is_pushed);
            assert_eq!(sent, expect);
        }
        assert_eq!(pushed.pushdown.state(), PushdownState::Whole(Whole::Ignored));
        assert!(pushed.requests - whole.requests <= 2, "{} requests", pushed.requests);
    }
}

#[test]
fn a_refusal_counts_when_the_whole_page_comes() {
    let mut scrapes = Scrapes::new(&shaper(&["memory"], None), true);
    let page = text(&process(3), 1);
    scrapes.scrape(&page, &flink);
    scrapes.pushdown.refused();
    scrapes.pushdown.forget();
    scrapes.scrape(&page, &flink);
    assert!(scrapes.asks().is_some(), "the process was another one");
    scrapes.pushdown.refused();
    let census = {
        scrapes.page.seen.census = scrapes.pushdown.census(scrapes.now);
        scrapes.fetch(&page, None, &flink);
        scrapes.page.seen.census.take().unwrap()
    };
    scrapes.pushdown.learn(&census, page.len() as u64, Role::TaskManager, scrapes.now);
    assert_eq!(scrapes.pushdown.state(), PushdownState::Whole(Whole::Refused));
    let later = scrapes.now + REFUSED_FOR;
    assert!(scrapes.pushdown.census(later - INTERVAL).is_none());
    assert!(scrapes.pushdown.census(later).is_some());
}

#[test]
fn pages_that_stay_whole() {
    let check = |groups: &[&str], page: &str, expect: PushdownState| {
        let mut scrapes = Scrapes::new(&shaper(groups, None), true);
        scrapes.scrape(page, &flink);
        assert_eq!(scrapes.pushdown.state(), expect, "{groups:?}");
        assert_eq!(scrapes.asks(), None);
    };
    let all: Vec<_> = GroupFilter::default().groups().map(crate::flink::Group::as_str).collect();
    let page = text(&process(3), 1);
    check(&all, &page, PushdownState::Off);
    let most: Vec<_> = all.iter().copied().filter(|group| *group != "cpu").collect();
    check(&most, &page, PushdownState::Whole(Whole::Little));
    // A small page.
    check(&["memory"], &text(&process(0), 1), PushdownState::Whole(Whole::Little));
    let untyped = page.lines().filter(|line| !line.starts_with('#'));
    let untyped = untyped.collect::<Vec<_>>().join("\n");
    check(&["memory"], &untyped, PushdownState::Whole(Whole::Foreign));
    let foreign = page.replace("flink_taskmanager_", "other_");
    check(&["memory"], &foreign, PushdownState::Whole(Whole::Foreign));
    let many: String = (0..400)
        .map(|i| {
            let name = format!("flink_taskmanager_job_task_operator_my_metric_number_{i}");
            let line = text(&[(7, [(1, 1)].into())].into(), i);
            line.replace(FAMILIES[7].0, &name)
        })
        .collect();
    check(&["custom"], &(many + &text(&process(250), 1)), PushdownState::Whole(Whole::TooMany));
}

#[test]
fn parameters_with_names_are_the_users() {
    let mut pushdown = Pushdown::new(7, shaper(&["memory"], None));
    let now = Instant::now();
    let mut check = |params: Option<&str>, expect: bool| {
        pushdown.set(true, params);
        assert_eq!(pushdown.census(now).is_some(), expect, "{params:?}");
    };
    check(None, true);
    check(Some("a=b&name=x"), true);
    check(Some("a=b&name[]=x"), false);
    check(Some("name%5B%5D=x"), false);
    check(None, true);
    pushdown.set(false, None);
    assert!(pushdown.census(now).is_none());
}

/// The property below compares something.
#[test]
fn most_pages_of_a_history_come_by_name() {
    for groups in GROUPS {
        let mut scrapes = Scrapes::new(&shaper(groups, None), true);
        let is_pushed = |value| scrapes.scrape(&text(&everything(), value), &flink).1;
        let pushed = (0..20).map(is_pushed).filter(|&is_pushed| is_pushed).count();
        assert!(pushed >= 17, "{groups:?}: {pushed}, {:?}", scrapes.pushdown.state());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The same samples, markers, jobs and role at each scrape, where a family whose name nobody has seen counts
    /// from the first whole page on; and that comes in time.
    #[test]
    fn pages_by_name_come_to_the_same(
        shaper in settings(), pages in histories()) {
        let (mut whole, mut pushed) = (Scrapes::new(&shaper, false), Scrapes::new(&shaper, true));
        for (value, page) in (0..).zip(&pages) {
            let page = text(page, value);
            let asked = pushed.asks();
            let (sent, is_pushed) = pushed.scrape(&page, &flink);
            let found = match asked {
                Some(asked) if pushed.whole_at != pushed.now => {
                    prop_assert!(is_pushed);
                    only(&page, |name| asked.contains(name) || shaper.leaves_out(name, None))
                }
                _ => page,
            };
            let (found, _) = whole.scrape(&found, &flink);
            prop_assert_eq!(sent, found, "page {}", value);
            prop_assert!(pushed.now - pushed.whole_at <= WHOLE_EVERY + INTERVAL);
        }
    }
}
