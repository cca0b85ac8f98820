//! One entry of a `…_sd_configs`: what runs, what it has found, and how it is doing.
//!
//! A [`Source`] is built with the configuration and lives for as long as the entry stays the same: a
//! reload that leaves it alone leaves its found targets and its place in the interval alone. The relay
//! runs it and follows what it finds; what a kind of source does in between is its own module's, which
//! gets a [`Report`] to tell.
//!
//! Rules, as in Prometheus: nothing is known until the first answer; a refresh that fails keeps what
//! was found before; an answer that names nothing is an answer, and ends everything.
//!
//! Invariants: who follows is told only when something has changed; a group that is equal to one before is
//! the same [`Arc`]; the log has one line when a source begins to fail, fails differently or works again.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Group, Groups, dns::Lookups, file::Files, flink_rest::FlinkRest, http::Lists,
    kubernetes::Kubernetes,
};
use crate::{config, http::BuildError};

/// A source of targets.
#[derive(Debug)]
pub struct Source {
    /// The entry it is made from.
    pub config: config::Discovery,
    kind: Kind,
    report: Report,
}

/// What each kind of entry needs.
#[derive(Debug)]
enum Kind {
    File(Files),
    Http(Box<Lists>),
    Dns(Lookups),
    Kubernetes(Kubernetes),
    FlinkRest(Box<FlinkRest>),
}

/// Where a source tells what it has found.
#[derive(Debug)]
pub struct Report {
    job: String,
    /// What is asked, for the log.
    whom: String,
    found: watch::Sender<Option<Groups>>,
    state: Mutex<SourceState>,
}

/// How a source is doing.
#[derive(Clone, Debug, Default)]
pub struct SourceState {
    /// When it last told what there is; `None` before the first time.
    pub last_refresh: Option<SystemTime>,
    /// Why it cannot tell now; `None` when it can.
    pub failure: Option<String>,
    /// How often it was asked, and how often in vain.
    pub refreshes: u64,
    /// See `refreshes`.
    pub failures: u64,
    /// Targets found, before relabelling; a port range is one. `None` before the first answer.
    pub targets: Option<usize>,
    /// What became of them, told by the relay.
    pub left_out: LeftOut,
}

/// What a source has told when it was asked once.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// What there is, as far as it is known.
    pub groups: Groups,
    /// What keeps that from being all.
    pub failure: Option<String>,
}

/// Found targets that are not scraped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// `relabel_configs` drop them.
    pub relabel: usize,
    /// Relabelling leaves no URL or no duration.
    pub invalid: usize,
    /// They fall to other relays. The ports of a range count one by one.
    pub shard: usize,
}

impl Source {
    /// Makes a source of a job's entry; nothing is asked yet.
    ///
    /// # Errors
    /// TLS files or headers that cannot be used.
    pub fn new(job: &str, config: &config::Discovery) -> Result<Self, BuildError> {
        let kind = match config {
            config::Discovery::File(config) => Kind::File(Files::new(config)),
            config::Discovery::Http(config) => Kind::Http(Box::new(Lists::new(config)?)),
            config::Discovery::Dns(config) => Kind::Dns(Lookups::new(config)),
            config::Discovery::Kubernetes(config) => Kind::Kubernetes(Kubernetes::new(config)),
            config::Discovery::Flink(config::FlinkSd::Kubernetes(config)) => {
                Kind::Kubernetes(Kubernetes::of_flink(config))
            }
            config::Discovery::Flink(config::FlinkSd::Rest(config)) => {
                Kind::FlinkRest(Box::new(FlinkRest::new(config)?))
            }
        };
        Ok(Self { report: Report::new(job, config.to_string()), config: config.clone(), kind })
    }

    /// Looks for targets until it is cancelled. One run at a time.
    pub async fn run(&self, cancel: &CancellationToken) {
        let run = async {
            match &self.kind {
                Kind::File(files) => files.run(&self.report).await,
                Kind::Http(lists) => lists.run(&self.report).await,
                Kind::Dns(lookups) => lookups.run(&self.report).await,
                Kind::Kubernetes(kubernetes) => kubernetes.run(&self.report).await,
                Kind::FlinkRest(rest) => rest.run(&self.report).await,
            }
        };
        cancel.run_until_cancelled(run).await;
    }

    /// What has been found; `None` before the first answer.
    pub fn found(&self) -> watch::Receiver<Option<Groups>> {
        self.report.found.subscribe()
    }

    /// How it is doing.
    pub fn state(&self) -> SourceState {
        self.report.state().clone()
    }

    /// Notes what became of the targets.
    pub fn set_left_out(&self, left_out: LeftOut) {
        self.report.state().left_out = left_out;
    }

