//! Redirects: followed for targets, not for receivers, and never with a credential for a stranger.

use super::{Recorder, get, post, receiver, target};
use crate::fakes::http::Answer;

fn to(status: u16, location: &str) -> Answer {
    Answer::new(status, &[("location", location)], "")
}

#[tokio::test]
async fn a_target_may_move_and_credentials_stay_with_its_host() {
    let elsewhere = Recorder::start(|_, _| Answer::words(200, "moved")).await;
    // Another name for the same machine is another host.
    let stranger = elsewhere.url("/x").replace("127.0.0.1", "localhost");
    let home = Recorder::start(move |request, _| match &*request.target {
        "/a/start" => to(301, "../near"),
        "/near" => to(302, "/far"),
        "/far" => to(307, &stranger),
        "/loop" => to(302, "/back"),
        "/back" => to(302, "/loop"),
        path if path.starts_with("/long") => to(302, &format!("{path}x")),
        _ => Answer::words(200, "home"),
    })
    .await;
    let client = target("basic_auth: {username: u, password: p}\nheaders: {x-api-key: secret}");
    assert_eq!(get(&client, &home.url("/a/start")).await.unwrap(), (200, "HTTP/1.1 moved".into()));
    assert_eq!(home.headers("authorization"), vec!["Basic dTpw"; 3]);
    assert_eq!(elsewhere.headers("authorization"), [""]);
    assert_eq!(elsewhere.headers("x-api-key"), [""]);
    let port = elsewhere.server.address.port();
    assert_eq!(elsewhere.headers("host"), [format!("localhost:{port}")]);
    // Ten are followed, and none to where it was; then the redirect is the answer.
    assert_eq!(get(&client, &home.url("/long")).await.unwrap().0, 302);
    assert_eq!(home.requests().len(), 3 + 11);
    assert_eq!(get(&client, &home.url("/loop")).await.unwrap().0, 302);
    assert_eq!(home.requests().len(), 3 + 11 + 2);
    // Unless one does not want it.
    let client = target("follow_redirects: false");
    assert_eq!(get(&client, &home.url("/near")).await.unwrap().0, 302);
}

#[tokio::test]
async fn a_receiver_may_move_only_with_method_and_body() {
    let remote = Recorder::start(|request, _| match &*request.target {
        "/301" => to(301, "/new"),
        "/308" => to(308, "/new"),
        _ => Answer::words(200, "taken"),
    })
    .await;
    let client = receiver("follow_redirects: true", &[]);
    assert_eq!(post(&client, &remote.url("/308"), "body").await.unwrap().0, 200);
    let requests = remote.requests();
    assert_eq!((&*requests[1].method, &*requests[1].target), ("POST", "/new"));
    assert_eq!(requests[1].body, b"body");
    assert_eq!(post(&client, &remote.url("/301"), "body").await.unwrap().0, 301);
    // By default none is followed.
    let client = receiver("", &[]);
    assert_eq!(post(&client, &remote.url("/308"), "body").await.unwrap().0, 308);
}
