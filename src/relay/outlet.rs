//! One receiver's place in the relay, which outlives changes of its configuration.
//!
//! Scrapers append to the outlet and never know which [`Receiver`] stands behind it. When a reload
//! changes the receiver, its lanes finish what is in flight, and then the successor takes over spool and
//! account in one step under the outlet's lock: no append falls between the two, and nothing is sent by
//! both. Appends meanwhile queue in the old receiver, so scrapes never wait.
//!
//! ```text
//!   pushing --Replace--> halt lanes -> in flight settled -> hand over -> lanes of the successor
//!      `-----Remove---> flush, drain for the grace at most -> the rest is dropped, receiver_removed
//!                           `--Replace--> it is back before        `--Replace--> its disk is free by
//!                                         it was gone: as above                  now: it is opened anew
//! ```

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::off_the_runtime;
use crate::{
    disk::DataDirectory,
    push::{Left, Receiver},
    remote_write::Message,
    scrape::Staged,
    spool::Reason,
};

/// A receiver's place.
#[derive(Debug)]
pub(super) struct Outlet {
    /// The receiver's name, by which it is known over reloads.
    pub(super) name: String,
    receiver: RwLock<Arc<Receiver>>,
    /// Removed, drained and closed: it takes no orders any more.
    closed: AtomicBool,
}

/// What is to become of an outlet.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// This receiver follows the present one.
    Replace(Arc<Receiver>),
    /// It is no longer configured.
    Remove,
}

/// How the relay stops.
#[derive(Clone, Debug, Default)]
pub(super) struct Stops {
    /// Lanes end when they are empty.
    pub(super) drain: CancellationToken,
    /// Lanes end at once.
    pub(super) abort: CancellationToken,
}

/// How an outlet's task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The relay stops.
    Stopped,
    /// It was removed.
    Removed,
    /// A lane broke, which is a bug.
    Broken,
}

/// What became of an outlet that was to be removed.
enum Leaving {
    /// This receiver came before it was gone, and takes over what is left.
    Follows(Arc<Receiver>),
    /// This one came while it was being closed.
    Returns(Arc<Receiver>),
    /// It is closed.
    Gone,
}

impl Outlet {
    pub(super) fn new(receiver: Receiver) -> Self {
        Self {
            name: receiver.config.name.clone(),
            receiver: RwLock::new(Arc::new(receiver)),
            closed: AtomicBool::new(false),
        }
    }

