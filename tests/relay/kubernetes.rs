//! Flink found in Kubernetes: a scripted API that forgets, refuses and goes away. A real one is
//! asked in `e2e/kubernetes`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use flinkrelay::config::Config;
use serde_json::{Value, json};

use crate::{
    fakes::{
        flink::FakeFlink,
        http::{Answer, Request, Server},
        receiver::FakeReceiver,
        relay::{Log, Running, config, receiver},
        until_true,
    },
    task_manager,
};

/// An API server that knows pods of one namespace.
struct FakeApi {
    server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    pods: BTreeMap<String, Value>,
    version: u64,
    /// What has happened, by the version after it.
    events: Vec<(u64, Value)>,
    /// What happened up to this version is forgotten.
    forgotten: u64,
    token: String,
    trouble: Option<Trouble>,
    lists: usize,
    watches: usize,
    /// Selectors that were asked for.
    selectors: BTreeSet<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Watches of what is forgotten are refused at once, and not by an event.
    GoneAtOnce,
    /// `403`
    Forbidden,
    /// No answer at all.
    Hang,
}

fn pod(name: &str, address: &str, component: &str) -> Value {
    json!({
        "metadata": {
            "name": name,
            "namespace": "flink",
            "labels": {"app": "clicks", "component": component, "type": "flink-native-kubernetes"},
        },
        "spec": {"containers": [{"name": "flink-main-container", "image": "flink:2.3"}]},
        "status": {"phase": "Running", "podIP": address},
    })
}

impl FakeApi {
    async fn start(token: &str) -> Self {
        let state = Arc::new(Mutex::new(State { token: token.to_owned(), ..State::default() }));
        let of_script = Arc::clone(&state);
        let server =
            Server::start(0, None, move |request| of_script.lock().unwrap().answer(&request)).await;
        Self { server, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn set(&self, name: &str, address: &str) {
        let mut state = self.state();
        let kind = if state.pods.contains_key(name) { "MODIFIED" } else { "ADDED" };
        let pod = pod(name, address, "taskmanager");
        state.happens(kind, name, pod);
    }

    fn delete(&self, name: &str) {
        let mut state = self.state();
        let pod = state.pods[name].clone();
        state.happens("DELETED", name, pod);
    }

    /// Forgets all that has happened, as an API server does after some minutes.
    fn forget(&self) {
        let mut state = self.state();
        // Something else has happened, so that nobody is up to date.
        state.version += 1;
        state.forgotten = state.version;
        state.events.clear();
    }
}

impl State {
    fn happens(&mut self, kind: &str, name: &str, mut pod: Value) {
        self.version += 1;
        pod["metadata"]["resourceVersion"] = json!(self.version.to_string());
        match kind {
            "DELETED" => drop(self.pods.remove(name)),
            _ => drop(self.pods.insert(name.to_owned(), pod.clone())),
        }
        self.events.push((self.version, json!({"type": kind, "object": pod})));
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let (path, query) = request.target.split_once('?').unwrap();
        assert_eq!(path, "/prefix/api/v1/namespaces/flink/pods");
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
        };
        let query: BTreeMap<_, _> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name, decode(value)))
            .collect();
        if self.trouble == Some(Trouble::Hang) {
            return Answer::hang();
        }
        if request.header("authorization") != Some(&format!("Bearer {}", self.token)) {
            return status(401, "Unauthorized");
        }
        if self.trouble == Some(Trouble::Forbidden) {
            return status(403, "pods is forbidden: User \"relay\" cannot list resource \"pods\"");
        }
        self.selectors.extend(query.get("labelSelector").cloned());
        match query.get("watch").map(String::as_str) {
            Some("true") => self.watch(&query),
            _ => self.list(&query),
        }
    }

    /// Two objects a page, whatever was asked for.
    fn list(&mut self, query: &BTreeMap<&str, String>) -> Answer {
        assert_eq!(query["limit"], "500");
        self.lists += 1;
        let from = query.get("continue").map_or(0, |text| text.parse::<usize>().unwrap());
        let items: Vec<_> = self.pods.values().skip(from).take(2).collect();
        let more = (self.pods.len() > from + 2).then(|| (from + 2).to_string());
        answer(
            200,
            &json!({
                "kind": "PodList", "apiVersion": "v1",
                "metadata": {"resourceVersion": self.version.to_string(), "continue": more},
                "items": items,
            }),
        )
    }

    /// What has happened since, and then the end of the watch: the next one tells what comes.
    fn watch(&mut self, query: &BTreeMap<&str, String>) -> Answer {
        assert_eq!(query["allowWatchBookmarks"], "true");
        self.watches += 1;
        let since: u64 = query["resourceVersion"].parse().unwrap();
        if since < self.forgotten {
            if self.trouble == Some(Trouble::GoneAtOnce) {
                return status(410, "too old resource version");
            }
            let event = json!({"type": "ERROR", "object": {
                "kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}});
            return Answer::chunked(&[], &[format!("{event}\n").as_bytes()]);
        }
        let news = self.events.iter().filter(|(version, _)| *version > since);
        let lines: String = news.map(|(_, event)| format!("{event}\n")).collect();
        let bookmark = json!({"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1",
            "metadata": {"resourceVersion": self.version.to_string()}}});
        Answer::chunked(&[], &[format!("{lines}{bookmark}\n").as_bytes()])
    }
}

fn answer(status: u16, body: &Value) -> Answer {
    Answer::new(status, &[("content-type", "application/json")], body.to_string())
}

fn status(code: u16, message: &str) -> Answer {
    answer(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code, "reason": "", "message": message}),
    )
}

