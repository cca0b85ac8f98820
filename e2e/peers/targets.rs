//! Synthetic Flink targets whose pages can be told apart, sample by sample.
//!
//! The value of a sample is `page * 2^20 + series`: exact in a double, so what arrives names the page it
//! stood on and the series it belongs to. Pages are numbered from 1 for each target, in the order in
//! which they were asked for. A page that is asked for proves that the relay, if it is still the same
//! process, is done with the one before: it scrapes a target with one request at a time.

use std::{
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

/// Most series of a page: what 20 bits can tell apart.
pub(crate) const SERIES_MAX: usize = 1 << 20;

/// How many series share a metric's name, like subtasks of an operator do.
const SERIES_OF_A_NAME: usize = 100;

/// One TaskManager.
pub(crate) struct Target {
    /// `host:port`, as in the label `instance`.
    pub(crate) instance: String,
    pub(crate) series: usize,
    /// What stands before each value, comments included.
    beginnings: Vec<String>,
    /// When each page was asked for, by the wall clock.
    asked_ms: Mutex<Vec<i64>>,
}

impl Target {
    pub(crate) fn new(port: u16, series: usize) -> Self {
        Self {
            instance: format!("127.0.0.1:{port}"),
            series,
            beginnings: (0..series).map(|index| beginning(port, index)).collect(),
            asked_ms: Mutex::default(),
        }
    }

    /// The next page.
    pub(crate) fn page(&self, now_ms: i64) -> String {
        let page = {
            let mut asked = self.asked_ms.lock().unwrap_or_else(PoisonError::into_inner);
            asked.push(now_ms);
            asked.len()
        };
        let mut text = String::with_capacity(self.beginnings.iter().map(|b| b.len() + 20).sum());
        for (index, beginning) in self.beginnings.iter().enumerate() {
            text.push_str(beginning);
            // As Flink writes it: a double, always with a decimal point.
            writeln!(text, "{}.0", page * SERIES_MAX + index).expect("a String takes everything");
        }
        text
    }

    /// When the pages were asked for, the first page first.
    pub(crate) fn asked_ms(&self) -> Vec<i64> {
        self.asked_ms.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Page and series of a value, None for a value that no page has.
pub(crate) fn place(value: f64) -> Option<(usize, usize)> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked below")]
    let whole = value as u64;
    #[expect(clippy::cast_precision_loss, reason = "values are far below 2^53")]
    let exact = (whole as f64).to_bits() == value.to_bits();
    let place = usize::try_from(whole).ok()?;
    (exact && place >= SERIES_MAX).then_some((place / SERIES_MAX, place % SERIES_MAX))
}

/// A line of a page up to its value. The labels are as many and as long as Flink's own.
fn beginning(port: u16, index: usize) -> String {
    let (number, subtask) = (index / SERIES_OF_A_NAME, index % SERIES_OF_A_NAME);
    let name = format!("flink_taskmanager_job_task_operator_chaos_{number}");
    let mut text = String::new();
    if subtask == 0 {
        let scope = "taskmanager_job_task_operator";
        write!(text, "# HELP {name} chaos_{number} (scope: {scope})\n# TYPE {name} gauge\n")
            .expect("a String takes everything");
    }
    write!(
        text,
        "{name}{{job_id=\"458634c2d1b04b8e9a52d3f1c7{port:06}\",job_name=\"chaos\",\
         task_id=\"f6dc7f4d1a2b3c4d5e6f708192a3b4c5\",task_name=\"Source:_orders____Calc_{number}_\",\
         task_attempt_id=\"f87f0e1d2c3b4a59687786a5b4c3d2e1_{subtask}_0\",task_attempt_num=\"0\",\
         subtask_index=\"{subtask}\",operator_id=\"ba2015fb0e1d2c3b4a59687786a5b4c3\",\
         operator_name=\"Calc_{number}_\",host=\"127_0_0_1\",tm_id=\"tm_{port}\",series=\"{index}\",}} "
    )
    .expect("a String takes everything");
    text
}
