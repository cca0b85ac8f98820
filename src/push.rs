//! Pushing to one receiver: batches from its spool, in order per series, until it takes them.
//!
//! A [`Receiver`] has a spool with a number of lanes. A target's samples always use the same lane, and a
//! lane has one request in flight, so samples of a series arrive in order whatever the receiver does.
//! Nothing here can hold up a scrape or another receiver: [`Receiver::append`] never waits.

mod failing;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, header};
use prometheus_client::metrics::histogram::Histogram;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::failing::Failing;
use crate::{
    config,
    http::{BuildError, Client, ErrorKind},
    limits::ANSWER_BYTES_MAX,
    remote_write::{Backoff, Outcome, outcome},
    scrape::Staged,
    spool::{Batch, Counts, Next, Reason, Settings, SettingsError, Settled, Spool},
};

/// One receiver: its spool and what is known about its answers.
#[derive(Debug)]
pub struct Receiver {
    /// As configured.
    pub config: config::Receiver,
    client: Client,
    spool: Mutex<Spool>,
    lanes: Vec<Notify>,
    failing: Mutex<Failing>,
    /// Set when another receiver takes over: lanes begin nothing new.
    halt: CancellationToken,
    /// Numbers for `/metrics`.
    pub numbers: Arc<Numbers>,
}

/// Numbers of a receiver that the spool does not keep.
#[derive(Debug)]
pub struct Numbers {
    /// Bytes of request bodies sent, tries included.
    pub bytes: AtomicU64,
    /// Samples in requests that were sent again.
    pub samples_retried: AtomicU64,
    /// Requests by class of answer: 2xx, 3xx, 4xx, 5xx, other, none.
    pub answers: [AtomicU64; ANSWERS.len()],
    /// Seconds that requests took.
    pub seconds: Histogram,
}

/// Names of the classes in [`Numbers::answers`].
pub const ANSWERS: [&str; 6] = ["2xx", "3xx", "4xx", "5xx", "other", "none"];

/// Bounds of the histogram of request durations, in seconds.
const BUCKETS_S: [f64; 9] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0];

