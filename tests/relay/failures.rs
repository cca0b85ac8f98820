//! Every way in which a scrape fails: the reason it is given, the words, and that nothing of a bad
//! page is sent.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::fakes::{
    flink::{FakeFlink, PAGE_TYPE, gzip, gzip_page, page},
    http::{Answer, Request},
    receiver::{FakeReceiver, Sample},
    relay::{Log, Running, config, job, receiver},
    until_true,
};

/// What a good page says here.
const GOOD: &str = "flink_taskmanager_a 1\nflink_taskmanager_b 2\n";

/// What a bad page says: the same and one more.
const BAD: &str = "flink_taskmanager_a 1\nflink_taskmanager_b 2\nflink_taskmanager_new 3\n";

/// A target that fails in some way.
struct Case {
    what: &'static str,
    reason: &'static str,
    /// Lines of its job.
    job: &'static str,
    flink: FakeFlink,
}

/// A target whose first page is good and whose others are `bad`.
async fn case(
    what: &'static str,
    reason: &'static str,
    job: &'static str,
    bad: impl Fn(&Request) -> Answer + Send + 'static,
) -> Case {
    let mut good = true;
    let flink =
        FakeFlink::with_script(
            move |request| {
                if std::mem::take(&mut good) { page(GOOD) } else { bad(request) }
            },
        );
    Case { what, reason, job, flink: flink.await }
}

async fn cases() -> Vec<Case> {
    let long_label = format!("{BAD}flink_taskmanager_c{{a=\"{}\"}} 4\n", "x".repeat(40));
    let long_name = format!("{BAD}flink_taskmanager_c{{{}=\"x\"}} 4\n", "a".repeat(40));
    let many = format!("{BAD}flink_taskmanager_c{{a=\"1\",b=\"2\",c=\"3\"}} 4\n");
    let bomb = gzip(&vec![b' '; 4 << 20]);
    let html = "<!doctype html>\n<html><body>sign in</body></html>\n";
    let typed = |kind: &'static str, body: &'static str| {
        move |_: &Request| Answer::new(200, &[("content-type", kind)], body)
    };
    let (lengthy, wait) =
        (BAD.to_owned() + &"# a comment\n".repeat(100), Duration::from_millis(100));
    vec![
        case("closes without an answer", "connect", "", |_| Answer::close()).await,
        case("speaks something else", "connect", "", |_| Answer::raw("SSH-2.0-OpenSSH\r\n")).await,
        case("hangs", "timeout", "", |_| Answer::hang()).await,
        case("hangs in the page", "timeout", "", |_| page(BAD).stuck(5)).await,
        case("trickles too slowly", "timeout", "", move |_| page(&lengthy).trickle(60, wait)).await,
        case("500", "http_status", "", |_| Answer::words(500, BAD)).await,
        case("404", "http_status", "", |_| Answer::words(404, BAD)).await,
        case("301", "http_status", "", |_| Answer::new(301, &[("location", "/")], "")).await,
        case("204", "http_status", "", |_| Answer::new(204, &[], "")).await,
        case("cut", "truncated", "", |_| page(BAD).cut(5)).await,
        case("cut at a line's end", "truncated", "", |_| page(BAD).cut(24)).await,
        case("chunked and cut", "truncated", "", |_| {
            Answer::chunked(&[PAGE_TYPE], &[BAD.as_bytes()]).cut(5)
        })
        .await,
        case("gzip that ends early", "truncated", "", |_| {
            let whole = gzip(BAD.as_bytes());
            Answer::new(200, &[("content-encoding", "gzip")], &whole[..whole.len() - 9])
        })
        .await,
        case("gzip without its checksum", "truncated", "", |_| {
            let whole = gzip(BAD.as_bytes());
            Answer::new(200, &[("content-encoding", "gzip")], &whole[..whole.len() - 3])
        })
        .await,
        case("gzip in name only", "truncated", "", |_| {
            Answer::new(200, &[("content-encoding", "gzip")], BAD)
        })
        .await,
        case("HTML", "not_prometheus", "", typed("text/html; charset=utf-8", html)).await,
        case("JSON", "not_prometheus", "", typed("application/json", "{\"a\": 1}")).await,
        case("empty", "not_prometheus", "", |_| page("")).await,
        case("comments only", "not_prometheus", "", |_| page("# a\n\n# b\n")).await,
        case("deflate", "not_prometheus", "", |_| {
            Answer::new(200, &[("content-encoding", "deflate")], BAD)
        })
        .await,
        case("HTML as text", "parse", "", typed("text/plain", html)).await,
        case("too large", "body_limit", "body_size_limit: 60B", |_| page(BAD)).await,
        case("too large when unpacked", "body_limit", "body_size_limit: 1MiB", move |_| {
            Answer::new(200, &[("content-encoding", "gzip")], bomb.clone())
        })
        .await,
        case("too many samples", "sample_limit", "sample_limit: 2", |_| gzip_page(BAD)).await,
        case("too many labels", "label_limit", "label_limit: 5", move |_| page(&many)).await,
        case("a long label name", "label_limit", "label_name_length_limit: 39", move |_| {
            page(&long_name)
        })
        .await,
        case("a long label value", "label_limit", "label_value_length_limit: 39", move |_| {
            page(&long_label)
        })
        .await,
    ]
}

