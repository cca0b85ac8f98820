//! Pages whose comments are known come to what they come to when each comment is read.

use std::time::Instant;

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::{
    flink::GroupFilter,
    labels::Labels,
    remote_write::{body, v2},
    scrape::pushdown::Census,
    series::{Numbered, View},
};

const NOW: i64 = 1_000;

/// Comments and samples that are made to be mistaken for one another, faulty ones among them. Values are appended.
const LINES: [&str; 40] = [
    "# HELP a A.",
    "# HELP a Another.",
    "# HELP a ",
    "# TYPE a counter",
    "# TYPE a gauge",
    "a{x=\"1\"} 1",
    "a{x=\"2\"} 2",
    "# HELP b B.",
    "# TYPE b summary",
    "# TYPE b untyped",
    "b{quantile=\"0.5\"} NaN",
    "b{quantile=\"0.9\"} 3",
    "b_count 4",
    "# HELP a_count A's.",
    "# TYPE a_count histogram",
    "a_count 5",
    "# HELP ab A and b.",
    "ab 6",
    "#  HELP a Blanks.",
    "# TYPE  a  counter",
    " # TYPE b gauge",
    "# TYPE a\tcounter \t",
    "# HELP b\tTab.\\n",
    "# something else",
    "#",
    "# HELP",
    "# TYPE a",
    "# TYPE a Gauge",
    "# TYPE 1 gauge",
    "# HELP a-b c",
    "not a sample",
    "",
    "# HELP flink_taskmanager_job_task_operator_my_stateClearLatency my_stateClearLatency (scope: taskmanager_job_task_operator)",
    "# HELP flink_taskmanager_job_task_operator_my_stateClearLatency stateClearLatency (scope: taskmanager_job_task_operator_my)",
    "# TYPE flink_taskmanager_job_task_operator_my_stateClearLatency summary",
    "flink_taskmanager_job_task_operator_my_stateClearLatency{job_id=\"j\",quantile=\"0.5\"} NaN",
    "flink_taskmanager_job_task_operator_my_stateClearLatency_count{job_id=\"j\"} 7",
    "# TYPE flink_jobmanager_numRunningJobs gauge",
    "flink_jobmanager_numRunningJobs 8",
    "flink_k8soperator_x 9",
];

/// One target, whose comments are known from the page before or not.
struct Target {
    page: Page,
    tracker: Tracker,
    shaper: Arc<Shaper>,
    is_plain: bool,
}

/// How a page is read.
#[derive(Clone, Copy, Debug)]
struct How {
    bytes_of_chunk: usize,
    with_families: bool,
    is_counted: bool,
    is_good: bool,
    is_crlf: bool,
}

const WHOLE: How = How {
    bytes_of_chunk: 1 << 20,
    with_families: false,
    is_counted: false,
    is_good: true,
    is_crlf: false,
};

impl Target {
    fn new(is_plain: bool) -> Self {
        let view = View {
            max_samples_per_send: 1000,
            metadata_interval: None,
            external_labels: [].into(),
            write_relabel_configs: Vec::new(),
            limits: crate::series::Limits::default(),
        };
        let groups = GroupFilter::try_new(&[], &["cluster".to_owned()]).unwrap();
        let shaper = Arc::new(Shaper { groups, views: Arc::from([view]), ..Shaper::plain() });
        let page = Page::new(1 << 20, 0, &shaper);
        let tracker = Tracker::new(Arc::clone(&shaper), Labels::new());
        Self { page, tracker, shaper, is_plain }
    }

    fn begin(&mut self, how: How) {
        if self.is_plain {
            self.page.comments.forget();
        }
        self.tracker.begin();
        self.page.begin(how.with_families, NOW);
        self.page.seen.census = how.is_counted.then(|| Census::new(Arc::clone(&self.shaper)));
    }

    /// All that a page came to, in words.
    fn scrape(&mut self, text: &str, how: How) -> Vec<String> {
        self.begin(how);
        let text = if how.is_crlf { text.replace('\n', "\r\n") } else { text.to_owned() };
        for chunk in text.as_bytes().chunks(how.bytes_of_chunk) {
            self.page.feed(chunk, &mut self.tracker).unwrap();
        }
        let mut came = vec![format!("{:?}", self.page.finish(&mut self.tracker))];
        let mut points = Vec::new();
        if how.is_good {
            came.push(format!("{:?}", self.tracker.close(NOW)));
            let mut symbols = v2::Symbols::default();
            self.tracker.number(&mut symbols);
            let mut encoder = v2::Encoder::new(&symbols, 1000);
            for Numbered { series, timestamp_ms, value, start_ms } in self.tracker.numbered(0) {
                encoder.push(&series, value, timestamp_ms, start_ms);
            }
            let fragments = encoder.finish(Instant::now());
            points = v2::read(&body(fragments.iter())).unwrap();
            self.tracker.forget_numbers();
            self.tracker.forget_stale();
        } else {
            self.tracker.abort();
        }
        came.extend(points.iter().map(|point| format!("{point:?}")));
        came.extend(self.page.families.used().map(|family| format!("{family:?}")));
        came.extend(self.page.faults().iter().map(BadLine::to_string));
        came.push(format!("{} {:?}", self.page.faults_total(), self.page.role()));
        came.push(format!("{:?}", self.page.seen.present));
        if let Some(census) = &self.page.seen.census {
            came.push(format!("{:?} {}", census.take(), census.is_typed()));
        }
        self.tracker.rest();
        self.page.rest();
        came
    }
}

