//! Where targets are looked for: what each entry comes to, and what is said of a bad one.

use std::{path::PathBuf, time::Duration};

use flinkrelay::config::{Auth, Discovery, DnsRecord, FlinkPorts, FlinkSd};

use super::{good, job, read};

/// A file with one job that has these lines and no static targets.
fn found(lines: &str) -> String {
    job(lines).replace("    static_configs: [{targets: [localhost:9249]}]\n", "")
}

fn only(lines: &str) -> Discovery {
    let mut discovery = good(&found(lines)).scrapes.remove(0).discovery;
    assert_eq!(discovery.len(), 1, "{lines}");
    discovery.remove(0)
}

#[test]
fn files_are_paths_beside_the_configuration() {
    let Discovery::File(file) =
        only("file_sd_configs: [{files: ['targets/*.yml', /etc/a.json, b.YAML]}]")
    else {
        panic!("another kind")
    };
    assert_eq!(file.files, ["conf/targets/*.yml", "/etc/a.json", "conf/b.YAML"].map(PathBuf::from));
    assert_eq!(file.refresh_interval, Duration::from_secs(300));
}

#[test]
fn each_source_has_a_client_of_its_own() {
    let Discovery::Http(http) = only(
        "basic_auth: {username: of-targets}\nhttp_sd_configs:\n- url: 'https://${HOST}/t?a=b'\n  \
         refresh_interval: 5s\n  authorization: {credentials_file: token}",
    ) else {
        panic!("another kind")
    };
    assert_eq!(http.url.to_string(), "https://vm/t?a=b");
    assert_eq!(http.refresh_interval, Duration::from_secs(5));
    assert!(matches!(&http.http.auth, Some(Auth::Authorization(_))), "{:?}", http.http.auth);
    assert_eq!(Discovery::Http(http).to_string(), "http https://vm/t", "a query may hold a secret");
}

#[test]
fn records_of_names() {
    let of = |lines: &str| match only(&format!("dns_sd_configs: [{{{lines}}}]")) {
        Discovery::Dns(dns) => (dns.names.join(" "), dns.record, dns.port),
        other => panic!("{other:?}"),
    };
    let (names, record, _) = of("names: [_a._tcp.x, b]");
    assert_eq!((names.as_str(), record), ("_a._tcp.x b", DnsRecord::Srv));
    assert_eq!(of("names: [a], type: aaaa, port: 9250"), ("a".to_owned(), DnsRecord::Aaaa, 9250));
}

#[test]
fn a_cluster_by_its_rest_api() {
    let of = |lines: &str| match only(&format!("flink_sd_configs: [{{source: rest, {lines}}}]")) {
        Discovery::Flink(FlinkSd::Rest(rest)) => (rest.ports.clone(), rest.job_manager),
        other => panic!("{other:?}"),
    };
    let range = |first, last| FlinkPorts::Range(first..=last);
    assert_eq!(of("url: 'http://jm:8081'"), (range(9249, 9249), true));
    assert_eq!(
        of("url: 'http://jm:8081', ports: 9250-9260, job_manager: false"),
        (range(9250, 9260), false)
    );
    assert_eq!(of("url: 'http://jm:8081/flink', ports: logs").0, FlinkPorts::Logs);
}

#[test]
fn any_number_beside_static_targets() {
    let lines = "flink_sd_configs: [{source: rest, url: 'http://jm:8081'}]\n\
                 file_sd_configs: [{files: [a.json]}, {files: [b.json]}]\ndns_sd_configs: []";
    let config = good(&job(lines));
    let scrape = &config.scrapes[0];
    let kinds: Vec<_> = scrape.discovery.iter().map(Discovery::mechanism).collect();
    assert_eq!(kinds, ["file", "file", "flink_rest"]);
    assert_eq!(scrape.static_configs.len(), 1);
}

#[test]
fn what_is_said_of_bad_entries() {
    let check = |lines: &str, expected: &[&str]| {
        let error = read(&found(lines)).unwrap_err();
        let messages: Vec<_> = error.faults().iter().map(|fault| fault.message()).collect();
        assert_eq!(messages, expected, "{lines}");
    };
    check("file_sd_configs: []", &["the job has no targets"]);
    check("file_sd_configs: [{}]", &["file_sd_configs needs `files`, at least one path"]);
    check(
        "file_sd_configs: [{files: [a.txt, '*/b.yaml', /c.yaml]}]",
        &[
            "`conf/a.txt` is no path of files with targets",
            "`conf/*/b.yaml` is no path of files with targets",
        ],
    );
    check("http_sd_configs: [{}]", &["http_sd_configs needs a `url`"]);
    check(
        "http_sd_configs: [{url: 'ftp://a'}]",
        &[
            "the URL must begin with http:// or https://: expected one such as http://inventory:8080/targets",
        ],
    );
    check("http_sd_configs: [{url: 'http://a', refresh_interval: 0s}]", &["must be longer than 0"]);
    check("dns_sd_configs: [{type: SRV}]", &["dns_sd_configs needs `names`, at least one"]);
    check("dns_sd_configs: [{names: [a], type: A}]", &["records of type A name no port"]);
    check(
        "dns_sd_configs: [{names: [a], type: TXT}]",
        &["`TXT`: expected one of `SRV`, `A`, `AAAA`, `MX`, `NS`"],
    );
    check("flink_sd_configs: [{url: 'http://a'}]", &["flink_sd_configs needs a `source`"]);
    check("flink_sd_configs: [{source: rest}]", &["flink_sd_configs needs a `url`"]);
    check(
        "flink_sd_configs: [{source: rest, url: 'http://a?b', ports: 9260-9250}]",
        &[
            "the URL of a REST API cannot have a query (`?…`)",
            "the port range 9260-9250 is reversed: write 9250-9260, or `logs`",
        ],
    );
}
