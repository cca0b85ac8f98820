//! Which lane of a receiver may send, and when: one state machine for all of them.
//!
//! ```text
//!              `BREAKER_FAILURES` in a row               an answer that parks
//!   open ---------------------------------> broken    open, broken ------------> parked
//!    ^  any lane sends, up to the limit        |  one lane probes,                  |  one lane probes,
//!    |  and after its own pause                |  pauses up to max_backoff          |  pauses up to minutes
//!    +------- any answer that judges a batch --+------------------------------------+
//! ```
//!
//! A receiver in trouble is asked by one lane, and the others wait with their batches in the spool,
//! where these can become too old or make room. So N lanes cost a receiver that is down no more than
//! one does. What it asks for by `Retry-After` holds for all lanes, whichever of them was told.
//!
//! Lanes wait in a line: one that has sent is behind those that have waited, so that none starves when
//! the limit is below the number of lanes.
//!
//! It reads no clock and draws no random numbers; the caller brings both.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::limiter::Limiter;
use crate::remote_write::Backoff;

/// Failures in a row, over all lanes, after which only one lane asks. Enough that a batch which some
/// receiver answers with 500 again and again does not hold up the others, whose batches are taken in
/// between; few enough that an outage is met within seconds.
pub(super) const BREAKER_FAILURES: u32 = 5;

/// First and longest pause between two probes of a parked receiver. What parks is usually a credential
/// or a quota, which a person changes: within five minutes of that it is noticed, and at once when the
/// change is one of a file that the relay reads.
const PARK_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));

/// Who may send to one receiver, see the module's documentation.
#[derive(Debug)]
pub(super) struct Gate {
    state: State,
    /// When it came into its state.
    since: Option<Instant>,
    lanes: Vec<Lane>,
    /// Lanes that wait for others to finish, the next one first.
    line: VecDeque<u16>,
    in_flight: u16,
    failures: u32,
    /// Until then the receiver asked to be left alone.
    hold_until: Option<Instant>,
    /// When the next probe is due.
    probe_at: Option<Instant>,
    /// The pauses of probes.
    probes: Backoff,
    /// The pauses of a lane, as they begin.
    pauses: Backoff,
    limiter: Limiter,
}

/// How requests flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// From all lanes, up to the limit.
    Open,
    /// From one lane at a time: the receiver fails.
    Broken,
    /// From one lane, seldom: the receiver answered that it will take nothing until a person acts.
    Parked,
}

#[derive(Clone, Debug)]
struct Lane {
    pauses: Backoff,
    not_before: Option<Instant>,
}

/// Whether a lane may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Now. It must be followed by [`Gate::report`] or [`Gate::release`].
    Go,
    /// Ask again then, or when the gate has changed.
    At(Instant),
    /// Ask again when the gate has changed.
    Wait,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// It was accepted.
    Accepted,
    /// It was refused: the receiver works, but does not want this batch.
    Refused,
    /// It is to be sent again; the receiver may have asked for a pause.
    Failed(Option<Duration>),
    /// The receiver is to be left alone; it may have asked for how long.
    Parked(Option<Duration>),
}

impl Gate {
    /// An open gate for `ceiling` lanes, of which `floor` may always send.
    pub(super) fn new(floor: u16, ceiling: u16, pauses: Backoff) -> Self {
        let lane = Lane { pauses: pauses.clone(), not_before: None };
        Self {
            state: State::Open,
            since: None,
            lanes: vec![lane; usize::from(ceiling)],
            line: VecDeque::new(),
            in_flight: 0,
            failures: 0,
            hold_until: None,
            probe_at: None,
            probes: pauses.clone(),
            pauses,
            limiter: Limiter::new(floor, ceiling),
        }
    }

    /// How requests flow now.
    pub(super) const fn state(&self) -> State {
        self.state
    }

    /// Requests in flight.
    pub(super) const fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// Requests that may be in flight now.
    pub(super) const fn limit(&self) -> u16 {
        match self.state {
            State::Open => self.limiter.limit(),
            State::Broken | State::Parked => 1,
        }
    }

    /// Asks for a lane's turn.
    pub(super) fn admit(&mut self, lane: u16, now: Instant) -> Admission {
        let own = self.lanes.get(usize::from(lane)).and_then(|lane| lane.not_before);
        if let Some(at) = own.filter(|at| *at > now) {
            // Its place is free for those that could go now.
            self.line.retain(|waiting| *waiting != lane);
            return Admission::At(at);
        }
        if let Some(at) = self.hold_until.max(self.probe_at).filter(|at| *at > now) {
            return Admission::At(at);
        }
        let place = self.line.iter().position(|waiting| *waiting == lane);
        let ahead = place.unwrap_or(self.line.len());
        if usize::from(self.in_flight) + ahead < usize::from(self.limit()) {
            place.map(|place| self.line.remove(place));
            self.in_flight += 1;
            return Admission::Go;
        }
        if place.is_none() {
            self.line.push_back(lane);
        }
        Admission::Wait
    }

