//! The ladder, its way back, and what is granted when it has no further step.

use proptest::{collection::vec, prelude::*};

use super::*;

const AFTER: i64 = RESTORE_AFTER.as_millis() as i64;

fn ledger(series_total: u64, series_per_job: u64) -> Ledger {
    Ledger::new(Budgets { series_total, series_per_job })
}

fn demands(jobs: &[(&str, [u64; 3])]) -> Demands {
    jobs.iter()
        .map(|(id, series)| ((*id).into(), Demand { series: *series, ..Demand::default() }))
        .collect()
}

fn changed(changes: &[Change]) -> Vec<String> {
    let show = |change: &Change| {
        let JobBudget { job, level, series, saved, .. } = &change.now;
        format!("{job}: {} -> {level}, {series} series, {saved} saved", change.before)
    };
    changes.iter().map(show).collect()
}

#[test]
fn a_job_that_exceeds_its_budget_is_degraded_until_it_fits() {
    let check = |series: [u64; 3], limit: u64, level: Level, granted: u64| {
        let (grants, _) = ledger(0, limit).settle(1, demands(&[("j", series)]), 0);
        assert_eq!(grants.of("j"), Grant { level, series: granted }, "{series:?} {limit}");
    };
    check([100, 20, 5], 0, Level::Subtask, u64::MAX);
    check([100, 20, 5], 100, Level::Subtask, u64::MAX);
    check([100, 20, 5], 99, Level::Task, u64::MAX);
    check([100, 20, 5], 19, Level::Job, u64::MAX);
    check([100, 20, 5], 4, Level::Job, 4);
    // A job of many series that cannot be rolled up, and one of which tasks save nothing.
    check([100, 100, 100], 50, Level::Subtask, 50);
    check([100, 100, 20], 50, Level::Job, u64::MAX);
}

#[test]
fn the_largest_job_gives_way_when_the_relay_exceeds_its_budget() {
    let mut ledger = ledger(200, 0);
    let small = [("small", [50, 10, 2]), ("", [40, 40, 40])];
    assert_eq!(changed(&ledger.settle(1, demands(&small), 0).1), [""; 0]);
    let (grants, changes) = ledger.settle(2, demands(&[("large", [300, 100, 10])]), 0);
    assert_eq!(changed(&changes), ["large: subtask -> task, 100 series, 200 saved"]);
    assert_eq!((grants.of("large").level, grants.of("small")), (Level::Task, Grant::ALL));
    let (_, changes) = ledger.settle(3, demands(&[("huge", [900, 150, 90])]), 0);
    assert_eq!(
        changed(&changes),
        ["huge: subtask -> job, 90 series, 810 saved", "large: task -> job, 10 series, 290 saved"]
    );
    assert_eq!(ledger.series(), 190);
    // What belongs to no job cannot give way.
    let (grants, changes) = ledger.settle(4, demands(&[("", [500, 500, 500])]), 0);
    assert_eq!(changed(&changes), ["small: subtask -> job, 2 series, 48 saved"]);
    assert_eq!((grants.series, grants.of("").level), (58, Level::Subtask));
}

#[test]
fn a_job_comes_back_when_it_has_had_room_for_a_while() {
    let mut ledger = ledger(0, 100);
    let mut settle = |series: u64, now_ms: i64| {
        let demands = demands(&[("j", [series, 20, 5])]);
        ledger.settle(1, demands, now_ms).0.of("j").level
    };
    assert_eq!(settle(101, 0), Level::Task);
    // It fits, but not with room to spare.
    assert_eq!(settle(81, 1), Level::Task);
    assert_eq!(settle(81, 2 * AFTER), Level::Task);
    // It has room, but not for long.
    assert_eq!(settle(80, 3 * AFTER), Level::Task);
    assert_eq!(settle(81, 4 * AFTER - 2), Level::Task);
    assert_eq!(settle(80, 4 * AFTER), Level::Task);
    assert_eq!(settle(80, 5 * AFTER - 1), Level::Task);
    assert_eq!(settle(80, 5 * AFTER), Level::Subtask);
    // The clock was set back: nothing comes back early.
    assert_eq!(settle(101, 6 * AFTER), Level::Task);
    assert_eq!(settle(80, 0), Level::Task);
    assert_eq!(settle(80, AFTER - 1), Level::Task);
    assert_eq!(settle(80, AFTER), Level::Subtask);
}

