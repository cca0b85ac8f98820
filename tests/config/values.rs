//! What a good configuration says.

use std::time::Duration;

use flinkrelay::{
    config::{
        Auth, AwsKeys, Compression, ConfigError, Drain, HttpClient, Overrides, PageSeriesLimit,
        ProxyServer, RestEndpoints, Scheme, Secret, Source, TlsVersions, load,
    },
    flink::{Group, NameMode, rollup::Level},
    labels::Labels,
    relabel,
    remote_write::{Encoding, Message, Wanted},
};
use proptest::prelude::*;

use super::{env, good, indented, job, read, read_with, receiver, scrape_only};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn defaults() {
    let config = good(&job(""));
    insta::assert_debug_snapshot!((&config.scrapes, &config.receivers));
}

#[test]
fn the_timeout_follows_the_interval() {
    let check = |file: &str, interval: u64, timeout: u64| {
        let config = good(file);
        let scrape = &config.scrapes[0];
        assert_eq!(
            (scrape.interval, scrape.timeout),
            (seconds(interval), seconds(timeout)),
            "{file}"
        );
    };
    check(&job(""), 15, 10);
    check(&job("scrape_interval: 5s"), 5, 5);
    check(&job("scrape_interval: 1m"), 60, 10);
    check(&job("scrape_interval: 1m\nscrape_timeout: 30s"), 60, 30);
    check(&format!("global: {{scrape_interval: 4s}}\n{}", job("")), 4, 4);
    check(&format!("global: {{scrape_interval: 4s}}\n{}", job("scrape_interval: 1m")), 60, 4);
    check(
        &format!(
            "global: {{scrape_interval: 1m, scrape_timeout: 30s}}\n{}",
            job("scrape_interval: 20s")
        ),
        20,
        20,
    );
    check(&job("scrape_timeout: 15s"), 15, 15);
}

#[test]
fn the_part_of_a_relay_comes_from_file_flag_or_hostname() {
    let check = |global: &str, flag: Option<&str>, expected: Option<&str>| {
        let overrides = Overrides { shard: flag.map(str::to_owned), ..Overrides::default() };
        let config = read_with(&format!("global: {{{global}}}\n{}", job("")), &overrides).unwrap();
        let shard = config.shard.map(|shard| shard.to_string());
        assert_eq!(shard.as_deref(), expected, "{global} {flag:?}");
    };
    check("", None, None);
    check("shard: 1/3", None, Some("1/3"));
    check("shard: auto/3", None, Some("2/3"));
    check("shard: '${NONE:-}'", None, None);
    check("shard: '${HOSTNAME}/3'", None, Some("2/3"));
    check("shard: 1/3", Some("0/2"), Some("0/2"));
    check("", Some("auto/5"), Some("2/5"));
}

#[test]
fn the_data_directory_comes_from_file_or_flag() {
    let check = |spool: &str, flag: Option<&str>, expected: Option<&str>| {
        let overrides = Overrides { data_dir: flag.map(str::to_owned), ..Overrides::default() };
        let config = read_with(&format!("spool: {{{spool}}}\n{}", job("")), &overrides).unwrap();
        let directory = config.spool.directory.map(|path| path.display().to_string());
        assert_eq!(directory.as_deref(), expected, "{spool} {flag:?}");
    };
    check("", None, None);
    check("directory: /data", None, Some("/data"));
    check("directory: '${NONE:-}'", None, None);
    // Paths of the file begin at its directory, those of the command line where it was typed.
    check("directory: data", None, Some("conf/data"));
    check("directory: /data", Some("here"), Some("here"));
    check("", Some("here"), Some("here"));
    // Small limits are for memory.
    let queue = "queue_config: {max_bytes: 8MiB, drain: newest_first}";
    let config = good(&format!("spool: {{directory: /data}}\n{}", receiver(queue)));
    assert_eq!(config.receivers[0].queue.max_bytes, 8 << 20);
    assert_eq!(config.receivers[0].queue.drain, Drain::NewestFirst);
    good(&receiver("queue_config: {max_bytes: 4MiB}"));
}

