//! Asks Flink's REST API for the names that people gave, as rarely as it can be done.
//!
//! One [`Rest`] serves all targets of a relay. Scrapes bring the ids that they cannot explain
//! ([`Rest::want`]), may wait a moment for their names ([`Rest::hold`]) and read what is known
//! ([`Rest::names`]); each endpoint is looked after by a loop of its own, so that a dead JobManager delays no
//! other. Nothing is asked while nothing is unknown, except by the relay that scrapes the JobManager: it
//! keeps the info series up to date (see [`crate::flink::rest::info`]).
//!
//! Invariants: at most one request in flight per endpoint; requests are GETs below the endpoint's URL; an
//! endpoint that fails is waited for by nobody; the log has a line when an endpoint begins to fail, fails
//! differently, or answers again.

mod endpoint;
mod request;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hyper::Uri;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use self::endpoint::Endpoint;
pub use self::{
    endpoint::EndpointState,
    request::{Failure, get, request},
};
use crate::{
    config::{self, RestEndpoints},
    flink::rest::{Names, Need, Want, Wants, info},
    http::{BuildError, Client},
    limits::REST_ENDPOINTS_MAX,
};

/// Flink's REST port unless `rest.port` says otherwise, which a person then has to tell us, too.
const REST_PORT: u16 = 8081;

/// How long an id is remembered that no page shows any more, and an endpoint that was found at a
/// JobManager whose pages are no longer scraped.
const FORGET_AFTER: Duration = Duration::from_secs(60 * 60);

/// The same while there is no endpoint to ask: jobs that restart all day are not to be remembered for that.
/// Longer than scrapes are apart.
const FORGET_UNASKED_AFTER: Duration = Duration::from_secs(5 * 60);

/// After this many intervals without an answer, what was told of a cluster is no longer shown as info.
const INFO_INTERVALS: u32 = 3;

/// How often an endpoint that nobody needs is looked at, to see whether it can be forgotten.
const IDLE: Duration = Duration::from_secs(60);

/// All endpoints, and what they have told.
#[derive(Debug)]
pub struct Rest {
    settings: config::Rest,
    client: Client,
    state: Mutex<State>,
    names: watch::Sender<Arc<Names>>,
    /// Counts polls, for those who wait for one.
    polls: watch::Sender<u64>,
    added: Notify,
}

#[derive(Debug, Default)]
struct State {
    wants: Wants,
    endpoints: Vec<Arc<Endpoint>>,
    /// Endpoints so far, those that are gone included.
    count: usize,
}

impl Rest {
    /// What the configuration says; `None` when nothing is to be asked.
    ///
    /// # Errors
    /// TLS files, secrets or headers that cannot be used.
    pub fn new(settings: &config::Rest) -> Result<Option<Self>, BuildError> {
        let urls = match &settings.endpoints {
            RestEndpoints::Off => return Ok(None),
            RestEndpoints::Auto => &[][..],
            RestEndpoints::Urls(urls) => urls,
        };
        let rest = Self {
            client: Client::new(&settings.http, settings.timeout)?,
            settings: settings.clone(),
            state: Mutex::default(),
            names: watch::Sender::default(),
            polls: watch::Sender::default(),
            added: Notify::new(),
        };
        urls.iter().for_each(|url| rest.add(url, false));
        Ok(Some(rest))
    }

