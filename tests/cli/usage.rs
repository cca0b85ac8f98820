//! Wrong usage and configuration, and the subcommands that need no Flink.

use std::{fmt::Write as _, process::Stdio};

use tempfile::TempDir;

use crate::process::{Output, command, file, finish, flinkrelay};

const RECEIVER: &str = "remote_write: [{url: http://vm/api/v1/write}]\n";
const JOB: &str =
    "scrape_configs:\n  - job_name: flink\n    static_configs: [{targets: [h:9249]}]\n";

/// Checks this file; the directory's name does not appear in what is told.
async fn check(text: &[u8]) -> (Output, String) {
    let directory = TempDir::new().unwrap();
    let output = flinkrelay(&["check", "-c", &file(directory.path(), text)]).await;
    let told = output.told(&[(&format!("{}/", directory.path().display()), "")]);
    (output, told)
}

#[tokio::test]
async fn a_bad_file_is_told_with_its_place_and_exit_code_2() {
    let mut all = String::new();
    for (what, text) in [
        ("unknown key", format!("{JOB}    scrape_intervall: 5s\n{RECEIVER}")),
        ("wrong type", format!("{JOB}    scrape_interval: [5s]\n{RECEIVER}")),
        ("bad value", format!("{JOB}    scrape_interval: soon\n{RECEIVER}")),
        ("empty target list", format!("{}{RECEIVER}", JOB.replace("[h:9249]", "[]"))),
        ("bad receiver URL", format!("{JOB}{}", RECEIVER.replace("http:", "ftp:"))),
        ("bad target", format!("{}{RECEIVER}", JOB.replace("h:9249", "h:99999"))),
        ("password in a URL", format!("{JOB}{}", RECEIVER.replace("//vm", "//u:p@vm"))),
        ("no receiver", JOB.to_owned()),
        ("no job", RECEIVER.to_owned()),
        ("unknown group", format!("{JOB}{RECEIVER}flink: {{groups: [cpu, memroy]}}\n")),
        (
            "bad regex",
            format!("{JOB}    relabel_configs: [{{regex: '(', target_label: a}}]\n{RECEIVER}"),
        ),
        ("broken YAML", format!("{JOB}  }}\n{RECEIVER}")),
        ("empty", String::new()),
        (
            "rules that leave no duration",
            format!(
                "{}    relabel_configs: [{{target_label: __scrape_timeout__, replacement: x}}]\n\
                 {RECEIVER}",
                JOB.replace("h:9249", "h:9249-9260")
            ),
        ),
    ] {
        let (output, told) = check(text.as_bytes()).await;
        assert_eq!((output.code, &*output.stdout), (2, ""), "{what}: {told}");
        writeln!(all, "=== {what}\n{}\n", output.stderr_of(&told)).unwrap();
    }
    let (output, told) = check(b"global:\n  scrape_interval: 5s \xff\n").await;
    assert_eq!(output.code, 2);
    writeln!(all, "=== not UTF-8\n{}", output.stderr_of(&told)).unwrap();
    insta::assert_snapshot!(all);
}

impl Output {
    /// The part of [`Output::told`] that went to stderr.
    fn stderr_of<'a>(&self, told: &'a str) -> &'a str {
        told.split_once("--- stderr\n").unwrap().1.trim_end()
    }
}

#[tokio::test]
async fn wrong_usage_is_exit_code_2() {
    let mut all = String::new();
    let job = ["--target", "h:9249", "--remote-write", "http://vm/w"];
    for arguments in [
        &[][..],
        &["run", "--nope"],
        &["run"],
        &["run", "--target", "h:9249"],
        &["run", "--target", "h", "--remote-write", "vm"],
        &["run", "--target", "h:9260-9250", "--remote-write", "http://vm/w"],
        &[&["run", "--interval", "5 s"], &job[..]].concat(),
        &[&["run", "--interval", "5s", "--timeout", "6s"], &job[..]].concat(),
        &[&["run", "--external-label", "cluster"], &job[..]].concat(),
        &[&["run", "--shutdown-grace", "long"], &job[..]].concat(),
        &[&["run", "--log-level", "a=b=c"], &job[..]].concat(),
        &[&["run", "--log-format", "xml"], &job[..]].concat(),
        &["scrape", "-o", "yaml", "--target", "h:9249"],
        &["scrape", "--groups", "cpu,memroy", "--target", "h:9249"],
        &["groups", "memroy"],
        &["check"],
        &["check", "-c", "/nonexistent/flinkrelay.yaml"],
        &["run", "-c", "/nonexistent/flinkrelay.yaml"],
        &["demo", "--for", "ten"],
        &["demo", "--remote-write", "not a URL", "--for", "1s"],
    ] {
        let output = flinkrelay(arguments).await;
        assert_eq!((output.code, &*output.stdout), (2, ""), "{arguments:?}");
        if arguments.is_empty() {
            assert!(output.stderr.contains("Usage: flinkrelay <COMMAND>"), "{}", output.stderr);
            continue;
        }
        writeln!(all, "$ flinkrelay {}\n{}", arguments.join(" "), output.stderr).unwrap();
    }
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn an_address_that_is_taken_is_exit_code_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments =
        ["run", "--target", "h:1", "--remote-write", "http://vm/w", "--listen", &address];
    let output = flinkrelay(&arguments).await;
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(output.stderr.contains(&format!("--listen: cannot listen on {address}: ")));
}

