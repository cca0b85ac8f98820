//! A receiver's spool on disk: opening it, handing it on, and closing it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::timeout;
use tracing::{info, warn};

use super::{
    Receiver, lock,
    queue::{epoch, settings},
};
use crate::{
    config,
    disk::{DataDirectory, DirectoryError, Spooled, Writer},
    spool::{Durability, Fsync, OpenError, Reason, Recovered, Spool, StoreState},
};

/// Longest time that a disk gets at the end to write what is left in memory. A healthy one takes
/// milliseconds; one that hangs must not hold the process.
const LAST_WRITE_MAX: Duration = Duration::from_secs(3);

/// A spool that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Its directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The log in it.
    #[error("cannot open the spool")]
    Open(#[from] OpenError),
    /// The system gives no thread.
    #[error("cannot start the thread that writes the spool")]
    Thread(#[from] std::io::Error),
}

/// What is left of a receiver's samples at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Dropped, and counted so.
    pub lost: u64,
    /// On disk, to be sent after the next start.
    pub kept: u64,
}

impl Receiver {
    /// Opens the receiver's spool in a data directory, with what an earlier run has left there. To be called
    /// before anything is appended.
    ///
    /// # Errors
    /// A directory that cannot be used. Damage in it is no error: what can be read is sent.
    pub fn open(&self, data: &DataDirectory) -> Result<(), SpoolError> {
        let name = &self.config.name;
        let disk = data.disk(name, self.numbers.sync_seconds.clone())?;
        let durability = Durability {
            fsync: match data.settings.fsync {
                config::Fsync::Always => Fsync::Always,
                config::Fsync::Interval => Fsync::Interval,
                config::Fsync::Never => Fsync::Never,
            },
            fsync_interval: data.settings.fsync_interval,
            run: fastrand::u64(..),
        };
        let (spool, log, recovered) =
            Spool::open(settings(&self.config.queue), epoch(), durability, disk)?;
        self.tell_recovered(&spool, &recovered);
        let owner: Arc<dyn Spooled> = Arc::clone(&self.queue) as _;
        let writer = Writer::start(name, Arc::downgrade(&owner), log, recovered.corrupt_records)?;
        self.queue.replace(spool, Some(writer.signal()));
        writer.signal().ring();
        *lock(&self.writer) = Some(writer);
        Ok(())
    }

    fn tell_recovered(&self, spool: &Spool, recovered: &Recovered) {
        let (receiver, counts) = (&self.config.name, spool.counts());
        if counts.recovered.fragments > 0 {
            info!(%receiver, samples = counts.recovered.samples, bytes = counts.recovered.bytes,
                segments = recovered.segments, "an earlier run has left samples, which are sent now");
        }
        let Recovered { corrupt_records, corrupt_bytes, torn_bytes, .. } = *recovered;
        if corrupt_records > 0 || corrupt_bytes > 0 {
            warn!(%receiver, records = corrupt_records, bytes = corrupt_bytes,
                "the spool is damaged: these records are lost, all others are sent");
        }
        if torn_bytes > 0 {
            info!(%receiver, bytes = torn_bytes, "cut off a write that the last run did not finish");
        }
        if recovered.cursor_lost {
            warn!(%receiver, "the spool's cursor cannot be read: samples that were delivered are sent again");
        }
        for (file, why) in &recovered.left_alone {
            warn!(%receiver, file, why, "a file of the spool is left alone");
        }
        for error in &recovered.errors {
            warn!(%receiver, %error, "a file of the spool could not be tidied up");
        }
    }

    /// Takes everything that waits for `old`, whose lanes have halted, with its account and its disk. The
    /// older receiver is empty afterwards and nobody's any more.
    pub fn take_over(&self, old: &Self) {
        let swap = |signal| {
            let empty = self.queue.replace(old.queue.take(), signal);
            old.queue.replace(empty, None);
            let reconfigured = self.queue.lock().reconfigure(settings(&self.config.queue));
            debug_assert_eq!(reconfigured, Ok(()), "the settings were good for a spool of our own");
        };
        let writer = lock(&old.writer).take();
        match writer {
            None => swap(None),
            Some(writer) => {
                let owner: Arc<dyn Spooled> = Arc::clone(&self.queue) as _;
                let signal = writer.signal();
                writer.hand_over(Arc::downgrade(&owner), || swap(Some(signal)));
                *lock(&self.writer) = Some(writer);
            }
        }
        if self.config.url == old.config.url {
            self.health().clone_from(&old.health());
        }
        self.overflowed.store(old.overflowed.load(Relaxed), Relaxed);
        self.queue.wake_all();
    }

    /// Ends the spool when the relay ends or the receiver is removed. What is on disk stays there, the rest
    /// is dropped for that reason.
    pub async fn close(&self, reason: Reason) -> Left {
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer {
            self.spool().stop();
            if timeout(LAST_WRITE_MAX, writer.ended()).await.is_err() {
                warn!(receiver = %self.config.name,
                    "the spool's disk does not answer; what it has not taken is dropped");
            }
        }
        let mut spool = self.spool();
        let lost = spool.close(reason).samples;
        Left { lost, kept: spool.counts().queued.samples }
    }

    /// What is to be known of the spool's disk; `None` without a data directory.
    pub fn store(&self) -> Option<StoreState> {
        self.spool().store(tokio::time::Instant::now().into_std())
    }
}