/// What a page has that the one before had not, or not there.
#[derive(Clone, Debug)]
enum Change {
    Insert(Index, usize),
    Remove(Index),
    Replace(Index, usize),
    Swap(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let line = || 0..LINES.len();
    prop_oneof![
        3 => (any::<Index>(), line()).prop_map(|(at, line)| Change::Insert(at, line)),
        2 => any::<Index>().prop_map(Change::Remove),
        1 => (any::<Index>(), line()).prop_map(|(at, line)| Change::Replace(at, line)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Change::Swap(a, b)),
    ]
}

impl Change {
    fn apply(&self, page: &mut Vec<usize>) {
        let len = page.len();
        match self {
            Self::Insert(at, line) => page.insert(at.index(len + 1), *line),
            _ if page.is_empty() => {}
            Self::Remove(at) => drop(page.remove(at.index(len))),
            Self::Replace(at, line) => page[at.index(len)] = *line,
            Self::Swap(a, b) => page.swap(a.index(len), b.index(len)),
        }
    }
}

fn how() -> impl Strategy<Value = How> {
    let sizes = prop_oneof![Just(1 << 20), 1..80_usize];
    let one_in = |n| prop::bool::weighted(1.0 / f64::from(n));
    (sizes, one_in(4), one_in(4), one_in(6), one_in(4)).prop_map(
        |(bytes_of_chunk, with_families, is_counted, is_bad, is_crlf)| How {
            bytes_of_chunk,
            with_families,
            is_counted,
            is_good: !is_bad,
            is_crlf,
        },
    )
}

fn text(page: &[usize]) -> String {
    page.iter().map(|&line| format!("{}\n", LINES[line])).collect()
}

proptest! {
    #[test]
    fn known_comments_come_to_what_comments_come_to(
        first in vec(0..LINES.len(), 0..60),
        pages in vec((vec(change(), 0..4), how()), 1..8),
    ) {
        let (mut warm, mut plain) = (Target::new(false), Target::new(true));
        let mut page = first;
        for (changes, how) in pages {
            changes.iter().for_each(|change| change.apply(&mut page));
            let text = text(&page);
            prop_assert_eq!(warm.scrape(&text, how), plain.scrape(&text, how), "{:?} {}", how, text);
        }
    }
}

/// Whether the line is taken without being read; the page goes on behind it either way.
fn is_taken(target: &mut Target, line: &str) -> bool {
    let (_, mut reading) = target.page.reading(&mut target.tracker);
    let is_taken = reading.take_known(line.as_bytes());
    if !is_taken {
        reading.read(Ok(Line { bytes: line.as_bytes(), number: 1, offset: 0 }));
    }
    is_taken
}

#[test]
fn a_comment_that_stood_there_before_is_not_read() {
    let page = ["# HELP a A.", "# TYPE a gauge", "# HELP b B.", "# TYPE b gauge", "b 1"];
    let check = |target: &mut Target, how: How, page: &[&str], expect: &[bool]| {
        target.begin(how);
        let taken: Vec<bool> = page.iter().map(|line| is_taken(target, line)).collect();
        assert_eq!(taken, expect, "{page:?} {how:?}");
        target.tracker.close(NOW);
        target.page.rest();
    };
    let mut target = Target::new(false);
    let known = [true, true, true, true, false];
    check(&mut target, WHOLE, &page, &[false; 5]);
    check(&mut target, WHOLE, &page, &known);
    // Who wants to know what they say has them read, and they are known all the same.
    check(&mut target, How { with_families: true, ..WHOLE }, &page, &[false; 5]);
    check(&mut target, How { is_counted: true, ..WHOLE }, &page, &[false; 5]);
    check(&mut target, WHOLE, &page, &known);
    // One that is another is read, and known from then on.
    let other = ["# HELP a A.", "# TYPE a counter", "# HELP b B.", "# TYPE b gauge", "b 1"];
    check(&mut target, WHOLE, &other, &[true, false, true, true, false]);
    check(&mut target, WHOLE, &other, &known);
    // What a page did not have is not known on the next one, unless it had nothing at all.
    check(&mut target, WHOLE, &["# HELP a A.", "b 1"], &[true, false]);
    check(&mut target, WHOLE, &[], &[]);
    check(&mut target, WHOLE, &other, &[true, false, false, false, false]);
    // A bad one is read each time, and those below it are known.
    let bad = ["# TYPE a strange", "# HELP a A.", "#", "b 1"];
    check(&mut target, WHOLE, &bad, &[false, true, false, false]);
    check(&mut target, WHOLE, &bad, &[false, true, false, false]);
}

#[test]
fn a_new_line_below_known_comments_has_what_they_say() {
    let mut target = Target::new(false);
    let page = "# HELP a A.\n# TYPE a counter\na{x=\"1\"} 1\n# HELP b B.\n# TYPE b summary\n";
    target.scrape(page, WHOLE);
    let more = page.replace("# HELP b", "a{x=\"2\"} 2\n# HELP b") + "b_count 3\n";
    let came = target.scrape(&more, WHOLE).join("\n");
    assert_eq!(came.matches("kind: Counter, help: \"A.\"").count(), 2, "{came}");
    assert_eq!(came.matches("kind: Summary, help: \"B.\"").count(), 1, "{came}");
}

#[test]
fn faults_of_comments_count_on_every_page() {
    let mut target = Target::new(false);
    let page = "# HELP a A.\n# TYPE a strange\n# HELP 1 x\na 1\n";
    let first = target.scrape(page, WHOLE);
    assert_eq!(target.page.faults_total(), 2);
    for _ in 0..3 {
        target.scrape(page, WHOLE);
        assert_eq!(target.page.faults_total(), 2);
    }
    assert_eq!(first.iter().filter(|line| line.starts_with("line ")).count(), 2, "{first:?}");
}
