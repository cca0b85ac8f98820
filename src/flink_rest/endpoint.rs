//! One endpoint: when it was asked, what it told, how it is doing.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use hyper::Uri;
use tokio::{sync::Notify, time::Instant};
use tracing::{info, warn};

use super::{lock, request::Failure};
use crate::flink::rest::{Cluster, Need, Schedule};

/// One endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) id: usize,
    pub(super) url: Uri,
    /// It was found at a JobManager, nobody named it.
    found: bool,
    pub(super) wake: Notify,
    state: Mutex<EndpointState>,
}

/// How an endpoint is doing.
#[derive(Clone, Debug)]
pub struct EndpointState {
    /// What it has told.
    pub cluster: Arc<Cluster>,
    /// When the last good poll ended.
    pub last_ok: Option<SystemTime>,
    /// Why the last poll failed; `None` when it did not, or there was none.
    pub failure: Option<String>,
    /// All polls, and those that failed.
    pub polls: u64,
    /// See `polls`.
    pub polls_failed: u64,
    /// All requests, and those that got no answer to use.
    pub requests: u64,
    /// See `requests`.
    pub requests_failed: u64,
    /// When all that the info series tell was read last.
    pub(super) info_at: Option<Instant>,
    schedule: Schedule,
    is_polled: bool,
    carries_until: Option<Instant>,
    kept_at: Instant,
}

impl Endpoint {
    pub(super) fn new(id: usize, url: Uri, found: bool, interval: Duration, now: Instant) -> Self {
        let state = EndpointState {
            cluster: Arc::default(),
            last_ok: None,
            failure: None,
            polls: 0,
            polls_failed: 0,
            requests: 0,
            requests_failed: 0,
            info_at: None,
            schedule: Schedule::new(interval),
            is_polled: false,
            carries_until: None,
            kept_at: now,
        };
        Self { id, url, found, wake: Notify::new(), state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> EndpointState {
        lock(&self.state).clone()
    }

    pub(super) fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&lock(&self.state).cluster)
    }

    /// The JobManager at which it was found is still there.
    pub(super) fn keep(&self, now: Instant) {
        lock(&self.state).kept_at = now;
    }

    pub(super) fn is_forgotten(&self, now: Instant, after: Duration) -> bool {
        self.found && now.saturating_duration_since(lock(&self.state).kept_at) > after
    }

    /// Its info series are shown until then.
    pub(super) fn carry(&self, until: Instant) {
        let mut state = lock(&self.state);
        let is_new = state.carries_until.is_none_or(|before| before < Instant::now());
        state.carries_until = Some(until);
        if is_new {
            state.info_at = None;
            self.wake.notify_one();
        }
    }

    pub(super) fn carries(&self, now: Instant) -> bool {
        lock(&self.state).carries_until.is_some_and(|until| now < until)
    }

    /// Whether its info series are to be shown and were never read.
    pub(super) fn lacks_info(&self, now: Instant) -> bool {
        self.carries(now) && lock(&self.state).info_at.is_none()
    }

    pub(super) fn due(&self, need: Need, now: Instant) -> Option<Instant> {
        let due = lock(&self.state).schedule.due(need, now.into_std())?;
        Some(Instant::from_std(due))
    }

    /// Whether a poll that is asked for now may have answered by `until`.
    pub(super) fn may_answer(&self, now: Instant, until: Instant) -> bool {
        let state = lock(&self.state);
        let due = state.schedule.due(Need::Early, now.into_std());
        let is_soon = state.is_polled || due.is_some_and(|due| Instant::from_std(due) < until);
        is_soon && !state.schedule.is_failing()
    }

    /// A poll begins; it works on a copy of what is known.
    pub(super) fn begin(&self, need: Need, now: Instant) -> Cluster {
        let mut state = lock(&self.state);
        state.schedule.begin(need, now.into_std());
        state.is_polled = true;
        let mut cluster = Cluster::clone(&state.cluster);
        if state.failure.is_some() {
            cluster.forget_version();
        }
        cluster
    }

    /// One request was answered, or not.
    pub(super) fn count(&self, is_good: bool) {
        let mut state = lock(&self.state);
        state.requests += 1;
        state.requests_failed += u64::from(!is_good);
    }

    /// A poll has ended. Returns whether anything is known that was not.
    pub(super) fn end(
        &self,
        result: Result<(), Failure>,
        cluster: Cluster,
        carried: bool,
        (now, wall): (Instant, SystemTime),
        random: f64,
    ) -> bool {
        let mut state = lock(&self.state);
        state.is_polled = false;
        state.polls += 1;
        state.schedule.end(result.is_ok(), now.into_std(), random);
        let changed = *state.cluster != cluster;
        if changed {
            state.cluster = Arc::new(cluster);
        }
        match result {
            Ok(()) => {
                if state.last_ok.is_none() || state.failure.is_some() {
                    info!(url = %self.url, version = %state.cluster.version,
                        jobs = state.cluster.jobs.len(),
                        "Flink's REST API answers: its names are given back");
                }
                state.last_ok = Some(wall);
                state.failure = None;
                if carried {
                    state.info_at = Some(now);
                }
            }
            Err(failure) => {
                state.polls_failed += 1;
                let before = state.failure.replace(failure.to_string());
                if before.as_ref() != state.failure.as_ref() {
                    self.log(&failure, state.last_ok.is_some());
                }
            }
        }
        changed
    }

    fn log(&self, failure: &Failure, has_answered: bool) {
        const SAYS: &str = "Flink's REST API cannot be asked; what is new on pages keeps the page's names until it can";
        // Nobody has asked for an endpoint that was found: that there is none is no fault.
        if self.found && !has_answered {
            info!(url = %self.url, %failure, "{SAYS}. `flink.rest` names another address, or `off`");
        } else {
            warn!(url = %self.url, %failure, "{SAYS}");
        }
    }
}
