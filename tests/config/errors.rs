//! What is said about a bad configuration, as a person sees it.

use std::fmt::Write;

use flinkrelay::{
    config::{Overrides, Place, load},
    flink::derived::Switch,
};

use super::{env, good, job, read, read_with, receiver, scrape_only};

#[track_caller]
fn error(text: &str) -> String {
    match read_with(text, &scrape_only()) {
        Ok(config) => panic!("this should be an error:\n{text}\n{config:#?}"),
        Err(error) => error.to_string(),
    }
}

/// Several files with what is said about each, as one text.
fn report(files: &[&str]) -> String {
    let mut out = String::new();
    for file in files {
        writeln!(out, "{}\n---------- is refused:\n{}\n==========", file.trim_end(), error(file))
            .unwrap();
    }
    out
}

#[test]
fn unknown_keys() {
    insta::assert_snapshot!(report(&[
        "globals: {}\n",
        "global:\n  scrape_intervall: 15s\n",
        &job("consul_sd_configs: []"),
        &job("basic_auth: {usernam: a, pasword: hunter2}"),
        &receiver("queue_config:\n  max_retries: 1"),
        "flink:\n  groups:\n    exlude: [io]\n",
    ]));
}

#[test]
fn wrong_types() {
    insta::assert_snapshot!(report(&[
        "scrape_configs: 5\n",
        "scrape_configs:\n  job_name: x\n",
        "global: [a]\n",
        &job("scheme: [http]"),
        &job("honor_labels: yes\nsample_limit: many"),
        &receiver("queue_config: {max_shards: 0, max_samples_per_send: -1, max_bytes: 5MB10}"),
        "flink: {groups: cpu}\n",
        "flink: {labels: [raw]}\n",
    ]));
}

#[test]
fn broken_yaml() {
    insta::assert_snapshot!(report(&[
        "global:\n  scrape_interval: 15s\n scrape_timeout: 10s\n",
        "global: {scrape_interval: 15s\n",
        "global:\n  external_labels: {a: ${HOST}}\n",
        "just text\n",
        "<html><body>404: not found</body></html>\n",
        "global: *nothing\n",
        "global: {}\n---\nglobal: {}\n",
        "global: {}\nglobal: {}\n",
        "global:\n  external_labels:\n    a: 1\n    a: 2\n",
    ]));
}

#[test]
fn empty_files() {
    insta::assert_snapshot!(report(&[
        "",
        "# nothing but a comment\n---\n",
        "scrape_configs: []\n"
    ]));
}

#[test]
fn nothing_to_do() {
    let error = load(None, &Overrides::default(), &env).unwrap_err();
    insta::assert_snapshot!(error);
    let receivers = read("remote_write: []\n").unwrap_err();
    insta::assert_snapshot!(receivers);
}

#[test]
fn variables() {
    insta::assert_snapshot!(report(&[
        &job("metrics_path: /${NO_SUCH_VARIABLE}"),
        &job("metrics_path: /${HOST"),
        &job("scrape_interval: ${HOST}"),
        &job("metric_relabel_configs:\n- {target_label: a, replacement: \"${second}\"}"),
    ]));
}

#[test]
fn durations() {
    insta::assert_snapshot!(report(&[
        "global:\n  scrape_interval: 15\n",
        "global:\n  scrape_interval: 1.5m\n",
        "global:\n  scrape_interval: 0s\n",
        "global:\n  scrape_interval: 5s\n  scrape_timeout: 6s\n",
        &job("scrape_timeout: 20s"),
        &receiver("queue_config: {min_backoff: 10s, max_backoff: 5s}"),
    ]));
}

#[test]
fn targets() {
    let targets = |list: &str| {
        format!("scrape_configs:\n  - job_name: a\n    static_configs:\n      - targets: {list}\n")
    };
    insta::assert_snapshot!(report(&[
        &targets("[]"),
        &targets("[localhost, 'h:9249/metrics', 'h:0', 'h:9260-9250', 'h:1-2000', '::1']"),
        &targets("['ftp://h:1', 'http://user:hunter2@h:1', 'user:hunter2@h:1', '${HOST}']"),
        "scrape_configs:\n  - job_name: a\n    static_configs: []\n",
        "scrape_configs:\n  - job_name: a\n",
        "scrape_configs:\n  - static_configs: [{targets: ['h:1']}]\n",
        &targets("[h:1]\n        labels: {a-b: c}"),
    ]));
}

