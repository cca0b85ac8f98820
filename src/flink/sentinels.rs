//! Sentinels: numbers that Flink writes where it has none.
//!
//! A watermark that never came is -9223372036854775808, a checkpoint that never completed took -1 ms, a
//! quantile of nothing is NaN. Sent as numbers they wreck every average and every panel. Which values
//! these are is the catalogue's knowledge ([`Found::no_value`]); a sample that has one is dropped, and its
//! series ends until there is a number again.
//!
//! Invariants: what the catalogue does not know keeps every value, but for a quantile of nothing where
//! the page says that it is a summary's; the count of a summary is a number even when its quantiles are
//! not.

use super::{Kind, catalogue::Found};

/// What becomes of sentinels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sentinels {
    /// They are dropped and counted.
    #[default]
    Drop,
    /// They are sent as the numbers that they look like.
    Keep,
}

/// The values of one metric that mean "there is none".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NoValue {
    nan: bool,
    /// None of them is NaN; of a metric one or two.
    numbers: Box<[f64]>,
}

impl NoValue {
    /// These values, NaN among them or not.
    pub fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let (nan, numbers): (Vec<f64>, Vec<f64>) =
            values.into_iter().partition(|value| value.is_nan());
        Self { nan: !nan.is_empty(), numbers: numbers.into() }
    }

    /// Whether the value means that there is none.
    pub fn is(&self, value: f64) -> bool {
        // The numbers are integers that a float holds exactly, as the page does.
        if value.is_nan() { self.nan } else { self.numbers.contains(&value) }
    }

    /// Whether no value does.
    pub fn is_empty(&self) -> bool {
        !self.nan && self.numbers.is_empty()
    }
}

impl Found<'_, '_> {
    /// The values of this sample that mean "there is none".
    pub fn no_value(&self) -> NoValue {
        if self.is_count() {
            return NoValue::default();
        }
        // The quantiles of a histogram without observations.
        let empty = (self.metric.kind == Kind::Summary).then_some(f64::NAN);
        NoValue::new(self.metric.no_value.iter().copied().chain(empty))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flink::catalogue;

    #[test]
    fn a_sentinel_is_one_for_its_metric_alone() {
        let check = |name: &str, value: f64, expect: bool| {
            let found = catalogue().find(name).unwrap();
            assert_eq!(found.no_value().is(value), expect, "{name} {value}");
        };
        let watermark = "flink_taskmanager_job_task_operator_currentInput2Watermark";
        // As the page has Long.MIN_VALUE and Long.MAX_VALUE.
        check(watermark, "-9.223372036854776E18".parse().unwrap(), true);
        check(watermark, "9.223372036854776E18".parse().unwrap(), true);
        check(watermark, -1.0, false);
        check(watermark, f64::NAN, false);
        check("flink_taskmanager_job_task_busyTimeMsPerSecond", f64::NAN, true);
        check("flink_taskmanager_job_task_busyTimeMsPerSecond", 0.0, false);
        check("flink_taskmanager_job_task_idleTimeMsPerSecond", f64::NAN, false);
        check("flink_jobmanager_Status_JVM_Memory_NonHeap_Max", -1.0, true);
        check("flink_jobmanager_Status_JVM_Memory_NonHeap_Used", -1.0, false);
        let summary =
            "flink_taskmanager_job_latency_source_id_operator_id_operator_subtask_index_latency";
        let found = catalogue().find(summary).unwrap();
        assert_eq!(found.metric.kind, Kind::Summary);
        check(summary, f64::NAN, true);
        check(&format!("{summary}_count"), f64::NAN, false);
    }
}
