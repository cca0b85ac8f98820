//! What a whole page tells about asking for a part of it: for each family whether it is left out, how many
//! bytes it takes, and what its lines are about.
//!
//! The samples of families that are left out still tell which jobs and tasks run in a process, and whose
//! process it is: names, job labels and info series hang on that. So each *subject* of the page has to have a
//! line on the smaller page too, and [`Census::take`] adds the families that bring the missing ones.

use std::{collections::HashMap, sync::Arc};

use super::super::quarantine::{Family, Present};
use crate::{
    exposition::{self, Entry, Kind},
    flink::{NAME_PREFIX, rest::subject_key},
    series::Shaper,
};

/// A whole page, counted while it is read.
#[derive(Debug)]
pub(in crate::scrape) struct Census {
    shaper: Arc<Shaper>,
    limits: exposition::Limits,
    families: Vec<Counted>,
    index: HashMap<Family, usize>,
    subjects: HashMap<u128, u32>,
    /// The family that HELP was read of last, and what it says.
    help: (String, String),
    /// The family whose samples are being read.
    current: Option<usize>,
    /// The last sample's name.
    name: String,
    /// A sample stands under no TYPE: Flink's reporter writes none like that.
    is_loose: bool,
}

/// One family.
#[derive(Debug)]
struct Counted {
    family: Family,
    /// Whether the name of one of its samples is not left out.
    is_wanted: bool,
    samples: u64,
    bytes: u64,
    /// What its lines are about, each once in a row.
    subjects: Vec<u32>,
}

/// What of the page is to be asked for.
#[derive(Debug, Default)]
pub(in crate::scrape) struct Taken {
    /// Families of which samples are wanted, then those that bring the missing subjects.
    pub(super) families: Vec<Family>,
    /// Those that are not among them.
    pub(super) left_out: usize,
    /// Bytes of the former's samples.
    pub(super) bytes: u64,
}

impl Census {
    pub(in crate::scrape) fn new(shaper: Arc<Shaper>) -> Self {
        Self {
            shaper,
            limits: exposition::Limits::default(),
            families: Vec::new(),
            index: HashMap::new(),
            subjects: HashMap::new(),
            help: (String::new(), String::new()),
            current: None,
            name: String::new(),
            is_loose: false,
        }
    }

    pub(super) fn help(&mut self, family: &str, text: &str) {
        self.help = (family.to_owned(), text.to_owned());
    }

    pub(super) fn kind(&mut self, name: &str, kind: Kind) {
        let family = Family::new(name, kind);
        let next = self.families.len();
        let at = *self.index.entry(family.clone()).or_insert(next);
        if at == next {
            let subjects = Vec::new();
            self.families.push(Counted {
                family,
                is_wanted: false,
                samples: 0,
                bytes: 0,
                subjects,
            });
        }
        self.current = Some(at);
        self.name.clear();
    }

    /// A line with a sample that can be read.
    pub(super) fn sample(&mut self, line: &[u8]) {
        let Ok(Entry::Sample(sample)) = exposition::parse(line, &self.limits) else { return };
        let current = self.current.and_then(|at| self.families.get_mut(at));
        let Some(current) = current.filter(|counted| counted.family.has(sample.name)) else {
            self.is_loose = true;
            return;
        };
        current.samples += 1;
        current.bytes += line.len() as u64 + 1;
        if self.name != sample.name {
            self.name.clear();
            self.name.push_str(sample.name);
            let help = (self.help.0 == *current.family.name).then_some(self.help.1.as_str());
            let help = help.filter(|help| !help.is_empty());
            current.is_wanted |= !self.shaper.leaves_out(sample.name, help);
        }
        // A process that shows nothing with a name is told by its names alone.
        let subject = subject_key(sample.name, sample.labels())
            .or_else(|| process(sample.name).map(|process| process as u128));
        let Some(subject) = subject else { return };
        let next = u32::try_from(self.subjects.len()).unwrap_or(u32::MAX);
        let subject = *self.subjects.entry(subject).or_insert(next);
        if current.subjects.last() != Some(&subject) {
            current.subjects.push(subject);
        }
    }

