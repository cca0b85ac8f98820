//! A receiver inside the process: decodes what arrives and keeps the last sample of each series.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    routing::post,
};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    labels::{Labels, METRIC_NAME},
    remote_write::{Message, SAMPLES_WRITTEN, proto::WriteRequest, v2},
};

/// What was received.
#[derive(Debug, Default)]
pub(super) struct Store {
    received: Mutex<Received>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Received {
    /// Samples.
    pub(super) samples: u64,
    /// Bytes of request bodies.
    pub(super) bytes: u64,
    /// Metric families with metadata.
    pub(super) families: usize,
    /// The last value of each series.
    pub(super) last: HashMap<Labels<'static>, f64>,
}

impl Store {
    pub(super) fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the receiver until `stop` is set.
///
/// # Errors
/// The listener breaks.
pub(super) async fn serve(
    listener: TcpListener,
    store: Arc<Store>,
    stop: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        .route("/api/v1/write", post(write))
        .layer(DefaultBodyLimit::disable())
        .with_state(store);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn write(
    State(store): State<Arc<Store>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, [(&'static str, String); 1]), (StatusCode, String)> {
    let bad = |error: &dyn std::fmt::Display| (StatusCode::BAD_REQUEST, error.to_string());
    let bytes = body.len() as u64;
    let is_v2 = headers.get(CONTENT_TYPE).is_some_and(|of| of == Message::V2.content_type());
    let body = if is_v2 { v2::downgrade(&body).map_err(|error| bad(&error))? } else { body };
    let raw = snap::raw::Decoder::new().decompress_vec(&body).map_err(|error| bad(&error))?;
    let request = WriteRequest::decode(&*raw).map_err(|error| bad(&error))?;
    let mut received = store.lock();
    received.bytes += bytes;
    received.families = received.families.max(request.metadata.len());
    let mut written = 0;
    for series in request.timeseries {
        let labels: Labels<'static> =
            series.labels.into_iter().map(|label| (label.name, label.value)).collect();
        if labels.get(METRIC_NAME).is_none() {
            return Err(bad(&"a series has no name"));
        }
        written += series.samples.len() as u64;
        if let Some(sample) = series.samples.last() {
            received.last.insert(labels, sample.value);
        }
    }
    received.samples += written;
    Ok((StatusCode::NO_CONTENT, [(SAMPLES_WRITTEN, written.to_string())]))
}
