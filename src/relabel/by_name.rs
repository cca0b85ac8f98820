//! What rules do to a sample whatever its labels are: whether its name alone gets it dropped.
//!
//! The relay need not ask a target for such samples at all. So the answer errs on one side: a rule that
//! looks at anything else drops nothing here, and behind a rule that may write the name, nothing is known.

use super::{Action, Rule};
use crate::labels::{Labels, METRIC_NAME};

/// Whether the rules drop every sample of this name.
pub fn drops_name(rules: &[Rule], name: &str) -> bool {
    let labels: Labels<'_> = [(METRIC_NAME, name)].into_iter().collect();
    for rule in rules {
        match &rule.action {
            Action::Drop | Action::Keep if rule.sees_name_only() => {
                let is_match = rule.regex.is_match(&rule.value(&labels));
                if is_match == (rule.action == Action::Drop) {
                    return true;
                }
            }
            _ if rule.leaves_name() => {}
            _ => return false,
        }
    }
    false
}

/// Whether the rules drop the samples of any name, whatever their labels are.
pub fn drops_names(rules: &[Rule]) -> bool {
    let by_name =
        |rule: &Rule| matches!(rule.action, Action::Drop | Action::Keep) && rule.sees_name_only();
    rules.iter().take_while(|rule| rule.leaves_name()).any(by_name)
}

impl Rule {
    fn sees_name_only(&self) -> bool {
        !self.source_labels.is_empty() && self.source_labels.iter().all(|name| name == METRIC_NAME)
    }

    /// Whether a sample that passes the rule has the name that it had before.
    fn leaves_name(&self) -> bool {
        match &self.action {
            Action::Drop | Action::Keep | Action::DropEqual { .. } | Action::KeepEqual { .. } => {
                true
            }
            Action::HashMod { target, .. }
            | Action::Lowercase { target }
            | Action::Uppercase { target } => target != METRIC_NAME,
            Action::Replace { target, .. } => {
                target.constant().is_some_and(|target| target != METRIC_NAME)
            }
            Action::LabelDrop | Action::LabelKeep | Action::LabelMap { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::relabel::{RawRule, apply};

    fn rule(action: &str, source: &[&str], regex: &str, target: Option<&str>) -> Rule {
        let source: Vec<_> = source.iter().map(|&name| name.to_owned()).collect();
        Rule::try_new(RawRule {
            source_labels: (!source.is_empty()).then_some(source),
            regex: Some(regex.to_owned()),
            target_label: target.map(str::to_owned),
            modulus: (action == "hashmod").then_some(7),
            action: Some(action.to_owned()),
            ..RawRule::default()
        })
        .unwrap()
    }

    fn drop(regex: &str) -> Rule {
        rule("drop", &["__name__"], regex, None)
    }

    #[test]
    fn a_name_is_dropped_by_rules_that_see_it_alone() {
        let check = |rules: &[Rule], expect: bool| {
            assert_eq!(drops_name(rules, "a_rocksdb_x"), expect, "{rules:?}");
        };
        check(&[], false);
        check(&[drop(".*rocksdb.*")], true);
        check(&[drop(".*_heap")], false);
        check(&[rule("keep", &["__name__"], ".*_heap", None)], true);
        check(&[rule("keep", &["__name__"], "a_.*", None)], false);
        // Twice the name, joined, is the name too.
        check(&[rule("drop", &["__name__", "__name__"], "a_rocksdb_x;a_rocksdb_x", None)], true);
        // Other labels tell something else on each line.
        check(&[rule("drop", &["__name__", "job"], ".*", None)], false);
        check(&[rule("drop", &["job"], ".*", None)], false);
        check(&[rule("drop", &[], "", None)], false);
        // Behind rules that leave the name.
        let before = [
            rule("replace", &["job"], "(.*)", Some("team")),
            rule("drop", &["job"], "x", None),
            rule("hashmod", &["job"], "(.*)", Some("shard")),
            rule("lowercase", &["job"], "(.*)", Some("job")),
        ];
        for rule in &before {
            check(&[rule.clone(), drop(".*rocksdb.*")], true);
        }
        // Behind those that may write it.
        let after = [
            rule("replace", &["job"], "(.*)", Some("__name__")),
            rule("replace", &["job"], "(.*)", Some("${1}")),
            rule("uppercase", &["__name__"], "(.*)", Some("__name__")),
            rule("hashmod", &["job"], "(.*)", Some("__name__")),
            rule("labelmap", &[], "job", None),
            rule("labeldrop", &[], "job", None),
            rule("labelkeep", &[], ".*", None),
        ];
        for rule in &after {
            let rules = [rule.clone(), drop(".*rocksdb.*")];
            check(&rules, false);
            assert!(!drops_names(&rules), "{rules:?}");
            check(&[drop(".*rocksdb.*"), rule.clone()], true);
        }
        assert!(drops_names(&[before[0].clone(), drop("x")]));
        assert!(!drops_names(&before));
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let actions = ["drop", "keep", "replace", "hashmod", "lowercase", "labeldrop", "labelmap"];
        let labels = prop::sample::select(vec!["__name__", "job", "b"]);
        let regex = prop::sample::select(vec!["(.*)", "a.*", "b|x", "", ".*_x"]);
        (prop::sample::select(actions.to_vec()), labels.clone(), regex, labels).prop_map(
            |(action, source, regex, target)| {
                let writes = matches!(action, "replace" | "hashmod" | "lowercase");
                let source = if action.starts_with("label") { vec![] } else { vec![source] };
                rule(action, &source, regex, writes.then_some(target))
            },
        )
    }

    proptest! {
        /// What is said to be dropped is dropped with any labels.
        #[test]
        fn a_name_that_is_dropped_is_dropped_on_every_line(
            rules in prop::collection::vec(any_rule(), 0..5),
            name in prop::sample::select(&["a", "b", "a_x", "b_x"][..]),
            job in "[abx]{0,2}",
            b in "[abx]{0,2}",
        ) {
            if drops_name(&rules, name) {
                prop_assert!(drops_names(&rules));
                let mut labels: Labels<'_> =
                    [(METRIC_NAME, name), ("job", &*job), ("b", &*b)].into_iter().collect();
                prop_assert!(!apply(&rules, &mut labels));
            }
        }
    }
}
