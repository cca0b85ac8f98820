//! Pushing to one receiver: batches from its spool, in order per series, until it takes them.
//!
//! A [`Receiver`] has a spool with a number of lanes. A target's samples always use the same lane, and a
//! lane has one request in flight, so samples of a series arrive in order whatever the receiver does.
//! Nothing here can hold up a scrape or another receiver: [`Receiver::append`] never waits.

mod durable;
mod failing;
mod gate;
mod halving;
mod health;
mod knock;
mod lane;
mod limiter;
mod negotiate;
mod numbers;
mod parts;
mod queue;
mod request;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::{
    durable::{Left, SpoolError},
    health::{Health, LastAnswer, State},
    knock::{Knocked, knock},
    numbers::{ANSWERS, ErrorKey, Numbers},
};
use self::{
    failing::Failing,
    gate::Gate,
    queue::{Locked, Queue, settings},
};
use crate::{
    config,
    disk::Writer,
    http::{BuildError, Client, without_query},
    remote_write::{Backoff, BackoffError, Message, Negotiation},
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
    gate: Mutex<Gate>,
    /// Told whenever a lane that waits at the gate may have something else to do.
    gate_changed: Notify,
    /// What the files with credentials looked like when the receiver was parked.
    parked_with: AtomicU64,
    failing: Mutex<Failing>,
    /// Samples dropped as `queue_full` so far, as far as it was told.
    overflowed: AtomicU64,
    health: Mutex<Health>,
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
    /// Pauses between tries.
    #[error("queue_config")]
    Backoff(#[from] BackoffError),
}

impl Receiver {
    /// A receiver for its configuration.
    ///
    /// # Errors
    /// TLS files or headers that cannot be used; a queue that could never send.
    pub fn new(config: config::Receiver) -> Result<Self, ReceiverError> {
        let queue = &config.queue;
        let pauses = Backoff::new(queue.min_backoff, queue.max_backoff)?;
        Ok(Self {
            gate: Mutex::new(Gate::new(queue.min_shards, queue.max_shards, pauses)),
            gate_changed: Notify::new(),
            parked_with: AtomicU64::default(),
            health: Mutex::default(),
            client: Client::new(&config.http, config.timeout)?,
            writer: Mutex::default(),
            queue: Arc::new(Queue::new(settings(&config.queue))?),
            failing: Mutex::default(),
            overflowed: AtomicU64::default(),
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
        let asked = |config: &config::Receiver| (config.protobuf_message, config.compression);
        if self.config.url == next.config.url && asked(&self.config) == asked(&next.config) {
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
    /// full, its oldest samples go.
    pub fn append(&self, target: u64, staged: &Staged, now: Instant) {
        let message = self.message();
        let (lane, overflowed) = {
            let mut spool = self.spool();
            let fragments = staged.fragments(message).iter().cloned();
            let lane = spool.append(target, fragments, now.into_std());
            spool.count_withheld(staged.filtered, Reason::WriteRelabel);
            spool.count_withheld(staged.unfit.label_limit, Reason::LabelLimit);
            spool.count_withheld(staged.unfit.invalid, Reason::InvalidLabels);
            // Since the last append: what is on disk is dropped when something is written.
            let dropped = spool.counts().dropped(Reason::QueueFull).samples;
            (lane, dropped - self.overflowed.swap(dropped, Relaxed).min(dropped))
        };
        self.tell_of_unfit(&staged.unfit.named, now);
        self.numbers.samples_cut.fetch_add(staged.unfit.cut, Relaxed);
        self.tell_of_cut(&staged.unfit.named_cut, now);
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

    /// Logs, once an hour for each way of being unfit, which series are kept from the receiver.
    fn tell_of_unfit(&self, named: &[String], now: Instant) {
        // What stands before the series: the digits of limits and lengths make no other message.
        let fault = |text: &String| text.split(": ").next().unwrap_or_default().to_owned();
        let Some(first) = named.first().map(fault) else { return };
        if self.failing().is_news(&first, now) {
            warn!(receiver = %self.config.name, series = ?named,
                "series are kept from this receiver, which would refuse them and what is sent with \
                 them; their samples are counted as label_limit or invalid_labels");
        }
    }

    /// Logs, once an hour, which series have label values that were cut.
    fn tell_of_cut(&self, named: &[String], now: Instant) {
        if !named.is_empty() && self.failing().is_news("a label value was cut", now) {
            info!(receiver = %self.config.name, series = ?named,
                limit = self.config.label_value_length_limit,
                "label values are longer than this receiver takes and are cut, with a hash behind");
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

    /// Its URL for people, without the query, which may hold a key.
    pub fn url(&self) -> String {
        without_query(&self.config.url)
    }

    /// Number of lanes.
    pub fn lanes(&self) -> usize {
        self.queue.lanes()
    }

    /// How the receiver is, by its answers.
    pub fn state(&self) -> Health {
        self.health().clone()
    }

    /// Requests in flight, and how many may be at the moment.
    pub fn in_flight(&self) -> (u16, u16) {
        let gate = self.gate();
        (gate.in_flight(), gate.limit())
    }

    /// How long the oldest sample has waited; `None` while none does.
    pub fn oldest_pending(&self) -> Option<Duration> {
        self.spool().oldest_age(Instant::now().into_std())
    }

    /// For how long the receiver still wants to be left alone, by its `Retry-After`; `None` when it has
    /// not asked for that, or the time is over.
    pub fn retry_after(&self) -> Option<Duration> {
        self.gate().asked_pause(Instant::now())
    }

    /// The time at which that ends.
    pub fn retry_at(&self) -> Option<SystemTime> {
        SystemTime::now().checked_add(self.retry_after()?)
    }

    /// Asks the receiver at once if it is parked or wants to be left alone: something was changed that may
    /// be what it waits for.
    pub fn probe_now(&self) {
        self.gate().probe_now();
        self.failing().pause_cut_short();
        self.gate_changed.notify_waiters();
    }

    fn spool(&self) -> Locked<'_> {
        self.queue.lock()
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
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
