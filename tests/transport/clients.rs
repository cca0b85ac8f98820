//! How requests get there: tokens, signatures, proxies, TLS, HTTP/2, redirects. Most of it through
//! the client alone, configured as a person would.

mod aws;
mod oauth2;
mod proxy;
mod redirects;
mod tls;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use flinkrelay::{
    config::{HttpClient, Overrides, Source, load},
    http::{Client, Error},
};
use http_body_util::{BodyExt as _, Full};

use crate::fakes::http::{Answer, Request, Server};

/// Longest time that a request of these tests takes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A job's client with these lines of YAML, and a receiver's.
fn clients(lines: &str, env: &[(&str, &str)]) -> (HttpClient, HttpClient) {
    let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    let is_receivers = lines.contains("sigv4") || lines.contains("queue_config");
    let of_job = if is_receivers { "" } else { &*indented };
    let text = format!(
        "scrape_configs:\n  - job_name: a\n    static_configs: [{{targets: ['h:1']}}]\n{of_job}\
         remote_write:\n  - url: http://vm/\n{indented}"
    );
    let source = Source { path: "flinkrelay.yaml".into(), text };
    let env = |name: &str| {
        env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    let config = load(Some(&source), &Overrides::default(), &env);
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    (config.scrapes[0].http.clone(), config.receivers[0].http.clone())
}

/// A target's client.
fn target(lines: &str) -> Client {
    Client::new(&clients(lines, &[]).0, TIMEOUT).unwrap_or_else(|error| panic!("{error}"))
}

/// A receiver's client.
fn receiver(lines: &str, env: &[(&str, &str)]) -> Client {
    Client::new(&clients(lines, env).1, TIMEOUT).unwrap_or_else(|error| panic!("{error}"))
}

/// Status, version and body of an answer.
async fn get(client: &Client, url: &str) -> Result<(u16, String), Error> {
    let request = hyper::Request::get(url).body(Full::new(Bytes::new())).unwrap();
    read(client.send(request).await?).await
}

async fn post(client: &Client, url: &str, body: &'static str) -> Result<(u16, String), Error> {
    let request = hyper::Request::post(url).header("content-encoding", "snappy");
    let request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
    read(client.send(request).await?).await
}

async fn read(answer: hyper::Response<hyper::body::Incoming>) -> Result<(u16, String), Error> {
    let (status, version) = (answer.status().as_u16(), answer.version());
    let body = answer.into_body().collect().await.map_err(Error::from_body)?.to_bytes();
    Ok((status, format!("{version:?} {}", str::from_utf8(&body).unwrap())))
}

/// A server that keeps its requests.
struct Recorder {
    server: Server,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Recorder {
    /// Answers what the script says; the number counts requests from 0.
    async fn start(script: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        let server = Server::start(0, None, move |request| {
            let mut kept = kept.lock().unwrap();
            let answer = script(&request, kept.len());
            kept.push(request);
            answer
        });
        Self { server: server.await, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The values of a header in all requests, empty where it is missing.
    fn headers(&self, name: &str) -> Vec<String> {
        let requests = self.requests();
        requests.iter().map(|r| r.header(name).unwrap_or_default().to_owned()).collect()
    }
}

/// The values of a form.
fn form(request: &Request) -> Vec<(String, String)> {
    form_urlencoded::parse(&request.body).into_owned().collect()
}
