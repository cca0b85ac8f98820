//! A range of ports as one target: which of its ports are instances of Flink.
//!
//! Flink's processes take the first free port of a range such as 9250-9260, so a port says nothing
//! about who listens, and a process may come back on another one. Each port is in one of these states:
//!
//! ```text
//!            answers with a Flink page                 no good scrape for `forget_after`,
//!                                                      or a page that is not Flink's
//!   Closed ---------------------------> Instance(role) ---------------------------------> Closed
//!     ^  \ answers with something else       ^
//!     |   `-------------> Foreign(what) -----' answers with a Flink page
//!     `---- nobody listens ----'
//! ```
//!
//! Only ports that are not instances are probed: an instance's scrapes tell how it is, and a target
//! has one request in flight at most. An instance that stops answering stays a target with `up` 0
//! until `forget_after`, so that an alert on `up` has the time to fire.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::{flink::Role, status::RangeState};

/// What a probe of one port found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// A page of Flink's.
    Flink(Role),
    /// Something else, described for people.
    Foreign(String),
    /// Nobody listens, or no answer.
    Closed,
}

/// What is known about an instance from its scrapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// When the last good scrape ended.
    pub last_ok: Option<Instant>,
    /// Whose page it was.
    pub role: Role,
    /// Whether the last scrape was good.
    pub is_up: bool,
}

/// The ports of a range. A pure state machine: the shell probes and tells.
#[derive(Debug)]
pub struct Ports {
    ports: BTreeMap<u16, Port>,
    forget_after: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Port {
    Closed,
    Foreign(String),
    Instance { role: Role, found: Instant },
}

impl Ports {
    /// All ports closed.
    pub fn new(ports: impl IntoIterator<Item = u16>, forget_after: Duration) -> Self {
        let ports = ports.into_iter().map(|port| (port, Port::Closed)).collect();
        Self { ports, forget_after }
    }

    /// Goes on with other ports: of those that stay, what is known stays known.
    pub fn adopt(&mut self, ports: impl IntoIterator<Item = u16>, forget_after: Duration) {
        let mut old = std::mem::take(&mut self.ports);
        let known = |port| (port, old.remove(&port).unwrap_or(Port::Closed));
        self.ports = ports.into_iter().map(known).collect();
        self.forget_after = forget_after;
    }

    /// The ports to probe now.
    pub fn to_probe(&self) -> Vec<u16> {
        let open = self.ports.iter().filter(|(_, port)| !matches!(port, Port::Instance { .. }));
        open.map(|(&number, _)| number).collect()
    }

    /// Takes the result of a probe. Returns true when the set of instances changed.
    pub fn probed(&mut self, number: u16, probed: Probed, now: Instant) -> bool {
        let Some(port) = self.ports.get_mut(&number) else { return false };
        let next = match probed {
            Probed::Flink(role) => Port::Instance { role, found: now },
            Probed::Foreign(what) => Port::Foreign(what),
            Probed::Closed => Port::Closed,
        };
        let changed = matches!(next, Port::Instance { .. });
        *port = next;
        changed
    }

    /// Takes what scrapes know about the instances; forgets those that have been silent for too
    /// long. Returns true when the set of instances, or a role, changed.
    pub fn review(&mut self, now: Instant, health: impl Fn(u16) -> Option<Health>) -> bool {
        let mut changed = false;
        for (&number, port) in &mut self.ports {
            let Port::Instance { role, found } = port else { continue };
            let health = health(number);
            let last_ok = health.and_then(|health| health.last_ok).unwrap_or(*found);
            // A good page without any name of Flink's: the port has changed hands.
            let foreign = health.is_some_and(|h| h.last_ok.is_some() && !h.role.is_flink());
            if foreign || now.saturating_duration_since(last_ok) >= self.forget_after {
                *port = Port::Closed;
                changed = true;
            } else if let Some(health) = health.filter(|health| health.role.is_flink())
                && health.role != *role
            {
                *role = health.role;
                changed = true;
            }
        }
        changed
    }

