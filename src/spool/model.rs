//! Random histories, played on the spool and on a model that is slow and plain: one list of
//! batches in the order in which they were begun, searched from the front for everything.
//!
//! After each step the accounts must be equal. What the spool hands out must be the model's batch,
//! decoded. At the end every fragment has had exactly one fate.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use proptest::{collection::vec, prelude::*};

use super::{
    Amount, BatchId, Counts, Next, Reason, Settings, Settled, Spool,
    tests::{SETTINGS, contents, fragment},
};

/// One call, or time that passes.
#[derive(Clone, Debug)]
enum Step {
    Append { key: u64, samples: Vec<u32> },
    Next { lane: u16 },
    Settle { lane: u16, settled: Settled },
    Flush,
    Pass { ms: u64 },
}

/// So many samples are refused, or all of the batch when it has fewer.
const fn partly(samples: u64) -> Settled {
    Settled::Partly { samples, metadata: 1, reason: Reason::Rejected }
}

fn steps() -> impl Strategy<Value = Step> {
    let append = (0..9_u64, vec(1..14_u32, 1..4));
    let settled = prop_oneof![
        3 => Just(Settled::Delivered),
        2 => Just(Settled::Retry),
        1 => prop::sample::select(&Reason::ALL[..]).prop_map(Settled::Dropped),
        1 => (0..20_u64).prop_map(partly),
    ];
    prop_oneof![
        8 => append.prop_map(|(key, samples)| Step::Append { key, samples }),
        8 => (0..4_u16).prop_map(|lane| Step::Next { lane }),
        6 => (0..4_u16, settled).prop_map(|(lane, settled)| Step::Settle { lane, settled }),
        1 => Just(Step::Flush),
        4 => (0..4000_u64).prop_map(|ms| Step::Pass { ms }),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let capacity = prop_oneof![Just(0), 12..60_u64];
    let bytes = prop_oneof![Just(1 << 20), 40..900_u64];
    let age = prop_oneof![Just(0), 1..12_u64];
    (1..4_u16, 1..12_u32, 0..8_u64, bytes, capacity, age).prop_map(
        |(lanes, max_samples_per_send, deadline, max_bytes, capacity_samples, age)| Settings {
            lanes,
            max_samples_per_send,
            batch_send_deadline: Duration::from_secs(deadline),
            max_bytes,
            capacity_samples,
            sample_age_limit: Duration::from_secs(age),
        },
    )
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Open { due: Instant },
    Sealed,
    InFlight(BatchId),
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    id: u64,
    amount: Amount,
}

#[derive(Debug)]
struct ModelBatch {
    lane: u16,
    state: State,
    created: Instant,
    tries: u32,
    pieces: Vec<Piece>,
}

impl ModelBatch {
    fn amount(&self) -> Amount {
        self.pieces.iter().map(|piece| piece.amount).sum()
    }

    fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Delivered,
    Dropped(Reason),
}

struct Model {
    settings: Settings,
    batches: VecDeque<ModelBatch>,
    fates: BTreeMap<u64, (Piece, Fate)>,
    appended: Amount,
    retried: Amount,
    /// The samples of delivered batches that the receiver refused.
    refused: Amount,
}

impl Model {
    fn settle(&mut self, pieces: &[Piece], fate: Fate) {
        for piece in pieces {
            let before = self.fates.insert(piece.id, (*piece, fate));
            assert!(before.is_none(), "{piece:?} had {before:?} and now {fate:?}");
        }
    }

    fn find(&self, is: impl Fn(&ModelBatch) -> bool) -> Option<usize> {
        self.batches.iter().position(is)
    }

    fn remove(&mut self, at: usize, fate: Fate) {
        let batch = self.batches.remove(at).unwrap();
        self.settle(&batch.pieces, fate);
    }

    fn queued(&self) -> Amount {
        self.batches.iter().map(ModelBatch::amount).sum()
    }

    fn too_much(&self, amount: Amount) -> bool {
        let capacity = self.settings.capacity_samples;
        amount.bytes > self.settings.max_bytes || capacity != 0 && amount.samples > capacity
    }

    fn append(&mut self, lane: u16, pieces: &[Piece], now: Instant) {
        let max = u64::from(self.settings.max_samples_per_send);
        let all: u64 = pieces.iter().map(|piece| piece.amount.samples).sum();
        self.seal_if(lane, |open, due| due <= now || open.amount().samples + all > max);
        for piece in pieces {
            self.appended += piece.amount;
            if self.too_much(piece.amount) {
                self.settle(&[*piece], Fate::Dropped(Reason::QueueFull));
                continue;
            }
            self.seal_if(lane, |open, _| open.amount().samples + piece.amount.samples > max);
            let due = now + self.settings.batch_send_deadline;
            match self.batches.iter_mut().find(|b| b.lane == lane && b.is_open()) {
                Some(open) => open.pieces.push(*piece),
                None => self.batches.push_back(ModelBatch {
                    lane,
                    state: State::Open { due },
                    created: now,
                    tries: 0,
                    pieces: vec![*piece],
                }),
            }
            self.seal_if(lane, |open, _| open.amount().samples >= max);
            while self.too_much(self.queued()) {
                let sealed = self.find(|b| b.state == State::Sealed);
                let Some(at) = sealed.or_else(|| self.find(ModelBatch::is_open)) else { break };
                self.remove(at, Fate::Dropped(Reason::QueueFull));
            }
        }
    }

    fn seal_if(&mut self, lane: u16, when: impl Fn(&ModelBatch, Instant) -> bool) {
        for batch in self.batches.iter_mut().filter(|batch| batch.lane == lane) {
            if let State::Open { due } = batch.state
                && when(batch, due)
            {
                batch.state = State::Sealed;
            }
        }
    }

    /// The batch that is to be sent now, as an index; or the time to wait for.
    fn next(&mut self, lane: u16, now: Instant) -> Result<usize, Option<Instant>> {
        let in_flight = |b: &ModelBatch| b.lane == lane && matches!(b.state, State::InFlight(_));
        if self.find(in_flight).is_some() {
            return Err(None);
        }
        self.seal_if(lane, |_, due| due <= now);
        while let Some(at) = self.find(|b| b.lane == lane && b.state == State::Sealed) {
            let (age, limit) = (now - self.batches[at].created, self.settings.sample_age_limit);
            if limit.is_zero() || age <= limit {
                return Ok(at);
            }
            self.remove(at, Fate::Dropped(Reason::TooOld));
        }
        let open = self.batches.iter().find(|b| b.lane == lane);
        Err(open.map(|b| match b.state {
            State::Open { due } => due,
            state => panic!("{state:?} should have been found"),
        }))
    }

    /// The account, from the fates of the fragments and what is still there.
    fn compare(&self, counts: &Counts) {
        let with = |fate: Fate| -> Amount {
            self.fates.values().filter(|(_, f)| *f == fate).map(|(piece, _)| piece.amount).sum()
        };
        let in_flight = self.batches.iter().filter(|b| matches!(b.state, State::InFlight(_)));
        assert_eq!(counts.appended, self.appended);
        let mut delivered = with(Fate::Delivered);
        delivered -= self.refused;
        assert_eq!(counts.delivered, delivered);
        assert_eq!(counts.retried, self.retried);
        assert_eq!(counts.queued, self.queued());
        assert_eq!(counts.in_flight, in_flight.map(ModelBatch::amount).sum());
        assert_eq!(counts.batches, self.batches.len() as u64);
        for reason in Reason::ALL {
            let mut dropped = with(Fate::Dropped(reason));
            if reason == Reason::Rejected {
                dropped += self.refused;
            }
            assert_eq!(counts.dropped(reason), dropped, "{reason:?}");
        }
        assert!(!self.too_much(counts.queued), "{counts:?}");
    }
}

struct Play {
    spool: Spool,
    model: Model,
    now: Instant,
    next_id: u64,
    /// Last fragment delivered from each key; ids grow, so order is kept when these do.
    last_delivered: BTreeMap<u64, u64>,
    keys: BTreeMap<u64, u64>,
}

impl Play {
    fn new(settings: Settings) -> Self {
        let model = Model {
            settings,
            batches: VecDeque::new(),
            fates: BTreeMap::new(),
            appended: Amount::default(),
            retried: Amount::default(),
            refused: Amount::default(),
        };
        Self {
            spool: Spool::new(settings).unwrap(),
            model,
            now: Instant::now(),
            next_id: 0,
            last_delivered: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Append { key, samples } => self.append(*key, samples),
            Step::Next { lane } => self.next(*lane),
            Step::Settle { lane, settled } => self.settle(*lane, *settled),
            Step::Flush => {
                self.spool.flush();
                (0..self.spool.lanes()).for_each(|lane| self.model.seal_if(lane, |_, _| true));
            }
            Step::Pass { ms } => self.now += Duration::from_millis(*ms),
        }
        self.model.compare(self.spool.counts());
        assert_eq!(self.spool.is_empty(), self.model.batches.is_empty());
    }

    fn append(&mut self, key: u64, samples: &[u32]) {
        let mut fragments = Vec::new();
        let mut pieces = Vec::new();
        for samples in samples {
            let fragment = fragment(self.next_id, *samples, self.now);
            pieces.push(Piece { id: self.next_id, amount: Amount::of(&fragment) });
            fragments.push(fragment);
            self.keys.insert(self.next_id, key);
            self.next_id += 1;
        }
        let lane = self.spool.append(key, fragments, self.now);
        assert_eq!(u64::from(lane), key % u64::from(self.spool.lanes()));
        self.model.append(lane, &pieces, self.now);
    }

    fn next(&mut self, lane: u16) {
        let expect = match lane < self.spool.lanes() {
            true => self.model.next(lane, self.now),
            false => Err(None),
        };
        match (self.spool.next(lane, self.now), expect) {
            (Next::Send(batch), Ok(at)) => {
                let expect = &mut self.model.batches[at];
                let pieces = expect.pieces.iter().map(|piece| (piece.id, piece.amount.samples));
                let got = contents(&batch).into_iter().map(|(id, n)| (id, u64::from(n)));
                assert!(got.eq(pieces), "{batch:?} is not {expect:?}");
                assert_eq!((batch.tries, batch.created), (expect.tries, expect.created));
                let highest = expect.pieces.iter().map(|piece| piece.id).max();
                assert_eq!(
                    batch.highest_timestamp_ms,
                    highest.map(|id| i64::try_from(id).unwrap())
                );
                expect.state = State::InFlight(batch.id);
            }
            (Next::WaitUntil(due), Err(Some(expect))) => assert_eq!(due, expect),
            (Next::Idle, Err(None)) => {}
            (next, expect) => panic!("{next:?} is not {expect:?}"),
        }
    }

    fn settle(&mut self, lane: u16, settled: Settled) {
        let in_flight = |b: &ModelBatch| b.lane == lane && matches!(b.state, State::InFlight(_));
        let Some(at) = self.model.find(in_flight) else {
            let some = BatchId(self.next_id / 2);
            assert!(self.spool.settle(lane, some, settled).is_err());
            return;
        };
        let batch = &mut self.model.batches[at];
        let State::InFlight(id) = batch.state else { panic!("{batch:?}") };
        self.spool.settle(lane, id, settled).unwrap();
        match settled {
            Settled::Retry => {
                batch.tries += 1;
                batch.state = State::Sealed;
                self.model.retried += batch.amount();
            }
            Settled::Dropped(reason) => self.model.remove(at, Fate::Dropped(reason)),
            Settled::Delivered | Settled::Partly { .. } => {
                if let Settled::Partly { samples, .. } = settled {
                    let samples = samples.min(batch.amount().samples);
                    self.model.refused += Amount { samples, ..Amount::default() };
                }
                for piece in &batch.pieces {
                    let last = self.last_delivered.insert(self.keys[&piece.id], piece.id);
                    assert!(last < Some(piece.id), "{} after {last:?}", piece.id);
                }
                self.model.remove(at, Fate::Delivered);
            }
        }
    }

    /// A receiver that accepts everything empties the spool; then each fragment has one fate.
    fn end(mut self, deliver: bool) {
        if deliver {
            self.step(&Step::Flush);
            for lane in 0..self.spool.lanes() {
                while self.model.batches.iter().any(|batch| batch.lane == lane) {
                    self.step(&Step::Next { lane });
                    self.step(&Step::Settle { lane, settled: Settled::Delivered });
                }
            }
        } else {
            assert_eq!(self.spool.close(Reason::Shutdown), self.model.queued());
            while !self.model.batches.is_empty() {
                self.model.remove(0, Fate::Dropped(Reason::Shutdown));
            }
        }
        self.model.compare(self.spool.counts());
        assert!(self.spool.is_empty());
        let fates: Vec<u64> = self.model.fates.into_keys().collect();
        assert_eq!(fates, (0..self.next_id).collect::<Vec<_>>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_history_keeps_the_account(
        settings in settings(), steps in vec(steps(), 1..80), deliver: bool,
    ) {
        prop_assume!(
            settings.capacity_samples == 0
                || settings.capacity_samples >= settings.max_samples_per_send.into()
        );
        let mut play = Play::new(settings);
        steps.iter().for_each(|step| play.step(step));
        play.end(deliver);
    }
}

/// The random histories above are of use only if they come to where it is tight. This one is
/// fixed and must meet every kind of end.
#[test]
fn a_tight_history_meets_every_fate() {
    let settings =
        Settings { capacity_samples: 30, sample_age_limit: Duration::from_secs(10), ..SETTINGS };
    let mut play = Play::new(settings);
    let rejected = Settled::Dropped(Reason::Rejected);
    for settled in [Settled::Delivered, Settled::Retry, rejected, partly(3)] {
        play.step(&Step::Append { key: 0, samples: vec![10, 10, 10, 40] });
        play.step(&Step::Next { lane: 0 });
        play.step(&Step::Settle { lane: 0, settled });
    }
    play.step(&Step::Pass { ms: 11_000 });
    play.step(&Step::Next { lane: 0 });
    play.step(&Step::Append { key: 1, samples: vec![3] });
    let counts = *play.spool.counts();
    play.end(false);
    for reason in [Reason::QueueFull, Reason::TooOld, Reason::Rejected] {
        assert!(counts.dropped(reason).samples > 0, "{reason:?}");
    }
    assert!(counts.delivered.samples > 0 && counts.retried.samples > 0);
}
