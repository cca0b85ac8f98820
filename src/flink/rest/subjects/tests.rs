//! The life of names on a target: given once, kept, never two series into one.

use proptest::prelude::*;

use super::*;
use crate::flink::rest::{Ask, Cluster};

const TASK_METRIC: &str = "flink_taskmanager_job_task_operator_x";
const PROCESS_METRIC: &str = "flink_taskmanager_Status_x";

/// A job as id, name and tasks; a task as id and name.
type Told<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// What one cluster tells.
fn names(jobs: &[Told<'_>], task_managers: &[&str]) -> Arc<Names> {
    names_with(jobs, task_managers, &[])
}

/// The same; of these jobs it tells that they are over.
fn names_with(jobs: &[Told<'_>], task_managers: &[&str], ended: &[&str]) -> Arc<Names> {
    let mut cluster = Cluster::default();
    let row = |(id, name, _): &Told<'_>| {
        let state = if ended.contains(id) { "FINISHED" } else { "RUNNING" };
        serde_json::json!({"jid": id, "name": name, "state": state})
    };
    let rows: Vec<_> = jobs.iter().map(row).collect();
    let take = |cluster: &mut Cluster, ask: Ask, body: serde_json::Value| {
        cluster.take(&ask, body.to_string().as_bytes()).unwrap();
    };
    take(&mut cluster, Ask::Overview, serde_json::json!({"jobs": rows}));
    for (id, _, tasks) in jobs {
        let tasks: Vec<_> =
            tasks.iter().map(|(id, name)| serde_json::json!({"id": id, "name": name})).collect();
        let body = serde_json::json!({"jid": id, "vertices": tasks});
        take(&mut cluster, Ask::Job((*id).into()), body);
    }
    let tms: Vec<_> = task_managers.iter().map(|id| serde_json::json!({"id": id})).collect();
    take(&mut cluster, Ask::TaskManagers, serde_json::json!({"taskmanagers": tms}));
    Arc::new(Names::new([Arc::new(cluster)]))
}

type Line = (&'static str, Vec<(&'static str, String)>);

fn line(name: &'static str, labels: &[(&'static str, &str)]) -> Line {
    (name, labels.iter().map(|&(name, value)| (name, value.to_owned())).collect())
}

/// A target: the subjects and the lines that are known, as the tracker keeps them.
#[derive(Default)]
struct Page {
    subjects: Subjects,
    known: BTreeMap<Line, (SubjectId, String)>,
}

impl Page {
    /// Reads a page, once more at most, as a scrape does, and returns its lines as they are sent.
    fn read(&mut self, names: &Arc<Names>, lines: &[Line]) -> Vec<String> {
        for look in [1, 2] {
            let changed = self.subjects.adopt(names);
            self.forget(|_, subject| changed.contains(&subject));
            let before: BTreeSet<Line> = self.known.keys().cloned().collect();
            for line in lines {
                self.line(line);
            }
            if look == 2 || !self.subjects.wants_another_look() {
                break;
            }
            self.forget(|line, _| !before.contains(line));
            self.subjects.sweep();
        }
        self.forget(|line, _| !lines.contains(line));
        self.subjects.end_page();
        lines.iter().map(|line| self.known[line].1.clone()).collect()
    }

    fn line(&mut self, line: &Line) {
        if self.known.contains_key(line) {
            return;
        }
        let pairs = line.1.iter().map(|(name, value)| (*name, value.as_str()));
        let subject = self.subjects.enter(line.0, pairs.clone());
        let mut labels: Labels<'_> = [("__name__", line.0)].into_iter().chain(pairs).collect();
        self.subjects.give_back(subject, &mut labels);
        self.subjects.add_line(subject);
        labels.sort();
        self.known.insert(line.clone(), (subject, labels.to_string()));
    }

    fn forget(&mut self, which: impl Fn(&Line, SubjectId) -> bool) {
        self.known.retain(|line, (subject, _)| {
            let gone = which(line, *subject);
            if gone {
                self.subjects.drop_line(*subject);
            }
            !gone
        });
    }
}

fn task_line(job: &str, job_name: &str) -> Line {
    let ids = [("tm_id", "tm_1"), ("job_id", job), ("job_name", job_name)];
    let task = [("task_id", "t"), ("task_name", "A_1____B"), ("operator_name", "A_1")];
    line(TASK_METRIC, &[&ids[..], &task].concat())
}

