//! The series of one target: what each line of its page becomes, and which series are gone.
//!
//! A page repeats: the same lines in the same order, only the values differ. So the work of parsing
//! labels, filtering, normalising, relabelling and encoding is done once, when a line is new (the cold
//! path, [`Shaper`]); afterwards a line costs a fingerprint and a float (`order`), and a look-up where the order
//! changes.
//!
//! ```text
//!   line text "name{…}" --fingerprint--> Line --fate--> Series --view--> encoded labels, ready to send
//!                                           `---------> Dropped(reason)
//! ```
//!
//! Memory is what a page of a million lines costs, so what many lines or series have in common is kept once
//! per target (`pool`): the parts of encoded labels (`blocks`), ids, names, families. What is left for each of them
//! is in `line`, how they are numbered and found in `rows` and `index`.
//!
//! The life of a page: [`Tracker::begin`], [`Tracker::observe`] for each line, then either
//! [`Tracker::abort`] (nothing of the page counts: a scrape is all or nothing) or [`Tracker::close`],
//! [`Tracker::samples`] and [`Tracker::stale`] to encode, and [`Tracker::forget_stale`]; then [`Tracker::rest`],
//! for there are many targets and few of them are scraped at a time. What follows
//! from the page's samples is added when it is closed ([`Tracker::make`]).
//!
//! Invariants: within a page each series has at most one sample (the first wins, the rest is counted);
//! a series that was sent gets exactly one staleness marker when it leaves the page, when a scrape
//! fails, or when its target goes; `scraped + made = kept + Σ dropped` for each page ([`Tally`]); a line
//! that is known has its fate, so its series is known too; one that finds no `room` is not remembered, and leaves
//! nothing behind.

mod adopt;
mod blocks;
mod collide;
mod comments;
mod cut;
mod derived;
mod entries;
mod family;
mod forget;
mod index;
mod left_out;
mod line;
mod made;
mod mislabelled;
mod names;
mod numbered;
mod order;
mod places;
mod pool;
mod rollup;
mod room;
mod rows;
mod sent;
mod shape;
mod tally;
mod unfit;
mod withheld;

use std::sync::Arc;

use hashbrown::{HashMap, HashSet, HashTable};
use slab::Slab;
use xxhash_rust::xxh3::xxh3_128;

pub use self::order::Known;
pub use self::{
    adopt::Origin,
    mislabelled::Mislabelled,
    numbered::{Following, Numbered, known_kind, page_kind},
    rollup::{Across, Closed, MadeFamily, Part, Whole},
    room::PageSeries,
    shape::{LabelLimit, Limits, Shaped, Shaper, View},
    tally::{DropCounts, Dropped, GroupTallies, GroupTally, Tally},
    unfit::{Unfit, UnfitCounts, Unfits},
};
use self::{
    blocks::{Blocks, Made},
    comments::Comments,
    index::{Index, narrow},
    line::{Extra, Fate, Line, Series, Whose},
    pool::{NOTHING, Pool},
    rollup::{Role, Rollups},
    room::Room,
    rows::Rows,
    unfit::UnfitSeries,
};
use crate::{
    exposition::{self, Sample, SyntaxError},
    flink::{
        Sentinels,
        rest::{AttemptId, Attempts, SubjectId, Subjects},
        sentinels::NoValue,
    },
    labels::Labels,
    remote_write::v2::{About, Noted},
};

/// Why a line of a page was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObserveError {
    /// The line breaks the text format; only this sample is lost.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// Its values stand under wrong label names; only this sample is lost.
    #[error(transparent)]
    Mislabelled(#[from] Mislabelled),
    /// A label limit of the scrape config is exceeded, which fails the scrape.
    #[error(transparent)]
    LabelLimit(#[from] LabelLimit),
}

/// One sample to send.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Observed {
    /// The line it stood on.
    line: u32,
    /// Which of [`Tracker::own_times`] is its timestamp; [`NOTHING`] is the scrape's.
    time: u32,
    /// The value as on the page.
    value: f64,
}

