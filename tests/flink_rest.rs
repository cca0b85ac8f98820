//! Recorded pages with the recorded answers of the same cluster's REST API, of 1.14, 1.20 and 2.3: every name that
//! people gave comes back, and nothing but names changes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use flinkrelay::{
    exposition::{Entry, Limits, page},
    flink::rest::{Ask, Cluster, Names, Subjects, Want, info, spelling},
    labels::Labels,
};

const VERSIONS: [&str; 4] = ["1.14.2", "1.20.5", "2.3.0", "2.3.0-unfiltered"];

fn recorded(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages").join(version)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the cluster told, by the asks that a poll makes.
fn cluster(version: &str) -> Cluster {
    let directory = recorded(version);
    let mut cluster = Cluster::default();
    let file = |ask: &Ask| match ask {
        Ask::Attempts(..) => unreachable!("nobody wants starts"),
        Ask::Version => "rest_config.json".to_owned(),
        Ask::Overview => "rest_jobs_overview.json".to_owned(),
        Ask::TaskManagers => "rest_taskmanagers.json".to_owned(),
        Ask::Job(id) => format!("rest_job_{id}.json"),
        Ask::Checkpoints(_) => String::new(),
    };
    for ask in cluster.first_asks() {
        cluster.take(&ask, &read(&directory.join(file(&ask)))).unwrap();
    }
    for ask in cluster.further_asks(&[], true) {
        if !matches!(ask, Ask::Checkpoints(_)) {
            cluster.take(&ask, &read(&directory.join(file(&ask)))).unwrap();
        }
    }
    cluster
}

/// The label sets of the pages of a version, before and after, in page order.
fn given_back(version: &str) -> Vec<(Labels<'static>, Labels<'static>)> {
    let names = Arc::new(Names::new([Arc::new(cluster(version))]));
    let mut lines = Vec::new();
    for file in ["jobmanager.prom", "taskmanager-1.prom", "taskmanager-2.prom"] {
        let text = read(&recorded(version).join(file));
        let page = page(&text, &Limits::default()).unwrap();
        let mut subjects = Subjects::default();
        for look in 0..2 {
            let known = subjects.adopt(&names);
            assert!(known.is_empty() || look > 0);
            let mut of_page = Vec::new();
            for sample in page.samples() {
                let pairs =
                    || [("__name__", sample.name.into())].into_iter().chain(sample.labels());
                let before: Labels<'_> = pairs().collect();
                let mut after: Labels<'_> = pairs().collect();
                let subject = subjects.enter(sample.name, sample.labels());
                subjects.give_back(subject, &mut after);
                subjects.add_line(subject);
                of_page.push((before.into_owned(), after.into_owned()));
            }
            if look == 1 || !subjects.wants_another_look() {
                assert!(subjects.wants().is_empty(), "{version}/{file}: {:?}", subjects.wants());
                lines.extend(of_page);
                break;
            }
        }
    }
    lines
}

fn values<'l>(lines: &'l [(Labels<'static>, Labels<'static>)], label: &str) -> BTreeSet<&'l str> {
    lines.iter().filter_map(|(_, after)| after.get(label)).collect()
}

#[test]
fn the_names_of_every_version_come_back() {
    for version in VERSIONS {
        let lines = given_back(version);
        let jobs =
            ["clicks-window", "orders-enrichment \"prod\" \\ v2", "日志清洗 / log-clean (eu)"];
        assert_eq!(values(&lines, "job_name"), jobs.into(), "{version}");
        assert_eq!(values(&lines, "tm_id"), ["tm-1", "tm-2"].into(), "{version}");
        let cluster = cluster(version);
        let vertices = cluster.jobs.values().flat_map(|job| job.vertices.iter().flatten());
        let tasks: BTreeSet<&str> = vertices.map(|(_, vertex)| &*vertex.name).collect();
        assert_eq!(values(&lines, "task_name"), tasks, "{version}");
        let mut shown = String::new();
        for (label, values) in [
            ("task_name", values(&lines, "task_name")),
            ("operator_name", values(&lines, "operator_name")),
        ] {
            values.into_iter().for_each(|value| shown += &format!("{label} {value}\n"));
        }
        insta::assert_snapshot!(format!("names_of_{version}"), shown);
    }
}

#[test]
fn a_filtered_page_gets_the_names_that_an_unfiltered_one_shows() {
    let by_series = |version: &str| {
        let mut names = BTreeMap::<String, BTreeSet<String>>::new();
        for (_, after) in given_back(version) {
            let key = after.get("__name__").unwrap().to_owned();
            let labels = ["job_name", "task_name", "operator_name"];
            let value = labels.map(|label| after.get(label).unwrap_or_default()).join(" | ");
            names.entry(key).or_default().insert(value);
        }
        names
    };
    let (filtered, unfiltered) = (by_series("2.3.0"), by_series("2.3.0-unfiltered"));
    let both: Vec<_> = filtered.keys().filter(|name| unfiltered.contains_key(*name)).collect();
    assert!(both.len() > 100, "only {} metrics are on both", both.len());
    // Which TaskManager runs the only subtask of a job differs from run to run, so sums are compared.
    let of_jobs = both.iter().filter(|name| name.contains("_job_task_"));
    for name in of_jobs {
        assert_eq!(filtered[*name], unfiltered[*name], "{name}");
    }
}

