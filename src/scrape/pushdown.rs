//! Filtering at the source: a page of which most is left out anyway is asked for by name.
//!
//! Flink's reporter limits its answer to the sample names in `?name[]=` and reads no other metrics. So where
//! metric groups or rules leave out names ([`Shaper::leaves_out`]), the relay asks for the rest, and the
//! process renders, sends and the relay reads only that.
//!
//! ```text
//!   whole page --Census--> does it pay? --no--> whole pages, for WHOLE_EVERY
//!       ^                      `--yes--> Plan: one request by name at each scrape
//!       |                                  |
//!       +--- WHOLE_EVERY is over, a name has gone or come, a job or task is new, a scrape has failed
//!       +--- the answer is refused, or lacks names at once (doubted: the whole page tells who is right)
//!       `--- REFUSED_FOR after the server refused, or sent other names than it was asked for
//! ```
//!
//! A page by name has every line of each family that is asked for, so what is missing on it is gone and
//! what is new on it is new. What is not asked for has no series, as far as the relay is concerned. Only a
//! family whose *name* was never seen is found late: with the next whole page. To find it early, names of the catalogue
//! that are wanted and were not there are asked for as well, and so is a metric that every task has: a new task is
//! followed by a whole page.
//!
//! Pure: the requests are the caller's, and so is the clock. Invariants: what is sent is the same as with whole
//! pages, but for families whose name was not on the last whole one; no request is longer than
//! [`PUSHED_QUERY_BYTES_MAX`]; what fails is never held against the target: the whole page is asked for first.

mod census;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use self::census::{BEGINS, Taken};
pub(super) use self::census::{Census, Seen};
use super::quarantine::{Family, Present, of_catalogue};
use crate::{flink::Role, limits::PUSHED_QUERY_BYTES_MAX, series::Shaper};

/// Longest time between two whole pages, which find what has a new name. The shortest is half of that, by
/// target and by chance, so that the whole pages of many targets spread out.
pub(super) const WHOLE_EVERY: Duration = Duration::from_secs(5 * 60);

/// How long a target is left alone whose server does not know `name[]` or refuses it.
pub const REFUSED_FOR: Duration = Duration::from_secs(60 * 60);

/// What is left out has to be one part in so many of a page: a page by name costs its process the look-up of
/// each name, and one page in twenty is whole all the same.
const SAVED_PART_LEAST: u64 = 4;

/// And so many bytes: less than that costs both sides a few microseconds.
const SAVED_BYTES_LEAST: u64 = 8 << 10;

/// And this many times the request, whose bytes go the other way.
const SAVED_PER_QUERY_BYTE: u64 = 2;

/// How a target's pages are asked for, see the module's documentation.
#[derive(Debug)]
pub(super) struct Pushdown {
    shaper: Arc<Shaper>,
    /// Whether it is wanted and could leave out anything.
    is_on: bool,
    state: State,
    doubt: Option<Doubt>,
    seed: u64,
    /// Whole pages that were learnt from.
    censuses: u64,
}

/// What came when a page was asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// What was asked for.
    Pushed,
    /// More than that: the server does not regard names, and the page is whole.
    Whole,
    /// Less than that. The whole page is to be asked for in its place.
    Doubtful,
}

/// Why the whole page was asked for behind one by name.
#[derive(Debug)]
enum Doubt {
    /// The server would not answer by name.
    Refused,
    /// The first page by name lacked these families, which the whole page before it had.
    Lacked(Vec<Arc<str>>),
}

#[derive(Debug)]
enum State {
    /// The next page is whole, and learnt from.
    Unknown,
    /// Pages are asked for by name.
    Asks(Plan),
    /// Pages are whole, and the first one after this time is learnt from.
    Whole(Whole, Instant),
}

/// What is asked for.
#[derive(Debug)]
struct Plan {
    query: String,
    /// The families, and whether the last whole page had samples of it.
    families: HashMap<Arc<str>, bool>,
    counts: Pushed,
    learnt_at: Instant,
    whole_next: Instant,
    /// The families of the last page by name, in any order; `None` before the first.
    present: Option<(usize, u64)>,
}

/// How a target's pages are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PushdownState {
    /// Nothing is left out by name, it is switched off, or no page has come yet.
    #[default]
    Off,
    /// By name.
    Pushed(Pushed),
    /// As a whole, for this reason.
    Whole(Whole),
}

