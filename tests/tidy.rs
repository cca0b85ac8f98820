//! Rules about the repository that no compiler checks. Each failure says what to do.
//!
//! The invariants behind them, and why they are worth a test, are in `ARCHITECTURE.md`.

#![expect(clippy::panic, reason = "the lints spare test functions, not the functions they call")]

#[path = "tidy/source.rs"]
mod source;

use std::{collections::BTreeSet, path::Path};

use source::{File, files, paths, test_modules, without_comments};

/// The pure modules, each with the modules of this crate that it may use.
const CORES: [(&str, &[&str]); 13] = [
    ("config", &["config", "flink", "limits", "relabel", "remote_write", "shard"]),
    ("doctor", &["config", "doctor", "flink", "remote_write"]),
    ("exposition", &["exposition", "labels", "limits"]),
    ("flink", &["flink", "labels", "limits"]),
    ("kubernetes", &["config", "kubernetes", "labels"]),
    ("labels", &[]),
    ("limits", &[]),
    ("relabel", &["labels", "relabel"]),
    ("remote_write", &["labels", "limits", "remote_write"]),
    ("series", &["config", "exposition", "flink", "labels", "relabel", "remote_write", "series"]),
    ("shard", &["limits", "shard"]),
    ("spool", &["limits", "remote_write", "spool"]),
    ("target", &["config", "flink", "labels", "relabel", "shard"]),
];

/// What only some files may name, and why: the beginning of a path, those files, the reason.
const RESERVED: [(&[&str], &[&str], &str); 5] = [
    (
        &["std::fs", "tokio::fs"],
        &[
            "src/cli.rs",
            "src/cli/reload.rs",
            "src/disk.rs",
            "src/discovery/dns.rs",
            "src/discovery/file.rs",
            "src/disk/inspect.rs",
            "src/http/secret.rs",
            "src/kube_api.rs",
            "src/relay/memory.rs",
            "src/telemetry/process.rs",
        ],
        "files are read where a person named them, or the system says how it is; the data directory is the spool's alone",
    ),
    (
        &["tokio::net", "std::net::TcpStream", "std::net::UdpSocket"],
        &["src/cli/", "src/discovery/dns/ask.rs", "src/http/", "src/server.rs"],
        "listeners belong to the command line and the server, outgoing sockets to http and to DNS",
    ),
    (
        &["hyper_util::client", "hyper::client"],
        &["src/http.rs", "src/http/"],
        "outgoing sockets are opened in one place, with its limits, TLS and secrets",
    ),
    (
        &["tokio::spawn", "tokio::task", "tokio_util::task", "std::thread"],
        &["src/relay.rs", "src/relay/", "src/cli/run.rs", "src/disk/"],
        "only relay spawns tasks, and joins them; a spool's thread is joined by its receiver",
    ),
    (
        &["Instant::now", "SystemTime::now", "std::time::Instant::now", "fastrand"],
        &[
            "src/relay.rs",
            "src/relay/",
            "src/scrape.rs",
            "src/push.rs",
            "src/push/",
            "src/cli/",
            "src/disk.rs",
            "src/disk/",
            "src/discovery/dns/ask.rs",
            "src/discovery/kubernetes.rs",
            "src/discovery/kubernetes/follow.rs",
            "src/discovery/source.rs",
            "src/http/",
            "src/kube_api/bounded.rs",
            "src/scrape/names.rs",
            "src/scrape/parts.rs",
            "src/flink_rest",
            "src/survey",
        ],
        "clocks and randomness are read by shells and handed on",
    ),
];

/// Names in a core that mean IO, a clock or a log.
const IMPURE: [&str; 13] = [
    "tokio",
    "tokio_util",
    "hyper",
    "hyper_util",
    "axum",
    "tower",
    "tracing",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::io",
    "fastrand",
];

/// Types of the impure crates that are only data: what the compressors write to, and how they fail.
const DATA: [&str; 3] = ["hyper::Uri", "std::io::Write", "std::io::Error"];

