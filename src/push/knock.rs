//! One request beside all spools, for who wants to know what a receiver says and not to deliver
//! anything.
//!
//! It is made and sent as a batch is: by the receiver's client, with its headers, credentials, proxies and
//! TLS, so that what it is answered is what a batch would be answered.

use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, header};
use tokio::time::{Duration, Instant, timeout_at};

use super::request::{head, read};
use crate::{
    config,
    http::{Client, Error},
    remote_write::{Encoding, Message},
};

/// What came back.
#[derive(Clone, Debug)]
pub struct Knocked {
    /// The status.
    pub status: u16,
    /// The answer's headers.
    pub headers: HeaderMap,
    /// With anything but a 2xx: the status and the receiver's own words on one line.
    pub words: String,
    /// The receiver's clock by its `Date`, which has whole seconds, and the time here in the middle
    /// between request and answer.
    pub clocks: Option<(SystemTime, SystemTime)>,
}

/// Posts a body in snappy's raw format. `None` is no answer in time.
///
/// # Errors
/// What keeps the answer from coming.
pub async fn knock(
    client: &Client,
    config: &config::Receiver,
    message: Message,
    body: Bytes,
    timeout: Duration,
) -> Option<Result<Knocked, Error>> {
    let request = head(config, message, Encoding::Snappy).body(Full::new(body));
    let request = request.expect("a checked URL and constant headers make a request");
    let (began, sent_at) = (Instant::now(), SystemTime::now());
    let deadline = began + timeout;
    let answer = match timeout_at(deadline, client.send(request)).await.ok()? {
        Ok(answer) => answer,
        Err(error) => return Some(Err(error)),
    };
    let here = sent_at + began.elapsed() / 2;
    let answer = read(answer, deadline).await;
    let there = answer.header(&header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    Some(Ok(Knocked {
        status: answer.status.unwrap_or_default(),
        clocks: there.map(|there| (there, here)),
        headers: answer.headers,
        words: answer.words,
    }))
}
