//! What is left out whatever a line says: the names that a target need not be asked for.
//!
//! A sample may be dropped for its name alone: its metric group is not wanted, or a rule of
//! `metric_relabel_configs` looks at nothing but the name. That holds for each line of the name, now and
//! later, so a page without them comes to the same. Everything else may change with the next line (limits,
//! budgets, values, other labels) and does not count.
//!
//! Invariant: no sample of a name that is left out is sent, feeds a derived series, is a source of a
//! roll-up or decides what becomes of another one. What its labels say of the page as a whole (which jobs
//! run there) is not regarded here, see [`crate::flink::rest::subject_key`].

use super::Shaper;
use crate::{
    flink::{self, catalogue::Found, derived},
    labels::{Labels, METRIC_NAME},
    relabel,
};

impl Shaper {
    /// Whether any name may be left out at all.
    pub fn may_leave_out(&self) -> bool {
        let is_unwanted = |group: &flink::Group| !self.groups.allows(*group);
        self.catalogue.groups().iter().any(is_unwanted)
            || relabel::drops_names(&self.metric_relabel_configs)
    }

    /// Whether all samples of this name are left out; `help` is what the page says of their family.
    pub fn leaves_out(&self, sample_name: &str, help: Option<&str>) -> bool {
        let known = self.catalogue.find_described(sample_name, help);
        if !self.groups.allows(flink::catalogue::group(known.as_ref(), sample_name)) {
            return true;
        }
        // These take their values before the rules have their say.
        if self.rollups.is_on() || self.feeds(known.as_ref()) {
            return false;
        }
        let mut labels = Labels::new();
        labels.push(METRIC_NAME, sample_name);
        self.names.apply(known.as_ref(), &mut labels);
        relabel::drops_name(&self.metric_relabel_configs, labels.metric_name())
    }

    fn feeds(&self, known: Option<&Found<'_, '_>>) -> bool {
        let fed = known.and_then(|known| derived::fed_by(&known.canonical_name()));
        fed.is_some_and(|(derived, _)| self.derived.has(derived.switch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flink::{
        Derivations, GroupFilter,
        rollup::{Level, RollupPolicy},
    };

    const HEAP: &str = "flink_taskmanager_Status_JVM_Memory_Heap_Used";
    const BUSY: &str = "flink_taskmanager_job_task_busyTimeMsPerSecond";
    const KEYS: &str = "flink_taskmanager_job_task_operator_aggs_rocksdb_estimate_num_keys";

    fn drop(regex: &str) -> Vec<relabel::Rule> {
        let rule = relabel::RawRule {
            source_labels: Some(vec![METRIC_NAME.to_owned()]),
            regex: Some(regex.to_owned()),
            action: Some("drop".to_owned()),
            ..relabel::RawRule::default()
        };
        vec![relabel::Rule::try_new(rule).unwrap()]
    }

    #[test]
    fn groups_leave_out_their_names() {
        let include = ["memory".to_owned()];
        let groups = GroupFilter::try_new(&include, &[]).unwrap();
        let shaper = Shaper { groups, ..Shaper::plain() };
        assert!(shaper.may_leave_out());
        assert!(!shaper.leaves_out(HEAP, None));
        for name in [BUSY, KEYS, "flink_taskmanager_job_task_my_own", "go_goroutines"] {
            assert!(shaper.leaves_out(name, None), "{name}");
        }
        let all = Shaper::plain();
        assert!(!all.may_leave_out());
        assert!(!all.leaves_out(KEYS, None));
    }

    #[test]
    fn rules_leave_out_names_as_they_are_sent_but_not_what_else_is_made_of_them() {
        let shaper =
            |regex: &str| Shaper { metric_relabel_configs: drop(regex), ..Shaper::plain() };
        // The state's name is a label by then.
        assert!(shaper(".*_operator_rocksdb_.*").leaves_out(KEYS, None));
        assert!(!shaper(".*_aggs_rocksdb_.*").leaves_out(KEYS, None));
        // A ratio is made of it, unless that is switched off.
        assert!(!shaper(".*").leaves_out(BUSY, None));
        let derived = Derivations::NONE;
        assert!(Shaper { derived, ..shaper(".*") }.leaves_out(BUSY, None));
        // A roll-up may be.
        let rollups = RollupPolicy::of_all(Level::Task);
        assert!(!Shaper { rollups, ..shaper(".*rocksdb.*") }.leaves_out(KEYS, None));
    }
}
