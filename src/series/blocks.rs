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
//! The last three parts are those of sixty series together, so they are a *tail* with one number. A series is two
//! numbers then, and what is copied when it is sent stays in the processor's cache. As remote write 2.0 wants
//! it, it is four numbers ([`v2::Run`]), noted beside the parts.

use super::{
    pool::{NOTHING, Pool},
    rows::Moves,
};
use crate::remote_write::{v1, v2};

/// Encoded labels per view, `None` where a view does not have the series; as they are made.
pub(super) type Made = Box<[Option<Box<[u8]>>]>;

#[derive(Debug, Default)]
pub(super) struct Blocks {
    views: usize,
    /// At series times views plus view.
    of: Vec<Block>,
    /// Each is a user of its parts, once.
    tails: Pool<Tail>,
    parts: Pool<Box<[u8]>, v2::Run>,
    /// A number of a series stands for another block than it did, or may, since [`Blocks::have_changed`] was asked last.
    changed: bool,
}

/// A block, by the number of its first part and that of its tail.
type Block = [u32; 2];

/// Parts of a block behind the first one, by their numbers.
type Tail = [u32; v1::PARTS - 1];

/// No block.
const NONE: Block = [NOTHING; 2];

impl Blocks {
    /// None yet, of this many views.
    pub(super) fn new(views: usize) -> Self {
        // For whom others have stood before.
        Self { views, changed: true, ..Self::default() }
    }

    /// The numbers of the parts of a series' block for a view.
    #[inline]
    fn parts_of(&self, series: u32, view: usize) -> Option<[u32; v1::PARTS]> {
        let [head, tail] = *self.of.get(self.place(series, view)?)?;
        let [b, c, d] = *self.tails.get(tail)?;
        Some([head, b, c, d])
    }

    /// Whether a series has a block for a view.
    #[inline]
    pub(super) fn has(&self, series: u32, view: usize) -> bool {
        let block = self.place(series, view).and_then(|at| self.of.get(at));
        block.is_some_and(|&block| block != NONE)
    }

    /// Whether the numbers of series stand for other blocks than when this was asked last.
    pub(super) const fn have_changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }

    /// A series' block for a view.
    #[inline]
    pub(super) fn get(&self, series: u32, view: usize) -> Option<v1::Block<'_>> {
        let [a, b, c, d] = self.parts_of(series, view)?;
        let part = |at| self.parts.get(at);
        let parts: [&[u8]; v1::PARTS] = [part(a)?, part(b)?, part(c)?, part(d)?];
        Some(v1::Block { parts, numbers: Some([a, b, c, d]) })
    }

    /// The same as numbers, when it has been given some.
    #[inline]
    pub(super) fn runs(&self, series: u32, view: usize) -> Option<[v2::Run; v1::PARTS]> {
        let [a, b, c, d] = self.parts_of(series, view)?;
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
            // By an eighth, not to the double.
            if self.of.capacity() < end {
                self.of.reserve_exact(end - self.of.len() + end / 8);
            }
            self.of.resize(end, NONE);
        }
        for view in 0..self.views {
            self.set(series, view, blocks.get(view).and_then(Option::as_deref));
        }
    }

    /// Another block, or none, for a view.
    pub(super) fn set(&mut self, series: u32, view: usize, block: Option<&[u8]>) {
        let made = block.map_or(NONE, |block| self.enter(block));
        let at = self.place(series, view);
        let old = match at.and_then(|at| self.of.get_mut(at)) {
            Some(place) => std::mem::replace(place, made),
            None => made,
        };
        self.changed |= old != NONE && old != made;
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
                let [head, tail] =
                    from.and_then(|from| of_series.get(from)).copied().unwrap_or(NONE);
                new.push([self.parts.share(head), self.tails.share(tail)]);
            }
        }
        old.into_iter().for_each(|block| self.leave(block));
        (self.of, self.views, self.changed) = (new, kept.len(), true);
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

    /// Series have other numbers.
    pub(super) fn follow(&mut self, moves: &Moves) {
        let old = std::mem::take(&mut self.of);
        let of_series: Vec<&[Block]> = old.chunks(self.views.max(1)).collect();
        let origins = moves.origins().filter_map(|from| of_series.get(from as usize));
        self.of = origins.flat_map(|blocks| blocks.iter().copied()).collect();
        self.changed = true;
    }

    /// Gives back room that is more than `series` need.
    pub(super) fn shrink(&mut self, series: usize) {
        let needed = series * self.views;
        self.of.truncate(needed);
        if self.of.capacity() > needed + needed / 16 {
            self.of.shrink_to_fit();
        }
        self.tails.shrink();
        self.parts.shrink();
    }

    fn place(&self, series: u32, view: usize) -> Option<usize> {
        (view < self.views).then_some(series as usize * self.views + view)
    }

    fn enter(&mut self, block: &[u8]) -> Block {
        let [head, tail @ ..] = v1::Block::cut(block).parts.map(|part| self.parts.enter(part));
        let (at, is_new) = self.tails.enter_new(&tail);
        if !is_new {
            self.leave_parts(tail);
        }
        [head, at]
    }

    fn leave(&mut self, [head, tail]: Block) {
        self.parts.leave(head);
        if let Some(tail) = self.tails.leave(tail) {
            self.leave_parts(tail);
        }
    }

    fn leave_parts(&mut self, parts: Tail) {
        for part in parts {
            self.parts.leave(part);
        }
    }
}