#[test]
fn urls() {
    let url = |url: &str| format!("{}  - url: {url}\n", job(""));
    insta::assert_snapshot!(report(&[
        &url("vm:8428"),
        &url("''"),
        &url("http://user:hunter2@vm/"),
        &url("http://a b/"),
        &url("http://vm:8428/#x"),
        &url("http://vm:99999/"),
        &url("http://vm:0/"),
        "remote_write:\n  - name: x\n",
    ]));
}

#[test]
fn relabelling() {
    let rule = |rule: &str| job(&format!("metric_relabel_configs:\n- {rule}"));
    insta::assert_snapshot!(report(&[
        &rule("regex: (.*\n  target_label: a"),
        &rule("action: replce"),
        &rule("action: labeldrop\n  regex: a\n  replacement: b"),
        &rule("source_labels: [a]"),
        &rule("{action: hashmod, target_label: a, modulus: x}"),
        &rule("source_labels: [a-b]\n  target_label: c"),
    ]));
}

#[test]
fn authentication() {
    insta::assert_snapshot!(report(&[
        &job("basic_auth:\n  username: a\n  password: hunter2\n  password_file: /p"),
        &job("basic_auth: {username: a}\nauthorization: {credentials: hunter2}"),
        &job("bearer_token: hunter2\nbearer_token_file: /p"),
        &job("basic_auth: {password: hunter2}"),
        &job("authorization: {type: basic, credentials: hunter2}"),
        &job("authorization: {}"),
        &job("tls_config:\n  cert_file: /c"),
        &job("headers:\n  Authorization: hunter2\n  Host: x\n  A b: c\n  X-A: 1\n  x-a: 2"),
        &receiver("headers: {x-scope-orgid: a}\ntenant: b"),
    ]));
}

#[test]
fn what_is_done_at_a_status() {
    insta::assert_snapshot!(report(&[
        &receiver("on_status: {200: drop, 2xx: retry, 1xx: park, 4o1: park}"),
        &receiver("on_status:\n  429: bisect\n  5xx: split\n  400: bisekt"),
        &receiver("on_status: {429: park}\nqueue_config: {retry_on_http_429: false}"),
        &receiver("on_status: {401: park, 401: drop}"),
        &receiver("on_status: drop"),
        &receiver("queue_config: {min_shards: 5}"),
        &receiver("queue_config: {min_shards: 0, max_shards: 2}"),
        &receiver("label_limit: many"),
    ]));
}

#[test]
fn messages_and_compression() {
    insta::assert_snapshot!(report(&[
        &receiver("protobuf_message: 2.0"),
        &receiver("protobuf_message: io.prometheus.write.v2.request"),
        &receiver("compression: gzip"),
        &receiver("long_label_values: keep"),
        &receiver("compression: zstd\nprotobuf_message: io.prometheus.write.v2.Request"),
    ]));
}

#[test]
fn one_authorization_header() {
    insta::assert_snapshot!(report(&[
        &job("basic_auth: {username: a}\noauth2: {client_id: a, token_url: 'http://idp/'}"),
        &receiver("authorization: {credentials: hunter2}\nsigv4: {region: eu-west-1}"),
        &receiver(
            "bearer_token_file: t\noauth2: {client_id: a, token_url: 'http://idp/'}\nsigv4: {region: r, access_key: a, secret_key: hunter2}"
        ),
        &job("sigv4: {region: eu-west-1}"),
    ]));
}

#[test]
fn tokens_and_signatures() {
    insta::assert_snapshot!(report(&[
        &job("oauth2: {client_secret: hunter2}"),
        &job(
            "oauth2:\n  client_id: a\n  client_secret: hunter2\n  client_secret_file: f\n  token_url: idp"
        ),
        &job(
            "oauth2:\n  client_id: a\n  token_url: http://idp/\n  endpoint_params: {scope: b, audience: c}"
        ),
        &receiver("sigv4: {}"),
        &receiver("sigv4: {region: 'eu west', access_key: a}"),
        &receiver("sigv4: {region: r, secret_key: hunter2}"),
        &receiver("sigv4: {region: r, external_id: x, profile: p}"),
        &receiver("sigv4: {regoin: r}"),
    ]));
}

