//! One poll: a few GETs, one after the other.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Request, StatusCode, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, LOCATION},
};

use super::endpoint::Endpoint;
use crate::{
    flink::rest::{AnswerError, Ask, Cluster, Want, answer},
    http::{self, Client},
    limits::REST_BYTES_MAX,
};

/// An endpoint that could not be asked. The text is for people; it has no path that changes, so that
/// one trouble is one text.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No answer.
    #[error(transparent)]
    Http(#[from] http::Error),
    /// None in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Another status than 200.
    #[error("it answered {status} to {ask}{words}{help}")]
    Status {
        /// The status.
        status: StatusCode,
        /// What was asked.
        ask: &'static str,
        /// Flink's words behind a colon, if there are any.
        words: String,
        /// What to do about it, likewise.
        help: String,
    },
    /// More than is read.
    #[error("the answer to {ask} is larger than {REST_BYTES_MAX} bytes")]
    TooLarge {
        /// What was asked.
        ask: &'static str,
    },
    /// It ended early.
    #[error("the answer to {ask} broke off: {reason}")]
    Broken {
        /// What was asked.
        ask: &'static str,
        /// How it ended.
        reason: String,
    },
    /// Not what Flink answers.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// Asks for all that is needed. What came before a failure is in `cluster`.
pub(super) async fn ask_all(
    client: &Client,
    endpoint: &Endpoint,
    cluster: &mut Cluster,
    wants: &[Want],
    carries: bool,
    timeout: Duration,
) -> Result<(), Failure> {
    for ask in cluster.first_asks() {
        take(client, endpoint, cluster, &ask, timeout).await?;
    }
    for ask in cluster.further_asks(wants, carries) {
        match take(client, endpoint, cluster, &ask, timeout).await {
            Ok(()) => {}
            // The job may have ended since, or not be there yet; that says nothing about the others.
            Err(Failure::Status { status, .. }) if is_of_job(&ask) => {
                if status == StatusCode::NOT_FOUND {
                    cluster.take_missing(&ask);
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

async fn take(
    client: &Client,
    endpoint: &Endpoint,
    cluster: &mut Cluster,
    ask: &Ask,
    limit: Duration,
) -> Result<(), Failure> {
    let path = ask.to_string();
    let asked = get(client, &endpoint.url, &path, shape(ask));
    let answer = tokio::time::timeout(limit, asked).await;
    // In the same words, whichever of the time limits struck.
    let answer = match answer {
        Err(_) => Err(Failure::Timeout(limit)),
        Ok(Err(Failure::Http(error))) if error.kind == http::ErrorKind::Timeout => {
            Err(Failure::Timeout(limit))
        }
        Ok(answer) => answer,
    };
    let taken = answer.and_then(|body| Ok(cluster.take(ask, &body)?));
    endpoint.count(taken.is_ok());
    taken
}

/// Asks for what is below the endpoint's URL at `path`; `ask` is the path without what changes in it.
pub async fn get(
    client: &Client,
    base: &Uri,
    path: &str,
    ask: &'static str,
) -> Result<Bytes, Failure> {
    let answer = match client.send(request(base, path)).await {
        // The server closed a connection that had been idle, as hyper noticed only now.
        Err(error) if error.is_closed_early() => client.send(request(base, path)).await?,
        answer => answer?,
    };
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, REST_BYTES_MAX).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return Failure::TooLarge { ask };
        }
        Failure::Broken { ask, reason: error.to_string() }
    })?;
    let body = body.to_bytes();
    if head.status == StatusCode::OK {
        return Ok(body);
    }
    let help = match head.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "; set `basic_auth` or `authorization` under `flink.rest`".to_owned()
        }
        status if status.is_redirection() => {
            let to = head.headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("?");
            format!(" to {to}; redirects are not followed: name the address itself in `flink.rest`")
        }
        _ => String::new(),
    };
    let words = match answer::words(&body) {
        words if words.is_empty() => words,
        words => format!(": {words}"),
    };
    Err(Failure::Status { status: head.status, ask, words, help })
}

/// A request for what is below an endpoint's URL.
pub fn request(base: &Uri, path: &str) -> Request<Full<Bytes>> {
    let base = base.to_string();
    let url = format!("{}{path}", base.trim_end_matches('/'));
    let mut request = Request::new(Full::new(Bytes::new()));
    if let Ok(url) = url.parse() {
        *request.uri_mut() = url;
    }
    let headers = request.headers_mut();
    headers.insert(ACCEPT, hyper::header::HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, hyper::header::HeaderValue::from_static("identity"));
    request
}

const fn is_of_job(ask: &Ask) -> bool {
    matches!(ask, Ask::Job(_) | Ask::Attempts(..) | Ask::Checkpoints(_))
}

/// What is asked, without the ids in it.
const fn shape(ask: &Ask) -> &'static str {
    match ask {
        Ask::Version => "/config",
        Ask::Overview => "/jobs/overview",
        Ask::TaskManagers => "/taskmanagers",
        Ask::Job(_) => "/jobs/:jobid",
        Ask::Attempts(..) => "/jobs/:jobid/vertices/:vertexid",
        Ask::Checkpoints(_) => "/jobs/:jobid/checkpoints",
    }
}
