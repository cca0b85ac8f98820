//! The ids that pages show and no REST API has explained yet.
//!
//! Each endpoint is asked at once, a few times in the next minutes, and then with its regular polls. An id
//! that no page has shown for a while is forgotten.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};

use crate::limits::{STARTS_PER_POLL_MAX, WANTS_MAX};

/// Something on a page whose name is not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Want {
    /// A job, by its id.
    Job(Box<str>),
    /// A task, by the ids of its job and its vertex.
    Task(Box<str>, Box<str>),
    /// A TaskManager, by its id as the page writes it.
    TaskManager(Box<str>),
    /// The tasks of a job that had none yet, by its id: it is being set up.
    Tasks(Box<str>),
    /// When the attempt of a subtask began, whose counters a page shows. Worth no poll of its own: it
    /// is asked for together with others, or with the next regular one.
    Start {
        /// The job's id.
        job: Box<str>,
        /// The task's id.
        task: Box<str>,
        /// Which of its subtasks.
        subtask: u32,
        /// Which attempt of the subtask, from 0.
        attempt: u32,
    },
    /// Whether a job is over that has left a TaskManager whose own series bear its name.
    End {
        /// The job's id.
        job: Box<str>,
        /// The TaskManager's id as the page writes it.
        tm: Box<str>,
        /// Counts how often it was left: each time is asked for anew.
        time: u32,
    },
}

impl Want {
    /// Whether it is a name that a page shows; the others are questions of the relay's own.
    pub const fn is_on_a_page(&self) -> bool {
        !matches!(self, Self::Tasks(_) | Self::Start { .. } | Self::End { .. })
    }

    const fn is_urgent(&self) -> bool {
        !matches!(self, Self::Start { .. })
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(id) => write!(f, "job {id}"),
            Self::Task(job, id) => write!(f, "task {id} of job {job}"),
            Self::TaskManager(page) => write!(f, "TaskManager {page}"),
            Self::Tasks(job) => write!(f, "tasks of job {job}"),
            Self::Start { job, task, subtask, attempt } => {
                write!(
                    f,
                    "start of attempt {attempt} of subtask {subtask} of task {task} of job {job}"
                )
            }
            Self::End { job, .. } => write!(f, "end of job {job}"),
        }
    }
}

/// All that is wanted, and who has been asked in vain.
#[derive(Clone, Debug, Default)]
pub struct Wants {
    wants: BTreeMap<Want, State>,
    /// When what nobody is asked about was forgotten last.
    unasked: Option<Instant>,
}

#[derive(Clone, Debug)]
struct State {
    seen: Instant,
    /// How often each endpoint has answered without telling it, and when it did last.
    asked: BTreeMap<usize, (usize, Instant)>,
}

/// Pauses after which an endpoint that could not tell is asked again. What is new on a page may be newer
/// than what Flink answers: it caches a job's details for 3 seconds (`web.refresh-interval`), and a TaskManager
/// shows its page before it has registered. Afterwards there is the regular poll.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(1),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// Answers in vain after which nobody waits for the next one.
const ANSWERS_AWAITED: usize = 4;

impl Wants {
    /// A page shows these. What is above the limit is not asked for: the page keeps its names.
    pub fn add<W: Borrow<Want>>(&mut self, wants: impl IntoIterator<Item = W>, now: Instant) {
        for want in wants {
            let want = want.borrow();
            if let Some(state) = self.wants.get_mut(want) {
                state.seen = now;
            } else if self.wants.len() < if want.is_urgent() { WANTS_MAX } else { WANTS_MAX / 2 } {
                self.wants.insert(want.clone(), State { seen: now, asked: BTreeMap::new() });
            }
        }
    }

    /// Whether it is worth to wait for the endpoint's next word about this, as far as it is wanted at
    /// all.
    pub fn is_open(&self, want: &Want, endpoint: usize) -> bool {
        self.wants.get(want).is_some_and(|state| state.answers(endpoint) < ANSWERS_AWAITED)
    }

    /// When the endpoint is to be asked about something that it has not told yet; `None` leaves that to
    /// the regular poll.
    pub fn due(&self, endpoint: usize) -> Option<Instant> {
        let due = |state: &State| match state.asked.get(&endpoint) {
            None => Some(state.seen),
            Some((answers, last)) => Some(*last + *PAUSES.get(answers.checked_sub(1)?)?),
        };
        let urgent = self.wants.iter().filter(|(want, _)| want.is_urgent());
        urgent.filter_map(|(_, state)| due(state)).min()
    }

    /// Whether the endpoint's regular polls may tell any of it.
    pub fn needs(&self, endpoint: usize) -> bool {
        self.open(endpoint).next().is_some()
    }

    /// What the endpoint is asked about in a poll: all names, and the starts of a few tasks.
    pub fn to_ask(&self, endpoint: usize) -> Vec<Want> {
        let (mut asked, mut tasks) = (Vec::new(), BTreeSet::new());
        for want in self.open(endpoint) {
            if let Want::Start { job, task, .. } = want {
                if tasks.len() == STARTS_PER_POLL_MAX && !tasks.contains(&(job, task)) {
                    continue;
                }
                tasks.insert((job, task));
            }
            asked.push(want.clone());
        }
        asked
    }

