//! Credentials that somebody gives out for a time: tokens and temporary keys.
//!
//! A [`Lease`] holds one and renews it before it ends. Whoever needs a credential asks at each
//! request:
//!
//! ```text
//! held | time left       | asked for lately | then
//! yes  | enough          |                  | it is used
//! yes  | little          | no               | one asks for a new one, the others use it meanwhile
//! yes  | little          | yes, in vain     | it is used
//! no   |                 | no               | one asks, the others wait for what comes of it
//! no   |                 | yes, in vain     | the error is told again, so that nobody is flooded
//! ```
//!
//! A request that gives up while it asks hands the task to the next one that waits.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Error, secret::SecretError};

/// Time before its end at which a credential is renewed, when it lasts long enough.
const RENEW_AHEAD_MAX: Duration = Duration::from_secs(60);

/// Part of a short life that is left when a credential is renewed.
const RENEW_AHEAD_PART: u32 = 5;

/// Pause after a failure with nothing to use meanwhile: each asker would otherwise ask for itself.
const PAUSE: Duration = Duration::from_secs(1);

/// Pause after a failure to renew what can still be used.
const PAUSE_AHEAD: Duration = Duration::from_secs(10);

/// Age below which a credential that was refused is not replaced: a new one would be refused, too.
const REFUSED_AGE_MIN: Duration = Duration::from_secs(10);

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    /// A file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// No answer of who gives credentials out.
    #[error("{what} from {url}: {source}")]
    NoAnswer {
        what: &'static str,
        url: String,
        #[source]
        source: Error,
    },
    /// An answer without a credential.
    #[error("{what} from {url}: {words}")]
    Refused { what: &'static str, url: String, words: String },
    /// Something else, with what to do about it.
    #[error("{0}")]
    Other(String),
}

/// A credential as it was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Granted<T> {
    pub(super) value: T,
    /// How long it is good for; `None` when nobody said so.
    pub(super) lifetime: Option<Duration>,
}

/// A credential that is kept and renewed. `K` is what it was given out for: when that changes, so
/// must the credential.
pub(super) struct Lease<K, T> {
    state: Mutex<State<K, T>>,
    /// Held by who asks.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State<K, T> {
    held: Option<Held<K, T>>,
    failed: Option<(K, Instant, Arc<CredentialError>)>,
}

#[derive(Debug)]
struct Held<K, T> {
    key: K,
    value: T,
    since: Instant,
    lifetime: Option<Duration>,
}

/// What to do, see the table above.
#[derive(Debug)]
enum Step<T> {
    Use(T),
    RenewAhead(T),
    Wait,
    Fail(Arc<CredentialError>),
}

impl<K, T> Default for Lease<K, T> {
    fn default() -> Self {
        let state = Mutex::new(State { held: None, failed: None });
        Self { state, asking: tokio::sync::Mutex::default() }
    }
}

impl<K: Clone + PartialEq, T: Clone + PartialEq> Lease<K, T> {
    /// The credential for this key. `ask` gets a new one and is only polled when one is needed, for
    /// no longer than `patience` while there is one that can still be used.
    pub(super) async fn get(
        &self,
        key: &K,
        patience: Duration,
        ask: impl Future<Output = Result<Granted<T>, CredentialError>>,
    ) -> Result<T, Arc<CredentialError>> {
        let step = self.state().step(key, Instant::now());
        let _asking = match step {
            Step::Use(value) => return Ok(value),
            Step::Fail(error) => return Err(error),
            Step::RenewAhead(value) => {
                let Ok(_asking) = self.asking.try_lock() else { return Ok(value) };
                let asked = tokio::time::timeout(patience, ask).await.unwrap_or_else(|_| {
                    Err(CredentialError::Other("no new credential in time".to_owned()))
                });
                return Ok(self.state().settle(key, asked, Instant::now()).unwrap_or(value));
            }
            Step::Wait => self.asking.lock().await,
        };
        // Somebody else may have asked meanwhile.
        match self.state().step(key, Instant::now()) {
            Step::Use(value) | Step::RenewAhead(value) => return Ok(value),
            Step::Fail(error) => return Err(error),
            Step::Wait => {}
        }
        let asked = ask.await;
        self.state().settle(key, asked, Instant::now())
    }

