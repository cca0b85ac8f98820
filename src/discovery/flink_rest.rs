//! `flink_sd_configs` with `source: rest`: the processes of a cluster, as its JobManager knows them.
//!
//! `/taskmanagers` names each TaskManager's host, and nothing there says where its reporter listens. So the
//! port is configured: one that all have, a range that is probed on each host, or `logs`: each process
//! has logged `Started PrometheusReporter HTTP server on port 9251.` when it began, and REST shows logs.
//!
//! ```text
//!   ports: 9250-9260   one range per host; as many instances are looked for as REST knows there
//!   ports: logs        /jobmanager/log, /taskmanagers/ID/log: once per process, the beginning only
//! ```
//!
//! The JobManager is looked for at the URL's host. Where its host has another name there than REST
//! gives it, ranges overlap; so each range takes only the processes that it was made for.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};

use super::{
    Group,
    fetch::{Question, get},
    source::{Report, refresh_partly},
};
use crate::{
    config::{FlinkPorts, FlinkRestSd, TargetSpec},
    flink::{
        Role,
        rest::{Ask, Cluster, cluster::TaskManager},
    },
    http::{BuildError, Client},
    labels::Labels,
    limits::REST_BYTES_MAX,
    target::{Address, Seed},
};

/// The cluster of one entry.
#[derive(Debug)]
pub struct FlinkRest {
    client: Client,
    config: FlinkRestSd,
    known: Mutex<Known>,
}

/// What has been told so far.
#[derive(Debug, Default)]
struct Known {
    /// Those of the last good answer.
    groups: Vec<Arc<Group>>,
    /// By log, where a reporter listens, if that could be told.
    ports: Ports,
    /// Refreshes since the JobManager's log was read: nothing else says that it is another process.
    since: u32,
}

/// Whose log; `None` is the JobManager's.
type Log = Option<Arc<str>>;

type Ports = BTreeMap<Log, Result<u16, Silence>>;

/// A log that does not tell.
#[derive(Debug)]
struct Silence {
    why: String,
    /// Refreshes since it was read.
    refreshes: u32,
}

impl FlinkRest {
    /// A client for an entry; nothing is asked yet.
    ///
    /// # Errors
    /// TLS files or headers that cannot be used.
    pub fn new(config: &FlinkRestSd) -> Result<Self, BuildError> {
        let timeout = config.refresh_interval.min(ANSWER_TIME_MAX);
        let client = Client::new(&config.http, timeout)?;
        Ok(Self { client, config: config.clone(), known: Mutex::default() })
    }

    pub(super) async fn run(&self, report: &Report) {
        refresh_partly(report, || self.ask(), self.config.refresh_interval).await;
    }

    async fn ask(&self) -> (Vec<Arc<Group>>, Vec<String>) {
        let mut known =
            std::mem::take(&mut *self.known.lock().unwrap_or_else(PoisonError::into_inner));
        let failures = match self.task_managers().await {
            Ok(task_managers) => {
                let failures = match self.config.ports {
                    FlinkPorts::Logs => self.read_logs(&mut known, &task_managers).await,
                    FlinkPorts::Range(_) => Vec::new(),
                };
                let groups = self.groups(&task_managers, &known.ports);
                known.groups = groups.into_iter().map(Arc::new).collect();
                failures
            }
            Err(failure) => vec![failure],
        };
        let groups = known.groups.clone();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
        (groups, failures)
    }

    async fn task_managers(&self) -> Result<Vec<TaskManager>, String> {
        let ask = Ask::TaskManagers;
        let question = self.question(&ask.to_string(), REST_BYTES_MAX, false);
        let answer = get(&self.client, &question).await.map_err(|failure| failure.to_string())?;
        let mut cluster = Cluster::default();
        let taken = cluster.take(&ask, &answer.body);
        taken.map_err(|error| format!("{}: {error}", self.config.url))?;
        Ok(cluster.task_managers)
    }

    fn question(&self, path: &str, bytes_max: usize, cut: bool) -> Question {
        let base = self.config.url.to_string();
        let url = format!("{}{path}", base.trim_end_matches('/')).parse();
        Question {
            // An id of Flink's that makes no URL is asked for in vain.
            url: url.unwrap_or_else(|_| self.config.url.clone()),
            accept: if cut { "text/plain" } else { "application/json" },
            header: None,
            timeout: self.config.refresh_interval.min(ANSWER_TIME_MAX),
            bytes_max,
            cut,
        }
    }

