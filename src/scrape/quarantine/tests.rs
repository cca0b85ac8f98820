//! The state machine against a process that has families, some of which throw.

use std::{cell::Cell, collections::BTreeSet};

use proptest::{
    collection::{btree_set, vec},
    prelude::*,
};

use super::*;
use crate::exposition::Kind;

/// A process, and the relay's side of it.
struct Process {
    /// Families by number.
    has: BTreeSet<usize>,
    throws: BTreeSet<usize>,
    /// Beside these, families of the catalogue.
    of_catalogue: BTreeSet<String>,
    /// It answers with nothing instead of closing the connection.
    answers_empty: bool,
    /// One that throws by chance, in one of so many requests.
    flickers: Option<(usize, u64)>,
    dice: Cell<u64>,
    quarantine: Quarantine,
    now: Instant,
    /// Of the last scrape.
    came: BTreeSet<String>,
    requests: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Scrape {
    Whole,
    Parts,
    Failed,
}

fn name(family: usize) -> String {
    format!("flink_taskmanager_job_task_operator_mine_{family}")
}

/// The next number of a small generator (xorshift64).
fn roll(dice: &mut u64) -> u64 {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    *dice
}

const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Process {
    fn new(families: usize) -> Self {
        Self {
            has: (0..families).collect(),
            throws: BTreeSet::new(),
            of_catalogue: BTreeSet::new(),
            answers_empty: false,
            flickers: None,
            dice: Cell::new(1),
            quarantine: Quarantine::default(),
            now: Instant::now(),
            came: BTreeSet::new(),
            requests: 0,
        }
    }

    fn throwing(families: usize, throws: impl IntoIterator<Item = usize>) -> Self {
        let mut process = Self::new(families);
        assert_eq!(process.scrape(), Scrape::Whole);
        process.throws = throws.into_iter().collect();
        process
    }

    /// What comes of these names, `None` when one of them throws.
    fn read(&self, asked: Option<&BTreeSet<String>>) -> Option<BTreeSet<String>> {
        let is_asked = |name: &String| asked.is_none_or(|asked| asked.contains(name));
        if self.throws.iter().filter(|at| self.has.contains(at)).any(|&at| is_asked(&name(at))) {
            return None;
        }
        let mut dice = self.dice.get();
        let now = self.flickers.filter(|(_, one_in)| roll(&mut dice).is_multiple_of(*one_in));
        self.dice.set(dice);
        if now.is_some_and(|(family, _)| is_asked(&name(family))) {
            return None;
        }
        let own = self.has.iter().map(|&family| name(family));
        Some(own.chain(self.of_catalogue.iter().cloned()).filter(is_asked).collect())
    }

    /// As the shell does it, fifteen seconds after the one before.
    fn scrape(&mut self) -> Scrape {
        self.now += Duration::from_secs(15);
        (self.came, self.requests) = (BTreeSet::new(), 0);
        let mut present = Present::default();
        if self.quarantine.is_whole(self.now) {
            self.requests += 1;
            if let Some(came) = self.read(None) {
                came.iter().for_each(|name| present.push(name, Kind::Gauge));
                self.quarantine.whole_came(&mut present, self.now);
                self.came = came;
                return Scrape::Whole;
            }
            self.quarantine.whole_refused(self.answers_empty, Role::TaskManager, self.now);
        }
        let mut round = self.quarantine.begin();
        while let Some(part) = self.quarantine.next(&mut round, true) {
            self.requests += 1;
            assert!(part.query().len() <= QUERY_BYTES_MAX);
            let names: BTreeSet<_> = part.families.iter().map(|f| f.name.to_string()).collect();
            assert!(self.came.is_disjoint(&names), "nothing is read twice");
            let came = self.read(Some(&names));
            match came {
                Some(came) if !(came.is_empty() && self.quarantine.empty_refuses(&part)) => {
                    came.iter().for_each(|name| present.push(name, Kind::Gauge));
                    self.came.extend(came);
                    self.quarantine.accepted(part, &mut round);
                }
                _ => self.quarantine.refused(part, &mut round),
            }
        }
        if self.quarantine.end(&round, &present, self.now) { Scrape::Parts } else { Scrape::Failed }
    }

    /// Scrapes until nothing is searched for any more; returns the requests that were spent on it.
    fn settle(&mut self) -> usize {
        let mut requests = 0;
        for _ in 0..200 {
            assert_eq!(self.scrape(), Scrape::Parts);
            requests += self.requests;
            if self.report().suspected == 0 {
                return requests;
            }
        }
        panic!("it never ends");
    }

    fn report(&self) -> PartialPage {
        self.quarantine.report(self.now).unwrap_or_default()
    }

    fn quarantined(&self) -> BTreeSet<String> {
        self.report().quarantined.iter().map(ToString::to_string).collect()
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// Everything that does not throw.
    fn good(&self) -> BTreeSet<String> {
        let own = self.has.difference(&self.throws).map(|&family| name(family));
        own.chain(self.of_catalogue.iter().cloned()).collect()
    }
}

fn names(families: &[usize]) -> BTreeSet<String> {
    families.iter().copied().map(name).collect()
}

#[test]
fn one_that_throws_costs_itself_from_the_first_scrape_on() {
    for (families, throws) in [(1, 0), (2, 1), (60, 0), (300, 157), (300, 299)] {
        // The others need something to be there.
        let mut process = Process::throwing(families, []);
        process.of_catalogue.insert("flink_taskmanager_Status_JVM_CPU_Load".to_owned());
        process.throws.insert(throws);
        assert_eq!(process.scrape(), Scrape::Parts);
        assert_eq!(process.came, process.good(), "{families} {throws}");
        assert_eq!(process.quarantined(), names(&[throws]));
        assert_eq!(process.report().suspected, 0);
        let first = process.requests;
        assert!(first <= 40, "{first} requests for {families}");
        assert_eq!(process.scrape(), Scrape::Parts);
        assert_eq!(process.came, process.good());
        let parts = families.div_ceil(60) + 2;
        assert!(process.requests <= parts, "{} requests for {families}", process.requests);
    }
}

#[test]
fn one_that_works_again_is_freed_with_the_next_whole_page() {
    let mut process = Process::throwing(200, [17]);
    process.settle();
    process.throws.clear();
    process.wait(RETRY_FIRST);
    assert_eq!(process.scrape(), Scrape::Whole);
    assert_eq!(process.came, process.good());
    assert_eq!(process.report(), PartialPage::default());
    assert!(process.quarantine.report(process.now).is_none());
}

#[test]
fn of_two_the_one_that_works_again_is_freed() {
    let mut process = Process::throwing(200, [17, 90]);
    process.settle();
    assert_eq!(process.quarantined(), names(&[17, 90]));
    process.throws.remove(&17);
    assert_eq!(process.scrape(), Scrape::Parts);
    assert_eq!(process.quarantined(), names(&[17, 90]), "it is not asked for each time");
    process.wait(RETRY_FIRST);
    assert_eq!(process.scrape(), Scrape::Parts);
    assert_eq!(process.quarantined(), names(&[90]));
    assert_eq!(process.came, process.good());
}

#[test]
fn one_more_that_throws_is_found_while_the_page_comes_in_parts() {
    let mut process = Process::throwing(200, [17]);
    process.settle();
    process.throws.insert(120);
    assert_eq!(process.scrape(), Scrape::Parts);
    assert_eq!(process.quarantined(), names(&[17, 120]));
    assert_eq!(process.came, process.good());
}

#[test]
fn what_comes_into_being_meanwhile_is_seen_as_far_as_it_is_known() {
    let mut process = Process::throwing(3, [1]);
    process.settle();
    let known = "flink_taskmanager_job_task_numRecordsIn".to_owned();
    process.of_catalogue.insert(known.clone());
    process.has.insert(7);
    for _ in 0..20 {
        process.scrape();
    }
    assert!(process.came.contains(&known));
    assert!(!process.came.contains(&name(7)), "nobody can guess it");
    process.scrape();
    assert!(process.came.contains(&known), "and from then on each time");
    process.throws.clear();
    process.wait(RETRY_FIRST);
    process.scrape();
    assert!(process.came.contains(&name(7)), "with the whole page");
}

/// A job begins, and one of its metrics throws at once: no page ever showed its name.
#[test]
fn a_job_that_throws_from_its_beginning_has_what_the_catalogue_knows() {
    let mut process = Process::new(2);
    assert_eq!(process.scrape(), Scrape::Whole);
    process.has.insert(5);
    process.throws.insert(5);
    let records = "flink_taskmanager_job_task_numRecordsIn".to_owned();
    process.of_catalogue.insert(records.clone());
    assert_eq!(process.scrape(), Scrape::Parts);
    assert!(process.came.contains(&records), "in the first scrape");
    assert!(process.quarantined().is_empty());
    assert_eq!(process.scrape(), Scrape::Parts, "the whole page was tried at once, in vain");
    let tries = (0..39).filter(|_| {
        process.scrape();
        process.came.contains(&records) && process.requests > 3
    });
    assert_eq!(tries.count(), 0, "few requests, and not each time for the whole page");
}

#[test]
fn no_known_page_at_all_is_no_hindrance() {
    let mut process = Process::new(2);
    process.throws.insert(1);
    process.of_catalogue.insert("flink_taskmanager_Status_JVM_CPU_Load".to_owned());
    assert_eq!(process.scrape(), Scrape::Parts);
    assert_eq!(process.came, process.of_catalogue);
}

/// Scrapes for eight hours a metric that throws in one of `one_in` scrapes, or requests, by chance. Returns how often
/// it came or went, and the scrapes without it.
fn flicker(one_in: u64, in_requests: bool) -> (usize, usize) {
    let mut process = Process::throwing(100, []);
    let (mut changes, mut last, mut missing, mut dice) = (0, true, 0, 1);
    for _ in 0..8 * 60 * 4 {
        process.throws.clear();
        if in_requests {
            process.flickers = Some((31, one_in));
        } else if roll(&mut dice).is_multiple_of(one_in) {
            process.throws.insert(31);
        }
        assert_ne!(process.scrape(), Scrape::Failed);
        assert!(process.came.len() >= 99, "the others never go");
        let there = process.came.contains(&name(31));
        missing += usize::from(!there);
        changes += usize::from(there != last);
        last = there;
    }
    (changes, missing)
}

#[test]
fn one_that_throws_now_and_then_does_not_come_and_go_all_the_time() {
    for (one_in, in_requests) in [(2, false), (4, false), (50, false), (2, true), (4, true)] {
        let (changes, missing) = flicker(one_in, in_requests);
        // What throws by the request may never do so when it is asked for alone.
        let is_found = changes > 0 || in_requests;
        assert!(is_found && changes < 30, "{changes} changes, {missing} missing, one in {one_in}");
    }
}

#[test]
fn a_search_that_takes_too_long_goes_on_with_the_next_scrape() {
    let throws: BTreeSet<_> = (0..400).filter(|at| at % 9 == 0).collect();
    let mut process = Process::throwing(400, throws.clone());
    assert_eq!(process.scrape(), Scrape::Parts);
    assert!(process.report().suspected > 0);
    let in_first = process.came.len();
    process.settle();
    assert_eq!(process.quarantined(), throws.iter().copied().map(name).collect());
    assert!(in_first < process.came.len());
    assert_eq!(process.scrape(), Scrape::Parts);
    assert_eq!(process.came, process.good());
}

#[test]
fn where_everything_is_refused_nothing_is_believed() {
    let mut process = Process::throwing(150, 0..150);
    assert_eq!(process.scrape(), Scrape::Parts, "what the catalogue knows is not there, and came");
    let mut process = Process::throwing(150, 0..150);
    process.quarantine.whole_refused(false, Role::TaskManager, process.now);
    let mut round = process.quarantine.begin();
    let mut requests = 0;
    while let Some(part) = process.quarantine.next(&mut round, true) {
        requests += 1;
        process.quarantine.refused(part, &mut round);
    }
    assert_eq!(requests, FRUITLESS_MAX);
    assert!(!process.quarantine.end(&round, &Present::default(), process.now));
    assert!(process.quarantine.is_whole(process.now), "the next one asks for the page");
    assert!(process.quarantine.report(process.now).is_none());
}

#[test]
fn without_time_nothing_is_searched_for_and_nothing_is_forgotten() {
    let mut process = Process::throwing(100, [3]);
    process.quarantine.whole_refused(false, Role::TaskManager, process.now);
    let mut round = process.quarantine.begin();
    while let Some(part) = process.quarantine.next(&mut round, false) {
        let throws = part.families.iter().any(|family| *family.name == *name(3));
        match throws {
            true => process.quarantine.refused(part, &mut round),
            false => process.quarantine.accepted(part, &mut round),
        }
    }
    assert!(process.quarantine.end(&round, &Present::default(), process.now));
    assert!(process.report().suspected > 1);
    process.settle();
    assert_eq!(process.quarantined(), names(&[3]));
}

#[test]
fn a_process_that_answers_empty_is_searched_too() {
    let mut process = Process::throwing(100, [3, 77]);
    process.answers_empty = true;
    process.settle();
    assert_eq!(process.quarantined(), names(&[3, 77]));
    assert_eq!(process.came, process.good());
}

#[test]
fn another_process_is_asked_for_its_whole_page() {
    let mut process = Process::throwing(100, [3]);
    process.settle();
    process.quarantine.forget();
    process.throws.clear();
    assert_eq!(process.scrape(), Scrape::Whole);
}

proptest! {
    /// Any set of families that throw is found, with few requests for each, and the others come.
    #[test]
    fn any_that_throw_are_found(
        families in 1..400_usize, throws in btree_set(0..400_usize, 1..10), empty: bool,
    ) {
        let throws: BTreeSet<_> = throws.into_iter().map(|at| at % families).collect();
        prop_assume!(throws.len() < families);
        let mut process = Process::throwing(families, throws.clone());
        process.answers_empty = empty;
        let requests = process.settle();
        prop_assert_eq!(process.quarantined(), throws.iter().copied().map(name).collect());
        let levels = families.ilog2() as usize + 1;
        let parts = families.div_ceil(30) + families::of_catalogue(Role::TaskManager).len() / 30;
        let most = 3 * parts + 2 * levels * throws.len();
        prop_assert!(requests <= most, "{} requests, {} allowed", requests, most);
        process.scrape();
        prop_assert_eq!(&process.came, &process.good());
        process.throws.clear();
        process.wait(FOREVER);
        prop_assert_eq!(process.scrape(), Scrape::Whole);
        prop_assert_eq!(&process.came, &process.good());
    }

    /// Whatever begins and stops to throw, and comes and goes: in the end the page is whole.
    #[test]
    fn any_history_ends_well(
        steps in vec((btree_set(0..40_usize, 0..4), btree_set(0..40_usize, 0..4), 0..900_u64), 1..40),
    ) {
        let mut process = Process::throwing(30, []);
        process.of_catalogue.insert("flink_taskmanager_Status_JVM_CPU_Load".to_owned());
        for (throws, gone, seconds) in steps {
            process.throws = throws;
            process.has = (0..40).filter(|family| !gone.contains(family)).collect();
            process.wait(Duration::from_secs(seconds));
            process.scrape();
            prop_assert!(process.requests <= SEARCHES_MAX as usize + 20);
            let report = process.report();
            prop_assert!(report.retry_in <= RETRY_MAX);
            let bad: BTreeSet<_> = process.throws.iter().copied().map(name).collect();
            prop_assert!(process.came.is_disjoint(&bad));
        }
        process.throws.clear();
        process.wait(RETRY_MAX);
        prop_assert_eq!(process.scrape(), Scrape::Whole);
        prop_assert_eq!(&process.came, &process.good());
    }
}
