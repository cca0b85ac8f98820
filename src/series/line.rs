//! What is kept of each line and of each series of a target, in as little as each sample needs.
//!
//! Pages take turns, so a scrape finds the caches cold: what it costs to know a line is the bytes of it that each
//! sample touches. So a [`Line`] and a [`Series`] hold what every sample needs, and numbers of the rest:
//!
//! ```text
//!   Line --extra--> Extra    what few lines have: a page's name that naming changed, what is made of the values
//!     | `--whose--> Whose    what the lines of a subtask's operator have in common, once for all of them
//!     `--fate--> Series --about--> About of the family
//! ```

use super::{
    Dropped, derived,
    index::{Mark, Marked},
    pool::NOTHING,
    rollup,
    rows::Row,
};
use crate::flink::rest::{AttemptId, SubjectId};

/// What a line of the page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A sample of this series.
    Series(u32),
    /// Not wanted, for this reason.
    Dropped(Dropped),
}

/// A [`Fate`] in four bytes: the series, or from [`PackedFate::DROPPED`] on a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PackedFate(u32);

/// A line's text before the value, seen on the last page.
#[derive(Debug)]
pub(super) struct Line {
    /// xxh3-128 of the text.
    pub(super) fingerprint: Mark,
    /// Bytes of the text; 0 of a line that stands on no page.
    pub(super) len: u32,
    /// The line that followed it on the page that had both last; [`NOTHING`] when none has.
    pub(super) next: u32,
    fate: PackedFate,
    /// Number of the page on which it stood last.
    pub(super) seen: u32,
    /// One of [`Tracker::whose`](super::Tracker::whose).
    pub(super) whose: u32,
    /// One of [`Tracker::extras`](super::Tracker::extras), or [`NOTHING`].
    pub(super) extra: u32,
    /// [`crate::flink::Group::index`].
    pub(super) group: u8,
    /// Which of [`Tracker::no_values`](super::Tracker::no_values) are no values of its, from 1; 0 is none of
    /// them.
    pub(super) no_value: u8,
    flags: Flags,
}

/// What lines have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Whose {
    /// The labels that normalisation dropped, encoded; one of [`Tracker::texts`](super::Tracker::texts).
    pub(super) ids: u32,
    /// Whose names they bear.
    pub(super) subject: SubjectId,
    /// Whose counters they are.
    pub(super) attempt: AttemptId,
    /// The job that they belong to, while a budget wants to know.
    pub(super) job: u32,
}

/// What a line has and most lines do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extra {
    /// The name on the page where naming changed it; one of [`Tracker::texts`](super::Tracker::texts).
    pub(super) name: u32,
    /// What it is a source of; [`rollup::NONE`] for nothing.
    pub(super) member: u32,
    /// What is derived from its values.
    pub(super) feed: Option<derived::Feed>,
}

/// A label set that is or was sent.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) identity: Mark,
    /// What is known of its family; one of [`Tracker::abouts`](super::Tracker::abouts).
    pub(super) about: u32,
    /// Number of the page that had it last, with a sample to send or without.
    page: u32,
    flags: Flags,
}

/// Yes or no, eight times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flags(u8);

impl Flags {
    const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    const fn set(&mut self, flag: u8, is_set: bool) {
        self.0 = if is_set { self.0 | flag } else { self.0 & !flag };
    }
}

impl PackedFate {
    /// Reasons begin here; fewer series have a number than there are below it.
    const DROPPED: u32 = u32::MAX - 0xff;
    const VACANT: Self = Self(u32::MAX);
}

impl From<Fate> for PackedFate {
    fn from(fate: Fate) -> Self {
        match fate {
            Fate::Series(series) => {
                debug_assert!(series < Self::DROPPED, "a page has less than 2^32 - 256 series");
                Self(series)
            }
            Fate::Dropped(reason) => Self(Self::DROPPED + reason as u32),
        }
    }
}

