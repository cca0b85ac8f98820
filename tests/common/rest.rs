//! Flink's REST API as a relay sees it: the answers of the versions' dispatchers, and all that can be wrong
//! with them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use super::http::{Answer, Request, Server};

type Script = Box<dyn FnMut(&Request) -> Option<Answer> + Send>;

/// A scripted REST API of one cluster.
pub(crate) struct FakeRest {
    server: Server,
    scheme: &'static str,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Answers instead of the cluster, when it says something.
    script: Script,
    cluster: FakeCluster,
    requests: Vec<Request>,
}

/// Id, name, and the tasks by id and name.
type FakeJob = (String, String, Vec<(String, String)>);

/// What the cluster would tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeCluster {
    pub(crate) jobs: Vec<FakeJob>,
    pub(crate) task_managers: Vec<String>,
    pub(crate) checkpoint_path: Option<String>,
    /// Number and start of the present attempt of each task's subtasks, where it is not the first.
    pub(crate) attempts: BTreeMap<u32, (u32, i64)>,
}

impl FakeCluster {
    /// The same with one more job.
    pub(crate) fn with_job(mut self, id: &str, name: &str, tasks: &[(&str, &str)]) -> Self {
        let tasks = tasks.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect();
        self.jobs.push((id.to_owned(), name.to_owned(), tasks));
        self
    }

    /// The same with one more TaskManager.
    pub(crate) fn with_task_manager(mut self, id: &str) -> Self {
        self.task_managers.push(id.to_owned());
        self
    }

    /// The same after an attempt of a subtask that began then.
    pub(crate) fn with_attempt(mut self, subtask: u32, attempt: u32, start_ms: i64) -> Self {
        self.attempts.insert(subtask, (attempt, start_ms));
        self
    }

    fn answer(&self, path: &str) -> Option<Value> {
        match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
            ["config"] => Some(json!({"flink-version": "2.3.0", "flink-revision": "abc"})),
            ["jobs", "overview"] => {
                let job = |(id, name, _): &FakeJob| json!({"jid": id, "name": name, "state": "RUNNING", "last-modification": 1});
                Some(json!({"jobs": self.jobs.iter().map(job).collect::<Vec<_>>()}))
            }
            ["taskmanagers"] => {
                let task_manager = |id: &String| json!({"id": id, "path": format!("pekko.tcp://flink@{id}.local:1/user/rpc/taskmanager_0"), "slotsNumber": 4});
                let all: Vec<_> = self.task_managers.iter().map(task_manager).collect();
                Some(json!({"taskmanagers": all}))
            }
            ["jobs", id, rest @ ..] => {
                let (id, name, tasks) = self.jobs.iter().find(|(job, ..)| job == id)?;
                if rest == ["checkpoints"] {
                    let path = self.checkpoint_path.as_ref();
                    let completed = path.map(|path| json!({"external_path": path}));
                    return Some(json!({"counts": {}, "latest": {"completed": completed}}));
                }
                if let ["vertices", task] = rest {
                    let (id, name) = tasks.iter().find(|(id, _)| id == task)?;
                    let subtask = |n: u32| {
                        let (attempt, start) = self.attempts.get(&n).copied().unwrap_or((0, 7));
                        json!({"subtask": n, "status": "RUNNING", "attempt": attempt, "start-time": start})
                    };
                    return Some(
                        json!({"id": id, "name": name, "subtasks": [subtask(0), subtask(1)]}),
                    );
                }
                let task = |(id, name): &(String, String)| {
                    json!({"id": id, "name": name, "parallelism": 2, "maxParallelism": 128, "start-time": 7,
                           "metrics": {"read-records": 0, "read-records-complete": false}})
                };
                let vertices: Vec<_> = tasks.iter().map(task).collect();
                Some(
                    json!({"jid": id, "name": name, "job-type": "STREAMING", "now": 20_000, "vertices": vertices}),
                )
            }
            _ => None,
        }
    }
}

impl FakeRest {
    /// Tells of this cluster, on any port.
    pub(crate) async fn of(cluster: FakeCluster) -> Self {
        Self::serve(cluster, None).await
    }

    /// The same, over TLS.
    pub(crate) async fn with_tls(cluster: FakeCluster, tls: TlsAcceptor) -> Self {
        Self::serve(cluster, Some(tls)).await
    }

    async fn serve(cluster: FakeCluster, tls: Option<TlsAcceptor>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let state = State { script: Box::new(|_| None), cluster, requests: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let of_server = Arc::clone(&state);
        let server =
            Server::start(0, tls, move |request| of_server.lock().unwrap().answer(request));
        Self { server: server.await, scheme, state }
    }

    /// Where it is. By name, as certificates want it.
    pub(crate) fn url(&self) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{host}:{}", self.scheme, self.server.address.port())
    }

    /// Changes the cluster.
    pub(crate) fn set(&self, cluster: FakeCluster) {
        self.state.lock().unwrap().cluster = cluster;
    }

    /// From now on answers what this says, and for the cluster where it says nothing.
    pub(crate) fn script(&self, script: impl FnMut(&Request) -> Option<Answer> + Send + 'static) {
        self.state.lock().unwrap().script = Box::new(script);
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    /// The paths that were asked, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.target).collect()
    }

    /// The JobManager dies.
    pub(crate) async fn kill(self) {
        self.server.stop().await;
    }
}

impl State {
    fn answer(&mut self, request: Request) -> Answer {
        let scripted = (self.script)(&request);
        let told = || match self.cluster.answer(&request.target) {
            Some(json) => {
                Answer::new(200, &[("content-type", "application/json")], json.to_string())
            }
            None => Answer::new(404, &[], json!({"errors": ["Not found: here."]}).to_string()),
        };
        let answer = scripted.unwrap_or_else(told);
        self.requests.push(request);
        answer
    }
}
