//! Flink's REST API: version, configuration, TaskManagers, and what its logs say of reporters.

use std::{borrow::Cow, collections::BTreeSet};

use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::{StatusCode, Uri};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::{ANSWER_MAX, CONNECT_MAX, LOOKS_IN_FLIGHT};
use crate::{
    config::{Rest, RestEndpoints},
    doctor::evidence::{ClusterLook, TargetLook, task_managers_shown},
    flink::rest::{Ask, Cluster},
    flink_rest::{get, request},
    http::{BuildError, Client, Reached, reach},
    relay::now_ms,
};

/// Looks at the endpoints of the configuration; with `auto` at port 8081 of each of these hosts.
///
/// # Errors
/// TLS files or headers that cannot be used.
pub(super) async fn look(
    rest: &Rest,
    hosts: &BTreeSet<String>,
    until: Instant,
) -> Result<Vec<ClusterLook>, BuildError> {
    let (urls, named): (Vec<Uri>, bool) = match &rest.endpoints {
        RestEndpoints::Off => return Ok(Vec::new()),
        RestEndpoints::Urls(urls) => (urls.clone(), true),
        RestEndpoints::Auto => {
            let url = |host: &String| format!("http://{host}:{REST_PORT}").parse().ok();
            (hosts.iter().filter_map(url).take(HOSTS_MAX).collect(), false)
        }
    };
    let client = Client::new(&rest.http, rest.timeout.min(ANSWER_MAX))?;
    let looks = urls.into_iter().map(|url| {
        let client = &client;
        async move {
            let unknown = ClusterLook {
                url: url.to_string().trim_end_matches('/').to_owned(),
                host: url.host().unwrap_or_default().to_owned(),
                named,
                ..ClusterLook::default()
            };
            let late =
                ClusterLook { failure: Some("no answer in time".to_owned()), ..unknown.clone() };
            timeout_at(until, of_endpoint(client, &url, unknown)).await.unwrap_or(late)
        }
    });
    Ok(stream::iter(looks).buffered(LOOKS_IN_FLIGHT).collect().await)
}

/// Reads the logs of TaskManagers that should be on a page and are not. Few of them, and only then: Flink copies
/// the whole log to the JobManager for that.
///
/// # Errors
/// TLS files or headers that cannot be used.
pub(super) async fn look_into_logs(
    rest: &Rest,
    clusters: &mut [ClusterLook],
    targets: &[TargetLook],
    until: Instant,
) -> Result<(), BuildError> {
    let client = Client::new(&rest.http, rest.timeout.min(ANSWER_MAX))?;
    for cluster in clusters {
        let Ok(url) = cluster.url.parse::<Uri>() else { continue };
        let missing = |host: &str| {
            let registered = cluster.task_managers.iter().filter(|(_, of)| of == host).count();
            let mut on_host = targets.iter().filter(|target| target.spec.host == host).peekable();
            on_host.peek().is_some() && task_managers_shown(on_host) < registered
        };
        let silent = cluster.task_managers.iter().filter(|(_, host)| missing(host));
        let silent: Vec<_> = silent.take(TASK_MANAGER_LOGS_MAX).cloned().collect();
        for (id, host) in silent {
            let path = format!("/taskmanagers/{id}/log");
            if let Ok(Some(lines)) = timeout_at(until, log(&client, &url, &path)).await {
                cluster.task_manager_logs.push((host, lines));
            }
        }
    }
    Ok(())
}

/// Whether requests carry credentials, and hosts that nobody named are to be asked.
pub(super) fn is_secret(rest: &Rest) -> bool {
    let is_open = rest.http.auth.is_none() && rest.http.headers.is_empty();
    rest.endpoints == RestEndpoints::Auto && !is_open
}

