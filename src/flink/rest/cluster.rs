//! What the REST API of one cluster has told, what to ask it next, and the look-ups over all clusters.
//!
//! A poll is a list of [`Ask`]s, each answered by [`Cluster::take`]:
//!
//! ```text
//!   /config                   until the version is known, and again after the endpoint was away
//!   /jobs/overview            always: one small answer that names every job
//!   /jobs/ID                  jobs whose tasks stand on our pages and are not known yet
//!   /jobs/ID/vertices/ID      tasks with counters whose attempts began nobody knows when, a few per poll
//!   /taskmanagers             while a page shows a TaskManager that is not known
//!   and for the relay that scrapes the JobManager, whose page carries the info series:
//!   /jobs/ID                  every job that runs, again when it has changed since
//!   /taskmanagers             always
//!   /jobs/ID/checkpoints      until the job has a completed checkpoint
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use super::{
    AnswerError, Want,
    answer::{
        AttemptRow, Checkpoints, Config, Details, Overview, TaskManagers, VertexDetails, read,
    },
    spelling::shows,
};

/// What an endpoint is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// Flink's version.
    Version,
    /// All jobs with their names.
    Overview,
    /// All TaskManagers.
    TaskManagers,
    /// A job's vertices.
    Job(Box<str>),
    /// The present attempts of a task, by the ids of its job and its vertex.
    Attempts(Box<str>, Box<str>),
    /// A job's checkpoints.
    Checkpoints(Box<str>),
}

/// The path below the endpoint's URL.
impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => f.write_str("/config"),
            Self::Overview => f.write_str("/jobs/overview"),
            Self::TaskManagers => f.write_str("/taskmanagers"),
            Self::Job(id) => write!(f, "/jobs/{id}"),
            Self::Attempts(job, task) => write!(f, "/jobs/{job}/vertices/{task}"),
            Self::Checkpoints(id) => write!(f, "/jobs/{id}/checkpoints"),
        }
    }
}

/// One cluster, as far as its REST API has told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Flink's version, such as `2.3.0`; empty while it is not known.
    pub version: Arc<str>,
    /// Its revision, such as `6fd4b1c @ 2021-12-14T23:22:57+01:00`.
    pub revision: Arc<str>,
    /// The jobs by id: those that run, and ended ones for as long as Flink remembers them.
    pub jobs: BTreeMap<Box<str>, Job>,
    /// The TaskManagers that are registered.
    pub task_managers: Vec<TaskManager>,
}

/// One job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// The name its author gave it.
    pub name: Arc<str>,
    /// `STREAMING` or `BATCH`; empty before Flink 1.20.
    pub job_type: Box<str>,
    /// Whether it has finished, failed or was cancelled.
    pub has_ended: bool,
    /// When it was submitted, milliseconds since the epoch.
    pub start_ms: i64,
    /// Its tasks by vertex id; `None` until they were asked for.
    pub vertices: Option<BTreeMap<Box<str>, Vertex>>,
    /// Where its checkpoints lie, without the part that changes with each; `None` while none is known.
    pub checkpoint_path: Option<Arc<str>>,
    /// When its state changed last, and its value when `vertices` were read.
    modified_ms: i64,
    read_ms: i64,
    /// Flink keeps no checkpoints of it.
    never_checkpoints: bool,
}

/// One task: a vertex of a job's graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vertex {
    /// Its name: the chain of its operators.
    pub name: Arc<str>,
    /// Its subtasks.
    pub parallelism: i64,
    /// The parallelism it can be rescaled to.
    pub max_parallelism: i64,
    /// When the first of the present attempts of its subtasks began, milliseconds since the epoch.
    pub start_ms: Option<i64>,
    /// When each of them began, by subtask and attempt; empty until it was asked for.
    attempts: Attempts,
}

/// Shared, because what a cluster has told is copied for each poll.
type Attempts = Arc<BTreeMap<(u32, u32), i64>>;

/// One TaskManager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskManager {
    /// Its resource id.
    pub id: Arc<str>,
    /// Its host, out of its actor's address.
    pub host: Box<str>,
    /// Its slots.
    pub slots: i64,
}

// === impl Cluster ===

impl Cluster {
    /// What a poll begins with.
    pub fn first_asks(&self) -> Vec<Ask> {
        let version = self.version.is_empty().then_some(Ask::Version);
        version.into_iter().chain([Ask::Overview]).collect()
    }

