//! What is remembered of a family is what would be found.

use std::{collections::BTreeSet, fs, sync::LazyLock};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    exposition::{self, Entry},
    labels::Labels,
    remote_write::v1,
    series::{Extra, Line, Shaper, View},
};

const NOW: i64 = 1_000;

fn tracker() -> Tracker {
    let view = View {
        max_samples_per_send: 2000,
        metadata_interval: None,
        external_labels: [("cluster".to_owned(), "eu".to_owned())].into(),
        write_relabel_configs: Vec::new(),
        limits: super::super::Limits::default(),
    };
    let shaper = Shaper { views: Arc::from([view]), ..Shaper::plain() };
    let mut tracker = Tracker::new(Arc::new(shaper), Labels::new());
    tracker.begin();
    tracker
}

/// One line of a page; how a scrape reads it.
fn read(tracker: &mut Tracker, text: &str) {
    match exposition::parse(text.as_bytes(), &exposition::Limits::default()) {
        Ok(Entry::Help { name, text }) => tracker.observe_help(name, &text),
        Ok(Entry::Type { name, kind }) => tracker.observe_type(name, kind),
        // What is wrong with a line is told by the tally.
        _ => drop(tracker.observe(text.as_bytes(), NOW)),
    }
}

/// All that is known of the lines of a page, and what is sent for it.
fn known(mut tracker: Tracker) -> Vec<String> {
    let tally = tracker.close(NOW);
    let mut known = vec![format!("{tally:?}")];
    known.extend(tracker.samples_by_group(0).map(|(group, block, _, value)| {
        format!("{group:?} {} {value}", v1::decode_labels(block).unwrap())
    }));
    known.extend(tracker.lines.iter().map(|(at, line)| {
        let (&Line { group, no_value, .. }, fate) = (line, line.fate());
        let (Extra { name, feed, .. }, stands_back) = (tracker.extra_of(line), line.stands_back());
        format!("{at} {fate:?} {group} {name} {stands_back} {no_value} {}", feed.is_some())
    }));
    let series = tracker.series.iter();
    known.extend(series.map(|(at, series)| format!("{at} {:?}", tracker.abouts.get(series.about))));
    known
}

/// Comments and samples of real pages, and such as are made to be mistaken for one another.
static LINES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut lines: Vec<String> = Vec::new();
    for page in ["2.3.0/taskmanager-2.prom", "2.3.0/jobmanager.prom"] {
        let text = fs::read_to_string(format!("tests/pages/{page}")).unwrap();
        let mut names = BTreeSet::new();
        let name = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
        // Of each family the comments and two samples.
        let comments = text.lines().filter(|line| line.starts_with('#')).map(str::to_owned);
        lines.extend(comments);
        let samples = || text.lines().filter(|line| !line.starts_with('#'));
        lines.extend(samples().filter(|line| names.insert(name(line))).map(str::to_owned));
        lines.extend(samples().rev().filter(|line| names.remove(&name(line))).map(str::to_owned));
    }
    let latency = "flink_taskmanager_job_task_operator_my_stateClearLatency";
    lines.extend([
        format!("# HELP {latency} my_stateClearLatency (scope: taskmanager_job_task_operator)"),
        format!("# HELP {latency} stateClearLatency (scope: taskmanager_job_task_operator_my)"),
        format!("# HELP {latency} "),
        format!("# TYPE {latency} summary"),
        format!("# TYPE {latency} gauge"),
        format!("{latency}{{quantile=\"0.5\"}} NaN"),
        format!("{latency}{{a=\"1\"}} 1"),
        format!("{latency}_count{{a=\"1\"}} 1"),
        "# HELP mine Mine.".to_owned(),
        "# HELP mine Yours.".to_owned(),
        "# TYPE mine summary".to_owned(),
        "# TYPE mine untyped".to_owned(),
        "mine{quantile=\"0.5\"} NaN".to_owned(),
        "mine{quantile=\"0.9\"} 1".to_owned(),
        "mine 1".to_owned(),
        "mine_count 1".to_owned(),
    ]);
    lines
});

