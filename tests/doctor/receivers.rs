//! Receivers that do not take what a relay would send.

use std::time::{Duration, SystemTime};

use flinkrelay::remote_write::proto::WriteRequest;
use prost::Message as _;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::{
    fakes::{
        flink::FakeFlink,
        http::{Answer, Server},
        tls::Authority,
    },
    process::file,
    world::{Receiver, Said, closed, doctor, job_manager_page},
};

/// What doctor says of a receiver, with a Flink that is well.
async fn of(url: &str, more: &[&str]) -> Said {
    let flink = FakeFlink::with_page(&job_manager_page()).await;
    doctor(&[&["--target", &flink.address(), "--remote-write", url], more].concat()).await
}

/// The same for one that answers this at this path.
async fn answering(answer: Answer, path: &str) -> (Said, String) {
    let receiver = Receiver::answering(answer).await;
    let said = of(&receiver.url(path), &[]).await;
    assert_eq!(said.ids().len(), 1, "{said:#?}");
    (said, receiver.url(""))
}

#[tokio::test]
async fn a_wrong_path_is_told_with_the_right_ones() {
    let (said, origin) = answering(Answer::words(404, "404 page not found"), "/api/v1/write").await;
    said.has_problem(
        "receiver-path",
        "404 page not found",
        &format!("--remote-write {origin}/api/v1/push"),
    );
    said.has_problem(
        "receiver-path",
        "HTTP 404",
        &format!("--remote-write {origin}/api/v1/receive"),
    );
    let (said, origin) = answering(Answer::words(405, ""), "/").await;
    said.has_problem("receiver-path", "HTTP 405", &format!("--remote-write {origin}/api/v1/write"));
    let words = "unsupported path requested: \"/write\"";
    let victoria = Answer::new(400, &[("x-server-hostname", "vm")], words);
    let (said, origin) = answering(victoria, "/write").await;
    said.has_problem(
        "receiver-path",
        words,
        &format!("--remote-write {origin}/insert/0/prometheus/api/v1/write"),
    );
    let lines = said.finding("receiver-path")["fixes"].to_string();
    assert!(!lines.contains("/api/v1/push"), "VictoriaMetrics has no such path: {lines}");
}

#[tokio::test]
async fn a_prometheus_without_its_receiver_is_told() {
    let words = "remote write receiver needs to be enabled with --web.enable-remote-write-receiver";
    let (said, _) = answering(Answer::words(404, words), "/api/v1/write").await;
    said.has_problem("receiver-switched-off", words, "--web.enable-remote-write-receiver");
}

#[tokio::test]
async fn a_missing_tenant_is_told() {
    let receiver = Receiver::answering(Answer::words(401, "no org id")).await;
    let said = of(&receiver.url("/api/v1/push"), &[]).await;
    said.has_problem("receiver-tenant", "HTTP 401", "--tenant NAME");
    assert_eq!(receiver.requests()[0].header("x-scope-orgid"), None);
    of(&receiver.url("/api/v1/push"), &["--tenant", "streaming"]).await;
    assert_eq!(receiver.requests()[1].header("x-scope-orgid"), Some("streaming"));
}

#[tokio::test]
async fn credentials_redirects_and_messages_are_told() {
    let check = async |answer: Answer, id: &str, seen: &str, line: &str| {
        let (said, _) = answering(answer, "/api/v1/write").await;
        said.has_problem(id, seen, line);
    };
    let token = "authorization: {credentials_file: /run/secrets/token}";
    check(Answer::words(401, "Unauthorized"), "receiver-credentials", "HTTP 401", token).await;
    check(Answer::words(403, "not yours"), "receiver-credentials", "not yours", token).await;
    let to = "https://login.example.com/";
    let redirect = Answer::new(302, &[("location", to)], "");
    check(redirect, "receiver-redirect", to, &format!("--remote-write {to}")).await;
    let unknown = Answer::words(415, "unsupported media type");
    check(unknown, "receiver-message", "unsupported", "protobuf_message: auto").await;
    let bisect = "on_status: {400: bisect}";
    check(Answer::words(400, "snappy: corrupt input"), "receiver-refuses", "corrupt input", bisect)
        .await;
    check(Answer::words(422, "no more series"), "receiver-refuses", "no more series", bisect).await;
    let (said, origin) = answering(Answer::words(500, "at a loss"), "/api/v1/write").await;
    let line = format!("curl -sv -X POST {origin}/api/v1/write");
    said.has_problem("receiver-fails", "at a loss", &line);
    let (said, origin) =
        answering(Answer::words(500, "at a loss"), "/insert/0/prometheus/api/v1/write?key=s").await;
    let line = format!("curl -sv -X POST {origin}/insert/0/prometheus/api/v1/write");
    said.has_problem("receiver-fails", "at a loss", &line);
}

#[tokio::test]
async fn what_may_be_well_after_all_is_a_warning() {
    let (said, _) = answering(Answer::words(429, "slow down"), "/api/v1/write").await;
    said.has_warning("receiver-fails", "slow down", "ingestion_rate: 50000");
    let (said, _) = answering(Answer::words(400, "empty write request"), "/api/v1/write").await;
    said.has_warning("receiver-refuses", "empty", "flinkrelay doctor --send-sample …");
    assert_eq!(said.code, 0);
}