#[test]
fn nothing_but_names_changes() {
    for version in VERSIONS {
        let (mut changed, lines) = (0, given_back(version));
        let mut distinct = BTreeSet::new();
        for (before, after) in &lines {
            for (label, value) in before.iter() {
                let now = after.get(label).unwrap();
                changed += usize::from(now != value);
                assert!(spelling::shows(value, now), "{version}: {label} {value} became {now}");
                let is_name = matches!(label, "job_name" | "task_name" | "operator_name" | "tm_id");
                assert!(now == value || is_name, "{version}: {label}");
            }
            let more: Vec<_> =
                after.iter().filter(|(label, _)| before.get(label).is_none()).collect();
            let is_process = !before.metric_name().contains("manager_job");
            assert!(more.is_empty() || is_process && more.len() == 2, "{version}: {more:?}");
            let mut after = after.clone();
            after.sort();
            distinct.insert(after.to_string());
        }
        assert_eq!(changed > 0, version != "2.3.0-unfiltered", "{version}: {changed}");
        let before: BTreeSet<_> = lines.iter().map(|(before, _)| before.to_string()).collect();
        assert_eq!(distinct.len(), before.len(), "{version}");
    }
}

#[test]
fn info_series_of_every_version() {
    for version in VERSIONS {
        let cluster = cluster(version);
        let jobs: BTreeSet<&str> = cluster.jobs.keys().map(|id| &**id).collect();
        let text = info::lines(&cluster, &jobs);
        let page = page(text.as_bytes(), &Limits::default()).unwrap();
        assert!(page.faults.is_empty(), "{text}");
        let count = |name: &str| page.samples().filter(|sample| sample.name == name).count();
        let tasks = cluster.jobs.values().flat_map(|job| job.vertices.iter().flatten()).count();
        assert_eq!(
            ["cluster", "job", "task", "taskmanager"].map(|of| count(&format!("flink_{of}_info"))),
            [1, 3, tasks, 2],
            "{version}"
        );
        let names: BTreeSet<_> = page
            .samples()
            .flat_map(|sample| sample.labels().filter(|(label, _)| *label == "job_name"))
            .map(|(_, value)| value.into_owned())
            .collect();
        assert!(names.contains("日志清洗 / log-clean (eu)"), "{version}: {names:?}");
        assert!(names.contains("orders-enrichment \"prod\" \\ v2"), "{version}: {names:?}");
        let comments = page.entries.iter().map(|(_, entry)| entry);
        assert_eq!(comments.filter(|entry| matches!(entry, Entry::Help { .. })).count(), 5);
    }
}

#[test]
fn numbers_of_rest_are_never_taken() {
    let before = cluster("2.3.0");
    let mut changed = before.clone();
    for entry in fs::read_dir(recorded("2.3.0")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(id) = name.strip_prefix("rest_job_").and_then(|rest| rest.strip_suffix(".json"))
        else {
            continue;
        };
        let text = String::from_utf8(read(&path)).unwrap();
        let lied = text
            .replace("-records\":0", "-records\":99")
            .replace("-complete\":false", "-complete\":true");
        assert_ne!(lied, text);
        changed.take(&Ask::Job(id.into()), lied.as_bytes()).unwrap();
    }
    assert_eq!(changed, before);
}

#[test]
fn first_attempts_began_when_their_vertex_did() {
    for version in VERSIONS {
        let cluster = cluster(version);
        for (id, job) in &cluster.jobs {
            for (task, vertex) in job.vertices.iter().flatten() {
                let start = cluster.start_ms(id, task, 0, 0).unwrap();
                assert!(start >= job.start_ms, "{version}: {} before {}", vertex.name, job.name);
            }
        }
    }
}

/// Recorded after the TaskManager of a job was killed and the job had restarted on another one.
#[test]
fn later_attempts_began_when_their_task_says() {
    for version in ["1.14.2", "1.20.5", "2.3.0"] {
        let answer = |file| -> Vec<u8> { read(&recorded(version).join(file)) };
        let job: serde_json::Value = serde_json::from_slice(&answer("restarted_job.json")).unwrap();
        let text = |value: &serde_json::Value| Box::<str>::from(value.as_str().unwrap());
        let id = text(&job["jid"]);
        let task = text(&job["vertices"][0]["id"]);
        let row = serde_json::json!({"jid": id, "name": job["name"], "state": job["state"]});
        let overview = serde_json::json!({"jobs": [row]}).to_string();
        let mut cluster = Cluster::default();
        cluster.take(&Ask::Overview, overview.as_bytes()).unwrap();
        cluster.take(&Ask::Job(id.clone()), &answer("restarted_job.json")).unwrap();
        assert_eq!(cluster.start_ms(&id, &task, 0, 1), None, "{version}");
        let ask = Ask::Attempts(id.clone(), task.clone());
        let (job_id, task_id) = (id.clone(), task.clone());
        let want = Want::Start { job: job_id, task: task_id, subtask: 1, attempt: 1 };
        assert_eq!(cluster.further_asks(&[want], false), std::slice::from_ref(&ask), "{version}");
        cluster.take(&ask, &answer("restarted_vertex.json")).unwrap();
        let asked = job["now"].as_i64().unwrap();
        for subtask in [0, 1] {
            let start = cluster.start_ms(&id, &task, subtask, 1).unwrap();
            assert!((asked - 60_000..asked).contains(&start), "{version}: {start} at {asked}");
        }
        assert_eq!(cluster.start_ms(&id, &task, 0, 2), None, "{version}");
    }
}