#[test]
fn proxies() {
    insta::assert_snapshot!(report(&[
        &job("proxy_url: proxy:3128"),
        &job("proxy_url: socks5://proxy:1080"),
        &job("proxy_url: http://u:hunter2@proxy:0"),
        &job("proxy_url: http://u:hunter2@proxy:1\nproxy_from_environment: true"),
        &job("no_proxy: a,b"),
        &job("proxy_from_environment: true\nno_proxy: a"),
        &job("proxy_connect_header: {x-a: [hunter2]}"),
        &job("proxy_url: http://proxy:1\nproxy_connect_header: {x a: [\"hun\\nter2\"]}"),
        &job(
            "oauth2: {client_id: a, token_url: 'http://idp/', proxy_url: 'ftp://u:hunter2@proxy'}"
        ),
    ]));
}

#[test]
fn tls_and_headers() {
    insta::assert_snapshot!(report(&[
        &job("tls_config: {min_version: TLS13, max_version: TLS12}"),
        &job("tls_config: {max_version: TLS11}"),
        &job("tls_config: {min_version: '1.2'}"),
        &job("tls_config:\n  ca: x\n  ca_file: y"),
        &job("tls_config:\n  cert: x"),
        &job("tls_config:\n  key: |\n    hunter2\n    hunter2"),
        &job(
            "http_headers:\n  X-A: {}\n  Authorization: {secrets: [hunter2]}\n  X-Amz-Date: {values: [b]}"
        ),
        &job("headers: {x-a: b}\nhttp_headers: {X-A: {files: [c]}}"),
        &job("http_headers: {X-A: {secrets: [\"hun\\nter2\"]}}"),
        &receiver("follow_redirects: on\nenable_http2: 2"),
    ]));
}

#[test]
fn names_are_unique() {
    let two = "- {job_name: a, static_configs: [{targets: ['h:1']}]}\n";
    insta::assert_snapshot!(report(&[
        &format!("scrape_configs:\n{two}{two}"),
        &format!("{}  - url: http://vm:8428/api/v1/write\n", job("")),
        &format!(
            "{}  - {{name: b, url: 'http://a/'}}\n  - {{name: b, url: 'http://b/'}}\n",
            job("")
        ),
        &format!("global: {{external_labels: {{__name__: a}}}}\n{}", job("")),
    ]));
}

#[test]
fn shards() {
    let global = |key: &str| format!("global: {{{key}}}\n{}", job(""));
    insta::assert_snapshot!(report(&[
        &global("shard: 3"),
        &global("shard: 3/3"),
        &global("shard: auto/2"),
        &global("shard: relay/2"),
        &global("shard: 0/0"),
        &global("final_scrape: maybe"),
        &global("page_series_limit: all"),
        &global("page_series_limit: -1"),
        &global("page_series_limit: 1e6"),
    ]));
}

#[test]
fn spools() {
    let queue = |queue: &str| receiver(&format!("queue_config: {{{queue}}}"));
    insta::assert_snapshot!(report(&[
        &format!("spool: {{directory: data, fsync: sometimes}}\n{}", job("")),
        &format!("spool: {{fsync: always, fsync_interval: 0s}}\n{}", job("")),
        &format!("spool: {{directory: data}}\n{}", queue("max_bytes: 4MiB")),
        &queue("max_bytes: 4KiB, drain: latest_first, max_backlog_samples_per_second: fast"),
    ]));
}

#[test]
fn flags_are_named() {
    let overrides = Overrides {
        targets: vec!["localhost".to_owned(), "h:1".to_owned()],
        remote_write: vec!["vm".to_owned()],
        interval: Some("5".to_owned()),
        timeout: Some("1h".to_owned()),
        groups: Some(" , ".to_owned()),
        external_labels: vec!["a".to_owned(), "a-b=c".to_owned(), "__x=y".to_owned()],
        tenant: Some(String::new()),
        shard: Some("auto/3".to_owned()),
        ..Overrides::default()
    };
    // Nobody knows the host's name here.
    let env = |_: &str| None;
    insta::assert_snapshot!(load(None, &overrides, &env).unwrap_err());
}