    /// What a poll goes on with when the overview is there: nothing but what somebody needs.
    /// `carries_info` is set for the relay whose JobManager target shows the info series.
    pub fn further_asks(&self, wants: &[Want], carries_info: bool) -> Vec<Ask> {
        let unknown = |want: &&Want| matches!(want, Want::TaskManager(page) if self.task_manager(page).next().is_none());
        let mut asks = Vec::new();
        if carries_info || wants.iter().any(|want| unknown(&want)) {
            asks.push(Ask::TaskManagers);
        }
        let mut details: BTreeSet<&str> = wants
            .iter()
            .filter_map(|want| match want {
                Want::Task(job, task) if self.vertex(job, task).is_none() => Some(&**job),
                Want::Tasks(job) if self.lacks_tasks(job) => Some(&**job),
                _ => None,
            })
            .filter(|id| self.jobs.contains_key(*id))
            .collect();
        let running = self.jobs.iter().filter(|(_, job)| carries_info && !job.has_ended);
        details.extend(running.clone().filter(|(_, job)| job.is_outdated()).map(|(id, _)| &**id));
        asks.extend(details.into_iter().map(|id| Ask::Job(id.into())));
        let unstarted: BTreeSet<Ask> =
            wants.iter().filter_map(|want| self.asks_start(want)).collect();
        asks.extend(unstarted);
        let unsure = |job: &Job| job.checkpoint_path.is_none() && !job.never_checkpoints;
        let unsure = running.filter(|(_, job)| unsure(job));
        asks.extend(unsure.map(|(id, _)| Ask::Checkpoints(id.clone())));
        asks
    }

    fn asks_start(&self, want: &Want) -> Option<Ask> {
        let Want::Start { job, task, subtask, attempt } = want else { return None };
        let runs = self.jobs.get(job).is_some_and(|job| !job.has_ended);
        let is_open = runs && self.start_ms(job, task, *subtask, *attempt).is_none();
        is_open.then(|| Ask::Attempts(job.clone(), task.clone()))
    }

    /// Takes an answer with the status 200.
    ///
    /// # Errors
    /// A body that is not what Flink answers; nothing has changed then.
    pub fn take(&mut self, ask: &Ask, body: &[u8]) -> Result<(), AnswerError> {
        let path = ask.to_string();
        match ask {
            Ask::Version => {
                let config: Config = read(&path, body)?;
                self.version = config.flink_version.into();
                self.revision = config.flink_revision.into();
            }
            Ask::Overview => self.take_overview(read(&path, body)?),
            Ask::TaskManagers => self.take_task_managers(read(&path, body)?),
            Ask::Job(_) => self.take_details(read(&path, body)?),
            Ask::Attempts(job, task) => self.take_attempts(job, task, read(&path, body)?),
            Ask::Checkpoints(id) => self.take_checkpoints(id, read(&path, body)?),
        }
        Ok(())
    }

    /// The cluster has nothing there: it answered 404. A job may have gone since the overview; without
    /// checkpointing some versions have no statistics of checkpoints.
    pub fn take_missing(&mut self, ask: &Ask) {
        match ask {
            Ask::Checkpoints(id) => {
                if let Some(job) = self.jobs.get_mut(id) {
                    job.never_checkpoints = true;
                }
            }
            Ask::Version | Ask::Overview | Ask::TaskManagers | Ask::Job(_) | Ask::Attempts(..) => {}
        }
    }

    /// The endpoint was away: another version may answer next time.
    pub fn forget_version(&mut self) {
        self.version = "".into();
    }

    /// The jobs that run and had no tasks yet when they were asked about.
    pub fn jobs_without_tasks(&self) -> impl Iterator<Item = &str> {
        self.jobs.keys().map(|id| &**id).filter(|id| self.lacks_tasks(id))
    }

    fn lacks_tasks(&self, job: &str) -> bool {
        let job = self.jobs.get(job).filter(|job| !job.has_ended);
        job.is_some_and(|job| job.vertices.as_ref().is_none_or(BTreeMap::is_empty))
    }

    /// A job's task.
    pub fn vertex(&self, job: &str, task: &str) -> Option<&Vertex> {
        self.jobs.get(job)?.vertices.as_ref()?.get(task)
    }

