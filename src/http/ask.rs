//! Short questions to who gives credentials out: one request, one small answer.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode, Uri};

use super::{Error, ErrorKind, credentials::CredentialError, transport::Transport};

/// Largest answer that is read. Tokens with many claims have some KiB.
const CREDENTIAL_BYTES_MAX: usize = 256 << 10;

/// Characters of an answer that are shown.
const WORDS_MAX: usize = 200;

/// Sends the request and reads the whole answer, both within `timeout`.
pub(super) async fn ask(
    transport: &Transport,
    request: Request<Full<Bytes>>,
    timeout: Duration,
    what: &'static str,
) -> Result<(StatusCode, Bytes), CredentialError> {
    let url = without_query(request.uri());
    let asked = async {
        let answer = match transport.send(request.clone()).await {
            // An idle connection that the other side was about to close.
            Err(error) if error.is_closed_early() => transport.send(request).await,
            answer => answer,
        };
        let (head, body) = answer?.into_parts();
        let body = Limited::new(body, CREDENTIAL_BYTES_MAX).collect().await;
        let body = body.map_err(|error| Error::new(ErrorKind::Truncated, error))?;
        Ok((head.status, body.to_bytes()))
    };
    let asked = tokio::time::timeout(timeout, asked).await;
    let asked = asked.unwrap_or_else(|elapsed| Err(Error::new(ErrorKind::Timeout, elapsed.into())));
    asked.map_err(|source| CredentialError::NoAnswer { what, url, source })
}

/// A URL for messages: without its query, which may hold a secret.
pub fn without_query(url: &Uri) -> String {
    let text = url.to_string();
    text.split('?').next().unwrap_or_default().to_owned()
}

/// The first words of an answer, on one line.
pub(super) fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect()
}
