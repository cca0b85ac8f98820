//! Around a metric that throws: which metrics are asked for by name, because the page does not come whole.
//!
//! A gauge that throws when it is read ends the whole answer of Flink's reporter: the connection is
//! closed, nothing comes. But the reporter can be asked for metrics by name (`name[]`), and reads no others.
//!
//! ```text
//!   whole page --refused--> canary: does the process answer when asked for one harmless metric?
//!       ^                     no:  the scrape has failed, as ever
//!       |                     yes: parts, in this scrape and the next ones
//!       |
//!       +-- every RETRY_FIRST --- the families of the last whole page, in requests of QUERY_BYTES_MAX;
//!                                 a part that is refused is halved until one family is left: quarantined
//! ```
//!
//! `k` families among `n` are found with `2 k log2 n` requests. When that would take too much of a scrape,
//! the rest of the search waits for the next one. What the last whole page did not have is looked for
//! under the names that the catalogue knows: all of them at first, a part of them at each scrape then. So a
//! job that begins meanwhile is seen too, but for the metrics whose names nobody can guess.
//!
//! One that throws only sometimes must not come and go all the time: a page that does not stay whole is
//! asked for in parts twice as long as before, up to [`RETRY_MAX`].
//!
//! Pure: the requests are the caller's, and so is the clock. Invariants: a family is in one of `fine`,
//! `unseen`, `suspects` and `thrown`, and only what is tried again is in the last two at once; only a
//! family that was refused alone is quarantined; without an accepted part nothing is believed.

mod families;

use std::{
    collections::{BTreeSet, VecDeque},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

pub(super) use self::families::{Family, Present, of_catalogue};
use crate::flink::Role;

/// How long a page is asked for in parts before it is tried as a whole.
pub(super) const RETRY_FIRST: Duration = Duration::from_secs(10 * 60);

/// The longest it gets for a metric that throws now and then.
const RETRY_MAX: Duration = Duration::from_secs(80 * 60);

/// Bytes of the query of one request. Flink's server takes far more; 8 KiB for the whole head is what
/// proxies in front of it take.
const QUERY_BYTES_MAX: usize = 4 << 10;

/// Requests of one scrape that search, beside those that are known to be good.
pub(super) const SEARCHES_MAX: u32 = 64;

/// Requests in a row, at the beginning of a scrape, that may be refused before nothing more is searched for:
/// it is not one metric then.
const FRUITLESS_MAX: u32 = 24;

/// Quarantined metrics that are tried again, alone, each time the page did not come whole.
const RETESTS_MAX: usize = 16;

/// Which metrics of a target are asked for, see the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    /// The families of the last whole page.
    known: Present,
    partial: Option<Partial>,
    /// When the page came whole again, and how long it had been tried in parts before.
    freed: Option<(Instant, Duration)>,
}

/// The page does not come whole.
#[derive(Debug)]
struct Partial {
    /// An answer without a sample means what elsewhere a closed connection does.
    empty_refuses: bool,
    /// Asked for at each scrape.
    fine: BTreeSet<Family>,
    /// Not on any page so far, but known to the catalogue.
    unseen: BTreeSet<Family>,
    /// The last one of these that was looked for; none before the first scrape in parts.
    looked_for: Option<Family>,
    /// Parts in which something throws, or halves of such.
    suspects: VecDeque<Part>,
    /// Refused alone.
    thrown: BTreeSet<Family>,
    /// The last one of these that was tried again.
    retested: Option<Family>,
    wait: Duration,
    whole_next: Instant,
    /// Nothing was found once, and the page was tried as a whole at once.
    baffled: bool,
}

/// Where a part's families are when it is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    Fine,
    Unseen,
}

/// What one request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    families: Vec<Family>,
    home: Home,
    /// It is the first one of the suspects.
    searches: bool,
}

/// The requests of one scrape.
#[derive(Debug, Default)]
pub(super) struct Round {
    due: VecDeque<Part>,
    /// In case that it has come into being: after what is known to be there.
    looks: VecDeque<Part>,
    searches: u32,
    refused: u32,
    accepted: u32,
}

