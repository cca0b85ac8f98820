//! The loop of one lane: it takes the next batch from the spool, sends it, and settles it.
//!
//! Before each request it asks the gate for its turn, and only then the spool for a batch: what waits
//! for a turn waits in the spool, where it can become too old or make room.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, SystemTime},
};

use hyper::header::RETRY_AFTER;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Receiver,
    failing::Tell,
    gate::{Admission, Report, State as GateState},
    health::State,
    request::Answer,
};
use crate::{
    remote_write::{Outcome, outcome, unwritten},
    spool::{Batch, BatchId, Next, Reason, Settled},
};

/// How often a parked receiver's credentials are looked at: a look is one `stat` a file.
const CREDENTIALS_LOOK: Duration = Duration::from_secs(2);

/// A lane's turn to send. Gives its place back when it is dropped.
pub(super) struct Turn<'r> {
    receiver: &'r Receiver,
    lane: u16,
    reported: bool,
}

/// A batch in flight. It goes back to its lane when it is dropped without having been settled, which
/// is what happens when the relay stops in the middle of a request.
struct InFlight<'r> {
    receiver: &'r Receiver,
    lane: u16,
    id: BatchId,
    settled: Settled,
}

/// What an answer means, with the words that go to the log.
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) words: String,
    /// When a receiver of 2.0 has written a part of the samples and will never write the rest: how
    /// many that is.
    pub(super) unwritten: Option<u64>,
}

impl Receiver {
    /// Sends the batches of one lane until `drain` is set and the lane is empty, until the receiver
    /// halts, or until `abort` is set, which also breaks off what is in flight.
    pub async fn push(&self, lane: u16, drain: &CancellationToken, abort: &CancellationToken) {
        tokio::select! {
            biased;
            () = abort.cancelled() => {}
            () = self.run(lane, drain) => {}
        }
    }

    async fn run(&self, lane: u16, drain: &CancellationToken) {
        let Some(wake) = self.queue.waker(lane) else { return };
        let mut fruitless_until = None;
        while let Some(turn) = self.turn(lane).await {
            let next = self.spool().next(lane, Instant::now().into_std());
            match next {
                Next::Send(batch) => {
                    let id = batch.id;
                    let mut in_flight =
                        InFlight { receiver: self, lane, id, settled: Settled::Retry };
                    in_flight.settled = self.deliver(turn, &batch, &mut fruitless_until).await;
                }
                Next::WaitUntil(at) => {
                    drop(turn);
                    tokio::select! {
                        () = sleep_until(at.into()) => {}
                        () = wake.notified() => {}
                        () = self.halt.cancelled() => return,
                    }
                }
                Next::Idle if drain.is_cancelled() => return,
                Next::Idle => {
                    drop(turn);
                    tokio::select! {
                        () = wake.notified() => {}
                        () = self.halt.cancelled() => return,
                        () = drain.cancelled() => {}
                    }
                }
            }
        }
    }

