//! `flinkrelay run` takes another configuration: at a signal, at a request, when the file changes.

use std::{fs, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    fakes::{flink::FakeFlink, http::Answer, receiver::FakeReceiver, until, until_true},
    process::file,
    run::{PAGE, end, free_address, signal, spawn, until_answer},
};

/// A configuration with this team as an external label.
fn config(flink: &FakeFlink, remote: &FakeReceiver, team: &str) -> String {
    format!(
        "global: {{scrape_interval: 200ms, external_labels: {{team: {team}}}}}\n\
         scrape_configs:\n  - job_name: flink\n    static_configs: [{{targets: ['{}']}}]\n\
         remote_write:\n  - {{url: '{}', name: one, queue_config: {{batch_send_deadline: 20ms}}}}\n",
        flink.address(),
        remote.url()
    )
}

async fn until_team(remote: &FakeReceiver, team: &str) {
    until_true(team, || remote.samples_of("up").last().is_some_and(|up| up.label("team") == team))
        .await;
}

/// Asks an endpoint by a method, without waiting for it to listen.
async fn ask(address: &str, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The value of one of the relay's own metrics.
async fn metric(address: &str, name: &str) -> f64 {
    let page = ask(address, "GET", "/metrics").await;
    let line = page.lines().find(|line| line.split(' ').next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name}")).split(' ').next_back().unwrap().parse().unwrap()
}

/// Replaces a file in one step, as tools do that know that it is read.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

const SUCCESSFUL: &str = "flinkrelay_config_last_reload_successful";
const TIMESTAMP: &str = "flinkrelay_config_last_reload_success_timestamp_seconds";
const HASH: &str = "flinkrelay_config_hash";

#[tokio::test]
async fn a_signal_and_a_request_reload_and_a_bad_file_is_refused() {
    let flink = FakeFlink::with_page(PAGE).await;
    let remote = FakeReceiver::start().await;
    let directory = tempfile::TempDir::new().unwrap();
    let path = file(directory.path(), config(&flink, &remote, "red").as_bytes());
    let listen = free_address();
    let off = ["--config-auto-reload-interval", "0"];
    let child = spawn(&[&["-c", &path, "--listen", &listen], &off[..]].concat(), &[]);
    until_answer(&listen, "/-/healthy").await;
    until_team(&remote, "red").await;
    assert_eq!(metric(&listen, SUCCESSFUL).await, 1.0, "the start counts");
    let (started, hash) = (metric(&listen, TIMESTAMP).await, metric(&listen, HASH).await);

    let path = Path::new(&path);
    replace(path, &config(&flink, &remote, "blue"));
    signal(&child, "HUP").await;
    until_team(&remote, "blue").await;
    let blue = metric(&listen, HASH).await;
    assert!(blue != hash && metric(&listen, TIMESTAMP).await > started);

    replace(path, &config(&flink, &remote, "green"));
    let answer = ask(&listen, "GET", "/-/reload").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "a link must not reload: {answer}");
    let answer = ask(&listen, "POST", "/-/reload").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    until_team(&remote, "green").await;

    let good = metric(&listen, TIMESTAMP).await;
    replace(path, &config(&flink, &remote, "green").replace("job_name", "job_nmae"));
    let answer = ask(&listen, "POST", "/-/reload").await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    let place = format!("{}:3:5: unknown field `job_nmae`", path.display());
    assert!(answer.contains(&place) && answer.contains("did you mean `job_name`?"), "{answer}");
    assert_eq!(metric(&listen, SUCCESSFUL).await, 0.0);
    assert_eq!(metric(&listen, TIMESTAMP).await, good);
    let scrapes = flink.scrapes();
    until_true("that it goes on", || flink.scrapes() >= scrapes + 2).await;
    // A certificate that is not there is told as at the start.
    let tls = "tls_config: {ca_file: no.pem}, name: one";
    replace(path, &config(&flink, &remote, "x").replace("name: one", tls));
    let answer = ask(&listen, "POST", "/-/reload").await;
    assert!(answer.contains("remote_write one: ") && answer.contains("no.pem"), "{answer}");

    let (output, _) = end(child, "TERM").await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    let refused: Vec<_> =
        output.stderr.lines().filter(|line| line.contains("is refused")).collect();
    assert_eq!(refused.len(), 2, "{}", output.stderr);
    assert!(refused[0].contains(&place) && refused[0].contains("ERROR"), "{refused:?}");
    assert_eq!(output.stderr.matches("the configuration is reloaded").count(), 2);
    let teams = remote.samples_of("up").last().unwrap().label("team").to_owned();
    assert_eq!(teams, "green");
}

