//! `docs/metric-names.md`, the table from names on a page to names that are sent, is generated from the
//! catalogue, and this keeps it current; and what pages of several versions of Flink show comes out
//! under the same names.
//!
//! After a change of `catalogue.yaml`, run `UPDATE_DOCS=1 cargo test --test catalogue` and commit the
//! result.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
};

use flinkrelay::flink::{Group, Metric, catalogue};

use super::{pages, repository, sample_names};

const PAGE: &str = "docs/metric-names.md";

#[test]
fn the_table_of_names_is_what_the_catalogue_says() {
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

const INTRODUCTION: &str = "\
# Names of metrics

Under which name each metric is sent that Flink's Prometheus reporter writes under another one. All others
keep their names. `flink: {names: raw}` in the [configuration](configuration.md#flink) switches this off.

- A part of the name that varies (`<x>`, [explained here](metric-catalogue.md#parts-that-vary)) is a label,
  and so is the value of a key-value group, whose key leaves the name.
- A metric that was renamed has its present name, from whichever version of Flink it comes. Names
  marked **former** stand on the page beside the present one while Flink exports both; then they are
  dropped and counted as `former_name`.
- A summary's `_count` goes with it.

This page is generated from `src/flink/catalogue.yaml`; `flinkrelay groups GROUP` prints the names too.
";

/// The metrics of a group with a name that changes.
fn changing(group: Group) -> impl Iterator<Item = &'static Metric> {
    let keeps = |metric: &Metric| metric.exported.iter().all(|raw| metric.canonical.contains(raw));
    catalogue().metrics_of(group).filter(move |metric| !keeps(metric))
}

fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    for group in Group::ALL.into_iter().filter(|group| changing(*group).next().is_some()) {
        writeln!(page, "\n## `{group}`\n\n| on the page | sent as | with |\n|---|---|---|")
            .unwrap();
        for metric in changing(group) {
            let quoted = |names: &[String]| {
                let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
                names.join("<br>")
            };
            let former = if metric.is_former_name { "**former**<br>" } else { "" };
            let labels: Vec<_> = metric.canonical_labels.iter().map(|l| format!("`{l}`")).collect();
            let (raw, sent) = (quoted(&metric.exported), quoted(&metric.canonical));
            writeln!(page, "| {former}{raw} | {sent} | {} |", labels.join(", ")).unwrap();
        }
    }
    page
}

#[test]
fn every_name_that_changes_is_in_the_table() {
    let page = page();
    let mut changing = 0;
    for metric in catalogue().metrics() {
        for raw in metric.exported.iter().filter(|raw| !metric.canonical.contains(raw)) {
            let row = page.lines().find(|line| line.contains(&format!("`{raw}`")));
            let row = row.unwrap_or_else(|| panic!("{raw} is not in the table"));
            for sent in &metric.canonical {
                assert!(
                    row.contains(&format!("| `{sent}`")) || row.contains(&format!("<br>`{sent}`"))
                );
            }
            changing += 1;
        }
    }
    assert!(changing > 300, "{changing}");
}

const VERSIONS: [&str; 3] = ["1.14.2", "1.20.5", "2.3.0"];

/// The canonical names of a version's pages by metric, former names under the present metric.
fn canonical_names(version: &str) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut names = BTreeMap::<&str, BTreeSet<String>>::new();
    for path in pages(version) {
        for name in sample_names(&fs::read_to_string(path).unwrap()) {
            let found = catalogue().find(name).unwrap();
            let sent = found.canonical_name().into_owned();
            let metric = catalogue().lookup_canonical(&sent).unwrap();
            names.entry(metric.name.as_str()).or_default().insert(sent);
        }
    }
    names
}

#[test]
fn all_versions_of_flink_have_the_same_names() {
    let versions = VERSIONS.map(canonical_names);
    let mut compared = 0;
    for metric in catalogue().metrics().filter(|metric| !metric.is_former_name) {
        let mut of_versions: Vec<_> =
            versions.iter().filter_map(|names| names.get(metric.name.as_str())).collect();
        // An operator that only one version's job has brings a scope that the others lack.
        let widest = of_versions.iter().map(|names| names.len()).max().unwrap_or(0);
        of_versions.retain(|names| names.len() == widest || metric.scopes.len() == 1);
        for pair in of_versions.windows(2) {
            assert_eq!(pair[0], pair[1], "{}", metric.name);
            compared += 1;
        }
    }
    assert!(compared > 200, "{compared}");
}

#[test]
fn what_was_renamed_is_there_under_its_present_name_in_every_version() {
    for (version, names) in VERSIONS.map(|version| (version, canonical_names(version))) {
        let names: BTreeSet<_> = names.into_values().flatten().collect();
        for name in [
            "flink_jobmanager_job_numRestarts",
            "flink_taskmanager_Status_Shuffle_Netty_TotalMemorySegments",
            "flink_taskmanager_job_task_Shuffle_Netty_Input_Buffers_inputQueueLength",
            "flink_taskmanager_job_task_Shuffle_Netty_Input_numBytesInLocal",
            "flink_taskmanager_job_task_Shuffle_Netty_totalQueueLen",
            "flink_taskmanager_job_task_latency",
            "flink_taskmanager_Status_JVM_GarbageCollector_Count",
            "flink_taskmanager_job_task_operator_rocksdb_estimate_num_keys",
        ] {
            assert!(names.contains(name), "{version}: {name}");
        }
        for name in &names {
            for gone in
                ["_buffers_", "_Network_", "G1_", "fullRestarts", "source_id", "window_aggs"]
            {
                assert!(!name.contains(gone), "{version}: {name}");
            }
        }
    }
}
