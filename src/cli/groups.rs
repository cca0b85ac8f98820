//! `flinkrelay groups [GROUP] [-c FILE] [-o table|json]`: the metric catalogue, for people and for tools.
//!
//! Without a group the table lists the groups, with one it lists that group's metrics. The JSON has
//! one shape in both cases, which `docs/metric-groups.md` describes and tools may rely on:
//! `{"groups": [{"group", "about", "metrics": [{"name", "exported", "canonical", …}]}]}`. Every key is
//! always there; what does not apply is `null` or empty.

use std::io::{self, Write};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde::Serialize;

use crate::flink::{Catalogue, Group, Metric, catalogue::Product};

/// How the catalogue is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For tools.
    Json,
}

/// Prints a catalogue, or one group of it. `width` is the terminal's, in columns, to which a table
/// is wrapped; `None` leaves each row on one line, as a pipe wants it.
///
/// # Errors
/// Those of `out`.
pub fn print(
    catalogue: &Catalogue,
    group: Option<Group>,
    format: Format,
    width: Option<u16>,
    out: &mut dyn Write,
) -> io::Result<()> {
    match (format, group) {
        (Format::Json, group) => {
            let groups = group.map_or_else(|| catalogue.groups().to_vec(), |group| vec![group]);
            let groups = groups.into_iter().map(|group| GroupJson::new(catalogue, group)).collect();
            serde_json::to_writer_pretty(&mut *out, &CatalogueJson { groups })?;
            writeln!(out)
        }
        (Format::Table, None) => {
            write_table(&overview(catalogue), width, out)?;
            writeln!(out, "\n`flinkrelay groups GROUP` lists a group's metrics.")
        }
        (Format::Table, Some(group)) => {
            writeln!(out, "{group}: {}\n", group.about())?;
            if group == Group::Custom {
                return Ok(());
            }
            write_table(&metrics(catalogue, group), width, out)?;
            match catalogue.metrics_shared_with(group).next() {
                Some(metric) => writeln!(out, "\n{}", shared(catalogue, group, metric.group)),
                None => Ok(()),
            }
        }
    }
}

/// The width of the terminal that standard output is, `None` when it is none.
pub fn terminal_width() -> Option<u16> {
    Table::new().width()
}

fn write_table(table: &Table, width: Option<u16>, out: &mut dyn Write) -> io::Result<()> {
    let mut table = table.clone();
    table.force_no_tty();
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    writeln!(out, "{}", table.trim_fmt())
}

fn overview(catalogue: &Catalogue) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["GROUP", "METRICS", "HOLDS"]);
    for &group in catalogue.groups() {
        let count = match group {
            Group::Custom => "-".to_owned(),
            group => catalogue.metrics_of(group).count().to_string(),
        };
        table.add_row([group.as_str(), &count, group.about()]);
    }
    table
}

fn metrics(catalogue: &Catalogue, group: Group) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["METRIC", "KIND", "UNIT", "FLINK", "HELP"]);
    for metric in catalogue.metrics_of(group) {
        table.add_row([
            names(metric),
            metric.kind.as_str().to_owned(),
            metric.unit.to_string(),
            versions(metric),
            help(catalogue, metric),
        ]);
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        // All but the help are words that can be neither read nor searched for when broken over
        // lines. The help keeps a readable width even where the line then leaves the terminal.
        column.set_constraint(match at {
            0..=3 => ColumnConstraint::ContentWidth,
            _ => ColumnConstraint::LowerBoundary(Width::Fixed(40)),
        });
    }
    table
}

/// The names as they are sent, each with what else it is called on a page.
fn names(metric: &Metric) -> String {
    let labels = match metric.canonical_labels.as_slice() {
        [] => String::new(),
        labels => format!("{{{}}}", labels.join(",")),
    };
    let sent = metric.canonical.iter().map(|name| format!("{name}{labels}"));
    let raw = metric.exported.iter().filter(|name| !metric.canonical.contains(name));
    sent.chain(raw.map(|name| format!("  from {name}"))).collect::<Vec<_>>().join("\n")
}

/// Where the metrics of a group are whose names are those of another group.
fn shared(catalogue: &Catalogue, group: Group, counted_in: Group) -> String {
    let metrics = catalogue.metrics_shared_with(group).count();
    format!(
        "{metrics} more have the same names as metrics of the group {counted_in}, and are counted there."
    )
}

/// `1.15+`, or `1.13-1.20` for a metric that is gone, or `operator 1.5+`.
fn versions(metric: &Metric) -> String {
    let product = match metric.product() {
        Product::Flink => "",
        Product::KubernetesOperator => "operator ",
    };
    match (metric.since, metric.until) {
        (Some(since), Some(until)) => format!("{product}{since}-{until}"),
        (Some(since), None) => format!("{product}{since}+"),
        (None, Some(until)) => format!("{product}-{until}"),
        (None, None) => "-".to_owned(),
    }
}

/// The help, and what one must know to see the metric or to replace it.
fn help(catalogue: &Catalogue, metric: &Metric) -> String {
    let mut help = metric.help.clone();
    if let Some(option) = &metric.opt_in {
        help.push_str("\nNeeds ");
        help.push_str(option);
    }
    match (&metric.replaced_by, metric.deprecated) {
        (Some(name), deprecated) => {
            help.push_str(if deprecated { "\nDeprecated, use " } else { "\nNow " });
            help.push_str(name);
        }
        (None, true) => help.push_str("\nDeprecated"),
        (None, false) => {}
    }
    for name in taken_by(catalogue, metric) {
        help.push_str("\nTakes the place of Flink's ");
        help.push_str(name);
    }
    help
}

