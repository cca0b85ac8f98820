//! What HELP says of a family: where the scope ends and the metric's own name begins.
//!
//! ```text
//!   # HELP flink_taskmanager_job_task_operator_my_state_rocksdb_estimate_num_keys
//!            rocksdb.estimate-num-keys (scope: taskmanager_job_task_operator_my_state)
//! ```
//!
//! A name on a page runs scope, users' groups and the metric's own name together, all joined by `_`.
//! HELP keeps them apart and shows the own name with the characters that the reporter replaced
//! (`AbstractPrometheusReporter.notifyOfAddedMetric`). So it tells Flink's `rocksdb.bytes-read` from a
//! user's `rocksdb_bytes_read`, and a state's metric from a user's whose name only ends like one.

use super::{Scope, spelling::sanitised};
use crate::flink::NAME_PREFIX;

/// The metric's own name, unsanitised, as HELP shows it for the family. `None` where the text is not
/// the reporter's: another exporter's, or one that a proxy rewrote.
pub(super) fn own_name<'h>(family: &str, help: &'h str) -> Option<&'h str> {
    border(family, help).map(|(_, name)| name)
}

/// The logical scope with the users' groups in it, and the metric's own name.
fn border<'h>(family: &str, help: &'h str) -> Option<(&'h str, &'h str)> {
    let (name, scope) = help.strip_suffix(')')?.rsplit_once(" (scope: ")?;
    let below = family.strip_prefix(NAME_PREFIX)?.strip_prefix(scope)?.strip_prefix('_')?;
    (below == sanitised(name)).then_some((scope, name))
}

/// Scope and name for a row that describes this family: what a person would begin with who adds it to
/// `flink.metrics`. `labels` are those of its series; one whose name stands in a group is the key of a
/// key-value group. `None` for a family that is not Flink's.
pub fn suggested<'l>(
    family: &str,
    help: &str,
    labels: impl Iterator<Item = &'l str> + Clone,
) -> Option<(Scope, String)> {
    let below_prefix = family.strip_prefix(NAME_PREFIX)?;
    let (below_prefix, own) = match border(family, help) {
        Some((scope, name)) => (scope, Some(name)),
        None => (below_prefix, None),
    };
    let below = |scope: Scope| {
        let below = below_prefix.strip_prefix(scope.as_str())?;
        Some((scope, if below.is_empty() { below } else { below.strip_prefix('_')? }))
    };
    let scopes = Scope::ALL.iter().filter_map(|(_, scope)| below(*scope));
    let (scope, below) = scopes.min_by_key(|(_, below)| below.len())?;
    let mut name = own.map_or_else(|| below.to_owned(), |_| with_keys(below, labels));
    if let Some(own) = own {
        if !name.is_empty() {
            name.push('.');
        }
        let is_plain = !own.contains(['<', '{', '(', '[']);
        name.push_str(if is_plain { own } else { below_border(family, below_prefix) });
    }
    (!name.is_empty()).then_some((scope, name))
}

/// The own name as exported.
fn below_border<'f>(family: &'f str, scope: &str) -> &'f str {
    family.get(NAME_PREFIX.len() + scope.len() + 1..).unwrap_or_default()
}

/// Users' groups with `{key}` for each that is a label's name.
fn with_keys<'l>(groups: &str, labels: impl Iterator<Item = &'l str> + Clone) -> String {
    let mut name = String::new();
    let mut rest = groups;
    while !rest.is_empty() {
        let starts = |label: &&str| {
            let behind = rest.strip_prefix(label);
            behind.is_some_and(|behind| behind.is_empty() || behind.starts_with('_'))
        };
        let key = labels.clone().filter(starts).max_by_key(|label| label.len());
        let word = rest.find('_').unwrap_or(rest.len());
        let (text, behind) = rest.split_at(key.map_or(word, str::len));
        if !name.is_empty() {
            name.push('.');
        }
        match key {
            Some(key) => name.extend(["{", key, "}"]),
            None => name.push_str(text),
        }
        rest = behind.strip_prefix('_').unwrap_or(behind);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_is_where_help_puts_it() {
        let check = |family: &str, help: &str, expect: Option<&str>| {
            assert_eq!(own_name(family, help), expect, "{family}: {help}");
        };
        check("flink_a_b_c", "c (scope: a_b)", Some("c"));
        check("flink_a_b_c", "b.c (scope: a)", Some("b.c"));
        check("flink_a_b_c", "b-c (scope: a)", Some("b-c"));
        check("flink_a_b__scope:_c_", "b (scope: c) (scope: a)", Some("b (scope: c)"));
        check("flink_a_b_c", "c (scope: a)", None);
        check("flink_a_b_c", "b_c (scope: ax)", None);
        check("flink_a_b_c", "Bytes read.", None);
        check("flink_a_b_c", "", None);
        check("a_b", "b (scope: a)", None);
        check("flink_a_日", "日 (scope: a)", None);
        check("flink_a__", "日 (scope: a)", Some("日"));
    }

    #[test]
    fn a_row_is_suggested_for_what_is_flinks() {
        let operator = "taskmanager_job_task_operator";
        let check = |family: &str, help: &str, labels: &[&str], expect: &str| {
            let family = family.replace("OPERATOR", operator);
            let help = help.replace("OPERATOR", operator);
            let suggested = suggested(&family, &help, labels.iter().copied());
            let shown = suggested.map(|(scope, name)| format!("{scope}: {name}"));
            assert_eq!(shown.unwrap_or_default(), expect.replace("OPERATOR", operator), "{family}");
        };
        let shop = "flink_OPERATOR_shop_orders_placed_now";
        check(
            shop,
            "placed-now (scope: OPERATOR_shop_orders)",
            &[],
            "OPERATOR: shop.orders.placed-now",
        );
        check(
            shop,
            "placed.now (scope: OPERATOR_shop_orders)",
            &["orders"],
            "OPERATOR: shop.{orders}.placed.now",
        );
        check(shop, "Orders.", &["orders"], "OPERATOR: shop_orders_placed_now");
        check("flink_OPERATOR_a", "a (scope: OPERATOR)", &["a"], "OPERATOR: a");
        check(
            "flink_OPERATOR_topic_name_x",
            "x (scope: OPERATOR_topic_name)",
            &["topic", "topic_name"],
            "OPERATOR: {topic_name}.x",
        );
        check("flink_OPERATOR__a__", "<a>> (scope: OPERATOR)", &[], "OPERATOR: _a__");
        check("flink_jobmanager_a", "", &[], "jobmanager: a");
        check("flink_jobmanager", "", &[], "");
        check("flink_elsewhere_a", "", &[], "");
        check("go_goroutines", "Goroutines.", &[], "");
    }
}
