//! Targets that show no page of Flink's.

use tempfile::TempDir;

use crate::{
    fakes::{
        flink::FakeFlink,
        http::{Answer, Server},
        tls::Authority,
    },
    process::file,
    world::{closed, doctor, rest, task_manager_page},
};

#[tokio::test]
async fn nobody_on_a_range_is_told_with_the_reporter_s_lines() {
    // Nobody listens on the first ports of a machine.
    let said = doctor(&["--target", "127.0.0.1:1-3"]).await;
    said.has_problem(
        "target-refused",
        "connection refused (3 of 3 ports)",
        "metrics.reporter.prom.port: 1-3",
    );
}

#[tokio::test]
async fn a_name_without_an_address_is_told() {
    let said = doctor(&["--target", "flink.invalid:9249"]).await;
    said.has_problem("target-dns", "cannot resolve flink.invalid", "getent ahosts flink.invalid");
}

#[tokio::test]
async fn a_port_on_loopback_alone_is_told() {
    let flink = FakeFlink::with_page(&task_manager_page()).await;
    let address = flink.address();
    let (_, port) = address.rsplit_once(':').unwrap();
    // Another address of this machine, on which the port is nobody's.
    let said = doctor(&["--target", &format!("127.0.0.2:{port}")]).await;
    let seen = format!("127.0.0.1:{port} on this machine answers with a Flink page");
    said.has_problem("target-loopback", &seen, &format!("--target {address}"));
    assert!(said.ids().contains(&"target-refused"), "{said:#?}");
}

#[tokio::test]
async fn credentials_for_a_target_are_not_tried_on_another_address() {
    let flink = FakeFlink::with_page(&task_manager_page()).await;
    let address = flink.address().replace("127.0.0.1", "127.0.0.2");
    let directory = TempDir::new().unwrap();
    let text = format!(
        "scrape_configs:\n  - job_name: flink\n    basic_auth: {{username: a, password: b}}\n    \
         static_configs: [{{targets: ['{address}']}}]\n"
    );
    let said = doctor(&["-c", &file(directory.path(), text.as_bytes())]).await;
    assert!(said.ids().contains(&"target-refused"), "{said:#?}");
    assert_eq!(flink.requests().len(), 0);
}

#[tokio::test]
async fn what_is_not_flink_is_named() {
    let node = "# HELP node_load1 1m load average.\n# TYPE node_load1 gauge\nnode_load1 0.5\n";
    let jmx = "jmx_scrape_error 0.0\njvm_threads_current 20.0\n";
    for (page, kind, name) in [
        (node, "text/plain", "node_exporter"),
        (jmx, "text/plain", "the JMX exporter"),
        ("<html><title>Grafana</title></html>", "text/html", "title \"Grafana\""),
        ("{\"status\":\"success\"}", "application/json", "is JSON"),
    ] {
        let other =
            FakeFlink::with_script(move |_| Answer::new(200, &[("content-type", kind)], page))
                .await;
        let address = other.address();
        let (host, port) = address.rsplit_once(':').unwrap();
        let port: u16 = port.parse().unwrap();
        let said = doctor(&["--target", &address]).await;
        let line = format!("--target {host}:{port}-{}", port.saturating_add(10));
        said.has_problem("page-foreign", name, &line);
    }
}

#[tokio::test]
async fn flink_s_own_web_port_is_told_with_the_reporter_s() {
    let settings = [
        ("metrics.reporter.prom.factory.class", crate::world::FACTORY),
        ("metrics.reporter.prom.port", "9250-9260"),
    ];
    let rest = rest("2.3.0", &settings, "").await;
    let address = rest.url().replace("http://", "");
    let said = doctor(&["--target", &address, "--flink-rest", &rest.url()]).await;
    let line = format!("--target 127.0.0.1:9250-9260 --flink-rest {}", rest.url());
    said.has_problem("page-rest", "Flink's REST API and web page", &line);
}