/// The names of Flink's metrics that this metric of the user's takes.
fn taken_by<'c>(catalogue: &'c Catalogue, metric: &'c Metric) -> impl Iterator<Item = &'c str> {
    let is_own = catalogue.own_metrics().any(|own| std::ptr::eq(own, metric));
    let taken = is_own.then(|| catalogue.taken()).into_iter().flatten();
    taken.filter(|(own, _)| std::ptr::eq(*own, metric)).map(|(_, name)| name)
}

#[derive(Serialize)]
struct CatalogueJson<'c> {
    groups: Vec<GroupJson<'c>>,
}

#[derive(Serialize)]
struct GroupJson<'c> {
    group: &'static str,
    about: &'static str,
    metrics: Vec<MetricJson<'c>>,
}

impl<'c> GroupJson<'c> {
    fn new(catalogue: &'c Catalogue, group: Group) -> Self {
        let metrics = catalogue.metrics_of(group).map(|m| MetricJson::new(catalogue, m)).collect();
        Self { group: group.as_str(), about: group.about(), metrics }
    }
}

#[derive(Serialize)]
struct MetricJson<'c> {
    name: &'c str,
    exported: &'c [String],
    canonical: &'c [String],
    canonical_labels: &'c [String],
    former_name: bool,
    scopes: Vec<&'c str>,
    labels: &'c [String],
    shared_with: Vec<&'c str>,
    #[serde(rename = "type")]
    registered: &'c str,
    kind: &'c str,
    unit: &'c str,
    /// The functions by which subtasks are rolled up.
    rollup: Vec<&'c str>,
    help: &'c str,
    product: &'c str,
    /// Null for a metric of the user's that says nothing of it.
    since: Option<String>,
    until: Option<String>,
    /// As text, since JSON has no NaN.
    no_value: Vec<String>,
    derived_from: &'c [String],
    deprecated: bool,
    replaced_by: Option<&'c str>,
    opt_in: Option<&'c str>,
    note: Option<&'c str>,
    /// Names of Flink's metrics that a row of the user's takes.
    takes: Vec<&'c str>,
}

impl<'c> MetricJson<'c> {
    fn new(catalogue: &'c Catalogue, metric: &'c Metric) -> Self {
        Self {
            name: &metric.name,
            exported: &metric.exported,
            canonical: &metric.canonical,
            canonical_labels: &metric.canonical_labels,
            former_name: metric.is_former_name,
            scopes: metric.scopes.iter().map(|scope| scope.as_str()).collect(),
            labels: &metric.labels,
            shared_with: metric.shared_with.iter().map(|group| group.as_str()).collect(),
            registered: metric.registered.as_str(),
            kind: metric.kind.as_str(),
            unit: metric.unit.as_str(),
            rollup: metric.rollup.iter().map(|function| function.as_str()).collect(),
            help: &metric.help,
            product: metric.product().as_str(),
            since: metric.since.map(|version| version.to_string()),
            until: metric.until.map(|version| version.to_string()),
            no_value: metric.no_value.iter().map(f64::to_string).collect(),
            derived_from: &metric.derived_from,
            deprecated: metric.deprecated,
            replaced_by: metric.replaced_by.as_deref(),
            opt_in: metric.opt_in.as_deref(),
            note: metric.note.as_deref(),
            takes: taken_by(catalogue, metric).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flink::catalogue;

    fn printed(group: Option<Group>, format: Format, width: Option<u16>) -> String {
        let mut out = Vec::new();
        print(catalogue(), group, format, width, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn overview_for_people() {
        insta::assert_snapshot!(printed(None, Format::Table, None));
    }

    #[test]
    fn a_group_for_people_and_for_a_pipe() {
        insta::assert_snapshot!(
            "cluster_100",
            printed(Some(Group::Cluster), Format::Table, Some(100))
        );
        insta::assert_snapshot!("gc_pipe", printed(Some(Group::Gc), Format::Table, None));
        insta::assert_snapshot!("forst_100", printed(Some(Group::ForSt), Format::Table, Some(100)));
        insta::assert_snapshot!("custom", printed(Some(Group::Custom), Format::Table, None));
    }

    #[test]
    fn json_of_a_group() {
        insta::assert_snapshot!("threads_json", printed(Some(Group::Threads), Format::Json, None));
    }

    #[test]
    fn json_holds_every_metric_under_its_group_in_one_shape() {
        let all: serde_json::Value =
            serde_json::from_str(&printed(None, Format::Json, Some(20))).unwrap();
        let groups = all["groups"].as_array().unwrap();
        let names: Vec<_> = groups.iter().map(|g| g["group"].as_str().unwrap()).collect();
        assert_eq!(names, Group::ALL.map(Group::as_str));
        let mut metrics = groups.iter().flat_map(|g| g["metrics"].as_array().unwrap());
        assert_eq!(metrics.clone().count(), catalogue().metrics().count());
        let keys =
            |m: &serde_json::Value| m.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let first = keys(metrics.next().unwrap());
        assert!(metrics.all(|m| keys(m) == first), "a key is missing from a metric");
        for group in groups {
            let alone = printed(group["group"].as_str().unwrap().parse().ok(), Format::Json, None);
            let alone: serde_json::Value = serde_json::from_str(&alone).unwrap();
            assert_eq!(alone["groups"], serde_json::json!([group]));
        }
    }

    #[test]
    fn no_name_is_broken_over_lines_however_narrow_the_terminal() {
        let narrow = printed(Some(Group::RocksDb), Format::Table, Some(60));
        for metric in catalogue().metrics_of(Group::RocksDb) {
            for name in &metric.exported {
                assert!(narrow.contains(name), "{name}");
            }
        }
    }

    #[test]
    fn an_output_that_fails_is_reported() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for format in [Format::Table, Format::Json] {
            let error = print(catalogue(), None, format, None, &mut Broken).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{format:?}");
        }
    }
}
