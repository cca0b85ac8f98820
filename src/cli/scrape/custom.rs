//! Metrics that no row of the catalogue describes, each with a row to begin with.
//!
//! They are in the group `custom`, and often a surprise: a connector that the relay does not know, a
//! user's own metric, another exporter behind the same port. The row goes into `flink.metrics`; what
//! only a person can tell (what it counts, in which unit) is left to be completed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{FamilyReport, Report, TargetReport, kind};
use crate::{
    flink::{Group, catalogue::suggested},
    remote_write::proto::metric_metadata::MetricType,
};

/// A metric that is not known.
pub(super) struct Unknown<'a> {
    pub(super) name: &'a str,
    pub(super) kind: &'static str,
    pub(super) help: &'a str,
    /// Samples of one scrape.
    pub(super) samples: u64,
    /// A row of `flink.metrics`, where it is a metric of Flink's reporter.
    pub(super) row: Option<String>,
}

/// A family and the names of its series' labels.
#[derive(Default)]
struct Family<'a> {
    report: Option<&'a FamilyReport>,
    labels: BTreeSet<&'a str>,
    samples: u64,
}

/// What is not known on any target, by name.
pub(super) fn unknown(report: &Report) -> Vec<Unknown<'_>> {
    let mut families = BTreeMap::<&str, Family<'_>>::new();
    for target in &report.targets {
        for series in target.series.iter().filter(|series| series.group == Group::Custom) {
            let described = family_of(target, series.name());
            let name = described.map_or_else(|| series.name(), |family| family.name.as_str());
            let family = families.entry(name).or_default();
            family.report = family.report.or(described);
            family.labels.extend(series.other_labels().map(|(label, _)| label));
            family.samples += 1;
        }
    }
    families.into_iter().map(|(name, family)| family.unknown(name)).collect()
}

fn family_of<'a>(target: &'a TargetReport, name: &str) -> Option<&'a FamilyReport> {
    let named = |name: &str| target.families.iter().find(|family| family.name == name);
    let count = || named(name.strip_suffix("_count")?).filter(|f| f.kind == MetricType::Summary);
    named(name).or_else(count)
}

impl<'a> Family<'a> {
    fn unknown(&self, name: &'a str) -> Unknown<'a> {
        let kind = self.report.map_or("untyped", |report| kind(report.kind));
        let help = self.report.map_or("", |report| report.help.as_str());
        let row = suggested(name, help, self.labels.iter().copied()).map(|(scope, name)| {
            let registered = match kind {
                "summary" => "histogram",
                "counter" => "counter",
                _ => "gauge",
            };
            let name = quoted(&name);
            let mut row = String::new();
            // Writing to a string does not fail.
            let _written = write!(
                row,
                "{{name: {name}, scopes: [{scope}], type: {registered}, unit: count, help: \"…\"}}"
            );
            row
        });
        Unknown { name, kind, help, samples: self.samples, row }
    }
}

/// A text in YAML: bare where it can be.
fn quoted(text: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let is_word = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    if is_word && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_yaml_needs_it() {
        let check = |text: &str, expect: &str| assert_eq!(quoted(text), expect);
        check("shop.orders-placed_1", "shop.orders-placed_1");
        check("a.{topic}.b", "'a.{topic}.b'");
        check("1.5", "'1.5'");
        check("it's", "'it''s'");
        check("", "''");
    }
}