#[test]
fn series_of_pages_are_limited_by_memory_unless_a_number_says_otherwise() {
    let check = |global: &str, expect: PageSeriesLimit| {
        let config = good(&format!("global: {{{global}}}\n{}", job("")));
        assert_eq!(config.page_series_limit, expect, "{global}");
    };
    check("", PageSeriesLimit::Auto);
    check("page_series_limit: auto", PageSeriesLimit::Auto);
    check("page_series_limit: 0", PageSeriesLimit::Most(0));
    check("page_series_limit: 2000000", PageSeriesLimit::Most(2_000_000));
    check("page_series_limit: '${NUMBER:-7}'", PageSeriesLimit::Most(7));
    check("page_series_limit: '${NUMBER:-}'", PageSeriesLimit::Auto);
}

#[test]
fn the_label_of_a_replica_is_an_external_label() {
    let labels = "external_labels: {cluster: eu, __replica__: '${HOSTNAME}'}";
    let config = good(&format!("global: {{{labels}, final_scrape: true}}\n{}", job("")));
    let labels: Vec<_> = config.external_labels.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(labels, [("__replica__", "relay-2.relay.svc"), ("cluster", "eu")]);
    assert!(config.final_scrape);
    let flag =
        Overrides { external_labels: vec!["__replica__=a".to_owned()], ..Overrides::default() };
    let config = read_with(&job(""), &flag).unwrap();
    assert_eq!(config.external_labels["__replica__"], "a");
}

#[test]
fn the_hash_is_that_of_the_text() {
    let [one, same, other] =
        [job(""), job(""), job("sample_limit: 0")].map(|text| good(&text).hash);
    assert!(one == same && one != other);
}

#[test]
fn variables_become_text_everywhere_but_in_keys() {
    let config = good(
        "global:\n  external_labels:\n    a: ${TRICKY}\n    b: $${HOST}\n    c: ${EMPTY}\n    d: ${NONE:-e}\n\
         scrape_configs:\n  - job_name: ${HOST}\n    sample_limit: ${PORT}\n    \
         honor_labels: ${NONE:-true}\n    static_configs: [{targets: [\"${HOST}:${PORT}\"]}]\n\
         remote_write:\n  - url: http://${HOST}:${PORT}/\n    queue_config:\n      max_backoff: ${NONE:-7s}\n",
    );
    let labels = &config.external_labels;
    assert_eq!(labels["a"], "x: [y]\n  - $1 # ${HOST}");
    assert_eq!(labels["b"], "${HOST}");
    assert_eq!(labels.get("c"), None, "a label without a value does not exist");
    assert_eq!(labels["d"], "e");
    let scrape = &config.scrapes[0];
    assert_eq!(scrape.job_name, "vm");
    assert_eq!(scrape.sample_limit, 8428);
    assert!(scrape.honor_labels);
    assert_eq!(scrape.static_configs[0].targets[0].to_string(), "vm:8428");
    assert_eq!(config.receivers[0].url.to_string(), "http://vm:8428/");
    assert_eq!(config.receivers[0].queue.max_backoff, seconds(7));
    let error = read("global: {external_labels: {\"${HOST}\": a}}\n").unwrap_err();
    assert!(error.to_string().contains("`${HOST}` is not a valid label name"), "{error}");
}