#[tokio::test]
async fn a_good_file_is_exit_code_0() {
    let (output, told) = check(format!("{JOB}{RECEIVER}").as_bytes()).await;
    assert_eq!(output.code, 0);
    assert_eq!(
        told,
        "exit 0\n--- stdout\nflinkrelay.yaml: valid, 1 scrape job(s), 1 receiver(s)\n--- stderr\n"
    );
    let example = flinkrelay(&["check", "-c", "deploy/example.yaml"]).await;
    assert_eq!(example.code, 0, "{}", example.stderr);
    let valid = "deploy/example.yaml: valid, 3 scrape job(s), 5 receiver(s)\n";
    assert_eq!(example.stdout, valid);
}

/// Certificates that are not there may be elsewhere; those that are there have to be good.
#[tokio::test]
async fn files_that_the_configuration_names_are_looked_at() {
    let directory = TempDir::new().unwrap();
    let with_ca = |job: &str, receiver: &str| {
        format!(
            "{JOB}    tls_config: {{ca_file: {job}}}\nremote_write:\n  - url: https://vm/w\n    \
             tls_config: {{ca_file: {receiver}}}\n"
        )
    };
    let text = with_ca("absent-1.pem", "absent-2.pem");
    let path = file(directory.path(), text.as_bytes());
    let output = flinkrelay(&["check", "-c", &path]).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    for absent in ["scrape job flink: cannot read", "remote_write vm:443: cannot read"] {
        let lines = output.stderr.lines().filter(|line| line.contains(absent));
        assert_eq!(lines.count(), 1, "{}", output.stderr);
    }
    assert_eq!(output.stderr.matches("No such file").count(), 2, "{}", output.stderr);
    let run = flinkrelay(&["run", "-c", &path, "--listen", ""]).await;
    assert_eq!(run.code, 2, "and `run` does not start without them: {}", run.stderr);

    std::fs::write(directory.path().join("bad.pem"), "no certificate\n").unwrap();
    let path = file(directory.path(), with_ca("absent-1.pem", "bad.pem").as_bytes());
    let output = flinkrelay(&["check", "-c", &path]).await;
    assert_eq!((output.code, &*output.stdout), (2, ""));
    assert!(output.stderr.contains("the file holds no PEM certificate"), "{}", output.stderr);
}

/// As `promtool check config` does: what is there has to be good.
#[tokio::test]
async fn files_with_targets_are_read() {
    let directory = TempDir::new().unwrap();
    let job = "scrape_configs:\n  - job_name: flink\n    file_sd_configs: [{files: [absent.json, 'there-*.yaml']}]\n";
    let path = file(directory.path(), format!("{job}{RECEIVER}").as_bytes());
    let there = directory.path().join("there-1.yaml");
    std::fs::write(&there, "- targets: ['h:9249']\n").unwrap();
    let output = flinkrelay(&["check", "-c", &path]).await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    assert!(output.stderr.contains("warning: no file is there for "), "{}", output.stderr);
    assert!(output.stderr.contains("absent.json of file_sd_configs"), "{}", output.stderr);

    std::fs::write(&there, "- targets: ['h:9249']\n  lables: {}\n").unwrap();
    let output = flinkrelay(&["check", "-c", &path]).await;
    assert_eq!((output.code, &*output.stdout), (2, ""));
    let place = format!("{}:2:3: ", there.display());
    assert!(output.stderr.contains(&place), "{}", output.stderr);
}