impl Line {
    /// It stands back for a line that has the series' values under their present name.
    const STANDS_BACK: u8 = 1;
    /// It is one of the relay's own, see [`Tracker::made_of`](super::Tracker::made_of).
    const MADE: u8 = 2;
    /// It was not there before this page.
    const NEW: u8 = 4;
    /// It came with a page, and has its place of the tracker's [`Room`](super::room::Room).
    const OF_PAGE: u8 = 8;

    /// A new line, of which no sample was taken yet.
    pub(super) fn new(fingerprint: u128, fate: Fate, group: u8, whose: u32) -> Self {
        Self {
            fingerprint: fingerprint.into(),
            len: 0,
            next: NOTHING,
            fate: fate.into(),
            seen: 0,
            whose,
            extra: NOTHING,
            group,
            no_value: 0,
            flags: Flags(Self::NEW),
        }
    }

    #[inline]
    pub(super) fn fate(&self) -> Fate {
        let PackedFate(fate) = self.fate;
        match fate.checked_sub(PackedFate::DROPPED) {
            None => Fate::Series(fate),
            Some(reason) => Fate::Dropped(Dropped::at(reason as usize)),
        }
    }

    pub(super) fn set_fate(&mut self, fate: Fate) {
        self.fate = fate.into();
    }

    /// It stands on this page; returns whether it stood there before.
    #[inline]
    pub(super) const fn stand_on(&mut self, page: u32) -> bool {
        let is_repeated = self.seen == page;
        self.seen = page;
        is_repeated
    }

    #[inline]
    pub(super) const fn stands_back(&self) -> bool {
        self.flags.has(Self::STANDS_BACK)
    }

    pub(super) const fn set_stands_back(&mut self, stands_back: bool) {
        self.flags.set(Self::STANDS_BACK, stands_back);
    }

    pub(super) const fn is_made(&self) -> bool {
        self.flags.has(Self::MADE)
    }

    pub(super) const fn set_made(&mut self, is_made: bool) {
        self.flags.set(Self::MADE, is_made);
    }

    pub(super) const fn is_new(&self) -> bool {
        self.flags.has(Self::NEW)
    }

    pub(super) const fn is_of_page(&self) -> bool {
        self.flags.has(Self::OF_PAGE)
    }

    pub(super) const fn set_of_page(&mut self, is_of_page: bool) {
        self.flags.set(Self::OF_PAGE, is_of_page);
    }

    /// The page on which it was new is over.
    pub(super) const fn set_known(&mut self) {
        self.flags.set(Self::NEW, false);
    }
}

impl Whose {
    pub(super) const NONE: Self = Self {
        ids: NOTHING,
        subject: SubjectId::NONE,
        attempt: AttemptId::NONE,
        job: rollup::NONE,
    };
}

impl Extra {
    pub(super) const NONE: Self = Self { name: NOTHING, member: rollup::NONE, feed: None };
}

impl Series {
    /// Receivers have a sample of it that no marker has ended yet.
    const LIVE: u8 = 1;
    /// Its sample carried a timestamp of its own: such series get no markers (as in Prometheus), since a
    /// marker at the scrape's time says nothing about them.
    const OWN_TIMESTAMP: u8 = 2;
    /// The page has a sample of it to send.
    const SENT: u8 = 4;
    /// A line of it had no sample to send on the page, see [`super::withheld`].
    const WITHHELD: u8 = 8;
    /// The line that its sample stood on stands back for others.
    const STANDS_BACK: u8 = 16;
    /// A page had it that counted.
    const KNOWN: u8 = 32;
    const VACANT: u8 = 64;

    pub(super) fn new(identity: u128, about: u32) -> Self {
        Self { identity: identity.into(), about, page: 0, flags: Flags::default() }
    }

    /// The page has a sample of it to send; whether its line stands back, and whether it has a time of its own.
    #[inline]
    pub(super) fn send(&mut self, page: u32, stands_back: bool, own_timestamp: bool) {
        self.enter(page);
        let place = Self::STANDS_BACK | Self::OWN_TIMESTAMP;
        let stands_back = if stands_back { Self::STANDS_BACK } else { 0 };
        let own_timestamp = if own_timestamp { Self::OWN_TIMESTAMP } else { 0 };
        let Flags(flags) = self.flags;
        self.flags = Flags(flags & !place | Self::SENT | stands_back | own_timestamp);
    }