async fn of_endpoint(client: &Client, url: &Uri, mut look: ClusterLook) -> ClusterLook {
    if !look.named && !matches!(reach(url, CONNECT_MAX).await, Reached::Open(_)) {
        look.failure = Some(format!("nothing listens on port {REST_PORT}"));
        return look;
    }
    let mut cluster = Cluster::default();
    if let Err(failure) = ask(client, url, &mut cluster, &Ask::Version).await {
        look.failure = Some(failure);
        return look;
    }
    look.version = Some(cluster.version.to_string()).filter(|version| !version.is_empty());
    // Everything from here on is a bonus: proxies and old versions may not let it through.
    if let Ok(body) = get(client, url, "/jobmanager/config", "/jobmanager/config").await {
        let settings: Result<Vec<Setting>, _> = serde_json::from_slice(&body);
        look.settings =
            settings.ok().map(|all| all.into_iter().map(|s| (s.key, s.value)).collect());
    }
    if ask(client, url, &mut cluster, &Ask::TaskManagers).await.is_ok() {
        let all = cluster.task_managers.iter();
        look.task_managers = all.map(|tm| (tm.id.to_string(), tm.host.to_string())).collect();
    }
    if ask(client, url, &mut cluster, &Ask::Overview).await.is_ok() {
        look.clocks_ms = clocks(client, url, &cluster).await;
    }
    look.log = log(client, url, "/jobmanager/log").await.unwrap_or_default();
    look
}

#[derive(Deserialize)]
struct Setting {
    key: String,
    value: String,
}

async fn ask(client: &Client, url: &Uri, cluster: &mut Cluster, ask: &Ask) -> Result<(), String> {
    let path = ask.to_string();
    let shape = match ask {
        Ask::Version => "/config",
        Ask::TaskManagers => "/taskmanagers",
        _ => "/jobs/overview",
    };
    let body = get(client, url, &path, shape).await.map_err(|failure| failure.to_string())?;
    cluster.take(ask, &body).map_err(|error| error.to_string())
}

/// The JobManager tells its time with the details of a job.
async fn clocks(client: &Client, url: &Uri, cluster: &Cluster) -> Option<(i64, i64)> {
    #[derive(Deserialize)]
    struct Now {
        now: i64,
    }
    let (job, _) = cluster.jobs.iter().find(|(_, job)| !job.has_ended)?;
    let path = format!("/jobs/{job}");
    let began = (Instant::now(), now_ms());
    let body = get(client, url, &path, "/jobs/:jobid").await.ok()?;
    let took = i64::try_from(began.0.elapsed().as_millis()).ok()?;
    let Now { now } = serde_json::from_slice(&body).ok()?;
    Some((now, began.1 + took / 2))
}

/// The lines of the log's beginning that speak of reporters. Flink begins a new log when it starts, and
/// sets up its reporters first.
async fn log(client: &Client, url: &Uri, path: &str) -> Option<Vec<String>> {
    let until = Instant::now() + ANSWER_MAX;
    let sent = timeout_at(until, client.send(request(url, path))).await;
    let answer = sent.ok()?.ok()?;
    if answer.status() != StatusCode::OK {
        return None;
    }
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while bytes.len() < LOG_BYTES_MAX {
        let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await else { break };
        if let Ok(chunk) = frame.into_data() {
            bytes.extend_from_slice(&chunk);
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let mut told = Vec::new();
    while let Some(line) = lines.next() {
        let line = if line.contains("Could not instantiate metrics reporter") {
            // Why stands in the exception behind it.
            Cow::from(format!("{line} {}", lines.next().unwrap_or_default()))
        } else if TELLING.iter().any(|words| line.contains(words)) {
            Cow::from(line)
        } else {
            continue;
        };
        told.push(line.chars().take(LINE_CHARS_MAX).collect());
    }
    Some(told)
}

/// What Flink says of reporters, in lines of their own.
const TELLING: [&str; 4] = [
    "PrometheusReporter HTTP server",
    "could not be found for reporter",
    "no longer supported approach",
    "No reporter factory set",
];

/// Flink's REST port unless `rest.port` says otherwise.
const REST_PORT: u16 = 8081;

/// Hosts of targets that are tried for a REST API that nobody named.
const HOSTS_MAX: usize = 64;

/// Bytes of a log that are read: the start of a JobManager writes some hundred KiB at most.
const LOG_BYTES_MAX: usize = 1 << 20;

/// TaskManagers of a cluster whose logs are read: what is wrong with one is mostly wrong with all.
const TASK_MANAGER_LOGS_MAX: usize = 4;

/// Characters of a line of it that are shown.
const LINE_CHARS_MAX: usize = 300;