    /// The receiver of now.
    pub(super) fn receiver(&self) -> Arc<Receiver> {
        Arc::clone(&self.receiver.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Which message its receiver wants samples in.
    pub(super) fn message(&self) -> Message {
        self.receiver().message()
    }

    /// Takes what a scrape produced; see [`Receiver::append`].
    pub(super) fn append(&self, lane_key: u64, staged: &Staged, now: Instant) {
        // Under the lock, so that a successor cannot take over before the append is done.
        let receiver = self.receiver.read().unwrap_or_else(PoisonError::into_inner);
        receiver.append(lane_key, staged, now);
    }

    fn hand_over(&self, next: Arc<Receiver>) {
        let mut receiver = self.receiver.write().unwrap_or_else(PoisonError::into_inner);
        next.take_over(&receiver);
        *receiver = next;
    }

    /// Whether it takes no orders any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// From now on it takes no orders.
    pub(super) fn close(&self) {
        self.closed.store(true, SeqCst);
    }

    /// Opens a closed outlet again for this receiver. There is nothing to take over but what is on disk.
    pub(super) async fn reopen(&self, receiver: Arc<Receiver>, data: Option<&Arc<DataDirectory>>) {
        let opened = match data {
            None => Ok(()),
            Some(data) => {
                let (receiver, data) = (Arc::clone(&receiver), Arc::clone(data));
                off_the_runtime(move || receiver.open(&data)).await
            }
        };
        if let Err(error) = opened {
            let error = anyhow::Error::new(error);
            error!(receiver = %self.name, error = %format!("{error:#}"),
                "the receiver's spool cannot be opened again, so its samples wait in memory");
        }
        *self.receiver.write().unwrap_or_else(PoisonError::into_inner) = receiver;
        self.closed.store(false, SeqCst);
    }

    /// Gives an order to the outlet's task; false when the outlet is closed already.
    pub(super) fn order(&self, orders: &watch::Sender<Option<Order>>, order: Order) -> bool {
        // The check and the order are one step, since the task closes under the same lock.
        orders.send_if_modified(|present| {
            let open = !self.closed.load(SeqCst);
            if open {
                *present = Some(order);
            }
            open
        })
    }

    /// Pushes until the relay stops or the outlet is removed; removing takes `grace` at most.
    pub(super) async fn tend(
        self: Arc<Self>,
        mut orders: watch::Receiver<Option<Order>>,
        stops: Stops,
        grace: Duration,
        data: Option<Arc<DataDirectory>>,
    ) -> Ended {
        loop {
            let receiver = self.receiver();
            let mut lanes = Lanes::spawn(&receiver, &stops);
            let next = tokio::select! {
                ended = lanes.join() => return ended_of(ended, Ended::Stopped),
                order = newer(&mut orders) => match order {
                    Order::Replace(next) => next,
                    Order::Remove => {
                        match self.leave(&receiver, &mut lanes, &mut orders, grace).await {
                            Ok(Leaving::Follows(next)) => next,
                            Ok(Leaving::Returns(next)) => {
                                self.reopen(next, data.as_ref()).await;
                                continue;
                            }
                            Ok(Leaving::Gone) => return Ended::Removed,
                            Err(error) => return ended_of(Err(error), Ended::Broken),
                        }
                    }
                },
            };
            receiver.halt();
            if let Err(error) = lanes.join().await {
                return ended_of(Err(error), Ended::Broken);
            }
            self.hand_over(next);
            info!(receiver = %self.name, "the receiver goes on with its new configuration");
        }
    }

    /// Delivers what is left, and closes the receiver unless another is ordered before that.
    async fn leave(
        &self,
        receiver: &Receiver,
        lanes: &mut Lanes,
        orders: &mut watch::Receiver<Option<Order>>,
        grace: Duration,
    ) -> Result<Leaving, JoinError> {
        receiver.flush();
        lanes.drain.cancel();
        let mut grace = std::pin::pin!(sleep(grace));
        loop {
            tokio::select! {
                ended = lanes.join() => break ended?,
                order = newer(orders) => match order {
                    Order::Replace(next) => return Ok(Leaving::Follows(next)),
                    // It was to come back and to go again in one moment.
                    Order::Remove => {}
                },
                () = &mut grace => break,
            }
        }
        lanes.abort.cancel();
        lanes.join().await?;
        if let Some(Order::Replace(next)) = &*orders.borrow_and_update() {
            return Ok(Leaving::Follows(Arc::clone(next)));
        }
        let left = receiver.close(Reason::ReceiverRemoved).await;
        self.tell_left(receiver, left);
        // Closed only now, when nobody has its disk any more.
        let order = orders.borrow_and_update();
        if let Some(Order::Replace(next)) = &*order {
            return Ok(Leaving::Returns(Arc::clone(next)));
        }
        self.close();
        Ok(Leaving::Gone)
    }

    fn tell_left(&self, receiver: &Receiver, left: Left) {
        let Left { lost: dropped, kept } = left;
        let delivered = receiver.counts().delivered.samples;
        if dropped > 0 {
            warn!(receiver = %self.name, delivered, dropped, kept,
                "the receiver was removed and did not take the rest in time, which is dropped");
        } else if kept > 0 {
            info!(receiver = %self.name, delivered, kept,
                "the receiver was removed; what it did not take in time is kept on disk until it comes back");
        } else {
            info!(receiver = %self.name, delivered, "the receiver was removed, nothing was left");
        }
    }
}

/// The lanes of one receiver.
struct Lanes {
    tasks: JoinSet<()>,
    drain: CancellationToken,
    abort: CancellationToken,
}

impl Lanes {
    fn spawn(receiver: &Arc<Receiver>, stops: &Stops) -> Self {
        let (drain, abort) = (stops.drain.child_token(), stops.abort.child_token());
        let mut tasks = JoinSet::new();
        for lane in 0..receiver.lanes() {
            let (receiver, drain, abort) = (Arc::clone(receiver), drain.clone(), abort.clone());
            let lane = u16::try_from(lane).expect("max_shards is a u16");
            tasks.spawn(async move { receiver.push(lane, &drain, &abort).await });
        }
        Self { tasks, drain, abort }
    }

    /// Until all of them have ended, or one broke. Can be given up and called again.
    async fn join(&mut self) -> Result<(), JoinError> {
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

fn ended_of(ended: Result<(), JoinError>, well: Ended) -> Ended {
    match ended {
        Ok(()) => well,
        Err(error) => {
            error!(%error, "a lane broke");
            Ended::Broken
        }
    }
}

/// The next order; never, when nobody is left to give one.
async fn newer(orders: &mut watch::Receiver<Option<Order>>) -> Order {
    while orders.changed().await.is_ok() {
        if let Some(order) = orders.borrow_and_update().clone() {
            return order;
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Overrides, Source};

    const GRACE: Duration = Duration::from_secs(30);

    fn receiver() -> config::Receiver {
        let text = "scrape_configs: [{job_name: a, static_configs: [{targets: ['h:1']}]}]\n\
                    remote_write: [{url: 'http://localhost:1/'}]";
        let source = Source { path: "flinkrelay.yaml".into(), text: text.to_owned() };
        let config = config::load(Some(&source), &Overrides::default(), &|_| None).unwrap();
        config.receivers.into_iter().next().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn to_come_back_and_to_go_again_in_one_moment_costs_none_of_the_grace() {
        let outlet = Outlet::new(Receiver::new(receiver()).unwrap());
        let leaves = outlet.receiver();
        let stops = Stops::default();
        let mut lanes = Lanes { tasks: JoinSet::new(), drain: stops.drain, abort: stops.abort };
        let abort = lanes.abort.clone();
        lanes.tasks.spawn(async move { abort.cancelled().await });
        let (sender, mut orders) = watch::channel(Some(Order::Remove));
        let back = Arc::new(leaves.successor(receiver()).unwrap());
        assert!(outlet.order(&sender, Order::Replace(back)));
        assert!(outlet.order(&sender, Order::Remove));
        let began = Instant::now();
        let left = outlet.leave(&leaves, &mut lanes, &mut orders, GRACE).await.unwrap();
        assert!(matches!(left, Leaving::Gone));
        assert!(began.elapsed() >= GRACE, "{:?}", began.elapsed());
    }
}
