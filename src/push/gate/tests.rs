//! What the gate lets through in single situations, and what holds in any history.

use proptest::{collection::vec, prelude::*};

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const PAUSES: (Duration, Duration) = (ms(30), ms(5000));

/// A gate and a clock. Pauses are the longest that they may be.
struct Case {
    gate: Gate,
    now: Instant,
}

impl Case {
    fn new(floor: u16, lanes: u16) -> Self {
        let pauses = Backoff::new(PAUSES.0, PAUSES.1).unwrap();
        Self { gate: Gate::new(floor, lanes, pauses), now: Instant::now() }
    }

    fn admit(&mut self, lane: u16) -> Admission {
        self.gate.admit(lane, self.now)
    }

    /// How long the lane is to wait; `None` when it may go, which it does.
    #[track_caller]
    fn pause(&mut self, lane: u16) -> Option<Duration> {
        match self.admit(lane) {
            Admission::Go => None,
            Admission::At(at) => Some(at - self.now),
            Admission::Wait => panic!("lane {lane} waits for another"),
        }
    }

    /// The lane sends now, and the answer comes 10 ms later.
    #[track_caller]
    fn send(&mut self, lane: u16, report: Report) -> &mut Self {
        assert_eq!(self.admit(lane), Admission::Go, "lane {lane}");
        let began = self.now;
        self.now += ms(10);
        self.gate.report(lane, report, began, self.now, 1.0);
        self
    }

