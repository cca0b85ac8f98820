//! Pushing to one receiver: batches from its spool, in order per series, until it takes them.
//!
//! A [`Receiver`] has a spool with a number of lanes. A target's samples always use the same lane, and a
//! lane has one request in flight, so samples of a series arrive in order whatever the receiver does.
//! Nothing here can hold up a scrape or another receiver: [`Receiver::append`] never waits.

mod durable;
mod failing;
mod lane;
mod negotiate;
mod numbers;
mod queue;
mod request;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use self::{
    durable::{Left, SpoolError},
    numbers::{ANSWERS, Numbers},
};
use self::{
    failing::Failing,
    queue::{Locked, Queue, settings},
};
use crate::{
    config,
    disk::Writer,
    http::{BuildError, Client},
    remote_write::{Message, Negotiation},
    scrape::Staged,
    spool::{Counts, Reason, SettingsError},
};

/// One receiver: its spool and what is known about its answers.
#[derive(Debug)]
pub struct Receiver {
    /// As configured.
    pub config: config::Receiver,
    client: Client,
    /// The thread that writes the spool, with a data directory.
    writer: Mutex<Option<Writer>>,
    queue: Arc<Queue>,
    failing: Mutex<Failing>,
    negotiation: Mutex<Negotiation>,
    /// Set when another receiver takes over: lanes begin nothing new.
    halt: CancellationToken,
    /// Numbers for `/metrics`.
    pub numbers: Arc<Numbers>,
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
    pub fn new(config: config::Receiver) -> Result<Self, ReceiverError> {
        Ok(Self {
            client: Client::new(&config.http, config.timeout)?,
            writer: Mutex::default(),
            queue: Arc::new(Queue::new(settings(&config.queue))?),
            failing: Mutex::default(),
            negotiation: Mutex::new(Negotiation::new(config.protobuf_message, config.compression)),
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
        let next = Self { numbers: Arc::clone(&self.numbers), ..Self::new(config)? };
        let (old, new) = (&self.config, &next.config);
        if (&old.url, old.protobuf_message) == (&new.url, new.protobuf_message) {
            // It is the same receiver, and understands what it understood.
            next.negotiation().clone_from(&self.negotiation());
        }
        Ok(next)
    }

    /// Lets the lanes finish what is in flight and begin nothing new: [`Receiver::push`] returns.
    pub fn halt(&self) {
        self.halt.cancel();
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
        if let Some(lane) = self.queue.waker(lane) {
            lane.notify_one();
        }
    }

    /// Seals what waits for its batch to fill, so that it is sent at once.
    pub fn flush(&self) {
        self.spool().flush();
        self.queue.wake_all();
    }

    /// Samples taken, delivered, dropped and queued.
    pub fn counts(&self) -> Counts {
        *self.spool().counts()
    }

    /// Samples that the account cannot place: anything but 0 is a bug.
    pub fn unaccounted(&self) -> i64 {
        self.spool().unaccounted()
    }

    /// Which message it wants samples in, as far as its answers have told.
    pub fn message(&self) -> Message {
        self.negotiation().message(Instant::now().into_std())
    }

    /// Number of lanes.
    pub fn lanes(&self) -> usize {
        self.queue.lanes()
    }

    fn spool(&self) -> Locked<'_> {
        self.queue.lock()
    }

    fn negotiation(&self) -> MutexGuard<'_, Negotiation> {
        lock(&self.negotiation)
    }

    fn failing(&self) -> MutexGuard<'_, Failing> {
        lock(&self.failing)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