    /// TaskManagers that a page may mean by this id.
    fn task_manager<'c>(&'c self, page: &'c str) -> impl Iterator<Item = &'c Arc<str>> {
        self.task_managers.iter().map(|tm| &tm.id).filter(move |id| shows(page, id))
    }

    /// When a subtask's attempt began, in milliseconds since the epoch: the start of the counters that
    /// it shows. A job's details tell it of first attempts, which begin together; which subtask had to
    /// be started again since, and when, is told by its task's.
    pub fn start_ms(&self, job: &str, task: &str, subtask: u32, attempt: u32) -> Option<i64> {
        let vertex = self.vertex(job, task)?;
        let exists = i64::from(subtask) < vertex.parallelism;
        let first = || vertex.start_ms.filter(|_| exists && attempt == 0);
        vertex.attempts.get(&(subtask, attempt)).copied().or_else(first)
    }

    fn take_overview(&mut self, overview: Overview) {
        let mut before = std::mem::take(&mut self.jobs);
        let job = |row: super::answer::JobRow| {
            let old = before.remove(&row.jid).unwrap_or_default();
            let name = if *old.name == *row.name { old.name } else { row.name.into() };
            let has_ended = matches!(&*row.state, "FINISHED" | "CANCELED" | "FAILED");
            let (start_ms, modified_ms) = (row.start_time, row.last_modification);
            let is_another_run = start_ms != old.start_ms;
            let mut job = Job { name, has_ended, start_ms, modified_ms, ..old };
            if is_another_run {
                job.forget_starts();
            }
            (row.jid, job)
        };
        self.jobs = overview.jobs.into_iter().map(job).collect();
    }

    fn take_task_managers(&mut self, answer: TaskManagers) {
        let task_manager = |row: super::answer::TaskManagerRow| TaskManager {
            host: host(&row.path).into(),
            id: row.id.into(),
            slots: row.slots,
        };
        self.task_managers = answer.taskmanagers.into_iter().map(task_manager).collect();
    }

    fn take_details(&mut self, details: Details) {
        let Some(job) = self.jobs.get_mut(&details.jid) else { return };
        job.job_type = details.job_type;
        // Flink may have answered out of its cache: what has just changed is read once more.
        let is_settled = details.now.saturating_sub(job.modified_ms) > CACHED_MS;
        job.read_ms = if is_settled { job.modified_ms } else { i64::MIN };
        let mut before = job.vertices.take().unwrap_or_default();
        let vertex = |row: super::answer::VertexRow| {
            let vertex = Vertex {
                attempts: before.remove(&row.id).map(|old| old.attempts).unwrap_or_default(),
                name: row.name.into(),
                parallelism: row.parallelism,
                max_parallelism: row.max_parallelism,
                start_ms: Some(row.start_time).filter(|&start| start > 0),
            };
            (row.id, vertex)
        };
        job.vertices = Some(details.vertices.into_iter().map(vertex).collect());
    }

    fn take_attempts(&mut self, job: &str, task: &str, details: VertexDetails) {
        let vertices = self.jobs.get_mut(job).and_then(|job| job.vertices.as_mut());
        let Some(vertex) = vertices.and_then(|vertices| vertices.get_mut(task)) else { return };
        let others = |row: &mut AttemptRow| row.other_concurrent_attempts.take();
        let rows = details.subtasks.into_iter().flat_map(|mut row| {
            let others = others(&mut row).unwrap_or_default();
            std::iter::once(row).chain(others)
        });
        let began = rows.filter(|row| row.start_time > 0);
        vertex.attempts =
            Arc::new(began.map(|row| ((row.subtask, row.attempt), row.start_time)).collect());
    }

    fn take_checkpoints(&mut self, id: &str, answer: Checkpoints) {
        let completed = answer.latest.and_then(|latest| latest.completed);
        let path = completed.and_then(|completed| completed.external_path);
        // `file:/…/JOB/chk-17`: the last part would make a series of each checkpoint.
        let directory = path.as_deref().and_then(|path| path.rsplit_once("/chk-"));
        if let (Some(job), Some((directory, _))) = (self.jobs.get_mut(id), directory) {
            job.checkpoint_path = Some(directory.into());
        }
    }
}

impl Job {
    const fn is_outdated(&self) -> bool {
        self.vertices.is_none() || self.modified_ms != self.read_ms
    }

