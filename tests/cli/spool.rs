//! `flinkrelay run --data-dir` as a process: a kill costs nothing that was written.

use crate::{
    fakes::{flink::FakeFlink, http::Answer, receiver::FakeReceiver, until_true},
    process::flinkrelay,
    run::{PAGE, end, signal, spawn},
};

#[tokio::test]
async fn kill_9_costs_nothing_that_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().display().to_string();
    let flink = FakeFlink::with_page(PAGE).await;
    let remote = FakeReceiver::with_script(|_| Answer::words(503, "down")).await;
    let (target, url) = (flink.address(), remote.url());
    let arguments = ["--listen", "", "--target", &target, "--remote-write", &url];
    let arguments = [&arguments[..], &["--data-dir", &data]].concat();
    for kills in 1..=3 {
        let mut child = spawn(&arguments, &[]);
        until_true("two more scrapes", || flink.scrapes() >= kills * 3 - 1).await;
        if kills == 2 {
            let second = flinkrelay(&[&["run"][..], &arguments].concat()).await;
            assert_eq!((second.code, &*second.stdout), (1, ""));
            assert!(second.stderr.contains("is in use by another flinkrelay"), "{}", second.stderr);
        }
        signal(&child, "KILL").await;
        child.wait().await.unwrap();
    }
    assert!(remote.accepted().is_empty());
    remote.set(|_| Answer::words(204, ""));
    let child = spawn(&arguments, &[]);
    // Each scrape makes one `up`, good or bad; at each kill one may have been under way. The receiver
    // refuses what is out of order or comes twice.
    let killed_at = flink.scrapes();
    until_true("what came before the kills, and more", || {
        remote.samples_of("up").len() + 3 > killed_at
    })
    .await;
    let (output, _) = end(child, "TERM").await;
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stderr.contains("an earlier run has left samples"), "{}", output.stderr);
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_used_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let data = file.display().to_string();
    let arguments =
        ["run", "--target", "h:1", "--remote-write", "http://h:2/w", "--data-dir", &data];
    let output = flinkrelay(&arguments).await;
    assert_eq!((output.code, &*output.stdout), (1, ""));
    assert!(output.stderr.contains("cannot make the directory"), "{}", output.stderr);
    assert!(output.stderr.contains(&data), "{}", output.stderr);
}
