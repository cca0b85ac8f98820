//! The relay's own endpoints: `/metrics`, `/-/healthy`, `/-/ready`, `/-/reload`, `/targets`.

mod targets;

use std::{io, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    relay::{AskError, Relay},
    scale::ScaleState,
    telemetry::metrics,
};

/// Serves the endpoints until `stop` is set.
///
/// # Errors
/// The listener breaks.
pub async fn serve(
    listener: TcpListener,
    relay: Arc<Relay>,
    stop: CancellationToken,
) -> io::Result<()> {
    axum::serve(listener, router(relay)).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn router(relay: Arc<Relay>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(own_metrics))
        .route("/-/healthy", get(async || "flinkrelay is healthy.\n"))
        .route("/-/ready", get(ready))
        // PUT as well, as in Prometheus. GET is refused: links are followed by whoever meets them.
        .route("/-/reload", post(reload).put(reload))
        .route("/targets", get(async |State(relay): State<Arc<Relay>>| Json(targets::list(&relay))))
        .with_state(relay)
}

async fn index() -> &'static str {
    concat!(
        "flinkrelay ",
        env!("CARGO_PKG_VERSION"),
        "\n\n/metrics    the relay's own metrics\n/targets    targets, port ranges and receivers as JSON\n",
        "/-/healthy  200 while the process runs\n/-/ready    200 while it scrapes and pushes\n",
        "/-/reload   POST reads the configuration again; 500 tells what is wrong with it\n"
    )
}

async fn ready(State(relay): State<Arc<Relay>>) -> impl IntoResponse {
    if !relay.is_ready() {
        let words = "flinkrelay is starting or stopping.\n".to_owned();
        return (StatusCode::SERVICE_UNAVAILABLE, words);
    }
    if let Some(ScaleState { member, replicas: None, trouble, .. }) = relay.scale.look() {
        let why = trouble.map_or_else(String::new, |trouble| format!(": {trouble}"));
        let words = format!(
            "StatefulSet {} has not said how many relays there are{why}\n",
            member.statefulset
        );
        return (StatusCode::SERVICE_UNAVAILABLE, words);
    }
    let poisoned = relay.poisoned_spools().into_iter();
    let words: String =
        poisoned.map(|(receiver, why)| format!("receiver {receiver}: {why}\n")).collect();
    match words.is_empty() {
        true => (StatusCode::OK, "flinkrelay is ready.\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, words),
    }
}

async fn reload(State(relay): State<Arc<Relay>>) -> impl IntoResponse {
    match relay.reloads.ask().await {
        Ok(()) => (StatusCode::OK, String::new()),
        Err(error @ AskError::Refused(_)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {error}\n"))
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}

async fn own_metrics(State(relay): State<Arc<Relay>>) -> impl IntoResponse {
    match metrics::encode(&relay) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
