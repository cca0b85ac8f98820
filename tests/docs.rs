//! What the documents say, against the code: metrics, reasons, flags, exit codes, and the facts that
//! ARCHITECTURE.md gives as the reason for a parser of our own.
//!
//! Configuration keys are compared in `tests/config`, groups and catalogue in `tests/catalogue.rs`,
//! files and limits in `tests/tidy.rs`.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints spare test functions, not the functions they call"
)]

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use flinkrelay::{
    config::{self, Overrides},
    doctor, exposition,
    flink::{LabelPolicy, NameMode, catalogue, misplaced::Misplaced},
    labels, relay, scrape, series, spool,
    status::RangeState,
    telemetry::metrics,
};

fn document(path: &str) -> String {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(full).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of the table rows below a heading, up to the next heading.
fn rows<'d>(document: &'d str, heading: &str) -> Vec<Vec<&'d str>> {
    let begin = document.find(&format!("{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = &document[begin + heading.len()..];
    let section = section.split("\n#").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    let cells = |row: &'d str| row.trim_matches('|').split(" | ").map(str::trim).collect();
    rows.skip(1).map(cells).collect()
}

/// Everything between backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

// === metrics ===

/// Own metrics as they are exposed: name with its suffix, and type.
fn exported() -> BTreeSet<(String, String)> {
    let overrides = Overrides {
        targets: vec!["127.0.0.1:9249".to_owned()],
        remote_write: vec!["http://127.0.0.1:8428/api/v1/write".to_owned()],
        ..Overrides::default()
    };
    let config = config::load(None, &overrides, &|_| None).unwrap();
    let relay = Arc::new(relay::Relay::new(&config).unwrap());
    relay.status.set_range("127.0.0.1:9250-9260", RangeState::default());
    let text = metrics::encode(&relay).unwrap();
    let mut families = BTreeSet::new();
    for line in text.lines() {
        let Some(declared) = line.strip_prefix("# TYPE ") else { continue };
        let (name, kind) = declared.split_once(' ').unwrap();
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no HELP");
        let suffix = if kind == "counter" { "_total" } else { "" };
        families.insert((format!("{name}{suffix}"), kind.to_owned()));
    }
    families
}

#[test]
fn the_metrics_page_has_every_family_and_no_other() {
    let page = document("docs/metrics.md");
    let mut documented = BTreeSet::new();
    let sections = [
        "## The relay's own metrics",
        "### Targets",
        "### Discovery",
        "### Port ranges",
        "### Names",
        "### Roll-ups",
        "### Budgets",
        "### Receivers",
        "### Spools on disk",
        "### Process",
    ];
    for section in sections {
        for row in rows(&page, section) {
            assert!(row.last().unwrap().ends_with('.'), "{row:?} says nothing");
            documented.insert((row[0].trim_matches('`').to_owned(), row[1].to_owned()));
        }
    }
    let mut exported = exported();
    if cfg!(not(target_os = "linux")) {
        exported.extend(documented.iter().filter(|(n, _)| n.starts_with("process_")).cloned());
    }
    assert!(exported.len() > 30, "only {} families are exported", exported.len());
    assert_eq!(documented, exported);
}

/// Series that are written for targets and are not on the relay's own page.
const OF_TARGETS: [&str; 2] =
    ["flinkrelay_scrape_failure", "flinkrelay_scrape_metrics_quarantined"];

#[test]
fn names_in_expressions_exist() {
    let exported = exported();
    let names: BTreeSet<&str> = exported.iter().map(|(name, _)| &**name).collect();
    for path in ["docs/metrics.md", "docs/troubleshooting.md", "docs/flink.md"] {
        let page = document(path);
        let word = |c: char| !(c.is_alphanumeric() || c == '_');
        for name in page.split(word).filter(|word| word.starts_with("flinkrelay_")) {
            let known = names.contains(name) || OF_TARGETS.contains(&name);
            assert!(known, "{path} names {name}, which is not exported");
        }
    }
}

#[test]
fn the_metrics_page_has_every_reason_and_no_other() {
    let check = |heading: &str, reasons: BTreeSet<&str>| {
        let page = document("docs/metrics.md");
        let rows = rows(&page, heading);
        let documented: BTreeSet<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
        assert_eq!(documented, reasons, "{heading}");
        // At three in the morning one page must do: what happened, and what to do.
        assert!(rows.iter().all(|row| row.len() == 3 && !row[2].is_empty()), "{heading}");
        let troubleshooting = document("docs/troubleshooting.md");
        for reason in reasons {
            let named = quoted(&troubleshooting).contains(reason);
            assert!(named, "docs/troubleshooting.md does not name `{reason}`");
        }
    };
    check("### Why a scrape fails", scrape::Reason::ALL.map(|r| r.as_str()).into());
    check("### Why a sample of a page is dropped", series::Dropped::ALL.map(|r| r.as_str()).into());
    check("### Why a sample is not delivered", spool::Reason::ALL.map(|r| r.as_str()).into());
}

#[test]
fn the_page_of_doctor_has_every_id_and_no_other() {
    let page = document("docs/doctor.md");
    let sections = [
        "### Flink's configuration",
        "### Targets",
        "### Pages",
        "### Receivers",
        "### This machine",
    ];
    let rows: Vec<_> = sections.iter().flat_map(|section| rows(&page, section)).collect();
    let documented: Vec<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let ids: Vec<_> = doctor::Id::ALL.iter().map(|id| id.as_str()).collect();
    assert_eq!(documented, ids, "in the order of doctor::Id");
    for row in rows {
        assert!(
            row.len() == 3 && (row[1].contains("problem") || row[1].contains("warning")),
            "{row:?}"
        );
    }
}

#[test]
fn the_troubleshooting_page_has_every_fault_of_a_line() {
    let page = document("docs/troubleshooting.md");
    let bare = |row: &Vec<&str>| row[0].replace('`', "").trim().to_owned();
    let documented: BTreeSet<_> = rows(&page, "### Bad lines").iter().map(bare).collect();
    let mut faults: BTreeSet<_> =
        exposition::Reason::ALL.map(|reason| reason.to_string().replace('`', "")).into();
    faults.insert(Misplaced { label: "LABEL" }.to_string());
    assert_eq!(documented, faults);
}

// === command line ===

fn flinkrelay(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flinkrelay"));
    let own = std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("FLINKRELAY_"));
    for (name, _) in own {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

/// A flag of a subcommand: `--name`, and what its help says in brackets.
#[derive(Debug, Default)]
struct Flag {
    name: String,
    environment: Option<String>,
    default: Option<String>,
}

fn flags(subcommand: &str) -> Vec<Flag> {
    let help = flinkrelay(&[subcommand, "--help"]);
    assert!(help.status.success(), "{subcommand} --help");
    let help = String::from_utf8(help.stdout).unwrap();
    let mut flags: Vec<Flag> = Vec::new();
    for line in help.lines().map(str::trim) {
        let long = line.strip_prefix("--").or_else(|| line.split_once(", --").map(|(_, l)| l));
        if let Some(long) = long.filter(|_| line.starts_with('-')) {
            let name = long.split([' ', '=']).next().unwrap();
            flags.push(Flag { name: format!("--{name}"), ..Flag::default() });
        }
        let between = |text: &str, open: &str| {
            let value = text.split_once(open)?.1;
            Some(value.split([']', '=']).next().unwrap().to_owned())
        };
        if let Some(flag) = flags.last_mut() {
            flag.environment = flag.environment.take().or_else(|| between(line, "[env: "));
            flag.default = flag.default.take().or_else(|| between(line, "[default: "));
        }
    }
    flags.retain(|flag| flag.name != "--help");
    flags
}

#[test]
fn the_command_line_page_has_every_flag() {
    let page = document("docs/cli.md");
    let mut compared = 0;
    for (subcommand, sections) in [
        ("run", &["## Configuration and shortcuts", "## run"][..]),
        ("scrape", &["## scrape", "## Configuration and shortcuts", "## run"]),
        ("check", &["## Configuration and shortcuts"]),
        ("doctor", &["## doctor", "## Configuration and shortcuts", "## run"]),
        ("demo", &["## demo", "## run"]),
        ("groups", &["## groups", "## Configuration and shortcuts"]),
    ] {
        let rows: Vec<Vec<&str>> = sections.iter().flat_map(|s| rows(&page, s)).collect();
        let flags = flags(subcommand);
        assert!(!flags.is_empty(), "{subcommand} has no flag?");
        for flag in flags {
            let names = |row: &&Vec<&str>| {
                quoted(row[0]).iter().any(|name| name.split(' ').next() == Some(&flag.name))
            };
            let row = rows.iter().find(names);
            let row = row.unwrap_or_else(|| panic!("{subcommand}: docs/cli.md lacks {flag:?}"));
            let says = |text: &Option<String>| match text {
                Some(text) => row.iter().any(|cell| cell.trim_matches('`') == text),
                None => true,
            };
            assert!(says(&flag.environment), "{subcommand}: {row:?} is not {flag:?}");
            assert!(says(&flag.default), "{subcommand}: {row:?} is not {flag:?}");
            compared += 1;
        }
    }
    assert!(compared > 25, "only {compared} flags were compared");
}

#[test]
fn the_command_line_page_has_no_flag_that_is_not_there() {
    let known: BTreeSet<String> = ["run", "check", "scrape", "doctor", "demo", "groups"]
        .into_iter()
        .flat_map(flags)
        .map(|flag| flag.name)
        .chain(["--help".to_owned(), "--version".to_owned()])
        .collect();
    let others = ["--web.enable-remote-write-receiver", "--release", "--bench"];
    let pages = [
        "README",
        "docs/cli",
        "docs/doctor",
        "docs/flink",
        "docs/troubleshooting",
        "docs/configuration",
    ];
    let mut compared = 0;
    for path in pages.map(|page| format!("{page}.md")) {
        let page = document(&path);
        for word in page.split([' ', '\n', '`', '(', ')', '[', ']', ',', '"', '=', ':', ';', '|']) {
            let flag = word.trim_end_matches('.');
            let is_flag = flag.starts_with("--") && flag.contains(char::is_alphabetic);
            if is_flag && !others.contains(&flag) {
                assert!(known.contains(flag), "{path} names {flag}");
                compared += 1;
            }
        }
    }
    assert!(compared > 40, "only {compared} flags were compared");
}

#[test]
fn exit_codes_are_those_of_the_page() {
    let page = document("docs/cli.md");
    let codes: Vec<_> = rows(&page, "## Exit codes").iter().map(|row| row[0].to_owned()).collect();
    assert_eq!(codes, ["0", "1", "2"]);
    let check = |arguments: &[&str], expect: i32| {
        let output = flinkrelay(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(expect), "{arguments:?}: {said}");
        assert_eq!(said.is_empty(), expect == 0, "{arguments:?}: {said}");
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let run = ["run", "--target", "127.0.0.1:9249", "--remote-write", "http://127.0.0.1:9/"];
    check(&["groups", "cpu"], 0);
    // Nobody listens on the first ports of a machine.
    check(&["scrape", "--target", "127.0.0.1:1-2", "--timeout", "1s"], 1);
    check(&[&run[..], &["--listen", &taken]].concat(), 1);
    check(&["run", "--no-such-flag"], 2);
    check(&["check", "-c", "no/such/file.yaml"], 2);
    check(&run[..3], 2);
    check(&["scrape", "--target", "127.0.0.1:9249", "--groups", "nope"], 2);
}

/// The example as a user has it, with the certificates that it names.
#[test]
fn the_example_passes_check() {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["flink.internal".to_owned()]).unwrap();
    let place = directory.path().display().to_string();
    for (name, text) in [
        ("example.yaml", document("deploy/example.yaml").replace("/etc/flinkrelay", &place)),
        ("ca.pem", made.cert.pem()),
        ("client.pem", made.cert.pem()),
        ("client-key.pem", made.signing_key.serialize_pem()),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let example = directory.path().join("example.yaml").display().to_string();
    let good = flinkrelay(&["check", "-c", &example]);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(String::from_utf8_lossy(&good.stdout).contains("3 scrape job(s), 5 receiver(s)"));
}

// === architecture ===

/// What a parser makes of a line: samples with their labels, or nothing.
type Read = Option<(String, Vec<(String, String)>, f64)>;

fn ours(line: &str) -> Read {
    let page = exposition::page(line.as_bytes(), &exposition::Limits::default()).unwrap();
    let sample = page.samples().next()?;
    let labels = sample.labels().map(|(name, value)| (name.to_owned(), value.into_owned()));
    Some((sample.name.to_owned(), labels.collect(), sample.value))
}

fn theirs(line: &str) -> Read {
    let lines = line.lines().map(|line| Ok(line.to_owned()));
    let scrape = prometheus_parse::Scrape::parse(lines).unwrap();
    let sample = scrape.samples.into_iter().next()?;
    let prometheus_parse::Value::Untyped(value) = sample.value else { panic!("{line} has a type") };
    let labels = sample.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
    Some((sample.metric, labels.collect(), value))
}

/// The table of ARCHITECTURE.md that says why there is a parser of our own.
#[test]
fn what_prometheus_parse_loses() {
    let a = |labels: &[(&str, &str)], value: f64| -> Read {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Some(("a".to_owned(), labels.iter().map(own).collect(), value))
    };
    let named = |name: &str| Some((name.to_owned(), Vec::new(), 3.0));
    let cases: Vec<(&str, Read, Read)> = vec![
        (r#"a{x="1,2"} 3"#, a(&[("x", "1,2")], 3.0), a(&[("x", "1")], 3.0)),
        (r#"a{x="p=q"} 3"#, a(&[("x", "p=q")], 3.0), a(&[], 3.0)),
        (r#"a{x="p}q"} 3"#, a(&[("x", "p}q")], 3.0), None),
        (r#"a{x="p\"q"} 3"#, a(&[("x", "p\"q")], 3.0), a(&[("x", r#"p\"q"#)], 3.0)),
        (r#"a{x="p\\q"} 3"#, a(&[("x", r"p\q")], 3.0), a(&[("x", r"p\\q")], 3.0)),
        (r#"a{x = "1"} 3"#, a(&[("x", "1")], 3.0), a(&[("x ", " \"1")], 3.0)),
        (r#"a{x="1",x="2"} 3"#, None, a(&[("x", "2")], 3.0)),
        ("a:b 3", named("a:b"), None),
        ("a{} 3", named("a"), None),
        (r#"a{x="1"}3"#, a(&[("x", "1")], 3.0), None),
        ("a 3 x", None, named("a")),
        ("a 1e400", None, a(&[], f64::INFINITY)),
    ];
    let page = document("ARCHITECTURE.md");
    let table: Vec<&str> = page
        .lines()
        .filter(|l| l.starts_with("| `a"))
        .map(|l| l.split('`').nth(1).unwrap())
        .collect();
    let lines: Vec<&str> = cases.iter().map(|(line, ..)| *line).collect();
    assert_eq!(table, lines);
    for (line, our, their) in cases {
        assert_eq!(ours(line), our, "ours: {line}");
        assert_eq!(theirs(line), their, "theirs: {line}");
    }
}

/// The number of samples of a real page that ARCHITECTURE.md names.
#[test]
fn what_prometheus_parse_loses_on_a_real_page() {
    let text = document("tests/pages/2.3.0-unfiltered/taskmanager-1.prom");
    let page = exposition::page(text.as_bytes(), &exposition::Limits::default()).unwrap();
    // Without types it takes each sample for itself.
    let lines = text.lines().filter(|l| !l.starts_with("# TYPE")).map(|l| Ok(l.to_owned()));
    let scrape = prometheus_parse::Scrape::parse(lines).unwrap();
    assert_eq!(scrape.samples.len(), page.samples().count());
    let wrong = page.samples().zip(&scrape.samples).filter(|(ours, theirs)| {
        let labels = ours.labels().map(|(name, value)| (name.to_owned(), value.into_owned()));
        labels.collect::<std::collections::HashMap<_, _>>() != *theirs.labels
    });
    let said = format!("{} of\n1,416 samples come out with wrong labels", wrong.count());
    assert_eq!(page.samples().count(), 1416);
    assert!(document("ARCHITECTURE.md").contains(&said), "ARCHITECTURE.md does not say: {said}");
}

// === Flink ===

/// The examples of documents: a line of a page, and the series that is sent for it.
#[test]
fn the_labels_examples_are_what_happens() {
    let flink = document("docs/flink.md");
    let block = flink.split("```").find(|block| block.contains("task_attempt_id=")).unwrap();
    let (before, after) = block.split_once("\nbecomes\n").unwrap();
    check_example(before, after);
    let readme = document("README.md");
    let mut blocks = readme.split("```").skip_while(|block| !block.contains("task_attempt_id="));
    let (before, after) = (blocks.next().unwrap(), blocks.nth(1).unwrap());
    check_example(before, after);
}

/// The table of names in docs/flink.md: what stands left is sent as what stands right.
#[test]
fn the_names_examples_are_what_happens() {
    let whole = |text: &str| {
        let text = text.replace("…_task_", "flink_taskmanager_job_task_");
        text.replace("…_operator_", "flink_taskmanager_job_task_operator_")
    };
    let flink = document("docs/flink.md");
    let section = flink.split("\n## Names\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut compared = 0;
    let mut sent_above = String::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let [raw, sent] = [1, 2].map(|cell| row.split('|').nth(cell).unwrap());
        let quoted = |cell: &str| cell.split('`').nth(1).map(whole);
        let raw = quoted(raw).unwrap();
        let line = format!("{raw} 1");
        let entry = exposition::parse(line.as_bytes(), &exposition::Limits::default());
        let Ok(exposition::Entry::Sample(sample)) = entry else { panic!("{line}: {entry:?}") };
        let mut labels: labels::Labels<'_> = sample.labels().collect();
        labels.set(labels::METRIC_NAME, sample.name);
        NameMode::Canonical.apply(catalogue().find(sample.name).as_ref(), &mut labels);
        let (name, pairs) = (labels.metric_name().to_owned(), labels.to_string());
        let sent = quoted(sent).unwrap_or_else(|| sent_above.clone());
        let without = |text: &str| text.split('{').next().unwrap().to_owned();
        assert_eq!(name, without(&sent), "{raw}");
        for pair in sent.trim_end_matches('}').split(['{', ',']).skip(1) {
            assert!(pairs.contains(pair), "{raw} has not {pair}: {pairs}");
        }
        (sent_above, compared) = (sent, compared + 1);
    }
    assert_eq!(compared, 10);
}

fn check_example(before: &str, after: &str) {
    let read = |text: &str| {
        let line = text.lines().map(str::trim).collect::<String>();
        let entry = exposition::parse(line.as_bytes(), &exposition::Limits::default());
        let Ok(exposition::Entry::Sample(sample)) = entry else { panic!("{line}: {entry:?}") };
        let mut labels = labels::Labels::new();
        labels.push(labels::METRIC_NAME, sample.name.to_owned());
        for (name, value) in sample.labels() {
            labels.push(name.to_owned(), value.into_owned());
        }
        (labels, sample.value)
    };
    let ((mut labels, value), (mut expect, same_value)) = (read(before), read(after));
    let name = labels.metric_name().to_owned();
    NameMode::Canonical.apply(catalogue().find(&name).as_ref(), &mut labels);
    let _dropped = LabelPolicy::default().normalise(&mut labels);
    for name in ["job", "instance"] {
        labels.set(name, expect.get(name).expect("a label of the target").to_owned());
    }
    labels.sort();
    expect.sort();
    assert_eq!(labels.to_string(), expect.to_string());
    assert_eq!(value.to_bits(), same_value.to_bits());
}