/// A relay's configuration that looks for Flink there. All pods are played by one fake: rules send each
/// scrape to it.
fn looking(api: &FakeApi, token: &Path, flink: &FakeFlink, remote: &FakeReceiver) -> Config {
    let job = format!(
        "  - job_name: flink
    flink_sd_configs:
      - source: kubernetes
        api_server: http://{}/prefix
        authorization: {{credentials_file: {}}}
        namespaces: {{names: [flink]}}
        selector: team=a
    relabel_configs:
      - {{source_labels: [__address__], target_label: instance}}
      - {{source_labels: [__meta_flink_role], target_label: role}}
      - {{source_labels: [__meta_kubernetes_pod_ip], target_label: ip}}
      - {{target_label: __address__, replacement: '{}'}}
",
        api.server.address,
        token.display(),
        flink.address(),
    );
    config(&[job], &[receiver(&remote.url(), "")], "")
}

struct World {
    api: FakeApi,
    flink: FakeFlink,
    remote: FakeReceiver,
    directory: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("token"), "first").unwrap();
        Self {
            api: FakeApi::start("first").await,
            flink: FakeFlink::with_page(&task_manager(&[("a", 1.0)])).await,
            remote: FakeReceiver::start().await,
            directory,
        }
    }

    fn relay(&self) -> Running {
        let token = self.directory.path().join("token");
        Running::start(&looking(&self.api, &token, &self.flink, &self.remote))
    }

    /// The last `up` of each pod: 1, or none for one whose series has ended.
    fn ups(&self) -> BTreeMap<String, Option<u8>> {
        let ups = self.remote.samples_of("up");
        let last = ups.iter().map(|up| {
            let value = (!up.is_stale()).then_some(up.value as u8);
            (up.label("pod").to_owned(), value)
        });
        last.collect()
    }

    async fn until(&self, expect: &[(&str, Option<u8>)]) {
        let expect = expect.iter().map(|(pod, up)| ((*pod).to_owned(), *up)).collect();
        until_true(&format!("{expect:?}"), || self.ups() == expect).await;
    }

    /// Whether each of these pods is scraped from now on.
    async fn goes_on(&self, pods: &[&str]) {
        let seen = self.remote.samples_of("up").len();
        until_true("further scrapes", || {
            let ups = self.remote.samples_of("up");
            let now: BTreeSet<_> = ups[seen..].iter().map(|up| up.label("pod")).collect();
            pods.iter().all(|pod| now.contains(pod))
        })
        .await;
    }

    fn markers(&self) -> usize {
        self.remote.samples_of("up").iter().filter(|up| up.is_stale()).count()
    }
}

#[tokio::test]
async fn pods_come_and_go_with_their_series() {
    let world = World::start().await;
    for (name, address) in [("tm-1", "10.0.0.1"), ("tm-2", "10.0.0.2"), ("tm-3", "10.0.0.3")] {
        world.api.set(name, address);
    }
    world.api.set("starting", "");
    let relay = world.relay();
    world.until(&[("tm-1", Some(1)), ("tm-2", Some(1)), ("tm-3", Some(1))]).await;
    let up = world.remote.samples_of("up").into_iter().find(|up| up.label("pod") == "tm-2");
    let labels = up.unwrap().labels;
    let expect = [
        ("__name__", "up"),
        ("cluster", "clicks"),
        ("flink_deployment", "clicks"),
        ("instance", "10.0.0.2:9249"),
        ("ip", "10.0.0.2"),
        ("job", "flink"),
        ("namespace", "flink"),
        ("pod", "tm-2"),
        ("role", "taskmanager"),
    ];
    let labels: Vec<_> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(labels, expect);
    let selectors = world.api.state().selectors.clone();
    let selector = "app,component in (jobmanager,taskmanager),team=a".to_owned();
    assert_eq!(selectors, [selector].into());

    world.api.set("starting", "10.0.0.4");
    world.goes_on(&["starting"]).await;
    world.api.delete("tm-1");
    let all = [("tm-1", None), ("tm-2", Some(1)), ("tm-3", Some(1)), ("starting", Some(1))];
    world.until(&all).await;
    assert_eq!(world.markers(), 1);
    let (lists, watches) = {
        let state = world.api.state();
        (state.lists, state.watches)
    };
    assert_eq!(lists, 2, "two pages, once: {watches} watches");
    relay.stop().await;
}