/// What a page by name has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Families that are asked for, those among them that the last whole page did not have included.
    pub families: usize,
    /// Families of the last whole page that are not.
    pub left_out: usize,
    /// Bytes of the last whole page.
    pub whole_bytes: u64,
    /// Bytes of its samples that are asked for.
    pub pushed_bytes: u64,
    /// Bytes of the request's query.
    pub query_bytes: usize,
}

/// Why pages are not asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// Too little would be left out.
    Little,
    /// The names that would have to be asked for do not fit into a request.
    TooMany,
    /// The page is not Flink's reporter's: it has none of its names, or samples under no TYPE.
    Foreign,
    /// The server sends other names than those that it is asked for.
    Ignored,
    /// The server, or a proxy before it, refuses the request, or answers it with nothing.
    Refused,
}

impl Whole {
    /// The reason, as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Little => "too_little",
            Self::TooMany => "too_many_names",
            Self::Foreign => "not_flink",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
        }
    }

    /// The reason, for people.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Little => "what is left out is too small a part of the page",
            Self::TooMany => "the names that are wanted do not fit into one request",
            Self::Foreign => "the page is not that of Flink's reporter",
            Self::Ignored => "the server does not keep to name[]",
            Self::Refused => "the server refuses name[]",
        }
    }
}

impl Pushdown {
    /// Of one target, by its hash; nothing is asked for by name before [`Pushdown::set`].
    pub(super) const fn new(seed: u64, shaper: Arc<Shaper>) -> Self {
        Self { shaper, is_on: false, state: State::Unknown, doubt: None, seed, censuses: 0 }
    }

    /// Switches it on or off for a target whose URL has these parameters. One that names names itself stays as
    /// it is.
    pub(super) fn set(&mut self, is_wanted: bool, params: Option<&str>) {
        let mut params = form_urlencoded::parse(params.unwrap_or_default().as_bytes());
        let has_names = params.any(|(name, _)| name == "name[]");
        let is_on = is_wanted && !has_names && self.shaper.may_leave_out();
        if self.is_on != is_on {
            (self.is_on, self.state) = (is_on, State::Unknown);
        }
    }

    /// The query of the next page; `None` when it is to be whole.
    pub(super) fn query(&self, now: Instant) -> Option<&str> {
        match &self.state {
            State::Asks(plan) if now < plan.whole_next => Some(&plan.query),
            _ => None,
        }
    }

    /// What counts a whole page that begins now; `None` when nothing is to be learnt from it.
    pub(super) fn census(&self, now: Instant) -> Option<Census> {
        let is_due = match &self.state {
            State::Unknown | State::Asks(_) => true,
            State::Whole(_, until) => now >= *until,
        };
        (self.is_on && is_due).then(|| Census::new(Arc::clone(&self.shaper)))
    }

    /// A whole page came.
    pub(super) fn learn(&mut self, census: &Census, page_bytes: u64, role: Role, now: Instant) {
        let doubted = match self.doubt.take() {
            Some(Doubt::Refused) => Some(Whole::Refused),
            Some(Doubt::Lacked(families)) if families.iter().any(|name| census.has(name)) => {
                Some(Whole::Ignored)
            }
            _ => None,
        };
        if let Some(why) = doubted {
            self.state = State::Whole(why, now + REFUSED_FOR);
            return;
        }
        self.censuses += 1;
        let part = xxh3_64_with_seed(&self.censuses.to_le_bytes(), self.seed) % 1000;
        let wait = WHOLE_EVERY / 2 + WHOLE_EVERY / 2 * u32::try_from(part).unwrap_or(0) / 1000;
        self.state = match self.plan(census, page_bytes, role, (now, now + wait)) {
            Ok(plan) => State::Asks(plan),
            Err(why) => State::Whole(why, now + wait),
        };
    }