/// A receiver that cannot be built from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// TLS files or headers.
    #[error(transparent)]
    Client(#[from] BuildError),
    /// Bounds of the queue.
    #[error("queue_config")]
    Queue(#[from] SettingsError),
}

/// What came back for one request.
struct Answer {
    outcome: Outcome,
    class: &'static str,
    /// For the log: status and the receiver's own words, or why there was no answer.
    words: String,
}

impl Receiver {
    /// A receiver for its configuration.
    ///
    /// # Errors
    /// TLS files or headers that cannot be used; a queue that could never send.
    pub fn new(config: config::Receiver) -> Result<Self, ReceiverError> {
        let (queue, settings) = (&config.queue, settings(&config.queue));
        Ok(Self {
            client: Client::new(&config.http, config.timeout)?,
            lanes: (0..queue.max_shards).map(|_| Notify::new()).collect(),
            spool: Mutex::new(Spool::new(settings)?),
            failing: Mutex::default(),
            halt: CancellationToken::new(),
            numbers: Arc::default(),
            config,
        })
    }

    /// The receiver that is to follow this one under another configuration. Its spool is empty until
    /// [`Receiver::take_over`]; its numbers are this one's, so that they go on.
    ///
    /// # Errors
    /// As [`Receiver::new`]; this receiver goes on then as if nothing had been asked.
    pub fn successor(&self, config: config::Receiver) -> Result<Self, ReceiverError> {
        Ok(Self { numbers: Arc::clone(&self.numbers), ..Self::new(config)? })
    }

    /// Lets the lanes finish what is in flight and begin nothing new: [`Receiver::push`] returns.
    pub fn halt(&self) {
        self.halt.cancel();
    }

    /// Takes everything that waits for `old`, whose lanes have halted, with its account. The older
    /// receiver is empty afterwards and nobody's any more.
    pub fn take_over(&self, old: &Self) {
        let mut spool = self.spool();
        std::mem::swap(&mut *spool, &mut old.spool());
        let settings = settings(&self.config.queue);
        let reconfigured = spool.reconfigure(settings, Instant::now().into_std());
        debug_assert_eq!(reconfigured, Ok(()), "the settings were good for a spool of our own");
        drop(spool);
        for lane in &self.lanes {
            lane.notify_one();
        }
    }

    /// Takes what a scrape of the target with this hash produced. Never waits: when the spool is
    /// full, its oldest batch goes.
    pub fn append(&self, target: u64, staged: &Staged, now: Instant) {
        let (lane, overflowed) = {
            let mut spool = self.spool();
            let before = spool.counts().dropped(Reason::QueueFull).samples;
            let fragments = staged.fragments.iter().cloned();
            let lane = spool.append(target, fragments, now.into_std());
            spool.count_filtered(staged.filtered);
            (lane, spool.counts().dropped(Reason::QueueFull).samples - before)
        };
        if overflowed > 0 && self.failing().overflowed() {
            warn!(receiver = %self.config.name, samples = overflowed,
                max_bytes = self.config.queue.max_bytes, capacity = self.config.queue.capacity,
                "the queue is full: its oldest samples are dropped and counted as queue_full until \
                 the receiver accepts again");
        }
        if let Some(lane) = self.lanes.get(usize::from(lane)) {
            lane.notify_one();
        }
    }

    /// Seals what waits for its batch to fill, so that it is sent at once.
    pub fn flush(&self) {
        self.spool().flush();
        for lane in &self.lanes {
            lane.notify_one();
        }
    }

    /// Drops what is left when the relay ends or the receiver is removed. Returns the samples that
    /// were lost.
    pub fn close(&self, reason: Reason) -> u64 {
        self.spool().close(reason).samples
    }

    /// Samples taken, delivered, dropped and queued.
    pub fn counts(&self) -> Counts {
        *self.spool().counts()
    }

    /// Number of lanes.
    pub const fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Sends the batches of one lane until `drain` is set and the lane is empty, until the receiver
    /// halts, or until `abort` is set, which also breaks off what is in flight.
    pub async fn push(&self, lane: u16, drain: &CancellationToken, abort: &CancellationToken) {
        let Some(wake) = self.lanes.get(usize::from(lane)) else { return };
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
                    }
                }
            }
        }
    }

    /// Sends one batch once. Returns what becomes of it, and how long to leave the receiver alone.
    async fn deliver(&self, batch: &Batch, backoff: &mut Backoff) -> (Settled, Duration) {
        let began = Instant::now();
        let answer = self.post(batch).await;
        self.numbers.record(&answer, batch, began.elapsed());
        match answer.outcome {
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

    async fn post(&self, batch: &Batch) -> Answer {
        let request = Request::post(self.config.url.clone())
            .header(header::CONTENT_TYPE, batch.message.content_type())
            .header(header::CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", batch.message.version())
            .body(Full::new(batch.body.clone()));
        let no_answer =
            |words: String| Answer { outcome: Outcome::NO_ANSWER, class: "none", words };
        let request = match request {
            Ok(request) => request,
            Err(error) => return no_answer(error.to_string()),
        };
        let timeout = self.config.timeout;
        let deadline = Instant::now() + timeout;
        match timeout_at(deadline, self.client.send(request)).await {
            Ok(Ok(answer)) => read(answer, self.config.queue.retry_on_http_429, deadline).await,
            Ok(Err(error)) if error.kind != ErrorKind::Timeout => no_answer(error.to_string()),
            // In the same words, whichever of the time limits struck: the log tells words once.
            Ok(Err(_)) | Err(_) => {
                no_answer(format!("no answer within {}", config::PromDuration(timeout)))
            }
        }
    }

    fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failing(&self) -> MutexGuard<'_, Failing> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn settings(queue: &config::Queue) -> Settings {
    Settings {
        lanes: queue.max_shards,
        max_samples_per_send: queue.max_samples_per_send,
        batch_send_deadline: queue.batch_send_deadline,
        max_bytes: queue.max_bytes,
        capacity_samples: queue.capacity,
        sample_age_limit: queue.sample_age_limit,
    }
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            bytes: AtomicU64::default(),
            samples_retried: AtomicU64::default(),
            answers: Default::default(),
            seconds: Histogram::new(BUCKETS_S),
        }
    }
}

impl Numbers {
    fn record(&self, answer: &Answer, batch: &Batch, took: Duration) {
        self.bytes.fetch_add(batch.body.len() as u64, Relaxed);
        let class = ANSWERS.iter().zip(&self.answers).find(|(class, _)| **class == answer.class);
        if let Some((_, count)) = class {
            count.fetch_add(1, Relaxed);
        }
        self.seconds.observe(took.as_secs_f64());
    }
}

/// Reads an answer: its meaning by the status, which holds whatever becomes of the body, and the first
/// of the receiver's words.
async fn read(answer: Response<Incoming>, retry_on_429: bool, deadline: Instant) -> Answer {
    let status = answer.status();
    let retry_after = answer.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok());
    let outcome = outcome(status.as_u16(), retry_after, SystemTime::now());
    let outcome = match status.as_u16() {
        429 if !retry_on_429 => Outcome::Rejected,
        _ => outcome,
    };
    let class = match status.as_u16() {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500..=599 => "5xx",
        _ => "other",
    };
    let body = words(answer.into_body(), deadline).await;
    let words = match body {
        _ if outcome == Outcome::Accepted => String::new(),
        words if words.is_empty() => format!("HTTP {status}"),
        words => format!("HTTP {status}: {words}"),
    };
    Answer { outcome, class, words }
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
