//! The catalogue against Flink's documentation and against pages of real clusters.
//!
//! `data/documented.tsv` says what must be known; it is kept by hand and knows nothing of the
//! catalogue file. `pages/` holds what Flink really shows; the snapshots list every name on it under
//! its group, for a person to read: a name of Flink's own under `custom`, or a user's under another
//! group, is a fault.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use flinkrelay::{
    cli::groups::Format,
    flink::{Group, Role, catalogue, labels::IDS_BY_PRIORITY},
};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_documented_metric_is_in_its_group_under_each_of_its_names() {
    let table = fs::read_to_string(repository().join("tests/data/documented.tsv")).unwrap();
    let mut documented = BTreeSet::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [section, metric, exported, group, kind] = fields[..] else {
            panic!("not five fields: {line}")
        };
        documented.insert((section, metric));
        let found = catalogue().lookup(exported).unwrap_or_else(|| panic!("{exported} is unknown"));
        assert_eq!(found.group.as_str(), group, "group of {exported}");
        assert_eq!(found.kind.as_str(), kind, "kind of {exported}");
    }
    assert_eq!(documented.len(), 95, "the documentation's tables have 95 rows in these groups");
}

/// The pages of one directory below `tests/pages`.
fn pages(directory: &str) -> Vec<PathBuf> {
    let directory = repository().join("tests/pages").join(directory);
    let entries =
        fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut pages: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "prom" || e == "txt"))
        .collect();
    pages.sort();
    assert!(!pages.is_empty(), "{}", directory.display());
    pages
}

/// The names of a page's samples, in order, repeated as they are repeated.
fn sample_names(page: &str) -> impl Iterator<Item = &str> {
    let samples = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    samples.map(|line| line.split(['{', ' ']).next().unwrap())
}

/// Every name of a directory's pages under its group, with the number of samples.
fn census(directory: &str) -> String {
    let mut groups: BTreeMap<Group, BTreeMap<String, usize>> = BTreeMap::new();
    for path in pages(directory) {
        for name in sample_names(&fs::read_to_string(path).unwrap()) {
            let names = groups.entry(catalogue().group(name)).or_default();
            *names.entry(name.to_owned()).or_default() += 1;
        }
    }
    let mut text = String::new();
    for (group, names) in groups {
        let samples: usize = names.values().sum();
        writeln!(text, "{group}: {} names, {samples} samples", names.len()).unwrap();
        for (name, samples) in names {
            writeln!(text, "  {name} {samples}").unwrap();
        }
    }
    text
}

#[test]
fn pages_of_flink_1_14() {
    insta::assert_snapshot!(census("1.14.2"));
}

#[test]
fn pages_of_flink_1_20() {
    insta::assert_snapshot!(census("1.20.5"));
}

#[test]
fn pages_of_flink_2_3() {
    let filtered = census("2.3.0");
    insta::assert_snapshot!(filtered);
    // `filterLabelValueCharacters: false` changes label values, never names.
    let names = |census: &str| -> Vec<String> {
        let lines = census.lines().filter(|line| line.starts_with(' '));
        lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    assert_eq!(names(&filtered), names(&census("2.3.0-unfiltered")));
}

#[test]
fn pages_with_users_own_metrics() {
    insta::assert_snapshot!(census("odd"));
}

#[test]
fn a_page_tells_whose_it_is() {
    let check = |page: &str, expect: Role| {
        let text = fs::read_to_string(repository().join("tests/pages").join(page)).unwrap();
        let mut role = Role::default();
        sample_names(&text).for_each(|name| role.observe(name));
        assert_eq!(role, expect, "{page}");
    };
    for version in ["1.14.2", "1.20.5", "2.3.0", "2.3.0-unfiltered"] {
        check(&format!("{version}/jobmanager.prom"), Role::JobManager);
        check(&format!("{version}/taskmanager-1.prom"), Role::TaskManager);
        check(&format!("{version}/taskmanager-2.prom"), Role::TaskManager);
    }
    check("odd/jm_and_tm_2.3.0_names.txt", Role::Both);
}

/// HELP shows the border between scope and name that a sample name hides. Where the catalogue knows
/// a name of a real page, HELP must agree: the fixed end of the catalogue's name is what Flink says,
/// dots and dashes included.
#[test]
fn help_of_real_pages_agrees_with_what_was_recognised() {
    let mut agreed = 0;
    for directory in ["1.14.2", "1.20.5", "2.3.0", "2.3.0-unfiltered"] {
        for path in pages(directory) {
            let page = fs::read_to_string(path).unwrap();
            for line in page.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
                let (family, help) = line.split_once(' ').unwrap();
                let Some(metric) = catalogue().lookup(family) else { continue };
                let (name, scope) = help.split_once(" (scope: ").unwrap();
                let scope = scope.strip_suffix(')').unwrap();
                // Names with a number inside are matched by what stands before it.
                let ours = metric.name.split("<input>").next().unwrap();
                let theirs = if ours.len() < metric.name.len() { "currentInput" } else { name };
                assert!(ours.ends_with(theirs), "{family}: {} is not {name}", metric.name);
                assert!(
                    metric.scopes.iter().any(|s| scope.starts_with(s.as_str())),
                    "{family}: {scope}"
                );
                agreed += 1;
            }
        }
    }
    assert!(agreed > 900, "{agreed}");
}

#[test]
fn the_documentation_names_every_group_and_every_key() {
    let page = fs::read_to_string(repository().join("docs/metric-groups.md")).unwrap();
    for group in Group::ALL {
        let row = format!("| `{group}` | {} |", group.about());
        assert!(page.contains(&row), "docs/metric-groups.md lacks {row}");
    }
    let mut json = Vec::new();
    flinkrelay::cli::groups::print(Some(Group::Cpu), Format::Json, None, &mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let group = &json["groups"][0];
    for key in [group, &group["metrics"][0]].into_iter().flat_map(|o| o.as_object().unwrap().keys())
    {
        assert!(page.contains(&format!("`{key}`")), "docs/metric-groups.md lacks the key {key}");
    }
    for label in IDS_BY_PRIORITY {
        assert!(page.contains(&format!("`{label}`")), "docs/metric-groups.md lacks {label}");
    }
}