#[test]
fn variables_and_groups_in_rules() {
    let check = |rule: &str, expected: &str| {
        let config = good(&job(&format!(
            "metric_relabel_configs: [{{source_labels: [a], target_label: t, {rule}}}]"
        )));
        let mut labels: Labels<'_> = [("a", "left-right")].into_iter().collect();
        assert!(relabel::apply(&config.scrapes[0].metric_relabel_configs, &mut labels));
        assert_eq!(labels.get("t").unwrap_or_default(), expected, "{rule}");
    };
    check("regex: '(.*)-(.*)', replacement: '$2'", "right");
    check("regex: '(.*)-(.*)', replacement: '${2}x'", "rightx");
    check("regex: '(.*)-(.*)', replacement: '$2x'", "");
    check("regex: '(.*)-(.*)', replacement: '$${2}'", "${2}");
    check("replacement: '${HOST}'", "vm");
    check("regex: '(?P<HOST>.*)-.*', replacement: '${HOST}:${PORT}'", "left:8428");
    check("regex: '(?P<NONE>.*)-.*', replacement: '${NONE}'", "left");
    check("regex: '(?P<x>.*)-.*', replacement: '$${x}'", "left");
    // A `$1` that a variable holds is text.
    check("replacement: '${TRICKY}'", "x: [y]\n  - $1 # ${HOST}");
    check("regex: '${NONE:-left}-(.*)'", "right");
    // Given without a value is empty, not the default.
    check("regex: , replacement: x", "");
    check("replacement: ", "");
    check("regex: '(.*)', separator: ", "left-right");
}

#[test]
fn scrape_settings() {
    let config = good(&job(
        "scheme: https\nmetrics_path: /m\nparams: {b: [1, 2], a: ['x y']}\ncompression: identity\n\
         body_size_limit: 16MB\nheaders: {X-B: 1, X-A: 2}",
    ));
    let scrape = &config.scrapes[0];
    assert_eq!(scrape.scheme, Scheme::Https);
    assert_eq!(scrape.metrics_path, "/m");
    let params: Vec<(&str, &str)> =
        scrape.params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(params, [("b", "1"), ("b", "2"), ("a", "x y")]);
    assert_eq!(scrape.compression, Compression::Identity);
    assert_eq!(scrape.body_size_limit, 16 << 20);
    let names: Vec<&str> = scrape.http.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["X-B", "X-A"]);

    let compression = |line: &str| good(&job(line)).scrapes[0].compression;
    assert_eq!(compression(""), Compression::Auto);
    assert_eq!(compression("enable_compression: true"), Compression::Gzip);
    assert_eq!(compression("enable_compression: false"), Compression::Identity);
    assert_eq!(good(&job("body_size_limit: 0")).scrapes[0].body_size_limit, u64::MAX);
}

#[test]
fn authentication_and_tls() {
    let client = |lines: &str| good(&job(lines)).scrapes[0].http.clone();
    let basic = |lines: &str| match client(lines).auth {
        Some(Auth::Basic(basic)) => basic,
        other => panic!("{other:?}"),
    };
    let found = basic("basic_auth: {username: u, password: p}");
    assert_eq!(
        (found.username, found.password),
        (Secret::Inline("u".into()), Secret::Inline("p".into()))
    );
    let found = basic("basic_auth: {username_file: u, password_file: /p}");
    // Relative paths begin at the file's directory.
    assert_eq!(found.username, Secret::File("conf/u".into()));
    assert_eq!(found.password, Secret::File("/p".into()));
    for (line, kind, secret) in [
        ("authorization: {credentials: c}", "Bearer", Secret::Inline("c".into())),
        ("authorization: {type: Token, credentials_file: /c}", "Token", Secret::File("/c".into())),
        ("bearer_token: '${HOST}'", "Bearer", Secret::Inline("vm".into())),
        ("bearer_token_file: c", "Bearer", Secret::File("conf/c".into())),
    ] {
        let Some(Auth::Authorization(authorization)) = client(line).auth else {
            panic!("{line}");
        };
        assert_eq!(
            (authorization.kind.as_str(), authorization.credentials),
            (kind, secret),
            "{line}"
        );
    }
    let tls = client("tls_config: {ca_file: ca, cert_file: c, key_file: /k, server_name: s, insecure_skip_verify: true}").tls;
    assert_eq!(tls.ca, Some(Secret::File("conf/ca".into())));
    let pair = (Secret::File("conf/c".into()), Secret::File("/k".into()));
    assert_eq!(tls.client_cert, Some(pair));
    assert_eq!(tls.server_name.as_deref(), Some("s"));
    assert!(tls.insecure_skip_verify);
}

