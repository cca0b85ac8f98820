//! A receiver's spool between those who share it: scrapes that append, lanes that send, and with a data
//! directory the thread that writes.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    config,
    disk::{Signal, Spooled},
    spool::{Drain, Epoch, Settings, SettingsError, Spool},
};

/// The spool, and whom to tell.
#[derive(Debug)]
pub(super) struct Queue {
    spool: Mutex<Spool>,
    /// One for each lane.
    wakers: Vec<Notify>,
    /// The thread's, when there is one.
    signal: Mutex<Option<Arc<Signal>>>,
}

/// A locked spool. When it is let go, the thread is told if there is something for the disk.
pub(super) struct Locked<'q> {
    queue: &'q Queue,
    /// `None` only while it is dropped.
    spool: Option<MutexGuard<'q, Spool>>,
}

impl Queue {
    /// An empty queue in memory.
    pub(super) fn new(settings: Settings) -> Result<Self, SettingsError> {
        Ok(Self {
            wakers: (0..settings.lanes).map(|_| Notify::new()).collect(),
            spool: Mutex::new(Spool::new(settings, epoch())?),
            signal: Mutex::default(),
        })
    }

    pub(super) fn lock(&self) -> Locked<'_> {
        let spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { queue: self, spool: Some(spool) }
    }

    /// What the sender of a lane waits for, beside time.
    pub(super) fn waker(&self, lane: u16) -> Option<&Notify> {
        self.wakers.get(usize::from(lane))
    }

    pub(super) const fn lanes(&self) -> usize {
        self.wakers.len()
    }

    pub(super) fn wake_all(&self) {
        self.wakers.iter().for_each(Notify::notify_one);
    }

    /// Puts another spool here, whose thread listens to `signal`.
    pub(super) fn replace(&self, spool: Spool, signal: Option<Arc<Signal>>) -> Spool {
        let mut present = self.lock();
        *self.signal() = signal;
        std::mem::replace(&mut *present, spool)
    }

    /// Takes the spool out and leaves an empty one.
    pub(super) fn take(&self) -> Spool {
        let mut present = self.lock();
        let empty = present.empty();
        std::mem::replace(&mut *present, empty)
    }

    fn signal(&self) -> MutexGuard<'_, Option<Arc<Signal>>> {
        self.signal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spooled for Queue {
    fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, lanes: &[u16]) {
        lanes.iter().filter_map(|lane| self.waker(*lane)).for_each(Notify::notify_one);
    }
}

impl Deref for Locked<'_> {
    type Target = Spool;

    fn deref(&self) -> &Spool {
        self.spool.as_deref().expect("there until it is dropped")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Spool {
        self.spool.as_deref_mut().expect("there until it is dropped")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let calls = self.spool.take().is_some_and(|mut spool| spool.calls_for_disk());
        if calls && let Some(signal) = &*self.queue.signal() {
            signal.ring();
        }
    }
}

/// Now, on both clocks.
pub(super) fn epoch() -> Epoch {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Epoch {
        instant: Instant::now().into_std(),
        unix_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
    }
}

/// What the configuration makes of a spool.
pub(super) const fn settings(queue: &config::Queue) -> Settings {
    Settings {
        lanes: queue.max_shards,
        max_samples_per_send: queue.max_samples_per_send,
        batch_send_deadline: queue.batch_send_deadline,
        max_bytes: queue.max_bytes,
        capacity_samples: queue.capacity,
        sample_age_limit: queue.sample_age_limit,
        drain: match queue.drain {
            config::Drain::OldestFirst => Drain::OldestFirst,
            config::Drain::NewestFirst => Drain::NewestFirst,
        },
        backlog_samples_per_second: queue.max_backlog_samples_per_second,
    }
}
