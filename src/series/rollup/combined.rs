//! Between the trackers of targets and what several targets come to: a page's roll-ups as parts of it,
//! and the whole of it as the page of a tracker of its own.
//!
//! That tracker has no target. What it is given takes the way of every roll-up from there on: normal
//! labels, `metric_relabel_configs`, views, operators of one name told apart, markers, changed
//! configurations.

use std::sync::Arc;

use super::{
    Destination, NONE, Rollup,
    across::{Part, PartOf, Whole},
    hash, position,
};
use crate::{
    flink::{budget::Grants, rest::SubjectId},
    labels::{Labels, METRIC_NAME},
    remote_write::v1,
    series::{Shaper, Tally, Tracker},
};

impl Rollup {
    /// What it is a part of: the same without the labels of its target, but for the scrape job.
    fn as_part(&self, target: &Labels<'static>) -> PartOf {
        let mut labels = v1::decode_labels(&self.labels).expect("made by labels_block");
        labels.retain(|label| {
            label.name == "job" || label.name == METRIC_NAME || target.get(&label.name).is_none()
        });
        let ids = self.ids.as_deref().unwrap_or_default();
        let key = hash(&[self.level as u128, labels.identity()], ids);
        PartOf {
            key,
            level: self.level,
            group: self.group,
            functions: self.functions.clone(),
            is_counter: self.is_counter,
            help: self.help.clone(),
            unit: self.unit,
            labels: v1::labels_block(&labels),
            ids: self.ids.as_deref().map(Box::from),
        }
    }
}

impl Tracker {
    /// A tracker of what several targets come to, see [`Tracker::combine`].
    pub fn of_wholes(shaper: Arc<Shaper>) -> Self {
        let mut tracker = Self::new(shaper, Labels::default());
        tracker.rollups.destination = Destination::Wholes;
        tracker
    }

    /// Whether roll-ups are parts of what several targets come to, from the next page on, and not
    /// sent as this target's.
    pub const fn part_rollups(&mut self, are_parts: bool) {
        self.rollups.destination = if are_parts { Destination::Parts } else { Destination::Sent };
    }

    /// The roll-ups of the page that was closed last, as parts of what several targets come to.
    pub fn parts(&mut self) -> Vec<Part> {
        let page = self.page;
        let here = self.rollups.rollups.iter().filter(|(_, rollup)| rollup.sums.is_of(page));
        let here: Vec<u32> = here
            .filter(|(_, rollup)| self.is_at_level(rollup))
            .map(|(at, _)| position(at))
            .collect();
        let (target, rollups) = (&self.target_labels, &mut self.rollups.rollups);
        let part = |at: u32| {
            let rollup = rollups.get_mut(at as usize)?;
            let of = match &rollup.part_of {
                Some(of) => Arc::clone(of),
                None => Arc::clone(rollup.part_of.insert(Arc::new(rollup.as_part(target)))),
            };
            Some(Part { of, began: rollup.began, sums: rollup.sums })
        };
        here.into_iter().filter_map(part).collect()
    }

    /// Takes what several targets have come to as a page of its own, with this timestamp.
    pub fn combine(&mut self, wholes: Vec<Whole>, at_ms: i64) -> Tally {
        self.begin();
        for Whole { of, sums } in wholes {
            let (key, sums) = (of.key, sums.on(self.page));
            if let Some(known) = self.rollups.rollup_table.get(&key)
                && let Some(rollup) = self.rollups.rollups.get_mut(*known as usize)
            {
                rollup.sums = sums;
                continue;
            }
            let ids = of.ids.as_deref().map(|ids| self.intern(ids));
            let new = self.rollups.rollups.insert(Rollup {
                key,
                level: of.level,
                group: of.group,
                job: NONE,
                subject: SubjectId::NONE,
                functions: of.functions.clone(),
                is_counter: of.is_counter,
                help: of.help.clone(),
                unit: of.unit,
                labels: of.labels.clone(),
                ids,
                began: self.page,
                part_of: None,
                sums,
            });
            self.rollups.rollup_table.insert(key, position(new));
        }
        self.close_within(at_ms, |_| Grants::default())
    }

    /// Forgets what several targets came to and no target has any more.
    pub(super) fn sweep_wholes(&mut self) {
        let page = self.page;
        if self.rollups.destination != Destination::Wholes {
            return;
        }
        let table = &mut self.rollups.rollup_table;
        self.rollups.rollups.retain(|_, rollup| {
            let kept = rollup.sums.is_of(page);
            if !kept {
                table.remove(&rollup.key);
            }
            kept
        });
    }
}
