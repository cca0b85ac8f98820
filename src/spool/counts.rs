//! The account of a spool: what came in, what became of it, what is still there.

use std::{
    iter::Sum,
    ops::{AddAssign, SubAssign},
};

/// Why samples were dropped. The names are labels of exported series and do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The spool was full and newer samples came.
    QueueFull,
    /// The batch was older than `sample_age_limit` when its turn came.
    TooOld,
    /// The receiver refused the batch.
    Rejected,
    /// The receiver's `write_relabel_configs` do not want it; it was never queued.
    WriteRelabel,
    /// Its labels exceed the receiver's `label_limit` or a companion of it; it was never queued.
    LabelLimit,
    /// `write_relabel_configs` left it with labels that remote write forbids; it was never queued.
    InvalidLabels,
    /// The relay stopped before the receiver had accepted.
    Shutdown,
    /// A reload removed the receiver, and it did not take the rest in time.
    ReceiverRemoved,
    /// What was written to the spool's disk cannot be read back.
    Unreadable,
}

impl Reason {
    /// Every reason, in the order of their declaration.
    pub const ALL: [Self; 9] = [
        Self::QueueFull,
        Self::TooOld,
        Self::Rejected,
        Self::WriteRelabel,
        Self::LabelLimit,
        Self::InvalidLabels,
        Self::Shutdown,
        Self::ReceiverRemoved,
        Self::Unreadable,
    ];

    /// The reason as a label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooOld => "too_old",
            Self::Rejected => "rejected",
            Self::WriteRelabel => "write_relabel",
            Self::LabelLimit => "label_limit",
            Self::InvalidLabels => "invalid_labels",
            Self::Shutdown => "shutdown",
            Self::ReceiverRemoved => "receiver_removed",
            Self::Unreadable => "unreadable",
        }
    }
}

/// So much of what a spool holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Samples, staleness markers included.
    pub samples: u64,
    /// Metadata entries.
    pub metadata: u64,
    /// Fragments.
    pub fragments: u64,
    /// Compressed bytes.
    pub bytes: u64,
}

impl AddAssign for Amount {
    fn add_assign(&mut self, more: Self) {
        self.samples += more.samples;
        self.metadata += more.metadata;
        self.fragments += more.fragments;
        self.bytes += more.bytes;
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, less: Self) {
        self.samples -= less.samples;
        self.metadata -= less.metadata;
        self.fragments -= less.fragments;
        self.bytes -= less.bytes;
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), |mut sum, amount| {
            sum += amount;
            sum
        })
    }
}

/// What has gone through a spool since it was made.
///
/// `appended = delivered + dropped + queued`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Everything that was given to `append`, and what an earlier run had left on the disk.
    pub appended: Amount,
    /// The part of `appended` that an earlier run had left.
    pub recovered: Amount,
    /// What the receiver has accepted.
    pub delivered: Amount,
    /// What was put back to be sent again, once for each time.
    pub retried: Amount,
    /// What waits or is in flight.
    pub queued: Amount,
    /// The part of `queued` that is in flight.
    pub in_flight: Amount,
    /// The latest time of a sample appended, in milliseconds since the epoch.
    pub highest_appended_ms: Option<i64>,
    /// The latest time of a sample delivered, in milliseconds since the epoch.
    pub highest_delivered_ms: Option<i64>,
    dropped: [Amount; Reason::ALL.len()],
}

impl Counts {
    /// What was dropped for one reason.
    pub fn dropped(&self, reason: Reason) -> Amount {
        self.dropped.get(reason as usize).copied().unwrap_or_default()
    }

    /// What was dropped for any reason.
    pub fn dropped_in_all(&self) -> Amount {
        self.dropped.iter().copied().sum()
    }

    pub(super) fn append(&mut self, amount: Amount, highest_ms: Option<i64>) {
        self.appended += amount;
        self.queued += amount;
        self.highest_appended_ms = self.highest_appended_ms.max(highest_ms);
    }

    pub(super) fn recover(&mut self, amount: Amount, highest_ms: Option<i64>) {
        self.append(amount, highest_ms);
        self.recovered += amount;
    }

    pub(super) fn deliver(&mut self, amount: Amount, highest_ms: Option<i64>) {
        self.queued -= amount;
        self.delivered += amount;
        self.highest_delivered_ms = self.highest_delivered_ms.max(highest_ms);
    }

    pub(super) fn drop_queued(&mut self, amount: Amount, reason: Reason) {
        self.queued -= amount;
        if let Some(dropped) = self.dropped.get_mut(reason as usize) {
            *dropped += amount;
        }
    }

    pub(super) fn is_balanced(&self) -> bool {
        self.appended == [self.delivered, self.dropped_in_all(), self.queued].into_iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_name() {
        let mut counts = Counts::default();
        let one = Amount { samples: 1, metadata: 2, fragments: 3, bytes: 4 };
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(counts.dropped(reason), Amount::default());
            counts.append(one, None);
            counts.drop_queued(one, reason);
            assert_eq!(counts.dropped(reason), one);
            assert_eq!(reason as usize, place);
        }
        let names: std::collections::BTreeSet<_> = Reason::ALL.map(Reason::as_str).into();
        assert_eq!(names.len(), Reason::ALL.len());
        assert_eq!(counts.dropped_in_all().bytes, 4 * Reason::ALL.len() as u64);
        assert!(counts.is_balanced());
    }
}