fn process_line() -> Line {
    line(PROCESS_METRIC, &[("tm_id", "tm_1")])
}

const TASKS: &[(&str, &str)] = &[("t", "A-1 -> B")];

#[test]
fn names_are_given_back() {
    let names = names(&[("1", "日志 x", TASKS)], &["tm-1"]);
    let sent = Page::default().read(&names, &[process_line(), task_line("1", "___x")]);
    insta::assert_snapshot!(sent.join("\n"), @r#"
    flink_taskmanager_Status_x{job_id="1",job_name="日志 x",tm_id="tm-1"}
    flink_taskmanager_job_task_operator_x{job_id="1",job_name="日志 x",operator_name="A-1",task_id="t",task_name="A-1 -> B",tm_id="tm-1"}
    "#);
}

#[test]
fn nothing_is_touched_that_rest_does_not_explain() {
    let unknown = names(&[], &[]);
    let known = names(&[("1", "日志 x", TASKS)], &["tm-1"]);
    let as_it_is = |line: &Line| {
        let pairs = line.1.iter().map(|(name, value)| (*name, value.as_str()));
        let mut labels: Labels<'_> = [("__name__", line.0)].into_iter().chain(pairs).collect();
        labels.sort();
        labels.to_string()
    };
    let check = |names: &Arc<Names>, line: Line| {
        assert_eq!(Page::default().read(names, std::slice::from_ref(&line)), [as_it_is(&line)]);
    };
    check(&unknown, task_line("1", "___x"));
    check(&unknown, process_line());
    // Another job of another cluster; values under wrong labels; metrics of other software.
    check(&known, line("flink_jobmanager_job_x", &[("job_id", "1"), ("job_name", "payments")]));
    check(&known, line("flink_jobmanager_job_x", &[("job_id", "___x"), ("job_name", "1")]));
    check(&known, line("other_x", &[("job_id", "1"), ("job_name", "___x"), ("tm_id", "tm_1")]));
    check(&known, line("flink_job_info", &[("job_id", "1"), ("job_name", "___x")]));
}

#[test]
fn names_come_once_and_stay() {
    let (none, some) = (names(&[], &[]), names(&[("1", "j-1", TASKS)], &["tm-1"]));
    let lines = [process_line(), task_line("1", "j_1")];
    let mut page = Page::default();
    let before = page.read(&none, &lines);
    assert!(before[1].contains("job_name=\"j_1\""), "{}", before[1]);
    let wants = page.subjects.wants().clone();
    let expected = [
        Want::Job("1".into()),
        Want::Task("1".into(), "t".into()),
        Want::TaskManager("tm_1".into()),
    ];
    assert_eq!(wants, expected.into());
    assert!(page.subjects.new_wants().is_empty(), "nobody waits a second time");

    let after = page.read(&some, &lines);
    assert!(after[0].contains("job_name=\"j-1\"") && after[1].contains("job_name=\"j-1\""));
    assert!(page.subjects.wants().is_empty());
    // REST forgets the job, or says something else: what runs keeps its names, new lines of it too.
    for later in [none, names(&[("1", "j.1", &[("t", "A+1 -> B")])], &["tm.1"])] {
        assert_eq!(page.read(&later, &lines), after);
        let mut more = lines.to_vec();
        more.push(line(
            "flink_taskmanager_job_task_y",
            &more[1].1[..5].iter().map(|(n, v)| (*n, &**v)).collect::<Vec<_>>(),
        ));
        let sent = page.read(&later, &more);
        assert_eq!(sent[..2], after);
        assert!(sent[2].contains("job_name=\"j-1\""), "{}", sent[2]);
    }
}

#[test]
fn what_is_wanted_is_told_again_only_when_it_has_changed() {
    let (none, some) = (names(&[], &[]), names(&[("1", "j-1", TASKS)], &["tm-1"]));
    let mut page = Page::default();
    page.read(&none, &[process_line(), task_line("1", "j_1")]);
    let wants = page.subjects.wants().clone();
    assert_eq!(page.subjects.untold_wants(), Some(&wants));
    assert_eq!(page.subjects.untold_wants(), None, "it is told");

    page.read(&none, &[process_line(), task_line("1", "j_1"), task_line("2", "j_2")]);
    assert_eq!(page.subjects.tell_wants().len(), wants.len() + 2, "a job and its task are new");
    assert_eq!(page.subjects.untold_wants(), None, "it was told in any case");
    page.read(&some, &[process_line(), task_line("1", "j_1")]);
    assert_eq!(page.subjects.untold_wants(), Some(&[].into()), "all of it was explained");
}

#[test]
fn a_process_bears_the_name_of_its_only_job() {
    let jobs = [("1", "j-1", TASKS), ("2", "j-2", TASKS)];
    let mut names = names(&jobs, &["tm-1"]);
    let mut page = Page::default();
    let read = |page: &mut Page, names: &Arc<Names>, lines: &[Line]| {
        page.read(names, lines);
        page.read(names, lines)[0].clone()
    };
    let of = |page: &mut Page, lines: &[Line]| read(page, &names, lines);
    let (own, one, two) = (process_line(), task_line("1", "j_1"), task_line("2", "j_2"));
    let (none, first, second) = (
        "flink_taskmanager_Status_x{tm_id=\"tm-1\"}",
        "flink_taskmanager_Status_x{job_id=\"1\",job_name=\"j-1\",tm_id=\"tm-1\"}",
        "flink_taskmanager_Status_x{job_id=\"2\",job_name=\"j-2\",tm_id=\"tm-1\"}",
    );
    let alone = std::slice::from_ref(&own);
    assert_eq!(of(&mut page, alone), none);
    assert_eq!(of(&mut page, &[own.clone(), one.clone()]), first);
    assert!(page.subjects.wants().is_empty());
    assert_eq!(of(&mut page, alone), first, "it restarts");
    let end = Want::End { job: "1".into(), tm: "tm_1".into(), time: 1 };
    assert_eq!(*page.subjects.wants(), [end].into(), "or is it over?");
    assert_eq!(of(&mut page, &[own.clone(), one.clone()]), first);
    assert_eq!(of(&mut page, alone), first);
    names = names_with(&jobs, &["tm-1"], &["1"]);
    assert_eq!(read(&mut page, &names, alone), none, "it is over");
    assert!(page.subjects.wants().is_empty());
    assert_eq!(read(&mut page, &names, &[own.clone(), two.clone()]), second);
    assert_eq!(read(&mut page, &names, &[own.clone(), one, two.clone()]), none);
    assert_eq!(read(&mut page, &names, &[own.clone(), two]), none, "it is shared, and stays so");
}

#[test]
fn a_job_without_a_true_name_names_no_process() {
    let names = names(&[], &["tm-1"]);
    let sent = Page::default().read(&names, &[process_line(), task_line("1", "j_1")]);
    assert_eq!(sent[0], "flink_taskmanager_Status_x{tm_id=\"tm-1\"}");
}

#[test]
fn two_spellings_on_one_page_keep_it_as_it_is() {
    let names = names(&[("1", "j-1", TASKS)], &["tm-1"]);
    let filtered = line(PROCESS_METRIC, &[("tm_id", "tm_1")]);
    let unfiltered = line(PROCESS_METRIC, &[("tm_id", "tm-1")]);
    for lines in [[filtered.clone(), unfiltered.clone()], [unfiltered, filtered]] {
        let sent: BTreeSet<_> = Page::default().read(&names, &lines).into_iter().collect();
        let expected = ["tm-1", "tm_1"].map(|tm| format!("{PROCESS_METRIC}{{tm_id=\"{tm}\"}}"));
        assert_eq!(sent, expected.into());
    }
}

#[test]
fn a_standby_is_not_the_leader() {
    let names = names(&[], &[]);
    let jvm = line("flink_jobmanager_Status_JVM_CPU_Load", &[("host", "h")]);
    let jobs = line("flink_jobmanager_numRunningJobs", &[("host", "h")]);
    let mut page = Page::default();
    page.read(&names, std::slice::from_ref(&jvm));
    assert!(!page.subjects.is_leader());
    page.read(&names, &[jvm.clone(), jobs]);
    assert!(page.subjects.is_leader());
    page.read(&names, &[jvm]);
    assert!(!page.subjects.is_leader(), "it has lost the lead");
}

/// Few names, all of them equal once the reporter has written them.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a.b", "a-b", "a_b"]).prop_map(str::to_owned)
}

