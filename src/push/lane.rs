//! The loop of one lane: it takes the next batch from the spool, sends it, and settles it.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, SystemTime},
};

use hyper::header::RETRY_AFTER;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Receiver, request::Answer};
use crate::{
    remote_write::{Backoff, Outcome, outcome},
    spool::{Batch, Next, Reason, Settled},
};

impl Receiver {
    /// Sends the batches of one lane until `drain` is set and the lane is empty, until the receiver
    /// halts, or until `abort` is set, which also breaks off what is in flight.
    pub async fn push(&self, lane: u16, drain: &CancellationToken, abort: &CancellationToken) {
        let Some(wake) = self.queue.waker(lane) else { return };
        let settings = &self.config.queue;
        let backoff = Backoff::new(settings.min_backoff, settings.max_backoff);
        let mut backoff = backoff.expect("config refuses backoff bounds that make no range");
        while !abort.is_cancelled() && !self.halt.is_cancelled() {
            let next = self.spool().next(lane, Instant::now().into_std());
            match next {
                Next::Send(batch) => {
                    let (settled, pause) = tokio::select! {
                        settled = self.deliver(&batch, &mut backoff) => settled,
                        () = abort.cancelled() => (Settled::Retry, Duration::ZERO),
                    };
                    let settled = self.spool().settle(lane, batch.id, settled);
                    debug_assert_eq!(settled, Ok(()), "a lane settles what it took");
                    // The batch waits in the spool, where it can become too old or make room.
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.halt.cancelled() => return,
                        () = abort.cancelled() => return,
                    }
                }
                Next::WaitUntil(at) => {
                    tokio::select! {
                        () = sleep_until(at.into()) => {}
                        () = wake.notified() => {}
                        () = self.halt.cancelled() => return,
                        () = abort.cancelled() => return,
                    }
                }
                Next::Idle if drain.is_cancelled() => return,
                Next::Idle => {
                    tokio::select! {
                        () = wake.notified() => {}
                        () = self.halt.cancelled() => return,
                        () = drain.cancelled() => {}
                        () = abort.cancelled() => return,
                    }
                }
            }
        }
    }

    /// Sends one batch once. Returns what becomes of it, and how long to leave the receiver alone.
    async fn deliver(&self, batch: &Batch, backoff: &mut Backoff) -> (Settled, Duration) {
        let answer = self.ask(batch).await;
        match self.outcome(&answer) {
            Outcome::Accepted => {
                backoff.reset();
                if let Some(outage) = self.failing().recovered(Instant::now()) {
                    info!(receiver = %self.config.name, outage_s = outage.as_secs_f64(),
                        "the receiver accepts samples again");
                }
                (Settled::Delivered, Duration::ZERO)
            }
            Outcome::Rejected => {
                backoff.reset();
                if self.failing().is_news(&answer.words, Instant::now()) {
                    warn!(receiver = %self.config.name, url = %self.config.url,
                        samples = batch.samples, answer = %answer.words,
                        "the receiver refused a batch, which is dropped; for an hour \
                         further batches refused with these words are only counted");
                }
                (Settled::Dropped(Reason::Rejected), Duration::ZERO)
            }
            Outcome::Retry { after } => {
                if self.failing().began(&answer.words, Instant::now()) {
                    warn!(receiver = %self.config.name, url = %self.config.url,
                        answer = %answer.words,
                        "the receiver takes no samples now; they are kept and sent again");
                }
                self.numbers.samples_retried.fetch_add(batch.samples, Relaxed);
                (Settled::Retry, backoff.next_delay(fastrand::f64(), after))
            }
        }
    }

    /// What an answer means for the samples of its request.
    fn outcome(&self, answer: &Answer) -> Outcome {
        match answer.status {
            None => Outcome::NO_ANSWER,
            Some(429) if !self.config.queue.retry_on_http_429 => Outcome::Rejected,
            Some(status) => outcome(status, answer.header(&RETRY_AFTER), SystemTime::now()),
        }
    }
}
