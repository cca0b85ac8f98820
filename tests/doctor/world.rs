//! A Flink, its REST API and a receiver that are well, each of which a test makes ill in one place.

use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};

use serde_json::{Value, json};

use crate::{
    fakes::{
        flink::FakeFlink,
        http::{Answer, Request, Server},
        rest::{FakeCluster, FakeRest},
    },
    process::flinkrelay,
};

/// The reporter's factory.
pub(crate) const FACTORY: &str = "org.apache.flink.metrics.prometheus.PrometheusReporterFactory";

/// A page of a real TaskManager of 1.20.
pub(crate) fn task_manager_page() -> String {
    std::fs::read_to_string("tests/pages/1.20.5/taskmanager-1.prom").unwrap()
}

/// A page of a real JobManager of 1.20.
pub(crate) fn job_manager_page() -> String {
    std::fs::read_to_string("tests/pages/1.20.5/jobmanager.prom").unwrap()
}

/// A receiver that answers what it is told and keeps what it got.
pub(crate) struct Receiver {
    server: Server,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    pub(crate) async fn answering(answer: Answer) -> Self {
        Self::saying(move || answer.clone()).await
    }

    /// Takes everything; its clock is right.
    pub(crate) async fn well() -> Self {
        Self::saying(|| Self::taking_at(SystemTime::now())).await
    }

    /// Takes something at this time by its clock.
    pub(crate) fn taking_at(time: SystemTime) -> Answer {
        Answer::new(204, &[("date", &httpdate::fmt_http_date(time))], "")
    }

    /// Says at each request what it has to say then.
    pub(crate) async fn saying(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Self {
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let kept = Arc::clone(&requests);
        let server = Server::start(0, None, move |request| {
            kept.lock().unwrap().push(request);
            answer()
        });
        Self { server: server.await, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// A REST API of this version of Flink with this configuration, and a log with this line.
pub(crate) async fn rest(version: &str, settings: &[(&str, &str)], log: &str) -> FakeRest {
    let rest = FakeRest::of(FakeCluster::default().with_task_manager("tm_1")).await;
    let settings = settings.iter().map(|(key, value)| json!({"key": key, "value": value}));
    let settings = Value::Array(settings.collect()).to_string();
    let config = json!({"flink-version": version, "flink-revision": "abc"}).to_string();
    let log = log.to_owned();
    rest.script(move |request| match request.target.as_str() {
        "/config" => Some(Answer::new(200, &[], config.clone())),
        "/jobmanager/config" => Some(Answer::new(200, &[], settings.clone())),
        "/jobmanager/log" => Some(Answer::new(200, &[], log.clone())),
        path if path.starts_with("/metrics") => {
            let words = r#"{"errors":["Unable to load requested file /metrics."]}"#;
            Some(Answer::new(404, &[("content-type", "application/json")], words))
        }
        _ => None,
    });
    rest
}

/// Two processes of Flink that are well.
pub(crate) async fn processes() -> (FakeFlink, FakeFlink) {
    (
        FakeFlink::with_page(&job_manager_page()).await,
        FakeFlink::with_page(&task_manager_page()).await,
    )
}

/// A port that nobody listens on: one that was free a moment ago, and that nobody asks for by number.
pub(crate) async fn closed() -> String {
    let flink = FakeFlink::with_page("").await;
    let address = flink.address();
    flink.kill().await;
    address
}

/// What doctor said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) findings: Vec<Value>,
    pub(crate) well: Vec<Value>,
}

/// Runs doctor with these arguments.
pub(crate) async fn doctor(arguments: &[&str]) -> Said {
    let output = flinkrelay(&[&["doctor", "-o", "json"], arguments].concat()).await;
    let document: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", output.stdout, output.stderr));
    let list = |name: &str| document[name].as_array().unwrap().clone();
    let said = Said { code: output.code, findings: list("findings"), well: list("well") };
    let problems = said.findings.iter().filter(|finding| finding["severity"] == "problem").count();
    assert_eq!(said.code, i32::from(problems > 0), "{said:#?}");
    for finding in &said.findings {
        assert!(!finding["fixes"].as_array().unwrap().is_empty(), "nothing to do: {finding:#?}");
    }
    said
}

impl Said {
    /// The ids, in order.
    pub(crate) fn ids(&self) -> Vec<&str> {
        self.findings.iter().map(|finding| finding["id"].as_str().unwrap()).collect()
    }

    /// The finding of that id.
    #[track_caller]
    pub(crate) fn finding(&self, id: &str) -> &Value {
        let found = self.findings.iter().find(|finding| finding["id"] == id);
        found.unwrap_or_else(|| panic!("no {id}: {self:#?}"))
    }

    /// That there is this problem, with these words in what was seen, and this line to put somewhere.
    #[track_caller]
    pub(crate) fn has_problem(&self, id: &str, seen: &str, line: &str) {
        assert_eq!(self.code, 1, "{self:#?}");
        self.has("problem", id, seen, line);
    }

    /// The same for a warning, which leaves the exit code alone.
    #[track_caller]
    pub(crate) fn has_warning(&self, id: &str, seen: &str, line: &str) {
        self.has("warning", id, seen, line);
    }

    #[track_caller]
    fn has(&self, severity: &str, id: &str, seen: &str, line: &str) {
        let finding = self.finding(id);
        assert_eq!(finding["severity"], severity, "{finding:#?}");
        let words = finding["seen"].as_str().unwrap();
        assert!(words.contains(seen), "{seen:?} is not in {words:?}");
        let lines: Vec<_> = finding["fixes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fix| fix["line"].as_str().unwrap())
            .collect();
        assert!(lines.contains(&line), "{line:?} is not among {lines:#?}");
    }
}
