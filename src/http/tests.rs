//! The client against servers inside the process: addresses of a name, and how old connections get.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    task::JoinSet,
};

use super::{connect::CONNECTION_AGE_MAX, resolve::Resolver, *};
use crate::config::Connections;

/// Servers on several loopback addresses with one port, each of which answers with its address.
struct Servers {
    port: u16,
    _tasks: JoinSet<()>,
}

impl Servers {
    async fn on(last_bytes: &[u8], close: bool) -> Self {
        let mut tasks = JoinSet::new();
        let mut port = 0;
        for &last in last_bytes {
            let address = (Ipv4Addr::new(127, 0, 0, last), port);
            let listener = TcpListener::bind(address).await.expect("loopback has 2^24 addresses");
            port = listener.local_addr().unwrap().port();
            tasks.spawn(async move {
                let mut connections = JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    connections.spawn(async move {
                        let mut stream = BufReader::new(stream);
                        let mut line = String::new();
                        while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
                            if line.trim_end().is_empty() {
                                let close = if close { "connection: close\r\n" } else { "" };
                                let length = last.to_string().len();
                                let answer = format!(
                                    "HTTP/1.1 200 OK\r\n{close}content-length: {length}\r\n\r\n{last}"
                                );
                                stream.write_all(answer.as_bytes()).await.unwrap();
                                if !close.is_empty() {
                                    return;
                                }
                            }
                            line.clear();
                        }
                    });
                }
            });
        }
        Self { port, _tasks: tasks }
    }

    /// Which server answers.
    async fn ask(&self, client: &Client) -> u8 {
        let url = format!("http://vm.test:{}/", self.port);
        let request = Request::get(url).body(Full::default()).unwrap();
        let answer = client.send(request).await.unwrap_or_else(|error| panic!("{error}"));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        str::from_utf8(&body).unwrap().parse().unwrap()
    }
}

/// A client for which the name has these addresses, which the test may change.
fn client_of(last_bytes: &[u8]) -> (Client, Arc<Mutex<Vec<u8>>>) {
    let addresses = Arc::new(Mutex::new(last_bytes.to_vec()));
    let known = Arc::clone(&addresses);
    let resolver = Resolver::with(move |_| {
        let known = known.lock().unwrap();
        known.iter().map(|&last| Ipv4Addr::new(127, 0, 0, last).into()).collect()
    });
    let config = config::HttpClient { connections: Connections(4), ..Default::default() };
    let timeout = Duration::from_secs(5);
    let transport = Transport::with_resolver(&settings(&config, timeout), resolver).unwrap();
    (Client::with_transport(&config, timeout, transport).unwrap(), addresses)
}

#[tokio::test]
async fn connections_are_spread_over_the_addresses_of_a_name() {
    let servers = Servers::on(&[1, 2, 3], true).await;
    let (client, _) = client_of(&[1, 2, 3]);
    let mut counts = [0; 4];
    for _ in 0..30 {
        counts[usize::from(servers.ask(&client).await)] += 1;
    }
    assert_eq!(counts, [0, 10, 10, 10]);
}

#[tokio::test]
async fn a_dead_address_does_not_fail_a_request() {
    let servers = Servers::on(&[1, 2], true).await;
    let (client, _) = client_of(&[4, 1, 5, 2]);
    let mut counts = [0; 3];
    for _ in 0..20 {
        counts[usize::from(servers.ask(&client).await)] += 1;
    }
    assert_eq!(counts, [0, 10, 10], "those that live are both used");
    // All dead: the address is named, since the URL has a name only.
    let (client, _) = client_of(&[4, 5]);
    let url = format!("http://vm.test:{}/", servers.port);
    let request = Request::get(url).body(Full::default()).unwrap();
    let error = client.send(request).await.unwrap_err();
    assert!(error.is_refused() && error.kind == ErrorKind::Connect);
    let place = "tcp connect error at 127.0.0.";
    assert!(error.to_string().starts_with(place), "{error}");
}

#[tokio::test]
async fn a_kept_connection_follows_a_change_of_dns_when_it_has_had_its_time() {
    let servers = Servers::on(&[1, 2], false).await;
    let (client, addresses) = client_of(&[1]);
    assert_eq!(servers.ask(&client).await, 1);
    *addresses.lock().unwrap() = vec![2];
    assert_eq!(servers.ask(&client).await, 1, "it works, so it is used");
    tokio::time::pause();
    // In steps, since an idle connection would be closed much earlier.
    let (step, mut asked) = (Duration::from_secs(30), 0);
    while servers.ask(&client).await == 1 {
        tokio::time::advance(step).await;
        asked += 1;
        assert!(step * asked <= CONNECTION_AGE_MAX + step, "the connection lives for ever");
    }
    assert!(step * asked >= CONNECTION_AGE_MAX * 3 / 4, "it was closed after {asked} x 30 s");
}

#[tokio::test]
async fn a_name_without_addresses_is_told_as_one_that_cannot_be_resolved() {
    let (client, _) = client_of(&[]);
    let request = Request::get("http://vm.test/").body(Full::default()).unwrap();
    let error = client.send(request).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Dns);
    assert_eq!(error.to_string(), "cannot resolve vm.test: the name has no address");
}

#[test]
fn loopback_is_told_by_the_host_as_written() {
    for (url, expected) in [
        ("http://127.0.0.1:9250/metrics", true),
        ("http://127.3.2.1/", true),
        ("http://localhost:9250/", true),
        ("http://[::1]:9250/", true),
        ("http://10.0.0.1:9250/", false),
        ("http://localhost.example.com/", false),
    ] {
        assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
    }
}