fn begins(path: &str, with: &str) -> bool {
    path.strip_prefix(with).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The core that a source file belongs to.
fn core_of(path: &str) -> Option<&'static (&'static str, &'static [&'static str])> {
    let module = path.strip_prefix("src/")?.split(['/', '.']).next()?;
    CORES.iter().find(|(core, _)| *core == module)
}

fn is_source(file: &File) -> bool {
    file.path.starts_with("src/") && file.path.ends_with(".rs")
}

/// Reports all breaches at once.
#[track_caller]
fn none(breaches: &[String], what_to_do: &str) {
    assert!(breaches.is_empty(), "{}\n{what_to_do}", breaches.join("\n"));
}

#[test]
fn cores_do_no_io_and_read_no_clock() {
    let (files, mut breaches) = (files(), Vec::new());
    let tests = test_modules(&files);
    let mut seen = 0;
    for file in files.iter().filter(|file| is_source(file) && core_of(&file.path).is_some()) {
        seen += 1;
        for path in paths(file.without_tests(&tests)) {
            let impure = IMPURE.iter().any(|name| begins(&path, name))
                && !DATA.iter().any(|data| begins(&path, data));
            if impure || path.ends_with("Instant::now") || path.ends_with("SystemTime::now") {
                breaches.push(format!("{}: {path}", file.path));
            }
        }
    }
    assert!(seen > 30, "only {seen} files of the cores were found");
    none(&breaches, "a core is a pure function of its arguments: let the shell bring it");
}

#[test]
fn cores_use_no_module_above_them() {
    let (files, mut breaches) = (files(), Vec::new());
    let tests = test_modules(&files);
    let mut seen = 0;
    for file in files.iter().filter(|file| is_source(file)) {
        let Some((_, allowed)) = core_of(&file.path) else { continue };
        for path in paths(file.without_tests(&tests)) {
            let Some(module) = path.strip_prefix("crate::") else { continue };
            let module = module.split("::").next().unwrap_or_default();
            seen += 1;
            if !allowed.contains(&module) && !module.is_empty() {
                breaches.push(format!("{}: crate::{module}", file.path));
            }
        }
    }
    assert!(seen > 40, "only {seen} paths were found");
    none(&breaches, "dependencies point one way, see CORES in tests/tidy.rs and ARCHITECTURE.md");
}

#[test]
fn io_tasks_and_clocks_stay_in_their_places() {
    let (files, mut breaches) = (files(), Vec::new());
    let tests = test_modules(&files);
    let mut used = BTreeSet::new();
    for file in files.iter().filter(|file| is_source(file)) {
        for path in paths(file.without_tests(&tests)) {
            for (names, places, why) in &RESERVED {
                let Some(name) = names.iter().find(|name| begins(&path, name)) else { continue };
                used.insert(names[0]);
                if !places.iter().any(|place| file.path.starts_with(place)) {
                    breaches.push(format!("{}: {name}: {why}", file.path));
                }
            }
        }
    }
    assert_eq!(used.len(), RESERVED.len(), "a rule that nothing meets guards nothing: {used:?}");
    none(&breaches, "move it to its place, or change the place in tests/tidy.rs and say why");
}

#[test]
fn files_stay_readable() {
    let (files, mut breaches) = (files(), Vec::new());
    let tests = test_modules(&files);
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        if file.text.starts_with("// This file is @generated") {
            continue;
        }
        if !file.text.starts_with("//! ") {
            breaches.push(format!("{}: does not begin with `//!`, what it is for", file.path));
        }
        let lines = file.without_tests(&tests).lines().count();
        if is_source(file) && lines > SOURCE_LINES_MAX {
            breaches.push(format!("{}: {lines} lines without its tests", file.path));
        }
        if file.path.ends_with("/mod.rs") {
            breaches.push(format!("{}: modules are foo.rs and foo/", file.path));
        }
    }
    none(&breaches, "split a long file at its seams; open each with a paragraph for newcomers");
}

/// Lines of a source file without its tests. Most are below 400; beyond 500 there is a seam.
const SOURCE_LINES_MAX: usize = 500;

