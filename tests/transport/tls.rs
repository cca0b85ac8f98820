//! TLS: versions, certificates that change while the relay runs, HTTP/2.

use std::{
    convert::Infallible,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use flinkrelay::http::{Client, ErrorKind};
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, sync::Barrier, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use super::{clients, get, post, receiver, target};
use crate::fakes::{
    http::{Answer, Server},
    relay::Log,
    tls::{Authority, self_signed},
};

async fn server(tls: TlsAcceptor) -> Server {
    Server::start(0, Some(tls), |_| Answer::words(200, "ok").then_close()).await
}

fn url(address: SocketAddr) -> String {
    format!("https://localhost:{}/", address.port())
}

fn trusting(file: &Path, more: &str) -> String {
    format!("tls_config: {{ca_file: {}{more}}}", file.display())
}

/// A server of HTTP/2 that answers when `together` requests are there. Counts the connections that
/// requests come on; a client may open more before it knows that one is enough.
async fn http2(tls: TlsAcceptor, together: usize) -> (SocketAddr, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let (connections, barrier) = (Arc::clone(&count), Arc::new(Barrier::new(together)));
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut tasks = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (tls, barrier) = (tls.clone(), Arc::clone(&barrier));
            let connections = Arc::clone(&connections);
            tasks.spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let is_used = AtomicBool::new(false);
                let service = service_fn(move |request: Request<Incoming>| {
                    if !is_used.swap(true, Relaxed) {
                        connections.fetch_add(1, Relaxed);
                    }
                    let barrier = Arc::clone(&barrier);
                    async move {
                        barrier.wait().await;
                        let said = format!("{:?}", request.version());
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(said))))
                    }
                });
                let serving = http2::Builder::new(TokioExecutor::new());
                let _gone = serving.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, count, task)
}

#[tokio::test]
async fn http2_is_spoken_where_it_is_offered() {
    let directory = TempDir::new().unwrap();
    let ours = Authority::new(directory.path(), "ours");
    let (address, _, _task) = http2(ours.http2_server("localhost"), 1).await;
    let client = target(&trusting(&ours.ca_file(), ""));
    let answer = get(&client, &url(address)).await.unwrap();
    assert_eq!(answer, (200, "HTTP/2.0 HTTP/2.0".to_owned()));
    // A server that offers nothing gets HTTP/1.1.
    let plain = server(ours.server("localhost", None)).await;
    let answer = get(&client, &url(plain.address)).await.unwrap();
    assert_eq!(answer, (200, "HTTP/1.1 ok".to_owned()));
    // A server that offers both is asked for HTTP/1.1 when HTTP/2 is not wanted.
    let both = server(ours.http2_server("localhost")).await;
    let lines = trusting(&ours.ca_file(), "") + "\nenable_http2: false";
    let answer = get(&target(&lines), &url(both.address)).await.unwrap();
    assert_eq!(answer, (200, "HTTP/1.1 ok".to_owned()));
}