    /// Asks until there is an answer or a failure, `longest` at most. For who looks once.
    pub async fn ask(&self, longest: Duration) -> Answer {
        let (cancel, mut found) = (CancellationToken::new(), self.found());
        let answer = async {
            loop {
                let groups = found.borrow_and_update().clone();
                let failure = self.state().failure;
                if groups.is_some() || failure.is_some() {
                    return Answer { groups: groups.unwrap_or_default(), failure };
                }
                // A failure is told like a change.
                let _lives_as_long_as_the_source = found.changed().await;
            }
        };
        let late = || Answer {
            failure: Some(format!("no answer within {} s", longest.as_secs_f64())),
            ..Answer::default()
        };
        tokio::select! {
            biased;
            answer = tokio::time::timeout(longest, answer) => answer.unwrap_or_else(|_| late()),
            // It looks for ever; should it end, there is no answer.
            () = self.run(&cancel) => late(),
        }
    }
}

impl Report {
    pub(super) fn new(job: &str, whom: String) -> Self {
        let (found, _) = watch::channel(None);
        Self { job: job.to_owned(), whom, found, state: Mutex::default() }
    }

    /// The whole set of what there is now.
    pub fn found(&self, groups: Vec<Group>) {
        self.found_groups(groups.into_iter().map(Arc::new).collect());
    }

    /// Like [`Report::found`], for who keeps its groups: those that are the same [`Arc`] as before are
    /// not looked at. To be called a few times a second at most.
    pub fn found_groups(&self, groups: Vec<Arc<Group>>) {
        self.found_partly(groups, String::new());
    }

    /// The whole set, a part of which is what it was before because of a failure; an empty text is none.
    /// While nothing is known at all, a failure is one of the whole.
    pub fn found_partly(&self, groups: Vec<Arc<Group>>, failure: String) {
        if groups.is_empty() && !failure.is_empty() && !self.is_known() {
            return self.failed(failure);
        }
        let groups = self.keep(groups);
        let targets = groups.iter().map(|group| group.seeds.len()).sum();
        let failure = Some(failure).filter(|failure| !failure.is_empty());
        let mut state = self.state();
        state.refreshes += 1;
        state.failures += u64::from(failure.is_some());
        if failure.is_none() {
            state.last_refresh = Some(SystemTime::now());
        }
        state.targets = Some(targets);
        let before = std::mem::replace(&mut state.failure, failure.clone());
        drop(state);
        let is_first = self.found.borrow().is_none();
        match failure {
            None if is_first || before.is_some() => {
                info!(job = self.job, source = self.whom, targets, "discovery works");
            }
            Some(why) if before.as_ref() != Some(&why) => self.warn(&why, targets),
            _ => {}
        }
        self.found.send_if_modified(|found| {
            let is_same = found.as_deref().is_some_and(|found| {
                found.len() == groups.len()
                    && found.iter().zip(&groups).all(|(a, b)| Arc::ptr_eq(a, b))
            });
            if !is_same {
                *found = Some(groups.into());
            }
            !is_same
        });
    }

    /// It cannot be told now what there is; what was found before stays.
    pub fn failed(&self, why: impl fmt::Display) {
        let why = why.to_string();
        let mut state = self.state();
        state.refreshes += 1;
        state.failures += 1;
        let before = state.failure.replace(why.clone());
        let targets = state.targets;
        drop(state);
        if before.as_ref() != Some(&why) {
            self.warn(&why, targets.unwrap_or_default());
        }
        if self.found.borrow().is_none() {
            // For who waits for the first answer.
            self.found.send_modify(|_| {});
        }
    }

    fn warn(&self, why: &str, targets: usize) {
        warn!(
            job = self.job,
            source = self.whom,
            error = why,
            targets,
            "discovery fails; the targets that were found before are kept"
        );
    }

    /// What was found last, and why it cannot be told now.
    #[cfg(test)]
    pub(super) fn groups(&self) -> Option<Groups> {
        self.found.borrow().clone()
    }

    /// See [`Report::groups`].
    #[cfg(test)]
    pub(super) fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    /// Whether anything was ever found.
    pub fn is_known(&self) -> bool {
        self.found.borrow().is_some()
    }

    /// The groups, with those that are equal to one before replaced by it.
    fn keep(&self, groups: Vec<Arc<Group>>) -> Vec<Arc<Group>> {
        let before = self.found.borrow().clone().unwrap_or_default();
        let mut known: HashMap<_, Vec<&Arc<Group>>> = HashMap::new();
        for group in &*before {
            known.entry(first_address(group)).or_default().push(group);
        }
        let kept = groups.into_iter().map(|group| {
            let alike = known.get(&first_address(&group)).map(Vec::as_slice).unwrap_or_default();
            let same = alike.iter().find(|known| Arc::ptr_eq(known, &group));
            let same = same.or_else(|| alike.iter().find(|known| ***known == group));
            same.map_or_else(|| Arc::clone(&group), |known| Arc::clone(known))
        });
        kept.collect()
    }

