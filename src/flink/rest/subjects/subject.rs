//! What lines of a page are about: a TaskManager, a job, a task, and the names that they were given.

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{Use, found::digest};
use crate::flink::rest::{Names, Want};

#[derive(Debug, Default)]
pub(super) struct Subject {
    pub(super) key: u128,
    pub(super) tm: Option<Given>,
    pub(super) job_id: Option<Box<str>>,
    pub(super) job_name: Option<Given>,
    pub(super) task_id: Option<Box<str>>,
    pub(super) task_name: Option<Given>,
    /// A process's own series: the job that uses it alone, by id and true name.
    pub(super) own: Option<Option<(Box<str>, Arc<str>)>>,
    /// Only the JobManager that leads shows it.
    pub(super) tells_leader: bool,
    /// Keys of what was given in its lines, one for each operator.
    pub(super) spelt: Vec<u128>,
    pub(super) lines: usize,
    /// It was not there before this page.
    pub(super) is_new: bool,
}

/// A label's value on the page, and the true one where it is known.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) page: Box<str>,
    pub(super) name: Option<Arc<str>>,
}

impl Subject {
    /// Looks up what is not known yet; whether something is now that was not.
    pub(super) fn complete(
        &mut self,
        names: &Names,
        jobs: Option<&BTreeMap<Box<str>, Use>>,
    ) -> bool {
        let mut changed = false;
        let mut fill = |given: &mut Option<Given>, name: &dyn Fn(&str) -> Option<Arc<str>>| {
            if let Some(given) = given.as_mut().filter(|given| given.name.is_none()) {
                given.name = name(&given.page);
                changed |= given.name.is_some();
            }
        };
        fill(&mut self.tm, &|page| names.task_manager(page));
        if let Some(job) = &self.job_id {
            fill(&mut self.job_name, &|page| names.job(job, page));
            if let Some(task) = &self.task_id {
                fill(&mut self.task_name, &|page| names.task(job, task, page));
            }
        }
        let own = self.used_by(names, jobs);
        changed |= own != self.own;
        self.own = own;
        changed
    }

    /// Of a process's own series: the job to name in them.
    pub(super) fn used_by(
        &self,
        names: &Names,
        jobs: Option<&BTreeMap<Box<str>, Use>>,
    ) -> Option<Option<(Box<str>, Arc<str>)>> {
        let before = self.own.as_ref()?;
        let used = self.tm.as_ref().and_then(|tm| jobs?.get(&tm.page));
        Some(match used {
            Some(Use::One { job, is_idle: true, .. }) if names.has_ended(job) => None,
            Some(Use::One { job, page_name, .. }) => match before {
                Some((named, _)) if named == job => before.clone(),
                // While its name is not known the job before it would be a lie.
                _ => names.job(job, page_name).map(|name| (job.clone(), name)),
            },
            Some(Use::Shared) | None => None,
        })
    }

    pub(super) fn wants(&self) -> Vec<Want> {
        let mut wants = Vec::new();
        let is_unknown = |given: &Option<Given>| given.as_ref().is_some_and(|g| g.name.is_none());
        if let Some(tm) = self.tm.as_ref().filter(|tm| tm.name.is_none()) {
            wants.push(Want::TaskManager(tm.page.clone()));
        }
        if let Some(job) = &self.job_id {
            if is_unknown(&self.job_name) {
                wants.push(Want::Job(job.clone()));
            }
            if let Some(task) = self.task_id.as_ref().filter(|_| is_unknown(&self.task_name)) {
                wants.push(Want::Task(job.clone(), task.clone()));
            }
        }
        wants
    }

    /// What tells this subject's series from those of others, as they are sent.
    pub(super) fn given_key(&self, operator: &str) -> u128 {
        xxh3_128(&self.digest(operator, |given| given.name.as_deref().unwrap_or(&given.page)))
    }

    /// The same, as they stand on the page.
    pub(super) fn page_key(&self, operator: &str) -> u64 {
        xxh3_64(&self.digest(operator, |given| &given.page))
    }

    fn digest(&self, operator: &str, text: impl Fn(&Given) -> &str) -> impl Deref<Target = [u8]> {
        let [tm, job, task] = [&self.tm, &self.job_name, &self.task_name]
            .map(|given| given.as_ref().map_or("", &text));
        digest([tm, self.job_id.as_deref().unwrap_or_default(), job, task, operator])
    }
}
