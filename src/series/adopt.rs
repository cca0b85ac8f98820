//! A change of the configuration under a running target: what receivers know stays known.
//!
//! Which series are sent, and under which labels, may change between two pages. What happens then is
//! told by the encoded labels alone: a block that a receiver knows and that the next page does not
//! send it again ends with a marker, one that is sent again goes on as if nothing had happened.
//!
//! ```text
//!   same rules, same view       blocks are kept: nothing is made anew
//!   same rules, another view    lines and series are kept, their blocks made anew on the next page;
//!                               the old blocks are inherited until that page ends
//!   other rules or labels       everything is made anew; all old blocks are inherited
//! ```

use std::{mem, sync::Arc};

use hashbrown::HashSet;

use super::{
    Blocks, Fate, Line, Pool, Series, Shaped, Shaper, Tracker, collide, narrow, shape::LabelLimit,
};
use crate::{exposition, labels::Labels};

/// Where a view comes from, when a configuration follows another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The old configuration's view whose receivers now have this one.
    pub view: Option<usize>,
    /// Receivers are among them that have had none of the target's series yet.
    pub joined: bool,
}

/// Encoded labels that receivers know from an earlier configuration, by view, until a page has told
/// which of them go on.
pub(super) type Inherited = Vec<HashSet<Box<[u8]>>>;

impl Tracker {
    /// Goes on with another shaper and other target labels; `origins` has an entry for each of the
    /// shaper's views. To be called between two pages.
    pub fn adopt(
        &mut self,
        shaper: Arc<Shaper>,
        target_labels: Labels<'static>,
        origins: &[Origin],
    ) {
        let old = mem::replace(&mut self.shaper, shaper);
        let same_rules = old.has_rules_of(&self.shaper) && self.target_labels == target_labels;
        self.target_labels = target_labels;
        let origin = |view: usize| origins.get(view).and_then(|origin| origin.view);
        let keeps = |view: usize, from: usize| {
            let views = (old.views.get(from), self.shaper.views.get(view));
            same_rules
                && !self.remade.contains(&from)
                && matches!(views, (Some(old), Some(new)) if old.has_labels_of(new))
        };
        let views = 0..self.shaper.views.len();
        let kept: Vec<Option<usize>> =
            views.clone().map(|view| origin(view).filter(|&from| keeps(view, from))).collect();
        let inherit = |view: usize| {
            let Some(from) = origin(view) else { return HashSet::new() };
            if kept.get(view) == Some(&Some(from)) {
                return self.inherited.get(from).cloned().unwrap_or_default();
            }
            self.live(from).map(|block| block.to_vec().into()).collect()
        };
        self.inherited = views.map(inherit).collect();
        if same_rules {
            self.blocks.adopt(&kept);
            let remade = kept.iter().enumerate().filter(|(_, from)| from.is_none());
            self.remade = remade.map(|(view, _)| view).collect();
            self.unfit.adopt(&kept);
        } else {
            self.forget_lines();
            self.blocks = Blocks::new(self.shaper.views.len());
        }
    }

    /// Makes a known line's blocks anew, see [`Tracker::adopt`].
    pub(super) fn reshape(&mut self, line: u32, text: &[u8]) -> Result<(), LabelLimit> {
        let Ok(exposition::Entry::Sample(sample)) = exposition::parse(text, &self.limits) else {
            return Ok(());
        };
        let Some(known) = self.lines.get(line as usize) else { return Ok(()) };
        let Fate::Series(_) = known.fate() else { return Ok(()) };
        let (subject, group) = (self.whose_of(known).subject, usize::from(known.group));
        // What HELP had a say in when the line was new is still in its group.
        let shaper = Arc::clone(&self.shaper);
        let Some(group) = shaper.catalogue.groups().get(group).copied() else { return Ok(()) };
        let found = shaper.catalogue.find_in(sample.name, group);
        let names = |labels: &mut Labels<'_>| self.subjects.give_back(subject, labels);
        let shaped = shaper.shape(&sample, group, found.as_ref(), &self.target_labels, names)?;
        self.reshape_as(line, shaped, sample.series);
        Ok(())
    }

    /// Makes a known line's blocks anew from what it is now; `shown` is the line for people.
    pub(super) fn reshape_as(&mut self, line: u32, shaped: Shaped, shown: &[u8]) {
        let Some(Fate::Series(at)) = self.lines.get(line as usize).map(Line::fate) else {
            return;
        };
        let Shaped::Series { identity, blocks, mut unfit, .. } = shaped else { return };
        let identity = narrow(identity);
        let ids = self.ids_of(line);
        let Some(own) = self.series.get(at as usize).map(|series| series.identity.bits()) else {
            return;
        };
        let blocks = if own == identity {
            Some(blocks)
        } else {
            let mut blocks = collide::told_apart(own, identity, &blocks, &ids);
            if let Some(blocks) = &mut blocks {
                self.shaper.fit(blocks, &mut unfit);
            }
            blocks
        };
        self.unfit.remake(own, &self.remade, unfit, shown);
        for &view in &self.remade {
            let made = blocks.as_ref().and_then(|blocks| blocks.get(view)?.as_deref());
            self.blocks.set(at, view, made);
        }
    }

    /// A new line is of a series that is known: its blocks are made anew with this line.
    pub(super) fn remake(&mut self, identity: u128, blocks: &[Option<Box<[u8]>>]) {
        let Some(series) = self.find_series(identity) else { return };
        for &view in &self.remade {
            self.blocks.set(series, view, blocks.get(view).and_then(Option::as_deref));
        }
    }

    /// The page on which blocks were made anew does not count: nobody knows them.
    pub(super) fn unmake_blocks(&mut self) {
        self.unmake(|_| true);
    }

    fn unmake(&mut self, which: impl Fn(&Series) -> bool) {
        if self.remade.is_empty() {
            return;
        }
        for (at, _) in self.series.iter().filter(|(_, series)| which(series)) {
            for &view in &self.remade {
                self.blocks.set(at as u32, view, None);
            }
        }
    }

    /// What the closed page sends again is no longer inherited: it goes on.
    pub(super) fn settle_inherited(&mut self) {
        // A series whose block was made anew for a line that then got an id: what receivers know of it
        // is inherited.
        let page = self.page;
        self.unmake(|series| !series.is_sent_on(page));
        let mut inherited = mem::take(&mut self.inherited);
        for (view, blocks) in inherited.iter_mut().enumerate().filter(|(_, b)| !b.is_empty()) {
            for (block, ..) in self.samples(view) {
                blocks.remove(&*block.to_vec());
            }
        }
        self.inherited = inherited;
    }

    /// The inherited blocks of one view that nothing has sent again.
    pub(super) fn inherited(&self, view: usize) -> impl Iterator<Item = &[u8]> + '_ {
        self.inherited.get(view).into_iter().flatten().map(AsRef::as_ref)
    }

    fn forget_lines(&mut self) {
        self.drop_lines(|_, _| false);
        self.line_index.forget();
        self.series.clear();
        self.series_index.forget();
        self.abouts = Pool::default();
        self.normals.clear();
        self.made_of.clear();
        self.unfit.adopt(&[]);
        self.observed.clear();
        self.withheld.clear();
        self.withheld_len = 0;
        self.remade.clear();
    }
}

#[cfg(test)]
mod tests;
