//! One receiver: takes remote write, or refuses, hangs and breaks off, as it is told.

use std::{
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use tokio::sync::watch;

use crate::{Answered, ledger::Ledger, now_ms, targets::Target};

/// Larger than any body that fits into a request of the relay, decompressed.
const BODY_BYTES_MAX: usize = 256 << 20;

/// How requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `take`: with 204, and the samples are there.
    Take,
    /// `503`, or another number: with this status; nothing is taken.
    Status(u16),
    /// `hang`: not at all until the answers change, then the connection is cut; nothing is taken.
    Hang,
    /// `cut`: the connection is cut when the request has arrived; nothing is taken.
    Cut,
    /// `lose`: the samples are there, but the connection is cut before the answer.
    Lose,
}

/// One receiver.
pub(crate) struct Receiver {
    answer: watch::Sender<Answer>,
    /// Whether it knows remote write 2.0.
    knows_2: Mutex<bool>,
    ledger: Mutex<Ledger>,
}

impl FromStr for Answer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        Ok(match text {
            "take" => Self::Take,
            "hang" => Self::Hang,
            "cut" => Self::Cut,
            "lose" => Self::Lose,
            status => Self::Status(status.parse().context("no such answer")?),
        })
    }
}

impl Receiver {
    /// One that takes everything, in 1.0 and 2.0.
    pub(crate) fn new(targets: &[Target]) -> Self {
        Self {
            answer: watch::Sender::new(Answer::Take),
            knows_2: Mutex::new(true),
            ledger: Mutex::new(Ledger::new(targets)),
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what `answer=…` and `messages=1|2` in a query name.
    pub(crate) fn change(&self, query: &str) -> anyhow::Result<()> {
        for pair in query.split('&') {
            match pair.split_once('=').context("not name=value")? {
                ("answer", answer) => {
                    self.answer.send_replace(answer.parse()?);
                }
                ("messages", newest) => {
                    *self.knows_2.lock().unwrap_or_else(PoisonError::into_inner) = newest == "2";
                }
                (name, _) => bail!("nothing is called {name}"),
            }
        }
        Ok(())
    }

    /// Answers one request.
    pub(crate) async fn write(&self, request: Request<Incoming>) -> Answered {
        let (head, body) = request.into_parts();
        let header = |name| head.headers.get(name).map_or(&b""[..], |value| value.as_bytes());
        let is_2 = header(CONTENT_TYPE).ends_with(b"proto=io.prometheus.write.v2.Request");
        let is_snappy = header(CONTENT_ENCODING) == b"snappy";
        let body = body.collect().await?.to_bytes();
        let mut answers = self.answer.subscribe();
        let answer = *answers.borrow_and_update();
        match answer {
            Answer::Status(status) => return Ok(empty(StatusCode::from_u16(status)?)),
            Answer::Cut => bail!("cut"),
            Answer::Hang => {
                answers.changed().await?;
                bail!("hung");
            }
            Answer::Take | Answer::Lose => {}
        }
        if is_2 && !*self.knows_2.lock().unwrap_or_else(PoisonError::into_inner) || !is_snappy {
            return Ok(empty(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let taken = self.take(&body, is_2, answer == Answer::Take);
        if answer == Answer::Lose {
            bail!("lost");
        }
        let Ok(samples) = taken else { return Ok(empty(StatusCode::BAD_REQUEST)) };
        let mut response = empty(StatusCode::NO_CONTENT);
        if is_2 {
            let headers = response.headers_mut();
            for (what, count) in [("samples", samples), ("histograms", 0), ("exemplars", 0)] {
                let name = format!("x-prometheus-remote-write-{what}-written");
                headers.insert(hyper::header::HeaderName::from_str(&name)?, count.into());
            }
        }
        Ok(response)
    }

    /// Takes a compressed body; returns how many samples it holds.
    fn take(&self, body: &[u8], is_2: bool, answered: bool) -> anyhow::Result<u64> {
        let mut ledger = self.ledger();
        let length = snap::raw::decompress_len(body)?;
        if length > BODY_BYTES_MAX {
            bail!("{length} bytes");
        }
        let raw = snap::raw::Decoder::new().decompress_vec(body)?;
        let before = ledger.samples_seen();
        ledger.count(is_2, body.len());
        ledger.take(&raw, is_2, now_ms(), answered)?;
        Ok(ledger.samples_seen() - before)
    }
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
