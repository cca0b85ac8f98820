//! Which parts of a refused batch are sent, one after the other, until what is refused is found.
//!
//! ```text
//!   0 ................... n   refused as a whole
//!   0 ........ n/2            sent; refused -> its halves come next, accepted -> done with it
//!              n/2 ...... n   sent after everything of the left half
//! ```
//!
//! Parts are sent from left to right, so the samples of a series keep their order. One bad series among
//! `n` is found with `2 log2 n` requests, and `k` of them with `k` times as many at most. A batch in
//! which very much is bad would cost too many: the budget ends that, and what is left then is sent once
//! more as it is, and dropped where it is refused.
//!
//! Parts of a request that was too large are not limited in number: each half that fits is progress.
//! They are halved without asking while they are no smaller than one that was refused.

use std::ops::Range;

/// Bad series of one batch that are found for certain. More of them are a fault of a whole target or
/// metric, which a person has to look at; the batches until then cost some 200 requests at most.
pub(super) const BAD_SERIES_MAX: u32 = 8;

/// Requests in a row, in units of `log2 n`, that may all be refused before the rest is taken for bad
/// as well. The first accepted part proves that there is something to save.
const FRUITLESS_MAX: u32 = 3;

/// The parts of one batch, see the module's documentation.
#[derive(Debug)]
pub(super) struct Halving {
    /// Parts to send, the next one last.
    parts: Vec<Range<usize>>,
    /// Bytes of the smallest part that was too large.
    too_large: Option<u64>,
    /// Refused requests before the budget is spent.
    budget: u32,
    /// The part of it that may be spent before anything was accepted.
    fruitless: u32,
    accepted: bool,
}

impl Halving {
    /// The halves of a batch of `pieces` that was refused as a whole.
    pub(super) fn new(pieces: usize) -> Self {
        let levels = pieces.max(1).ilog2() + 1;
        let mut halving = Self {
            parts: Vec::new(),
            too_large: None,
            budget: levels * 2 * BAD_SERIES_MAX,
            fruitless: levels * FRUITLESS_MAX,
            accepted: false,
        };
        halving.halve(0..pieces);
        halving
    }

    /// The next part to send; `None` when all of the batch has been dealt with. `bytes` tells the
    /// size of a part.
    pub(super) fn next(&mut self, bytes: impl Fn(Range<usize>) -> u64) -> Option<Range<usize>> {
        loop {
            let part = self.parts.pop()?;
            match self.too_large {
                Some(limit) if part.len() > 1 && bytes(part.clone()) >= limit => self.halve(part),
                _ => return Some(part),
            }
        }
    }

    /// A request of so many bytes was too large.
    pub(super) fn learn(&mut self, bytes: u64) {
        self.too_large = Some(self.too_large.map_or(bytes, |limit| limit.min(bytes)));
    }

    /// The part was accepted.
    pub(super) const fn accepted(&mut self) {
        self.accepted = true;
    }

    /// The part was refused for something in it. Returns whether it will be sent again in halves;
    /// otherwise it is to be dropped.
    pub(super) fn refused(&mut self, part: Range<usize>) -> bool {
        self.budget = self.budget.saturating_sub(1);
        self.fruitless = self.fruitless.saturating_sub(1);
        let spent = self.budget == 0 || (!self.accepted && self.fruitless == 0);
        if part.len() < 2 || spent {
            return false;
        }
        self.halve(part);
        true
    }

    /// The part of so many bytes was too large. Returns as [`Halving::refused`].
    pub(super) fn too_large(&mut self, part: Range<usize>, bytes: u64) -> bool {
        self.learn(bytes);
        if part.len() < 2 {
            return false;
        }
        self.halve(part);
        true
    }

    /// Whether something of the batch was accepted.
    pub(super) const fn is_fruitful(&self) -> bool {
        self.accepted
    }

