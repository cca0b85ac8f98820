//! Looks at everything that a configuration names, once, side by side, and reports what was seen:
//! the evidence that [`crate::doctor`] judges.
//!
//! Each target gets what a relay would ask of it, and no more at a time: a connection that is closed again,
//! a few names of its page, and when that is Flink's, one scrape. Nothing is written anywhere, unless a
//! person asked for a sample to be sent.
//!
//! Invariants: a host is asked by `LOOKS_IN_FLIGHT` looks at once at most, a port by one; every look has
//! its time, and all of them end when the whole has had its own.

mod receivers;
mod rest;
mod targets;

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use crate::{
    config::Config,
    disk,
    doctor::evidence::{DirectoryLook, Evidence, SourceLook, Trouble, TroubleKind},
    http::{self, BuildError, ErrorKind, Reached},
    relay::{JobLook, Relay, now_ms},
};

/// How to look.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Send each receiver one sample, not an empty request.
    pub send_sample: bool,
    /// Longest time of the whole.
    pub time_max: Duration,
}

/// Looks at all of it. `relay` is one of this configuration that does not run.
///
/// # Errors
/// TLS files or headers that cannot be used.
pub async fn survey(
    config: &Config,
    relay: &Relay,
    manner: Manner,
) -> Result<Evidence, BuildError> {
    let until = Instant::now() + manner.time_max;
    let (mut jobs, rest) = (relay.jobs(), &config.flink.rest);
    let discovery = discover(&mut jobs, until).await;
    let flink = async {
        if rest::is_secret(rest) {
            // Credentials go where `run` would send them: to JobManagers.
            let targets = targets::look(&jobs, until).await;
            let hosts = targets::job_managers(&targets.0);
            return (targets, rest::look(rest, &hosts, until).await);
        }
        let hosts = targets::hosts(&jobs);
        tokio::join!(targets::look(&jobs, until), rest::look(rest, &hosts, until))
    };
    let receivers = receivers::look(config, relay, manner.send_sample, until);
    let (((targets, mut unfinished), clusters), receivers) = tokio::join!(flink, receivers);
    let receivers = receivers?;
    let silent = receivers.iter().filter(|receiver| receiver.answer.is_none());
    unfinished.extend(silent.map(|receiver| receiver.config.url.to_string()));
    Ok(Evidence {
        targets,
        discovery,
        elsewhere: jobs.iter().map(elsewhere).sum(),
        clusters: clusters?,
        receivers,
        data_dir: directory(config),
        now_ms: now_ms(),
        unfinished,
    })
}

/// Asks where targets are looked for, all at once.
async fn discover(jobs: &mut [JobLook], until: Instant) -> Vec<SourceLook> {
    let asked = jobs.iter_mut().map(async |job| {
        let name = job.scrape().job_name.clone();
        // Bounded by itself, too.
        let told = timeout_at(until, job.look_for_targets()).await.unwrap_or_default();
        let look = |(source, found)| SourceLook { job: name.clone(), source, found };
        told.into_iter().map(look).collect::<Vec<_>>()
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// How many ports of a job's targets fall to other relays.
fn elsewhere(job: &JobLook) -> usize {
    let seeds = job.groups().iter().flat_map(|group| &group.seeds);
    seeds.map(|seed| seed.ports().filter(|&port| !job.owns(seed, port)).count()).sum()
}

fn directory(config: &Config) -> Option<DirectoryLook> {
    let path = config.spool.directory.as_ref()?;
    let found = disk::inspect(path);
    Some(DirectoryLook {
        path: path.clone(),
        present: found.present,
        in_use: found.in_use,
        free_bytes: found.free_bytes,
        fault: found.fault.map(|fault| fault.to_string()),
    })
}

/// Why there is no connection; `None` when there was one.
fn unreached(reached: Reached, timeout: Duration) -> Option<Trouble> {
    let (kind, words) = match reached {
        Reached::Open(_) => return None,
        Reached::Refused(address) => {
            (TroubleKind::Refused, format!("{address}: connection refused"))
        }
        Reached::NoAddress(words) => (TroubleKind::Dns, words),
        Reached::Silent => (
            TroubleKind::Silent,
            format!("neither accepted nor refused within {}", timeout.as_secs_f64()) + " s",
        ),
        Reached::Unreachable(words) => (TroubleKind::Unreachable, words),
    };
    Some(Trouble { kind, words })
}

/// Why there is no answer although there may be a connection.
fn trouble(error: &http::Error, proxy: Option<&hyper::Uri>) -> Trouble {
    let kind = match error.kind {
        ErrorKind::Dns => TroubleKind::Dns,
        ErrorKind::Secret => TroubleKind::Secret,
        ErrorKind::Timeout => TroubleKind::Hangs,
        _ if error.is_tls() => TroubleKind::Tls,
        // What a proxy lets through can still fail, and then the proxy's own words say so.
        ErrorKind::Connect | ErrorKind::Truncated if proxy.is_some() => TroubleKind::Proxy,
        _ if error.is_refused() => TroubleKind::Refused,
        ErrorKind::Connect | ErrorKind::Truncated => TroubleKind::Closed,
    };
    Trouble { kind, words: error.to_string() }
}

/// Looks at one time. Enough for a range of a thousand silent ports to be over in time, and few enough for
/// a host and for the descriptors of this process.
const LOOKS_IN_FLIGHT: usize = 128;

/// Longest time for a connection: a second attempt of TCP comes after one second.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Longest time for an answer to a small question.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Longest time for a whole page; the job's `scrape_timeout` when that is shorter.
const PAGE_MAX: Duration = Duration::from_secs(15);