#[test]
fn what_is_done_at_a_status() {
    use flinkrelay::remote_write::Action;
    let actions = |lines: &str| {
        let policy = good(&receiver(lines)).receivers[0].on_status.clone();
        [400, 401, 413, 429, 503].map(|status| policy.action(status))
    };
    use Action::{Bisect, Drop, Park, Retry, Split};
    assert_eq!(actions(""), [Drop, Drop, Drop, Retry, Retry]);
    assert_eq!(
        actions("on_status: {400: bisect, 401: park, '413': split}"),
        [Bisect, Park, Split, Retry, Retry]
    );
    assert_eq!(actions("on_status: {4xx: park, 413: drop}"), [Park, Park, Drop, Retry, Retry]);
    assert_eq!(actions("on_status: {429: drop, 5xx: drop}"), [Drop, Drop, Drop, Drop, Drop]);
    assert_eq!(
        actions("queue_config: {retry_on_http_429: false}"),
        [Drop, Drop, Drop, Drop, Retry]
    );
    let shards = |lines: &str| {
        let queue = good(&receiver(lines)).receivers[0].queue.clone();
        (queue.min_shards, queue.max_shards)
    };
    assert_eq!(shards("queue_config: {max_shards: 9}"), (1, 9));
    assert_eq!(shards("queue_config: {min_shards: 3}"), (3, 4));
}

#[test]
fn a_batch_is_no_larger_than_what_may_wait() {
    let samples = |lines: &str| good(&receiver(lines)).receivers[0].queue.max_samples_per_send;
    assert_eq!(samples(""), 10_000);
    assert_eq!(samples("queue_config: {capacity: 2500}"), 2500);
    assert_eq!(samples("queue_config: {capacity: 50000}"), 10_000);
    assert_eq!(samples("queue_config: {capacity: 2500, max_samples_per_send: 500}"), 500);
}

#[test]
fn messages_of_receivers() {
    let check = |lines: &str, message: Wanted, compression: Encoding| {
        let found = &good(&receiver(lines)).receivers[0];
        assert_eq!((found.protobuf_message, found.compression), (message, compression), "{lines}");
    };
    check("name: a", Wanted::Auto, Encoding::Snappy);
    check("protobuf_message: auto", Wanted::Auto, Encoding::Snappy);
    for message in Message::ALL {
        let lines = format!("protobuf_message: {}", message.name());
        check(&lines, Wanted::Only(message), Encoding::Snappy);
    }
    check("compression: zstd", Wanted::Auto, Encoding::Zstd);
}

#[test]
fn long_label_values_are_cut_unless_they_are_to_be_dropped() {
    let cut = |lines: &str| good(&receiver(lines)).receivers[0].cut_long_values;
    assert!(cut("label_value_length_limit: 2048"));
    assert!(cut("long_label_values: cut"));
    assert!(!cut("long_label_values: drop"));
}

#[test]
fn transport_settings() {
    let clients = |lines: &str| {
        let config = good(&(job(lines) + &indented(lines)));
        (config.scrapes[0].http.clone(), config.receivers[0].http.clone())
    };
    let (target, receiver) = clients("");
    assert!(target.follow_redirects && !receiver.follow_redirects);
    assert!(target.http2 && receiver.http2);
    assert_eq!((target.connections.0, receiver.connections.0), (1, 4));
    let (target, _) = clients(
        "headers: {X-A: a}\nhttp_headers:\n  X-B:\n    values: [b, '${HOST}']\n    secrets: [c]\n    \
         files: [d]",
    );
    let inline = |text: &str| Secret::Inline(text.to_owned());
    let expected = [
        ("X-A".to_owned(), inline("a")),
        ("X-B".to_owned(), inline("b")),
        ("X-B".to_owned(), inline("vm")),
        ("X-B".to_owned(), inline("c")),
        ("X-B".to_owned(), Secret::File("conf/d".into())),
    ];
    assert_eq!(target.headers, expected);
    for (lines, versions) in [
        ("{}", TlsVersions::Both),
        ("{min_version: TLS10}", TlsVersions::Both),
        ("{min_version: TLS12, max_version: TLS12}", TlsVersions::Tls12),
        ("{min_version: TLS11, max_version: TLS12}", TlsVersions::Tls12),
        ("{min_version: TLS13}", TlsVersions::Tls13),
    ] {
        let (target, _) = clients(&format!("tls_config: {lines}"));
        assert_eq!(target.tls.versions, versions, "{lines}");
    }
    let (target, _) = clients("tls_config: {ca: 'a\n\n  b', cert_file: c, key: d}");
    assert_eq!(target.tls.ca, Some(inline("a\nb")));
    assert_eq!(target.tls.client_cert, Some((Secret::File("conf/c".into()), inline("d"))));
}

