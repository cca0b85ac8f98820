//! The recorded pages, served as Flink serves them, with values that advance.

use std::{
    convert::Infallible,
    io::Read as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::Context as _;
use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use flate2::read::GzDecoder;
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    exposition::{self, Entry, Limits},
    flink::{Kind, catalogue},
};

/// Pages of one moment of a real Flink 2.3.0 that runs three jobs, those of `tests/pages/2.3.0`. Packed, since plain
/// they would be a twentieth of the program.
const PAGES: [&[u8]; 3] = [
    include_bytes!("recorded/jobmanager.prom.gz"),
    include_bytes!("recorded/taskmanager-1.prom.gz"),
    include_bytes!("recorded/taskmanager-2.prom.gz"),
];

fn unpacked(page: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(page).read_to_string(&mut text).expect("the tests unpack each page");
    text
}

/// One page, and how often it was read.
struct Page {
    /// Pieces of the page's text; between two of them stands a value that advances.
    pieces: Vec<Box<str>>,
    counters: Vec<f64>,
    reads: AtomicU64,
}

/// Starts to serve each page on a loopback port of its own until `stop` is set. Returns the targets
/// and the future that serves.
///
/// # Errors
/// No port is free.
pub(super) async fn serve(
    stop: CancellationToken,
) -> anyhow::Result<(Vec<String>, impl Future<Output = ()>)> {
    let mut targets = Vec::new();
    let mut servers = Vec::new();
    for page in PAGES {
        let listener =
            TcpListener::bind("127.0.0.1:0").await.context("no loopback port is free")?;
        targets.push(listener.local_addr()?.to_string());
        let page = Arc::new(Page::new(&unpacked(page)));
        let router = Router::new().route("/metrics", get(read)).with_state(page);
        let stop = stop.clone();
        let serve = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        servers.push(serve.into_future());
    }
    let served = async {
        // A server that breaks shows as a target that is down.
        join_all(servers).await;
    };
    Ok((targets, served))
}

async fn read(State(page): State<Arc<Page>>) -> Result<impl IntoResponse, Infallible> {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, page.text()))
}

impl Page {
    /// Cuts the page at the values of its counters.
    fn new(text: &str) -> Self {
        let (mut pieces, mut counters) = (Vec::new(), Vec::new());
        let mut rest = text;
        for line in text.lines() {
            let Ok(Entry::Sample(sample)) = exposition::parse(line.as_bytes(), &Limits::default())
            else {
                continue;
            };
            let counter = catalogue().lookup(sample.name).is_some_and(|m| m.kind == Kind::Counter);
            let Some((_, value)) = line.rsplit_once(' ') else { continue };
            if !counter || !sample.value.is_finite() || sample.value <= 0.0 {
                continue;
            }
            // `value` is a part of `text`, so the difference of the addresses is where it begins.
            let at = value.as_ptr() as usize - rest.as_ptr() as usize;
            let (before, from) = rest.split_at(at);
            pieces.push(before.into());
            counters.push(sample.value);
            rest = from.split_at(value.len()).1;
        }
        pieces.push(rest.into());
        Self { pieces, counters, reads: AtomicU64::new(0) }
    }

    /// The page at the next moment: each counter has grown by a hundredth of its first value.
    fn text(&self) -> String {
        let reads = self.reads.fetch_add(1, Relaxed) as f64;
        let mut text = String::with_capacity(self.pieces.iter().map(|p| p.len() + 20).sum());
        let values = self.counters.iter().map(|first| first + (first / 100.0).ceil() * reads);
        let mut values = values.map(|value| format!("{value:.1}"));
        for piece in &self.pieces {
            text.push_str(piece);
            text.extend(values.next());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_advance_and_all_else_stays() {
        for (packed, name) in PAGES.iter().zip(["jobmanager", "taskmanager-1", "taskmanager-2"]) {
            let text = &unpacked(packed);
            let recorded = format!("tests/pages/2.3.0/{name}.prom");
            let same = *text == std::fs::read_to_string(&recorded).unwrap();
            assert!(
                same,
                "pack it anew: gzip -9nc {recorded} > src/cli/demo/recorded/{name}.prom.gz"
            );
            let page = Page::new(text);
            assert!(page.counters.len() > 5, "{} counters", page.counters.len());
            let (first, second) = (page.text(), page.text());
            let parse = |text: &str| {
                let page = exposition::page(text.as_bytes(), &Limits::default()).unwrap();
                assert!(page.faults.is_empty());
                page.samples().map(|s| (s.series.to_vec(), s.value)).collect::<Vec<_>>()
            };
            let (recorded, first, second) = (parse(text), parse(&first), parse(&second));
            let mut grown = 0;
            for ((recorded, first), second) in recorded.iter().zip(&first).zip(&second) {
                assert_eq!(recorded.0, second.0);
                assert!(recorded.1 == first.1 || recorded.1.is_nan());
                grown += usize::from(second.1 > first.1);
            }
            assert_eq!(recorded.len(), second.len());
            assert_eq!(grown, page.counters.len());
        }
    }
}