#[tokio::test]
async fn statuses_hangs_and_what_is_no_http_are_told() {
    let login = FakeFlink::with_script(|_| Answer::words(401, "who are you?")).await;
    let said = doctor(&["--target", &login.address()]).await;
    let line = "basic_auth: {username: NAME, password_file: /run/secrets/password}";
    said.has_problem("target-status", "HTTP 401", line);

    let starting = FakeFlink::with_script(|_| Answer::words(503, "starting")).await;
    let said = doctor(&["--target", &starting.address()]).await;
    let line = "grep -h PrometheusReporter log/flink-*.log";
    said.has_problem("target-status", "HTTP 503: starting", line);

    let rpc = FakeFlink::with_script(|_| Answer::close()).await;
    let said = doctor(&["--target", &rpc.address()]).await;
    said.has_problem("target-status", "connection closed before message completed", line);

    let stuck = FakeFlink::with_script(|_| Answer::hang()).await;
    let said = doctor(&["--target", &stuck.address()]).await;
    said.has_problem("target-hangs", "no answer in time", "jstack PID | grep -A20 -i prometheus");
}

#[tokio::test]
async fn tls_proxies_and_secrets_on_the_way_to_a_target_are_told() {
    let directory = TempDir::new().unwrap();
    let authority = Authority::new(directory.path(), "somebody");
    let served =
        Server::start(0, Some(authority.server("localhost", None)), |_| Answer::hang()).await;
    let https = format!("https://localhost:{}/metrics", served.address.port());
    let said = doctor(&["--target", &https]).await;
    let line = "tls_config: {ca_file: /etc/flinkrelay/ca.pem}";
    said.has_problem("target-tls", "UnknownIssuer", line);

    let (target, proxy) = (closed().await, closed().await);
    let config = |more: &str| {
        let text = format!(
            "scrape_configs:\n  - job_name: flink\n    {more}\n    static_configs: [{{targets: ['{target}']}}]\n"
        );
        file(directory.path(), text.as_bytes())
    };
    let said = doctor(&["-c", &config(&format!("proxy_url: http://{proxy}"))]).await;
    said.has_problem("target-proxy", "at the proxy", "no_proxy: 127.0.0.1");

    let flink = FakeFlink::with_page(&task_manager_page()).await;
    let text = format!(
        "scrape_configs:\n  - job_name: flink\n    authorization: {{credentials_file: nowhere}}\n    \
         static_configs: [{{targets: ['{}']}}]\n",
        flink.address()
    );
    let said = doctor(&["-c", &file(directory.path(), text.as_bytes())]).await;
    let line = "mount the file, or give its user the right to read it";
    said.has_problem("target-secret", "nowhere", line);
}

#[tokio::test]
async fn sources_of_targets_are_asked_and_told() {
    let directory = TempDir::new().unwrap();
    let flink = FakeFlink::with_page(&task_manager_page()).await;
    let list = directory.path().join("targets.yaml");
    let text =
        "scrape_configs:\n  - job_name: flink\n    file_sd_configs: [{files: [targets.yaml]}]\n";
    let path = file(directory.path(), text.as_bytes());
    std::fs::write(&list, format!("- targets: ['{}']\n", flink.address())).unwrap();
    let said = doctor(&["-c", &path]).await;
    assert!(!said.ids().iter().any(|id| id.starts_with("discovery-")), "{said:#?}");
    assert!(flink.scrapes() > 0, "what is found is looked at");

    std::fs::write(&list, "- target: []\n").unwrap();
    let said = doctor(&["-c", &path]).await;
    said.has_problem("discovery-fails", "targets.yaml:1:3: ", "- targets: [\"HOST:9249\"]");
    assert!(!said.ids().contains(&"target-none"), "one fault, one finding: {said:#?}");

    std::fs::remove_file(&list).unwrap();
    let said = doctor(&["-c", &path]).await;
    assert!(said.ids().contains(&"discovery-empty"), "{said:#?}");
}

#[tokio::test]
async fn no_target_at_all_is_told() {
    let directory = TempDir::new().unwrap();
    let text = "scrape_configs:\n  - job_name: flink\n    static_configs: [{targets: ['127.0.0.1:1']}]\n    \
                relabel_configs: [{action: drop, regex: '.*', source_labels: [job]}]\n";
    let said = doctor(&["-c", &file(directory.path(), text.as_bytes())]).await;
    said.has_problem("target-none", "relabel_configs drop every target", "relabel_configs: []");
    // One of two relays has it.
    let mut others = Vec::new();
    for shard in ["0/2", "1/2"] {
        others.push(doctor(&["--target", "127.0.0.1:1", "--shard", shard]).await);
    }
    let none: Vec<_> = others.iter().filter(|said| said.ids().contains(&"target-none")).collect();
    assert_eq!(none.len(), 1, "{others:#?}");
    none[0].has_problem("target-none", "all 1 targets fall to other relays", "--shard 0/1");
}