    /// How many instances answer.
    pub fn up(&self, health: impl Fn(u16) -> Option<Health>) -> usize {
        // One that was found a moment ago has no scrape yet and has answered the probe.
        let is_up = |port: &u16| health(*port).is_none_or(|health| health.is_up);
        self.instances().map(|(port, _)| port).filter(is_up).count()
    }

    /// The present instances.
    pub fn instances(&self) -> impl Iterator<Item = (u16, Role)> + '_ {
        self.ports.iter().filter_map(|(&number, port)| match port {
            Port::Instance { role, .. } => Some((number, *role)),
            _ => None,
        })
    }

    /// The range for people.
    pub fn state(&self, job: &str) -> RangeState {
        let mut state = RangeState { job: job.to_owned(), ..RangeState::default() };
        for (&number, port) in &self.ports {
            match port {
                Port::Closed => state.closed += 1,
                Port::Foreign(what) => {
                    state.ignored.insert(number, what.clone());
                }
                Port::Instance { role, .. } => state.instances.push((number, *role)),
            }
        }
        state
    }
}

/// When the ports of a range are probed.
///
/// Of a range that anybody may join, such as that of a host where TaskManagers come and go, every
/// `probe_interval`. Where it is known how many instances there will be, as behind the address of a pod,
/// soon and then less and less often until so many answer; and then seldom: five thousand pods with ten
/// ports each would be probed 1,700 times a second otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    instances: Option<usize>,
    interval: Duration,
    /// Rounds in which some have not answered.
    quick: u32,
    /// Rounds since the last one with probes.
    spared: u32,
}

impl Pace {
    /// For a range with so many instances, if that is known.
    pub const fn new(instances: Option<usize>, interval: Duration) -> Self {
        Self { instances, interval, quick: 0, spared: 0 }
    }

    /// Whether this round probes the ports that are no instances; `up` instances answer.
    pub fn probes(&mut self, up: usize) -> bool {
        let is_complete = self.instances.is_some_and(|instances| up >= instances);
        self.spared = if is_complete { (self.spared + 1) % SELDOM } else { 0 };
        self.spared == 0
    }

    /// How long until the next round.
    pub fn next(&mut self, up: usize) -> Duration {
        if self.instances.is_none_or(|instances| up >= instances) {
            self.quick = 0;
            return self.interval;
        }
        let pause = QUICK_FIRST.saturating_mul(1 << self.quick.min(16));
        self.quick += 1;
        pause.min(self.interval)
    }
}

/// Of so many rounds one probes the other ports of a range whose instances are all known.
const SELDOM: u32 = 10;

