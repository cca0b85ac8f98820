//! Roll-ups of one target's page: the samples of many subtasks become a few, as [`crate::flink::rollup`] says.
//!
//! ```text
//!   line --enrol--> Member --+--> Rollup of its task --+--> made lines NAME:task_sum … --> series
//!   line --enrol--> Member --'                         |
//!                      `--------> Rollup of its job  --'    which level is sent: configuration, budget
//! ```
//!
//! A line is enrolled once, when it is new: its normal labels (names given back, canonical, normalised)
//! without those of subtasks are its roll-up's. So roll-ups hold what the page shows, whatever
//! `metric_relabel_configs` do to the sources; their own samples then go the way of every sample, from
//! `metric_relabel_configs` on. Two operators of one name are two roll-ups, and told apart as the
//! sources are ([`super::collide`]).
//!
//! Values are taken in when the page has ended well, but for those that mean "there is none"
//! ([`flink::Metric::no_value`](crate::flink::Metric::no_value)), whether or not these are sent as they are. Which of several lines counts is as for series: a
//! source that stands on the page twice counts once, and a former name stands back for the present one.
//!
//! **Counters** are summed by their increases, as vmagent's `total` does, with one difference: what a
//! source shows when it is first seen is added as a whole. So on its first page the sum is what PromQL's
//! `sum` over the sources is; from then on it is never less than that, and never falls: a source that
//! begins anew adds its new value on top, one that leaves keeps its share. That holds until a page has
//! none of the roll-up's sources; then the roll-up ends, and begins anew when they come back. A scrape
//! that fails ends the series with a marker, but not the sum. A restarted subtask is another source
//! (its attempt is another one), so it cannot be taken for its predecessor.
//!
//! Invariants: a member's roll-ups exist as long as it does, and it as long as one of its lines does
//! ([`Tracker::sweep_rollups`] is the one place where either is forgotten); a page that is aborted
//! changes no sum.

mod across;
mod combined;
mod degrade;
mod lines;
mod sums;

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::{HashMap, HashSet};
use slab::Slab;
use xxhash_rust::xxh3::xxh3_128;

use self::{across::PartOf, sums::Sums};
pub use self::{
    across::{Across, Closed, Part, Whole},
    lines::MadeFamily,
};
use super::Tracker;
use crate::{
    exposition::Sample,
    flink::{
        Group,
        catalogue::{Found, Unit},
        rest::SubjectId,
        rollup::{Function, Level, RollupPolicy, functions, is_counter, unit},
    },
    labels::Labels,
    remote_write::v1,
};

/// The roll-ups of one target and what goes into them.
#[derive(Debug, Default)]
pub(super) struct Rollups {
    members: Slab<Member>,
    member_table: HashMap<u128, u32>,
    rollups: Slab<Rollup>,
    rollup_table: HashMap<u128, u32>,
    /// By id on the page, an empty one for what is no job's.
    jobs: BTreeMap<Box<str>, u32>,
    /// The level that a budget demands of each job, now and from the next page on.
    levels: Slab<(Level, Level)>,
    /// Names of jobs that have one.
    job_names: HashMap<u32, Box<str>>,
    /// Members with their values on the page that is being read.
    values: Vec<(u32, f64)>,
    /// What becomes of the roll-ups.
    destination: Destination,
}

/// What becomes of roll-ups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Destination {
    /// They are sent.
    #[default]
    Sent,
    /// They are parts of what several targets come to, which is sent instead.
    Parts,
    /// They are what several targets have come to; all of them are sent.
    Wholes,
}

/// A source: one subtask's series.
#[derive(Debug)]
struct Member {
    key: u128,
    /// Its labels, without the name on the page.
    place: u128,
    /// Whether it stands back for another member at its place.
    stands_back: bool,
    group: Group,
    job: u32,
    /// Of its task and of its job; [`NONE`] for one that is not needed.
    rollups: [u32; LEVELS.len()],
    /// Whether its value is in the sums already, for each.
    is_in: [bool; LEVELS.len()],
    /// Its last value.
    last: f64,
    /// The page that had a value of it last.
    seen: u32,
}

