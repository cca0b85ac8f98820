//! Derived series: what people work out of Flink's metrics again and again, made once and right.
//!
//! ```text
//!   currentInputWatermark                  -> watermark_lag_seconds               clock − watermark
//!   lastCheckpointCompletedTimestamp       -> last_completed_checkpoint_age_seconds
//!   numberOfFailedCheckpoints, numRestarts -> …_total                             never go back
//!   busyTimeMsPerSecond …                  -> busy_ratio …                        of 1000 ms
//!   Heap_Used / Heap_Max …                 -> memory_heap_used_ratio …
//!   … size_all_mem_tables + … table_readers_mem, over all states -> rocksdb_memory_bytes
//!   taskSlotsTotal − taskSlotsAvailable    -> task_slots_used
//! ```
//!
//! Here is which sample feeds what ([`fed_by`]) and what follows from the numbers of one page
//! ([`Rule::value`]); [`crate::series`] collects the numbers, keeps the past of a series, and sends it like
//! a line of the page. The catalogue has a row for each, so that it has a group, a type, a unit and a help
//! as every metric; its group is the group of what it is made from, so it is wanted when they are.
//!
//! Invariants: a sample feeds one derived series at most; where an input is absent, or is a sentinel,
//! the derived series is absent; what is made is a number.

use std::{borrow::Cow, collections::HashMap, fmt::Write as _, sync::LazyLock};

use super::catalogue::Found;

/// Which derived series are made. All, unless some are switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Derivations([bool; Switch::ALL.len()]);

/// What can be switched on and off by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// How far watermarks are behind the clock.
    WatermarkLag,
    /// Time since the last completed checkpoint.
    CheckpointAge,
    /// Checkpoints that failed, as a counter.
    CheckpointFailures,
    /// Restarts of a job, as a counter.
    Restarts,
    /// Shares of a task's time: busy, idle, back-pressured.
    TimeRatios,
    /// Shares of heap and managed memory in use.
    MemoryRatios,
    /// What RocksDB holds in memory for an operator.
    RocksDbMemory,
    /// Slots in use.
    SlotsUsed,
}

/// How a derived series follows from its inputs; slots are positions in [`Derived::inputs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Clock minus slot 0, a time in milliseconds, in seconds. Negative when that lies ahead.
    Lag,
    /// Clock minus slot 0, a time in milliseconds, in seconds, or 0 when that lies ahead. Without it: time
    /// since slot 1, a count, was seen to have grown.
    Age,
    /// Slot 0, a count that may begin again at 0, as one that goes on.
    Total,
    /// Slot 0, milliseconds of a second, as a share of it.
    OfSecond,
    /// Slot 0 as a share of slot 1.
    Share,
    /// Slot 1 subtracted from slot 0.
    Difference,
    /// The sum of slot 0 over all states, or that of slot 1 in its place, and that of slot 2 if there is one.
    StateSum,
    /// The largest of slot 0 over all states as a share of the largest of slot 1.
    StateShare,
}

/// Inputs that a derived series may have.
pub const INPUTS: usize = 3;

/// One derived metric.
#[derive(Debug)]
pub struct Derived {
    /// Its name.
    pub name: &'static str,
    /// What switches it.
    pub switch: Switch,
    /// How it follows from its inputs.
    pub rule: Rule,
    /// The canonical names of its inputs.
    pub inputs: &'static [&'static str],
}

/// What a derived series has to remember from page to page.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Past {
    /// What was counted before the count began again.
    before: f64,
    /// The count on the last page.
    last: Option<f64>,
    /// When it was seen to have grown.
    grew_ms: Option<i64>,
}

macro_rules! derived {
    ($($name:literal = $switch:ident $rule:ident [$($input:literal),+];)+) => {
        /// All derived metrics.
        pub const DERIVED: &[Derived] = &[$(Derived {
            name: $name,
            switch: Switch::$switch,
            rule: Rule::$rule,
            inputs: &[$($input),+],
        }),+];
    };
}