    fn halve(&mut self, part: Range<usize>) {
        let middle = part.start + part.len().div_ceil(2);
        for half in [middle..part.end, part.start..middle] {
            if !half.is_empty() {
                self.parts.push(half);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::btree_set, prelude::*};

    use super::*;

    /// What a receiver that refuses any request with one of `bad` in it has in the end: the pieces
    /// accepted, in the order in which they came, those dropped, and the requests it took.
    fn bisect(pieces: usize, bad: &BTreeSet<usize>) -> (Vec<usize>, Vec<usize>, usize) {
        let mut halving = Halving::new(pieces);
        let (mut accepted, mut dropped, mut requests) = (Vec::new(), Vec::new(), 0);
        while let Some(part) = halving.next(|part| part.len() as u64) {
            requests += 1;
            if bad.range(part.clone()).next().is_none() {
                halving.accepted();
                accepted.extend(part);
            } else if !halving.refused(part.clone()) {
                dropped.extend(part);
            }
        }
        (accepted, dropped, requests)
    }

    #[test]
    fn one_bad_series_costs_one_series() {
        for pieces in [1, 2, 3, 7, 64, 2000] {
            for bad in [0, pieces / 3, pieces - 1] {
                let (accepted, dropped, requests) = bisect(pieces, &[bad].into());
                assert_eq!(dropped, [bad], "of {pieces}");
                assert_eq!(accepted.len(), pieces - 1);
                let levels = pieces.next_power_of_two().ilog2() as usize;
                assert!(requests <= (2 * levels).max(1), "{requests} requests for {pieces}");
            }
        }
    }

    #[test]
    fn a_batch_that_is_bad_as_a_whole_costs_few_requests() {
        let (accepted, dropped, requests) = bisect(2000, &(0..2000).collect());
        assert_eq!((accepted.len(), dropped.len()), (0, 2000));
        assert!(requests <= 50, "{requests}");
    }

    #[test]
    fn a_run_of_bad_series_costs_not_much_more_than_itself() {
        let (accepted, dropped, requests) = bisect(2000, &(0..100).collect());
        assert!(accepted.len() >= 1800, "{}", accepted.len());
        assert!(dropped.len() <= 200 && requests <= 100, "{} {requests}", dropped.len());
    }

    #[test]
    fn what_is_too_large_is_halved_until_it_fits() {
        let check = |limit: usize, requests_at_most: usize| {
            let bytes = |part: Range<usize>| part.len() as u64 * 10;
            let (mut halving, mut requests, mut accepted) = (Halving::new(1000), 0, Vec::new());
            while let Some(part) = halving.next(bytes) {
                requests += 1;
                if part.len() > limit {
                    halving.too_large(part.clone(), bytes(part));
                } else {
                    halving.accepted();
                    accepted.extend(part);
                }
            }
            assert_eq!(accepted, (0..1000).collect::<Vec<_>>(), "all and in order");
            assert!(requests <= requests_at_most, "{requests} for {limit}");
        };
        check(600, 2);
        check(300, 5);
        check(100, 19);
        check(1, 1010);
        let mut halving = Halving::new(1);
        assert_eq!(halving.next(|_| 10), Some(0..1));
        assert!(!halving.too_large(0..1, 10), "one series that is too large is dropped");
        assert_eq!(halving.next(|_| 10), None);
    }

    proptest! {
        #[test]
        fn some_bad_series_cost_only_themselves(
            pieces in 1..3000_usize, bad in btree_set(0..3000_usize, 0..8),
        ) {
            let bad: BTreeSet<usize> = bad.into_iter().map(|bad| bad % pieces).collect();
            prop_assume!(bad.len() < pieces / 4);
            let (accepted, dropped, requests) = bisect(pieces, &bad);
            prop_assert_eq!(&dropped, &bad.iter().copied().collect::<Vec<_>>());
            prop_assert!(accepted.is_sorted());
            prop_assert_eq!(accepted.len() + dropped.len(), pieces);
            let levels = pieces.ilog2() as usize + 1;
            prop_assert!(requests <= 2 * levels * bad.len().max(1), "{}", requests);
        }

        /// Whatever is bad, each piece is accepted or dropped once, and the requests are bounded.
        #[test]
        fn every_piece_has_one_fate(pieces in 1..400_usize, bad in btree_set(0..400_usize, 0..400)) {
            let (accepted, dropped, requests) = bisect(pieces, &bad);
            let mut all = [accepted, dropped].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..pieces).collect::<Vec<_>>());
            let levels = pieces.ilog2() as usize + 1;
            prop_assert!(requests <= 4 * levels * BAD_SERIES_MAX as usize, "{}", requests);
        }
    }
}