/// What many sources become.
#[derive(Debug)]
struct Rollup {
    key: u128,
    level: Level,
    group: Group,
    job: u32,
    subject: SubjectId,
    functions: Box<[Function]>,
    is_counter: bool,
    /// What the metric tells, and what it measures.
    help: Box<str>,
    unit: Unit,
    /// The normal labels with the metric's name, encoded.
    labels: Box<[u8]>,
    /// The ids that tell it apart from another of the same labels, encoded.
    ids: Option<Arc<[u8]>>,
    /// The page on which it was first wanted: a later one of the same key has another.
    began: u32,
    /// What it is a part of across targets, once that was asked for.
    part_of: Option<Arc<PartOf>>,
    sums: Sums,
}

/// The levels that aggregate.
const LEVELS: [Level; 2] = [Level::Task, Level::Job];

/// No member, no roll-up.
pub(super) const NONE: u32 = u32::MAX;

/// What a line is to roll-ups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Role {
    /// What it is a source of.
    pub(super) member: u32,
    /// The job it belongs to, while a budget wants to know.
    pub(super) job: u32,
}

impl Role {
    pub(super) const NONE: Self = Self { member: NONE, job: NONE };
}

/// A new source, before it is entered.
struct Draft {
    job_name: Option<Box<str>>,
    place: u128,
    key: u128,
    rollups: [Option<RollupDraft>; LEVELS.len()],
}

struct RollupDraft {
    key: u128,
    /// Its labels and ids; `None` when it is known.
    new: Option<Encoded>,
}

/// Labels and ids that tell them apart, encoded.
type Encoded = (Box<[u8]>, Option<Box<[u8]>>);

impl Rollups {
    fn job(&mut self, id: &str) -> u32 {
        if let Some(job) = self.jobs.get(id) {
            return *job;
        }
        let job = position(self.levels.insert((Level::Subtask, Level::Subtask)));
        self.jobs.insert(id.into(), job);
        job
    }

    /// The level that a budget demands of a job.
    fn budget_level(&self, job: u32) -> Level {
        self.levels.get(job as usize).map_or(Level::Subtask, |(now, _)| *now)
    }

    /// The level at which a source is sent, and whether by a budget's demand.
    fn level(&self, group: Group, job: u32, policy: &RollupPolicy) -> Level {
        policy.level(group).map_or(Level::Subtask, |level| level.max(self.budget_level(job)))
    }

    /// Whether a roll-up takes the place of the source.
    fn replaces(&self, group: Group, job: u32, policy: &RollupPolicy) -> bool {
        let keep = policy.keep_raw && self.budget_level(job) == Level::Subtask;
        !keep && self.level(group, job, policy) > Level::Subtask
    }

    /// Takes note of a value on the page.
    pub(super) fn observe(&mut self, member: u32, value: f64) {
        self.values.push((member, value));
    }

    /// A page begins or is taken back.
    pub(super) fn clear_page(&mut self) {
        self.values.clear();
    }

    /// The page has ended well: takes its values in.
    fn accumulate(&mut self, page: u32) {
        let values = std::mem::take(&mut self.values);
        let mut late = Vec::new();
        for &(at, value) in &values {
            match self.members.get(at as usize) {
                Some(member) if member.stands_back => late.push((at, value)),
                _ => self.take(at, value, page),
            }
        }
        if !late.is_empty() {
            let present = self.members.iter().filter(|(_, m)| m.seen == page);
            let taken: HashSet<u128> = present.map(|(_, member)| member.place).collect();
            for (at, value) in late {
                let place = self.members.get(at as usize).map(|member| member.place);
                if place.is_some_and(|place| !taken.contains(&place)) {
                    self.take(at, value, page);
                }
            }
        }
        self.values = values;
        self.values.clear();
    }

