//! The catalogue against Flink's documentation and against pages of real clusters.
//!
//! `data/documented.tsv` says what must be known; it is kept by hand and knows nothing of the
//! catalogue file. `pages/` holds what Flink really shows; the snapshots list every name on it under
//! its group, for a person to read: a user's name under another group than `custom` is a fault. What
//! is `custom` on them stands in `data/custom.tsv`, with the reason. `data/groups.tsv` has the counts.
//! `docs/metric-catalogue.md` is what the catalogue says.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use flinkrelay::{
    cli::groups::Format,
    flink::{Group, Kind, Role, catalogue, catalogue::Scope, labels::IDS_BY_PRIORITY},
};

#[path = "catalogue/names.rs"]
mod names;
#[path = "catalogue/reference.rs"]
mod reference;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_documented_metric_is_in_its_group_under_each_of_its_names() {
    let mut documented = BTreeSet::new();
    for [section, metric, exported, group, kind] in table("documented.tsv") {
        documented.insert((section, metric));
        let found =
            catalogue().lookup(&exported).unwrap_or_else(|| panic!("{exported} is unknown"));
        assert_eq!(found.group.as_str(), group, "group of {exported}");
        assert_eq!(found.kind.as_str(), kind, "kind of {exported}");
    }
    assert_eq!(documented.len(), 95, "the documentation's tables have 95 rows in these groups");
}

/// The rows of a table in `tests/data`, each as its fields.
fn table<const FIELDS: usize>(file: &str) -> Vec<[String; FIELDS]> {
    let text = fs::read_to_string(repository().join("tests/data").join(file)).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
        fields.try_into().unwrap_or_else(|_| panic!("{file}: not {FIELDS} fields: {line}"))
    })
    .collect()
}

#[test]
fn each_group_has_as_many_metrics_and_counters_as_are_known() {
    let (mut registered_in_all, mut counters_in_all, mut groups) = (0, 0, Vec::new());
    for [group, registered, registered_counters, metrics, counters, why] in table("groups.tsv") {
        let number = |text: &str| text.parse::<usize>().unwrap();
        registered_in_all += number(&registered);
        counters_in_all += number(&registered_counters);
        let differs = registered != metrics || registered_counters != counters;
        assert_eq!(differs, why != "-", "{group}: a difference has a reason");

        let group: Group = group.parse().unwrap();
        // What the relay derives is no metric of Flink's.
        let of_flink = || catalogue().metrics_of(group).filter(|m| m.derived_from.is_empty());
        let counted = of_flink().filter(|m| m.kind == Kind::Counter).count();
        assert_eq!(of_flink().count(), number(&metrics), "{group}");
        assert_eq!(counted, number(&counters), "counters of {group}");
        // What is missing is counted in another group, under the same name.
        let shared = catalogue().metrics_shared_with(group);
        let shared_counters =
            catalogue().metrics_shared_with(group).filter(|m| m.kind == Kind::Counter);
        let missing = number(&registered).saturating_sub(number(&metrics));
        let missing_counters = number(&registered_counters).saturating_sub(number(&counters));
        assert_eq!(shared.count(), missing, "{group}");
        assert_eq!(shared_counters.count(), missing_counters, "counters of {group}");
        groups.push(group);
    }
    groups.push(Group::Custom);
    assert_eq!(groups, Group::ALL);
    assert_eq!((registered_in_all, counters_in_all), (523, 117));
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

const REAL: [&str; 4] = ["1.14.2", "1.20.5", "2.3.0", "2.3.0-unfiltered"];

#[test]
fn every_name_of_every_page_is_known_or_explained() {
    let mut unknown: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for directory in REAL.into_iter().chain(["odd"]) {
        for path in pages(directory) {
            for name in sample_names(&fs::read_to_string(path).unwrap()) {
                if catalogue().lookup(name).is_none() {
                    unknown.entry(name.to_owned()).or_default().insert(directory);
                }
            }
        }
    }
    let explained: BTreeMap<String, String> =
        table("custom.tsv").into_iter().map(|[name, why]| (name, why)).collect();
    for (name, directories) in &unknown {
        assert!(explained.contains_key(name), "{name} is unknown, on pages of {directories:?}");
        assert!(directories.iter().eq(["odd"].iter()), "{name} is Flink's own: {directories:?}");
    }
    for (name, why) in explained {
        assert!(unknown.contains_key(&name), "{name} is explained, yet on no page or known");
        assert!(why.ends_with('.'), "{name}: {why}");
    }
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

/// Every scope, a longer one before those that it begins with.
const SCOPES: [Scope; 10] = [
    Scope::JobManagerJobOperator,
    Scope::JobManagerJob,
    Scope::JobManager,
    Scope::Operator,
    Scope::Task,
    Scope::TaskManagerJob,
    Scope::TaskManager,
    Scope::K8sResource,
    Scope::K8sNamespace,
    Scope::K8sOperator,
];

/// The scope that a logical scope begins with; what follows are groups, Flink's or a user's.
fn scope_of(logical: &str) -> Scope {
    let begins = |scope: &Scope| {
        let rest = logical.strip_prefix(scope.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    SCOPES.into_iter().find(begins).unwrap_or_else(|| panic!("{logical} is no scope"))
}

/// HELP shows the border between scope and name that a sample name hides. Where the catalogue knows
/// a name of a page, HELP must agree: the fixed end of the catalogue's name is what Flink says, dots
/// and dashes included, and the scope is one of the catalogue's.
#[test]
fn help_agrees_with_what_was_recognised() {
    let mut agreed = 0;
    for directory in REAL.into_iter().chain(["odd"]) {
        for path in pages(directory) {
            let page = fs::read_to_string(path).unwrap();
            for line in page.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
                let (family, help) = line.split_once(' ').unwrap();
                let Some(metric) = catalogue().lookup(family) else {
                    assert_eq!(directory, "odd", "{family} is Flink's own");
                    continue;
                };
                let (name, scope) = help.split_once(" (scope: ").unwrap();
                let scope = scope.strip_suffix(')').unwrap();
                // Names with a number inside are matched by what stands before it.
                let ours = metric.name.split("<input>").next().unwrap();
                let theirs = if ours.len() < metric.name.len() { "currentInput" } else { name };
                assert!(ours.ends_with(theirs), "{family}: {} is not {name}", metric.name);
                assert!(metric.scopes.contains(&scope_of(scope)), "{family}: {scope}");
                agreed += 1;
            }
        }
    }
    assert!(agreed > 1_500, "{agreed}");
}

#[test]
fn the_documentation_names_every_group_and_every_key() {
    let page = fs::read_to_string(repository().join("docs/metric-groups.md")).unwrap();
    for group in Group::ALL {
        let row = format!("| `{group}` | {} |", group.about());
        assert!(page.contains(&row), "docs/metric-groups.md lacks {row}");
    }
    let mut json = Vec::new();
    flinkrelay::cli::groups::print(catalogue(), Some(Group::Cpu), Format::Json, None, &mut json)
        .unwrap();
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
