//! One request in the message that the receiver understands, as far as that is known, and a second
//! one when its answer tells that it did not understand.
//!
//! A batch keeps the message it was queued in. What is sent may be another one, made from it here:
//! the answer to it is the answer to the batch.

use std::time::SystemTime;

use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    Receiver,
    request::{Answer, post},
};
use crate::{
    remote_write::{
        self, Encoding, Heard, Message, News, Outcome, SAMPLES_WRITTEN, Sending, Why,
        samples_written, v2, zstd,
    },
    spool::Batch,
};

impl Receiver {
    /// Posts a batch and returns the answer that counts. A 2xx to 2.0 from a receiver that wrote
    /// nothing, which was to get 2.0 whatever it answers, is returned as the 415 that it should have
    /// been (Remote-Write 2.0, "Required Written Response Headers").
    pub(super) async fn ask(&self, batch: &Batch) -> Answer {
        let Sending { message, encoding, refused_before } =
            self.negotiation().send_as(batch.message, Instant::now().into_std());
        let as_1_0 = match message {
            Message::V1 if batch.message == Message::V2 => self.downgraded(batch),
            _ => None,
        };
        let batch = as_1_0.as_ref().unwrap_or(batch);
        let compressed = match encoding {
            Encoding::Zstd if batch.message == Message::V1 => self.compressed(batch),
            _ => None,
        };
        let (answer, heard) = match &compressed {
            Some(compressed) => self.post(compressed, Encoding::Zstd, None).await,
            None => self.post(batch, Encoding::Snappy, refused_before).await,
        };
        let again = match heard {
            Heard::Stands => return answer,
            Heard::NotUnderstood => return answer.not_understood(),
            Heard::Again if batch.message == Message::V1 => None,
            Heard::Again => match self.downgraded(batch) {
                Some(as_1_0) => Some(as_1_0),
                None => return answer.not_understood(),
            },
        };
        self.post(again.as_ref().unwrap_or(batch), Encoding::Snappy, answer.status).await.0
    }

    async fn post(
        &self,
        batch: &Batch,
        encoding: Encoding,
        refused_before: Option<u16>,
    ) -> (Answer, Heard) {
        let began = Instant::now();
        let mut answer = post(&self.client, &self.config, batch, encoding).await;
        if batch.message == Message::V2 {
            answer.written = answer.samples_written();
        }
        self.numbers.record(&answer, batch.body.len(), began.elapsed());
        let heard = self.hear(batch, encoding, &answer, refused_before);
        (answer, heard)
    }

    /// The same batch compressed with zstd.
    fn compressed(&self, batch: &Batch) -> Option<Batch> {
        match zstd(&batch.body) {
            Ok(body) => Some(Batch { body, ..batch.clone() }),
            Err(error) => {
                warn!(receiver = %self.config.name, error = %format!("{error:#}"),
                    "a batch cannot be compressed with zstd and goes in snappy");
                None
            }
        }
    }

    /// The same batch as remote write 1.0.
    fn downgraded(&self, batch: &Batch) -> Option<Batch> {
        match v2::downgrade(&batch.body) {
            Ok(body) => {
                let raw_bytes = snap::raw::decompress_len(&body).unwrap_or_default() as u64;
                Some(Batch { message: Message::V1, body, raw_bytes, ..batch.clone() })
            }
            // Not possible with a body that this relay made and nobody damaged. It is sent as it is
            // then, and the receiver decides.
            Err(error) => {
                warn!(receiver = %self.config.name, samples = batch.samples, error = %format!("{error:#}"),
                    "a batch cannot be turned into remote write 1.0");
                None
            }
        }
    }

    fn hear(
        &self,
        batch: &Batch,
        encoding: Encoding,
        answer: &Answer,
        refused_before: Option<u16>,
    ) -> Heard {
        let Some(status) = answer.status else { return Heard::Stands };
        let asks_for_pause = matches!(
            self.outcome(answer, SystemTime::now()),
            Outcome::Retry { after: Some(_) } | Outcome::Park { after: Some(_) }
        );
        let (heard, news) = {
            let mut negotiation = self.negotiation();
            let heard = negotiation.heard(
                &remote_write::Answer {
                    message: batch.message,
                    encoding,
                    status,
                    written: answer.written,
                    samples: batch.samples,
                    refused_before,
                    asks_for_pause,
                    tries: batch.tries,
                },
                Instant::now().into_std(),
            );
            (heard, negotiation.news())
        };
        match news {
            None => {}
            Some(News::Speaks2) => info!(receiver = %self.config.name,
                "the receiver understands remote write 2.0"),
            Some(News::NoZstd(status)) => warn!(receiver = %self.config.name, status,
                "the receiver refuses zstd and gets snappy; nothing is lost by that. Set \
                 compression: snappy to spare it the question"),
            Some(News::Speaks1(Why::Refused(status))) => {
                info!(receiver = %self.config.name, status,
                "the receiver refuses remote write 2.0 and gets 1.0; nothing is lost by that")
            }
            Some(News::Speaks1(Why::NothingWritten)) => info!(receiver = %self.config.name,
                url = %self.url(), status,
                "the receiver answered remote write 2.0 with success but wrote nothing, so it gets \
                 1.0; nothing is lost by that. Set protobuf_message: prometheus.WriteRequest to \
                 spare it the question"),
        }
        heard
    }
}

impl Answer {
    /// A success that was none, as the refusal that it should have been; a refusal as it is.
    fn not_understood(self) -> Self {
        match self.status {
            Some(status @ 200..=299) => Self {
                status: Some(415),
                words: format!(
                    "HTTP {status} without a sample written: the receiver did not understand {}",
                    Message::V2.name(),
                ),
                ..self
            },
            _ => self,
        }
    }

    fn samples_written(&self) -> Option<u64> {
        samples_written(self.headers.get(SAMPLES_WRITTEN)?.to_str().ok()?)
    }
}