    /// A line of it has no sample to send on this page; whether that is the first thing known of it there.
    pub(super) fn withhold(&mut self, page: u32) -> bool {
        let is_first = self.page != page;
        self.enter(page);
        self.flags.set(Self::WITHHELD, true);
        is_first
    }

    fn enter(&mut self, page: u32) {
        if self.page != page {
            self.page = page;
            self.flags.set(Self::SENT | Self::WITHHELD, false);
        }
        self.flags.set(Self::KNOWN, true);
    }

    /// Nothing is known of it on this page.
    pub(super) const fn leave(&mut self) {
        self.page = 0;
    }

    #[inline]
    pub(super) const fn is_sent_on(&self, page: u32) -> bool {
        self.page == page && self.flags.has(Self::SENT)
    }

    pub(super) const fn is_withheld_on(&self, page: u32) -> bool {
        self.page == page && self.flags.has(Self::WITHHELD)
    }

    /// Whether the line of its sample stands back.
    pub(super) const fn stands_back(&self) -> bool {
        self.flags.has(Self::STANDS_BACK)
    }

    pub(super) const fn is_known(&self) -> bool {
        self.flags.has(Self::KNOWN)
    }

    #[inline]
    pub(super) const fn is_live(&self) -> bool {
        self.flags.has(Self::LIVE)
    }

    pub(super) const fn set_live(&mut self, is_live: bool) {
        self.flags.set(Self::LIVE, is_live);
    }

    pub(super) const fn has_own_timestamp(&self) -> bool {
        self.flags.has(Self::OWN_TIMESTAMP)
    }
}

impl Row for Line {
    const VACANT: Self = Self {
        fingerprint: Mark::ZERO,
        len: 0,
        next: NOTHING,
        fate: PackedFate::VACANT,
        seen: 0,
        whose: NOTHING,
        extra: NOTHING,
        group: 0,
        no_value: 0,
        flags: Flags(0),
    };

    #[inline]
    fn is_vacant(&self) -> bool {
        self.fate == PackedFate::VACANT
    }
}

impl Marked for Line {
    fn mark(&self) -> Mark {
        self.fingerprint
    }
}

impl Row for Extra {
    /// A line without any of it has no extra.
    const VACANT: Self = Self::NONE;

    #[inline]
    fn is_vacant(&self) -> bool {
        *self == Self::NONE
    }
}

impl Row for Series {
    const VACANT: Self =
        Self { identity: Mark::ZERO, about: NOTHING, page: 0, flags: Flags(Self::VACANT) };

    #[inline]
    fn is_vacant(&self) -> bool {
        self.flags.has(Self::VACANT)
    }
}

impl Marked for Series {
    fn mark(&self) -> Mark {
        self.identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fate_is_packed_and_unpacked() {
        let series = [0, 1, 1 << 20, PackedFate::DROPPED - 1].map(Fate::Series);
        let dropped = Dropped::ALL.map(Fate::Dropped);
        for fate in series.into_iter().chain(dropped) {
            let line = Line::new(0, fate, 0, NOTHING);
            assert_eq!(line.fate(), fate);
            assert!(!line.is_vacant());
        }
        assert!(Line::VACANT.is_vacant());
    }

    #[test]
    fn a_series_is_known_by_its_last_page() {
        let mut series = Series::new(7, 0);
        assert!(!series.is_known() && !series.is_sent_on(3));
        assert!(series.withhold(3), "the first that is known of it on this page");
        assert!(!series.withhold(3));
        assert!(series.is_withheld_on(3) && !series.is_sent_on(3));
        series.send(3, true, false);
        assert!(series.is_withheld_on(3) && series.is_sent_on(3) && series.stands_back());
        series.send(4, false, true);
        assert!(series.is_sent_on(4) && !series.is_withheld_on(4) && !series.is_sent_on(3));
        assert!(!series.stands_back() && series.has_own_timestamp() && series.is_known());
        assert!(series.withhold(5) && !series.is_sent_on(5) && !series.is_live());
    }
}
