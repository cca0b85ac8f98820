//! What the lines of one target are about, and which names they have been given.
//!
//! Thousands of lines share a few subjects: the combinations of TaskManager, job and task on the page. A
//! subject's names are looked up when its first line appears, and once more when REST has told something
//! new; so are looked up a few dozen names where a page has a hundred thousand lines, and a line's
//! labels change at most once:
//!
//! ```text
//!   first line of a subject --names known--------------------------> true names, for the life of its lines
//!              `--unknown--> the page's names --REST tells them----> true names; the lines are shaped anew
//! ```
//!
//! Nothing takes names away again: neither REST's silence nor another word of it.
//!
//! **A process's own series** (`flink_taskmanager_Status_…`) belong to no job. Where all jobs on a TaskManager's
//! page are one, they get its `job_id` and `job_name`. The page tells which jobs run there, at no cost to
//! the JobManager. While that job restarts the labels stay; when it is over, as REST tells, they go, and
//! when another one comes it takes their place. When a second one runs beside it they go for good: that
//! TaskManager is shared.
//!
//! **Two spellings.** A proxy may serve two reporters' pages as one, filtered and not, so that giving a
//! name back makes two series equal. That is noticed, and the target keeps its page's names.

mod found;
mod subject;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use hashbrown::{HashMap, hash_map::Entry};
use slab::Slab;

use self::{
    found::{Found, JOB_ID, JOB_NAME, TASK_NAME, TM},
    subject::{Given, Subject},
};
use super::{Names, Want, info, spelling};
use crate::{flink::NAME_PREFIX, labels::Labels};

/// A subject of one target, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubjectId(u32);

/// The subjects of one target, see the module's documentation.
#[derive(Debug, Default)]
pub struct Subjects {
    /// `None` while names are not given back at all.
    names: Option<Arc<Names>>,
    subjects: Slab<Subject>,
    index: HashMap<u128, u32>,
    /// By id on the page.
    processes: BTreeMap<Box<str>, Use>,
    /// What was given, by what it was given to.
    spellings: HashMap<u128, Spelling>,
    two_spellings: bool,
    /// Series of a process itself have job labels of their own.
    has_own_jobs: bool,
    /// Something since the last [`Subjects::adopt`] asks for another look at the page.
    is_outdated: bool,
    /// What [`Subjects::wants`] has come to since something changed last: most pages change nothing.
    wants: OnceLock<BTreeSet<Want>>,
    /// Whether that was told since.
    are_wants_told: bool,
    /// Whether nothing has changed since [`Subjects::count_jobs`].
    is_counted: bool,
}

/// What names were given to, as it stands on the page, and how many subjects have it.
#[derive(Debug)]
struct Spelling {
    page: u64,
    subjects: u32,
}

/// The jobs of a TaskManager.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Use {
    /// `is_idle` when no task of the job is there at the moment, which has happened `left` times.
    One {
        job: Box<str>,
        page_name: Box<str>,
        is_idle: bool,
        left: u32,
    },
    Shared,
}

impl SubjectId {
    /// Of a line that is about nothing that has a name.
    pub const NONE: Self = Self(u32::MAX);
}

// === impl Subjects ===

impl Subjects {
    /// Gives names back from now on, from what REST has told so far. Called before each page. Returns the
    /// subjects whose names have changed: what is known of their lines must be forgotten.
    pub fn adopt(&mut self, names: &Arc<Names>) -> BTreeSet<SubjectId> {
        let same = self.names.as_ref().is_some_and(|before| Arc::ptr_eq(before, names));
        if same && !std::mem::take(&mut self.is_outdated) {
            return BTreeSet::new();
        }
        self.is_outdated = false;
        self.forget_wants();
        self.names = Some(Arc::clone(names));
        if self.two_spellings {
            return self.take_back();
        }
        let mut changed = BTreeSet::new();
        for (id, subject) in &mut self.subjects {
            let jobs = (!self.has_own_jobs).then_some(&self.processes);
            if subject.complete(names, jobs) {
                changed.insert(SubjectId(id as u32));
            }
        }
        changed
    }

