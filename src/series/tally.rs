//! The account of one page: `scraped + made = kept + Σ dropped`, and the reasons to drop a sample.

use crate::flink::Group;

/// Why a sample of a page is not sent to anyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dropped {
    /// Its metric group is not wanted.
    Group,
    /// `metric_relabel_configs` dropped it.
    Relabel,
    /// Another sample of the page has the same labels; the first one won.
    Duplicate,
    /// Its line breaks the text format.
    Syntax,
    /// Relabelling left it without a valid metric name.
    Name,
    /// The page has its values a second time, under the metric's present name.
    FormerName,
    /// It is a subtask's, and a roll-up is sent instead.
    RolledUp,
    /// It would be a new series of a job, or of a relay, that has used up its budget.
    Budget,
    /// Its value says that there is none, see [`crate::flink::sentinels`].
    Sentinel,
    /// The relay made it, and it exceeds a label limit of the scrape config; one of the page's own fails
    /// the scrape.
    LabelLimit,
    /// Its values stand under wrong label names (FLINK-32649).
    Mislabelled,
    /// Its line is new, and as many are remembered as may be, see [`super::PageSeries`].
    PageSeriesLimit,
}

impl Dropped {
    /// All reasons, in the order of [`Tally::dropped`].
    pub const ALL: [Self; 12] = [
        Self::Group,
        Self::Relabel,
        Self::Duplicate,
        Self::Syntax,
        Self::Name,
        Self::FormerName,
        Self::RolledUp,
        Self::Budget,
        Self::Sentinel,
        Self::LabelLimit,
        Self::Mislabelled,
        Self::PageSeriesLimit,
    ];

    /// One of [`Dropped::ALL`].
    pub(super) fn at(position: usize) -> Self {
        Self::ALL.get(position).copied().unwrap_or(Self::Syntax)
    }

    /// The reason as a label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group_filter",
            Self::Relabel => "metric_relabel",
            Self::Duplicate => "duplicate",
            Self::Syntax => "syntax",
            Self::Name => "invalid_name",
            Self::FormerName => "former_name",
            Self::RolledUp => "rolled_up",
            Self::Budget => "budget",
            Self::Sentinel => "sentinel",
            Self::LabelLimit => "label_limit",
            Self::Mislabelled => "mislabelled",
            Self::PageSeriesLimit => "page_series_limit",
        }
    }
}

/// What became of the samples of one page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Samples on the page, unreadable ones included.
    pub scraped: u64,
    /// Samples that the relay made from them.
    pub made: u64,
    /// Samples of both kept, after filtering and relabelling.
    pub kept: u64,
    /// Samples dropped, by reason.
    pub dropped: DropCounts,
    /// Series that were not on the page before.
    pub series_added: u64,
    /// Series that got an id back because dropping it would have made them equal to another.
    pub ids_kept: u64,
    /// Samples per group: on the page, made, kept.
    pub groups: GroupTallies,
}

/// Samples by metric group. Those of a tracker are in the order of [`Group::index`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupTallies(Vec<(Group, GroupTally)>);

/// Samples of one metric group on one page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupTally {
    /// On the page.
    pub scraped: u64,
    /// Made by the relay.
    pub made: u64,
    /// Of both, kept.
    pub kept: u64,
}

impl Tally {
    /// One more sample of the group at [`Group::index`] is on the page.
    #[inline]
    pub(super) fn scraped_of(&mut self, group: u8) {
        if let Some(group) = self.groups.at(group) {
            group.scraped += 1;
        }
    }
}

impl GroupTallies {
    /// Nothing yet, for each of these groups.
    pub fn new(groups: &[Group]) -> Self {
        Self(groups.iter().map(|&group| (group, GroupTally::default())).collect())
    }

    /// Each group with its count, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (Group, GroupTally)> + Clone + '_ {
        self.0.iter().copied()
    }

    /// One group's count.
    pub fn of(&self, group: Group) -> GroupTally {
        let found = self.iter().find(|(known, _)| *known == group);
        found.map(|(_, tally)| tally).unwrap_or_default()
    }

    /// Adds all of another count, which may be of other groups of the user's.
    pub fn merge(&mut self, other: &Self) {
        for (group, samples) in other.iter() {
            match self.0.iter_mut().find(|(known, _)| *known == group) {
                Some((_, sum)) => {
                    sum.scraped += samples.scraped;
                    sum.made += samples.made;
                    sum.kept += samples.kept;
                }
                None => self.0.push((group, samples)),
            }
        }
    }

    /// The count at [`Group::index`].
    #[inline]
    pub(super) fn at(&mut self, index: u8) -> Option<&mut GroupTally> {
        self.0.get_mut(usize::from(index)).map(|(_, tally)| tally)
    }
}

/// Samples dropped, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropCounts([u64; Dropped::ALL.len()]);

impl DropCounts {
    /// Counts one more.
    pub fn add(&mut self, reason: Dropped, samples: u64) {
        if let Some(count) = self.0.get_mut(reason as usize) {
            *count += samples;
        }
    }

    /// Adds all of another count.
    pub fn merge(&mut self, other: &Self) {
        for (reason, samples) in other.iter() {
            self.add(reason, samples);
        }
    }

    /// Those of one reason.
    pub fn of(&self, reason: Dropped) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or_default()
    }

    /// Each reason with its count, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (Dropped, u64)> + '_ {
        Dropped::ALL.into_iter().zip(self.0)
    }

    /// All reasons together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}
