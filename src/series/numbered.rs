//! A target's series as remote write 2.0 wants them: as numbers of its texts, with what is known of
//! their family.
//!
//! What is known is settled when a line is new: by the catalogue, whose types, units and texts are
//! better than a page's, else by the HELP and TYPE that stand above the line. The numbers are made
//! from the encoded labels of 1.0 when a receiver first wants 2.0, so that a relay whose receivers
//! all speak 1.0 pays nothing for them.

use super::{Fate, Line, Tracker};
use crate::{
    exposition::{self, Sample},
    flink::{self, Metric, catalogue::Found, rest::AttemptId},
    remote_write::{
        proto::metric_metadata::MetricType,
        v1,
        v2::{self, About, Noted, Symbols},
    },
};

/// One sample of a closed page.
#[derive(Clone, Copy, Debug)]
pub struct Numbered {
    /// Its series.
    pub series: v2::Series,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The value as on the page.
    pub value: f64,
    /// When its counter began to count, milliseconds since the epoch; 0 is not known.
    pub start_ms: i64,
}

/// One sample that follows those of a page, at the same time, and whose counter nobody knows the start of.
#[derive(Clone, Copy, Debug)]
pub struct Following {
    /// Its series.
    pub series: v2::Series,
    /// A hash of its labels and of what is known of its family.
    pub hash: u64,
    /// The bits of its value.
    pub value: u64,
}

impl Tracker {
    /// What is known of the family of a sample of this name, which is the one being read; `known` is
    /// what the catalogue says of it.
    pub(super) fn about(&self, sample_name: &str, known: Option<&Found<'_, '_>>) -> About {
        match known.map(|known| self.shaper.names.metric(known)) {
            Some(metric) => About {
                kind: known_kind(metric),
                help: metric.help.as_str().into(),
                unit: metric.unit.as_str().into(),
            },
            None => self.comments.about(sample_name),
        }
    }

    /// Whose counter a new line is: the attempt of its subtask. It belongs to the line and not to the
    /// series, which outlives the attempt.
    pub(super) fn attempt(&mut self, sample: &Sample<'_>, about: &About) -> AttemptId {
        if about.kind != MetricType::Counter {
            return AttemptId::NONE;
        }
        self.attempts.enter(sample.labels())
    }

    /// Gives every series its numbers, so that the iterators below hold them all.
    pub fn number(&mut self, symbols: &mut Symbols) {
        self.blocks.number(symbols);
        for (about, noted) in self.abouts.notes_mut() {
            if !noted.is_of(symbols) {
                *noted = symbols.note(about);
            }
        }
    }

    /// The samples of the closed page for one view, as [`Tracker::samples`].
    pub fn numbered(&self, view: usize) -> impl Iterator<Item = Numbered> {
        self.observed.iter().filter_map(move |sample| {
            let line = self.lines.get(sample.line as usize)?;
            let Fate::Series(at) = line.fate() else { return None };
            let (series, start_ms) = self.numbered_of(line, at, view)?;
            let timestamp_ms = self.time_of(sample);
            Some(Numbered { series, timestamp_ms, value: sample.value, start_ms })
        })
    }

    /// A line's series, and when its counter began to count.
    pub(super) fn numbered_of(
        &self,
        line: &Line,
        series: u32,
        view: usize,
    ) -> Option<(v2::Series, i64)> {
        let numbers = self.numbers_of(series, self.series.get(series as usize)?.about, view)?;
        Some((numbers, self.attempts.start_ms(self.whose_of(line).attempt)))
    }

    /// The series that are not on the closed page any more, as [`Tracker::stale`].
    pub fn numbered_stale(&self, view: usize) -> impl Iterator<Item = v2::Series> {
        let stale = self.stale_series();
        stale.filter_map(move |(at, series)| self.numbers_of(at, series.about, view))
    }

    /// All series that receivers know, as [`Tracker::live`].
    pub fn numbered_live(&self, view: usize) -> impl Iterator<Item = v2::Series> {
        let live = self.live_series();
        live.filter_map(move |(at, series)| self.numbers_of(at, series.about, view))
    }

    #[inline]
    fn numbers_of(&self, series: u32, about: u32, view: usize) -> Option<v2::Series> {
        Some(v2::Series::of(self.blocks.runs(series, view)?, *self.abouts.note(about)?))
    }

    /// What an earlier configuration sent and nothing has sent again; [`Tracker::stale`] and
    /// [`Tracker::live`] hold it too. Each gets one marker, so nothing is kept.
    pub fn numbered_inherited(&self, view: usize, symbols: &mut Symbols) -> Vec<v2::Series> {
        let number = |block| {
            let labels = v1::decode_labels(block).expect("blocks are made by labels_block");
            v2::Series::new(symbols, &labels, &About::kind(MetricType::Unknown))
        };
        self.inherited(view).map(number).collect()
    }

    /// Forgets all numbers, because no receiver wants them any more.
    pub fn forget_numbers(&mut self) {
        self.blocks.forget_numbers();
        self.abouts.notes_mut().for_each(|(_, noted)| *noted = Noted::default());
    }
}

/// The type that the catalogue knows.
pub const fn known_kind(metric: &Metric) -> MetricType {
    match metric.kind {
        flink::Kind::Counter => MetricType::Counter,
        flink::Kind::Gauge => MetricType::Gauge,
        flink::Kind::Summary => MetricType::Summary,
        flink::Kind::Info => MetricType::Info,
    }
}

/// The type that the page tells.
pub const fn page_kind(kind: exposition::Kind) -> MetricType {
    match kind {
        exposition::Kind::Counter => MetricType::Counter,
        exposition::Kind::Gauge => MetricType::Gauge,
        exposition::Kind::Histogram => MetricType::Histogram,
        exposition::Kind::Summary => MetricType::Summary,
        exposition::Kind::Untyped => MetricType::Unknown,
    }
}