fn any_line() -> impl Strategy<Value = Line> {
    let metric = prop::sample::select(vec![TASK_METRIC, PROCESS_METRIC, "flink_jobmanager_job_x"]);
    let spelling = any::<bool>();
    (metric, spelling, [name(), name(), name(), name()], 0..2u8, 0..2u8, 0..4u8).prop_map(
        |(metric, filtered, [tm, job_name, task, operator], job, task_id, with)| {
            let spell =
                |name: &str| if filtered { spelling::sanitise(name) } else { name.to_owned() };
            let mut labels = vec![("tm_id", spell(&tm))];
            if with > 0 {
                labels.push(("job_id", job.to_string()));
                labels.push(("job_name", spell(&job_name)));
            }
            if with > 1 {
                labels.push(("task_id", task_id.to_string()));
                labels.push(("task_name", spell(&format!("{task} -> {operator}"))));
            }
            if with > 2 {
                labels.push(("operator_name", spell(&operator)));
            }
            (metric, labels)
        },
    )
}

fn any_names() -> impl Strategy<Value = Arc<Names>> {
    let tasks = prop::collection::vec((name(), name()), 0..3);
    let jobs = prop::collection::vec((name(), tasks), 0..3);
    (jobs, prop::collection::vec(name(), 0..4)).prop_map(|(jobs, tms)| {
        let tasks: Vec<Vec<(String, String)>> = jobs
            .iter()
            .map(|(_, tasks)| {
                let chains = tasks.iter().enumerate();
                chains.map(|(id, (a, b))| (id.to_string(), format!("{a} -> {b}"))).collect()
            })
            .collect();
        let tasks: Vec<Vec<(&str, &str)>> = tasks
            .iter()
            .map(|tasks| tasks.iter().map(|(id, name)| (&**id, &**name)).collect())
            .collect();
        let ids = ["0", "1", "2"];
        let jobs: Vec<_> = jobs
            .iter()
            .zip(&tasks)
            .zip(ids)
            .map(|(((name, _), tasks), id)| (id, &**name, &**tasks))
            .collect();
        names(&jobs, &tms.iter().map(|tm| &**tm).collect::<Vec<_>>())
    })
}