/// First pause until a process that starts is looked for again.
const QUICK_FIRST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const FORGET: Duration = Duration::from_secs(300);

    fn ports() -> (Ports, Instant) {
        (Ports::new(9250..=9252, FORGET), Instant::now())
    }

    #[test]
    fn only_flink_pages_become_instances() {
        let (mut ports, now) = ports();
        assert!(ports.probed(9250, Probed::Flink(Role::JobManager), now));
        assert!(!ports.probed(9251, Probed::Foreign("text/html".into()), now));
        assert!(!ports.probed(9252, Probed::Closed, now));
        assert_eq!(ports.instances().collect::<Vec<_>>(), [(9250, Role::JobManager)]);
        assert_eq!(ports.to_probe(), [9251, 9252], "an instance is not probed");
        let state = ports.state("flink");
        assert_eq!(state.closed, 1);
        assert_eq!(state.ignored.get(&9251).map(String::as_str), Some("text/html"));
    }

    #[test]
    fn ports_that_stay_are_still_known() {
        let (mut ports, now) = ports();
        ports.probed(9250, Probed::Flink(Role::JobManager), now);
        ports.probed(9251, Probed::Flink(Role::TaskManager), now);
        ports.probed(9252, Probed::Foreign("json".into()), now);
        ports.adopt([9251, 9252, 9300], FORGET / 2);
        assert_eq!(ports.instances().collect::<Vec<_>>(), [(9251, Role::TaskManager)]);
        let state = ports.state("flink");
        assert_eq!((state.closed, state.ignored.len()), (1, 1));
        assert!(!ports.review(now + FORGET / 3, |_| None));
        assert!(ports.review(now + FORGET / 2, |_| None), "the new time counts");
    }

    #[test]
    fn a_silent_instance_stays_until_it_is_forgotten() {
        let (mut ports, now) = ports();
        ports.probed(9250, Probed::Flink(Role::TaskManager), now);
        let health = Some(Health { last_ok: Some(now), role: Role::TaskManager, is_up: true });
        assert!(!ports.review(now + FORGET / 2, |_| health));
        assert_eq!(ports.instances().count(), 1);
        assert!(ports.review(now + FORGET, |_| health));
        assert_eq!(ports.instances().count(), 0);
        assert_eq!(ports.to_probe(), [9250, 9251, 9252], "a forgotten port is probed again");
    }

    #[test]
    fn an_instance_without_any_good_scrape_is_forgotten_too() {
        let (mut ports, now) = ports();
        ports.probed(9250, Probed::Flink(Role::TaskManager), now);
        assert!(ports.review(now + FORGET, |_| None));
    }

    #[test]
    fn a_port_that_changes_hands_gets_the_new_role() {
        let (mut ports, now) = ports();
        ports.probed(9250, Probed::Flink(Role::JobManager), now);
        let health = Some(Health { last_ok: Some(now), role: Role::TaskManager, is_up: true });
        assert!(ports.review(now, |_| health));
        assert_eq!(ports.instances().collect::<Vec<_>>(), [(9250, Role::TaskManager)]);
        assert!(!ports.review(now, |_| health));
    }

    #[test]
    fn an_instance_whose_port_another_software_took_is_forgotten_at_once() {
        let (mut ports, now) = ports();
        ports.probed(9250, Probed::Flink(Role::TaskManager), now);
        let health = |last_ok| Some(Health { last_ok, role: Role::Unknown, is_up: true });
        assert!(!ports.review(now, |_| health(None)), "not scraped yet");
        assert!(ports.review(now, |_| health(Some(now))));
        assert_eq!(ports.to_probe(), [9250, 9251, 9252]);
    }

    #[test]
    fn a_foreign_port_that_turns_into_flink_is_taken() {
        let (mut ports, now) = ports();
        ports.probed(9251, Probed::Foreign("json".into()), now);
        assert!(ports.probed(9251, Probed::Flink(Role::TaskManager), now));
    }

    #[test]
    fn known_instances_are_looked_for_quickly_and_the_rest_seldom() {
        let interval = Duration::from_secs(30);
        let run = |instances, ups: &[usize]| -> Vec<(bool, u64)> {
            let mut pace = Pace::new(instances, interval);
            let round = |&up| (pace.probes(up), pace.next(up).as_secs());
            ups.iter().map(round).collect()
        };
        assert_eq!(run(None, &[0, 1, 5]), [(true, 30); 3], "anybody may join");
        let waiting = run(Some(2), &[0, 0, 1, 1, 1, 1, 1]);
        assert_eq!(
            waiting.iter().map(|round| round.1).collect::<Vec<_>>(),
            [1, 2, 4, 8, 16, 30, 30]
        );
        assert!(waiting.iter().all(|round| round.0));
        let complete = run(Some(1), &[1; 20]);
        assert_eq!(complete.iter().filter(|round| round.0).count(), 2);
        assert!(complete.iter().all(|round| round.1 == 30));
        assert_eq!(run(Some(1), &[1, 1, 0, 1]), [(false, 30), (false, 30), (true, 1), (false, 30)]);
    }
}