    fn take(&mut self, at: u32, value: f64, page: u32) {
        let Some(member) = self.members.get_mut(at as usize) else { return };
        if member.seen == page {
            return;
        }
        member.seen = page;
        let last = member.last;
        if value.is_finite() {
            member.last = value;
        }
        for (at, is_in) in member.rollups.iter().zip(&mut member.is_in) {
            let Some(rollup) = self.rollups.get_mut(*at as usize) else { continue };
            let before = is_in.then_some(last);
            *is_in |= rollup.sums.add(value, before, rollup.is_counter, page);
        }
    }
}

impl Tracker {
    /// What a new line is to roll-ups. Lines of groups that are not relayed are nothing.
    pub(super) fn enrol(
        &mut self,
        sample: &Sample<'_>,
        group: Group,
        known: Option<&Found<'_, '_>>,
        subject: SubjectId,
    ) -> Role {
        let policy = &self.shaper.rollups;
        if !policy.is_on() || !self.shaper.groups.allows(group) {
            return Role::NONE;
        }
        let found = known.filter(|known| !functions(known, sample.name).is_empty());
        let level = policy.level(group).filter(|_| found.is_some());
        if !policy.has_budget && level.is_none_or(|level| level == Level::Subtask) {
            return Role::NONE;
        }
        let job_id = sample.labels().find(|(name, _)| *name == "job_id");
        let job = self.rollups.job(job_id.as_ref().map_or("", |(_, id)| id));
        let (Some(known), Some(level)) = (found, level) else {
            return Role { job, ..Role::NONE };
        };
        let draft = self.draft(sample, known, level, subject);
        if let Some(name) = draft.job_name
            && self.rollups.job_names.get(&job) != Some(&name)
        {
            self.rollups.job_names.insert(job, name);
        }
        let stands_back = self.shaper.names.stands_back(Some(known));
        let metric = self.shaper.names.metric(known);
        let mut rollups = [NONE; LEVELS.len()];
        let wanted = rollups.iter_mut().zip(draft.rollups).zip(LEVELS);
        for ((at, draft), level) in wanted.filter_map(|((at, d), level)| Some(((at, d?), level))) {
            *at = match (self.rollups.rollup_table.get(&draft.key), draft.new) {
                (Some(known), _) => *known,
                (None, None) => NONE,
                (None, Some((labels, ids))) => {
                    let ids = ids.map(|ids| self.intern(&ids));
                    let new = position(self.rollups.rollups.insert(Rollup {
                        key: draft.key,
                        level,
                        group,
                        job,
                        subject,
                        functions: functions(known, sample.name).into(),
                        is_counter: is_counter(known, sample.name),
                        help: metric.help.as_str().into(),
                        unit: unit(known, sample.name),
                        labels,
                        ids,
                        began: self.page,
                        part_of: None,
                        sums: Sums::default(),
                    }));
                    self.rollups.rollup_table.insert(draft.key, new);
                    new
                }
            };
        }
        let member = Member {
            key: draft.key,
            place: draft.place,
            stands_back,
            group,
            job,
            rollups,
            is_in: [false; LEVELS.len()],
            last: f64::NAN,
            seen: 0,
        };
        Role { member: self.enter(member), job }
    }

    /// Enters a source, or finds it.
    fn enter(&mut self, new: Member) -> u32 {
        let Rollups { members, member_table, .. } = &mut self.rollups;
        if let Some(at) = member_table.get(&new.key)
            && let Some(member) = members.get_mut(*at as usize)
        {
            // After a change of the configuration: what it has brought in elsewhere is not here.
            let same = member.rollups.iter().zip(new.rollups).map(|(before, now)| *before == now);
            member.is_in.iter_mut().zip(same).for_each(|(is_in, same)| *is_in &= same);
            let Member { is_in, last, seen, .. } = *member;
            *member = Member { is_in, last, seen, ..new };
            return *at;
        }
        let key = new.key;
        let at = position(members.insert(new));
        member_table.insert(key, at);
        at
    }

