//! Tokens of an authorization server.

use std::{fs, sync::Mutex, time::Duration};

use flinkrelay::http::{Client, ErrorKind};
use futures_util::future::join_all;
use tempfile::NamedTempFile;

use super::{Recorder, clients, form, get, post, receiver, target};
use crate::{
    fakes::{
        flink::FakeFlink,
        http::{Answer, Request},
        receiver::FakeReceiver,
        relay::{Running, config, job, receiver as receiver_of},
        until_true,
    },
    task_manager,
};

/// A token server that gives out `t0`, `t1` and so on.
async fn token_server(more: &'static str) -> Recorder {
    Recorder::start(move |_, n| {
        let body = format!(r#"{{"access_token":"t{n}","token_type":"bearer"{more}}}"#);
        Answer::new(200, &[("content-type", "application/json")], body)
    })
    .await
}

fn oauth2(tokens: &Recorder, more: &str) -> String {
    let url = tokens.url("/token");
    format!("oauth2: {{client_id: 'me:you', client_secret: 's&c', token_url: '{url}'{more}}}")
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_used_until_it_ends() {
    let tokens = token_server(r#","expires_in":3600"#).await;
    let remote = Recorder::start(|_, _| Answer::words(200, "ok")).await;
    let client = target(&oauth2(&tokens, ", scopes: [a, b], endpoint_params: {audience: x y}"));
    let url = remote.url("/");
    let answers = join_all((0..20).map(|_| get(&client, &url))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().0 == 200));
    get(&client, &url).await.unwrap();
    assert_eq!(remote.headers("authorization"), vec!["Bearer t0"; 21]);
    let asked = tokens.requests();
    assert_eq!(asked.len(), 1, "20 requests at once ask once");
    assert_eq!(asked[0].method, "POST");
    // base64 of "me%3Ayou:s%26c": both are encoded before, so that a colon stays apart.
    assert_eq!(asked[0].header("authorization"), Some("Basic bWUlM0F5b3U6cyUyNmM="));
    assert_eq!(asked[0].header("content-type"), Some("application/x-www-form-urlencoded"));
    let pairs = form(&asked[0]);
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
    let expected = [("grant_type", "client_credentials"), ("scope", "a b"), ("audience", "x y")];
    assert_eq!(pairs, expected);
}

#[tokio::test]
async fn a_token_that_ends_is_replaced() {
    let tokens = token_server(r#","expires_in":0.2"#).await;
    let remote = Recorder::start(|_, _| Answer::words(200, "ok")).await;
    let client = target(&oauth2(&tokens, ""));
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_millis(700) {
        get(&client, &remote.url("/")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (used, asked) = (remote.headers("authorization"), tokens.requests().len());
    assert!((3..=9).contains(&asked), "{asked} times in 700 ms");
    assert!(used.contains(&"Bearer t2".to_owned()), "{used:?}");
    assert!(used.is_sorted(), "no token comes back: {used:?}");
}

#[tokio::test]
async fn id_and_secret_go_into_the_body_where_the_server_wants_them_there() {
    let tokens = Recorder::start(|request, _| match request.header("authorization") {
        Some(_) => Answer::words(401, r#"{"error":"invalid_client"}"#),
        None => Answer::words(200, r#"{"access_token":"t","expires_in":0.001}"#),
    })
    .await;
    let remote = Recorder::start(|_, _| Answer::words(200, "ok")).await;
    let client = target(&oauth2(&tokens, ""));
    for _ in 0..3 {
        get(&client, &remote.url("/")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let asked = tokens.requests();
    let in_body: Vec<_> = asked.iter().map(|r| r.header("authorization").is_none()).collect();
    assert_eq!(in_body, [false, true, true, true], "tried once, then known");
    let pairs = form(&asked[1]);
    assert!(pairs.contains(&("client_id".to_owned(), "me:you".to_owned())), "{pairs:?}");
    assert!(pairs.contains(&("client_secret".to_owned(), "s&c".to_owned())), "{pairs:?}");
}

/// Token servers are replaced by others under the same URL.
#[tokio::test]
async fn what_was_found_out_about_id_and_secret_is_found_out_anew_when_it_is_refused() {
    let given = r#"{"access_token":"t","expires_in":0.001}"#;
    let in_body = |request: &Request| request.header("authorization").is_none();
    // Takes the standard way, then only the other one, then nothing, then only the standard one.
    let tokens = Recorder::start(move |request, n| match (n, in_body(request)) {
        (0, false) | (1..4, true) | (6.., false) => Answer::words(200, given),
        (4..6, true) => Answer::words(401, r#"{"error":"said_to_the_other"}"#),
        _ => Answer::words(401, r#"{"error":"said_to_the_standard"}"#),
    })
    .await;
    let remote = Recorder::start(|_, _| Answer::words(200, "ok")).await;
    let client = target(&oauth2(&tokens, ""));
    let mut asked = Vec::new();
    let mut failed = Vec::new();
    while asked.len() < 9 {
        if let Err(error) = get(&client, &remote.url("/")).await {
            failed.push(format!("{error:?}"));
        }
        asked = tokens.requests();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let asked: Vec<_> = asked.iter().map(in_body).collect();
    let expected = [false, false, true, true, true, false, true, false, false];
    assert_eq!(asked[..9], expected, "{failed:#?}");
    assert!(failed.iter().all(|words| words.contains("said_to_the_standard")), "{failed:#?}");
}

#[tokio::test]
async fn a_refused_token_is_not_replaced_while_it_is_new() {
    let tokens = token_server(r#","expires_in":3600"#).await;
    let remote = Recorder::start(|_, _| Answer::words(401, "no")).await;
    let client = target(&oauth2(&tokens, ""));
    for _ in 0..5 {
        assert_eq!(get(&client, &remote.url("/")).await.unwrap().0, 401);
    }
    assert_eq!(remote.requests().len(), 5);
    assert_eq!(tokens.requests().len(), 1, "the token server is not flooded");
}

#[tokio::test]
async fn a_token_that_the_receiver_has_forgotten_is_replaced_and_the_request_sent_again() {
    let tokens = token_server(r#","expires_in":3600"#).await;
    let forgets = |request: &Request, n| match (n, request.header("authorization")) {
        (1.., Some("Bearer t0")) => Answer::words(401, "who are you?"),
        _ => Answer::words(200, "ok"),
    };
    let remote = Recorder::start(forgets).await;
    let client = receiver(&oauth2(&tokens, ""), &[]);
    assert_eq!(post(&client, &remote.url("/"), "one").await.unwrap().0, 200);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    assert_eq!(post(&client, &remote.url("/"), "two").await.unwrap().0, 200);
    assert_eq!(remote.headers("authorization"), ["Bearer t0", "Bearer t0", "Bearer t1"]);
    let bodies: Vec<_> = remote.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [b"one", b"two", b"two"]);
}

#[tokio::test]
async fn a_new_secret_gets_a_new_token_at_once() {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), "old\n").unwrap();
    let tokens = token_server(r#","expires_in":3600"#).await;
    let remote = Recorder::start(|_, _| Answer::words(200, "ok")).await;
    let (path, url) = (file.path().display(), tokens.url("/token"));
    let client = target(&format!(
        "oauth2: {{client_id: me, client_secret_file: {path}, token_url: '{url}'}}"
    ));
    get(&client, &remote.url("/")).await.unwrap();
    fs::write(file.path(), "newer\n").unwrap();
    get(&client, &remote.url("/")).await.unwrap();
    get(&client, &remote.url("/")).await.unwrap();
    assert_eq!(remote.headers("authorization"), ["Bearer t0", "Bearer t1", "Bearer t1"]);
    // base64 of "me:old" and "me:newer".
    assert_eq!(tokens.headers("authorization"), ["Basic bWU6b2xk", "Basic bWU6bmV3ZXI="]);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_error_says_why() {
    let remote = Recorder::start(|_, _| Answer::words(200, "ok")).await;
    type Case = (fn() -> Answer, &'static str);
    let cases: [Case; 4] = [
        (
            || {
                let words = r#"{"error":"invalid_client","error_description":"who is s&c?"}"#;
                Answer::words(400, words)
            },
            "HTTP 400 Bad Request invalid_client: who is s&c?",
        ),
        (|| Answer::words(200, "<html>"), "the answer is not a token: expected value"),
        (|| Answer::words(500, "trouble"), "HTTP 500 Internal Server Error trouble"),
        (Answer::close, "connection closed before message completed"),
    ];
    for (answer, expected) in cases {
        let tokens = Recorder::start(move |_, _| answer()).await;
        let client = target(&oauth2(&tokens, ""));
        let error = get(&client, &remote.url("/")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Secret);
        let url = tokens.url("/token");
        assert!(error.to_string().starts_with(&format!("no token from {url}: ")), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        let asked = tokens.requests().len();
        // The next one is told the same, and does not ask again at once.
        let error = get(&client, &remote.url("/")).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(tokens.requests().len(), asked);
    }
    assert!(remote.requests().is_empty());
}

#[tokio::test]
async fn the_client_asks_by_a_proxy_and_tls_of_its_own() {
    let proxy = Recorder::start(|_, _| Answer::words(200, r#"{"access_token":"t"}"#)).await;
    let remote = Recorder::start(|_, _| Answer::words(200, "ok")).await;
    let proxied = proxy.url("").replace("http://", "http://u:p@");
    let client = receiver(
        &format!(
            "oauth2: {{client_id: a, client_secret: b, token_url: 'http://idp.test/t', \
             proxy_url: '{proxied}'}}"
        ),
        &[],
    );
    post(&client, &remote.url("/"), "body").await.unwrap();
    assert_eq!(proxy.requests()[0].target, "http://idp.test/t");
    assert_eq!(proxy.headers("proxy-authorization"), ["Basic dTpw"]);
    assert_eq!(remote.headers("authorization"), ["Bearer t"]);
    assert_eq!(remote.headers("proxy-authorization"), [""], "the receiver has no proxy");
}

/// The whole way: as long as there is no token, samples wait; then all of them arrive.
#[tokio::test]
async fn no_sample_is_lost_while_there_is_no_token() {
    static WORKS: Mutex<bool> = Mutex::new(false);
    let tokens = Recorder::start(|_, _| match *WORKS.lock().unwrap() {
        true => Answer::words(200, r#"{"access_token":"t","expires_in":3600}"#),
        false => Answer::words(503, "the identity provider is down"),
    })
    .await;
    let flink = FakeFlink::with_page(&task_manager(&[("a", 1.0)])).await;
    let remote = FakeReceiver::start().await;
    let jobs = [job("flink", &[flink.address()], "")];
    let receivers = [receiver_of(&remote.url(), &oauth2(&tokens, ""))];
    let running = Running::start(&config(&jobs, &receivers, ""));
    until_true("scrapes that wait", || {
        let counts = running.counts(0);
        flink.scrapes() >= 3 && counts.retried.samples > 0
    })
    .await;
    assert!(remote.tries().is_empty(), "nothing is sent without a token");
    *WORKS.lock().unwrap() = true;
    until_true("delivery", || remote.samples_of("up").len() >= 4).await;
    assert_eq!(running.counts(0).dropped_in_all().samples, 0);
    assert_eq!(running.stop().await, 0);
    for write in remote.accepted() {
        assert_eq!(write.request.header("authorization"), Some("Bearer t"));
    }
}

/// When the request has had its time, nobody can tell any more which of the two did not answer.
#[tokio::test]
async fn a_token_server_that_hangs_is_named_before_the_request_has_had_its_time() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let tokens = Recorder::start(|_, _| Answer::hang()).await;
    let client = Client::new(&clients(&oauth2(&tokens, ""), &[]).0, TIMEOUT).unwrap();
    let asked = get(&client, "http://vm/");
    let asked = tokio::time::timeout(TIMEOUT.mul_f64(0.95), asked).await;
    let error = asked.expect("it is told in time").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Secret);
    let url = tokens.url("/token");
    assert_eq!(error.to_string(), format!("no token from {url}: no answer in time"));
}