derived! {
    "flink_taskmanager_job_task_watermark_lag_seconds" = WatermarkLag Lag
        ["flink_taskmanager_job_task_currentInputWatermark"];
    "flink_taskmanager_job_task_operator_watermark_lag_seconds" = WatermarkLag Lag
        ["flink_taskmanager_job_task_operator_currentInputWatermark"];
    "flink_taskmanager_job_task_operator_input_watermark_lag_seconds" = WatermarkLag Lag
        ["flink_taskmanager_job_task_operator_currentInputNWatermark"];
    "flink_taskmanager_job_task_operator_output_watermark_lag_seconds" = WatermarkLag Lag
        ["flink_taskmanager_job_task_operator_currentOutputWatermark"];
    "flink_jobmanager_job_last_completed_checkpoint_age_seconds" = CheckpointAge Age
        ["flink_jobmanager_job_lastCheckpointCompletedTimestamp",
         "flink_jobmanager_job_numberOfCompletedCheckpoints"];
    "flink_jobmanager_job_checkpoint_failures_total" = CheckpointFailures Total
        ["flink_jobmanager_job_numberOfFailedCheckpoints"];
    "flink_jobmanager_job_restarts_total" = Restarts Total
        ["flink_jobmanager_job_numRestarts"];
    "flink_taskmanager_job_task_busy_ratio" = TimeRatios OfSecond
        ["flink_taskmanager_job_task_busyTimeMsPerSecond"];
    "flink_taskmanager_job_task_idle_ratio" = TimeRatios OfSecond
        ["flink_taskmanager_job_task_idleTimeMsPerSecond"];
    "flink_taskmanager_job_task_backpressured_ratio" = TimeRatios OfSecond
        ["flink_taskmanager_job_task_backPressuredTimeMsPerSecond"];
    "flink_jobmanager_memory_heap_used_ratio" = MemoryRatios Share
        ["flink_jobmanager_Status_JVM_Memory_Heap_Used",
         "flink_jobmanager_Status_JVM_Memory_Heap_Max"];
    "flink_taskmanager_memory_heap_used_ratio" = MemoryRatios Share
        ["flink_taskmanager_Status_JVM_Memory_Heap_Used",
         "flink_taskmanager_Status_JVM_Memory_Heap_Max"];
    "flink_taskmanager_memory_managed_used_ratio" = MemoryRatios Share
        ["flink_taskmanager_Status_Flink_Memory_Managed_Used",
         "flink_taskmanager_Status_Flink_Memory_Managed_Total"];
    "flink_taskmanager_job_task_operator_rocksdb_memory_bytes" = RocksDbMemory StateSum
        ["flink_taskmanager_job_task_operator_rocksdb_size_all_mem_tables",
         "flink_taskmanager_job_task_operator_rocksdb_cur_size_all_mem_tables",
         "flink_taskmanager_job_task_operator_rocksdb_estimate_table_readers_mem"];
    "flink_taskmanager_job_task_operator_rocksdb_block_cache_used_ratio" = RocksDbMemory StateShare
        ["flink_taskmanager_job_task_operator_rocksdb_block_cache_usage",
         "flink_taskmanager_job_task_operator_rocksdb_block_cache_capacity"];
    "flink_jobmanager_task_slots_used" = SlotsUsed Difference
        ["flink_jobmanager_taskSlotsTotal", "flink_jobmanager_taskSlotsAvailable"];
}

/// What a sample of this canonical name feeds, and into which slot.
pub fn fed_by(canonical_name: &str) -> Option<(&'static Derived, u8)> {
    static FED: LazyLock<HashMap<&str, (&Derived, u8)>> = LazyLock::new(|| {
        let fed = |derived: &'static Derived| {
            derived.inputs.iter().zip(0..).map(move |(&input, slot)| (input, (derived, slot)))
        };
        DERIVED.iter().flat_map(fed).collect()
    });
    FED.get(canonical_name).copied()
}

impl Switch {
    /// All of them, in the order of [`Switch::ALL`].
    pub const ALL: [Self; 8] = [
        Self::WatermarkLag,
        Self::CheckpointAge,
        Self::CheckpointFailures,
        Self::Restarts,
        Self::TimeRatios,
        Self::MemoryRatios,
        Self::RocksDbMemory,
        Self::SlotsUsed,
    ];