#[tokio::test]
async fn a_bad_page_is_no_page_and_the_reason_is_told() {
    let (log, _guard) = Log::start();
    let cases = cases().await;
    let dead = FakeFlink::with_page("").await;
    let refused = dead.address();
    dead.kill().await;
    let secured = FakeFlink::with_page(GOOD).await;
    let mut jobs: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(n, case)| job(&format!("j{n}"), &[case.flink.address()], case.job))
        .collect();
    jobs.push(job("refused", &[&refused], ""));
    jobs.push(job("dns", &["nonexistent.invalid:9249"], "scrape_interval: 1s\nscrape_timeout: 1s"));
    let secret = "authorization: {credentials_file: /nonexistent/token}";
    jobs.push(job("secret", &[secured.address()], secret));
    let remote = FakeReceiver::start().await;
    // Long enough that a busy machine makes none of the good pages late.
    let global = "global: {scrape_interval: 1s, scrape_timeout: 1s}\n";
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), "")], global));
    let others = [("refused", "connect"), ("dns", "dns"), ("secret", "secret")];
    until_true("two failures of each", || {
        let failures = remote.samples_of("flinkrelay_scrape_failure");
        let of = |job: &str| failures.iter().filter(|s| s.label("job") == job).count();
        let all = (0..cases.len()).all(|n| of(&format!("j{n}")) >= 2);
        all && others.iter().all(|(job, _)| of(job) >= 1)
    })
    .await;

    let mut told = String::new();
    for target in running.relay.status.targets() {
        let failure = target.state().failure.unwrap();
        let job = target.target.job();
        let case = job.strip_prefix('j').and_then(|n| cases.get(n.parse::<usize>().ok()?));
        let what = case.map_or(job, |case| case.what);
        let message = match failure.message.split_once(" (") {
            // How far a slow page came is chance.
            Some((message, read)) if read.ends_with(" bytes read)") => message.to_owned(),
            _ => failure.message,
        };
        let message = message.replace(target.target.instance(), "HOST:PORT");
        // The system's words for a name that does not resolve differ.
        let message = message.split(": failed to lookup").next().unwrap();
        writeln!(told, "{what}: {}: {message}", failure.reason.as_str()).unwrap();
    }
    let mut lines: Vec<_> = told.lines().collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"));

    assert_eq!(running.stop().await, 0);
    for (n, case) in cases.iter().enumerate() {
        check_case(&remote, &format!("j{n}"), case);
        assert_eq!(
            log.lines_with("scrape failed")
                .iter()
                .filter(|line| line.contains(&format!("http://{}/", case.flink.address())))
                .count(),
            1,
            "{}",
            case.what
        );
    }
    for (job, reason) in others {
        let failures = remote.samples_of("flinkrelay_scrape_failure");
        let of_job: Vec<_> = failures.iter().filter(|s| s.label("job") == job).collect();
        assert!(of_job.iter().all(|s| s.label("reason") == reason && s.value == 1.0), "{job}");
    }
    assert!(secured.requests().is_empty(), "nothing is asked without the credential");
}

/// Of the good page all, of the bad ones nothing but that they were bad.
fn check_case(remote: &FakeReceiver, job: &str, case: &Case) {
    let what = case.what;
    let mut samples = remote.samples();
    samples.retain(|sample| sample.label("job") == job);
    let of = |name: &str| -> Vec<&Sample> {
        samples.iter().filter(|sample| sample.name() == name).collect()
    };
    let up: Vec<_> = of("up").iter().map(|sample| sample.value).collect();
    assert_eq!((up[0], up[1]), (1.0, 0.0), "{what}");
    assert!(up[1..].iter().all(|&up| up == 0.0), "{what}: {up:?}");
    let failed_at = of("up")[1].timestamp_ms;
    for (name, value) in [("flink_taskmanager_a", 1.0), ("flink_taskmanager_b", 2.0)] {
        let [sample, marker] = of(name)[..] else { panic!("{what}: {:?}", of(name)) };
        assert_eq!(sample.value, value, "{what}");
        assert!(marker.is_stale() && marker.timestamp_ms == failed_at, "{what}: {marker:?}");
    }
    assert!(of("flink_taskmanager_new").is_empty(), "{what}: a sample of a bad page");
    assert!(of("flink_taskmanager_c").is_empty(), "{what}: a sample of a bad page");
    let failures = of("flinkrelay_scrape_failure");
    assert!(failures.iter().all(|s| s.label("reason") == case.reason), "{what}: {failures:?}");
    assert_eq!(failures[0].timestamp_ms, failed_at, "{what}");
    for counts in ["scrape_samples_scraped", "scrape_series_added"] {
        assert_eq!(of(counts)[0].value, 2.0, "{what}");
        assert!(of(counts)[1..].iter().all(|s| s.value == 0.0), "{what}: {counts}");
    }
}

/// A relay that has too little CPU for all pages at once has enough for one after the other.
#[tokio::test]
async fn targets_whose_pages_were_late_take_turns() {
    let mut flinks = Vec::new();
    let mut begun = Vec::new();
    for _ in 0..4 {
        let requests = Arc::new(Mutex::new(Vec::new()));
        begun.push(Arc::clone(&requests));
        let script = move |_: &Request| {
            let mut requests = requests.lock().unwrap();
            requests.push(Instant::now());
            let is_first = requests.len() == 1;
            let page = page(GOOD);
            if is_first { page.stuck(5) } else { page.trickle(10, Duration::from_millis(50)) }
        };
        flinks.push(FakeFlink::with_script(script).await);
    }
    let remote = FakeReceiver::start().await;
    let targets: Vec<String> = flinks.iter().map(FakeFlink::address).collect();
    let jobs = [job("flink", &targets, "")];
    let global = "global: {scrape_interval: 1s, scrape_timeout: 1s}\n";
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), "")], global));
    until_true("a second page of each", || begun.iter().all(|b| b.lock().unwrap().len() >= 2))
        .await;
    assert_eq!(running.stop().await, 0);
    let mut second: Vec<_> = begun.iter().map(|b| b.lock().unwrap()[1]).collect();
    second.sort_unstable();
    let gaps: Vec<_> = second.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(500)), "{gaps:?}");
}