#[test]
fn jobs_come_back_one_at_a_time_and_are_forgotten_when_they_end() {
    let mut ledger = ledger(100, 0);
    let two = |series: u64| demands(&[("a", [series, 10, 2]), ("b", [series, 10, 2])]);
    ledger.settle(1, two(200), 0);
    assert_eq!(ledger.series(), 20);
    // Each alone would fit, but not both.
    ledger.settle(1, two(60), 1);
    let (_, changes) = ledger.settle(1, two(60), AFTER + 1);
    assert_eq!(changed(&changes), ["a: task -> subtask, 60 series, 0 saved"]);
    assert_eq!(changed(&ledger.settle(1, two(60), 3 * AFTER).1), [""; 0]);
    assert_eq!(ledger.degraded().len(), 1);
    ledger.settle(1, Demands::new(), 4 * AFTER);
    assert_eq!((ledger.degraded().len(), ledger.series(), ledger.jobs.len()), (0, 0, 0));
}

#[test]
fn what_no_level_fits_is_shared_in_the_order_of_asking() {
    let mut ledger = ledger(0, 100);
    let mut settle = |target: u64, series: u64| {
        ledger.settle(target, demands(&[("j", [series; 3])]), 0).0.of("j").series
    };
    assert_eq!(settle(1, 60), u64::MAX);
    assert_eq!(settle(2, 60), 40);
    assert_eq!(settle(3, 60), 0);
    // Whoever has keeps, and what is given up goes to the next that asks.
    assert_eq!(settle(1, 60), 60);
    assert_eq!(settle(1, 10), 60);
    assert_eq!(settle(3, 60), 50);
    assert_eq!(settle(2, 60), 40);
}

proptest! {
    /// Whatever targets say: no more is granted than there is, unless it is not limited, and a job is
    /// degraded only when it or the whole exceeds a budget.
    #[test]
    fn grants_keep_to_budgets(
        limits in (0..300_u64, 0..150_u64),
        pages in vec((0..4_u64, 0..3_usize, 0..200_u64, 0..AFTER), 1..60),
    ) {
        let (total, per_job) = limits;
        let mut ledger = ledger(total, per_job);
        let mut now_ms = 0;
        let mut told: BTreeMap<u64, BTreeMap<Box<str>, [u64; 3]>> = BTreeMap::new();
        for (target, job, series, later) in pages {
            now_ms += later;
            let id = ["", "a", "b"][job];
            let levels = if job == 0 { [series; 3] } else { [series, series / 3, series / 9] };
            told.entry(target).or_default().insert(id.into(), levels);
            let own: Vec<_> = told[&target].iter().map(|(id, s)| (&**id, *s)).collect();
            let (grants, _) = ledger.settle(target, demands(&own), now_ms);
            let at = |level: Level, of: &str, only: Option<u64>| -> u64 {
                let told = told.iter().filter(|(target, _)| only.is_none_or(|only| only == **target));
                told.filter_map(|(_, jobs)| jobs.get(of)).map(|series| series[level as usize]).sum()
            };
            let mut whole = 0;
            for of in ["", "a", "b"] {
                let Grant { level, series } = grants.of(of);
                let all = at(level, of, None);
                whole += all;
                prop_assert_eq!(level, ledger.level(of));
                if of.is_empty() {
                    prop_assert_eq!(level, Level::Subtask);
                } else if per_job > 0 && all > per_job {
                    prop_assert!(level == Level::Job || all == at(Level::Job, of, None));
                    prop_assert!(series <= per_job);
                }
                if level == Level::Subtask || per_job == 0 && total == 0 {
                    prop_assert_eq!(level, Level::Subtask);
                }
            }
            prop_assert_eq!(whole, ledger.series());
            if total > 0 && whole > total {
                let finer = ["a", "b"].iter().any(|of| at(ledger.level(of), of, None) > at(Level::Job, of, None));
                prop_assert!(!finer, "something could give way");
                prop_assert!(grants.series <= total);
            } else {
                prop_assert_eq!(grants.series, u64::MAX);
            }
            // What was granted and is still wanted is within the budgets as soon as all have asked.
            let targets: Vec<u64> = told.keys().copied().collect();
            let mut again = Vec::new();
            for &target in &targets {
                let own: Vec<_> = told[&target].iter().map(|(id, s)| (&**id, *s)).collect();
                again.push((target, ledger.settle(target, demands(&own), now_ms).0));
            }
            let sent = |of: &str| -> u64 {
                let sent = again.iter().map(|(target, grants)| {
                    at(ledger.level(of), of, Some(*target)).min(grants.of(of).series)
                });
                sent.sum()
            };
            // Where both budgets bind, a target's share of the whole may go to another of its jobs.
            for of in ["a", "b"] {
                prop_assert!(per_job == 0 || total > 0 || sent(of) <= per_job, "{of}: {}", sent(of));
            }
            let in_all = again.iter().map(|(target, grants)| {
                let own = ["", "a", "b"].map(|of| {
                    at(ledger.level(of), of, Some(*target)).min(grants.of(of).series)
                });
                own.iter().sum::<u64>().min(grants.series)
            });
            let in_all: u64 = in_all.sum();
            prop_assert!(total == 0 || in_all <= total, "{in_all}");
        }
    }
}