#[test]
fn an_unknown_group_is_shown_in_its_place() {
    for file in ["flink: {groups: [cpu, memry]}\n", "flink: {groups: {exclude: [io, memry]}}\n"] {
        let error = read(&format!("{file}{}", job(""))).unwrap_err();
        let [fault] = error.faults() else { panic!("one fault expected: {error}") };
        assert!(fault.message().contains("memry"), "{fault}");
        let column = file.find("memry").unwrap() + 1;
        let expected = Place::File { path: "conf/flinkrelay.yaml".into(), line: 1, column };
        assert_eq!(*fault.place(), expected);
    }
    let overrides = Overrides { groups: Some("cpu,memry".to_owned()), ..Overrides::default() };
    let error = read_with(&job(""), &overrides).unwrap_err();
    let [fault] = error.faults() else { panic!("one fault expected: {error}") };
    assert_eq!(*fault.place(), Place::Flag("--groups"));
    assert!(fault.message().contains("memry"), "{fault}");
}

#[test]
fn flinks_rest_api() {
    let files = [
        "flink: {rest: on}\n",
        "flink: {rest: flink-jobmanager:8081}\n",
        "flink: {rest: []}\n",
        "flink: {rest: {urls: ['http://a:8081/?x=1', 'ftp://b']}}\n",
        "flink: {rest: {mode: of, poll_interval: 0s}}\n",
        "flink: {rest: {bearer_token: a, basic_auth: {username: b}}}\n",
        "flink: {rest: {url: 'http://a'}}\n",
    ];
    let shown = files.map(|file| error(&format!("{file}{}", job(""))));
    insta::assert_snapshot!(shown.join("\n"));
    let overrides =
        Overrides { flink_rest: Some("jobmanager:8081".to_owned()), ..Overrides::default() };
    let shown = read_with(&job(""), &overrides).unwrap_err().to_string();
    assert!(shown.starts_with("--flink-rest: "), "{shown}");
}

/// A file with `flink.metrics` of these lines.
fn metrics(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("{}flink:\n  metrics:\n{lines}", job(""))
}

/// A row of these fields and what each needs.
fn row(fields: &str) -> String {
    let scopes = "taskmanager_job_task_operator";
    format!("{{{fields}, scopes: [{scopes}], type: gauge, unit: count, help: H.}}")
}

/// A group `shop` of these rows.
fn shop(rows: &[&str]) -> String {
    let rows: String = rows.iter().map(|row| format!("      - {row}\n")).collect();
    metrics(&format!("groups:\n  - group: shop\n    metrics:\n{rows}"))
}

#[test]
fn fields_of_ones_own_metrics() {
    insta::assert_snapshot!(report(&[
        &metrics("groups: [{about: a, metrics: []}]"),
        &metrics("groups: [{group: My-Shop}, {group: io, about: a}, {group: custom}]"),
        &metrics("groups: [{group: a}, {group: a}]"),
        &metrics("segments: {gate: {about: a}, shop-1: {about: a}, b: {matches: word, about: ''}}"),
        &metrics("segments: {s: {label: a-b, about: a}, t: {label: t, stays: true, about: a}}"),
        &metrics("keys: {state_name: s, k: a-b}"),
        &shop(&["{name: a}"]),
        &shop(&["{name: a, scopes: [], type: guage, unit: furlongs, help: ''}"]),
        &shop(&["{name: a, scopes: [task, jobmanager], type: gauge, unit: count, help: H.}"]),
        &shop(&[&row("name: a, kind: summary, since: soon, no_value: [-1, none]")]),
        &shop(&[&row("name: a, shared_with: [oi], deprecated: perhaps, canonical_scope: job")]),
        &shop(&[&row("name: a, helb: a")]),
        &format!("{}  groups: [shop, shoe]\n", shop(&["{name: a}"])),
    ]));
}

#[test]
fn ones_own_metrics_together() {
    insta::assert_snapshot!(report(&[
        &shop(&[&row("name: 'a.<shop>'")]),
        &shop(&[&row("name: a, also: ['b.{}']")]),
        &shop(&[&row("name: '<metric>'")]),
        &shop(&[&row("name: '<gate><level>x'")]),
        &shop(&[&row("name: a.b"), &row("name: a_b")]),
        &shop(&[&row("name: 'a.<gate>.b'"), &row("name: c, canonical: a.b")]),
        &shop(&[&row("name: shop.in, canonical: numRecordsIn")]),
        &shop(&[&row("name: b, former_name: true")]),
        &shop(&[&row("name: b, former_name: true, replaced_by: flink_jobmanager_a")]),
        // The group is there even so.
        &format!("{}  groups: [shop, shoe]\n", shop(&[&row("name: a"), &row("name: a")])),
    ]));
}