    /// Lets go of a credential that was refused. Says whether asking for another makes sense.
    pub(super) fn refused(&self, value: &T) -> bool {
        self.state().refused(value, Instant::now())
    }

    fn state(&self) -> MutexGuard<'_, State<K, T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + PartialEq, T: Clone + PartialEq> State<K, T> {
    fn step(&self, key: &K, now: Instant) -> Step<T> {
        let lately = |pause| {
            let failed = self.failed.as_ref().filter(|(of, ..)| of == key);
            failed.filter(|(_, at, _)| now.saturating_duration_since(*at) < pause)
        };
        let held = self.held.as_ref().filter(|held| held.key == *key);
        let Some(held) = held.filter(|held| !held.is_over(now)) else {
            return match lately(PAUSE) {
                Some((.., error)) => Step::Fail(Arc::clone(error)),
                None => Step::Wait,
            };
        };
        match held.is_due(now) && lately(PAUSE_AHEAD).is_none() {
            true => Step::RenewAhead(held.value.clone()),
            false => Step::Use(held.value.clone()),
        }
    }

    fn settle(
        &mut self,
        key: &K,
        asked: Result<Granted<T>, CredentialError>,
        now: Instant,
    ) -> Result<T, Arc<CredentialError>> {
        match asked {
            Ok(Granted { value, lifetime }) => {
                self.failed = None;
                let key = key.clone();
                self.held = Some(Held { key, value: value.clone(), since: now, lifetime });
                Ok(value)
            }
            Err(error) => {
                let error = Arc::new(error);
                self.failed = Some((key.clone(), now, Arc::clone(&error)));
                Err(error)
            }
        }
    }

    fn refused(&mut self, value: &T, now: Instant) -> bool {
        match &self.held {
            Some(held) if held.value == *value => {
                let is_new = now.saturating_duration_since(held.since) < REFUSED_AGE_MIN;
                if !is_new {
                    self.held = None;
                }
                !is_new
            }
            // Another request has replaced it already.
            _ => true,
        }
    }
}