    fn draft<'a>(
        &mut self,
        sample: &Sample<'a>,
        known: &Found<'a, 'a>,
        level: Level,
        subject: SubjectId,
    ) -> Draft {
        let names = |labels: &mut Labels<'_>| self.subjects.give_back(subject, labels);
        let (mut labels, dropped) = self.shaper.normal(sample, Some(known), names);
        labels.sort();
        let mut ids: Labels<'_> = dropped.into_iter().collect();
        ids.sort();
        let place = hash(&[labels.identity(), ids.identity()], b"");
        let names = &self.shaper.names;
        let told_by_name =
            names.renames(Some(known), sample.name) && !names.stands_back(Some(known));
        let name = if told_by_name { sample.name.as_bytes() } else { b"" };
        let key = hash(&[place, u128::from(names.stands_back(Some(known)))], name);
        let draft = |of: Level| {
            let budgeted = self.shaper.rollups.has_budget && of > level;
            if of != level && !budgeted {
                return None;
            }
            let (mut labels, mut ids) = (labels.clone(), ids.clone());
            of.strip(&mut labels);
            of.strip(&mut ids);
            self.shaper.add_target_labels(&mut labels, &self.target_labels);
            labels.sort();
            let key = hash(&[of as u128, labels.identity(), ids.identity()], b"");
            let is_known = self.rollups.rollup_table.contains_key(&key);
            let new = (!is_known).then(|| {
                let ids = (!ids.is_empty()).then(|| v1::labels_block(&ids));
                (v1::labels_block(&labels), ids)
            });
            Some(RollupDraft { key, new })
        };
        let job_name = labels.get("job_name").map(Box::from);
        Draft { job_name, place, key, rollups: LEVELS.map(draft) }
    }

    /// Whether the line's samples are not sent because a roll-up is.
    pub(super) fn is_rolled_up(&self, role: Role) -> bool {
        let member = self.rollups.members.get(role.member as usize);
        member.is_some_and(|member| {
            self.rollups.replaces(member.group, member.job, &self.shaper.rollups)
        })
    }

    /// Forgets members without a line, then roll-ups without a member, after a page that has ended well.
    pub(super) fn sweep_rollups(&mut self) {
        self.sweep_wholes();
        let Rollups {
            members, member_table, rollups, rollup_table, jobs, levels, job_names, ..
        } = &mut self.rollups;
        if jobs.is_empty() {
            return;
        }
        let mut used = HashSet::new();
        let mut used_jobs = HashSet::new();
        for (_, extra) in self.extras.iter() {
            used.insert(extra.member);
        }
        for whose in self.whose.iter() {
            used_jobs.insert(whose.job);
        }
        let mut used_rollups = HashSet::new();
        members.retain(|at, member| {
            let kept = used.contains(&position(at));
            if kept {
                used_rollups.extend(member.rollups);
                used_jobs.insert(member.job);
            } else {
                member_table.remove(&member.key);
            }
            kept
        });
        rollups.retain(|at, rollup| {
            let kept = used_rollups.contains(&position(at));
            if kept {
                used_jobs.insert(rollup.job);
            } else {
                rollup_table.remove(&rollup.key);
            }
            kept
        });
        jobs.retain(|_, job| {
            let kept = used_jobs.contains(job);
            if !kept {
                levels.try_remove(*job as usize);
                job_names.remove(job);
            }
            kept
        });
    }
}

fn hash(parts: &[u128], text: &[u8]) -> u128 {
    let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_le_bytes()).collect();
    bytes.extend_from_slice(text);
    xxh3_128(&bytes)
}

fn position(at: usize) -> u32 {
    u32::try_from(at).expect("as many as lines at most, and a page is capped")
}

#[cfg(test)]
mod tests;