    /// Reads the logs of processes that are new, and now and then of those that did not tell.
    async fn read_logs(&self, known: &mut Known, task_managers: &[TaskManager]) -> Vec<String> {
        let job_manager = self.config.job_manager.then_some(None);
        let logs = task_managers.iter().map(|tm| Some(Arc::clone(&tm.id))).chain(job_manager);
        let logs: BTreeSet<Log> = logs.collect();
        known.ports.retain(|log, _| logs.contains(log));
        known.since += 1;
        let again = known.since >= READ_AGAIN;
        let mut to_read = Vec::new();
        for log in &logs {
            match known.ports.get_mut(log) {
                Some(Err(silence)) if silence.refreshes + 1 < READ_AGAIN => silence.refreshes += 1,
                Some(Ok(_)) if log.is_some() || !again => {}
                _ => to_read.push(log.clone()),
            }
        }
        if again {
            known.since = 0;
        }
        let mut reads = stream::iter(to_read)
            .map(async |log| {
                let port = self.port(&log).await;
                (log, port)
            })
            .buffer_unordered(LOGS_IN_FLIGHT);
        while let Some((log, port)) = reads.next().await {
            match port {
                Ok(port) => _ = known.ports.insert(log, Ok(port)),
                // Where the JobManager was is still where it most likely is.
                Err(_) if matches!(known.ports.get(&log), Some(Ok(_))) => {}
                Err(why) => _ = known.ports.insert(log, Err(Silence { why, refreshes: 0 })),
            }
        }
        let silent: Vec<_> = known.ports.values().filter_map(|port| port.as_ref().err()).collect();
        // The first one says what is wrong with the others, too.
        let told = silent.first().map(|first| {
            let (count, why) = (silent.len(), &first.why);
            format!("{count} process(es) whose log does not tell the reporter's port; {why}")
        });
        told.into_iter().collect()
    }

    async fn port(&self, log: &Log) -> Result<u16, String> {
        let path = match log {
            None => "/jobmanager/log".to_owned(),
            Some(id) => format!("/taskmanagers/{id}/log"),
        };
        let question = self.question(&path, LOG_BYTES_MAX, true);
        let answer = get(&self.client, &question).await;
        let answer = answer.map_err(|failure| failure.to_string())?;
        port_in_log(&answer.body).ok_or_else(|| {
            format!(
                "{path} has no line `{}…` in its first {LOG_BYTES_MAX} bytes: name the range in \
                 `ports` instead",
                LOG_LINE.trim_end()
            )
        })
    }

    /// A group per host, or per process where ports are known one by one.
    fn groups(&self, task_managers: &[TaskManager], ports: &Ports) -> Vec<Group> {
        let url = self.config.url.to_string();
        let home = self.config.url.host().unwrap_or_default();
        match &self.config.ports {
            FlinkPorts::Logs => {
                let here = self.config.job_manager.then_some((None, home));
                let there = task_managers.iter().map(|tm| (Some(Arc::clone(&tm.id)), &*tm.host));
                let processes = here.into_iter().chain(there);
                let known = processes.filter_map(|(log, host)| {
                    let port = *ports.get(&log)?.as_ref().ok()?;
                    let role = if log.is_some() { Role::TaskManager } else { Role::JobManager };
                    Some(group(&url, host, port..=port, Some(role), log.as_deref(), 1))
                });
                known.collect()
            }
            FlinkPorts::Range(ports) => {
                let mut hosts: BTreeMap<&str, (bool, Vec<&TaskManager>)> = BTreeMap::new();
                for tm in task_managers {
                    hosts.entry(&tm.host).or_default().1.push(tm);
                }
                if self.config.job_manager {
                    hosts.entry(home).or_default().0 = true;
                }
                let group = |(host, (job_manager, there)): (&&str, &(bool, Vec<&TaskManager>))| {
                    let role = match (job_manager, there.is_empty()) {
                        (true, true) => Some(Role::JobManager),
                        (false, _) => Some(Role::TaskManager),
                        (true, false) => None,
                    };
                    let id = match (role, &**there) {
                        (Some(Role::TaskManager), [alone]) => Some(&*alone.id),
                        _ => None,
                    };
                    let instances = there.len() + usize::from(*job_manager);
                    group(&url, host, ports.clone(), role, id, instances)
                };
                hosts.iter().map(group).collect()
            }
        }
    }
}

fn group(
    url: &str,
    host: &str,
    ports: RangeInclusive<u16>,
    role: Option<Role>,
    id: Option<&str>,
    instances: usize,
) -> Group {
    let mut labels = Labels::new();
    labels.push("__meta_flink_rest_url", url.trim_end_matches('/').to_owned());
    labels.push("__meta_flink_host", host.to_owned());
    labels.push("__meta_flink_role", role.map_or("", Role::as_str));
    labels.push("__meta_flink_tm_id", id.unwrap_or_default().to_owned());
    let host = host.to_owned();
    let spec = TargetSpec { scheme: None, host, ports, path: None, params: Vec::new() };
    let seed = Seed { instances: Some(instances), ..Seed::new(Address::Spec(spec)) };
    Group { labels, seeds: vec![seed] }
}