#[tokio::test]
async fn lanes_of_a_receiver_share_http2_connections_but_not_one_alone() {
    let directory = TempDir::new().unwrap();
    let ours = Authority::new(directory.path(), "ours");
    let check = async |client: Client, requests: usize, expected: usize| {
        let (address, connections, _task) = http2(ours.http2_server("localhost"), requests).await;
        let url = url(address);
        // Nobody is answered before all are there, so all are on their way at once.
        let answers = join_all((0..requests).map(|_| post(&client, &url, "body"))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(connections.load(Relaxed), expected, "of {requests} requests");
    };
    let lines = trusting(&ours.ca_file(), "");
    let lanes =
        |lanes: u16| receiver(&format!("{lines}\nqueue_config: {{max_shards: {lanes}}}"), &[]);
    check(lanes(16), 16, 4).await;
    check(lanes(2), 2, 2).await;
    check(lanes(16), 1, 1).await;
}

#[tokio::test]
async fn a_connection_that_gave_no_answer_in_time_is_not_used_again() {
    let directory = TempDir::new().unwrap();
    let ours = Authority::new(directory.path(), "ours");
    // The first request is answered by nobody; it counts, so the second one is.
    let (address, connections, _task) = http2(ours.http2_server("localhost"), 2).await;
    let config = clients(&trusting(&ours.ca_file(), ""), &[]).0;
    let client = Client::new(&config, Duration::from_millis(500)).unwrap();
    let error = get(&client, &url(address)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
    assert_eq!(get(&client, &url(address)).await.unwrap().0, 200);
    assert_eq!(connections.load(Relaxed), 2);
}

#[tokio::test]
async fn versions_are_those_that_were_asked_for() {
    let directory = TempDir::new().unwrap();
    let ours = Authority::new(directory.path(), "ours");
    let both = server(ours.server("localhost", None)).await;
    for more in ["", ", min_version: TLS13", ", max_version: TLS12", ", min_version: TLS10"] {
        let client = target(&trusting(&ours.ca_file(), more));
        assert_eq!(get(&client, &url(both.address)).await.unwrap().0, 200, "{more}");
    }
    let only_13 = server(ours.tls13_server("localhost")).await;
    for (more, good) in
        [("", true), (", min_version: TLS13", true), (", max_version: TLS12", false)]
    {
        let client = target(&trusting(&ours.ca_file(), more));
        let answer = get(&client, &url(only_13.address)).await;
        assert_eq!(answer.is_ok(), good, "{more}: {answer:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_its_own_authority_is_taken_when_it_is_given() {
    let directory = TempDir::new().unwrap();
    let (file, other) = (directory.path().join("vm.pem"), directory.path().join("other.pem"));
    let vm = server(self_signed("localhost", &file)).await;
    let other_name = server(self_signed("vm.test", &other)).await;
    let client = target(&trusting(&file, ""));
    assert_eq!(get(&client, &url(vm.address)).await.unwrap().0, 200);
    let refused = async |lines: &str, address, words: &str| {
        let error = get(&target(lines), &url(address)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Connect);
        assert!(error.to_string().contains(words), "{error}");
    };
    refused(&trusting(&other, ""), vm.address, "give this very certificate as `ca_file`").await;
    refused(&trusting(&other, ""), other_name.address, "verify another name with").await;
    let named = target(&trusting(&other, ", server_name: vm.test"));
    assert_eq!(get(&named, &url(other_name.address)).await.unwrap().0, 200);
}

/// As a company's server whose authority nobody has at hand.
#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_taken_when_it_is_given_itself() {
    let directory = TempDir::new().unwrap();
    let theirs = Authority::new(directory.path(), "theirs");
    let (file, other) = (directory.path().join("leaf.pem"), directory.path().join("other.pem"));
    let known = server(theirs.named_server("localhost", &file)).await;
    let stranger = server(theirs.named_server("localhost", &other)).await;
    let client = target(&trusting(&file, ""));
    assert_eq!(get(&client, &url(known.address)).await.unwrap().0, 200);
    let error = get(&client, &url(stranger.address)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Connect, "another one of the same authority: {error}");
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let directory = TempDir::new().unwrap();
    let ours = Authority::new(directory.path(), "ours");
    let theirs = Authority::new(directory.path(), "theirs");
    let server = server(ours.server("localhost", None)).await;
    for (lines, hint) in [
        ("", "UnknownIssuer; trust its authority with `ca_file`"),
        (
            // Authorities of these tests have one name, like one that was made anew.
            &*trusting(&theirs.ca_file(), ""),
            "BadSignature; an authority of the same name signed it: is `ca_file` the current one?",
        ),
    ] {
        let error = get(&target(lines), &url(server.address)).await.unwrap_err();
        let words = format!("TLS with localhost: invalid peer certificate: {hint}");
        assert_eq!(error.to_string(), words);
    }
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = url(plain.local_addr().unwrap());
    let client = target("");
    let talk = async {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(b"220 mail.example.com ESMTP\r\n").await.unwrap();
        stream
    };
    let (error, _stream) = tokio::join!(get(&client, &address), talk);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("does the other side speak TLS on this port?"), "{error}");
}

#[tokio::test]
async fn certificates_are_replaced_while_the_relay_runs() {
    let (log, _guard) = Log::start();
    let directory = TempDir::new().unwrap();
    let first = Authority::new(directory.path(), "first");
    let second = Authority::new(directory.path(), "second");
    let path = |name: &str| directory.path().join(name);
    let install = |authority: &Authority| {
        let (cert, key) = authority.client_files();
        fs::copy(authority.ca_file(), path("ca.pem")).unwrap();
        fs::copy(cert, path("cert.pem")).unwrap();
        fs::copy(key, path("key.pem")).unwrap();
    };
    install(&first);
    let of_first = server(first.server("localhost", Some(&first))).await;
    let of_second = server(second.server("localhost", Some(&second))).await;
    let client = target(&trusting(
        &path("ca.pem"),
        &format!(
            ", cert_file: {}, key_file: {}",
            path("cert.pem").display(),
            path("key.pem").display()
        ),
    ));
    let reaches = async |server: &Server| get(&client, &url(server.address)).await.is_ok();
    assert!(reaches(&of_first).await && !reaches(&of_second).await);
    // Half a rotation, as when somebody copies file by file: what was there goes on to work.
    fs::write(path("cert.pem"), "not yet").unwrap();
    assert!(reaches(&of_first).await);
    assert!(reaches(&of_first).await);
    let said = log.lines_with("TLS files have changed and cannot be used");
    assert_eq!(said.len(), 1, "once, not for each connection: {said:?}");
    assert!(said[0].contains("cert.pem: the file holds no PEM certificate"), "{said:?}");
    fs::remove_file(path("key.pem")).unwrap();
    assert!(reaches(&of_first).await);
    install(&second);
    assert!(reaches(&of_second).await && !reaches(&of_first).await);
}

#[tokio::test]
async fn certificates_may_stand_in_the_configuration() {
    let directory = TempDir::new().unwrap();
    let ours = Authority::new(directory.path(), "ours");
    let (cert, key) = ours.client_files();
    let server = server(ours.server("localhost", Some(&ours))).await;
    let block = |key: &str, path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let lines: String = text.lines().map(|line| format!("    {line}\n")).collect();
        format!("  {key}: |\n{lines}")
    };
    let lines = format!(
        "tls_config:\n{}{}{}",
        block("ca", &ours.ca_file()),
        block("cert", &cert),
        block("key", &key)
    );
    assert_eq!(get(&target(&lines), &url(server.address)).await.unwrap().0, 200);
}
