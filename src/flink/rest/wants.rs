//! The ids that pages show and no REST API has explained yet.
//!
//! Each endpoint is asked once about each id; afterwards the id waits for the regular poll, since a
//! cluster that does not know a job will hardly know it ten seconds later. An id that no page has shown
//! for a while is forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};

use crate::limits::WANTS_MAX;

/// Something on a page whose name is not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Want {
    /// A job, by its id.
    Job(Box<str>),
    /// A task, by the ids of its job and its vertex.
    Task(Box<str>, Box<str>),
    /// A TaskManager, by its id as the page writes it.
    TaskManager(Box<str>),
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(id) => write!(f, "job {id}"),
            Self::Task(job, id) => write!(f, "task {id} of job {job}"),
            Self::TaskManager(page) => write!(f, "TaskManager {page}"),
        }
    }
}

/// All that is wanted, and who has been asked in vain.
#[derive(Clone, Debug, Default)]
pub struct Wants {
    wants: BTreeMap<Want, State>,
}

#[derive(Clone, Debug)]
struct State {
    seen: Instant,
    /// Endpoints that have answered without telling it.
    answered: BTreeSet<usize>,
}

impl Wants {
    /// A page shows these. What is above the limit is not asked for: the page keeps its names.
    pub fn add(&mut self, wants: impl IntoIterator<Item = Want>, now: Instant) {
        for want in wants {
            if let Some(state) = self.wants.get_mut(&want) {
                state.seen = now;
            } else if self.wants.len() < WANTS_MAX {
                self.wants.insert(want, State { seen: now, answered: BTreeSet::new() });
            }
        }
    }

    /// Whether the endpoint has not been asked about this yet, as far as it is wanted at all.
    pub fn is_open(&self, want: &Want, endpoint: usize) -> bool {
        self.wants.get(want).is_some_and(|state| !state.answered.contains(&endpoint))
    }

    /// Whether anything is wanted that the endpoint has not been asked about yet.
    pub fn has_open(&self, endpoint: usize) -> bool {
        self.wants.values().any(|state| !state.answered.contains(&endpoint))
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.wants.is_empty()
    }

    /// How many ids are wanted.
    pub fn len(&self) -> usize {
        self.wants.len()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Want> {
        self.wants.keys()
    }

    /// The endpoint has been asked about these.
    pub fn answered<'w>(&mut self, wants: impl IntoIterator<Item = &'w Want>, endpoint: usize) {
        for want in wants {
            if let Some(state) = self.wants.get_mut(want) {
                state.answered.insert(endpoint);
            }
        }
    }

    /// Forgets what is known by now, and what no page has shown for `longest`.
    pub fn settle(&mut self, is_known: impl Fn(&Want) -> bool, now: Instant, longest: Duration) {
        self.wants.retain(|want, state| {
            now.saturating_duration_since(state.seen) < longest && !is_known(want)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str) -> Want {
        Want::Job(id.into())
    }

    #[test]
    fn each_endpoint_is_asked_once() {
        let (mut wants, now) = (Wants::default(), Instant::now());
        wants.add([job("a"), job("b")], now);
        assert!(wants.is_open(&job("a"), 0) && wants.is_open(&job("a"), 1));
        assert!(!wants.is_open(&job("c"), 0), "nobody wants it");
        wants.answered(&[job("a"), job("b"), job("c")], 0);
        wants.add([job("a")], now);
        assert!(!wants.is_open(&job("a"), 0), "showing it again asks nobody again");
        assert!(!wants.has_open(0) && wants.has_open(1));
    }

    #[test]
    fn what_is_known_or_gone_is_forgotten() {
        let (mut wants, now) = (Wants::default(), Instant::now());
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        wants.add([job("known"), job("gone"), job("shown")], now);
        wants.add([job("shown")], now + hour);
        wants.settle(|want| *want == job("known"), now + hour + minute, hour);
        assert_eq!(wants.iter().collect::<Vec<_>>(), [&job("shown")]);
    }

    #[test]
    fn there_is_a_limit() {
        let (mut wants, now) = (Wants::default(), Instant::now());
        wants.add((0..WANTS_MAX + 10).map(|n| job(&n.to_string())), now);
        assert_eq!(wants.len(), WANTS_MAX);
        assert!(!wants.is_empty());
    }
}