/// Where the reporter of the process listens that wrote the log: its last word on that.
fn port_in_log(log: &[u8]) -> Option<u16> {
    let at = memchr::memmem::rfind(log, LOG_LINE.as_bytes())? + LOG_LINE.len();
    let digits = log.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit());
    let digits: String = digits.map(|&byte| char::from(byte)).collect();
    // A port that is cut off at the end is none.
    let is_whole = log.len() > at + digits.len();
    digits.parse().ok().filter(|&port| port > 0 && is_whole)
}

/// `PrometheusReporter`, Flink 1.13 to 2.3.
const LOG_LINE: &str = "Started PrometheusReporter HTTP server on port ";

/// Bytes of a log that are read. Above the line stand the environment, the class path, which is long, and
/// the configuration: 20 to 100 KiB.
const LOG_BYTES_MAX: usize = 1 << 20;

/// Logs that are read at once: a JobManager has four threads for REST, and a TaskManager sends its log
/// through it.
const LOGS_IN_FLIGHT: usize = 2;

/// After so many refreshes a log that did not tell is read again, and the JobManager's, which may be
/// another process by now.
const READ_AGAIN: u32 = 10;

/// Longest time for a whole answer; the refresh interval when that is shorter.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use hyper::Uri;

    use super::*;

    fn task_manager(id: &str, host: &str) -> TaskManager {
        TaskManager { id: id.into(), host: host.into(), slots: 1 }
    }

    fn found(ports: FlinkPorts, url: &str, tms: &[(&str, &str)], logs: &[(&str, u16)]) -> String {
        let url = url.parse::<Uri>().unwrap();
        let interval = Duration::from_secs(30);
        let http = crate::config::HttpClient::default();
        let config =
            FlinkRestSd { url, ports, job_manager: true, refresh_interval: interval, http };
        let rest = FlinkRest::new(&config).unwrap();
        let known = logs.iter().map(|(id, port)| match *id {
            "" => (None, Ok(*port)),
            id => (Some(id.into()), Ok(*port)),
        });
        let tms: Vec<_> = tms.iter().map(|(id, host)| task_manager(id, host)).collect();
        let groups = rest.groups(&tms, &known.collect());
        let line = |group: &Group| {
            let label = |name| group.labels.get(name).unwrap_or("-");
            let seed = &group.seeds[0];
            let (role, id) = (label("__meta_flink_role"), label("__meta_flink_tm_id"));
            format!("{} {role} {id} {}\n", seed.address, seed.instances.unwrap())
        };
        groups.iter().map(line).collect()
    }

    #[test]
    fn hosts_become_ranges_and_each_takes_what_it_was_made_for() {
        let range = || FlinkPorts::Range(9250..=9260);
        assert_eq!(
            found(
                range(),
                "http://jm:8081",
                &[("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.2")],
                &[]
            ),
            "10.0.0.1:9250-9260 taskmanager a 1\n\
             10.0.0.2:9250-9260 taskmanager - 2\n\
             jm:9250-9260 jobmanager - 1\n"
        );
        assert_eq!(
            found(range(), "http://h:8081/flink", &[("a", "h"), ("b", "h")], &[]),
            "h:9250-9260 - - 3\n",
            "who is who on the JobManager's host is for the probe to say"
        );
        assert_eq!(found(range(), "http://h:8081", &[], &[]), "h:9250-9260 jobmanager - 1\n");
    }

    #[test]
    fn ports_of_logs_become_targets_one_by_one() {
        assert_eq!(
            found(
                FlinkPorts::Logs,
                "http://jm:8081",
                &[("a", "h"), ("b", "h"), ("silent", "h")],
                &[("", 9250), ("a", 9251), ("b", 9252)]
            ),
            "jm:9250 jobmanager - 1\nh:9251 taskmanager a 1\nh:9252 taskmanager b 1\n"
        );
    }

    #[test]
    fn the_port_stands_in_the_log() {
        let check = |log: &str, port| assert_eq!(port_in_log(log.as_bytes()), port, "{log}");
        let line = |port: &str| {
            format!(
                "2026-11-22 10:00:00,123 INFO  org.apache.flink.metrics.prometheus.\
                 PrometheusReporter [] - Started PrometheusReporter HTTP server on port {port}"
            )
        };
        check("", None);
        check(&line("9251.\n"), Some(9251));
        check(&(line("9251.\n") + "more\n" + &line("9253.\n") + "more"), Some(9253));
        check(&line("92"), None);
        check(&line("99999.\n"), None);
        check(&line("0.\n"), None);
        check("Started PrometheusPushGatewayReporter\n", None);
    }
}
