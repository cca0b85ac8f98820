//! One request to a receiver, and what came back: status, headers and the first of its words.
//!
//! Nothing is decided here. What an answer means for the samples is the lane's to say, from
//! [`Answer`] alone.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    header::{self, HeaderName},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    config::{self, PromDuration},
    http::{Client, Error, ErrorKind},
    limits::ANSWER_BYTES_MAX,
    remote_write::Encoding,
    spool::Batch,
};

/// What came back for one request.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status; `None` when there was no answer.
    pub(super) status: Option<u16>,
    /// The answer's headers; empty without an answer.
    pub(super) headers: HeaderMap,
    /// For the log: the status and the receiver's own words on one line, or why there was no
    /// answer. Empty with a 2xx.
    pub(super) words: String,
    /// How many samples a receiver of 2.0 says it has written; `None` with 1.0, and without a word.
    pub(super) written: Option<u64>,
}

impl Answer {
    fn none(words: String) -> Self {
        Self { status: None, headers: HeaderMap::new(), words, written: None }
    }

    /// A header as text, if it is there and is text.
    pub(super) fn header(&self, name: &header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Tells the receiver the how manieth time a batch is sent again, as Prometheus does; no
/// specification has it. Mimir makes its `Retry-After` longer with it.
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");

/// Posts one batch once and reads the answer, within the receiver's `remote_timeout`.
pub(super) async fn post(
    client: &Client,
    config: &config::Receiver,
    batch: &Batch,
    encoding: Encoding,
) -> Answer {
    let (version_name, version) = encoding.version(batch.message);
    let mut request = Request::post(config.url.clone())
        .header(header::CONTENT_TYPE, batch.message.content_type())
        .header(header::CONTENT_ENCODING, encoding.name())
        .header(version_name, version);
    if batch.tries > 0 {
        request = request.header(RETRY_ATTEMPT, batch.tries);
    }
    let request = match request.body(Full::new(batch.body.clone())) {
        Ok(request) => request,
        Err(error) => return Answer::none(error.to_string()),
    };
    let deadline = Instant::now() + config.timeout;
    match timeout_at(deadline, client.send(request)).await {
        Ok(Ok(answer)) => read(answer, deadline).await,
        Ok(Err(error)) if error.kind != ErrorKind::Timeout => Answer::none(why(config, &error)),
        // In the same words, whichever of the time limits struck: the log tells words once.
        Ok(Err(_)) | Err(_) => Answer::none(no_answer_within(config.timeout)),
    }
}

/// Why there is no answer, with the host: by these words an outage is told, in the log and elsewhere.
fn why(config: &config::Receiver, error: &Error) -> String {
    match (error.kind, config.url.authority()) {
        // These name the host, or the file.
        (ErrorKind::Dns | ErrorKind::Secret, _) | (_, None) => error.to_string(),
        (_, Some(authority)) => format!("{authority}: {error}"),
    }
}

fn no_answer_within(timeout: Duration) -> String {
    format!("no answer within {}", PromDuration(timeout))
}

/// Reads an answer. Its status holds, whatever becomes of the body.
async fn read(answer: Response<Incoming>, deadline: Instant) -> Answer {
    let (head, body) = answer.into_parts();
    let words = words(body, deadline).await;
    let words = match head.status {
        status if status.is_success() => String::new(),
        status if words.is_empty() => format!("HTTP {status}"),
        status => format!("HTTP {status}: {words}"),
    };
    Answer { status: Some(head.status.as_u16()), headers: head.headers, words, written: None }
}

/// The first words of an answer's body, on one line. The body is read to its end, so that the
/// connection can be used again; one that is longer than any sensible message, breaks off or does not
/// end in time is left at that, and its connection closed.
async fn words(mut body: Incoming, deadline: Instant) -> String {
    let (mut first, mut bytes) = (Vec::new(), 0);
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
        let Ok(chunk) = frame.into_data() else { continue };
        let room = ANSWER_BYTES_MAX.saturating_sub(first.len()).min(chunk.len());
        first.extend_from_slice(chunk.get(..room).unwrap_or_default());
        bytes += chunk.len();
        if bytes > ANSWER_BYTES_MAX * 64 {
            break;
        }
    }
    String::from_utf8_lossy(&first).split_whitespace().collect::<Vec<_>>().join(" ")
}