proptest! {
    #[test]
    fn two_series_of_a_page_never_become_one(
        lines in prop::collection::btree_set(any_line(), 1..12),
        told in prop::collection::vec(any_names(), 1..4),
    ) {
        let lines: Vec<Line> = lines.into_iter().collect();
        let mut page = Page::default();
        for names in &told {
            let sent = page.read(names, &lines);
            let distinct: BTreeSet<_> = sent.iter().collect();
            prop_assert_eq!(distinct.len(), lines.len(), "{:#?}", sent);
        }
    }

    #[test]
    fn labels_change_once_at_most(
        lines in prop::collection::btree_set(any_line(), 1..8),
        told in prop::collection::vec(any_names(), 1..6),
    ) {
        // Jobs' own series: a process's may also change with the jobs on it.
        let lines: Vec<Line> = lines.into_iter().filter(|(name, _)| *name != PROCESS_METRIC).collect();
        let mut page = Page::default();
        let mut changes = vec![BTreeMap::<&str, BTreeSet<String>>::new(); lines.len()];
        for names in &told {
            let sent = page.read(names, &lines);
            if page.subjects.two_spellings {
                return Ok(());
            }
            for (sent, changes) in sent.iter().zip(&mut changes) {
                for (label, _) in lines.iter().flat_map(|(_, labels)| labels) {
                    let value = sent.split_once(&format!("{label}=\"")).map_or("", |(_, rest)| rest);
                    let value = value.split('"').next().unwrap_or_default().to_owned();
                    changes.entry(label).or_default().insert(value);
                }
            }
        }
        for changes in &changes {
            prop_assert!(changes.values().all(|values| values.len() <= 2), "{changes:?}");
        }
    }
}

#[test]
fn jobs_that_come_and_go_leave_nothing_behind() {
    let mut page = Page::default();
    let none = names(&[], &[]);
    for job in 0..50 {
        let id = job.to_string();
        page.read(&none, &[process_line(), task_line(&id, "j"), task_line("1000", "stays")]);
    }
    page.read(&none, &[process_line(), task_line("1000", "stays")]);
    let Subjects { subjects, index, spellings, .. } = &page.subjects;
    assert_eq!((subjects.len(), index.len(), spellings.len()), (2, 2, 2));
}
