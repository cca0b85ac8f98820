//! The attempts of subtasks whose counters stand on a target's page, and when they began.
//!
//! A counter begins anew with each attempt of its subtask, and its series outlives the attempt. Thousands of
//! lines share a few attempts, so each is looked up once: when its first line appears, and again, while
//! its start is unknown, when REST has told something new. A start that is told later holds for
//! the samples from then on; no line is shaped anew for it.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use slab::Slab;

use super::{Names, Want};

/// An attempt on one target's page, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttemptId(u32);

/// The attempts of one target, see the module's documentation.
#[derive(Debug, Default)]
pub struct Attempts {
    /// `None` while REST is not asked at all.
    names: Option<Arc<Names>>,
    attempts: Slab<Attempt>,
    index: HashMap<Key, u32>,
    /// See [`Attempts::changes`].
    changes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    job: Box<str>,
    task: Box<str>,
    subtask: u32,
    attempt: u32,
}

#[derive(Debug)]
struct Attempt {
    key: Key,
    /// Milliseconds since the epoch; [`START_UNKNOWN_MS`] until it is told.
    start_ms: i64,
    lines: usize,
}

/// A counter whose start nobody tells; no page does.
pub const START_UNKNOWN_MS: i64 = 0;

impl AttemptId {
    /// Of a line that is no subtask's counter.
    pub const NONE: Self = Self(u32::MAX);
}

impl Attempts {
    /// Takes what REST has told by now. Called before each page.
    pub fn adopt(&mut self, names: &Arc<Names>) {
        if self.names.as_ref().is_some_and(|before| Arc::ptr_eq(before, names)) {
            return;
        }
        self.names = Some(Arc::clone(names));
        for (_, attempt) in &mut self.attempts {
            let before = attempt.start_ms;
            attempt.ask(names);
            self.changes += u64::from(attempt.start_ms != before);
        }
    }

    /// Forgets all of them, and REST.
    pub fn leave(&mut self) {
        *self = Self { changes: self.changes + 1, ..Self::default() };
    }

    /// A number that stays the same as long as every line's start does.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// The attempt of a line with these labels of the page.
    pub fn enter<'l, V: Into<Cow<'l, str>>>(
        &mut self,
        labels: impl Iterator<Item = (&'l str, V)>,
    ) -> AttemptId {
        let Some(names) = &self.names else { return AttemptId::NONE };
        let Some(key) = Key::find(labels) else { return AttemptId::NONE };
        if let Some(&id) = self.index.get(&key) {
            return AttemptId(id);
        }
        let mut attempt = Attempt { key: key.clone(), start_ms: START_UNKNOWN_MS, lines: 0 };
        attempt.ask(names);
        let id = u32::try_from(self.attempts.insert(attempt)).unwrap_or(u32::MAX);
        self.index.insert(key, id);
        AttemptId(id)
    }

    /// When it began, milliseconds since the epoch; [`START_UNKNOWN_MS`] is not known.
    pub fn start_ms(&self, id: AttemptId) -> i64 {
        self.attempts.get(id.0 as usize).map_or(START_UNKNOWN_MS, |attempt| attempt.start_ms)
    }

    /// A line of this attempt is known from now on.
    pub fn add_line(&mut self, id: AttemptId) {
        if let Some(attempt) = self.attempts.get_mut(id.0 as usize) {
            attempt.lines += 1;
            self.changes += 1;
        }
    }

    /// A line of this attempt is forgotten.
    pub fn drop_line(&mut self, id: AttemptId) {
        if let Some(attempt) = self.attempts.get_mut(id.0 as usize) {
            attempt.lines = attempt.lines.saturating_sub(1);
            self.changes += 1;
        }
    }

    /// Forgets what no line is of any more.
    pub fn sweep(&mut self) {
        let index = &mut self.index;
        self.attempts.retain(|_, attempt| {
            if attempt.lines == 0 {
                index.remove(&attempt.key);
            }
            attempt.lines > 0
        });
    }

    /// The starts that are not known; of each task one, since REST tells those of all its subtasks together.
    pub fn wants(&self) -> BTreeSet<Want> {
        let unknown = self.attempts.iter().map(|(_, attempt)| attempt);
        let unknown =
            unknown.filter(|attempt| attempt.start_ms == START_UNKNOWN_MS && attempt.lines > 0);
        let tasks: HashMap<_, _> =
            unknown.map(|Attempt { key, .. }| ((&key.job, &key.task), key)).collect();
        let want = |key: &Key| {
            let Key { job, task, subtask, attempt } = key.clone();
            Want::Start { job, task, subtask, attempt }
        };
        tasks.into_values().map(want).collect()
    }
}

impl Attempt {
    fn ask(&mut self, names: &Names) {
        let Key { job, task, subtask, attempt } = &self.key;
        if self.start_ms == START_UNKNOWN_MS {
            let told = names.start_ms(job, task, *subtask, *attempt);
            self.start_ms = told.unwrap_or(START_UNKNOWN_MS);
        }
    }
}

impl Key {
    fn find<'l, V: Into<Cow<'l, str>>>(labels: impl Iterator<Item = (&'l str, V)>) -> Option<Self> {
        let (mut job, mut task, mut subtask, mut attempt) = (None, None, None, None);
        for (name, value) in labels {
            match name {
                "job_id" => job = Some(value.into()),
                "task_id" => task = Some(value.into()),
                "subtask_index" => subtask = value.into().parse().ok(),
                "task_attempt_num" => attempt = value.into().parse().ok(),
                _ => {}
            }
        }
        let (job, task): (Cow<'_, str>, Cow<'_, str>) = (job?, task?);
        Some(Self {
            job: (*job).into(),
            task: (*task).into(),
            subtask: subtask?,
            attempt: attempt?,
        })
    }
}
