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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::spool::{
        Next, Reason, Settled,
        tests::{SETTINGS, contents, fragment},
    };

    #[derive(Clone, Debug)]
    enum Step {
        Append { key: u64, samples: u32 },
        Send { lane: u16, accepted: bool },
        Reconfigure { lanes: u16, max_samples_per_send: u32 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let reconfigure = (1..6_u16, 1..20_u32);
        let step = prop_oneof![
            6 => (0..9_u64, 1..12_u32).prop_map(|(key, samples)| Step::Append { key, samples }),
            3 => (0..6_u16, any::<bool>()).prop_map(|(lane, accepted)| Step::Send { lane, accepted }),
            1 => reconfigure.prop_map(|(lanes, max_samples_per_send)| {
                Step::Reconfigure { lanes, max_samples_per_send }
            }),
        ];
        vec(step, 1..80)
    }

    proptest! {
        /// Through any changes of the lanes each fragment arrives once, those of a key in their order.
        #[test]
        fn each_key_keeps_its_order_over_any_number_of_lanes(steps in steps()) {
            let now = Instant::now();
            let mut spool = Spool::new(SETTINGS).unwrap();
            let mut key_of = Vec::new();
            let mut arrived = BTreeMap::<u64, Vec<u64>>::new();
            let mut send = |spool: &mut Spool, key_of: &[u64], lane, accepted| {
                let Next::Send(batch) = spool.next(lane, now) else { return false };
                let settled = if accepted { Settled::Delivered } else { Settled::Retry };
                if accepted {
                    for (id, _) in contents(&batch) {
                        arrived.entry(key_of[id as usize]).or_default().push(id);
                    }
                }
                spool.settle(lane, batch.id, settled).unwrap();
                true
            };
            for step in steps {
                match step {
                    Step::Append { key, samples } => {
                        let id = key_of.len() as u64;
                        key_of.push(key);
                        spool.append(key, [fragment(id, samples, now)], now);
                    }
                    Step::Send { lane, accepted } => {
                        send(&mut spool, &key_of, lane, accepted);
                    }
                    Step::Reconfigure { lanes, max_samples_per_send } => {
                        let queued = spool.counts().queued;
                        let settings = Settings { lanes, max_samples_per_send, ..SETTINGS };
                        spool.reconfigure(settings, now).unwrap();
                        prop_assert_eq!(spool.counts().queued, queued);
                        prop_assert_eq!(spool.lanes(), lanes);
                    }
                }
            }
            spool.flush();
            for lane in 0..spool.lanes() {
                while send(&mut spool, &key_of, lane, true) {}
            }
            prop_assert!(spool.is_empty() && spool.counts().is_balanced());
            for (key, ids) in &arrived {
                prop_assert!(ids.is_sorted_by(|a, b| a < b), "{}: {:?}", key, ids);
            }
            prop_assert_eq!(arrived.values().map(Vec::len).sum::<usize>(), key_of.len());
        }
    }

    #[test]
    fn smaller_limits_drop_the_oldest() {
        let now = Instant::now();
        let mut spool = Spool::new(SETTINGS).unwrap();
        for id in 0..6 {
            spool.append(id, [fragment(id, 10, now)], now);
        }
        let smaller = Settings { capacity_samples: 25, ..SETTINGS };
        spool.reconfigure(smaller, now).unwrap();
        assert_eq!(spool.counts().dropped(Reason::QueueFull).samples, 40);
        let bad = Settings { lanes: 0, ..SETTINGS };
        assert!(spool.reconfigure(bad, now).is_err());
        assert_eq!(spool.lanes(), SETTINGS.lanes, "nothing has changed");
        let Next::Send(batch) = spool.next(0, now) else { panic!("the newest are left") };
        assert_eq!(contents(&batch), [(4, 10)]);
    }

    #[test]
    fn what_is_in_flight_goes_back_to_the_front() {
        let now = Instant::now();
        let mut spool = Spool::new(SETTINGS).unwrap();
        spool.append(0, [fragment(0, 10, now)], now);
        spool.append(0, [fragment(1, 10, now)], now);
        let Next::Send(first) = spool.next(0, now) else { panic!("two batches wait") };
        spool.reconfigure(Settings { lanes: 1, ..SETTINGS }, now).unwrap();
        assert!(spool.settle(0, first.id, Settled::Delivered).is_err());
        let Next::Send(again) = spool.next(0, now) else { panic!("it waits again") };
        assert_eq!(contents(&again), [(0, 10)]);
    }
}
