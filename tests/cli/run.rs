//! `flinkrelay run` as a process: it flushes when it is told to stop, and does not stop for anything
//! else.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Child,
};

use crate::{
    fakes::{flink::FakeFlink, http::Answer, receiver::FakeReceiver, until, until_true},
    process::{Output, command, finish},
};

pub(crate) const PAGE: &str = "flink_taskmanager_Status_JVM_CPU_Time{host=\"h\",tm_id=\"tm_1\",} 1.0\n\
                    flink_taskmanager_Status_JVM_Threads_Count{host=\"h\",tm_id=\"tm_1\",} 2.0\n";

pub(crate) fn spawn(arguments: &[&str], environment: &[(&str, &str)]) -> Child {
    let mut command = command(&[&["run", "--interval", "300ms"], arguments].concat());
    command.envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Sends a signal by name, as a shell does.
pub(crate) async fn signal(child: &Child, name: &str) {
    let id = child.id().expect("it runs").to_string();
    let mut kill = tokio::process::Command::new("sh");
    kill.args(["-c", "kill -s $0 $1", name, &id]);
    assert!(kill.status().await.unwrap().success());
}

/// Ends the program by a signal; what it left behind, and how long that took.
pub(crate) async fn end(child: Child, name: &str) -> (Output, Duration) {
    let asked = Instant::now();
    signal(&child, name).await;
    (finish(child).await, asked.elapsed())
}

/// A free port, to listen on later.
pub(crate) fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn sigterm_and_sigint_flush_what_is_pending_and_exit_0() {
    for name in ["TERM", "INT"] {
        let flink = FakeFlink::with_page(PAGE).await;
        let remote = FakeReceiver::start().await;
        // Batches of 1.0 wait five seconds by default, so all that arrives does so because of the signal.
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("flinkrelay.yaml");
        let file = "{url: '${URL}', protobuf_message: prometheus.WriteRequest}";
        std::fs::write(&path, format!("remote_write: [{file}]\n")).unwrap();
        let path = path.display().to_string();
        let arguments = ["-c", &path, "--listen", "", "--target", &flink.address()];
        let child = spawn(&arguments, &[("URL", &remote.url())]);
        until_true("three scrapes", || flink.scrapes() >= 3).await;
        assert!(remote.tries().is_empty());
        let (output, took) = end(child, name).await;
        assert_eq!((output.code, &*output.stdout), (0, ""), "{}", output.stderr);
        assert!(took < Duration::from_secs(3), "{took:?}");
        let ups = remote.samples_of("up").len();
        assert!(ups == flink.scrapes() || ups + 1 == flink.scrapes(), "{ups}");
        assert!(remote.samples().iter().all(|sample| !sample.is_stale()));
        for line in [format!("SIG{name}: delivering what is pending"), "stopped".to_owned()] {
            assert!(output.stderr.contains(&line), "{line}: {}", output.stderr);
        }
    }
}

#[tokio::test]
async fn neither_receiver_nor_target_makes_it_exit() {
    let flink = FakeFlink::with_page(PAGE).await;
    let dead = free_address();
    let target = [flink.address(), dead.clone(), "nonexistent.invalid:9249".to_owned()].join(",");
    let remote = format!("http://{dead}/api/v1/write,http://nonexistent.invalid/api/v1/write");
    let environment = [("FLINKRELAY_TARGET", &*target), ("FLINKRELAY_REMOTE_WRITE", &remote)];
    let mut child = spawn(&["--listen", "", "--shutdown-grace", "200ms"], &environment);
    until_true("five scrapes", || flink.scrapes() >= 5).await;
    signal(&child, "HUP").await;
    let scrapes = flink.scrapes();
    until_true("two more scrapes", || flink.scrapes() >= scrapes + 2).await;
    assert_eq!(child.try_wait().unwrap(), None, "it goes on");
    let (output, took) = end(child, "TERM").await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(took < Duration::from_secs(2), "the grace is kept: {took:?}");
    let lost = "stopped; the receiver did not take all samples";
    assert_eq!(output.stderr.matches(lost).count(), 2, "{}", output.stderr);
    assert_eq!(output.stderr.matches("scrape failed").count(), 2, "{}", output.stderr);
}

#[tokio::test]
async fn the_environment_does_what_the_flags_do() {
    let flink = FakeFlink::with_page(PAGE).await;
    let (first, second) = (FakeReceiver::start().await, FakeReceiver::start().await);
    let listen = free_address();
    let child = spawn(
        &[],
        &[
            ("FLINKRELAY_TARGET", &flink.address()),
            ("FLINKRELAY_REMOTE_WRITE", &format!("{},{}", first.url(), second.url())),
            ("FLINKRELAY_INTERVAL", "1h"),
            ("FLINKRELAY_TIMEOUT", "300ms"),
            ("FLINKRELAY_GROUPS", "threads"),
            ("FLINKRELAY_EXTERNAL_LABEL", "cluster=eu,zone=a"),
            ("FLINKRELAY_TENANT", "team-1"),
            ("FLINKRELAY_LISTEN", &listen),
            ("FLINKRELAY_SHUTDOWN_GRACE", "2s"),
            ("FLINKRELAY_LOG_FORMAT", "json"),
            ("FLINKRELAY_LOG_LEVEL", "debug"),
            // As Helm and Compose write for a value that is not set.
            ("FLINKRELAY_CONFIG", ""),
        ],
    );
    until_true("two scrapes", || flink.scrapes() >= 2).await;
    let ready = until_answer(&listen, "/-/ready").await;
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    let targets = until_answer(&listen, "/targets").await;
    assert!(targets.contains("\"scrapeTimeoutSeconds\":0.3"), "{targets}");
    assert!(targets.contains("\"scrapeIntervalSeconds\":0.3"), "the flag wins: {targets}");
    let (output, _) = end(child, "TERM").await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    for line in output.stderr.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["level"].is_string() && event["message"].is_string(), "{line}");
    }
    for remote in [first, second] {
        assert_eq!(remote.accepted()[0].request.header("x-scope-orgid"), Some("team-1"));
        assert!(remote.samples_of("flink_taskmanager_Status_JVM_CPU_Time").is_empty());
        let threads = remote.samples_of("flink_taskmanager_Status_JVM_Threads_Count");
        assert_eq!((threads[0].label("cluster"), threads[0].label("zone")), ("eu", "a"));
    }
}

