//! Other settings for a spool that holds something: nothing is lost, and each target's samples stay in
//! their order.

use super::{Amount, Lane, Reason, Record, Settings, SettingsError, Spool, record::Stored};

impl Spool {
    /// Goes on with other settings. To be called while no batch is in flight; one that is goes back
    /// to the front, and settling it is an error.
    ///
    /// Lanes may come or go: records are dealt out anew by lane key, in the order in which they came. With
    /// smaller limits the oldest are dropped.
    ///
    /// # Errors
    /// Settings with which nothing could ever be sent; nothing has changed then.
    pub fn reconfigure(&mut self, settings: Settings) -> Result<(), SettingsError> {
        settings.check()?;
        let mut records: Vec<Record> = Vec::new();
        for lane in &mut self.lanes {
            records.extend(lane.taken.take().into_iter().flat_map(|taken| taken.records));
            records.extend(lane.line.drain(..));
        }
        self.counts.in_flight = Amount::default();
        records.sort_unstable_by_key(|record| record.sequence);
        self.settings = settings;
        self.lanes = (0..settings.lanes).map(|_| Lane::default()).collect();
        let mut resident_bytes = 0;
        for record in records {
            // Its segment had to make room while it was under way.
            if record.stored == Stored::Gone {
                self.counts.drop_queued(record.amount(), Reason::QueueFull);
                continue;
            }
            resident_bytes += record.resident_bytes();
            let lane = usize::from(self.lane_of(record.lane_key));
            let lane = self.lanes.get_mut(lane).expect("below the number of lanes");
            lane.line.push_back(record);
        }
        for lane in &mut self.lanes {
            let first = lane.line.iter().find(|record| record.fragment.is_some());
            lane.cold_before = first.map_or(self.next_sequence, |record| record.sequence);
        }
        if let Some(store) = &mut self.store {
            store.set_limits(&settings);
            store.resident_bytes = resident_bytes;
        }
        self.make_room();
        self.check();
        Ok(())
    }
}