impl<K, T> Held<K, T> {
    fn is_over(&self, now: Instant) -> bool {
        self.lifetime.is_some_and(|life| now.saturating_duration_since(self.since) >= life)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.lifetime.is_some_and(|life| {
            let ahead = RENEW_AHEAD_MAX.min(life / RENEW_AHEAD_PART);
            now.saturating_duration_since(self.since) >= life - ahead
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    fn granted(value: u32, lifetime_s: u64) -> Result<Granted<u32>, CredentialError> {
        Ok(Granted { value, lifetime: Some(Duration::from_secs(lifetime_s)) })
    }

    fn failed() -> Result<Granted<u32>, CredentialError> {
        Err(CredentialError::Other("no".to_owned()))
    }

    #[test]
    fn what_is_done_at_which_time() {
        let start = Instant::now();
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let step =
            |state: &State<&str, u32>, key: &'static str, s: f64| match state.step(&key, at(s)) {
                Step::Use(value) => format!("use {value}"),
                Step::RenewAhead(value) => format!("renew {value}"),
                Step::Wait => "wait".to_owned(),
                Step::Fail(error) => format!("fail: {error}"),
            };
        let mut state = State { held: None, failed: None };
        assert_eq!(step(&state, "a", 0.0), "wait");
        state.settle(&"a", failed(), at(0.0)).unwrap_err();
        assert_eq!(step(&state, "a", 0.9), "fail: no");
        assert_eq!(step(&state, "b", 0.9), "wait");
        assert_eq!(step(&state, "a", 1.1), "wait");
        // An hour: renewed a minute before its end, by one who asks each ten seconds.
        state.settle(&"a", granted(1, 3600), at(2.0)).unwrap();
        assert_eq!(step(&state, "a", 3.0), "use 1");
        assert_eq!(step(&state, "a", 3541.0), "use 1");
        assert_eq!(step(&state, "a", 3542.0), "renew 1");
        state.settle(&"a", failed(), at(3542.0)).unwrap_err();
        assert_eq!(step(&state, "a", 3551.0), "use 1");
        assert_eq!(step(&state, "a", 3553.0), "renew 1");
        assert_eq!(step(&state, "a", 3602.0), "wait");
        // What it was given out for has changed.
        assert_eq!(step(&state, "b", 3553.0), "wait");
        // A short life: a fifth before its end.
        state.settle(&"b", granted(2, 10), at(4000.0)).unwrap();
        assert_eq!(step(&state, "b", 4007.9), "use 2");
        assert_eq!(step(&state, "b", 4008.0), "renew 2");
        assert_eq!(step(&state, "b", 4010.0), "wait");
        // No end.
        state.settle(&"b", Ok(Granted { value: 3, lifetime: None }), at(4010.0)).unwrap();
        assert_eq!(step(&state, "b", 999_999.0), "use 3");
    }

    #[test]
    fn what_is_refused_is_replaced_unless_it_is_new() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut state = State { held: None, failed: None };
        state.settle(&(), granted(1, 3600), at(0)).unwrap();
        assert!(!state.refused(&1, at(9)), "a new one would be refused as well");
        assert!(matches!(state.step(&(), at(9)), Step::Use(1)));
        assert!(state.refused(&1, at(11)));
        assert!(matches!(state.step(&(), at(11)), Step::Wait));
        state.settle(&(), granted(2, 3600), at(11)).unwrap();
        assert!(state.refused(&1, at(12)), "it was replaced already");
        assert!(matches!(state.step(&(), at(12)), Step::Use(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_asks_for_all_who_wait() {
        let (lease, asked) = (Lease::<(), u32>::default(), AtomicUsize::new(0));
        let patience = Duration::from_secs(1);
        let get = || {
            lease.get(&(), patience, async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                match asked.fetch_add(1, Relaxed) {
                    0 => granted(7, 3600),
                    _ => failed(),
                }
            })
        };
        // The first gives up while it asks; the next one takes over.
        let _gave_up = tokio::time::timeout(Duration::from_millis(10), get()).await.unwrap_err();
        let all = futures_util::future::join_all((0..20).map(|_| get())).await;
        assert!(all.iter().all(|value| matches!(value, Ok(7))), "{all:?}");
        assert_eq!(asked.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_to_all_who_wait() {
        let (lease, asked) = (Lease::<(), u32>::default(), AtomicUsize::new(0));
        let get = || {
            lease.get(&(), Duration::from_secs(1), async {
                asked.fetch_add(1, Relaxed);
                tokio::task::yield_now().await;
                failed()
            })
        };
        let all = futures_util::future::join_all((0..20).map(|_| get())).await;
        assert!(all.iter().all(Result::is_err), "{all:?}");
        assert_eq!(asked.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_hangs_does_not_take_away_what_is_still_good() {
        let lease = Lease::<(), u32>::default();
        let patience = Duration::from_secs(2);
        lease.get(&(), patience, async { granted(1, 3600) }).await.unwrap();
        tokio::time::advance(Duration::from_secs(3550)).await;
        let began = Instant::now();
        let hang = std::future::pending;
        assert_eq!(lease.get(&(), patience, hang()).await.unwrap(), 1);
        assert_eq!(began.elapsed(), patience);
        // Not again at once.
        assert_eq!(lease.get(&(), patience, hang()).await.unwrap(), 1);
        assert_eq!(began.elapsed(), patience);
    }
}
