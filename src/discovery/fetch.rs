//! One GET of a source of targets: bounded in time and size.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, StatusCode, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, HeaderName, HeaderValue},
};
use tokio::time::timeout;

use crate::http::{self, Client, ErrorKind, without_query};

/// A question to a source.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) url: Uri,
    pub(super) accept: &'static str,
    /// A further header.
    pub(super) header: Option<(HeaderName, HeaderValue)>,
    /// Longest time until the whole answer is there.
    pub(super) timeout: Duration,
    /// Bytes of the answer that are read.
    pub(super) bytes_max: usize,
    /// Whether an answer that is larger is cut there, and no failure.
    pub(super) cut: bool,
}

/// An answer with the status 200.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A question without a good answer.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {why}")]
pub(super) struct Failure {
    url: String,
    why: Why,
    /// The status, when it is not 200.
    pub(super) status: Option<StatusCode>,
}

#[derive(Debug)]
enum Why {
    Http(http::Error),
    Late(Duration),
    Status(StatusCode),
    TooLarge(usize),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::Late(limit) => write!(f, "no answer within {} s", limit.as_secs_f64()),
            Self::Status(status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => {
                write!(
                    f,
                    "HTTP {status}; set `basic_auth`, `authorization` or `oauth2` of this entry"
                )
            }
            Self::Status(status) => write!(f, "HTTP {status}"),
            Self::TooLarge(bytes) => write!(f, "the answer is larger than {bytes} bytes"),
        }
    }
}

/// Asks. A connection that turns out to be closed already is not taken for an answer.
pub(super) async fn get(client: &Client, question: &Question) -> Result<Answer, Failure> {
    let failure = |why: Why| Failure {
        url: without_query(&question.url),
        status: if let Why::Status(status) = why { Some(status) } else { None },
        why,
    };
    let asked = async {
        let answer = match client.send(request(question)).await {
            Err(error) if error.is_closed_early() => client.send(request(question)).await,
            answer => answer,
        };
        let (head, mut body) = answer.map_err(Why::Http)?.into_parts();
        if head.status != StatusCode::OK {
            return Err(Why::Status(head.status));
        }
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Why::Http(http::Error::from_body(error)))?;
            let Ok(chunk) = frame.into_data() else { continue };
            let room = question.bytes_max - bytes.len();
            bytes.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            if chunk.len() > room {
                if question.cut {
                    break;
                }
                return Err(Why::TooLarge(question.bytes_max));
            }
        }
        Ok(Answer { headers: head.headers, body: bytes.into() })
    };
    match timeout(question.timeout, asked).await {
        // In the same words, whichever of the time limits struck.
        Err(_) => Err(failure(Why::Late(question.timeout))),
        Ok(Err(Why::Http(error))) if error.kind == ErrorKind::Timeout => {
            Err(failure(Why::Late(question.timeout)))
        }
        Ok(answer) => answer.map_err(failure),
    }
}

fn request(question: &Question) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = question.url.clone();
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static(question.accept));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some((name, value)) = question.header.clone() {
        headers.insert(name, value);
    }
    request
}