    /// A name may be told at any time; a start that was not told soon will never be.
    fn open(&self, endpoint: usize) -> impl Iterator<Item = &Want> {
        let is_open = move |(want, state): &(&Want, &State)| {
            want.is_urgent() || state.answers(endpoint) < ANSWERS_AWAITED
        };
        self.wants.iter().filter(is_open).map(|(want, _)| want)
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
    pub fn answered<'w>(
        &mut self,
        wants: impl IntoIterator<Item = &'w Want>,
        endpoint: usize,
        now: Instant,
    ) {
        for want in wants {
            if let Some(state) = self.wants.get_mut(want) {
                let answers = state.answers(endpoint) + 1;
                state.asked.insert(endpoint, (answers, now));
            }
        }
    }

    /// Forgets what is known by now, and what no page has shown for `longest`.
    pub fn settle(&mut self, is_known: impl Fn(&Want) -> bool, now: Instant, longest: Duration) {
        self.wants.retain(|want, state| {
            now.saturating_duration_since(state.seen) < longest && !is_known(want)
        });
    }

    /// Forgets what no page has shown for `longest` while there is no endpoint, so that no poll does it. All
    /// are looked at, so not more than ten times in that time, however often this is said.
    pub fn settle_unasked(&mut self, now: Instant, longest: Duration) {
        if self.unasked.is_none_or(|last| now.saturating_duration_since(last) >= longest / 10) {
            self.unasked = Some(now);
            self.settle(|_| false, now, longest);
        }
    }
}

impl State {
    fn answers(&self, endpoint: usize) -> usize {
        self.asked.get(&endpoint).map_or(0, |(answers, _)| *answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str) -> Want {
        Want::Job(id.into())
    }

    #[test]
    fn an_endpoint_that_cannot_tell_is_asked_again_and_then_left_alone() {
        let (mut wants, start) = (Wants::default(), Instant::now());
        wants.add([job("a")], start);
        let (mut now, mut pauses, mut awaited) = (start, Vec::new(), 0);
        while let Some(due) = wants.due(0) {
            pauses.push((due - now).as_secs());
            awaited += usize::from(wants.is_open(&job("a"), 0));
            now = due;
            wants.answered(&[job("a")], 0, now);
            wants.add([job("a")], now);
        }
        assert_eq!(pauses, [0, 1, 1, 1, 10, 30, 60]);
        assert_eq!(awaited, 4);
        assert!(wants.due(1).is_some() && wants.is_open(&job("a"), 1), "another one may know");
        assert!(!wants.is_open(&job("c"), 0), "nobody wants it");
        // What comes later is asked for at once.
        wants.add([job("b")], now);
        assert_eq!(wants.due(0), Some(now));
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
    fn what_nobody_is_asked_about_is_forgotten_too() {
        let (mut wants, start) = (Wants::default(), Instant::now());
        let (second, longest) = (Duration::from_secs(1), Duration::from_secs(100));
        let mut most = 0;
        for at in 0..1000 {
            let now = start + second * at;
            wants.add([job("stays"), job(&at.to_string())], now);
            wants.settle_unasked(now, longest);
            most = most.max(wants.len());
        }
        assert!((101..=112).contains(&most), "{most} of 1001 at once");
        assert!(wants.iter().any(|want| *want == job("stays")));
    }

    #[test]
    fn starts_wait_for_a_poll_and_are_asked_for_in_small_numbers() {
        let (mut wants, now) = (Wants::default(), Instant::now());
        let start = |task: usize, subtask| {
            let task = format!("{task:02}").into();
            Want::Start { job: "j".into(), task, subtask, attempt: 1 }
        };
        let starts = (0..STARTS_PER_POLL_MAX + 3).flat_map(|task| [start(task, 0), start(task, 1)]);
        wants.add(starts, now);
        assert_eq!(wants.due(0), None);
        let asked = wants.to_ask(0);
        assert_eq!(asked.len(), 2 * STARTS_PER_POLL_MAX, "both subtasks of each task");
        wants.add([job("a")], now);
        assert_eq!(wants.due(0), Some(now), "a name is urgent");
        assert!(wants.to_ask(0).contains(&job("a")));
        // What is not told soon makes room for others, and keeps nobody polling.
        wants.settle(|want| *want == job("a"), now, Duration::from_secs(60));
        for _ in 0..ANSWERS_AWAITED {
            wants.answered(&asked, 0, now);
        }
        assert_eq!(wants.to_ask(0).len(), 6);
        assert!(wants.needs(0));
        for _ in 0..ANSWERS_AWAITED {
            wants.answered(&wants.to_ask(0), 0, now);
        }
        assert!(!wants.needs(0) && wants.needs(1), "another cluster may know");
    }

    #[test]
    fn there_is_a_limit() {
        let (mut wants, now) = (Wants::default(), Instant::now());
        wants.add((0..WANTS_MAX + 10).map(|n| job(&n.to_string())), now);
        assert_eq!(wants.len(), WANTS_MAX);
        assert!(!wants.is_empty());
    }
}