#[tokio::test]
async fn a_receiver_of_1_0_that_is_to_get_2_0_is_told() {
    let (flink, receiver) =
        (FakeFlink::with_page(&job_manager_page()).await, Receiver::well().await);
    let directory = TempDir::new().unwrap();
    let text = format!(
        "scrape_configs:\n  - job_name: flink\n    static_configs: [{{targets: ['{}']}}]\n\
         remote_write:\n  - url: {}\n    protobuf_message: io.prometheus.write.v2.Request\n",
        flink.address(),
        receiver.url("/api/v1/write"),
    );
    let said = doctor(&["-c", &file(directory.path(), text.as_bytes())]).await;
    said.has_problem("receiver-message", "without saying how many", "protobuf_message: auto");
}

#[tokio::test]
async fn a_clock_that_is_off_is_told_by_how_much() {
    let check = async |offset: i64, severity: &str, way: &str| {
        let receiver = Receiver::saying(move || {
            let skew = Duration::from_secs(offset.unsigned_abs());
            let now = SystemTime::now();
            Receiver::taking_at(if offset > 0 { now + skew } else { now - skew })
        })
        .await;
        let said = of(&receiver.url("/api/v1/write"), &[]).await;
        assert_eq!(said.ids(), ["receiver-clock"], "{said:#?}");
        assert_eq!(said.findings[0]["severity"], severity);
        let line = "timedatectl set-ntp true";
        match severity {
            "problem" => said.has_problem("receiver-clock", way, line),
            _ => said.has_warning("receiver-clock", way, line),
        }
    };
    check(3600, "problem", "ahead of this machine's").await;
    check(-1200, "problem", "behind this machine's").await;
    // A loaded machine makes answers late by some seconds, not by a minute.
    check(120, "warning", "ahead of this machine's").await;
}

#[tokio::test]
async fn nobody_no_name_no_answer_and_no_trust_are_told() {
    let closed = closed().await;
    let said = of(&format!("http://{closed}/api/v1/write"), &[]).await;
    said.has_problem(
        "receiver-refused",
        "connection refused",
        "--remote-write http://127.0.0.1:PORT/api/v1/write",
    );
    let said = of("http://vm.invalid/api/v1/write", &[]).await;
    said.has_problem("receiver-dns", "cannot resolve vm.invalid", "getent ahosts vm.invalid");
    let gone = Receiver::answering(Answer::close()).await;
    let said = of(&gone.url("/w"), &[]).await;
    let line = format!("--remote-write {}", gone.url("/w").replace("http:", "https:"));
    said.has_problem("receiver-unreachable", "closed", &line);

    let directory = TempDir::new().unwrap();
    let authority = Authority::new(directory.path(), "somebody");
    let answer = |_| Answer::new(204, &[], "");
    let tls = Server::start(0, Some(authority.server("localhost", None)), answer).await;
    let said = of(&format!("https://localhost:{}/w", tls.address.port()), &[]).await;
    let line = "tls_config: {ca_file: /etc/flinkrelay/ca.pem}";
    said.has_problem("receiver-tls", "UnknownIssuer", line);
    // Plain HTTP where TLS is spoken.
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _gone = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let said = of(&format!("https://{address}/w"), &[]).await;
    said.has_problem("receiver-tls", "TLS", &format!("--remote-write http://{address}/w"));
    answering.abort();
}

#[tokio::test]
async fn labels_beyond_the_limits_are_told() {
    let long = "x".repeat(3000);
    let page = format!(
        "flink_taskmanager_job_task_numRecordsIn{{tm_id=\"a\",job_id=\"1\",task_name=\"{long}\",subtask_index=\"0\",}} 1.0\n"
    );
    let flink = FakeFlink::with_page(&page).await;
    let receiver = Receiver::well().await;
    let ask = async |path: &str| {
        doctor(&["--target", &flink.address(), "--remote-write", &receiver.url(path)]).await
    };
    let seen = "1 series have a label `task_name` of more than 2048 bytes, the longest 3000";
    ask("/api/v1/push").await.has_problem("label-limit", seen, "max_label_value_length: 4096");
    let said = ask("/api/v1/write").await;
    assert!(!said.ids().contains(&"label-limit"), "Prometheus has no limit: {said:#?}");

    let directory = TempDir::new().unwrap();
    let text = format!(
        "scrape_configs:\n  - job_name: flink\n    static_configs: [{{targets: ['{}']}}]\n\
         remote_write:\n  - url: {}\n    label_limit: 6\n",
        flink.address(),
        receiver.url("/api/v1/write"),
    );
    let said = doctor(&["-c", &file(directory.path(), text.as_bytes())]).await;
    let seen = "1 series exceed the label limits configured for it";
    said.has_warning("label-limit", seen, "label_limit: 12");
}

#[tokio::test]
async fn one_sample_is_written_when_it_is_asked_for() {
    let receiver = Receiver::well().await;
    let said = of(&receiver.url("/w"), &["--send-sample", "--external-label", "cluster=eu"]).await;
    assert_eq!((said.code, said.ids()), (0, vec![]));
    let requests = receiver.requests();
    assert_eq!(requests.len(), 1);
    let raw = snap::raw::Decoder::new().decompress_vec(&requests[0].body).unwrap();
    let request = WriteRequest::decode(&*raw).unwrap();
    assert_eq!(request.timeseries.len(), 1);
    let labels = request.timeseries[0].labels.iter().map(|l| format!("{}={}", l.name, l.value));
    assert_eq!(labels.collect::<Vec<_>>(), ["__name__=flinkrelay_doctor", "cluster=eu"]);
    assert_eq!(request.timeseries[0].samples[0].value, 1.0);
}