/// Whose line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The page's.
    Page,
    /// The relay's own, see [`made`].
    Made,
}

/// The series of one target, see the module's documentation.
#[derive(Debug)]
pub struct Tracker {
    shaper: Arc<Shaper>,
    target_labels: Labels<'static>,
    limits: exposition::Limits,
    page: u32,
    room: Room,
    lines: Rows<Line>,
    line_index: Index,
    /// Lines that were not there before this page.
    new_lines: Vec<u32>,
    /// Lines that stand on this page.
    lines_here: usize,
    whose: Pool<Whose>,
    extras: Rows<Extra>,
    /// The line before the one that is to be read, and the first one of a page.
    last: u32,
    first: u32,
    /// See [`Tracker::normal_of`].
    normals: HashMap<u32, u128>,
    /// The numbers among [`Tracker::made`] of lines that are the relay's own.
    made_of: HashMap<u32, u32>,
    series: Rows<Series>,
    series_index: Index,
    /// Series that this page has, with a sample to send or without.
    series_here: usize,
    /// The encoded labels of the series, and the same as numbers.
    blocks: Blocks,
    /// By view, of the last page that was encoded.
    replays: Vec<sent::Replays>,
    /// Ids and names of lines, and pieces of those that the relay makes.
    texts: Pool<Box<[u8]>>,
    abouts: Pool<About, Noted>,
    /// Ids of roll-ups.
    shared: HashSet<Arc<[u8]>>,
    comments: Comments,
    subjects: Subjects,
    attempts: Attempts,
    observed: Vec<Observed>,
    /// How many there were on the page before it was closed, so that room for them stays.
    observed_most: usize,
    /// When the page was scraped, and timestamps of samples that have their own; milliseconds since the
    /// epoch.
    scraped_at_ms: i64,
    own_times: Vec<i64>,
    /// Lines that are here and have no sample to send, see [`withheld`].
    withheld: Vec<u32>,
    /// Series that are kept for lines that have none.
    withheld_len: usize,
    made: Slab<made::Made>,
    derivers: derived::Derivers,
    /// See [`Line::no_value`].
    no_values: Vec<NoValue>,
    made_table: HashTable<u32>,
    tally: Tally,
    unfit: UnfitSeries,
    rollups: Rollups,
    /// See [`Tracker::adopt`].
    inherited: adopt::Inherited,
    /// The views whose blocks are to be made anew on the next good page.
    remade: Vec<usize>,
}

impl Tracker {
    /// A tracker for a target with these labels.
    pub fn new(shaper: Arc<Shaper>, target_labels: Labels<'static>) -> Self {
        Self {
            blocks: Blocks::new(shaper.views.len()),
            shaper,
            target_labels,
            limits: exposition::Limits::default(),
            page: 0,
            room: Room::default(),
            lines: Rows::new(),
            line_index: Index::default(),
            new_lines: Vec::new(),
            lines_here: 0,
            whose: Pool::default(),
            extras: Rows::new(),
            last: NOTHING,
            first: NOTHING,
            normals: HashMap::new(),
            made_of: HashMap::new(),
            series: Rows::new(),
            series_index: Index::default(),
            series_here: 0,
            replays: Vec::new(),
            texts: Pool::default(),
            abouts: Pool::default(),
            shared: HashSet::new(),
            comments: Comments::default(),
            subjects: Subjects::default(),
            attempts: Attempts::default(),
            observed: Vec::new(),
            observed_most: 0,
            scraped_at_ms: 0,
            own_times: Vec::new(),
            withheld: Vec::new(),
            withheld_len: 0,
            made: Slab::new(),
            derivers: derived::Derivers::default(),
            no_values: Vec::new(),
            made_table: HashTable::new(),
            tally: Tally::default(),
            unfit: UnfitSeries::default(),
            rollups: Rollups::default(),
            inherited: Vec::new(),
            remade: Vec::new(),
        }
    }