/// Where on [`LINES`] a page goes: runs of neighbours, now and then from one place to another.
fn page() -> impl Strategy<Value = Vec<usize>> {
    let run = (any::<prop::sample::Index>(), 1..6_usize, 1..4_usize);
    vec(run, 1..40).prop_map(|runs| {
        let lines = |(from, len, times): (prop::sample::Index, usize, usize)| {
            let from = from.index(LINES.len());
            let run = (from..LINES.len()).take(len);
            (0..times).flat_map(move |_| run.clone())
        };
        runs.into_iter().flat_map(lines).collect()
    })
}

/// As [`read`], but comments are kept until a new line asks for them, now and then one not.
fn read_late(tracker: &mut Tracker, text: &str, at: usize) {
    let skimmed = exposition::skim(text.as_bytes()).filter(|_| at % 5 != 4);
    let is_taken =
        skimmed.is_some_and(|skimmed| tracker.observe_comment(text.as_bytes(), skimmed.family));
    if !is_taken {
        read(tracker, text);
    }
}

fn check(page: impl Iterator<Item = usize>) {
    let [mut remembers, mut forgets, mut late] = [tracker(), tracker(), tracker()];
    for (place, at) in page.enumerate() {
        read(&mut remembers, &LINES[at]);
        forgets.comments.families.clear();
        read(&mut forgets, &LINES[at]);
        read_late(&mut late, &LINES[at], place);
    }
    let expect = known(forgets);
    assert_eq!(known(remembers), expect);
    assert_eq!(known(late), expect);
}

proptest! {
    #[test]
    fn what_is_remembered_is_what_would_be_found(page in page()) {
        check(page.into_iter());
    }
}

/// The lines that differ by their comments alone, in many orders.
#[test]
fn comments_have_their_say_each_time() {
    let made = LINES.len() - 16..LINES.len();
    for start in made.clone() {
        for stride in 1..16 {
            let at = |i: usize| made.start + (start - made.start + i * stride) % 16;
            check((0..32).map(at));
        }
    }
}

#[test]
fn comments_that_wait_are_bounded() {
    let mut tracker = tracker();
    let mut taken = 0;
    let mut help = String::new();
    while tracker.observe_comment(help_of("a", &mut help, taken).as_bytes(), b"a") {
        taken += 1;
        assert!(taken < 1_000, "what waits is bounded");
    }
    assert!(taken > 10, "several wait");
    read(&mut tracker, &help);
    assert_eq!(&*tracker.family("a").about.help, format!("{taken} is said here."));
    // The next family has all the room again, but not for a text that is longer than that.
    assert!(tracker.observe_comment(b"# HELP b B.", b"b"));
    assert!(!tracker.observe_comment(&[b"# HELP c ", &*vec![b'c'; 1 << 13]].concat(), b"c"));
    assert_eq!(&*tracker.family("b").about.help, "", "nothing stands above it but c's");
}

fn help_of<'a>(family: &str, text: &'a mut String, number: i32) -> &'a str {
    *text = format!("# HELP {family} {number} is said here.");
    text
}

#[test]
fn two_names_that_take_turns_are_both_remembered() {
    let mut tracker = tracker();
    let [summary, count] = ["flink_taskmanager_job_latency", "flink_taskmanager_job_latency_count"];
    let [first, second] = [summary, count].map(|name| tracker.family(name));
    for _ in 0..3 {
        assert!(Arc::ptr_eq(&first, &tracker.family(summary)));
        assert!(Arc::ptr_eq(&second, &tracker.family(count)));
    }
    tracker.family("another");
    assert!(!Arc::ptr_eq(&first, &tracker.family(summary)), "two are remembered, not more");
    let third = tracker.family(count);
    tracker.observe_help("something", "else");
    assert!(!Arc::ptr_eq(&third, &tracker.family(count)));
}