#[tokio::test]
async fn what_the_api_has_forgotten_is_listed_again_and_no_target_suffers() {
    for trouble in [None, Some(Trouble::GoneAtOnce)] {
        let world = World::start().await;
        let (log, _guard) = Log::start();
        for (name, address) in [("tm-1", "10.0.0.1"), ("tm-2", "10.0.0.2"), ("tm-3", "10.0.0.3")] {
            world.api.set(name, address);
        }
        let relay = world.relay();
        world.until(&[("tm-1", Some(1)), ("tm-2", Some(1)), ("tm-3", Some(1))]).await;
        let lists = world.api.state().lists;
        // One goes while nobody can tell of it.
        {
            world.api.delete("tm-1");
            world.api.state().trouble = trouble;
            world.api.forget();
        }
        let all = [("tm-1", None), ("tm-2", Some(1)), ("tm-3", Some(1))];
        world.until(&all).await;
        assert!(world.api.state().lists > lists);
        world.goes_on(&["tm-2", "tm-3"]).await;
        assert_eq!(world.markers(), 1, "only what is gone has ended");
        assert_eq!(log.lines_with("discovery fails"), [""; 0], "it is nothing to be told of");
        relay.stop().await;
    }
}

#[tokio::test]
async fn a_token_that_was_renewed_is_read_again() {
    let world = World::start().await;
    let (log, _guard) = Log::start();
    world.api.set("tm-1", "10.0.0.1");
    let relay = world.relay();
    world.until(&[("tm-1", Some(1))]).await;
    world.api.state().token = "second".to_owned();
    let told = || !log.lines_with("401 Unauthorized").is_empty();
    until_true("that the old one is refused", told).await;
    world.goes_on(&["tm-1"]).await;
    fs::write(world.directory.path().join("token"), "second").unwrap();
    world.api.set("tm-2", "10.0.0.2");
    world.goes_on(&["tm-1", "tm-2"]).await;
    until_true("the end of the failure", || log.lines_with("discovery works").len() == 2).await;
    assert_eq!(world.markers(), 0);
    relay.stop().await;
}

#[tokio::test]
async fn who_may_not_ask_is_told_which_rule_is_missing() {
    let world = World::start().await;
    let (log, _guard) = Log::start();
    world.api.set("tm-1", "10.0.0.1");
    world.api.state().trouble = Some(Trouble::Forbidden);
    let relay = world.relay();
    let rule = "add to a Role in namespace flink of the relay's ServiceAccount: \
                {apiGroups: [\\\"\\\"], resources: [pods], verbs: [list, watch]}";
    until_true("the rule", || {
        let lines = log.lines_with("cannot list pods in namespace flink");
        lines.iter().any(|line| line.replace("\\\"", "\"").contains(&rule.replace("\\\"", "\"")))
    })
    .await;
    assert_eq!(world.ups(), BTreeMap::new());
    world.api.state().trouble = None;
    world.until(&[("tm-1", Some(1))]).await;
    // Taken away again: what is known stays.
    world.api.state().trouble = Some(Trouble::Forbidden);
    until_true("watches to be refused", || {
        !log.lines_with("cannot watch pods in namespace flink").is_empty()
    })
    .await;
    world.goes_on(&["tm-1"]).await;
    assert_eq!(world.markers(), 0);
    relay.stop().await;
}

#[tokio::test]
async fn an_api_that_is_away_keeps_its_targets_and_is_asked_again() {
    let world = World::start().await;
    let (log, _guard) = Log::start();
    world.api.set("tm-1", "10.0.0.1");
    let relay = world.relay();
    world.until(&[("tm-1", Some(1))]).await;
    // Another server on the same port knows what this one knew, and has forgotten how it came to it.
    let port = world.api.server.address.port();
    let World { api, flink, remote, directory } = world;
    let FakeApi { server, state } = api;
    server.stop().await;
    let refused = || !log.lines_with("tcp connect error").is_empty();
    until_true("that nobody answers", refused).await;
    let of_script = Arc::clone(&state);
    let server =
        Server::start(port, None, move |request| of_script.lock().unwrap().answer(&request)).await;
    let world = World { api: FakeApi { server, state }, flink, remote, directory };
    world.goes_on(&["tm-1"]).await;
    world.api.forget();
    world.api.set("tm-2", "10.0.0.2");
    world.goes_on(&["tm-1", "tm-2"]).await;
    assert_eq!(world.markers(), 0);
    relay.stop().await;
}

#[tokio::test]
async fn an_api_that_hangs_does_not_keep_a_relay_from_its_targets_or_its_end() {
    let world = World::start().await;
    world.api.set("tm-1", "10.0.0.1");
    let relay = world.relay();
    world.until(&[("tm-1", Some(1))]).await;
    let watches = world.api.state().watches;
    world.api.state().trouble = Some(Trouble::Hang);
    world.goes_on(&["tm-1"]).await;
    world.goes_on(&["tm-1"]).await;
    assert!(world.api.state().watches <= watches + 1);
    relay.stop().await;
    assert_eq!(world.markers(), 0);
}
