//! Probing one port: is there a Flink page?
//!
//! Flink's reporter limits its answer to the names in `?name[]=…`, so a probe asks for one metric
//! that every process has and costs the TaskManager next to nothing. Where that answer is empty (the
//! metric may be filtered out in Flink's own config) the page itself is read until a name shows.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode, Uri, header};

use super::range::Probed;
use crate::{
    exposition::{Entry, Limits, Lines},
    flink::Role,
    http::{Client, ErrorKind},
};

/// The metric of each process that a probe asks for.
const PROBE_NAMES: &str = "name%5B%5D=flink_jobmanager_Status_JVM_Threads_Count\
                           &name%5B%5D=flink_taskmanager_Status_JVM_Threads_Count";

/// Bytes of a page that are read in search of a name of Flink's.
const PROBE_BYTES_MAX: usize = 1 << 20;

/// Probes one URL; nothing takes longer than `timeout`.
pub async fn probe(client: &Client, url: &Uri, timeout: Duration) -> Probed {
    let probe = async {
        match look(client, &with_names(url)).await {
            Found::Nothing => match look(client, url).await {
                Found::Role(role) => Probed::Flink(role),
                Found::Nothing => Probed::Foreign("a page without a sample".to_owned()),
                Found::Other(what) => Probed::Foreign(what),
                Found::Closed => Probed::Closed,
            },
            Found::Role(role) => Probed::Flink(role),
            Found::Other(what) => Probed::Foreign(what),
            Found::Closed => Probed::Closed,
        }
    };
    tokio::time::timeout(timeout, probe)
        .await
        .unwrap_or_else(|_| Probed::Foreign("no answer in time".to_owned()))
}

enum Found {
    Role(Role),
    Nothing,
    Other(String),
    Closed,
}

/// The URL, limited to the metrics that a probe asks for.
pub fn with_names(url: &Uri) -> Uri {
    let separator = if url.query().is_some() { '&' } else { '?' };
    format!("{url}{separator}{PROBE_NAMES}").parse().unwrap_or_else(|_| url.clone())
}

async fn look(client: &Client, url: &Uri) -> Found {
    let request = Request::get(url.clone())
        .header(header::ACCEPT, "text/plain;version=0.0.4")
        .header(header::ACCEPT_ENCODING, "identity")
        .body(Full::new(Bytes::new()));
    let Ok(request) = request else { return Found::Closed };
    let answer = match client.send(request).await {
        Ok(answer) => answer,
        Err(error) if error.is_refused() || error.kind == ErrorKind::Dns => return Found::Closed,
        Err(error) => return Found::Other(format!("no HTTP: {error}")),
    };
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or("no content type").to_owned();
    if answer.status() != StatusCode::OK {
        return Found::Other(format!("HTTP {}", answer.status()));
    }
    let mut lines = Lines::new(Limits::default());
    let (mut role, mut samples, mut bytes) = (Role::default(), 0_u32, 0);
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Found::Closed };
        let Ok(chunk) = frame.into_data() else { continue };
        bytes += chunk.len();
        // A page above the limit is cut here anyway, so its error says nothing new.
        let _too_large = lines.feed(&chunk, |line| {
            if let Ok(Ok(Entry::Sample(sample))) = line.map(|line| line.parse(&Limits::default())) {
                samples += 1;
                role.observe(sample.name);
            }
        });
        if role.is_flink() {
            return Found::Role(role);
        }
        if bytes > PROBE_BYTES_MAX {
            break;
        }
    }
    match (bytes, samples) {
        (0, _) => Found::Nothing,
        (_, 0) => Found::Other(format!("{kind}, no page of metrics")),
        _ => Found::Other("metrics of other software, none of Flink's".to_owned()),
    }
}