    /// The same, which shares with others how many lines of pages may be remembered. To be said before its
    /// first page.
    pub fn within(mut self, shared: Arc<PageSeries>) -> Self {
        debug_assert!(self.lines.len() == 0, "its lines have their places elsewhere");
        self.room = Room::of(shared);
        self
    }

    /// Starts a page.
    pub fn begin(&mut self) {
        self.page += 1;
        (self.lines_here, self.series_here) = (0, 0);
        self.know_lines();
        self.last = NOTHING;
        self.rollups.clear_page();
        self.restore_sources();
        self.unfit.begin();
        self.comments.clear();
        self.observed.clear();
        self.observed.reserve_exact(self.observed_most);
        self.own_times.clear();
        self.withheld.clear();
        self.pack();
        let groups = GroupTallies::new(self.shaper.catalogue.groups());
        self.tally = Tally { groups, ..Tally::default() };
    }

    /// Takes one sample line of the page. `scraped_at_ms` is used unless the line has a timestamp
    /// that `honor_timestamps` lets through. Returns whether the sample is kept.
    ///
    /// The value of a line that is left out, and from which nothing is made, is read when the line is new and not
    /// looked at from then on: it may be garbage.
    pub fn observe(&mut self, text: &[u8], scraped_at_ms: i64) -> Result<bool, ObserveError> {
        self.tally.scraped += 1;
        self.scraped_at_ms = scraped_at_ms;
        let split = exposition::split(text);
        let fingerprint = split.as_ref().map(|split| xxh3_128(split.series));
        if let (Some(split), Some(fingerprint)) = (split, fingerprint)
            && let Some(line) = self.find_next(fingerprint)
        {
            if !self.remade.is_empty() {
                self.reshape(line, text)?;
            }
            self.follow(line);
            if let Some(reason) = self.lines.get(line as usize).and_then(|line| self.unread(line)) {
                self.record_unread(line, reason);
                return Ok(false);
            }
            let known = exposition::value(split.rest);
            let (value, timestamp) = known.inspect_err(|_| self.syntax())?;
            let kept = self.record(line, value, timestamp);
            return self.told(line, text, kept);
        }
        let sample = match exposition::parse(text, &self.limits) {
            Ok(exposition::Entry::Sample(sample)) => sample,
            Ok(_) => {
                self.tally.scraped -= 1;
                return Ok(false);
            }
            Err(error) => {
                self.syntax();
                return Err(error.into());
            }
        };
        debug_assert_eq!(fingerprint, Some(xxh3_128(sample.series)), "two ways to read one line");
        let fingerprint = fingerprint.unwrap_or_else(|| xxh3_128(sample.series));
        if !self.room.take() {
            // Nothing of the line is looked at: whatever that would enter might outlive it.
            self.tally.dropped.add(Dropped::PageSeriesLimit, 1);
            return Ok(false);
        }
        let inserted = self.insert_line(fingerprint, &sample, Source::Page);
        let line = inserted.inspect_err(|_| self.room.give_back())?;
        self.follow(line);
        let kept = self.record(line, sample.value, sample.timestamp_ms);
        self.told(line, text, kept)
    }

    /// Counts a line that never came in one piece (longer than the limit).
    pub fn observe_unreadable(&mut self) {
        self.tally.scraped += 1;
        self.syntax();
    }

    fn syntax(&mut self) {
        self.tally.dropped.add(Dropped::Syntax, 1);
    }