/// Text that people wrote: no recorded pages, lock files or licences.
fn is_written(file: &File) -> bool {
    let recorded = ["tests/pages/", "fuzz/corpus/", "tests/data/"];
    let others = ["Cargo.lock", "fuzz/Cargo.lock", "LICENSE"];
    !recorded.iter().any(|place| file.path.starts_with(place))
        && !others.contains(&&*file.path)
        && !file.path.ends_with(".snap")
}

#[test]
fn nothing_is_left_to_do() {
    // Written in two halves, so that this file does not find itself.
    let marks =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("todo", "!(")];
    let mut breaches = Vec::new();
    for file in files().iter().filter(|file| is_written(file)) {
        for (number, line) in (1..).zip(file.text.lines()) {
            if marks.iter().any(|mark| line.contains(mark)) {
                breaches.push(format!("{}:{number}: {line}", file.path));
            }
        }
    }
    none(&breaches, "do it, or write down as an issue what is to be done");
}

#[test]
fn no_file_knows_where_or_how_it_was_written() {
    let homes =
        [concat!("/wo", "rk"), concat!("/ro", "ot"), concat!("/ho", "me"), concat!("/Us", "ers")];
    let words = [
        concat!("sub", "agent"),
        concat!("sub-", "agent"),
        concat!("AI ", "assistant"),
        concat!("language ", "model"),
        concat!("Cla", "ude"),
        concat!("Anthro", "pic"),
        concat!("Chat", "GPT"),
        concat!("Co", "pilot"),
        concat!("STAND", "-IN"),
    ];
    let mut breaches = Vec::new();
    for file in files().iter().filter(|file| is_written(file)) {
        for (number, line) in (1..).zip(file.text.lines()) {
            let home = homes.iter().find(|home| names_directory(line, home));
            let word = words.iter().find(|word| line.to_lowercase().contains(&word.to_lowercase()));
            if let Some(found) = home.or(word) {
                breaches.push(format!("{}:{number}: {found}", file.path));
            }
        }
    }
    none(&breaches, "the repository stands on its own: name paths inside it, or by a variable");
}

/// Whether `line` holds the absolute path `directory` or one below it.
fn names_directory(line: &str, directory: &str) -> bool {
    line.match_indices(directory).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + directory.len()..].chars().next();
        let inside = |c: char| c.is_alphanumeric() || "._-})$~/".contains(c);
        !before.is_some_and(inside)
            && !after.is_some_and(|c| c.is_alphanumeric() || "_-".contains(c))
    })
}

#[test]
fn absolute_paths_are_told_from_parts_of_paths() {
    let home = concat!("/ro", "ot");
    for line in [format!("cd {home}"), format!("\"{home}/a\""), format!("HOME={home}")] {
        assert!(names_directory(&line, home), "{line}");
    }
    for line in [format!("a{home}"), format!("${{b}}{home}/c"), format!("{home}s/a")] {
        assert!(!names_directory(&line, home), "{line}");
    }
}

/// Every recorded page is summed up by a snapshot, and every such snapshot has its page.
#[test]
fn every_page_has_a_snapshot() {
    let prefix = "tests/exposition/snapshots/exposition__pages__";
    let (mut pages, mut snapshots) = (BTreeSet::new(), BTreeSet::new());
    for file in files() {
        if let Some(page) = file.path.strip_prefix("tests/pages/") {
            if page.ends_with(".prom") || page.ends_with(".txt") {
                pages.insert(page.replace('/', "__"));
            }
        } else if let Some(snapshot) = file.path.strip_prefix(prefix) {
            snapshots.extend(snapshot.strip_suffix(".snap").map(str::to_owned));
        }
    }
    assert!(pages.len() >= 16, "only {} pages", pages.len());
    assert_eq!(pages, snapshots, "run `INSTA_UPDATE=always cargo test --test exposition`");
}