/// What an endpoint of the program answers, as soon as it listens.
pub(crate) async fn until_answer(address: &str, path: &str) -> String {
    let connect = || std::net::TcpStream::connect(address).ok();
    let stream = until("the endpoints", connect).await;
    stream.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(stream).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Connections to the endpoints that say nothing, or half of something, do not keep the process.
#[tokio::test]
async fn open_connections_do_not_keep_it_from_ending() {
    let flink = FakeFlink::with_page(PAGE).await;
    let remote = FakeReceiver::start().await;
    let listen = free_address();
    let arguments =
        ["--listen", &listen, "--target", &flink.address(), "--remote-write", &remote.url()];
    let child = spawn(&arguments, &[]);
    until_answer(&listen, "/-/healthy").await;
    let silent = TcpStream::connect(&listen).await.unwrap();
    let mut half = TcpStream::connect(&listen).await.unwrap();
    half.write_all(b"GET /metrics HTTP/1.1\r\nhost:").await.unwrap();
    until_true("a scrape", || flink.scrapes() >= 1).await;
    let (output, took) = end(child, "TERM").await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(took < Duration::from_secs(3), "{took:?}");
    drop((silent, half));
}

/// What a receiver refuses is told once in the log, not once per batch.
#[tokio::test]
async fn the_log_does_not_repeat_itself() {
    let flink = FakeFlink::with_page(PAGE).await;
    let remote = FakeReceiver::with_script(|_| Answer::words(400, "no such tenant")).await;
    let directory = tempfile::TempDir::new().unwrap();
    let text = format!(
        "remote_write:\n  - url: {}\n    queue_config: {{batch_send_deadline: 10ms}}\n",
        remote.url()
    );
    let path = crate::process::file(directory.path(), text.as_bytes());
    let child = spawn(&["-c", &path, "--listen", "", "--target", &flink.address()], &[]);
    until_true("four refusals", || remote.tries().len() >= 4).await;
    let (output, _) = end(child, "TERM").await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(output.stderr.matches("no such tenant").count(), 1, "{}", output.stderr);
    assert!(output.stderr.lines().count() < 12, "{}", output.stderr);
}
