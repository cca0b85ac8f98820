//! The thread that writes a spool: it asks the spool for orders, performs them on the log, and tells what
//! came of them.
//!
//! A thread of its own for each receiver, since file IO blocks: a slow disk then holds up neither scrapes nor
//! requests nor another receiver's disk. Whoever changes a spool rings; between rings the thread sleeps until
//! something is due.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tracing::{dispatcher, info, warn};

use super::FsDisk;
use crate::spool::{Log, Orders, Spool, StoreState};

/// Shortest time between two lines of the log about records that cannot be read back.
const DAMAGE_TOLD: Duration = Duration::from_secs(60);

/// Whose spool it is: what the thread needs of it.
pub trait Spooled: Send + Sync {
    /// The spool; it is locked for as long as the guard lives.
    fn spool(&self) -> MutexGuard<'_, Spool>;

    /// Lanes may have something else to do.
    fn wake(&self, lanes: &[u16]);
}

/// How the thread is told that there is something to do.
#[derive(Debug, Default)]
pub struct Signal {
    state: Mutex<Rung>,
    bell: Condvar,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Rung {
    rung: bool,
    /// Nothing more is to be done, and nothing saved.
    abandoned: bool,
    ended: bool,
}

/// The thread. Dropping this ends it where it is, as a kill of the process would; [`Writer::ended`] after
/// [`Spool::stop`] ends it with everything written.
pub struct Writer {
    signal: Arc<Signal>,
    owner: Arc<Mutex<Weak<dyn Spooled>>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("signal", &self.signal).finish_non_exhaustive()
    }
}

/// What the thread does next.
enum Step {
    Perform(Orders),
    Wait(Option<Instant>),
    End,
}

impl Signal {
    /// There is something to do.
    pub fn ring(&self) {
        lock(&self.state).rung = true;
        self.bell.notify_one();
    }

    fn wait(&self, until: Option<Instant>) {
        let mut state = lock(&self.state);
        while !state.rung && !state.abandoned {
            let Some(until) = until else {
                state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.bell.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.rung = false;
    }

    fn is_abandoned(&self) -> bool {
        lock(&self.state).abandoned
    }
}

impl Writer {
    /// Starts the thread for a spool in which so many records were found damaged.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        receiver: &str,
        owner: Weak<dyn Spooled>,
        log: Log<FsDisk>,
        damaged: u64,
    ) -> std::io::Result<Self> {
        let signal = Arc::new(Signal::default());
        let owner = Arc::new(Mutex::new(owner));
        let hand = Hand {
            receiver: receiver.to_owned(),
            signal: Arc::clone(&signal),
            owner: Arc::clone(&owner),
            log,
            health: Health::Good,
            damaged,
            damage_told: None,
        };
        // Its lines go where those of the caller go.
        let log = dispatcher::get_default(Clone::clone);
        let run = move || dispatcher::with_default(&log, || hand.run());
        let thread = Builder::new().name("spool".to_owned()).spawn(run)?;
        Ok(Self { signal, owner, thread: Some(thread) })
    }

    /// How to tell the thread that there is something to do.
    pub fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }

    /// Moves the spool to another owner. `swap` does so; meanwhile the thread looks at neither.
    pub fn hand_over(&self, owner: Weak<dyn Spooled>, swap: impl FnOnce()) {
        let mut present = lock(&self.owner);
        swap();
        *present = owner;
        drop(present);
        self.signal.ring();
    }

    /// Returns when the thread has written everything, which [`Spool::stop`] has ordered. Whoever waits no
    /// longer leaves the thread to the end of the process.
    pub async fn ended(mut self) {
        let thread = self.thread.take();
        self.signal.ring();
        let mut ended = std::pin::pin!(self.signal.ended.notified());
        ended.as_mut().enable();
        if !lock(&self.signal.state).ended {
            ended.await;
        }
        if let Some(thread) = thread {
            // It has said that it ends.
            let _panicked = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        lock(&self.signal.state).abandoned = true;
        self.signal.bell.notify_one();
        let _panicked = thread.join();
    }
}

/// The thread's own.
struct Hand {
    receiver: String,
    signal: Arc<Signal>,
    owner: Arc<Mutex<Weak<dyn Spooled>>>,
    log: Log<FsDisk>,
    /// As it was told last.
    health: Health,
    /// Damaged records that were told, and when.
    damaged: u64,
    damage_told: Option<Instant>,
}

/// How the disk is, as far as it is worth a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Good,
    Paused,
    Poisoned,
}

impl Hand {
    fn run(mut self) {
        while !self.signal.is_abandoned() {
            match self.next() {
                Step::Perform(orders) => self.perform(orders),
                Step::Wait(until) => self.signal.wait(until),
                Step::End => break,
            }
        }
        let signal = Arc::clone(&self.signal);
        // The directory is free before anybody hears of the end.
        drop(self);
        lock(&signal.state).ended = true;
        signal.ended.notify_waiters();
    }

    fn next(&self) -> Step {
        let owner = lock(&self.owner);
        let Some(owner) = owner.upgrade() else { return Step::End };
        let mut spool = owner.spool();
        match spool.orders(Instant::now()) {
            Some(orders) => Step::Perform(orders),
            None if spool.is_stopping() => Step::End,
            None => Step::Wait(spool.orders_due()),
        }
    }

    fn perform(&mut self, orders: Orders) {
        let report = self.log.perform(orders);
        let now = Instant::now();
        let state = {
            let owner = lock(&self.owner);
            let Some(owner) = owner.upgrade() else { return };
            let mut spool = owner.spool();
            let lanes = spool.done(report, now);
            let state = spool.store(now);
            drop(spool);
            owner.wake(&lanes);
            state
        };
        if let Some(state) = state {
            self.tell(&state, now);
        }
    }

    fn tell(&mut self, state: &StoreState, now: Instant) {
        let health = Health::of(state);
        if health != self.health {
            let (receiver, error) = (&self.receiver, &state.trouble);
            match health {
                Health::Good => info!(%receiver, "the spool's disk takes samples again"),
                Health::Paused => warn!(%receiver, %error,
                    "the spool's disk takes no samples now: they wait in memory, are sent from there, \
                     and the disk is tried again every ten seconds"),
                Health::Poisoned => warn!(%receiver, %error,
                    "the spool's disk cannot be trusted any more: samples wait in memory only until the \
                     relay is started again"),
            }
            self.health = health;
        }
        let is_due = self.damage_told.is_none_or(|told| now.duration_since(told) >= DAMAGE_TOLD);
        if state.corrupt_records > self.damaged && is_due {
            warn!(receiver = %self.receiver, records = state.corrupt_records - self.damaged,
                "records of the spool cannot be read back; their samples are dropped and counted as unreadable");
            (self.damaged, self.damage_told) = (state.corrupt_records, Some(now));
        }
    }
}

impl Health {
    const fn of(state: &StoreState) -> Self {
        match (state.is_poisoned, state.trouble.is_empty()) {
            (true, _) => Self::Poisoned,
            (false, false) => Self::Paused,
            (false, true) => Self::Good,
        }
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
