//! The table of derived series against the catalogue, and the rules by example and by model.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::flink::{Kind, catalogue, catalogue::Unit};

/// Each derived metric has a row in its inputs' group, and each such row is made.
#[test]
fn the_catalogue_and_the_table_say_the_same() {
    let mut made = BTreeSet::new();
    for derived in DERIVED {
        let metric = catalogue().lookup(derived.name).expect(derived.name);
        let inputs = derived.inputs.iter().map(|input| {
            let input = catalogue().lookup_canonical(input).expect(input);
            assert_eq!(input.group, metric.group, "{}: {}", derived.name, input.name);
            input.name.clone()
        });
        assert_eq!(metric.derived_from, inputs.collect::<Vec<_>>(), "{}", derived.name);
        assert!(derived.inputs.len() <= INPUTS);
        let suffix = match (derived.rule, metric.kind, metric.unit) {
            (Rule::Lag | Rule::Age, Kind::Gauge, Unit::Seconds) => "_seconds",
            (Rule::Total, Kind::Counter, Unit::Count) => "_total",
            (Rule::OfSecond | Rule::Share | Rule::StateShare, Kind::Gauge, Unit::Ratio) => "_ratio",
            (Rule::StateSum, Kind::Gauge, Unit::Bytes) => "_bytes",
            (Rule::Difference, Kind::Gauge, Unit::Count) => "_used",
            (rule, kind, unit) => panic!("{}: {rule:?} as {kind:?} in {unit}", derived.name),
        };
        assert!(derived.name.ends_with(suffix), "{}", derived.name);
        made.insert(derived.name.to_owned());
    }
    let rows = catalogue().metrics().filter(|metric| !metric.derived_from.is_empty());
    let rows: BTreeSet<String> = rows.flat_map(|metric| metric.exported.clone()).collect();
    assert_eq!(made, rows);
}

#[test]
fn a_sample_feeds_one_series_at_most() {
    let inputs: Vec<&str> = DERIVED.iter().flat_map(|derived| derived.inputs).copied().collect();
    let distinct: BTreeSet<&str> = inputs.iter().copied().collect();
    assert_eq!(distinct.len(), inputs.len());
    for derived in DERIVED {
        for (slot, input) in derived.inputs.iter().enumerate() {
            let (found, fed) = fed_by(input).unwrap();
            assert_eq!((found.name, usize::from(fed)), (derived.name, slot));
        }
        assert!(fed_by(derived.name).is_none(), "nothing is made from what is made");
    }
}

#[test]
fn each_switch_switches_something_and_nothing_else() {
    for switch in Switch::ALL {
        assert!(DERIVED.iter().any(|derived| derived.switch == switch), "{switch:?}");
        let mut derivations = Derivations::default();
        derivations.set(switch, false);
        for other in Switch::ALL {
            assert_eq!(derivations.has(other), other != switch);
            assert!(!Derivations::NONE.has(other));
        }
    }
}

#[test]
fn a_rule_gives_what_follows_and_nothing_from_nothing() {
    const NOW: i64 = 1_700_000_010_000;
    let check = |rule: Rule, inputs: [Option<f64>; 3], expect: Option<f64>| {
        assert_eq!(rule.value(inputs, &mut Past::default(), NOW), expect, "{rule:?} {inputs:?}");
    };
    let (none, some) = (None, Some::<f64>);
    check(Rule::Lag, [some(1_700_000_000_000.0), none, none], some(10.0));
    check(Rule::Lag, [some(1_700_000_012_500.0), none, none], some(-2.5));
    check(Rule::Age, [some(1_700_000_000_000.0), some(3.0), none], some(10.0));
    check(Rule::Age, [some(1_700_000_012_500.0), some(3.0), none], some(0.0));
    check(Rule::Age, [none, some(3.0), none], none);
    check(Rule::OfSecond, [some(250.0), none, none], some(0.25));
    check(Rule::OfSecond, [some(1003.0), none, none], some(1.0));
    check(Rule::Share, [some(1.0), some(4.0), none], some(0.25));
    check(Rule::Share, [some(1.0), some(0.0), none], none);
    check(Rule::Share, [some(1.0), none, none], none);
    check(Rule::Share, [none, some(4.0), none], none);
    check(Rule::Difference, [some(8.0), some(3.0), none], some(5.0));
    check(Rule::Difference, [some(8.0), none, none], none);
    check(Rule::StateSum, [some(7.0), some(5.0), some(2.0)], some(9.0));
    check(Rule::StateSum, [none, some(5.0), some(2.0)], some(7.0));
    check(Rule::StateSum, [none, some(5.0), none], some(5.0));
    check(Rule::StateSum, [none, none, some(2.0)], none);
    for rule in [Rule::Lag, Rule::Total, Rule::OfSecond, Rule::Share, Rule::Difference] {
        check(rule, [none, none, none], none);
        check(rule, [some(f64::INFINITY), some(1.0), none], none);
    }
}

#[test]
fn an_age_without_a_timestamp_begins_when_the_count_grows() {
    let mut past = Past::default();
    let mut at = |now_s: i64, count: Option<f64>, timestamp_s: Option<f64>| {
        Rule::Age.value([timestamp_s.map(|s| s * 1000.0), count, None], &mut past, now_s * 1000)
    };
    assert_eq!(at(100, Some(5.0), None), None);
    assert_eq!(at(115, Some(5.0), None), None);
    assert_eq!(at(130, Some(6.0), None), Some(0.0));
    assert_eq!(at(145, Some(6.0), None), Some(15.0));
    assert_eq!(at(150, None, None), None, "the job is not there");
    // Another JobManager counts from 0: no checkpoint has completed by that.
    assert_eq!(at(160, Some(0.0), None), Some(30.0));
    assert_eq!(at(175, Some(1.0), None), Some(0.0));
    assert_eq!(at(190, Some(1.0), Some(170.0)), Some(20.0), "what Flink says is better");
}

proptest! {
    /// Against a count that never begins again: whatever happened between two pages, the total never
    /// goes back and has everything that a page has shown.
    #[test]
    fn a_total_never_goes_back(lives in vec(vec(0_u32..5, 1..6), 1..6)) {
        let (mut past, mut shown, mut last) = (Past::default(), 0.0, 0.0_f64);
        for life in lives {
            let (mut count, mut seen) = (0.0, 0.0);
            for more in life {
                count += f64::from(more);
                let total = Rule::Total.value([Some(count), None, None], &mut past, 0).unwrap();
                prop_assert!(total >= last, "{last} -> {total}");
                last = total;
                seen = count;
            }
            shown += seen;
        }
        // A life that begins where the last one ended cannot be told from going on.
        prop_assert!(last <= shown);
    }

    #[test]
    fn a_total_counts_each_life_that_begins_lower(counts in vec(1_u32..100, 1..8)) {
        let mut past = Past::default();
        let mut sum = 0.0;
        for count in counts {
            // A life is seen at its beginning, at 0, and at its end.
            for seen in [0.0, f64::from(count)] {
                let total = Rule::Total.value([Some(seen), None, None], &mut past, 0).unwrap();
                prop_assert!((total - (sum + seen)).abs() < 1e-9);
            }
            sum += f64::from(count);
        }
    }
}