    /// The key under `flink.derived`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WatermarkLag => "watermark_lag",
            Self::CheckpointAge => "checkpoint_age",
            Self::CheckpointFailures => "checkpoint_failures",
            Self::Restarts => "restarts",
            Self::TimeRatios => "time_ratios",
            Self::MemoryRatios => "memory_ratios",
            Self::RocksDbMemory => "rocksdb_memory",
            Self::SlotsUsed => "slots_used",
        }
    }
}

impl Default for Derivations {
    fn default() -> Self {
        Self([true; Switch::ALL.len()])
    }
}

impl Derivations {
    /// None at all.
    pub const NONE: Self = Self([false; Switch::ALL.len()]);

    /// Whether these series are made.
    pub fn has(&self, switch: Switch) -> bool {
        self.0.get(switch as usize).is_some_and(|&on| on)
    }

    /// Switches these series on or off.
    pub fn set(&mut self, switch: Switch, on: bool) {
        if let Some(state) = self.0.get_mut(switch as usize) {
            *state = on;
        }
    }
}

impl Derived {
    /// The series that a sample feeds, in the spelling of the page: the sample's labels, without the
    /// state where all states are one.
    pub fn series_text<'l>(
        &self,
        labels: impl Iterator<Item = (&'l str, Cow<'l, str>)>,
        known: &Found<'_, '_>,
    ) -> String {
        let mut text = self.name.to_owned();
        let mut open = '{';
        let mut label = |name: &str, value: &str| {
            // Writing to a string does not fail.
            let _written = write!(text, "{open}{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    c => text.push(c),
                }
            }
            text.push('"');
            open = ',';
        };
        let is_of_all_states = matches!(self.rule, Rule::StateSum | Rule::StateShare);
        for (name, value) in labels {
            let is_state = known.renamed_labels().any(|(key, _)| key == name);
            if !(is_of_all_states && is_state) {
                label(name, &value);
            }
        }
        if !is_of_all_states {
            known.name_labels().for_each(|(name, value)| label(name, value));
        }
        if open == ',' {
            text.push('}');
        }
        text
    }
}

impl Rule {
    /// Two samples of one page for one slot as one.
    pub fn fold(self, first: f64, next: f64) -> f64 {
        match self {
            Self::StateSum => first + next,
            Self::StateShare => first.max(next),
            // One metric under two names.
            _ => first,
        }
    }

    /// Whether it remembers anything.
    pub const fn has_past(self) -> bool {
        matches!(self, Self::Age | Self::Total)
    }

    /// The value that follows from the inputs of one page, `None` being absent; `past` is kept for the
    /// next page.
    pub fn value(self, inputs: [Option<f64>; INPUTS], past: &mut Past, now_ms: i64) -> Option<f64> {
        let finite = |input: Option<f64>| input.filter(|value| value.is_finite());
        let [first, second, third] = inputs.map(finite);
        let now = now_ms as f64;
        let value = match self {
            Self::Lag => (now - first?) / 1000.0,
            Self::Age => past.age_ms(first, second, now_ms)? / 1000.0,
            Self::Total => past.total(first?),
            Self::OfSecond => (first? / 1000.0).clamp(0.0, 1.0),
            Self::Share | Self::StateShare => first? / second.filter(|&whole| whole > 0.0)?,
            Self::Difference => first? - second?,
            Self::StateSum => first.or(second)? + third.unwrap_or(0.0),
        };
        value.is_finite().then_some(value)
    }
}

impl Past {
    /// The count without its new beginnings. The first one is taken as it is.
    fn total(&mut self, count: f64) -> f64 {
        if let Some(last) = self.last.filter(|&last| count < last) {
            self.before += last;
        }
        self.last = Some(count);
        self.before + count
    }

    /// Milliseconds since `at_ms`, else since the count was seen to have grown.
    fn age_ms(&mut self, at_ms: Option<f64>, count: Option<f64>, now_ms: i64) -> Option<f64> {
        if let Some(count) = count {
            if self.last.is_some_and(|last| count > last) {
                self.grew_ms = Some(now_ms);
            }
            self.last = Some(count);
        }
        let at_ms = match at_ms {
            Some(at_ms) => at_ms,
            None => self.grew_ms.filter(|_| count.is_some())? as f64,
        };
        Some((now_ms as f64 - at_ms).max(0.0))
    }
}

#[cfg(test)]
mod tests;
