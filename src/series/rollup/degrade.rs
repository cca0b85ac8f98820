//! What a budget makes of a page: jobs are rolled up further, or less far, and new series are left out.
//!
//! A job is degraded on the very page that asks for it, before anything is sent: the sums of both levels
//! are there already, so its lines are told that they are rolled up, and the roll-ups that stand for
//! them are made instead. On its way back its lines are new ones on the next page, so that they are told
//! apart as new lines are.

use hashbrown::{HashMap, HashSet};

use super::{NONE, position};
use crate::{
    flink::{
        Group,
        budget::{Demand, Demands, Grants},
        rollup::Level,
    },
    series::{Dropped, Fate, Line, Observed, Tracker},
};

impl Tracker {
    /// The page has ended: takes its values in and asks the budget, when there is one, what of it may
    /// be sent. What it grants holds for this page already, unless it is more than before.
    pub(in crate::series) fn settle_rollups(
        &mut self,
        budget: impl FnOnce(Demands) -> Grants,
    ) -> Option<Grants> {
        if !self.shaper.rollups.is_on() {
            return None;
        }
        self.rollups.accumulate(self.page);
        if !self.shaper.rollups.has_budget {
            return None;
        }
        let grants = budget(self.demands());
        let mut raised = false;
        for (id, job) in &self.rollups.jobs {
            let Some((now, next)) = self.rollups.levels.get_mut(*job as usize) else { continue };
            *next = grants.of(id).level;
            if *next > *now {
                *now = *next;
                raised = true;
            }
        }
        if raised {
            self.replace_sources();
        }
        Some(grants)
    }

    /// Lines whose job has been degraded are sent no more, from this page on.
    fn replace_sources(&mut self) {
        let (rollups, policy) = (&self.rollups, &self.shaper.rollups);
        for (_, line) in self.lines.iter_mut() {
            let extra = self.extras.get(line.extra as usize);
            let member = extra.and_then(|extra| rollups.members.get(extra.member as usize));
            if member.is_some_and(|m| rollups.replaces(m.group, m.job, policy)) {
                line.set_fate(Fate::Dropped(Dropped::RolledUp));
            }
        }
        let Self { lines, observed, tally, .. } = self;
        observed.retain(|sample| {
            let fate = lines.get(sample.line as usize).map(Line::fate);
            let gone = fate == Some(Fate::Dropped(Dropped::RolledUp));
            tally.dropped.add(Dropped::RolledUp, u64::from(gone));
            !gone
        });
    }

    /// A page begins: lines whose job may be sent in more detail again are new ones on it.
    pub(in crate::series) fn restore_sources(&mut self) {
        let mut restored = HashSet::new();
        for (job, (now, next)) in &mut self.rollups.levels {
            if *next < *now {
                *now = *next;
                restored.insert(position(job));
            }
        }
        if !restored.is_empty() {
            self.drop_lines(|_, whose| !restored.contains(&whose.job));
        }
    }

    /// Leaves new series out that exceed what was granted. Those that are there go on.
    pub(in crate::series) fn keep_to(&mut self, grants: &Grants) {
        let series_of = |line: u32| {
            let line = self.lines.get(line as usize)?;
            let Fate::Series(at) = line.fate() else { return None };
            Some((at, self.whose_of(line).job, self.series.get(at as usize)?.is_live()))
        };
        let mut room: HashMap<u32, u64> = HashMap::new();
        for (id, job) in &self.rollups.jobs {
            room.insert(*job, grants.of(id).series);
        }
        let mut room_in_all = grants.series;
        let mut admitted = HashSet::new();
        let mut admit = |series: u32, job: u32, live: bool| {
            if admitted.contains(&series) {
                return true;
            }
            let of_job = room.get(&job).copied().unwrap_or(u64::MAX);
            if !live && (of_job == 0 || room_in_all == 0) {
                return false;
            }
            room_in_all = room_in_all.saturating_sub(1);
            room.insert(job, of_job.saturating_sub(1));
            admitted.insert(series)
        };
        let here = self.observed.iter().filter_map(|sample| series_of(sample.line));
        here.filter(|(.., live)| *live).for_each(|(series, job, live)| {
            admit(series, job, live);
        });
        let mut left_out = Vec::new();
        let kept = |sample: &Observed| {
            let admitted =
                series_of(sample.line).is_none_or(|(at, job, live)| admit(at, job, live));
            if !admitted {
                left_out.push(sample.line);
            }
            admitted
        };
        let observed: Vec<Observed> = self.observed.iter().copied().filter(kept).collect();
        self.observed = observed;
        self.tally.dropped.add(Dropped::Budget, left_out.len() as u64);
        // Their lines are here: the next page may have room for them.
        self.withheld.append(&mut left_out);
    }

    /// How many series the page has of each job, at each level that a budget may demand.
    fn demands(&self) -> Demands {
        let (rollups, policy, page) = (&self.rollups, &self.shaper.rollups, self.page);
        let mut of_job: HashMap<u32, [u64; Level::ALL.len()]> = HashMap::new();
        let mut count = |job: u32, at: &dyn Fn(Level) -> bool, series: usize| {
            let demand = of_job.entry(job).or_default();
            for (demand, level) in demand.iter_mut().zip(Level::ALL) {
                *demand += if at(level) { series as u64 } else { 0 };
            }
        };
        let lines = self.observed.iter().filter_map(|s| self.lines.get(s.line as usize));
        for line in lines.filter(|line| self.extra_of(line).member == NONE) {
            count(self.whose_of(line).job, &|_| true, 1);
        }
        let level = |group: Group, demanded: Level| {
            policy.level(group).map_or(Level::Subtask, |level| level.max(demanded))
        };
        for (_, member) in rollups.members.iter().filter(|(_, member)| member.seen == page) {
            let at = |demanded: Level| {
                level(member.group, demanded) == Level::Subtask
                    || policy.keep_raw && demanded == Level::Subtask
            };
            count(member.job, &at, 1);
        }
        for (_, rollup) in rollups.rollups.iter().filter(|(_, rollup)| rollup.sums.is_of(page)) {
            let at = |demanded: Level| level(rollup.group, demanded) == rollup.level;
            count(rollup.job, &at, rollup.functions.len());
        }
        let jobs = rollups.jobs.iter().filter_map(|(id, job)| {
            let name = rollups.job_names.get(job).cloned().unwrap_or_default();
            Some((id.clone(), Demand { name, series: *of_job.get(job)? }))
        });
        jobs.collect()
    }
}