    fn state(&self) -> MutexGuard<'_, SourceState> {
        // A poisoned lock holds plain counters that are still good to show.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells most groups from one another.
fn first_address(group: &Group) -> Option<String> {
    group.seeds.first().map(|seed| seed.address.to_string())
}

/// What there is now, and what keeps parts of it from being up to date.
pub(super) type Told = (Vec<Arc<Group>>, Vec<String>);

/// Asks at each interval, at once at first. After a failure it asks again sooner, with growing pauses
/// that end at the interval.
pub(super) async fn refresh<F: Future<Output = Result<Vec<Group>, String>>>(
    report: &Report,
    mut ask: impl FnMut() -> F,
    interval: Duration,
) {
    let mut pauses = Pauses::new(interval);
    loop {
        let began = Instant::now();
        let asked = ask().await;
        let is_good = asked.is_ok();
        match asked {
            Ok(groups) => report.found(groups),
            Err(error) => report.failed(error),
        }
        sleep_until(began + pauses.next(is_good)).await;
    }
}

/// The same for who keeps what it knew of each part.
pub(super) async fn refresh_partly<F: Future<Output = Told>>(
    report: &Report,
    mut ask: impl FnMut() -> F,
    interval: Duration,
) {
    let mut pauses = Pauses::new(interval);
    loop {
        let began = Instant::now();
        let (groups, failures) = ask().await;
        report.found_partly(groups, failures.join("; "));
        sleep_until(began + pauses.next(failures.is_empty())).await;
    }
}

/// The time from one refresh to the next.
struct Pauses {
    interval: Duration,
    again: Duration,
}

impl Pauses {
    const fn new(interval: Duration) -> Self {
        Self { interval, again: AGAIN_FIRST }
    }

    fn next(&mut self, is_good: bool) -> Duration {
        if is_good {
            self.again = AGAIN_FIRST;
            return self.interval;
        }
        let pause = self.again.min(self.interval);
        self.again = self.again.saturating_mul(2);
        pause
    }
}

/// First pause after a refresh that failed: what is asked starts together with the relay as often as not.
const AGAIN_FIRST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;
    use crate::target::{Address, Seed};

    fn group(addresses: &[&str], label: &str) -> Group {
        Group {
            labels: [("a", label.to_owned())].into_iter().collect(),
            seeds: addresses.iter().map(|text| Seed::new(Address::read(text))).collect(),
        }
    }

    #[test]
    fn who_follows_is_told_only_of_changes() {
        let report = Report::new("flink", "a test".to_owned());
        let mut told = report.found.subscribe();
        let mut changed = || {
            let changed = told.has_changed().unwrap();
            told.mark_unchanged();
            changed
        };
        report.failed("first");
        assert!(changed() && !report.is_known());
        report.found(vec![group(&["h:1"], "x"), group(&["h:2", "h:3"], "x")]);
        assert!(changed());
        let first = report.found.borrow().clone().unwrap();
        report.found(vec![group(&["h:1"], "x"), group(&["h:2", "h:3"], "x")]);
        assert!(!changed(), "the same again");
        report.failed("later");
        assert!(!changed(), "what was found stays");
        assert_eq!(report.found.borrow().as_deref().unwrap(), &*first);
        report.found(vec![group(&["h:2", "h:3"], "x"), group(&["h:1"], "y")]);
        assert!(changed());
        let second = report.found.borrow().clone().unwrap();
        assert!(Arc::ptr_eq(&first[1], &second[0]), "what is the same stays the same");
        assert!(!Arc::ptr_eq(&first[0], &second[1]));
        report.found(Vec::new());
        assert!(changed() && report.is_known(), "nothing is an answer, too");
        let state = report.state().clone();
        assert_eq!((state.refreshes, state.failures, state.targets), (6, 2, Some(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_followed_by_sooner_tries() {
        let report = Report::new("flink", "a test".to_owned());
        let began = Instant::now();
        let mut asked = Vec::new();
        let ask = || {
            asked.push(began.elapsed().as_secs());
            ready(match asked.len() {
                5 | 6 => Ok(Vec::new()),
                _ => Err("no".to_owned()),
            })
        };
        let run = refresh(&report, ask, Duration::from_secs(30));
        let _ended = tokio::time::timeout(Duration::from_secs(300), run).await;
        assert_eq!(asked, [0, 5, 15, 35, 65, 95, 125, 130, 140, 160, 190, 220, 250, 280]);
    }
}
