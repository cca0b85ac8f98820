//! The relay's counterparts in `e2e/chaos`: synthetic Flink targets and receivers that misbehave.
//!
//! One process serves both ends, so it knows what was scraped and what arrived, sample by sample. Every
//! sample of a page says which one it is: its value is the page's number and the series' index (see
//! [`targets`]), so the [`ledger`] needs a bit per sample and finds what is lost, doubled, out of order
//! or changed. It shares no code with the relay: what is wrong there is not wrong here in the same way.
//!
//! ```text
//! peers --targets 20 --series 5000
//! ```
//!
//! The first line on stdout is `{"control": PORT, "targets": [PORT, …]}`; all ports are the kernel's
//! choice, on loopback. On the control port:
//!
//! | request | does |
//! |---|---|
//! | `POST /write/NAME` | takes remote write 1.0 and 2.0 as the receiver NAME answers now |
//! | `PUT /receiver/NAME?answer=ANSWER&messages=MESSAGES` | changes that, see [`receiver::Answer`] |
//! | `GET /facts/NAME` | all that is known about it, page by page; see [`ledger::Ledger::facts`] |
//! | `GET /sums/NAME` | the sums alone, cheap enough to ask many times a second |

mod ledger;
mod receiver;
mod targets;
mod wire;

use std::{
    collections::HashMap,
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use self::{receiver::Receiver, targets::Target};

/// Everything that the listeners share.
struct Peers {
    targets: Arc<[Target]>,
    receivers: Mutex<HashMap<String, Arc<Receiver>>>,
}

/// What a listener answers; an error closes the connection without an answer.
type Answered = anyhow::Result<Response<Full<Bytes>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let (targets, series) = arguments()?;
    let mut listeners = Vec::new();
    for _ in 0..targets {
        listeners.push(TcpListener::bind("127.0.0.1:0").await?);
    }
    let ports = listeners
        .iter()
        .map(|l| Ok(l.local_addr()?.port()))
        .collect::<Result<Vec<_>, std::io::Error>>()?;
    let peers = Arc::new(Peers {
        targets: ports.iter().map(|port| Target::new(*port, series)).collect(),
        receivers: Mutex::default(),
    });
    for (number, listener) in listeners.into_iter().enumerate() {
        let peers = Arc::clone(&peers);
        tokio::spawn(serve(listener, move |_| {
            let page = peers.targets.get(number).map(|target| target.page(now_ms()));
            async move { Ok(Response::new(Full::from(page.context("no such target")?))) }
        }));
    }
    let control = TcpListener::bind("127.0.0.1:0").await?;
    let known = serde_json::json!({"control": control.local_addr()?.port(), "targets": ports});
    writeln!(std::io::stdout(), "{known}")?;
    serve(control, move |request| Arc::clone(&peers).answer(request)).await;
    Ok(())
}

fn arguments() -> anyhow::Result<(usize, usize)> {
    let (mut targets, mut series) = (4, 500);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a number"))?.parse()?;
        match name.as_str() {
            "--targets" => targets = value,
            "--series" => series = value,
            _ => bail!("unknown argument {name}"),
        }
    }
    if series > targets::SERIES_MAX {
        bail!("--series is at most {}", targets::SERIES_MAX);
    }
    Ok((targets, series))
}

/// Serves a listener until the process ends.
async fn serve<F, S>(listener: TcpListener, answer: S)
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answered> + Send + 'static,
{
    loop {
        // Out of file descriptors, or a connection that was reset before it was accepted.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(answer);
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // The relay is killed while it asks, and some answers are meant to break the connection.
            drop(connection.await);
        });
    }
}

impl Peers {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answered {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let (what, name) = path.split_once('/').context("not /WHAT/NAME")?;
        let receiver = self.receiver(name);
        match (request.method(), what) {
            (&Method::POST, "write") => receiver.write(request).await,
            (&Method::PUT, "receiver") => {
                receiver.change(request.uri().query().unwrap_or_default())?;
                Ok(Response::new(Full::default()))
            }
            (&Method::GET, "facts") => json(&receiver.ledger().facts(&self.targets)),
            (&Method::GET, "sums") => json(&receiver.ledger().sums()),
            (method, _) => bail!("no {method} {path} here"),
        }
    }

    /// The receiver of that name, which begins to exist with the first mention.
    fn receiver(&self, name: &str) -> Arc<Receiver> {
        let mut receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Receiver::new(&self.targets));
        Arc::clone(receivers.entry(name.to_owned()).or_insert_with(new))
    }
}

fn json(value: &serde_json::Value) -> Answered {
    Ok(Response::new(Full::from(value.to_string())))
}

/// Wall-clock milliseconds, the relay's own clock for samples.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
