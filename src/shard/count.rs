//! How many relays share the targets, by what their StatefulSet says: a pure state machine.
//!
//! ```text
//!   wanted   spec.replicas           what `kubectl scale` and an autoscaler write
//!   ready    status.readyReplicas    pods that have a relay which is ready
//!
//!   fewer wanted       they count at once: the pods that go end at the same time
//!   more wanted        those that are ready count, when they are at least half of what is wanted: a target
//!                      stays where it is until the relay that takes it over runs
//!   fewer ready        changes nothing: nobody takes over what a relay leaves that is down
//!   none yet (start)   when all others are ready, all count. Otherwise as above, as soon as this relay is among
//!                      those that are ready; or after a while, whatever there is
//! ```
//!
//! All relays of a StatefulSet see the same sequence of these two numbers, so they agree but for the time a
//! watch takes; none talks to another. Numbers stand for ordinals, which is right where pods become ready in
//! their order (`podManagementPolicy: OrderedReady`): `ready` relays are those from 0 to `ready - 1`, unless one of
//! them is down, and then only a relay that starts meanwhile is wrong, for as long as that.
//!
//! A share moves when its taker is ready and not when it is wanted, for a pod takes its time, and one for which
//! there is no node takes for ever. Half is the limit because a relay is made for its share: after a restart of
//! all of them, the first would otherwise scrape everything until the second is there.

/// What a StatefulSet says of its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// How many there should be.
    pub wanted: u32,
    /// How many are ready. What was observed of an older specification may be more than there should be.
    pub ready: u32,
}

/// The number of relays, as one of them goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    index: u32,
    known: Option<u32>,
    /// Whether the first word of the StatefulSet has been heard.
    is_first_over: bool,
}

impl Count {
    /// For the relay with this number, which knows nothing yet.
    pub const fn new(index: u32) -> Self {
        Self { index, known: None, is_first_over: false }
    }

    /// The number of relays; `None` until one can be told.
    pub const fn known(self) -> Option<u32> {
        self.known
    }

    /// Takes in what the StatefulSet says now. `is_patience_over` tells that the relay has waited long enough for
    /// the others since its start. Returns whether the number has changed.
    pub fn observe(&mut self, replicas: Replicas, is_patience_over: bool) -> bool {
        let Replicas { wanted, ready } = replicas;
        let is_first = !std::mem::replace(&mut self.is_first_over, true);
        let settled = settled(replicas);
        let next = match self.known {
            Some(known) if wanted < known => Some(wanted),
            Some(known) => settled.filter(|&settled| settled > known).or(self.known),
            // It is not among the relays, or no longer.
            None if self.index >= wanted => Some(wanted),
            // Itself it is not ready yet.
            None if is_first && ready + 1 >= wanted => Some(wanted),
            None if is_patience_over => Some(ready.clamp(self.index + 1, wanted)),
            None => settled.filter(|_| ready > self.index && !is_first),
        };
        std::mem::replace(&mut self.known, next) != next
    }
}

/// How many relays there are when it may be gone by those that are ready.
fn settled(Replicas { wanted, ready }: Replicas) -> Option<u32> {
    (ready.saturating_mul(2) >= wanted).then(|| ready.min(wanted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOON: bool = false;
    const LATE: bool = true;

    /// What a relay goes by after each word of the StatefulSet.
    fn check(index: u32, words: &[(u32, u32, bool)], expected: &[Option<u32>]) {
        let mut count = Count::new(index);
        let mut seen = Vec::new();
        for &(wanted, ready, is_patience_over) in words {
            let before = count.known();
            let changed = count.observe(Replicas { wanted, ready }, is_patience_over);
            assert_eq!(changed, before != count.known());
            seen.push(count.known());
        }
        assert_eq!(seen, expected, "relay {index}: {words:?}");
    }

    #[test]
    fn a_relay_that_starts_again_finds_the_others_and_goes_on() {
        check(1, &[(3, 2, SOON), (3, 3, SOON)], &[Some(3), Some(3)]);
        check(0, &[(1, 0, SOON)], &[Some(1)]);
        // The status still counts it: its container alone was started again.
        check(1, &[(3, 3, SOON)], &[Some(3)]);
    }

    #[test]
    fn a_relay_that_is_down_costs_nobody_its_share() {
        check(0, &[(3, 2, SOON), (3, 3, SOON), (3, 1, SOON), (3, 0, LATE)], &[Some(3); 4]);
    }

    #[test]
    fn more_relays_count_when_they_are_ready() {
        let three = [(3, 2, SOON), (5, 3, SOON), (5, 4, SOON), (5, 5, SOON)];
        check(0, &three, &[Some(3), Some(3), Some(4), Some(5)]);
        // The new ones, of which the first is ready before the second begins.
        check(3, &[(5, 3, SOON), (5, 4, SOON), (5, 5, SOON)], &[None, Some(4), Some(5)]);
        check(4, &[(5, 4, SOON), (5, 5, SOON)], &[Some(5), Some(5)]);
        // There is no node for the last one: the others go on without it, however long that takes.
        check(3, &[(5, 3, SOON), (5, 4, SOON), (5, 4, LATE)], &[None, Some(4), Some(4)]);
    }

    #[test]
    fn fewer_relays_count_at_once() {
        let words = [(5, 4, SOON), (2, 5, SOON), (2, 2, SOON)];
        check(0, &words, &[Some(5), Some(2), Some(2)]);
        // One of those that go has no target from then on.
        check(4, &words, &[Some(5), Some(2), Some(2)]);
        check(4, &[(2, 5, SOON)], &[Some(2)]);
        check(0, &[(2, 2, SOON), (0, 2, SOON), (1, 1, SOON)], &[Some(2), Some(0), Some(1)]);
    }

    #[test]
    fn after_a_start_of_all_nobody_scrapes_much_more_than_its_share() {
        let first = [(5, 0, SOON), (5, 1, SOON), (5, 2, SOON), (5, 3, SOON), (5, 5, SOON)];
        check(0, &first, &[None, None, None, Some(3), Some(5)]);
        check(2, &first[2..], &[None, Some(3), Some(5)]);
        // The others do not come.
        check(0, &[(5, 0, SOON), (5, 1, LATE)], &[None, Some(1)]);
        check(1, &[(5, 1, SOON), (5, 1, LATE)], &[None, Some(2)]);
    }

    proptest! {
        /// Two relays that have heard the same since they know a number go by the same one.
        #[test]
        fn relays_agree(
            words in prop::collection::vec((1_u32..8, 0_u32..8), 1..20), index: [u32; 2], first in 1_u32..8,
        ) {
            let mut relays = index.map(|index| Count::new(index % first));
            for relay in &mut relays {
                relay.observe(Replicas { wanted: first, ready: first }, false);
                prop_assert_eq!(relay.known(), Some(first));
            }
            for (wanted, ready) in words {
                for relay in &mut relays {
                    relay.observe(Replicas { wanted, ready }, false);
                }
                prop_assert_eq!(relays[0].known(), relays[1].known());
                prop_assert!(relays[0].known().is_some_and(|known| known <= wanted));
            }
        }
    }
}