#[tokio::test]
async fn the_catalogue_is_printed_for_people_and_tools() {
    let table = flinkrelay(&["groups"]).await;
    assert_eq!((table.code, &*table.stderr), (0, ""));
    for group in ["cpu", "memory", "rocksdb", "checkpointing"] {
        assert!(table.stdout.lines().any(|line| line.trim_start().starts_with(group)), "{group}");
    }
    let rocksdb = flinkrelay(&["groups", "rocksdb", "-o", "json"]).await;
    assert_eq!((rocksdb.code, &*rocksdb.stderr), (0, ""));
    let document: serde_json::Value = serde_json::from_str(&rocksdb.stdout).unwrap();
    let groups = document["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0]["group"], "rocksdb");
    let metrics = groups[0]["metrics"].as_array().unwrap();
    let named = |name: &str| metrics.iter().any(|metric| metric["name"] == name);
    assert!(named("<state>.rocksdb.estimate-num-keys"), "{}", metrics[0]);
}

#[tokio::test]
async fn groups_of_the_users_are_shown_with_flinks() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("flinkrelay.yaml");
    let shop = "flink:\n  metrics:\n    segments: {shop: {about: a shop}}\n    groups:\n      - group: shop\n        \
                about: Ours.\n        metrics:\n          - name: orders.<shop>.placed\n            scopes: \
                [taskmanager_job_task_operator]\n            type: counter\n            unit: count\n            \
                help: Orders.\n          - {name: numRecordsIn, scopes: [taskmanager_job_task], type: gauge, \
                unit: count, help: Corrected.}\n";
    std::fs::write(&file, shop).unwrap();
    let file = file.to_str().unwrap();
    let overview = flinkrelay(&["groups", "-c", file]).await;
    assert_eq!((overview.code, &*overview.stderr), (0, ""));
    let last = overview.stdout.lines().rfind(|line| line.starts_with(' ')).unwrap();
    let words: Vec<_> = last.split_whitespace().collect();
    assert_eq!(words, ["shop", "2", "Ours."], "{}", overview.stdout);
    let group = flinkrelay(&["groups", "shop", "--config", file]).await;
    insta::assert_snapshot!(group.told(&[]));
    let json = flinkrelay(&["groups", "shop", "-c", file, "-o", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let metrics = json["groups"][0]["metrics"].as_array().unwrap();
    assert_eq!(metrics[0]["takes"], serde_json::json!([]));
    assert_eq!(metrics[0]["since"], serde_json::Value::Null);
    let taken = serde_json::json!(["flink_taskmanager_job_task_numRecordsIn"]);
    assert_eq!(metrics[1]["takes"], taken);
    // Without the file there is no such group.
    let unknown = flinkrelay(&["groups", "shop"]).await;
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let mut child = command(&["groups", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Far more is printed than the pipe holds, so the program meets the closed end for certain.
    drop(child.stdout.take());
    let output = finish(child).await;
    assert_eq!((output.code, &*output.stderr), (0, ""));
}

#[tokio::test]
async fn the_demo_works_on_its_own() {
    let demo = flinkrelay(&["demo", "--for", "2s"]).await;
    assert_eq!(demo.code, 0, "{}", demo.stderr);
    for text in
        ["jobmanager", "taskmanager", "samples delivered", "flink_jobmanager_numRunningJobs"]
    {
        assert!(demo.stdout.contains(text), "{text}: {}", demo.stdout);
    }
}

#[tokio::test]
async fn an_unknown_level_or_address_is_refused_instead_of_taken_for_something_else() {
    for (flag, value, words) in [
        ("--log-level", "warning", "unknown level `warning`, expected one of off, error, warn"),
        ("--log-level", "", "unknown level ``"),
        ("--listen", "9480", "expected HOST:PORT such as 127.0.0.1:9480"),
        ("--listen", "127.0.0.1:80000", "expected HOST:PORT such as 127.0.0.1:9480"),
    ] {
        let receiver = ["--remote-write", "http://127.0.0.1:1/api/v1/write"];
        let arguments = [&["run", "--target", "127.0.0.1:1", flag, value][..], &receiver].concat();
        let output = flinkrelay(&arguments).await;
        assert_eq!(output.code, 2, "{flag} {value}: {}", output.stderr);
        assert!(output.stderr.contains(words), "{flag} {value}: {}", output.stderr);
    }
}
