//! What a cluster has told, what it is asked next, and which names follow from it.

use super::*;

const JOB: &str = "fb52f4de9dfd7179740c6c76776865ef";
const TASK: &str = "cbc357ccb763df2852fee8c4fc7d55f2";

fn overview(jobs: &[(&str, &str, &str, i64)]) -> String {
    let jobs = jobs.iter().map(|(id, name, state, modified)| {
        serde_json::json!({"jid": id, "name": name, "state": state, "start-time": 5, "last-modification": modified})
    });
    serde_json::json!({"jobs": jobs.collect::<Vec<_>>()}).to_string()
}

fn details(id: &str, tasks: &[(&str, &str)]) -> String {
    let vertices = tasks.iter().map(|(id, name)| {
        serde_json::json!({"id": id, "name": name, "parallelism": 2, "maxParallelism": 128, "start-time": 1000})
    });
    let vertices: Vec<_> = vertices.collect();
    serde_json::json!({"jid": id, "name": "-", "now": 20_000, "vertices": vertices}).to_string()
}

fn take(cluster: &mut Cluster, ask: Ask, body: &str) {
    cluster.take(&ask, body.as_bytes()).unwrap();
}

/// A job as id, name and tasks; a task as id and name.
type Told<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

fn cluster(jobs: &[Told<'_>]) -> Cluster {
    let mut cluster = Cluster::default();
    let rows: Vec<_> = jobs.iter().map(|(id, name, _)| (*id, *name, "RUNNING", 1)).collect();
    take(&mut cluster, Ask::Overview, &overview(&rows));
    for (id, _, tasks) in jobs {
        take(&mut cluster, Ask::Job((*id).into()), &details(id, tasks));
    }
    cluster
}

fn names(clusters: &[Cluster]) -> Names {
    Names::new(clusters.iter().cloned().map(Arc::new))
}

#[test]
fn a_poll_asks_for_what_is_needed_and_no_more() {
    let mut cluster = Cluster::default();
    assert_eq!(cluster.first_asks(), [Ask::Version, Ask::Overview]);
    take(&mut cluster, Ask::Version, r#"{"flink-version":"2.3.0","flink-revision":"r"}"#);
    assert_eq!(cluster.first_asks(), [Ask::Overview]);
    take(
        &mut cluster,
        Ask::Overview,
        &overview(&[(JOB, "n", "RUNNING", 1), ("other", "o", "RUNNING", 1)]),
    );

    let check = |cluster: &Cluster, wants: &[Want], info: bool, expected: &[&str]| {
        let asks = cluster.further_asks(wants, info);
        assert_eq!(asks.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    };
    let task = Want::Task(JOB.into(), TASK.into());
    check(&cluster, &[], false, &[]);
    check(&cluster, &[Want::Job(JOB.into())], false, &[]);
    check(&cluster, std::slice::from_ref(&task), false, &[&format!("/jobs/{JOB}")]);
    check(&cluster, &[Want::Task("not here".into(), TASK.into())], false, &[]);
    check(&cluster, &[Want::TaskManager("tm_1".into())], false, &["/taskmanagers"]);

    take(&mut cluster, Ask::Job(JOB.into()), &details(JOB, &[(TASK, "t")]));
    take(&mut cluster, Ask::TaskManagers, r#"{"taskmanagers":[{"id":"tm-1"}]}"#);
    check(&cluster, &[task, Want::TaskManager("tm_1".into())], false, &[]);
    // A task that came later: jobs of 2.x may grow.
    check(&cluster, &[Want::Task(JOB.into(), "new".into())], false, &[&format!("/jobs/{JOB}")]);

    let checkpoints = format!("/jobs/{JOB}/checkpoints");
    let others = ["/taskmanagers", "/jobs/other", &checkpoints, "/jobs/other/checkpoints"];
    check(&cluster, &[], true, &others);
    take(&mut cluster, Ask::Job("other".into()), &details("other", &[]));
    // It is being set up.
    assert_eq!(cluster.jobs_without_tasks().collect::<Vec<_>>(), ["other"]);
    check(&cluster, &[Want::Tasks("other".into())], false, &["/jobs/other"]);
    check(&cluster, &[Want::Tasks(JOB.into())], false, &[]);
    take(&mut cluster, Ask::Job("other".into()), &details("other", &[(TASK, "t")]));
    cluster.take_missing(&Ask::Checkpoints("other".into()));
    let path = r#"{"counts":{},"latest":{"completed":{"external_path":"file:/c/JOB/chk-17"}}}"#;
    take(&mut cluster, Ask::Checkpoints(JOB.into()), path);
    assert_eq!(cluster.jobs[JOB].checkpoint_path.as_deref(), Some("file:/c/JOB"));
    check(&cluster, &[], true, &["/taskmanagers"]);
    // What has changed moments before it was read may have come out of Flink's cache.
    let mut fresh = cluster.clone();
    take(&mut fresh, Ask::Overview, &overview(&[(JOB, "n", "RUNNING", 19_000)]));
    take(&mut fresh, Ask::Job(JOB.into()), &details(JOB, &[(TASK, "t")]));
    check(&fresh, &[], true, &["/taskmanagers", &format!("/jobs/{JOB}")]);
    // What has changed since is read again; what has ended is not asked about.
    take(
        &mut cluster,
        Ask::Overview,
        &overview(&[(JOB, "n", "RUNNING", 2), ("other", "o", "FINISHED", 2)]),
    );
    check(&cluster, &[], true, &["/taskmanagers", &format!("/jobs/{JOB}")]);
    assert!(cluster.vertex(JOB, TASK).is_some(), "known until it is told anew");
    take(&mut cluster, Ask::Overview, &overview(&[]));
    assert!(cluster.jobs.is_empty(), "Flink has forgotten it");
}

#[test]
fn checkpoints_without_a_path_are_none() {
    for body in [
        r#"{"counts":{},"latest":{"completed":null}}"#,
        r#"{"counts":{},"latest":{"completed":{"external_path":"<checkpoint-not-externally-addressable>"}}}"#,
        r#"{"counts":{},"latest":{"completed":{}}}"#,
        r#"{"counts":{}}"#,
    ] {
        let mut cluster = cluster(&[(JOB, "n", &[])]);
        take(&mut cluster, Ask::Checkpoints(JOB.into()), body);
        assert_eq!(cluster.jobs[JOB].checkpoint_path, None, "{body}");
    }
}

#[test]
fn other_answers_are_refused_and_change_nothing() {
    let before = cluster(&[(JOB, "n", &[(TASK, "t")])]);
    let mut cluster = before.clone();
    let asks = [
        Ask::Version,
        Ask::Overview,
        Ask::TaskManagers,
        Ask::Job(JOB.into()),
        Ask::Checkpoints(JOB.into()),
    ];
    for ask in asks {
        for body in ["<html></html>", "", "[]", r#"{"jobs": 7}"#, r#"{"latest": {}, "errors": []}"#]
        {
            if let Err(error) = cluster.take(&ask, body.as_bytes()) {
                assert!(error.to_string().starts_with(&ask.to_string()), "{error}");
            } else {
                panic!("{ask} took {body}");
            }
        }
    }
    assert_eq!(cluster, before);
}

#[test]
fn jobs_are_joined_by_id_and_believed_when_the_page_can_mean_them() {
    let names = names(&[cluster(&[
        ("1", "日志清洗", &[(TASK, "a.b")]),
        ("2", "订单处理", &[(TASK, "a-b")]),
    ])]);
    let check = |id, page, expected: Option<&str>| {
        assert_eq!(names.job(id, page).as_deref(), expected, "{id} {page}");
    };
    // Equal on the page, told apart by the id.
    check("1", "____", Some("日志清洗"));
    check("2", "____", Some("订单处理"));
    check("3", "____", None);
    // A page whose values stand under wrong labels (FLINK-32649).
    check("1", "0", None);
    let task = |job, task, page| names.task(job, task, page);
    assert_eq!(task("1", TASK, "a_b").as_deref(), Some("a.b"));
    assert_eq!(task("2", TASK, "a_b").as_deref(), Some("a-b"));
    assert_eq!(task("2", "other", "a_b"), None);
}

#[test]
fn of_several_clusters_only_a_clear_word_counts() {
    // Fixed ids, as application mode with high availability uses them.
    let zero = "00000000000000000000000000000000";
    let of = |name: &'static str| cluster(&[(zero, name, &[(TASK, "t")])]);
    let check = |clusters: &[Cluster], page, expected: Option<&str>| {
        assert_eq!(names(clusters).job(zero, page).as_deref(), expected, "{page}");
    };
    check(&[of("a-b"), of("x")], "a_b", Some("a-b"));
    check(&[of("a-b"), of("a-b")], "a_b", Some("a-b"));
    check(&[of("a-b"), of("a.b")], "a_b", None);
    check(&[of("a-b"), of("a.b")], "a.b", Some("a.b"));
    check(&[of("a-b"), of("a_b")], "a_b", Some("a_b"));
}

#[test]
fn task_managers_are_known_by_the_one_id_that_the_page_can_mean() {
    let mut cluster = Cluster::default();
    let body = r#"{"taskmanagers":[
        {"id":"10.0.0.7:41235-a1b2c3","path":"pekko.tcp://flink@10.0.0.7:41235/user/rpc/taskmanager_0","slotsNumber":4},
        {"id":"tm-1"},{"id":"tm.1"},{"id":"tm-2"},{"id":"tm-2"}]}"#;
    take(&mut cluster, Ask::TaskManagers, body);
    assert_eq!((&*cluster.task_managers[0].host, cluster.task_managers[0].slots), ("10.0.0.7", 4));
    let names = names(&[cluster]);
    let check = |page, expected: Option<&str>| {
        assert_eq!(names.task_manager(page).as_deref(), expected, "{page}");
    };
    check("10_0_0_7:41235_a1b2c3", Some("10.0.0.7:41235-a1b2c3"));
    check("tm_1", None);
    check("tm-1", Some("tm-1"));
    check("tm_2", Some("tm-2"));
    check("tm_3", None);
}

#[test]
fn a_start_is_that_of_the_very_attempt() {
    let mut cluster = cluster(&[(JOB, "n", &[(TASK, "t"), ("other", "o")])]);
    let start = |cluster: &Cluster, subtask, attempt| {
        names(std::slice::from_ref(cluster)).start_ms(JOB, TASK, subtask, attempt)
    };
    // A job's details have one start for all subtasks, which is that of first attempts.
    assert_eq!(start(&cluster, 1, 0), Some(1000));
    assert_eq!(start(&cluster, 1, 1), None, "which subtask began anew is not told there");
    assert_eq!(start(&cluster, 2, 0), None, "there are two subtasks");
    assert_eq!(names(&[cluster.clone()]).start_ms(JOB, "none", 0, 0), None);
    let want = |task: &str, subtask, attempt| Want::Start {
        job: JOB.into(),
        task: task.into(),
        subtask,
        attempt,
    };
    let asks = |cluster: &Cluster, wants: &[Want]| {
        let asks = cluster.further_asks(wants, false);
        asks.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let path = format!("/jobs/{JOB}/vertices/{TASK}");
    assert_eq!(
        asks(&cluster, &[want(TASK, 0, 1), want(TASK, 1, 1), want("other", 1, 0)]),
        [&*path]
    );
    let elsewhere = Want::Start { job: "?".into(), task: TASK.into(), subtask: 0, attempt: 1 };
    assert!(asks(&cluster, &[elsewhere]).is_empty());

    let ask = Ask::Attempts(JOB.into(), TASK.into());
    take(
        &mut cluster,
        ask.clone(),
        r#"{"id": "x", "name": "t", "subtasks": [
            {"subtask": 0, "attempt": 1, "status": "RUNNING", "start-time": 7000, "other-concurrent-attempts":
                [{"subtask": 0, "attempt": 2, "start-time": 7500, "other-concurrent-attempts": null}]},
            {"subtask": 1, "attempt": 3, "status": "SCHEDULED", "start-time": -1}]}"#,
    );
    assert_eq!(start(&cluster, 0, 1), Some(7000));
    assert_eq!(start(&cluster, 0, 2), Some(7500), "speculative execution");
    assert_eq!(start(&cluster, 1, 3), None, "not deployed yet");
    assert_eq!(asks(&cluster, &[want(TASK, 0, 1), want(TASK, 1, 3)]), [&*path]);
    assert!(names(&[cluster.clone()]).knows(&want(TASK, 0, 1)));
    // The job's details are read again, and know nothing of attempts.
    take(&mut cluster, Ask::Job(JOB.into()), &details(JOB, &[(TASK, "t")]));
    assert_eq!(start(&cluster, 0, 1), Some(7000));
    // Two clusters with jobs of one id.
    let mut twin = cluster.clone();
    take(&mut twin, ask, r#"{"subtasks": [{"subtask": 0, "attempt": 1, "start-time": 1}]}"#);
    assert_eq!(names(&[cluster.clone(), twin]).start_ms(JOB, TASK, 0, 1), None);
    // The next JobManager begins to count attempts from 0.
    let again = overview(&[(JOB, "n", "RUNNING", 1)]).replace(":5,", ":6,");
    assert_ne!(again, overview(&[(JOB, "n", "RUNNING", 1)]));
    take(&mut cluster, Ask::Overview, &again);
    assert_eq!((start(&cluster, 0, 0), start(&cluster, 0, 1)), (None, None));
    assert!(cluster.vertex(JOB, TASK).is_some(), "names stay");
}
