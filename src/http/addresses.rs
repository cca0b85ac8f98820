//! Which of a name's addresses are tried, in which order, and how: "happy eyeballs" (RFC 8305).
//!
//! Attempts begin one after the other, [`ATTEMPT_DELAY`] apart or as soon as all before have failed;
//! the first that succeeds wins. So a dead address costs a quarter of a second, not a request.
//! Connections of one client begin at different addresses in turn, so that a name with several is
//! used evenly.

use std::{net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};

/// Addresses of a name that are tried for one connection. A name has two or three; who has hundreds
/// means them to be shared among clients, and each client begins elsewhere.
const ADDRESSES_TRIED_MAX: usize = 8;

/// Pause before the next address is tried beside those that do not answer: RFC 8305's
/// recommendation, which also Go and curl are near to.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The addresses to try, in order. Families alternate, the one that the system prefers first; within
/// a family the order is the system's, begun at another place for each `turn`.
pub(super) fn order(addresses: &[SocketAddr], turn: usize) -> Vec<SocketAddr> {
    let mut seen = Vec::new();
    for address in addresses {
        if !seen.contains(address) {
            seen.push(*address);
        }
    }
    let first_is_v6 = seen.first().is_some_and(SocketAddr::is_ipv6);
    let (mut preferred, mut others): (Vec<_>, Vec<_>) =
        seen.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    for family in [&mut preferred, &mut others] {
        let start = turn.checked_rem(family.len()).unwrap_or(0);
        family.rotate_left(start);
    }
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = [preferred.next(), others.next()];
        if pair == [None, None] {
            ordered.truncate(ADDRESSES_TRIED_MAX);
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

/// Dials the addresses as described above. The error is that of the first address that failed, for
/// that is the one a person expects to be used; there is none when there was no address.
pub(super) async fn race<T, E, F>(
    addresses: Vec<SocketAddr>,
    dial: impl Fn(SocketAddr) -> F,
) -> Result<T, Option<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = addresses.into_iter();
    let mut dialled = FuturesUnordered::new();
    let mut first_error = None;
    loop {
        match waiting.next() {
            Some(address) => dialled.push(dial(address)),
            None if dialled.is_empty() => return Err(first_error),
            None => {}
        }
        let delay = async {
            match waiting.len() {
                0 => std::future::pending().await,
                _ => tokio::time::sleep(ATTEMPT_DELAY).await,
            }
        };
        tokio::select! {
            Some(ended) = dialled.next() => match ended {
                Ok(connection) => return Ok(connection),
                Err(error) => _ = first_error.get_or_insert(error),
            },
            () = delay => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::Instant;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_alternate_and_turns_begin_elsewhere() {
        let check = |addresses: &[&str], turn: usize, expected: &[&str]| {
            let parse = |list: &[&str]| list.iter().map(|text| address(text)).collect::<Vec<_>>();
            assert_eq!(order(&parse(addresses), turn), parse(expected), "{addresses:?} {turn}");
        };
        let (a, b, c) = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80");
        let (x, y) = ("[fd00::1]:80", "[fd00::2]:80");
        check(&[], 5, &[]);
        check(&[a], 7, &[a]);
        check(&[a, b, c], 0, &[a, b, c]);
        check(&[a, b, c], 1, &[b, c, a]);
        check(&[a, b, c], 5, &[c, a, b]);
        check(&[x, y, a, b], 0, &[x, a, y, b]);
        check(&[x, y, a, b], 1, &[y, b, x, a]);
        check(&[a, b, c, x], 0, &[a, x, b, c]);
        check(&[a, a, b, a], 1, &[b, a]);
    }

    #[test]
    fn of_many_addresses_some_are_tried_and_all_get_their_turn() {
        let many: Vec<_> = (1..=100).map(|n| address(&format!("10.0.0.{n}:80"))).collect();
        let mut first = Vec::new();
        for turn in 0..100 {
            let tried = order(&many, turn);
            assert_eq!(tried.len(), ADDRESSES_TRIED_MAX);
            first.push(tried[0]);
        }
        first.sort();
        first.dedup();
        assert_eq!(first.len(), 100);
    }

    /// What an address does: connects, refuses or stays silent, after that many milliseconds.
    #[derive(Clone, Copy, Debug)]
    enum Does {
        Connect(u64),
        Refuse(u64),
        Nothing,
    }

    #[track_caller]
    fn check(addresses: &[Does], winner: Result<u16, Option<u16>>, after_ms: u64, dialled: usize) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let ports = 1..=u16::try_from(addresses.len()).unwrap();
            let list = ports.map(|port| SocketAddr::from(([10, 0, 0, 1], port))).collect();
            let (began, dials) = (Instant::now(), RefCell::new(0));
            let wait = |ms| tokio::time::sleep(Duration::from_millis(ms));
            let raced = race(list, |address| {
                *dials.borrow_mut() += 1;
                async move {
                    match addresses[usize::from(address.port()) - 1] {
                        Does::Connect(ms) => wait(ms).await,
                        Does::Nothing => std::future::pending().await,
                        Does::Refuse(ms) => {
                            wait(ms).await;
                            return Err(address.port());
                        }
                    }
                    Ok(address.port())
                }
            });
            assert_eq!(raced.await, winner, "{addresses:?}");
            assert_eq!(began.elapsed(), Duration::from_millis(after_ms), "{addresses:?}");
            assert_eq!(dials.into_inner(), dialled, "{addresses:?}");
        });
    }

    #[test]
    fn a_dead_address_does_not_stop_the_others() {
        use Does::{Connect, Nothing, Refuse};
        check(&[Connect(10)], Ok(1), 10, 1);
        check(&[Connect(10), Connect(0)], Ok(1), 10, 1);
        // Refused: the next one at once. Silent: the next one after the delay, beside it.
        check(&[Refuse(5), Connect(10)], Ok(2), 15, 2);
        check(&[Nothing, Connect(10)], Ok(2), 260, 2);
        check(&[Nothing, Nothing, Connect(10)], Ok(3), 510, 3);
        check(&[Connect(300), Connect(100)], Ok(1), 300, 2);
        check(&[Connect(400), Connect(100)], Ok(2), 350, 2);
        check(&[Nothing, Refuse(5), Connect(5)], Ok(3), 260, 3);
        // The first to fail is told; a late success still counts.
        check(&[Refuse(5), Refuse(5)], Err(Some(1)), 10, 2);
        check(&[Refuse(300), Refuse(5), Connect(400)], Ok(3), 655, 3);
        check(&[], Err(None), 0, 0);
    }
}
