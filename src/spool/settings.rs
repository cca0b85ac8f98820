//! How a spool is cut and bounded, checked.

use std::time::Duration;

/// How a spool is cut and bounded; see `queue_config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Batches that may be in flight at a time (`max_shards`).
    pub lanes: u16,
    /// Samples of a batch at most. A fragment with more is sent as a batch of its own.
    pub max_samples_per_send: u32,
    /// How long an open batch waits for more.
    pub batch_send_deadline: Duration,
    /// Compressed bytes that may be queued; on a disk, bytes of its files. Each fragment costs some 200
    /// bytes of memory more.
    pub max_bytes: u64,
    /// Samples that may be queued; 0 is unlimited.
    pub capacity_samples: u64,
    /// Age above which a batch is dropped instead of sent, counted from the scrape of its oldest
    /// sample; zero is unlimited.
    pub sample_age_limit: Duration,
    /// What is sent first when there is a backlog.
    pub drain: Drain,
    /// Samples of the backlog that are sent per second beside live data; 0 is unlimited.
    pub backlog_samples_per_second: u64,
}

/// What is sent first when there is a backlog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drain {
    /// Everything in its order: live data waits for the backlog.
    #[default]
    OldestFirst,
    /// Live data, and the backlog beside it at a limited pace, oldest first. Only for receivers that take
    /// samples out of order.
    NewestFirst,
}

/// Settings that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No batch could be in flight.
    #[error("max_shards is 0; set it to 1 or more")]
    NoLanes,
    /// No batch could hold a sample.
    #[error("max_samples_per_send is 0; set it to 1 or more")]
    NoSamples,
    /// Nothing could be queued.
    #[error("max_bytes is 0; set it to 1 or more")]
    NoBytes,
    /// No full batch could be queued.
    #[error(
        "capacity {capacity} is below max_samples_per_send {batch}; set capacity to at least it, or to 0"
    )]
    CapacityBelowBatch {
        /// As given.
        capacity: u64,
        /// As given.
        batch: u32,
    },
}

impl Settings {
    pub(super) const fn check(&self) -> Result<(), SettingsError> {
        let (capacity, batch) = (self.capacity_samples, self.max_samples_per_send);
        if self.lanes == 0 {
            return Err(SettingsError::NoLanes);
        }
        if batch == 0 {
            return Err(SettingsError::NoSamples);
        }
        if self.max_bytes == 0 {
            return Err(SettingsError::NoBytes);
        }
        if capacity > 0 && capacity < batch as u64 {
            return Err(SettingsError::CapacityBelowBatch { capacity, batch });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_could_send_nothing_are_refused() {
        let good = Settings {
            lanes: 1,
            max_samples_per_send: 10,
            batch_send_deadline: Duration::ZERO,
            max_bytes: 1,
            capacity_samples: 10,
            sample_age_limit: Duration::ZERO,
            drain: Drain::OldestFirst,
            backlog_samples_per_second: 0,
        };
        let check = |settings: Settings, expect: &str| {
            let message = settings.check().map_err(|error| error.to_string());
            assert_eq!(message, Err(expect.to_owned()));
        };
        assert_eq!(good.check(), Ok(()));
        assert_eq!(Settings { capacity_samples: 0, ..good }.check(), Ok(()));
        check(Settings { lanes: 0, ..good }, "max_shards is 0; set it to 1 or more");
        check(
            Settings { max_samples_per_send: 0, ..good },
            "max_samples_per_send is 0; set it to 1 or more",
        );
        check(Settings { max_bytes: 0, ..good }, "max_bytes is 0; set it to 1 or more");
        check(
            Settings { capacity_samples: 9, ..good },
            "capacity 9 is below max_samples_per_send 10; set capacity to at least it, or to 0",
        );
    }
}
