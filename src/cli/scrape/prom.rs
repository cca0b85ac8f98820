//! `-o prom`: one page in the text format for all targets, with HELP and the true TYPE.

use std::{collections::BTreeMap, io};

use super::{Report, Series, kind, number};
/// The samples of one family, and what is known about it.
#[derive(Default)]
struct Family<'a> {
    kind: Option<&'static str>,
    help: &'a str,
    series: Vec<&'a Series>,
}

/// Writes the page, families sorted by name.
pub(super) fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let mut families = BTreeMap::<&str, Family<'_>>::new();
    for target in &report.targets {
        for known in &target.families {
            let family = families.entry(&known.name).or_default();
            family.kind.get_or_insert_with(|| kind(known.kind));
            family.help = if family.help.is_empty() { &known.help } else { family.help };
        }
    }
    for series in report.targets.iter().flat_map(|target| &target.series) {
        let name = family_of(&families, series.name());
        families.entry(name).or_default().series.push(series);
    }
    for (name, family) in families.iter().filter(|(_, family)| !family.series.is_empty()) {
        if !family.help.is_empty() {
            let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
            writeln!(out, "# HELP {name} {help}")?;
        }
        // The text format has no type info; gauge is what such series are in it.
        let kind =
            if family.kind == Some("info") { "gauge" } else { family.kind.unwrap_or("untyped") };
        writeln!(out, "# TYPE {name} {kind}")?;
        for series in &family.series {
            writeln!(out, "{} {}", series.labels, number(series.value))?;
        }
    }
    Ok(())
}

/// A summary's `X_count` and `X_sum` stand under `X`.
fn family_of<'a>(families: &BTreeMap<&str, Family<'_>>, name: &'a str) -> &'a str {
    let of = |suffix| {
        let base = name.strip_suffix(suffix)?;
        let summary = families.get(base)?.kind == Some("summary");
        summary.then_some(base)
    };
    if families.contains_key(name) {
        name
    } else {
        of("_count").or_else(|| of("_sum")).unwrap_or(name)
    }
}
