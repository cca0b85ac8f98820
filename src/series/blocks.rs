//! The encoded labels of a target's series, per view, in little room.
//!
//! Sixty metrics of a subtask differ in their names and in nothing else, and all subtasks have the same
//! metrics. So a block is kept in parts ([`v1::Block`]), each of them once per target:
//!
//! ```text
//!   __name__="flink_…_numRecordsIn" | host="…", job_name="…" | operator="…" | subtask_index="3", task_name="…"
//!   as many as metrics                one for each job         operators      subtasks
//! ```
//!
//! A series is four numbers then, and what is copied when it is sent stays in the processor's cache. As
//! remote write 2.0 wants it, it is four numbers likewise ([`v2::Run`]), noted beside the parts.

use super::pool::{NOTHING, Pool};
use crate::remote_write::{v1, v2};

/// Encoded labels per view, `None` where a view does not have the series; as they are made.
pub(super) type Made = Box<[Option<Box<[u8]>>]>;

#[derive(Debug, Default)]
pub(super) struct Blocks {
    views: usize,
    /// At series times views plus view.
    of: Vec<Parts>,
    parts: Pool<[u8], v2::Run>,
}

/// The parts of a block, by their numbers.
type Parts = [u32; v1::PARTS];

/// No block.
const NONE: Parts = [NOTHING; v1::PARTS];

impl Blocks {
    /// None yet, of this many views.
    pub(super) fn new(views: usize) -> Self {
        Self { views, ..Self::default() }
    }

    /// A series' block for a view.
    #[inline]
    pub(super) fn get(&self, series: u32, view: usize) -> Option<v1::Block<'_>> {
        let [a, b, c, d] = *self.of.get(self.place(series, view)?)?;
        let part = |at| self.parts.get(at);
        let parts = [part(a)?, part(b)?, part(c)?, part(d)?];
        Some(v1::Block { parts, numbers: Some([a, b, c, d]) })
    }

    /// The same as numbers, when it has been given some.
    #[inline]
    pub(super) fn runs(&self, series: u32, view: usize) -> Option<[v2::Run; v1::PARTS]> {
        let [a, b, c, d] = *self.of.get(self.place(series, view)?)?;
        let run = |at| self.parts.note(at).copied();
        Some([run(a)?, run(b)?, run(c)?, run(d)?])
    }

    /// All blocks of a series.
    pub(super) fn all(&self, series: u32) -> Made {
        (0..self.views).map(|view| Some(self.get(series, view)?.to_vec().into())).collect()
    }

    /// The blocks of a series that is new.
    pub(super) fn insert(&mut self, series: u32, blocks: &[Option<Box<[u8]>>]) {
        let end = (series as usize + 1) * self.views;
        if self.of.len() < end {
            self.of.resize(end, NONE);
        }
        for view in 0..self.views {
            self.set(series, view, blocks.get(view).and_then(Option::as_deref));
        }
    }

    /// Another block, or none, for a view.
    pub(super) fn set(&mut self, series: u32, view: usize, block: Option<&[u8]>) {
        let made = block
            .map_or(NONE, |block| v1::Block::cut(block).parts.map(|part| self.parts.enter(part)));
        let at = self.place(series, view);
        let old = match at.and_then(|at| self.of.get_mut(at)) {
            Some(place) => std::mem::replace(place, made),
            None => made,
        };
        self.leave(old);
    }

    /// A series is no more.
    pub(super) fn remove(&mut self, series: u32) {
        for view in 0..self.views {
            self.set(series, view, None);
        }
    }

    /// Other views: what is kept is the old view of each new one.
    pub(super) fn adopt(&mut self, kept: &[Option<usize>]) {
        let old = std::mem::take(&mut self.of);
        let series = old.len().checked_div(self.views).unwrap_or(0);
        let mut new = Vec::with_capacity(series * kept.len());
        for of_series in old.chunks(self.views.max(1)) {
            for from in kept {
                let parts = from.and_then(|from| of_series.get(from)).copied().unwrap_or(NONE);
                new.push(parts.map(|part| self.parts.share(part)));
            }
        }
        old.into_iter().for_each(|parts| self.leave(parts));
        (self.of, self.views) = (new, kept.len());
    }

    /// Gives all blocks their numbers.
    pub(super) fn number(&mut self, symbols: &mut v2::Symbols) {
        for (part, run) in self.parts.notes_mut() {
            if !run.is_of(symbols) {
                let labels = v1::decode_labels(part).expect("blocks are made by labels_block");
                *run = symbols.run(&labels);
            }
        }
    }

    /// Takes the numbers back.
    pub(super) fn forget_numbers(&mut self) {
        self.parts.notes_mut().for_each(|(_, run)| *run = v2::Run::default());
    }

    /// Gives back room that is far more than `series` need.
    pub(super) fn shrink(&mut self, series: usize) {
        let needed = series * self.views;
        self.of.truncate(needed);
        if self.of.capacity() > needed + needed / 4 {
            self.of.shrink_to_fit();
        }
        self.parts.shrink();
    }

    fn place(&self, series: u32, view: usize) -> Option<usize> {
        (view < self.views).then_some(series as usize * self.views + view)
    }

    fn leave(&mut self, parts: Parts) {
        parts.into_iter().for_each(|part| self.parts.leave(part));
    }
}
