//! Pushing to one receiver: batches from its spool, in order per series, until it takes them.
//!
//! A [`Receiver`] has a spool with a number of lanes. A target's samples always use the same lane, and a
//! lane has one request in flight, so samples of a series arrive in order whatever the receiver does.
//! Nothing here can hold up a scrape or another receiver: [`Receiver::append`] never waits.

mod failing;
mod lane;
mod negotiate;
mod numbers;
mod request;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::{sync::Notify, time::Instant};
use tracing::warn;

use self::failing::Failing;
pub use self::numbers::{ANSWERS, Numbers};
use crate::{
    config,
    http::{BuildError, Client},
    remote_write::{Message, Negotiation},
    scrape::Staged,
    spool::{Counts, Reason, Settings, SettingsError, Spool},
};

/// One receiver: its spool and what is known about its answers.
#[derive(Debug)]
pub struct Receiver {
    /// As configured.
    pub config: config::Receiver,
    /// Which view of the series it gets.
    pub view: usize,
    client: Client,
    spool: Mutex<Spool>,
    lanes: Vec<Notify>,
    failing: Mutex<Failing>,
    negotiation: Mutex<Negotiation>,
    /// Numbers for `/metrics`.
    pub numbers: Numbers,
}

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

impl Receiver {
    /// A receiver for its configuration.
    ///
    /// # Errors
    /// TLS files or headers that cannot be used; a queue that could never send.
    pub fn new(config: config::Receiver, view: usize) -> Result<Self, ReceiverError> {
        let queue = &config.queue;
        let settings = Settings {
            lanes: queue.max_shards,
            max_samples_per_send: queue.max_samples_per_send,
            batch_send_deadline: queue.batch_send_deadline,
            max_bytes: queue.max_bytes,
            capacity_samples: queue.capacity,
            sample_age_limit: queue.sample_age_limit,
        };
        Ok(Self {
            client: Client::new(&config.http, config.timeout)?,
            lanes: (0..queue.max_shards).map(|_| Notify::new()).collect(),
            spool: Mutex::new(Spool::new(settings)?),
            failing: Mutex::default(),
            negotiation: Mutex::new(Negotiation::new(config.protobuf_message)),
            numbers: Numbers::default(),
            view,
            config,
        })
    }

    /// Takes what a scrape of the target with this hash produced. Never waits: when the spool is
    /// full, its oldest batch goes.
    pub fn append(&self, target: u64, staged: &Staged, now: Instant) {
        let message = self.message();
        let (lane, overflowed) = {
            let mut spool = self.spool();
            let before = spool.counts().dropped(Reason::QueueFull).samples;
            let fragments = staged.fragments(message).iter().cloned();
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

    /// Drops what is left when the relay ends. Returns the samples that were lost.
    pub fn close(&self) -> u64 {
        self.spool().close(Reason::Shutdown).samples
    }

    /// Samples taken, delivered, dropped and queued.
    pub fn counts(&self) -> Counts {
        *self.spool().counts()
    }

    /// Which message it wants samples in, as far as its answers have told.
    pub fn message(&self) -> Message {
        self.negotiation().message(Instant::now().into_std())
    }

    /// Number of lanes.
    pub const fn lanes(&self) -> usize {
        self.lanes.len()
    }

    fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn negotiation(&self) -> MutexGuard<'_, Negotiation> {
        self.negotiation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failing(&self) -> MutexGuard<'_, Failing> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
