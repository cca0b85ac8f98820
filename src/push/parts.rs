//! A batch that was refused, sent in parts so that what is good of it is delivered: `split` and
//! `bisect` of `on_status`.

use std::{
    ops::Range,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tracing::warn;

use super::{
    Receiver,
    failing::{Sum, Tell},
    halving::Halving,
    health::State,
    lane::Verdict,
};
use crate::{
    remote_write::{Outcome, Part, Pieces},
    spool::{self, Batch, Reason, Settled},
};

/// For so long a lane drops refused batches as a whole after one of which nothing at all was
/// accepted: then it is not single series that are bad, and looking for them in every batch would
/// multiply the requests to a receiver that refuses everything.
const FRUITLESS_PAUSE: Duration = Duration::from_secs(60);

/// Series that a log line names.
const NAMED_MAX: usize = 5;

/// What was refused of a batch, and what was not sent any more.
#[derive(Default)]
struct Refused {
    samples: u64,
    metadata: u64,
    pieces: usize,
    too_old: spool::Part,
    names: Vec<String>,
    words: String,
}

/// How the sending of one part ended.
enum Judged {
    /// The receiver has said what becomes of it.
    By(Verdict),
    /// The batch became too old before that.
    TooLate,
    /// The relay halts.
    Never,
}

impl Receiver {
    /// Sends a batch that was refused in halves. While the receiver fails in between, the rest waits
    /// in flight, for what was delivered already must not come twice.
    pub(super) async fn deliver_parts(
        &self,
        lane: u16,
        batch: &Batch,
        whole: Verdict,
        fruitless_until: &mut Option<Instant>,
    ) -> Settled {
        let pieces = match Pieces::of(batch.message, &batch.body) {
            Ok(pieces) if pieces.len() > 1 => pieces,
            Ok(pieces) => {
                let mut refused = Refused::default();
                refused.add(&pieces, 0..pieces.len(), &pieces.part(0..pieces.len()), &whole.words);
                return self.settle_parts(batch, &refused, false);
            }
            Err(error) => {
                self.refused_as_a_whole(batch, &format!("{} ({error})", whole.words));
                return Settled::Dropped(Reason::Rejected);
            }
        };
        self.numbers.batches_parted.fetch_add(1, Relaxed);
        let mut halving = Halving::new(pieces.len());
        if whole.outcome == Outcome::Split {
            halving.learn(batch.raw_bytes);
        }
        let mut refused = Refused::default();
        while let Some(range) = halving.next(|range| pieces.raw_bytes(range)) {
            let part = pieces.part(range.clone());
            let verdict = match self.deliver_part(lane, batch, &part).await {
                Judged::By(verdict) => verdict,
                Judged::TooLate => {
                    let rest = std::iter::from_fn(|| halving.next(|range| pieces.raw_bytes(range)));
                    refused.too_old = rest.map(|range| pieces.part(range)).chain([part]).fold(
                        spool::Part::default(),
                        |sum, part| spool::Part {
                            samples: sum.samples + part.samples,
                            metadata: sum.metadata + part.metadata,
                        },
                    );
                    break;
                }
                Judged::Never => return Settled::Retry,
            };
            if let Some(unwritten) = verdict.unwritten {
                refused.add_unwritten(unwritten, &verdict.words);
                halving.accepted();
                continue;
            }
            let again = match verdict.outcome {
                Outcome::Split => halving.too_large(range.clone(), part.raw_bytes),
                Outcome::Bisect => halving.refused(range.clone()),
                Outcome::Rejected => false,
                Outcome::Accepted | Outcome::Retry { .. } | Outcome::Park { .. } => {
                    halving.accepted();
                    continue;
                }
            };
            if !again {
                refused.add(&pieces, range, &part, &verdict.words);
            }
        }
        let fruitful = halving.is_fruitful();
        let judged = refused.too_old == spool::Part::default();
        *fruitless_until = (!fruitful && judged).then(|| Instant::now() + FRUITLESS_PAUSE);
        self.settle_parts(batch, &refused, fruitful)
    }

    /// Sends one part until the receiver has judged it.
    async fn deliver_part(&self, lane: u16, batch: &Batch, part: &Part) -> Judged {
        let mut request = Batch {
            body: part.body.clone(),
            samples: part.samples,
            metadata: part.metadata,
            raw_bytes: part.raw_bytes,
            tries: 0,
            ..batch.clone()
        };
        loop {
            let Some(turn) = self.turn(lane).await else { return Judged::Never };
            if self.is_too_old(batch) {
                return Judged::TooLate;
            }
            let verdict = self.attempt(turn, &request).await;
            if !matches!(verdict.outcome, Outcome::Retry { .. } | Outcome::Park { .. }) {
                return Judged::By(verdict);
            }
            request.tries = request.tries.saturating_add(1);
        }
    }

    /// Whether all of a batch is above `sample_age_limit`. The spool sees to that for what waits there; the
    /// parts of a batch wait in flight.
    fn is_too_old(&self, batch: &Batch) -> bool {
        let limit = self.config.queue.sample_age_limit;
        !limit.is_zero() && Instant::now().into_std().duration_since(batch.created) > limit
    }

    /// Settles a batch of which a receiver of 2.0 has written all but so many samples.
    pub(super) fn settle_unwritten(&self, batch: &Batch, unwritten: u64, words: &str) -> Settled {
        let mut refused = Refused::default();
        refused.add_unwritten(unwritten, words);
        self.settle_parts(batch, &refused, true)
    }

    /// Tells of what was refused, and what becomes of the batch.
    fn settle_parts(&self, batch: &Batch, refused: &Refused, fruitful: bool) -> Settled {
        let too_old = refused.too_old;
        let all_judged = too_old == spool::Part::default();
        if refused.pieces == 0 && all_judged {
            return Settled::Delivered;
        }
        if refused.pieces > 0 {
            self.tell_refused(batch, refused, fruitful, all_judged);
        }
        if !fruitful && all_judged {
            return Settled::Dropped(Reason::Rejected);
        }
        let &Refused { samples, metadata, .. } = refused;
        Settled::Partly { rejected: spool::Part { samples, metadata }, too_old }
    }

    fn tell_refused(&self, batch: &Batch, refused: &Refused, fruitful: bool, all_judged: bool) {
        if fruitful && all_judged {
            // The last part may have been a refused one; the receiver is well all the same, and an
            // outage that there was is over.
            self.accepted(Instant::now(), SystemTime::now());
        } else if !fruitful {
            self.health().troubled(State::Refusing, SystemTime::now());
        }
        let tell = self.failing().refused(&refused.words, refused.samples, Instant::now());
        match tell {
            None => {}
            Some(Tell::News) => warn!(receiver = %self.config.name, url = %self.url(),
                samples = refused.samples, of = batch.samples, series = ?refused.names,
                answer = %refused.words,
                "the receiver refused a part of a batch, which is dropped; further ones refused \
                 with these words are summed up every five minutes"),
            Some(Tell::Still(sum)) => self.warn_of_refusals(&refused.words, sum),
        }
    }

    pub(super) fn warn_of_refusals(&self, words: &str, sum: Sum) {
        warn!(receiver = %self.config.name, url = %self.url(), answer = %words,
            requests = sum.requests, samples = sum.samples, within_s = sum.within.as_secs(),
            "the receiver goes on to refuse samples, which are dropped; this is its last answer");
    }
}

impl Refused {
    fn add(&mut self, pieces: &Pieces, range: Range<usize>, part: &Part, words: &str) {
        self.samples += part.samples;
        self.metadata += part.metadata;
        self.pieces += range.len();
        let room = NAMED_MAX.saturating_sub(self.names.len());
        self.names.extend(range.take(room).filter_map(|piece| pieces.name(piece)));
        words.clone_into(&mut self.words);
    }

    /// Which they are is in the receiver's words at most.
    fn add_unwritten(&mut self, samples: u64, words: &str) {
        if samples == 0 {
            return;
        }
        self.samples += samples;
        self.pieces += usize::try_from(samples).unwrap_or(usize::MAX);
        if words.is_empty() {
            self.words = format!("2xx, {samples} samples not written");
        } else {
            words.clone_into(&mut self.words);
        }
    }
}