    /// Waits until the lane may send; `None` when the receiver halts.
    pub(super) async fn turn(&self, lane: u16) -> Option<Turn<'_>> {
        while !self.halt.is_cancelled() {
            // Listens before it asks, so that no change is missed in between.
            let mut changed = std::pin::pin!(self.gate_changed.notified());
            changed.as_mut().enable();
            let (admission, state) = {
                let mut gate = self.gate();
                (gate.admit(lane, Instant::now()), gate.state())
            };
            let at = match admission {
                Admission::Go => return Some(Turn { receiver: self, lane, reported: false }),
                Admission::Wait => None,
                Admission::At(at) if state == GateState::Parked => {
                    self.look_at_credentials();
                    Some(at.min(Instant::now() + CREDENTIALS_LOOK))
                }
                Admission::At(at) => Some(at),
            };
            let at = async {
                match at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = at => {}
                () = changed => {}
                () = self.halt.cancelled() => {}
            }
        }
        None
    }

    /// Probes a parked receiver at once when a file that holds credentials has changed.
    fn look_at_credentials(&self) {
        let now = self.client.credentials();
        if self.parked_with.swap(now, Relaxed) != now {
            self.probe_now();
        }
    }

    /// Sends one batch once, or in parts. Returns what becomes of it.
    async fn deliver(
        &self,
        turn: Turn<'_>,
        batch: &Batch,
        fruitless_until: &mut Option<Instant>,
    ) -> Settled {
        let lane = turn.lane;
        let verdict = self.attempt(turn, batch).await;
        if let Some(unwritten) = verdict.unwritten {
            return self.settle_unwritten(batch, unwritten, &verdict.words);
        }
        match verdict.outcome {
            Outcome::Accepted => Settled::Delivered,
            Outcome::Retry { .. } | Outcome::Park { .. } => Settled::Retry,
            Outcome::Split | Outcome::Bisect
                if fruitless_until.is_none_or(|until| until <= Instant::now()) =>
            {
                self.deliver_parts(lane, batch, verdict, fruitless_until).await
            }
            Outcome::Rejected | Outcome::Split | Outcome::Bisect => {
                self.refused_as_a_whole(batch, &verdict.words);
                Settled::Dropped(Reason::Rejected)
            }
        }
    }

    /// Sends one request, and tells the gate, the counters and the log what came of it. A refusal is
    /// the caller's to log, who knows what is dropped.
    pub(super) async fn attempt(&self, turn: Turn<'_>, batch: &Batch) -> Verdict {
        let began = Instant::now();
        // A credential that is replaced while the answer is under way was not the one refused.
        let credentials = self.client.credentials();
        let answer = self.ask(batch).await;
        let (now, wall) = (Instant::now(), SystemTime::now());
        let outcome = self.outcome(&answer, wall);
        self.health().answered(answer.status, &answer.words, wall);
        let report = match outcome {
            Outcome::Accepted => Report::Accepted,
            Outcome::Rejected | Outcome::Split | Outcome::Bisect => Report::Refused,
            Outcome::Retry { after } => Report::Failed(after),
            Outcome::Park { after } => Report::Parked(after),
        };
        match report {
            Report::Accepted => self.accepted(now, wall),
            Report::Refused => {}
            Report::Failed(_) => self.failed(&answer, batch, now, wall),
            Report::Parked(_) => {
                self.parked_with.store(credentials, Relaxed);
                self.parked(&answer, batch, now, wall);
            }
        }
        if let Report::Failed(Some(pause)) | Report::Parked(Some(pause)) = report {
            self.tell_of_pause(pause, now, wall);
        }
        turn.report(report, began, now);
        let unwritten = unwritten(outcome, answer.written, batch.samples);
        Verdict { outcome, words: answer.words, unwritten }
    }

    /// What an answer means for the samples of its request.
    pub(super) fn outcome(&self, answer: &Answer, now: SystemTime) -> Outcome {
        let retry_after = answer.header(&RETRY_AFTER);
        answer.status.map_or(Outcome::NO_ANSWER, |status| {
            outcome(&self.config.on_status, status, retry_after, now)
        })
    }

    pub(super) fn accepted(&self, now: Instant, wall: SystemTime) {
        self.health().accepted(wall);
        if let Some(outage) = self.failing().recovered(now) {
            info!(receiver = %self.config.name, outage_s = outage.as_secs_f64(),
                "the receiver accepts samples again");
        }
    }

    fn failed(&self, answer: &Answer, batch: &Batch, now: Instant, wall: SystemTime) {
        self.numbers.samples_retried.fetch_add(batch.samples, Relaxed);
        let parked = self.gate().state() == GateState::Parked;
        let state = if parked { State::Parked } else { State::Failing };
        self.health().troubled(state, wall);
        let tell = self.failing().failed(&answer.words, batch.samples, now);
        let pending = self.counts().queued.samples;
        match tell {
            None => {}
            Some(Tell::News) => warn!(receiver = %self.config.name, url = %self.url(),
                answer = %answer.words, pending,
                "the receiver takes no samples now; they are kept and sent again"),
            Some(Tell::Still(sum)) => warn!(receiver = %self.config.name, url = %self.url(),
                answer = %answer.words, pending, requests = sum.requests,
                within_s = sum.within.as_secs(),
                "the receiver still takes no samples; they are kept and sent again"),
        }
    }

    fn parked(&self, answer: &Answer, batch: &Batch, now: Instant, wall: SystemTime) {
        self.numbers.samples_retried.fetch_add(batch.samples, Relaxed);
        self.health().troubled(State::Parked, wall);
        if self.failing().parked(now) {
            warn!(receiver = %self.config.name, url = %self.url(), answer = %answer.words,
                "the receiver is parked, as on_status says: nothing is dropped, and one batch is \
                 tried now and then, and when a file with its credentials changes");
        }
    }

    /// Logs that nothing will be heard of the receiver for a while, because it wants it so.
    fn tell_of_pause(&self, pause: Duration, now: Instant, wall: SystemTime) {
        if self.failing().paused(pause, now) {
            let until = wall.checked_add(pause).map(httpdate::fmt_http_date).unwrap_or_default();
            warn!(receiver = %self.config.name, retry_after_s = pause.as_secs(), until,
                "the receiver asks by Retry-After to be left alone, so nothing is sent until then; \
                 a reload (SIGHUP, POST /-/reload) asks it at once");
        }
    }

    pub(super) fn refused_as_a_whole(&self, batch: &Batch, words: &str) {
        self.health().troubled(State::Refusing, SystemTime::now());
        let tell = self.failing().refused(words, batch.samples, Instant::now());
        match tell {
            None => {}
            Some(Tell::News) => warn!(receiver = %self.config.name, url = %self.url(),
                samples = batch.samples, answer = %words,
                "the receiver refused a batch, which is dropped; further batches refused with \
                 these words are summed up every five minutes"),
            Some(Tell::Still(sum)) => self.warn_of_refusals(words, sum),
        }
    }
}

impl Turn<'_> {
    fn report(mut self, report: Report, began: Instant, now: Instant) {
        self.reported = true;
        self.receiver.gate().report(self.lane, report, began, now, fastrand::f64());
        self.receiver.gate_changed.notify_waiters();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.reported {
            self.receiver.gate().release();
            self.receiver.gate_changed.notify_waiters();
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let settled = self.receiver.spool().settle(self.lane, self.id, self.settled);
        debug_assert_eq!(settled, Ok(()), "a lane settles what it took");
    }
}