    /// What is known now. The same [`Arc`] for as long as nothing new is.
    pub fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names.borrow())
    }

    /// How long a scrape may wait for names.
    pub const fn hold_max(&self) -> Duration {
        self.settings.hold
    }

    /// A target turned out to be a JobManager: with `auto` its REST API is asked from now on.
    pub fn found_job_manager(&self, target: &Uri) {
        if self.settings.endpoints != RestEndpoints::Auto {
            return;
        }
        let Some(host) = target.host() else { return };
        if let Ok(url) = format!("http://{host}:{REST_PORT}").parse() {
            self.add(&url, true);
        }
    }

    /// A page shows these ids under names that are not known.
    pub fn want(&self, wants: &BTreeSet<Want>) {
        // What REST knows under a name that the page cannot mean is not asked for again and again.
        let names = self.names();
        let mut unknown = wants.iter().filter(|want| !names.knows(want)).peekable();
        if unknown.peek().is_none() {
            return;
        }
        let mut state = lock(&self.state);
        let now = Instant::now().into_std();
        state.wants.add(unknown, now);
        if state.endpoints.is_empty() {
            state.wants.settle_unasked(now, FORGET_UNASKED_AFTER);
        }
        for endpoint in &state.endpoints {
            endpoint.wake.notify_one();
        }
    }

    /// The endpoint whose cluster the JobManager at `target` leads: the one on its host, or the one
    /// that knows a job of its page. From then on it is asked for what the info series tell.
    pub fn cluster_of(&self, target: &Uri, jobs: &BTreeSet<&str>) -> Option<usize> {
        let endpoints = lock(&self.state).endpoints.clone();
        let on_host = endpoints.iter().find(|endpoint| endpoint.url.host() == target.host());
        let knows = |endpoint: &&Arc<Endpoint>| {
            let cluster = endpoint.cluster();
            jobs.iter().any(|job| cluster.jobs.contains_key(*job))
        };
        let endpoint = on_host.or_else(|| endpoints.iter().find(knows))?;
        endpoint.carry(Instant::now() + 2 * self.settings.poll_interval.max(IDLE));
        Some(endpoint.id)
    }

    /// The info series of that cluster, as lines of the page of its JobManager.
    pub fn info(&self, endpoint: usize, jobs: &BTreeSet<&str>) -> Option<String> {
        let endpoint = self.endpoint(endpoint)?;
        let newest = endpoint.state().info_at?;
        let age = Instant::now().saturating_duration_since(newest);
        let is_fresh = age < INFO_INTERVALS * self.settings.poll_interval;
        is_fresh.then(|| info::lines(&endpoint.cluster(), jobs))
    }

    /// Waits until it is known who these are, or that nobody can tell; `longest` at most. `carries` is
    /// the endpoint whose info series are wanted, too.
    pub async fn hold(&self, wants: &BTreeSet<Want>, carries: Option<usize>, longest: Duration) {
        let until = Instant::now() + longest;
        let mut polls = self.polls.subscribe();
        let told = async {
            while self.may_be_told(wants, carries, until) && polls.changed().await.is_ok() {}
        };
        // What has not come by then is given back later.
        let _in_vain = timeout(longest, told).await;
    }

    /// Asks for as long as the relay runs.
    pub async fn run(&self, stop: CancellationToken) {
        let mut loops = FuturesUnordered::new();
        let mut started = 0;
        loop {
            let added = self.added.notified();
            let endpoints = lock(&self.state).endpoints.clone();
            for endpoint in endpoints {
                if endpoint.id >= started {
                    started = endpoint.id + 1;
                    loops.push(self.look_after(endpoint));
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = added => {}
                Some(gone) = loops.next() => self.forget(gone),
            }
        }
    }

    /// Each endpoint's URL and state.
    pub fn endpoints(&self) -> Vec<(Uri, EndpointState)> {
        let endpoints = lock(&self.state).endpoints.clone();
        endpoints.iter().map(|endpoint| (endpoint.url.clone(), endpoint.state())).collect()
    }

    /// Ids on pages that nobody has explained.
    pub fn unknown(&self) -> Vec<Want> {
        let state = lock(&self.state);
        state.wants.iter().filter(|want| want.is_on_a_page()).cloned().collect()
    }

    fn add(&self, url: &Uri, found: bool) {
        let mut state = lock(&self.state);
        let now = Instant::now();
        if let Some(known) = state.endpoints.iter().find(|endpoint| endpoint.url == *url) {
            known.keep(now);
        } else if state.endpoints.len() < REST_ENDPOINTS_MAX {
            let id = state.count;
            state.count += 1;
            let interval = self.settings.poll_interval;
            state.endpoints.push(Arc::new(Endpoint::new(id, url.clone(), found, interval, now)));
            self.added.notify_one();
        }
    }

    fn forget(&self, id: usize) {
        lock(&self.state).endpoints.retain(|endpoint| endpoint.id != id);
        self.publish();
    }

    fn endpoint(&self, id: usize) -> Option<Arc<Endpoint>> {
        lock(&self.state).endpoints.iter().find(|endpoint| endpoint.id == id).cloned()
    }

    /// Whether an answer that tells one of these may come before `until`.
    fn may_be_told(&self, wants: &BTreeSet<Want>, carries: Option<usize>, until: Instant) -> bool {
        let now = Instant::now();
        let state = lock(&self.state);
        state.endpoints.iter().any(|endpoint| {
            let is_asked = wants.iter().any(|want| state.wants.is_open(want, endpoint.id));
            let carries = carries == Some(endpoint.id) && endpoint.lacks_info(now);
            (is_asked || carries) && endpoint.may_answer(now, until)
        })
    }

    async fn look_after(&self, endpoint: Arc<Endpoint>) -> usize {
        loop {
            let woken = endpoint.wake.notified();
            let now = Instant::now();
            let (need, at) = self.due(&endpoint, now);
            match at {
                Some(at) if at <= now => self.poll(&endpoint, need).await,
                at => {
                    if endpoint.is_forgotten(now, FORGET_AFTER) {
                        return endpoint.id;
                    }
                    tokio::select! {
                        () = woken => {}
                        () = sleep_until(at.unwrap_or(now + IDLE).min(now + IDLE)) => {}
                    }
                }
            }
        }
    }

    /// Why and when to poll next; no time is not at all.
    fn due(&self, endpoint: &Endpoint, now: Instant) -> (Need, Option<Instant>) {
        let state = lock(&self.state);
        let wanted = state.wants.due(endpoint.id).map(Instant::from_std);
        let early = if endpoint.lacks_info(now) { Some(now) } else { wanted };
        let is_needed = state.wants.needs(endpoint.id) || endpoint.carries(now);
        drop(state);
        let regular = is_needed.then(|| endpoint.due(Need::Regular, now)).flatten();
        let early = early.and_then(|early| Some(early.max(endpoint.due(Need::Early, now)?)));
        match (early, regular) {
            (Some(early), Some(regular)) if regular < early => (Need::Regular, Some(regular)),
            (Some(early), _) => (Need::Early, Some(early)),
            (None, Some(regular)) => (Need::Regular, Some(regular)),
            (None, None) => (Need::None, None),
        }
    }

    async fn poll(&self, endpoint: &Endpoint, need: Need) {
        let wants = lock(&self.state).wants.to_ask(endpoint.id);
        let carries = endpoint.carries(Instant::now());
        let mut cluster = endpoint.begin(need, Instant::now());
        let asked = request::ask_all(
            &self.client,
            endpoint,
            &mut cluster,
            &wants,
            carries,
            self.settings.timeout,
        );
        let asked = asked.await;
        let is_good = asked.is_ok();
        let times = (Instant::now(), SystemTime::now());
        if endpoint.end(asked, cluster, carries, times, fastrand::f64()) {
            self.publish();
        }
        let names = self.names();
        let mut state = lock(&self.state);
        if is_good {
            state.wants.answered(&wants, endpoint.id, times.0.into_std());
            if carries {
                let cluster = endpoint.cluster();
                let tasks = cluster.jobs_without_tasks().map(|job| Want::Tasks(job.into()));
                state.wants.add(tasks, times.0.into_std());
            }
        }
        state.wants.settle(|want| names.knows(want), times.0.into_std(), FORGET_AFTER);
        drop(state);
        self.polls.send_modify(|polls| *polls += 1);
    }

    fn publish(&self) {
        let endpoints = lock(&self.state).endpoints.clone();
        let names = Names::new(endpoints.iter().map(|endpoint| endpoint.cluster()));
        self.names.send_replace(Arc::new(names));
    }
}

/// A poisoned lock holds names that are still good to give.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
