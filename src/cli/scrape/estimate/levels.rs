//! The series that are left at each roll-up level: those of `flink::rollup`, counted and not computed.

use std::collections::HashSet;

use super::size::{Item, Pages};
use crate::{
    flink::{
        Catalogue,
        rollup::{self, Function, Level},
    },
    labels::{Labels, METRIC_NAME},
};

/// The same pages rolled up; what is no subtask's, or unknown to the catalogue, stays as it is. So does
/// what this configuration has rolled up already.
pub(super) fn rolled_up(pages: &Pages, level: Level, catalogue: &Catalogue) -> Pages {
    let mut rolled = pages.like();
    for (page, items) in pages.iter().enumerate() {
        let mut seen = HashSet::new();
        for item in items {
            let name = item.labels.metric_name();
            let found = catalogue.find(name);
            let functions = found.as_ref().map_or(&[][..], |found| rollup::functions(found, name));
            if functions.is_empty() {
                rolled.push(page, item.clone());
            }
            for function in functions {
                let labels = made(&item.labels, level, *function);
                if seen.insert(labels.identity()) {
                    rolled.push(page, Item { labels, ..item.clone() });
                }
            }
        }
    }
    rolled
}

/// The labels of the roll-up to which a series belongs.
fn made(labels: &Labels<'static>, level: Level, function: Function) -> Labels<'static> {
    let mut made = labels.clone();
    level.strip(&mut made);
    made.set(METRIC_NAME, rollup::name(labels.metric_name(), level, function));
    made.sort();
    made
}