    fn pass(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn fail_until_broken(&mut self) -> &mut Self {
        for _ in 0..BREAKER_FAILURES {
            self.pass(Duration::from_secs(60)).send(0, Report::Failed(None));
        }
        assert_eq!(self.gate.state(), State::Broken);
        self
    }
}

const FAILED: Report = Report::Failed(None);

#[test]
fn a_lane_whose_request_failed_pauses_and_the_others_go_on() {
    let mut case = Case::new(4, 4);
    case.send(0, FAILED);
    assert_eq!(case.pause(0), Some(ms(60)));
    case.send(1, Report::Accepted);
    assert_eq!(case.pause(0), Some(ms(50)));
    case.pass(ms(50)).send(0, FAILED);
    assert_eq!(case.pause(0), Some(ms(120)));
    case.pass(ms(120)).send(0, Report::Accepted).send(0, FAILED);
    assert_eq!(case.pause(0), Some(ms(60)), "a success begins anew");
}

#[test]
fn failures_in_a_row_leave_one_lane_that_probes() {
    let mut case = Case::new(4, 4);
    for lane in [0, 1, 2, 3] {
        case.send(lane, FAILED);
    }
    assert_eq!(case.gate.state(), State::Open);
    case.pass(ms(60)).send(0, FAILED);
    assert_eq!(case.gate.state(), State::Broken);
    for lane in 0..4 {
        assert_eq!(case.pause(lane), Some(ms(120)), "lane {lane}");
    }
    case.pass(ms(120));
    assert_eq!(case.admit(2), Admission::Go);
    for lane in [0, 1, 3] {
        assert_eq!(case.admit(lane), Admission::Wait, "one probes, lane {lane} waits");
    }
    let began = case.now;
    case.pass(ms(10)).gate.report(2, FAILED, began, began + ms(10), 1.0);
    assert_eq!(case.pause(1), Some(ms(240)), "the probes' pauses go on to grow");
    case.pass(ms(240)).send(0, Report::Accepted);
    assert_eq!(case.gate.state(), State::Open);
    assert_eq!(case.pause(1), None);
    assert_eq!(case.pause(3), None);
}

#[test]
fn a_refusal_shows_that_the_receiver_works() {
    let mut case = Case::new(1, 2);
    case.fail_until_broken().pass(Duration::from_secs(60)).send(1, Report::Refused);
    assert_eq!(case.gate.state(), State::Open);
    assert_eq!(case.pause(0), None);
}

#[test]
fn one_bad_batch_among_good_ones_breaks_nothing() {
    let mut case = Case::new(2, 2);
    for _ in 0..50 {
        case.pass(Duration::from_secs(6)).send(0, FAILED).send(1, Report::Accepted);
        assert_eq!(case.gate.state(), State::Open);
    }
    assert_eq!(case.pause(0), Some(ms(5000 - 10)), "but its lane asks less and less often");
}

#[test]
fn what_the_receiver_asks_for_holds_for_all_lanes() {
    let mut case = Case::new(4, 4);
    let asked = Duration::from_secs(7);
    case.send(3, Report::Failed(Some(asked)));
    for lane in 0..3 {
        assert_eq!(case.pause(lane), Some(asked + ms(60)), "lane {lane}");
    }
    // A request that was on its way is taken; the pause holds all the same.
    let mut case = Case::new(4, 4);
    assert_eq!(case.admit(0), Admission::Go);
    let began = case.now;
    case.send(1, Report::Failed(Some(asked)));
    case.gate.report(0, Report::Accepted, began, case.now, 1.0);
    assert_eq!(case.pause(0), Some(asked + ms(60)));
    // A shorter wish does not shorten a longer one.
    let mut case = Case::new(4, 4);
    assert_eq!(case.admit(0), Admission::Go);
    let began = case.now;
    case.send(1, Report::Failed(Some(asked)));
    case.gate.report(0, Report::Failed(Some(ms(1))), began, case.now, 1.0);
    assert_eq!(case.pause(2), Some(asked + ms(60)));
}

#[test]
fn a_parked_receiver_is_probed_seldom_and_opens_with_the_first_judgement() {
    let mut case = Case::new(4, 4);
    case.send(0, Report::Parked(None));
    assert_eq!(case.gate.state(), State::Parked);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let pause = case.pause(1).unwrap();
        assert_eq!(case.pause(3), Some(pause), "for every lane");
        pauses.push(pause.as_secs());
        case.pass(pause).send(1, Report::Parked(None));
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    // Trouble of another kind on the way to it does not end the parking.
    case.pass(Duration::from_secs(300)).send(2, FAILED);
    assert_eq!(case.gate.state(), State::Parked);
    assert_eq!(case.pause(0), Some(Duration::from_secs(300)));
    case.gate.probe_now();
    case.send(0, Report::Accepted);
    assert_eq!(case.gate.state(), State::Open);
    assert_eq!(case.pause(1), None);
    case.gate.release();
    case.send(0, Report::Parked(Some(Duration::from_secs(100))));
    assert_eq!(case.pause(1), Some(Duration::from_secs(102)), "begins anew, and listens");
}

#[test]
fn a_long_pause_can_be_seen_and_cut_short() {
    let hours = Duration::from_secs(7200);
    for report in [Report::Failed(Some(hours)), Report::Parked(Some(hours))] {
        let mut case = Case::new(2, 2);
        assert_eq!(case.gate.asked_pause(case.now), None);
        case.send(0, FAILED);
        assert_eq!(case.gate.asked_pause(case.now), None, "a pause of the relay's own");
        case.send(1, report).pass(hours / 2);
        assert_eq!(case.gate.asked_pause(case.now), Some(hours / 2 + ms(60)));
        case.gate.probe_now();
        assert_eq!(case.gate.asked_pause(case.now), None);
        case.send(1, report);
        assert!(case.pause(0).unwrap() >= hours, "it insists");
        case.gate.probe_now();
        case.send(0, Report::Accepted);
        assert_eq!(case.pause(1), None);
    }
}

#[test]
fn answers_of_before_do_not_count_twice() {
    let mut case = Case::new(4, 4);
    case.fail_until_broken();
    case = Case::new(9, 9);
    let began = case.now;
    for lane in 0..9 {
        assert_eq!(case.admit(lane), Admission::Go);
    }
    case.pass(ms(10));
    for lane in 0..9 {
        case.gate.report(lane, FAILED, began, case.now, 1.0);
    }
    assert_eq!(case.gate.state(), State::Broken);
    assert_eq!(case.pause(0), Some(ms(60)), "nine lanes failed once, not one lane nine times");

    let mut case = Case::new(9, 9);
    let began = case.now;
    for lane in 0..9 {
        assert_eq!(case.admit(lane), Admission::Go);
    }
    for lane in 0..9 {
        case.gate.report(lane, Report::Parked(None), began, case.now + ms(1), 1.0);
    }
    assert_eq!(case.pause(0), Some(Duration::from_secs(2) + ms(1)));
}

#[test]
fn lanes_take_turns_when_the_limit_is_below_their_number() {
    let mut case = Case::new(1, 3);
    // Slow answers from the beginning on, so that the limit stays.
    assert_eq!(case.admit(0), Admission::Go);
    assert_eq!(case.admit(1), Admission::Wait);
    assert_eq!(case.admit(2), Admission::Wait);
    case.gate.report(0, Report::Refused, case.now, case.now, 0.0);
    assert_eq!(case.admit(0), Admission::Wait, "the others have waited longer");
    assert_eq!(case.admit(2), Admission::Wait);
    assert_eq!(case.admit(1), Admission::Go);
    case.gate.release();
    assert_eq!(case.admit(0), Admission::Wait);
    assert_eq!(case.admit(2), Admission::Go);
    case.gate.report(2, Report::Refused, case.now, case.now, 0.0);
    assert_eq!(case.admit(0), Admission::Go);
}

#[test]
fn a_lane_that_pauses_holds_up_nobody_behind_it() {
    let mut case = Case::new(2, 3);
    case.send(0, FAILED);
    assert_eq!(case.admit(1), Admission::Go);
    assert_eq!(case.admit(2), Admission::Go);
    assert!(matches!(case.admit(0), Admission::At(_)));
    case.pass(ms(60));
    assert_eq!(case.admit(0), Admission::Wait);
    case.gate.release();
    assert_eq!(case.admit(0), Admission::Go);
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u16),
    End(u16, Report),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let after = prop_oneof![3 => Just(None), 1 => (0..20_000_u64).prop_map(|n| Some(ms(n)))];
    let report = (0..4_u8, after).prop_map(|(kind, after)| match kind {
        0 => Report::Accepted,
        1 => Report::Refused,
        2 => Report::Failed(after),
        _ => Report::Parked(after),
    });
    let step = prop_oneof![
        5 => (0..5_u16).prop_map(Step::Ask),
        4 => (0..5_u16, report).prop_map(|(lane, report)| Step::End(lane, report)),
        2 => (0..9000_u64).prop_map(Step::Pass),
    ];
    vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Never more in flight than the limit when a lane is let through, never before the time that
    /// the receiver asked for, and never a state in which every lane waits for a change that no
    /// request in flight can bring.
    #[test]
    fn in_any_history(steps in steps(), floor in 1..4_u16, random in 0.0..1.0) {
        const LANES: u16 = 5;
        let mut case = Case::new(floor, LANES);
        let mut sent: [Option<Instant>; LANES as usize] = [None; LANES as usize];
        let mut hold = case.now;
        for step in steps {
            match step {
                Step::Ask(lane) if sent[usize::from(lane)].is_none() => {
                    let before = case.gate.in_flight();
                    if case.admit(lane) == Admission::Go {
                        prop_assert!(before < case.gate.limit());
                        prop_assert!(case.now >= hold, "sent during a pause");
                        sent[usize::from(lane)] = Some(case.now);
                    }
                }
                Step::End(lane, report) => {
                    let Some(began) = sent[usize::from(lane)].take() else { continue };
                    case.gate.report(lane, report, began, case.now, random);
                    if let Report::Failed(Some(after)) = report {
                        hold = hold.max(case.now + after);
                    }
                }
                Step::Pass(time) => case.now += ms(time),
                Step::Ask(_) => {}
            }
            let in_flight = sent.iter().flatten().count();
            prop_assert_eq!(usize::from(case.gate.in_flight()), in_flight);
        }
        for lane in 0..LANES {
            if let Some(began) = sent[usize::from(lane)].take() {
                case.gate.report(lane, Report::Refused, began, case.now, random);
            }
        }
        // All lanes ask, as those that wait do when the gate changes: somebody goes within a day.
        let mut went = false;
        for _ in 0..3 {
            case.now += Duration::from_secs(24 * 60 * 60);
            for lane in 0..LANES {
                if case.admit(lane) == Admission::Go {
                    went = true;
                    case.gate.release();
                }
            }
        }
        prop_assert!(went, "{:?}", case.gate);
    }
}