/// How a target is scraped whose page does not come whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartialPage {
    /// Metric families that are not asked for, because they throw.
    pub quarantined: Vec<Arc<str>>,
    /// Families that are not asked for at the moment, because some among them throw.
    pub suspected: usize,
    /// Until the page is tried as a whole.
    pub retry_in: Duration,
}

impl Quarantine {
    /// Whether the page is to be asked for as a whole.
    pub(super) fn is_whole(&self, now: Instant) -> bool {
        self.partial.as_ref().is_none_or(|partial| now >= partial.whole_next)
    }

    /// Whether the last page came in parts.
    pub(super) const fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// The whole page came; `present` is changed for the families of the one before.
    pub(super) fn whole_came(&mut self, present: &mut Present, now: Instant) {
        std::mem::swap(&mut self.known, present);
        self.known.shrink();
        if let Some(partial) = self.partial.take() {
            self.freed = Some((now, partial.wait));
        }
    }

    /// The whole page was refused, and the process answers otherwise; `empty` when it came without a
    /// sample. `role` says whose page it is, as far as known.
    pub(super) fn whole_refused(&mut self, empty: bool, role: Role, now: Instant) {
        if let Some(partial) = &mut self.partial {
            return partial.retry(now);
        }
        let relapse = self.freed.filter(|(freed, wait)| now.duration_since(*freed) < 2 * *wait);
        let wait = relapse.map_or(RETRY_FIRST, |(_, wait)| (2 * wait).min(RETRY_MAX));
        let fine = self.known.families();
        let mut unseen = of_catalogue(role);
        unseen.retain(|family| !fine.contains(family));
        self.partial = Some(Partial {
            empty_refuses: empty,
            fine,
            unseen,
            looked_for: None,
            suspects: VecDeque::new(),
            thrown: BTreeSet::new(),
            retested: None,
            wait,
            whole_next: now + wait,
            baffled: relapse.is_some(),
        });
    }

    /// Another process answers at the address now, or none at all.
    pub(super) fn forget(&mut self) {
        self.partial = None;
    }

    /// The requests of a scrape in parts.
    pub(super) fn begin(&mut self) -> Round {
        let Some(partial) = &mut self.partial else { return Round::default() };
        let due = parts(partial.fine.iter(), Home::Fine).into();
        Round { due, looks: partial.look_around().into(), ..Round::default() }
    }

    /// The next request of the scrape, `None` at its end. Nothing is searched for unless `may_search`.
    pub(super) fn next(&self, round: &mut Round, may_search: bool) -> Option<Part> {
        if let Some(part) = round.due.pop_front() {
            return Some(part);
        }
        let is_fruitless = round.accepted == 0 && round.refused >= FRUITLESS_MAX;
        let may_search = may_search && round.searches < SEARCHES_MAX && !is_fruitless;
        let suspect = self.partial.as_ref()?.suspects.front().filter(|_| may_search);
        // What was there before comes first.
        if let Some(look) = suspect
            .is_none_or(|suspect| suspect.home == Home::Unseen)
            .then(|| round.looks.pop_front())
            .flatten()
        {
            return Some(look);
        }
        round.searches += u32::from(suspect.is_some());
        suspect.cloned()
    }

    /// Whether an answer to a part that holds no sample refuses it.
    pub(super) fn empty_refuses(&self, part: &Part) -> bool {
        // Nobody knows whether the process has what was never seen.
        part.home == Home::Fine && self.partial.as_ref().is_some_and(|p| p.empty_refuses)
    }

    /// The part came.
    pub(super) fn accepted(&mut self, part: Part, round: &mut Round) {
        round.accepted += 1;
        let Some(partial) = &mut self.partial else { return };
        if part.searches {
            partial.suspects.pop_front();
            for family in part.families {
                partial.thrown.remove(&family);
                partial.home(part.home).insert(family);
            }
        }
    }

    /// The part was refused.
    pub(super) fn refused(&mut self, part: Part, round: &mut Round) {
        round.refused += 1;
        let Some(partial) = &mut self.partial else { return };
        if part.searches {
            partial.suspects.pop_front();
        }
        for family in &part.families {
            partial.home(part.home).remove(family);
        }
        if part.families.len() < 2 {
            partial.thrown.extend(part.families);
            return;
        }
        let (left, right) = part.families.split_at(part.families.len().div_ceil(2));
        for half in [left, right] {
            let half = Part { families: half.to_vec(), home: part.home, searches: true };
            partial.suspects.push_back(half);
        }
    }

