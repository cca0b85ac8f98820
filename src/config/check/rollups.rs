//! `flink.rollups` and `flink.budgets`.

use super::Checker;
use crate::{
    config::{
        raw::{RawBudgets, RawRollups},
        value::{At, Form, Scalar},
    },
    flink::{Budgets, Catalogue, Group, RollupPolicy, rollup::Level},
};

impl Checker<'_> {
    pub(super) fn rollups(
        &mut self,
        raw: Option<At<Form<RawRollups>>>,
        catalogue: &Catalogue,
        is_sharded: bool,
    ) -> RollupPolicy {
        let mut policy = RollupPolicy::default();
        let map = match raw {
            None => return policy,
            Some(At { value: Form::Map(map), .. }) => map,
            Some(At { value: Form::Word(word), origin }) => {
                let level = Some(At { value: word, origin });
                RawRollups { level, ..RawRollups::default() }
            }
            Some(At { value: Form::List(_), origin }) => {
                let message = "expected a level for all groups, or a map with `level` and `levels`";
                self.note(origin, message.to_owned());
                return policy;
            }
        };
        if let Some(level) = map.level.as_ref().and_then(|level| self.level(level)) {
            policy.level = level;
        }
        for (name, level) in map.levels.iter().flat_map(|levels| &levels.0) {
            let group = match Group::find(&name.value, catalogue.groups()) {
                Ok(group) => Some(group),
                Err(error) => {
                    self.note(name.origin, error.to_string());
                    None
                }
            };
            if let (Some(group), Some(level)) = (group, self.level(level)) {
                policy.levels.insert(group, level);
            }
        }
        policy.keep_raw = self.boolean(map.keep_raw.as_ref(), false);
        policy.across_targets = self.boolean(map.across_targets.as_ref(), false);
        if let Some(across) = map.across_targets.filter(|_| policy.across_targets && is_sharded) {
            let message = "roll-ups across targets need all targets of a job in one relay, but `shard` \
                           spreads them over several, which would all send the same series";
            self.note(across.origin, message.to_owned());
        }
        policy
    }

    /// A level, `None` inside for `off`; nothing when it is none and was noted.
    fn level(&mut self, scalar: &Scalar) -> Option<Option<Level>> {
        let text = self.text(scalar)?;
        // YAML reads `off` as false.
        if matches!(&*text, "off" | "false") {
            return Some(None);
        }
        match text.parse() {
            Ok(level) => Some(Some(level)),
            Err(error) => {
                let error: crate::flink::rollup::UnknownLevel = error;
                self.note(scalar.origin, error.to_string());
                None
            }
        }
    }

    pub(super) fn budgets(&mut self, raw: RawBudgets) -> Budgets {
        Budgets {
            series_total: self.number(raw.series_total.as_ref(), 0..=u64::MAX, 0),
            series_per_job: self.number(raw.series_per_job.as_ref(), 0..=u64::MAX, 0),
        }
    }
}
