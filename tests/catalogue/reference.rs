//! `docs/metric-catalogue.md` is generated from the catalogue, and this keeps it current.
//!
//! After a change of `catalogue.yaml`, run `UPDATE_DOCS=1 cargo test --test catalogue` and commit the
//! result.

use std::{fmt::Write as _, fs};

use flinkrelay::flink::{
    Group, Metric, catalogue,
    catalogue::{Product, Segment},
};

use super::repository;

const PAGE: &str = "docs/metric-catalogue.md";

#[test]
fn the_reference_page_is_what_the_catalogue_says() {
    let (page, path) = (page(), repository().join(PAGE));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(page.lines()).position(|(old, new)| old != new);
    assert!(
        committed == page,
        "{PAGE} differs from the catalogue, first at line {}; run `UPDATE_DOCS=1 cargo test --test catalogue`",
        differs.unwrap_or_else(|| committed.lines().count().min(page.lines().count())) + 1,
    );
}

#[test]
fn every_metric_is_on_the_reference_page_under_each_of_its_names() {
    let page = page();
    for metric in catalogue().metrics() {
        for name in &metric.exported {
            let shown = format!("`{name}`");
            assert_eq!(page.matches(&shown).count(), 1, "{name}");
        }
    }
    for line in page.lines().filter(|line| line.starts_with('|')) {
        let columns = line.replace("\\|", "").matches('|').count();
        assert!([4, 5, 6].contains(&columns), "a cell broke the table: {line}");
    }
}

fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    page.push_str("\n| group | metrics | holds |\n|---|---|---|\n");
    for group in listed() {
        let count = catalogue().metrics_of(group).count();
        writeln!(page, "| [`{group}`](#{group}) | {count} | {} |", group.about()).unwrap();
    }
    for group in listed() {
        section(&mut page, group);
    }
    segments(&mut page);
    page
}

const INTRODUCTION: &str = "\
# Metric catalogue

Every metric that the relay knows, by [group](metric-groups.md). This page is generated from
`src/flink/catalogue.yaml`; `flinkrelay groups GROUP` prints the same.

- **Name**: as on a page of Flink's Prometheus reporter. `<x>` stands for a part that
  [varies](#parts-that-vary). A summary also has the name with `_count`. Where it is sent under
  another name, [metric-names.md](metric-names.md) has that one.
- **Kind**: what the series is; the page calls all but summaries a gauge. A counter only grows, save
  for a restart.
- **Flink**: first and last minor release; 1.13, the oldest one examined, may mean earlier. Connectors
  have releases of their own, so there it is the Flink they came with. `operator` stands before a
  release of the Flink Kubernetes Operator.
";

/// All groups that have rows.
fn listed() -> impl Iterator<Item = Group> {
    Group::ALL.into_iter().filter(|group| *group != Group::Custom)
}

fn section(page: &mut String, group: Group) {
    writeln!(page, "\n## `{group}`\n\n{}\n", group.about()).unwrap();
    let shared: Vec<&Metric> = catalogue().metrics_shared_with(group).collect();
    if let Some(first) = shared.first() {
        let (count, home) = (shared.len(), first.group);
        writeln!(page, "{count} more have the same names as metrics of [`{home}`](#{home}), and are counted there.\n").unwrap();
    }
    page.push_str("| name | kind | unit | Flink | meaning |\n|---|---|---|---|---|\n");
    for metric in catalogue().metrics_of(group) {
        let names: Vec<String> = metric.exported.iter().map(|name| format!("`{name}`")).collect();
        writeln!(
            page,
            "| {} | {} | {} | {} | {} |",
            names.join("<br>"),
            metric.kind.as_str(),
            metric.unit,
            releases(metric),
            escaped(&meaning(metric)),
        )
        .unwrap();
    }
}

fn releases(metric: &Metric) -> String {
    let product = match metric.product() {
        Product::Flink => "",
        Product::KubernetesOperator => "operator ",
    };
    let until = metric.until.map(|until| format!("to {until}")).unwrap_or_default();
    format!("{product}{} {until}", metric.since.unwrap()).trim_end().to_owned()
}

/// The help and everything else there is to know.
fn meaning(metric: &Metric) -> String {
    let mut text = metric.help.clone();
    if !metric.labels.is_empty() {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        write!(text, " Labels: {}.", labels.join(", ")).unwrap();
    }
    if !metric.no_value.is_empty() {
        let values: Vec<String> = metric.no_value.iter().map(|v| format!("`{v}`")).collect();
        write!(text, " No value: {}.", values.join(", ")).unwrap();
    }
    if !metric.derived_from.is_empty() {
        let inputs: Vec<String> = metric.derived_from.iter().map(|x| format!("`{x}`")).collect();
        write!(text, " From {}.", inputs.join(", ")).unwrap();
    }
    if !metric.rollup.is_empty() {
        let functions: Vec<&str> = metric.rollup.iter().map(|f| f.as_str()).collect();
        write!(text, " Rolled up by {}.", functions.join(", ")).unwrap();
    }
    if let Some(option) = &metric.opt_in {
        write!(text, " Needs `{option}`.").unwrap();
    }
    match (&metric.replaced_by, metric.deprecated) {
        (Some(heir), true) => write!(text, " Deprecated, use {heir}.").unwrap(),
        (Some(heir), false) => write!(text, " Now {heir}.").unwrap(),
        (None, true) => text.push_str(" Deprecated."),
        (None, false) => {}
    }
    if let Some(note) = &metric.note {
        write!(text, " {note}").unwrap();
    }
    text
}

/// Text that does not end a cell or begin a tag.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    let mut is_code = false;
    for c in text.chars() {
        is_code ^= c == '`';
        match c {
            '|' => escaped.push_str("\\|"),
            '<' if !is_code => escaped.push_str("\\<"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn segments(page: &mut String) {
    page.push_str(
        "\n## Parts that vary\n\n| part | is | stands for | is sent as |\n|---|---|---|---|\n",
    );
    for Segment { name, label, is_number, about } in catalogue().segments() {
        let is = if *is_number { "a number" } else { "text" };
        let sent = label
            .as_ref()
            .map_or_else(|| "a part of the name".to_owned(), |l| format!("label `{l}`"));
        writeln!(page, "| `<{name}>` | {is} | {} | {sent} |", escaped(about)).unwrap();
    }
}