    /// The cold path: decides what a line that was not on the last page is.
    fn insert_line(
        &mut self,
        fingerprint: u128,
        sample: &Sample<'_>,
        source: Source,
    ) -> Result<u32, LabelLimit> {
        let shaper = Arc::clone(&self.shaper);
        let family = self.family(sample.name);
        let known = family.known(&shaper.catalogue, sample.name);
        let (subject, role, shaped) = if Mislabelled::find(sample).is_some() {
            (SubjectId::NONE, Role::NONE, Ok(Shaped::Dropped(Dropped::Mislabelled)))
        } else {
            let subject = self.subjects.enter(sample.name, sample.labels());
            let role = self.enrol(sample, family.group, known.as_ref(), subject);
            let shaped = if self.is_rolled_up(role) {
                Ok(Shaped::Dropped(Dropped::RolledUp))
            } else {
                let names = |labels: &mut Labels<'_>| self.subjects.give_back(subject, labels);
                shaper.shape(sample, family.group, known.as_ref(), &self.target_labels, names)
            };
            (subject, role, shaped)
        };
        let shaped = match (shaped, source) {
            (Err(_), Source::Made) => Shaped::Dropped(Dropped::LabelLimit),
            (shaped, _) => shaped?,
        };
        let name =
            if family.is_renamed { self.texts.enter(sample.name.as_bytes()) } else { NOTHING };
        let mut attempt = AttemptId::NONE;
        let about = |tracker: &mut Self| {
            attempt = tracker.attempt(sample, &family.about);
            tracker.abouts.enter(&family.about)
        };
        let (fate, normal, ids) = self.settle(shaped, sample.series, about);
        let feeds = family.feeds.filter(|_| source == Source::Page);
        let feed = known.zip(feeds).and_then(|(known, feeds)| self.feed(sample, &known, feeds));
        let group = u8::try_from(family.group.index()).expect("there are less than 64 groups");
        let whose = Whose { ids, subject, attempt, job: role.job };
        let extra = Extra { name, member: role.member, feed };
        let mut line = Line::new(fingerprint, fate, group, self.enter_whose(whose));
        line.len = u32::try_from(sample.series.len()).expect("a line is shorter than its limit");
        line.no_value = family.no_value.unwrap_or_else(|| self.no_value_of_own(sample));
        line.set_stands_back(family.stands_back);
        line.set_of_page(source == Source::Page);
        Ok(self.add_line(line, extra, normal))
    }

    fn record(&mut self, line: u32, value: f64, own_timestamp: Option<i64>) -> bool {
        let page = self.page;
        let Some(state) = self.lines.get_mut(line as usize) else { return false };
        let is_repeated = state.stand_on(page);
        self.lines_here += usize::from(!is_repeated);
        self.tally.scraped_of(state.group);
        let is_none = state.no_value > 0 && is_none(&self.no_values, state.no_value, value);
        if let Some(extra) = self.extras.get(state.extra as usize) {
            if extra.member != rollup::NONE && !is_none {
                self.rollups.observe(extra.member, value);
            }
            if let Some(feed) = extra.feed
                && !is_repeated
            {
                self.derivers.note(feed, page, (!is_none).then_some(value));
            }
        }
        match state.fate() {
            Fate::Dropped(reason) => {
                self.tally.dropped.add(reason, 1);
                false
            }
            Fate::Series(_) if is_none && self.shaper.sentinels == Sentinels::Drop => {
                self.tally.dropped.add(Dropped::Sentinel, 1);
                self.withheld.push(line);
                false
            }
            Fate::Series(_) => {
                let own = own_timestamp.filter(|_| self.shaper.honor_timestamps);
                let time = own.map_or(NOTHING, |own| {
                    self.own_times.push(own);
                    u32::try_from(self.own_times.len() - 1).expect("as many as lines at most")
                });
                self.observed.push(Observed { line, time, value });
                true
            }
        }
    }

    /// Milliseconds since the epoch.
    #[inline]
    fn time_of(&self, sample: &Observed) -> i64 {
        self.own_times.get(sample.time as usize).copied().unwrap_or(self.scraped_at_ms)
    }

    /// Samples that would be kept so far, for `sample_limit`.
    pub fn kept(&self) -> u64 {
        self.observed.len() as u64
    }

    /// Number of series on the last page.
    pub fn series_len(&self) -> usize {
        self.series.len().saturating_sub(self.withheld_len)
    }
}

/// Whether the value says that there is none; `of` is a [`Line::no_value`].
fn is_none(no_values: &[NoValue], of: u8, value: f64) -> bool {
    no_values.get(usize::from(of) - 1).is_some_and(|no_value| no_value.is(value))
}

#[cfg(test)]
mod tests;
