//! Proxies that stand between the relay and the world.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use flinkrelay::http::{Client, ErrorKind};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{Recorder, TIMEOUT, clients, get, post, receiver, target};
use crate::fakes::{
    http::{Answer, Server},
    tls::Authority,
};

/// A proxy that opens tunnels, to wherever they are asked for, to one address.
struct Tunnels {
    address: SocketAddr,
    /// The heads of the CONNECT requests.
    heads: Arc<Mutex<Vec<Vec<String>>>>,
    _task: JoinSet<()>,
}

impl Tunnels {
    async fn to(upstream: SocketAddr, tls: Option<TlsAcceptor>, status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (kept, tls) = (Arc::clone(&kept), tls.clone());
                connections.spawn(async move {
                    let _gone = match tls {
                        None => tunnel(stream, upstream, status, &kept).await,
                        Some(tls) => {
                            let stream = tls.accept(stream).await.unwrap();
                            tunnel(stream, upstream, status, &kept).await
                        }
                    };
                });
            }
        });
        Self { address, heads, _task: task }
    }

    fn heads(&self) -> Vec<Vec<String>> {
        self.heads.lock().unwrap().clone()
    }
}

async fn tunnel(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    upstream: SocketAddr,
    status: &str,
    heads: &Mutex<Vec<Vec<String>>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    heads.lock().unwrap().push(head);
    stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await?;
    stream.flush().await?;
    if status.starts_with("200") {
        let mut upstream = TcpStream::connect(upstream).await?;
        tokio::io::copy_bidirectional(&mut stream, &mut upstream).await?;
    }
    Ok(())
}

#[tokio::test]
async fn plain_requests_name_the_whole_url_to_the_proxy() {
    let proxy = Recorder::start(|_, _| Answer::words(200, "by proxy")).await;
    let url = proxy.url("/").replace("http://", "http://user:p%40ss@");
    let client = target(&format!("proxy_url: '{url}'\nbasic_auth: {{username: u, password: p}}"));
    let answer = get(&client, "http://taskmanager.test:9249/metrics?a=b").await.unwrap();
    assert_eq!(answer, (200, "HTTP/1.1 by proxy".to_owned()));
    let request = &proxy.requests()[0];
    assert_eq!(request.target, "http://taskmanager.test:9249/metrics?a=b");
    assert_eq!(request.header("host"), Some("taskmanager.test:9249"));
    // base64 of "user:p@ss"; the target's own credentials go on to it.
    assert_eq!(request.header("proxy-authorization"), Some("Basic dXNlcjpwQHNz"));
    assert_eq!(request.header("authorization"), Some("Basic dTpw"));
}

#[tokio::test]
async fn what_no_proxy_names_is_reached_directly() {
    let proxy = Recorder::start(|_, _| Answer::words(200, "by proxy")).await;
    let direct = Recorder::start(|_, _| Answer::words(200, "direct")).await;
    let body = async |client: &Client, url: &str| {
        let (_, body) = get(client, url).await.unwrap();
        body.strip_prefix("HTTP/1.1 ").unwrap().to_owned()
    };
    let (url, loopback) = (proxy.url(""), direct.url("/"));
    let all = target(&format!("proxy_url: '{url}'"));
    assert_eq!(body(&all, &loopback).await, "by proxy", "as in Prometheus");
    let some = target(&format!("proxy_url: '{url}'\nno_proxy: example.com"));
    assert_eq!(body(&some, &loopback).await, "direct", "loopback, when there is a list");
    assert_eq!(body(&some, "http://vm.test/").await, "by proxy");
    // From the environment, loopback is never proxied; small letters work, too.
    let variables = [("http_proxy", &*url), ("NO_PROXY", "10.0.0.0/8")];
    let (environment, _) = clients("proxy_from_environment: true", &variables);
    let environment = Client::new(&environment, TIMEOUT).unwrap();
    assert_eq!(body(&environment, &loopback).await, "direct");
    assert_eq!(body(&environment, "http://vm.test/").await, "by proxy");
    let nothing = target("proxy_from_environment: true");
    assert_eq!(body(&nothing, &loopback).await, "direct");
}

#[tokio::test]
async fn tls_goes_through_a_tunnel() {
    let directory = TempDir::new().unwrap();
    let ours = Authority::new(directory.path(), "ours");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    let server = Server::start(0, Some(ours.server("vm.test", None)), move |request| {
        kept.lock().unwrap().push(request);
        Answer::words(200, "taken")
    })
    .await;
    let of_proxy = ours.server("localhost", None);
    for (scheme, tls) in [("http", None), ("https", Some(of_proxy))] {
        let proxy = Tunnels::to(server.address, tls, "200 Connection established").await;
        let port = proxy.address.port();
        let client = receiver(
            &format!(
                "tls_config: {{ca_file: {}}}\nproxy_url: '{scheme}://u:p@localhost:{port}'\n\
                 proxy_connect_header: {{x-team: [streaming, b]}}\nheaders: {{x-a: secret}}",
                ours.ca_file().display()
            ),
            &[],
        );
        for _ in 0..2 {
            let answer = post(&client, "https://vm.test:8428/api/v1/write", "body").await.unwrap();
            assert_eq!(answer, (200, "HTTP/1.1 taken".to_owned()), "{scheme}");
        }
        let heads = proxy.heads();
        assert_eq!(heads.len(), 1, "the tunnel is kept");
        assert_eq!(heads[0][0], "CONNECT vm.test:8428 HTTP/1.1");
        let has = |line: &str| heads[0].iter().any(|l| l.eq_ignore_ascii_case(line));
        assert!(has("proxy-authorization: Basic dTpw"), "{heads:?}");
        assert!(has("x-team: streaming") && has("x-team: b"), "{heads:?}");
        assert!(!heads[0].concat().contains("secret"), "{heads:?}");
    }
    let requests = seen.lock().unwrap().clone();
    assert_eq!(requests.len(), 4);
    for request in requests {
        assert_eq!(request.target, "/api/v1/write");
        assert_eq!(request.header("proxy-authorization"), None, "it is the proxy's alone");
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_help_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let wants_login = Tunnels::to(closed, None, "407 Proxy Authentication Required").await;
    let forbids = Tunnels::to(closed, None, "403 Forbidden").await;
    for (proxy, expected) in [
        (closed, format!("tcp connect error at the proxy http://{closed}/: Connection refused")),
        (wants_login.address, "proxy authorization required; write user and password".to_owned()),
        (forbids.address, "does it allow this host and port?".to_owned()),
    ] {
        let client = receiver(&format!("proxy_url: 'http://{proxy}'"), &[]);
        let error = post(&client, "https://vm.test/", "body").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Connect, "{error}");
        assert!(error.to_string().contains(&expected), "{error}");
    }
}
