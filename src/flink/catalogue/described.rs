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

use super::spelling::sanitised;
use crate::flink::NAME_PREFIX;

/// The metric's own name, unsanitised, as HELP shows it for the family. `None` where the text is not
/// the reporter's: another exporter's, or one that a proxy rewrote.
pub(super) fn own_name<'h>(family: &str, help: &'h str) -> Option<&'h str> {
    let (name, scope) = help.strip_suffix(')')?.rsplit_once(" (scope: ")?;
    let below = family.strip_prefix(NAME_PREFIX)?.strip_prefix(scope)?.strip_prefix('_')?;
    (below == sanitised(name)).then_some(name)
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
}