    /// A lane that was admitted has nothing to send after all.
    pub(super) const fn release(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A lane's request ended that was sent at `began`. `random` is uniform in [0, 1).
    pub(super) fn report(
        &mut self,
        lane: u16,
        report: Report,
        began: Instant,
        now: Instant,
        random: f64,
    ) {
        self.release();
        match report {
            Report::Accepted => {
                let backlog = !self.line.is_empty();
                self.limiter.accepted(now.saturating_duration_since(began), backlog);
                self.open(lane);
            }
            Report::Refused => self.open(lane),
            Report::Failed(after) => {
                self.failed(lane, after, began, now, random);
                self.limiter.failed(began, now);
            }
            Report::Parked(after) => self.park(after, began, now, random),
        }
    }

    /// For how long the receiver still wants to be left alone, by its own words.
    pub(super) fn asked_pause(&self, now: Instant) -> Option<Duration> {
        let left = self.hold_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Something changed that the receiver may have waited for: asks it at the next occasion, whatever it
    /// has asked for itself. If that holds still, it will say so again.
    pub(super) fn probe_now(&mut self) {
        self.probe_at = None;
        if self.hold_until.take().is_some() {
            // The pause is a part of these, too.
            self.lanes.iter_mut().for_each(|lane| lane.not_before = None);
        }
    }

    fn open(&mut self, lane: u16) {
        self.failures = 0;
        if let Some(lane) = self.lanes.get_mut(usize::from(lane)) {
            lane.pauses.reset();
            lane.not_before = None;
        }
        if self.state != State::Open {
            self.turn(State::Open, None);
            self.probe_at = None;
        }
    }

    fn failed(
        &mut self,
        lane: u16,
        after: Option<Duration>,
        began: Instant,
        now: Instant,
        random: f64,
    ) {
        self.hold(after, now, random);
        if self.is_of_before(began) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if self.state != State::Open {
            self.probe_at = Some(later(now, self.probes.next_delay(random, after)));
            return;
        }
        let Some(own) = self.lanes.get_mut(usize::from(lane)) else { return };
        let pause = own.pauses.next_delay(random, after);
        if self.failures < BREAKER_FAILURES {
            own.not_before = Some(later(now, pause));
            return;
        }
        // The probes go on where this lane's pauses had come to.
        self.probes = own.pauses.clone();
        self.probe_at = Some(later(now, pause));
        self.turn(State::Broken, Some(now));
    }

    /// Leaves the receiver alone for as long as it asks for.
    fn hold(&mut self, after: Option<Duration>, now: Instant, random: f64) {
        if let Some(after) = after {
            let until = later(now, after.saturating_add(self.spread(random)));
            self.hold_until = self.hold_until.max(Some(until));
        }
    }

    fn park(&mut self, after: Option<Duration>, began: Instant, now: Instant, random: f64) {
        self.hold(after, now, random);
        if self.state != State::Parked {
            let (min, max) = PARK_PAUSES;
            self.probes = Backoff::new(min, max).expect("the bounds make a range");
            self.turn(State::Parked, Some(now));
        } else if self.is_of_before(began) {
            return;
        }
        self.probe_at = Some(later(now, self.probes.next_delay(random, after)));
    }

    /// Whether a request was sent before the gate came into its state: what its failure tells was
    /// known then.
    fn is_of_before(&self, began: Instant) -> bool {
        self.state != State::Open && self.since.is_some_and(|since| began < since)
    }

    fn turn(&mut self, state: State, since: Option<Instant>) {
        self.state = state;
        self.since = since;
        for lane in &mut self.lanes {
            lane.not_before = None;
            lane.pauses.reset();
        }
    }

    /// A part of the shortest pause, so that relays that were told one time are not back together.
    fn spread(&self, random: f64) -> Duration {
        self.pauses.clone().next_delay(random, None)
    }
}

/// Beyond the range of the clock is as good as now: a pause of centuries is a mistake.
fn later(now: Instant, pause: Duration) -> Instant {
    now.checked_add(pause).unwrap_or(now)
}

#[cfg(test)]
mod tests;