/// A receiver's configuration where these variables are set.
fn receiver_in(env: &[(&str, &str)], lines: &str) -> Result<HttpClient, ConfigError> {
    let source = Source { path: "conf/flinkrelay.yaml".into(), text: receiver(lines) };
    let env = |name: &str| {
        env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    let config = load(Some(&source), &Overrides::default(), &env)?;
    Ok(config.receivers[0].http.clone())
}

#[test]
fn proxies_of_the_environment() {
    let proxies = |env: &[(&str, &str)]| {
        let proxy = receiver_in(env, "proxy_from_environment: true").unwrap().proxy?;
        let url = |server: Option<ProxyServer>| server.map(|server| server.url.to_string());
        Some((url(proxy.http), url(proxy.https), proxy.no_proxy))
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(proxies(&[]), None);
    assert_eq!(proxies(&[("NO_PROXY", "a"), ("HTTP_PROXY", "")]), None);
    assert_eq!(
        proxies(&[("http_proxy", "proxy:3128"), ("no_proxy", "a,b")]),
        Some((text("http://proxy:3128/"), None, text("a,b")))
    );
    let both = [("HTTPS_PROXY", "https://u:p@proxy"), ("https_proxy", "http://other")];
    assert_eq!(proxies(&both), Some((None, text("https://proxy/"), text(""))));
    let error = receiver_in(&[("HTTP_PROXY", "socks5://u:p@x")], "proxy_from_environment: true");
    let error = error.unwrap_err().to_string();
    assert!(error.contains("the variable HTTP_PROXY: SOCKS proxies are not supported"), "{error}");
    assert!(!error.contains("u:p"), "{error}");
    assert!(receiver_in(&[], "proxy_url: ${PROXY:-}").unwrap().proxy.is_none());
    // Without the key the environment plays no role.
    assert!(receiver_in(&both, "").unwrap().proxy.is_none());
}

#[test]
fn aws_keys_come_from_the_first_source_that_is_there() {
    const EVERYWHERE: [(&str, &str); 9] = [
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
        ("AWS_ROLE_ARN", "arn"),
        ("AWS_PROFILE", "p"),
        ("HOME", "/srv/relay"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ];
    let sigv4 = |env: &[(&str, &str)], lines: &str| {
        let auth = receiver_in(env, &format!("sigv4: {{{lines}}}")).unwrap().auth;
        let Some(Auth::Sigv4(sigv4)) = auth else { panic!("{auth:?}") };
        sigv4
    };
    let keys = |env: &[(&str, &str)], lines: &str| match sigv4(env, lines).keys {
        AwsKeys::Fixed { access_key, session_token, .. } => {
            format!("fixed {access_key} {}", session_token.is_some())
        }
        AwsKeys::WebIdentity { token, role } => format!("web {token:?} {role:?}"),
        AwsKeys::Profile { file, name } => format!("profile {} {name}", file.display()),
        AwsKeys::Container { url, .. } => format!("container {url}"),
        AwsKeys::Instance { url } => format!("instance {url}"),
    };
    let check = |from: usize, lines: &str, expected: &str| {
        assert_eq!(keys(&EVERYWHERE[from..], lines), expected, "{from} {lines}");
    };
    check(0, "access_key: c, secret_key: d", "fixed c false");
    check(0, "profile: q", "profile /srv/relay/.aws/credentials q");
    check(0, "", "fixed a false");
    check(
        1,
        "",
        "web <secret from /token> AwsRole { arn: \"arn\", session: \"flinkrelay\", external_id: None }",
    );
    check(3, "", "profile /srv/relay/.aws/credentials p");
    check(5, "", "container http://169.254.170.2/v2/x");
    check(7, "", "instance http://169.254.169.254/");
    assert_eq!(sigv4(&EVERYWHERE, "").region, "eu-west-1");
    assert_eq!(sigv4(&EVERYWHERE[8..], "").region, "us-east-1");
    assert_eq!(sigv4(&EVERYWHERE, "region: ap-south-1").region, "ap-south-1");
    let sts = |lines: &str| sigv4(&[], lines).sts.to_string();
    assert_eq!(sts("region: eu-west-1"), "https://sts.eu-west-1.amazonaws.com/");
    assert_eq!(sts("region: cn-north-1"), "https://sts.cn-north-1.amazonaws.com.cn/");
    let fips = "region: us-east-1, use_fips_sts_endpoint: true";
    assert_eq!(sts(fips), "https://sts-fips.us-east-1.amazonaws.com/");
    let nothing = [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_REGION", "r")];
    let error = receiver_in(&nothing, "sigv4: {}").unwrap_err().to_string();
    assert!(
        error.contains("there are no AWS keys, neither here nor in the environment"),
        "{error}"
    );
}

#[test]
fn names_of_receivers() {
    let names = |urls: &[&str]| -> Vec<String> {
        let overrides = Overrides {
            remote_write: urls.iter().map(|url| (*url).to_owned()).collect(),
            targets: vec!["h:1".to_owned()],
            ..Overrides::default()
        };
        let config = load(None, &overrides, &env).unwrap_or_else(|error| panic!("{error}"));
        config.receivers.into_iter().map(|receiver| receiver.name).collect()
    };
    assert_eq!(names(&["http://vm:8428/api/v1/write"]), ["vm:8428"]);
    assert_eq!(names(&["http://vm/a", "https://vm/a"]), ["vm:80", "vm:443"]);
    assert_eq!(
        names(&["http://vm:1/a", "http://vm:1/b", "http://x:1/"]),
        ["vm:1/a", "vm:1/b", "x:1"]
    );
    assert_eq!(good(&receiver("name: main")).receivers[0].name, "main");
}

#[test]
fn shortcuts_alone() {
    let overrides = Overrides {
        targets: vec!["localhost:9249".to_owned(), "tm:9250-9260".to_owned()],
        remote_write: vec!["http://vm:8428/api/v1/write".to_owned()],
        interval: Some("5s".to_owned()),
        external_labels: vec!["a=b=c".to_owned()],
        tenant: Some("t".to_owned()),
        groups: Some("cpu, memory".to_owned()),
        ..Overrides::default()
    };
    let config = load(None, &overrides, &env).unwrap();
    assert_eq!(config.scrapes.len(), 1);
    let scrape = &config.scrapes[0];
    assert_eq!(
        (scrape.job_name.as_str(), scrape.interval, scrape.timeout),
        ("flink", seconds(5), seconds(5))
    );
    assert_eq!(scrape.static_configs[0].targets.len(), 2);
    assert_eq!(config.external_labels["a"], "b=c");
    let headers = &config.receivers[0].http.headers;
    assert_eq!(headers.as_slice(), [("X-Scope-OrgID".to_owned(), Secret::Inline("t".into()))]);
}

#[test]
fn shortcuts_join_a_file() {
    let file = format!(
        "global: {{scrape_interval: 1m, external_labels: {{a: 1, b: 2}}}}\n{}    tenant: old\n",
        job("")
    );
    let overrides = Overrides {
        targets: vec!["tm:9250".to_owned()],
        remote_write: vec!["http://other:1/".to_owned()],
        interval: Some("30s".to_owned()),
        timeout: Some("20s".to_owned()),
        external_labels: vec!["a=3".to_owned()],
        tenant: Some("new".to_owned()),
        ..Overrides::default()
    };
    let config = read_with(&file, &overrides).unwrap_or_else(|error| panic!("{error}"));
    let jobs: Vec<(&str, String)> = config
        .scrapes
        .iter()
        .map(|s| (s.job_name.as_str(), s.static_configs[0].targets[0].to_string()))
        .collect();
    assert_eq!(jobs, [("flink", "localhost:9249".to_owned()), ("flink", "tm:9250".to_owned())]);
    for scrape in &config.scrapes {
        assert_eq!((scrape.interval, scrape.timeout), (seconds(30), seconds(20)));
    }
    assert_eq!(
        (config.external_labels["a"].as_str(), config.external_labels["b"].as_str()),
        ("3", "2")
    );
    assert_eq!(config.receivers.len(), 2);
    for receiver in &config.receivers {
        assert_eq!(receiver.http.headers[0].1, Secret::Inline("new".into()));
    }
}

#[test]
fn a_scrape_needs_no_receiver() {
    let file = "scrape_configs: [{job_name: a, static_configs: [{targets: ['h:1']}]}]\n";
    assert!(read_with(file, &scrape_only()).unwrap().receivers.is_empty());
    assert!(read(file).is_err());
}

#[test]
fn yaml_anchors_and_merges() {
    let config = good(
        "scrape_configs:\n\
         - &a\n  job_name: a\n  scrape_interval: 7s\n  static_configs: [{targets: ['h:1']}]\n\
         - <<: *a\n  job_name: b\nremote_write: [{url: 'http://vm/'}]\n",
    );
    assert_eq!(config.scrapes[1].job_name, "b");
    assert_eq!(config.scrapes[1].interval, seconds(7));
}

#[test]
fn a_byte_order_mark_is_not_part_of_the_file() {
    good(&format!("\u{feff}{}", job("")));
}

proptest! {
    /// No text makes the reader panic, and an error always has a fault with a message.
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z_:\\- \\n\\[\\]{}$\"'&*#\u{e9}]{0,80}") {
        if let Err(error) = read(&text) {
            prop_assert!(!error.faults().is_empty());
            prop_assert!(error.faults().iter().all(|fault| !fault.message().is_empty()));
            prop_assert!(!error.to_string().is_empty());
        }
    }

    /// Damage to a good file is found or harmless, wherever it is.
    #[test]
    fn a_damaged_example_is_read_or_refused(at in 0_usize..14_000, with in "[\\x00-\\x7f]{0,3}") {
        let mut text = include_str!("../../deploy/example.yaml").to_owned();
        let at = text.floor_char_boundary(at.min(text.len() - 1));
        let end = text.ceil_char_boundary(at + 1);
        text.replace_range(at..end, &with);
        if let Err(error) = read(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn names_are_canonical_unless_raw() {
    let names = |section: &str| good(&format!("{}{section}", job(""))).flink.names;
    assert_eq!(names(""), NameMode::Canonical);
    assert_eq!(names("flink: {names: canonical}\n"), NameMode::Canonical);
    assert_eq!(names("flink: {names: raw}\n"), NameMode::Raw);
}

#[test]
fn roll_ups_across_targets_are_for_one_relay() {
    let across = |lines: &str| good(&format!("{lines}{}", job(""))).flink.rollups.across_targets;
    assert!(!across("flink: {rollups: task}\n"));
    assert!(across("flink: {rollups: {level: task, across_targets: true}}\n"));
    // The flag counts, too.
    let text = format!("flink: {{rollups: {{across_targets: true}}}}\n{}", job(""));
    let overrides = Overrides { shard: Some("1/2".to_owned()), ..scrape_only() };
    let error = read_with(&text, &overrides).unwrap_err().to_string();
    assert!(error.contains(":1:35: roll-ups across targets need"), "{error}");
}

#[test]
fn roll_ups_and_budgets() {
    let check = |section: &str, io: Option<Level>, rocksdb: Option<Level>, has_budget: bool| {
        let config = good(&format!("flink: {{{section}}}\n{}", job("")));
        let rollups = config.flink.rollups;
        assert_eq!(
            (rollups.level(Group::Io), rollups.level(Group::RocksDb)),
            (io, rocksdb),
            "{section}"
        );
        assert_eq!(rollups.has_budget, has_budget, "{section}");
    };
    let [subtask, task, of_job] = Level::ALL.map(Some);
    check("", subtask, subtask, false);
    check("rollups: task", task, task, false);
    check("rollups: off", None, None, false);
    check("rollups: {level: job, levels: {rocksdb: off}}", of_job, None, false);
    check("rollups: {levels: {io: task}}", task, subtask, false);
    check("rollups: {level: \"${NONE:-job}\"}", of_job, of_job, false);
    check("budgets: {series_per_job: 10}", subtask, subtask, true);
    check("budgets: {series_total: 10}, rollups: {levels: {io: off}}", None, subtask, true);
    check("budgets: {series_total: 0}", subtask, subtask, false);
    assert!(
        good(&format!("flink: {{rollups: {{keep_raw: true}}}}\n{}", job("")))
            .flink
            .rollups
            .keep_raw
    );
}

#[test]
fn flinks_rest_api_is_found_named_or_left_alone() {
    let urls =
        |urls: &[&str]| RestEndpoints::Urls(urls.iter().map(|url| url.parse().unwrap()).collect());
    let check = |rest: &str, flag: Option<&str>, expected: RestEndpoints| {
        let flink_rest = flag.map(str::to_owned);
        let overrides = Overrides { flink_rest, ..Overrides::default() };
        let config = read_with(&format!("{rest}{}", job("")), &overrides).unwrap();
        assert_eq!(config.flink.rest.endpoints, expected, "{rest:?} {flag:?}");
    };
    let (a, b) = ("http://a:8081", "https://b/flink/eu");
    check("", None, RestEndpoints::Auto);
    check("flink: {rest: auto}\n", None, RestEndpoints::Auto);
    check("flink: {rest: off}\n", None, RestEndpoints::Off);
    check("flink: {rest: false}\n", None, RestEndpoints::Off);
    check(&format!("flink: {{rest: '{a}'}}\n"), None, urls(&[a]));
    check("flink: {rest: 'http://${HOST}:${PORT}'}\n", None, urls(&["http://vm:8428"]));
    check(&format!("flink: {{rest: ['{a}', '{b}']}}\n"), None, urls(&[a, b]));
    check(&format!("flink: {{rest: {{urls: ['{a}']}}}}\n"), None, urls(&[a]));
    check(&format!("flink: {{rest: {{mode: off, urls: ['{a}']}}}}\n"), None, RestEndpoints::Off);
    check("", Some(a), urls(&[a]));
    check("", Some("off"), RestEndpoints::Off);
    check(&format!("flink: {{rest: '{a}'}}\n"), Some("auto"), RestEndpoints::Auto);
    check(&format!("flink: {{rest: '{a}'}}\n"), Some(b), urls(&[b]));
    check("flink: {rest: off}\n", Some(b), urls(&[b]));

    // The flag says where; how is the file's.
    let overrides = Overrides { flink_rest: Some(b.to_owned()), ..Overrides::default() };
    let file = format!("flink: {{rest: {{timeout: 7s, bearer_token: t}}}}\n{}", job(""));
    let rest = read_with(&file, &overrides).unwrap().flink.rest;
    assert_eq!(rest.timeout, seconds(7));
    let Some(Auth::Authorization(token)) = rest.http.auth else { panic!("{:?}", rest.http.auth) };
    assert_eq!(token.credentials, Secret::Inline("t".to_owned()));
}
