//! What the sources of one roll-up come to on a page, and since it began.
//!
//! NaN and infinity are as in PromQL: NaN makes a sum and a mean NaN, while the greatest and the least
//! are those of the other values. In counters, which are finite, such values are left out.

use crate::flink::rollup::Function;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums {
    /// The page that these are of; the values of an older one are gone.
    page: u32,
    count: u32,
    sum: f64,
    min: f64,
    max: f64,
    /// Of counters: all increases since the roll-up began.
    total: f64,
}

impl Sums {
    /// Takes a source's value in, `before` being the one that it brought in last. False when it is none.
    pub(super) fn add(
        &mut self,
        value: f64,
        before: Option<f64>,
        is_counter: bool,
        page: u32,
    ) -> bool {
        if self.page != page {
            let total = self.total;
            *self = Self { page, total, min: f64::NAN, max: f64::NAN, ..Self::default() };
        }
        if is_counter {
            if !value.is_finite() {
                return false;
            }
            self.total += match before {
                Some(before) if value >= before => value - before,
                // It is new, or it began anew.
                _ => value.max(0.0),
            };
        }
        self.count += 1;
        self.sum += value;
        if self.min.is_nan() || value < self.min {
            self.min = value;
        }
        if self.max.is_nan() || value > self.max {
            self.max = value;
        }
        true
    }

    /// Takes in what the sources of another target come to. Totals are not added up: what each target
    /// brings into one is a matter of its increases.
    pub(super) fn join(&mut self, other: &Self) {
        if self.count == 0 {
            *self = Self { page: self.page, total: self.total, ..*other };
            return;
        }
        self.count += other.count;
        self.sum += other.sum;
        if self.min.is_nan() || other.min < self.min {
            self.min = other.min;
        }
        if self.max.is_nan() || other.max > self.max {
            self.max = other.max;
        }
    }

    /// The same, as of a page.
    pub(super) const fn on(self, page: u32) -> Self {
        Self { page, ..self }
    }

    /// All increases since the roll-up began.
    pub(super) const fn total(&self) -> f64 {
        self.total
    }

    /// Those of several targets together.
    pub(super) const fn with_total(self, total: f64) -> Self {
        Self { total, ..self }
    }

    /// Whether the page had a value of any source.
    pub(super) const fn is_of(&self, page: u32) -> bool {
        self.page == page && self.count > 0
    }

    /// The roll-up's value; `None` for a skew where there is nothing to compare.
    pub(super) fn value(&self, function: Function, is_counter: bool) -> Option<f64> {
        let avg = self.sum / f64::from(self.count);
        match function {
            Function::Sum if is_counter => Some(self.total),
            Function::Sum => Some(self.sum),
            Function::Avg => Some(avg),
            Function::Min => Some(self.min),
            Function::Max => Some(self.max),
            Function::Skew => (avg > 0.0 && avg.is_finite()).then(|| self.max / avg),
        }
    }
}