#[test]
fn there_may_be_so_many_groups_of_ones_own() {
    let groups = |count: usize| {
        let groups: String = (0..count).map(|n| format!("  - group: g{n}\n")).collect();
        metrics(&format!("groups:\n{groups}"))
    };
    assert!(read(&groups(32)).is_ok());
    let shown = error(&groups(33));
    assert!(shown.contains("there may be 32 groups of one's own"), "{shown}");
}

#[test]
fn roll_ups_and_budgets() {
    let files = [
        "flink: {rollups: tasks}\n",
        "flink: {rollups: [task]}\n",
        "flink: {rollups: {levels: {io: per_task, rocksdb: job, memry: off}}}\n",
        "flink: {rollups: {levels: task}}\n",
        "flink: {rollups: {keep: true}}\n",
        "flink: {budgets: {series_total: 10k, series_per_job: -1}}\n",
        "flink: {budgets: 1000}\n",
    ];
    let shown = files.map(|file| error(&format!("{file}{}", job(""))));
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn sentinels_and_derived_series() {
    let files = [
        "flink: {sentinels: kep}\n",
        "flink: {pushdown: on}\n",
        "flink: {derived: some}\n",
        "flink: {derived: [watermark_lag]}\n",
        "flink: {derived: {watermark_lag: maybe}}\n",
        "flink: {derived: {watermarklag: false}}\n",
    ];
    let shown = files.map(|file| error(&format!("{file}{}", job(""))));
    insta::assert_snapshot!(shown.join("\n"));
    for (text, lag, ratios) in [
        ("", true, true),
        ("flink: {derived: all}\n", true, true),
        ("flink: {derived: none}\n", false, false),
        ("flink: {derived: {watermark_lag: false}}\n", false, true),
    ] {
        let derived = good(&format!("{text}{}", job(""))).flink.derived;
        let found = [Switch::WatermarkLag, Switch::TimeRatios].map(|switch| derived.has(switch));
        assert_eq!(found, [lag, ratios], "{text}");
    }
}

#[test]
fn no_error_shows_a_secret() {
    let secret = "hunter2";
    for file in [
        job("basic_auth: {username: a, password: hunter2, password_file: b}"),
        job("basic_auth:\n  username: a\n  password: [hunter2]"),
        job("basic_auth:\n  username: a\n  passwrod: hunter2"),
        job("basic_auth: {usernam: a, pasword: hunter2}"),
        job("bearer_token: hunter2\nauthorization: {credentials: hunter2}"),
        job("bearer_token: hunter2${NO_SUCH_VARIABLE}"),
        job("static_configs: [{targets: ['http://u:hunter2@h:1']}]").replacen(
            "static_configs",
            "x",
            1,
        ),
        job("authorization:\n  type: basic\n  credentials: hunter2"),
        job("tls_config:\n  key: |\n    hunter2\n    more of hunter2\n"),
        job("proxy_url: http://u:hunter2@proxy:0"),
        job("proxy_url: socks5://u:hunter2@proxy"),
        job("proxy_connect_header: {x-a: [hunter2]}"),
        job("http_headers:\n  X-A: {secrets: [\"hunter2\\n\"]}"),
        job("http_headers:\n  X-A:\n    secrets:\n      - \"hunter2\\n\"\n"),
        job("oauth2: {client_secret: hunter2}"),
        receiver("sigv4: {secret_key: hunter2}"),
        receiver("sigv4:\n  secret_key: hunter2"),
        format!("{}  - url: http://u:hunter2@vm/\n", job("")),
        format!("{}  - url: vm:${{X:-a}}@hunter2\n", job("")).replace("@hunter2", ":hunter2@x"),
    ] {
        let shown = error(&file);
        assert!(!shown.contains(secret), "{file}\n{shown}");
    }
    let overrides = Overrides { targets: vec!["u:hunter2@h:1".to_owned()], ..Overrides::default() };
    let shown = load(None, &overrides, &env).unwrap_err().to_string();
    assert!(!shown.contains(secret), "{shown}");
}