    /// Whether each sample stands under its family's TYPE.
    pub(in crate::scrape) const fn is_typed(&self) -> bool {
        !self.is_loose
    }

    /// Whether the page has samples of a family of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.families.iter().any(|counted| counted.samples > 0 && &*counted.family.name == name)
    }

    /// The families to ask for; `None` when it takes too many to bring each subject.
    pub(in crate::scrape) fn take(&self) -> Option<Taken> {
        let mut is_seen = vec![false; self.subjects.len()];
        let mut taken = Taken::default();
        let (wanted, mut rest): (Vec<_>, Vec<_>) =
            self.families.iter().filter(|counted| counted.samples > 0).partition(|c| c.is_wanted);
        wanted.into_iter().for_each(|counted| taken.add(counted, &mut is_seen));
        // Whatever else would do today may be missing where the next job begins.
        for counted in rest.extract_if(.., |counted| BEGINS.contains(&&*counted.family.name)) {
            taken.add(counted, &mut is_seen);
        }
        for _ in 0..WITNESSES_MAX {
            if is_seen.iter().all(|&seen| seen) {
                taken.left_out = rest.len();
                return Some(taken);
            }
            let best = rest
                .iter()
                .enumerate()
                .max_by_key(|(_, counted)| (counted.adds(&is_seen), u64::MAX - counted.bytes));
            let best = best.map(|(at, _)| at)?;
            taken.add(rest.swap_remove(best), &mut is_seen);
        }
        None
    }
}

impl Taken {
    fn add(&mut self, counted: &Counted, is_seen: &mut [bool]) {
        self.families.push(counted.family.clone());
        self.bytes += counted.bytes;
        for &subject in &counted.subjects {
            if let Some(seen) = is_seen.get_mut(subject as usize) {
                *seen = true;
            }
        }
    }
}

impl Counted {
    /// How many subjects it has that were not seen; one that comes back to a subject counts it again.
    fn adds(&self, is_seen: &[bool]) -> usize {
        self.subjects.iter().filter(|&&at| is_seen.get(at as usize) == Some(&false)).count()
    }
}

/// Which kind of process a name is of.
fn process(name: &str) -> Option<u8> {
    name.strip_prefix(NAME_PREFIX)?.bytes().next()
}

/// The families of a page while it is read.
#[derive(Debug, Default)]
pub(in crate::scrape) struct Seen {
    pub(in crate::scrape) present: Present,
    /// On a page that is learnt from.
    pub(in crate::scrape) census: Option<Census>,
}

impl Seen {
    /// Starts a page.
    pub(in crate::scrape) fn begin(&mut self) {
        self.present.clear();
        self.census = None;
    }

    pub(in crate::scrape) fn help(&mut self, family: &str, text: &str) {
        if let Some(census) = &mut self.census {
            census.help(family, text);
        }
    }

    pub(in crate::scrape) fn kind(&mut self, family: &str, kind: Kind) {
        self.present.push(family, kind);
        if let Some(census) = &mut self.census {
            census.kind(family, kind);
        }
    }

    /// Whether each sample's line is of interest.
    pub(in crate::scrape) const fn is_counting(&self) -> bool {
        self.census.is_some()
    }

    #[inline]
    pub(in crate::scrape) fn sample(&mut self, line: &[u8]) {
        if let Some(census) = &mut self.census {
            census.sample(line);
        }
    }
}

/// A metric that every task has, and one that every job of a JobManager has, in all versions of Flink.
pub(super) const BEGINS: [&str; 2] =
    ["flink_taskmanager_job_task_numRecordsIn", "flink_jobmanager_job_numRestarts"];

/// Families that are asked for only for what their lines are about. One shows all tasks and one each
/// process, so a page that takes more than a few is none of Flink's.
const WITNESSES_MAX: usize = 16;
