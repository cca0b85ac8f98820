//! Other settings for a spool that holds something: nothing is lost, and each target's samples stay in
//! their order.

use std::time::Instant;

use super::{Amount, Lane, Settings, SettingsError, Spool};

impl Spool {
    /// Goes on with other settings. To be called while no batch is in flight; one that is goes back
    /// to the front, and settling it is an error.
    ///
    /// When the number of lanes changes, what is queued is dealt out anew by lane key. Batches are
    /// taken in the order of their ids, which is the order of each old lane, so that of a key's
    /// fragments the older one stays ahead. With smaller limits the oldest batches are dropped.
    ///
    /// # Errors
    /// Settings with which nothing could ever be sent; nothing has changed then.
    pub fn reconfigure(&mut self, settings: Settings, now: Instant) -> Result<(), SettingsError> {
        settings.check()?;
        self.settings = settings;
        if self.lanes.len() != usize::from(settings.lanes) {
            self.deal_out(now);
        }
        self.make_room();
        self.check();
        Ok(())
    }

    fn deal_out(&mut self, now: Instant) {
        let lanes = (0..self.settings.lanes).map(|_| Lane::default()).collect();
        let old = std::mem::replace(&mut self.lanes, lanes);
        let mut batches: Vec<_> =
            old.into_iter().flat_map(|mut lane| lane.drain().collect::<Vec<_>>()).collect();
        batches.sort_by_key(|batch| batch.id);
        self.sealed.clear();
        self.counts.batches = 0;
        self.counts.in_flight = Amount::default();
        for batch in batches {
            for (lane_key, fragment) in batch.into_fragments() {
                self.queue(self.lane_of(lane_key), lane_key, fragment, now);
            }
        }
        // What has waited already waits for no further deadline.
        for lane in 0..self.settings.lanes {
            self.seal(lane);
        }
    }
}
