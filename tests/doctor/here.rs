//! This machine: configuration, data directory, time.

use std::fs::File;

use tempfile::TempDir;

use crate::{
    fakes::{flink::FakeFlink, http::Answer},
    process::{file, flinkrelay},
    world::{Receiver, doctor, job_manager_page},
};

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_told_as_check_tells_it() {
    let directory = TempDir::new().unwrap();
    let text = "scrape_configs:\n  - job_name: flink\n    scrape_intervall: 5s\n    static_configs: [{targets: [h:1]}]\nremote_write: [{url: http://vm/w}]\n";
    let path = file(directory.path(), text.as_bytes());
    let [doctor, check] = [["doctor", "-c", &path], ["check", "-c", &path]];
    let (doctor, check) = (flinkrelay(&doctor).await, flinkrelay(&check).await);
    assert_eq!((doctor.code, &*doctor.stdout), (2, ""));
    assert_eq!(doctor.stderr, check.stderr);
    let none = flinkrelay(&["doctor"]).await;
    assert_eq!(none.code, 2);
    assert!(none.stderr.contains("there is nothing to scrape"), "{}", none.stderr);
}

#[tokio::test]
async fn data_directories_that_do_not_serve_are_told() {
    let flink = FakeFlink::with_page(&job_manager_page()).await;
    let receiver = Receiver::well().await;
    let (target, url) = (flink.address(), receiver.url("/w"));
    let ask = async |directory: &str| {
        doctor(&["--target", &target, "--remote-write", &url, "--data-dir", directory]).await
    };
    let place = TempDir::new().unwrap();
    let in_the_way = place.path().join("file");
    std::fs::write(&in_the_way, "").unwrap();
    let said = ask(&in_the_way.join("spool").display().to_string()).await;
    said.has_problem("data-dir-unusable", "Not a directory", "--data-dir /var/lib/flinkrelay");

    let lock = File::create(place.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let path = place.path().display().to_string();
    let said = ask(&path).await;
    said.has_warning("data-dir-in-use", "another process has it", &format!("fuser -v {path}/lock"));
    assert_eq!(said.code, 0, "it may be the relay that is looked after");

    let text = format!(
        "scrape_configs:\n  - job_name: flink\n    static_configs: [{{targets: ['{target}']}}]\n\
         spool: {{directory: data}}\nremote_write:\n  - url: {url}\n    queue_config: {{max_bytes: 900TiB}}\n",
    );
    let said = doctor(&["-c", &file(place.path(), text.as_bytes())]).await;
    let small = said.finding("data-dir-small");
    assert_eq!(small["severity"], "warning");
    assert!(small["fixes"][0]["line"].as_str().unwrap().starts_with("queue_config: {max_bytes: "));
}

#[tokio::test]
async fn it_ends_in_time_and_names_what_it_has_not_seen() {
    let flink = FakeFlink::with_script(|_| Answer::hang()).await;
    let receiver = Receiver::answering(Answer::hang()).await;
    let address = flink.address();
    let said = doctor(&[
        "--target",
        &address,
        "--remote-write",
        &receiver.url("/w"),
        "--max-time",
        "500ms",
    ])
    .await;
    assert_eq!(said.ids(), ["unfinished", "unfinished"], "{said:#?}");
    assert_eq!(said.findings[0]["subject"], *address);
    assert_eq!(said.findings[1]["subject"], *receiver.url("/w"));
}