    /// Another JobManager leads and counts attempts from 0 again.
    fn forget_starts(&mut self) {
        for vertex in self.vertices.iter_mut().flat_map(BTreeMap::values_mut) {
            vertex.start_ms = None;
            vertex.attempts = Attempts::default();
        }
    }
}

/// Flink's answers are at most this old: `web.refresh-interval` is 3 s, and some have raised it.
const CACHED_MS: i64 = 10_000;

/// `10.0.0.7` out of `pekko.tcp://flink@10.0.0.7:41235/user/rpc/taskmanager_0`.
fn host(path: &str) -> &str {
    let address = path.split_once('@').map_or("", |(_, address)| address);
    let address = address.split_once('/').map_or(address, |(address, _)| address);
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

// === impl Names ===

/// What all clusters together have told: immutable, shared by all targets.
///
/// A target does not say which cluster it belongs to, and need not: job ids are drawn at random. Where two
/// clusters know an id (application mode with high availability uses fixed ones) or a TaskManager
/// under different names, only those count that the page can mean; if these still differ, none does.
#[derive(Clone, Debug, Default)]
pub struct Names {
    clusters: Vec<Arc<Cluster>>,
}

impl Names {
    /// The look-ups over these clusters.
    pub fn new(clusters: impl IntoIterator<Item = Arc<Cluster>>) -> Self {
        Self { clusters: clusters.into_iter().collect() }
    }

    /// The name of a job that a page shows under this id and name.
    pub fn job(&self, id: &str, page: &str) -> Option<Arc<str>> {
        let jobs = self.clusters.iter().filter_map(|cluster| cluster.jobs.get(id));
        one(jobs.map(|job| &job.name), page)
    }

    /// The name of a task that a page shows under these ids and this name.
    pub fn task(&self, job: &str, task: &str, page: &str) -> Option<Arc<str>> {
        let vertices = self.clusters.iter().filter_map(|cluster| cluster.vertex(job, task));
        one(vertices.map(|vertex| &vertex.name), page)
    }

    /// The id of a TaskManager that a page shows under this one.
    pub fn task_manager(&self, page: &str) -> Option<Arc<str>> {
        one(self.clusters.iter().flat_map(|cluster| cluster.task_manager(page)), page)
    }

    /// Whether some cluster has told this, whatever the page calls it.
    pub fn knows(&self, want: &Want) -> bool {
        self.clusters.iter().any(|cluster| match want {
            Want::Job(id) => cluster.jobs.contains_key(id),
            Want::Task(job, task) => cluster.vertex(job, task).is_some(),
            Want::TaskManager(page) => cluster.task_manager(page).next().is_some(),
            Want::Tasks(job) => cluster.jobs.contains_key(job) && !cluster.lacks_tasks(job),
            Want::Start { job, task, subtask, attempt } => {
                cluster.start_ms(job, task, *subtask, *attempt).is_some()
            }
            Want::End { .. } => false,
        }) || matches!(want, Want::End { job, .. } if self.has_ended(job))
    }

    /// Whether a job that was known is over: no cluster has it among those that are not.
    pub fn has_ended(&self, job: &str) -> bool {
        let mut jobs = self.clusters.iter().filter_map(|cluster| cluster.jobs.get(job));
        jobs.all(|job| job.has_ended)
    }

    /// See [`Cluster::start_ms`]; `None` when two clusters disagree.
    pub fn start_ms(&self, job: &str, task: &str, subtask: u32, attempt: u32) -> Option<i64> {
        let starts = self.clusters.iter();
        let mut starts = starts.filter_map(|c| c.start_ms(job, task, subtask, attempt));
        let first = starts.next()?;
        starts.all(|start| start == first).then_some(first)
    }
}

/// The one name that the page can mean.
fn one<'n>(names: impl Iterator<Item = &'n Arc<str>>, page: &str) -> Option<Arc<str>> {
    let mut meant = names.filter(|name| shows(page, name));
    let first = meant.next()?;
    // A page that shows the very name of one cannot mean another's.
    if **first == *page {
        return Some(Arc::clone(first));
    }
    for other in meant {
        if **other == *page {
            return Some(Arc::clone(other));
        }
        if other != first {
            return None;
        }
    }
    Some(Arc::clone(first))
}

#[cfg(test)]
mod tests;
