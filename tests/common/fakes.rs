//! The world around a relay, on loopback sockets: a Flink that misbehaves on command, a receiver that
//! checks every byte it gets, and the relay between them.
//!
//! Nothing here sleeps for a fixed time: [`until`] polls a condition, and a test fails when its time
//! is over.

pub(crate) mod flink;
pub(crate) mod http;
pub(crate) mod receiver;
pub(crate) mod relay;
pub(crate) mod rest;
pub(crate) mod tls;

use std::{
    net::TcpListener,
    ops::Range,
    panic::Location,
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Longest time that any condition of a test may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `found` returns something.
#[track_caller]
pub(crate) fn until<T>(
    what: &str,
    mut found: impl FnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let place = Location::caller();
    async move {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found() {
                return found;
            }
            assert!(Instant::now() < deadline, "{place}: waited in vain for {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Waits until `is` holds.
#[track_caller]
pub(crate) fn until_true(what: &str, mut is: impl FnMut() -> bool) -> impl Future<Output = ()> {
    until(what, move || is().then_some(()))
}

/// So many neighbouring ports that are free, for a test that probes them. They lie below those that systems
/// hand out by themselves, and no two tests get the same: what else listens on a probed port would be
/// asked too, and its test would count that.
pub(crate) fn free_ports(count: u16) -> Range<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first_of_process = 10_000 + (std::process::id() % 180) as u16 * 100;
    loop {
        let first = first_of_process + NEXT.fetch_add(count, Relaxed);
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (first..first + count).all(free) {
            return first..first + count;
        }
    }
}