    /// What to ask for between these times.
    fn plan(
        &self,
        census: &Census,
        whole_bytes: u64,
        role: Role,
        (learnt_at, whole_next): (Instant, Instant),
    ) -> Result<Plan, Whole> {
        if whole_bytes < SAVED_BYTES_LEAST {
            return Err(Whole::Little);
        }
        if !census.is_typed() || !role.is_flink() {
            return Err(Whole::Foreign);
        }
        let Taken { families, left_out, bytes } = census.take().ok_or(Whole::TooMany)?;
        let saved = whole_bytes.saturating_sub(bytes);
        let is_little = saved < SAVED_BYTES_LEAST || saved < whole_bytes / SAVED_PART_LEAST;
        if families.is_empty() || is_little {
            return Err(Whole::Little);
        }
        let mut query = String::new();
        let mut asked = HashMap::new();
        for family in families {
            family.write(&mut query);
            asked.insert(Arc::clone(&family.name), true);
        }
        if query.len() > PUSHED_QUERY_BYTES_MAX {
            return Err(Whole::TooMany);
        }
        let room = usize::try_from(saved / SAVED_PER_QUERY_BYTE).unwrap_or(usize::MAX);
        if query.len() > room {
            return Err(Whole::Little);
        }
        let room = room.min(PUSHED_QUERY_BYTES_MAX);
        for family in self.expected(role) {
            let fits = query.len() + family.bytes() <= room;
            if fits && !asked.contains_key(&family.name) {
                family.write(&mut query);
                asked.insert(family.name, false);
            }
        }
        let counts = Pushed {
            families: asked.len(),
            left_out,
            whole_bytes,
            pushed_bytes: bytes,
            query_bytes: query.len(),
        };
        Ok(Plan { query, families: asked, counts, learnt_at, whole_next, present: None })
    }

    /// Families that a process of this role may come to have: a metric of each task or job first.
    fn expected(&self, role: Role) -> impl Iterator<Item = Family> {
        let (begins, wanted): (Vec<_>, Vec<_>) =
            of_catalogue(role).into_iter().partition(|family| BEGINS.contains(&&*family.name));
        let wanted =
            wanted.into_iter().filter(|family| !self.shaper.leaves_out(&family.name, None));
        begins.into_iter().chain(wanted)
    }

    /// A page by name came, with these families; `is_empty` when they have no samples.
    pub(super) fn answered(&mut self, present: &Present, is_empty: bool, now: Instant) -> Answer {
        let State::Asks(plan) = &mut self.state else { return Answer::Whole };
        let names: HashSet<&str> = present.names().collect();
        if names.iter().any(|name| !plan.families.contains_key(*name)) {
            self.state = State::Whole(Whole::Ignored, now + REFUSED_FOR);
            return Answer::Whole;
        }
        let sum = names.iter().fold(0_u64, |sum, name| sum.wrapping_add(xxh3_64(name.as_bytes())));
        let before = plan.present.replace((names.len(), sum));
        if is_empty || before.is_none() {
            let had = plan.families.iter().filter(|(_, was_there)| **was_there);
            let is_lacking = |name: &&Arc<str>| is_empty || !names.contains(&***name);
            let lacked: Vec<_> = had.map(|(name, _)| name).filter(is_lacking).cloned().collect();
            if !lacked.is_empty() {
                self.doubt = Some(Doubt::Lacked(lacked));
                return Answer::Doubtful;
            }
        }
        let is_new = |(name, was_there): (&Arc<str>, &bool)| !was_there && names.contains(&**name);
        let has_changed = match before {
            Some(before) => plan.present != Some(before),
            None => plan.families.iter().any(is_new),
        };
        if has_changed {
            plan.whole_next = now;
        }
        Answer::Pushed
    }

    /// The scrape that began at this time has shown something that was not there at the page before: it may have
    /// new names, unless the whole page was part of the scrape.
    pub(super) fn begun(&mut self, scrape: Instant) {
        if let State::Asks(plan) = &mut self.state
            && plan.learnt_at < scrape
        {
            plan.whole_next = plan.whole_next.min(scrape);
        }
    }

    /// The server would not answer by name; held against it when the whole page comes.
    pub(super) fn refused(&mut self) {
        self.doubt = Some(Doubt::Refused);
    }

    /// A scrape has failed: what answers next may be another process. What is known of a server that does not
    /// take names holds.
    pub(super) fn forget(&mut self) {
        self.doubt = None;
        if let State::Asks(_) = self.state {
            self.state = State::Unknown;
        }
    }

    pub(super) const fn state(&self) -> PushdownState {
        match &self.state {
            _ if !self.is_on => PushdownState::Off,
            State::Unknown => PushdownState::Off,
            State::Asks(plan) => PushdownState::Pushed(plan.counts),
            State::Whole(why, _) => PushdownState::Whole(*why),
        }
    }
}

#[cfg(test)]
mod tests;