#[tokio::test]
async fn a_file_that_changes_is_read_again() {
    let flink = FakeFlink::with_page(PAGE).await;
    let remote = FakeReceiver::start().await;
    let directory = tempfile::TempDir::new().unwrap();
    let path = file(directory.path(), config(&flink, &remote, "red").as_bytes());
    let arguments = ["-c", &path, "--listen", ""];
    let environment = [("FLINKRELAY_CONFIG_AUTO_RELOAD_INTERVAL", "50ms")];
    let child = spawn(&arguments, &environment);
    until_team(&remote, "red").await;
    replace(Path::new(&path), "global: [");
    replace(Path::new(&path), &config(&flink, &remote, "blue"));
    until_team(&remote, "blue").await;
    let (output, _) = end(child, "TERM").await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(output.stderr.matches("the file has changed").count(), 1, "{}", output.stderr);
    assert!(!output.stderr.contains("is refused"), "{}", output.stderr);
}

#[tokio::test]
async fn the_first_line_says_what_the_relay_does() {
    let flink = FakeFlink::with_page(PAGE).await;
    let remote = FakeReceiver::start().await;
    let listen = free_address();
    let target = format!("{},127.0.0.1:1-4", flink.address());
    let arguments = [
        "--listen",
        &listen,
        "--target",
        &target,
        "--remote-write",
        &remote.url(),
        "--groups",
        "cpu,memory",
        "--shard",
        "relay-0/1",
    ];
    let child = spawn(&arguments, &[("FLINKRELAY_FINAL_SCRAPE", "false")]);
    until_answer(&listen, "/-/healthy").await;
    let (output, _) = end(child, "TERM").await;
    let line = output.stderr.lines().next().unwrap();
    let name = remote.url();
    let name = name.trim_start_matches("http://").split('/').next().unwrap();
    for part in [
        "started",
        &format!("listen={listen}"),
        "file=none",
        &format!("receivers=\"{name}\""),
        "groups=cpu,memory",
        "targets=1",
        "ranges=1",
        "shard=0/1",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

/// The second signal: whoever sends it does not want to wait for the grace.
#[tokio::test]
async fn a_second_signal_cuts_the_grace_short() {
    let flink = FakeFlink::with_page(PAGE).await;
    let remote = FakeReceiver::with_script(|_| Answer::hang()).await;
    let listen = free_address();
    let arguments = [
        "--listen",
        &listen,
        "--target",
        &flink.address(),
        "--remote-write",
        &remote.url(),
        "--shutdown-grace",
        "60s",
    ];
    let child = spawn(&arguments, &[]);
    // The first has ended when the second begins.
    until_true("two scrapes", || flink.scrapes() >= 2).await;
    signal(&child, "TERM").await;
    // It has heard the first, and waits for the receiver.
    while !ask(&listen, "GET", "/-/ready").await.starts_with("HTTP/1.1 503 ") {}
    until("the last request", || remote.tries().into_iter().next()).await;
    let (output, took) = end(child, "INT").await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(took < Duration::from_secs(5), "{took:?}");
    for line in ["SIGTERM: delivering", "SIGINT again", "did not take all samples"] {
        assert!(output.stderr.contains(line), "{line}: {}", output.stderr);
    }
}

#[tokio::test]
async fn the_final_scrape_brings_the_last_values() {
    let flink = FakeFlink::with_page(PAGE).await;
    let remote = FakeReceiver::start().await;
    let arguments = [
        "--listen",
        "",
        "--target",
        &flink.address(),
        "--remote-write",
        &remote.url(),
        "--final-scrape",
    ];
    let child = spawn(&arguments, &[]);
    until_true("a scrape", || flink.scrapes() >= 1).await;
    let last = PAGE.replace("1.0", "17.0");
    flink.set_page(&last);
    let (output, _) = end(child, "TERM").await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    let values = remote.samples_of("flink_taskmanager_Status_JVM_CPU_Time");
    assert_eq!(values.last().unwrap().value, 17.0);
}