fn text_of(path: &str) -> String {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(full).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_limit_is_in_the_architecture() {
    let (files, architecture) = (files(), text_of("ARCHITECTURE.md"));
    let tests = test_modules(&files);
    let (mut limits, mut breaches) = (0, Vec::new());
    for file in files.iter().filter(|file| is_source(file)) {
        let code = without_comments(file.without_tests(&tests));
        // Those inside a function belong to its algorithm.
        for line in code.lines().filter(|line| !line.starts_with(' ')) {
            let Some((_, declared)) = line.split_once("const ") else { continue };
            let Some((name, _)) = declared.split_once(':') else { continue };
            if file.path != "src/limits.rs" && !name.ends_with("_MAX") && !name.ends_with("_LIMIT")
            {
                continue;
            }
            limits += 1;
            if !architecture.contains(&format!("`{name}`")) {
                breaches.push(format!("{}: {name}", file.path));
            }
        }
    }
    assert!(limits >= 14, "only {limits} limits were found");
    none(&breaches, "add it to the table of limits in ARCHITECTURE.md, with its reason");
}

#[test]
fn the_code_map_has_every_module() {
    let (files, architecture) = (files(), text_of("ARCHITECTURE.md"));
    let tests = test_modules(&files);
    let sources = files.iter().filter(|file| is_source(file) && !tests.contains(&file.path));
    let missing: Vec<String> = sources
        .filter_map(|file| file.path.strip_prefix("src/")?.strip_suffix(".rs"))
        .filter(|module| !architecture.contains(&format!("`{module}`")))
        .map(|module| format!("`{module}`"))
        .collect();
    none(&missing, "say in one sentence of ARCHITECTURE.md's code map what the module is for");
}

/// Paragraphs of ARCHITECTURE.md that begin with "Guarded by" name tests in backticks.
#[test]
fn the_tests_that_guard_the_invariants_exist() {
    let (files, architecture) = (files(), text_of("ARCHITECTURE.md"));
    let code: Vec<&File> =
        files.iter().filter(|f| f.path.ends_with(".rs") || f.path.starts_with("e2e/")).collect();
    let (mut guards, mut breaches) = (0, Vec::new());
    for paragraph in architecture.split("- Guarded by ").skip(1) {
        let paragraph = paragraph.split(".\n").next().unwrap_or_default();
        // Backticks enclose every second piece.
        for name in paragraph.split('`').skip(1).step_by(2) {
            if name.contains(['.', '/']) {
                continue;
            }
            guards += 1;
            let (rust, python) = (format!("fn {name}("), format!("def {name}("));
            if !code.iter().any(|file| file.text.contains(&rust) || file.text.contains(&python)) {
                breaches.push(name.to_owned());
            }
        }
    }
    assert!(guards >= 15, "only {guards} tests are named");
    none(&breaches, "ARCHITECTURE.md names tests that are not there (any more)");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut links, mut breaches) = (0, Vec::new());
    for file in files().iter().filter(|file| file.path.ends_with(".md")) {
        let here = root.join(&file.path);
        for (at, _) in file.text.match_indices("](") {
            let target = file.text[at + 2..].split(')').next().unwrap_or_default();
            let path = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            links += 1;
            let there = here.parent().expect("a file has a directory").join(path);
            let there = if path.is_empty() { here.clone() } else { there };
            let leads = match target.split_once('#') {
                None => there.exists(),
                Some((_, anchor)) => std::fs::read_to_string(&there).is_ok_and(|text| {
                    text.lines().any(|line| anchor_of(line).is_some_and(|own| own == anchor))
                }),
            };
            if !leads {
                breaches.push(format!("{}: {target}", file.path));
            }
        }
    }
    assert!(links >= 10, "only {links} links were found");
    none(&breaches, "correct the link, or add what it leads to");
}

/// The anchor that a heading has on the pages that show Markdown.
fn anchor_of(line: &str) -> Option<String> {
    let heading = line.trim_start_matches('#');
    if heading.len() == line.len() || !heading.starts_with(' ') {
        return None;
    }
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
}

#[test]
fn every_bench_is_explained() {
    let page = text_of("benches/README.md");
    let files = files();
    let benches = files.iter().filter_map(|f| f.path.strip_prefix("benches/")?.strip_suffix(".rs"));
    let missing: Vec<_> =
        benches.filter(|b| !page.contains(&format!("`{b}`"))).map(str::to_owned).collect();
    none(&missing, "say in benches/README.md what it measures and how to read it");
}