    /// The scrape in parts has ended, with these families on its page. Returns whether anything came: else
    /// it was none of this, and the page is asked for as a whole again.
    pub(super) fn end(&mut self, round: &Round, present: &Present, now: Instant) -> bool {
        if round.accepted == 0 {
            self.partial = None;
            return false;
        }
        let Some(partial) = &mut self.partial else { return false };
        for family in present.families() {
            if partial.unseen.remove(&family) {
                partial.fine.insert(family);
            }
        }
        if partial.thrown.is_empty() && partial.suspects.is_empty() && !partial.baffled {
            // It may have thrown that once only, or under a name that nobody knows.
            partial.baffled = true;
            partial.whole_next = now;
        }
        true
    }

    /// How the target is scraped, if not as a whole.
    pub(super) fn report(&self, now: Instant) -> Option<PartialPage> {
        let partial = self.partial.as_ref()?;
        let suspects = partial.suspects.iter().flat_map(|part| &part.families);
        Some(PartialPage {
            quarantined: partial.thrown.iter().map(|family| Arc::clone(&family.name)).collect(),
            suspected: suspects.filter(|family| !partial.thrown.contains(family)).count(),
            retry_in: partial.whole_next.saturating_duration_since(now),
        })
    }
}

impl Partial {
    /// The page did not come whole again: those in quarantine are tried alone.
    fn retry(&mut self, now: Instant) {
        let nobody = self.thrown.is_empty() && self.suspects.is_empty();
        self.whole_next = now + if nobody { self.wait.min(RETRY_FIRST) } else { self.wait };
        let from = self.retested.take().filter(|_| self.thrown.len() > RETESTS_MAX);
        let again: Vec<_> = after(&self.thrown, from.as_ref()).take(RETESTS_MAX).cloned().collect();
        self.retested = again.last().cloned();
        for family in again {
            let known = self.suspects.iter().any(|part| part.families == [family.clone()]);
            if !known {
                let families = vec![family];
                self.suspects.push_back(Part { families, home: Home::Fine, searches: true });
            }
        }
    }

    /// What is asked for in case that it has come into being: all of it once, then a part at a time.
    fn look_around(&mut self) -> Vec<Part> {
        let from = self.looked_for.clone();
        let mut found = parts(after(&self.unseen, from.as_ref()), Home::Unseen);
        if from.is_some() {
            found.truncate(1);
        }
        let last = found.last().and_then(|part| part.families.last());
        self.looked_for = last.cloned().or(from);
        found
    }

    const fn home(&mut self, home: Home) -> &mut BTreeSet<Family> {
        match home {
            Home::Fine => &mut self.fine,
            Home::Unseen => &mut self.unseen,
        }
    }
}

impl Part {
    /// The query that asks for it.
    pub(super) fn query(&self) -> String {
        let mut query = String::new();
        self.families.iter().for_each(|family| family.write(&mut query));
        query
    }

    /// Whether it decides about one metric: worth a second try.
    pub(super) const fn is_single(&self) -> bool {
        self.families.len() == 1
    }
}

/// All families, those behind `from` first.
fn after<'a>(
    families: &'a BTreeSet<Family>,
    from: Option<&Family>,
) -> impl Iterator<Item = &'a Family> + use<'a> {
    let (behind, before) = match from {
        Some(from) => (families.range((Excluded(from), Unbounded)), Some(families.range(..=from))),
        None => (families.range::<Family, _>(..), None),
    };
    behind.chain(before.into_iter().flatten())
}

/// The families in requests of the size that proxies take.
fn parts<'a>(families: impl Iterator<Item = &'a Family>, home: Home) -> Vec<Part> {
    let mut parts = Vec::<Part>::new();
    let mut bytes = 0;
    for family in families {
        bytes += family.bytes();
        match parts.last_mut() {
            Some(part) if bytes <= QUERY_BYTES_MAX => part.families.push(family.clone()),
            _ => {
                bytes = family.bytes();
                parts.push(Part { families: vec![family.clone()], home, searches: false });
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests;