    /// What a new line of the page is about.
    pub fn enter<'l, V: Into<Cow<'l, str>>>(
        &mut self,
        name: &str,
        labels: impl Iterator<Item = (&'l str, V)>,
    ) -> SubjectId {
        let Some(names) = self.names.as_ref() else { return SubjectId::NONE };
        let Some((found, key)) = found(name, labels) else { return SubjectId::NONE };
        let (is_process, tells_leader) = (is_process(name), tells_leader(name));
        if is_process && (found.job_id.is_some() || found.job_name.is_some()) {
            self.is_outdated |= !self.has_own_jobs;
            self.has_own_jobs = true;
        }
        if let Some(&id) = self.index.get(&key) {
            return SubjectId(id);
        }
        let mut subject = found.subject(key);
        subject.own = (is_process && found.tm.is_some() && found.job_id.is_none()).then_some(None);
        subject.tells_leader = tells_leader;
        if !self.two_spellings {
            let jobs = (!self.has_own_jobs).then_some(&self.processes);
            subject.complete(names, jobs);
        }
        self.has_changed();
        let id = u32::try_from(self.subjects.insert(subject)).unwrap_or(u32::MAX);
        self.index.insert(key, id);
        SubjectId(id)
    }

    /// Whether the page is about something that the one before was not.
    pub fn has_new(&self) -> bool {
        self.subjects.iter().any(|(_, subject)| subject.is_new && subject.lines > 0)
    }

    /// What is told of the clusters; `None` while names are not given back.
    pub fn names(&self) -> Option<&Names> {
        self.names.as_deref()
    }

    /// A line about this subject is known from now on.
    pub fn add_line(&mut self, id: SubjectId) {
        if let Some(subject) = self.subjects.get_mut(id.0 as usize) {
            subject.lines += 1;
            if subject.lines == 1 {
                self.has_changed();
            }
        }
    }

    /// A line about this subject is forgotten.
    pub fn drop_line(&mut self, id: SubjectId) {
        if let Some(subject) = self.subjects.get_mut(id.0 as usize) {
            subject.lines = subject.lines.saturating_sub(1);
            if subject.lines == 0 {
                self.has_changed();
            }
        }
    }

    /// Puts the true names into the labels of a line about this subject, before normalisation.
    pub fn give_back(&mut self, id: SubjectId, labels: &mut Labels<'_>) {
        if self.two_spellings {
            return;
        }
        let Some(subject) = self.subjects.get_mut(id.0 as usize) else { return };
        let chain = subject.task_name.as_ref().and_then(|task| task.name.as_deref());
        let operator = labels.get(OPERATOR).unwrap_or_default();
        let true_operator = chain.and_then(|chain| spelling::operator(operator, chain));
        let given = subject.given_key(true_operator.unwrap_or(operator));
        let page = subject.page_key(operator);
        let spelling = self.spellings.entry(given).or_insert(Spelling { page, subjects: 0 });
        if !subject.spelt.contains(&given) {
            spelling.subjects += 1;
            subject.spelt.push(given);
        }
        if spelling.page != page {
            self.two_spellings = true;
            self.is_outdated = true;
            self.forget_wants();
            return;
        }
        if let Some(operator) = true_operator {
            let operator = operator.to_owned();
            labels.set(OPERATOR, operator);
        }
        let given =
            [(TM, &subject.tm), (JOB_NAME, &subject.job_name), (TASK_NAME, &subject.task_name)];
        for (label, given) in given {
            if let Some(Given { name: Some(name), .. }) = given {
                labels.set(label, name.to_string());
            }
        }
        if let Some(Some((id, name))) = &subject.own {
            labels.set(JOB_ID, id.to_string());
            labels.set(JOB_NAME, name.to_string());
        }
    }

    /// What the page shows and nobody has explained yet.
    pub fn wants(&self) -> &BTreeSet<Want> {
        let wants = self.wants.get_or_init(|| self.wanted(|_| true));
        debug_assert_eq!(*wants, self.wanted(|_| true), "each change takes what was found");
        wants
    }

    /// The same, unless nothing has changed since it was told.
    pub fn untold_wants(&mut self) -> Option<&BTreeSet<Want>> {
        (!std::mem::replace(&mut self.are_wants_told, true)).then(|| self.wants())
    }

    /// What a page that has just been read shows is told in any case, since it has been seen once more.
    pub fn tell_wants(&mut self) -> &BTreeSet<Want> {
        self.are_wants_told = true;
        self.wants()
    }

    /// The same, of subjects that were not there before this page: those that are worth waiting for.
    pub fn new_wants(&self) -> BTreeSet<Want> {
        self.wanted(|subject| subject.is_new)
    }

    /// Whether the page, now that it was seen as a whole, would be shaped otherwise than it was.
    pub fn wants_another_look(&mut self) -> bool {
        self.is_outdated |= self.count_jobs();
        let Some(names) = self.names.clone() else { return false };
        let jobs = (!self.has_own_jobs).then_some(&self.processes);
        let mut subjects = self.subjects.iter();
        self.two_spellings && self.is_outdated
            || subjects
                .any(|(_, s)| s.is_new && s.own.is_some() && s.used_by(&names, jobs) != s.own)
    }

    /// Ids of the jobs on the page; what has left since the last page still counts.
    pub fn jobs(&self) -> BTreeSet<&str> {
        let shown = self.subjects.iter().filter(|(_, subject)| subject.lines > 0);
        shown.filter_map(|(_, subject)| subject.job_id.as_deref()).collect()
    }

    /// Whether the page is that of the JobManager that leads: a standby shows its JVM alone.
    pub fn is_leader(&self) -> bool {
        self.subjects.iter().any(|(_, subject)| subject.tells_leader && subject.lines > 0)
    }

    /// The page has ended, and so have the lines that are not on it.
    pub fn end_page(&mut self) {
        self.is_outdated |= self.count_jobs();
        self.sweep();
        if self.subjects.is_empty() {
            // The process has gone; what comes next may spell things another way.
            self.spellings.clear();
            self.processes.clear();
            (self.two_spellings, self.has_own_jobs) = (false, false);
            self.has_changed();
        }
    }

    /// What is on the page is not what was.
    fn has_changed(&mut self) {
        self.forget_wants();
        self.is_counted = false;
    }

    fn forget_wants(&mut self) {
        self.wants.take();
        self.are_wants_told = false;
    }

    /// Forgets what no line is about any more. What was learnt of the process is kept: a page that is
    /// read once more begins with it.
    pub fn sweep(&mut self) {
        let (index, spellings) = (&mut self.index, &mut self.spellings);
        self.subjects.retain(|_, subject| {
            subject.is_new = false;
            if subject.lines > 0 {
                return true;
            }
            index.remove(&subject.key);
            for given in &subject.spelt {
                if let Entry::Occupied(mut spelling) = spellings.entry(*given) {
                    spelling.get_mut().subjects -= 1;
                    if spelling.get().subjects == 0 {
                        spelling.remove();
                    }
                }
            }
            false
        });
    }

    /// Brings the uses of the page's processes up to date; whether one has changed.
    fn count_jobs(&mut self) -> bool {
        if std::mem::replace(&mut self.is_counted, true) {
            return false;
        }
        let mut jobs = BTreeMap::<&str, BTreeMap<&str, &str>>::new();
        for (_, subject) in &self.subjects {
            let Some(tm) = subject.tm.as_ref().filter(|_| subject.lines > 0) else { continue };
            let jobs = jobs.entry(&tm.page).or_default();
            if let Some(id) = &subject.job_id {
                jobs.insert(id, subject.job_name.as_ref().map_or("", |name| &name.page));
            }
        }
        let mut changed = false;
        for (tm, jobs) in jobs {
            let mut jobs = jobs.into_iter();
            let before = self.processes.get(tm);
            let next = match (jobs.next(), jobs.next(), before) {
                (_, _, Some(Use::Shared)) | (None, _, None) => continue,
                (None, _, Some(Use::One { job, page_name, is_idle, left })) => {
                    let left = left + u32::from(!is_idle);
                    let (job, page_name) = (job.clone(), page_name.clone());
                    Use::One { job, page_name, is_idle: true, left }
                }
                (Some((job, name)), None, before) => {
                    let left = if let Some(Use::One { left, .. }) = before { *left } else { 0 };
                    Use::One { job: job.into(), page_name: name.into(), is_idle: false, left }
                }
                (Some(_), Some(_), _) => Use::Shared,
            };
            if before != Some(&next) {
                self.processes.insert(tm.into(), next);
                changed = true;
            }
        }
        if changed {
            self.forget_wants();
        }
        changed
    }

    fn wanted(&self, which: impl Fn(&Subject) -> bool) -> BTreeSet<Want> {
        if self.two_spellings {
            return BTreeSet::new();
        }
        let shown = || self.subjects.iter().filter(|(_, s)| s.lines > 0 && which(s));
        let ends = shown().filter_map(|(_, subject)| {
            let (named, _) = subject.own.as_ref()?.as_ref()?;
            let tm = &subject.tm.as_ref()?.page;
            let Use::One { is_idle: true, left, .. } = self.processes.get(tm)? else { return None };
            Some(Want::End { job: named.clone(), tm: tm.clone(), time: *left })
        });
        shown().flat_map(|(_, subject)| subject.wants()).chain(ends).collect()
    }

    fn take_back(&mut self) -> BTreeSet<SubjectId> {
        let mut changed = BTreeSet::new();
        for (id, subject) in &mut self.subjects {
            let given = [&mut subject.tm, &mut subject.job_name, &mut subject.task_name];
            let mut had_names = false;
            for given in given.into_iter().flatten() {
                had_names |= given.name.take().is_some();
            }
            had_names |= subject.own.as_mut().is_some_and(|own| own.take().is_some());
            if had_names {
                changed.insert(SubjectId(id as u32));
            }
        }
        changed
    }
}

impl PartialOrd for SubjectId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SubjectId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// What tells the subject of a line from others, `None` when it has none. A page without some of its
/// lines is about the same as long as each subject has a line.
pub fn subject_key<'l, V: Into<Cow<'l, str>>>(
    name: &str,
    labels: impl Iterator<Item = (&'l str, V)>,
) -> Option<u128> {
    found(name, labels).map(|(_, key)| key)
}

fn found<'l, V: Into<Cow<'l, str>>>(
    name: &str,
    labels: impl Iterator<Item = (&'l str, V)>,
) -> Option<(Found<'l>, u128)> {
    if !is_flinks(name) {
        return None;
    }
    let mut found = Found::default();
    labels.for_each(|(name, value)| found.label(name, value.into()));
    let is_named = found.tm.is_some() || found.job_id.is_some();
    let key = found.key(is_process(name), tells_leader(name));
    (is_named || tells_leader(name)).then_some((found, key))
}

fn tells_leader(name: &str) -> bool {
    LEADER.contains(&name)
}

fn is_flinks(name: &str) -> bool {
    name.starts_with(NAME_PREFIX) && !info::is_info(name)
}

/// Whether it is a metric of a TaskManager's process and not of a job on it.
fn is_process(name: &str) -> bool {
    let rest = name.strip_prefix("flink_taskmanager_");
    rest.is_some_and(|rest| !rest.starts_with("job_"))
}

const OPERATOR: &str = "operator_name";

/// Metrics of the Dispatcher and the ResourceManager, which run in the leading JobManager only.
const LEADER: [&str; 3] = [
    "flink_jobmanager_numRunningJobs",
    "flink_jobmanager_numRegisteredTaskManagers",
    "flink_jobmanager_taskSlotsTotal",
];

#[cfg(test)]
mod tests;
