//! What new lines of one name have in common, worked out for the first of them.
//!
//! A page shows a family's samples in a row, hundreds of them: what the catalogue and the comments above say
//! of the name is looked up once for all. A summary's rows take turns with those of its count, so two names
//! are remembered.
//!
//! Invariant: what is remembered is what would be found. It depends on the name, on the comments that were read
//! last and on the shaper, so [`Comments`](super::comments::Comments) forget it with each word that they take
//! in, and all of it before each page.

use std::sync::Arc;

use super::Tracker;
use crate::{
    flink::{
        self, Catalogue, Group,
        catalogue::{Found, Place},
        derived::Derived,
    },
    remote_write::v2::About,
};

/// What is known of the samples of one name.
#[derive(Debug)]
pub(super) struct Family {
    /// The name on the page.
    name: Box<str>,
    place: Option<Place>,
    pub(super) group: Group,
    /// Type, help and unit.
    pub(super) about: About,
    /// Whether they are sent under another name.
    pub(super) is_renamed: bool,
    /// Whether they stand back for samples of the present name.
    pub(super) stands_back: bool,
    /// As [`super::Line::no_value`]; `None` where the labels have a say.
    pub(super) no_value: Option<u8>,
    /// What is derived from them, and which of its inputs they are.
    pub(super) feeds: Option<(&'static Derived, u8)>,
}

/// The families that were read last.
#[derive(Debug, Default)]
pub(super) struct Families([Option<Arc<Family>>; 2]);

impl Family {
    /// What the catalogue knows of a sample of this family.
    pub(super) fn known<'c, 'n>(
        &self,
        catalogue: &'c Catalogue,
        sample_name: &'n str,
    ) -> Option<Found<'c, 'n>> {
        catalogue.find_again(sample_name, self.place?)
    }
}

impl Families {
    pub(super) fn get(&self, sample_name: &str) -> Option<&Arc<Family>> {
        self.0.iter().flatten().find(|family| *family.name == *sample_name)
    }

    pub(super) fn clear(&mut self) {
        self.0 = Default::default();
    }

    fn enter(&mut self, family: &Arc<Family>) {
        let [first, second] = &mut self.0;
        *second = first.replace(Arc::clone(family));
    }
}

impl Tracker {
    /// What is known of a sample of this name, which stands below the comments that were read last.
    pub(super) fn family(&mut self, sample_name: &str) -> Arc<Family> {
        self.comments.settle(&self.limits);
        if let Some(family) = self.comments.families.get(sample_name) {
            return Arc::clone(family);
        }
        let shaper = Arc::clone(&self.shaper);
        let help = self.comments.help_of(sample_name);
        let known = shaper.catalogue.find_described(sample_name, help);
        let known = known.as_ref();
        let family = Arc::new(Family {
            name: sample_name.into(),
            place: known.map(|known| known.place),
            group: flink::catalogue::group(known, sample_name),
            about: self.about(sample_name, known),
            is_renamed: shaper.names.renames(known, sample_name),
            stands_back: shaper.names.stands_back(known),
            no_value: self.no_value_of_name(sample_name, known),
            feeds: self.feeds(known),
        });
        self.comments.families.enter(&family);
        family
    }
}

#[cfg(test)]
mod tests;
