//! Samples whose values stand under wrong label names: found when their line is new, dropped on each page, and
//! told with their place each time, as lines that cannot be read are.

use super::{Dropped, Fate, Line, ObserveError, Tracker};
use crate::{
    exposition::{self, Sample},
    flink::misplaced::{Misplaced, misplaced},
};

/// A sample whose values stand under wrong label names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{misplaced}")]
pub struct Mislabelled {
    /// What is wrong.
    pub misplaced: Misplaced,
    /// Where in the line the value stands that cannot be right, in bytes from 1.
    pub column: usize,
}

impl Mislabelled {
    pub(super) fn find(sample: &Sample<'_>) -> Option<Self> {
        let misplaced = misplaced(sample.name, sample.labels())?;
        let column = sample.value_column(misplaced.label).unwrap_or(1);
        Some(Self { misplaced, column })
    }
}

impl Tracker {
    /// What is to be told of a line that was recorded.
    #[inline]
    pub(super) fn told(&self, line: u32, text: &[u8], kept: bool) -> Result<bool, ObserveError> {
        let is_mislabelled = || {
            let fate = self.lines.get(line as usize).map(Line::fate);
            fate == Some(Fate::Dropped(Dropped::Mislabelled))
        };
        if kept || !is_mislabelled() {
            return Ok(kept);
        }
        let Ok(exposition::Entry::Sample(sample)) = exposition::parse(text, &self.limits) else {
            return Ok(false);
        };
        Mislabelled::find(&sample).map_or(Ok(false), |found| Err(found.into()))
    }
}
