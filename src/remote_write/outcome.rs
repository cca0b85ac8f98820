//! What a receiver's answer means for the samples of a request.
//!
//! | answer | samples |
//! | --- | --- |
//! | 2xx | accepted |
//! | 4xx, but not 429 | dropped: the receiver has read them and does not want them; asking again changes nothing |
//! | 429, 5xx | kept and sent again |
//! | everything else: 1xx, 3xx, numbers that are no status | kept and sent again |
//! | no answer: refused, cut off, timed out, not resolved | kept and sent again |
//!
//! The remote-write specification demands the retry of 5xx, forbids that of 4xx and leaves the
//! rest open. Here only a definite refusal costs data. A redirect is none: it comes from something
//! in front of the receiver (a login page, a sorry page), and following it would turn the POST into
//! a GET whose 200 looks like success. It is not followed, and the samples wait.
//!
//! [`StatusPolicy`] holds what a person wants otherwise (`on_status`). Three things hold whatever is
//! written there: a 2xx accepts, 429 is no part of `4xx`, and only a 4xx may part a batch, because
//! parting takes the answer for a verdict on these samples and ends by dropping some of them.

use std::{
    collections::BTreeMap,
    str::FromStr,
    time::{Duration, SystemTime},
};

use crate::limits::RETRY_AFTER_MAX;

/// What becomes of the samples of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has them.
    Accepted,
    /// The receiver refused them for good; they are dropped and counted by status.
    Rejected,
    /// The request was too large: it is sent again in halves.
    Split,
    /// Some series of it is refused: it is sent again in halves until that one is found.
    Bisect,
    /// They stay queued; the receiver is left alone but for a probe now and then.
    Park {
        /// As in [`Outcome::Retry`].
        after: Option<Duration>,
    },
    /// They stay queued and are sent again.
    Retry {
        /// How long the receiver asked to be left alone (`Retry-After`), at most
        /// [`RETRY_AFTER_MAX`].
        after: Option<Duration>,
    },
}

impl Outcome {
    /// The outcome of a request that got no answer, or not a whole one.
    pub const NO_ANSWER: Self = Self::Retry { after: None };
}

/// What is done with a batch that was answered with some status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Drop it and count its samples as `rejected`.
    Drop,
    /// Send it again until it is accepted or too old.
    Retry,
    /// Keep everything, and probe the receiver with one batch now and then.
    Park,
    /// Send it in halves until they are accepted; one series that is still too large is dropped.
    Split,
    /// Find the series that are refused, by halves; only these are dropped.
    Bisect,
}

impl Action {
    /// Every action, by its name in `on_status`.
    pub const NAMES: [(&str, Self); 5] = [
        ("drop", Self::Drop),
        ("retry", Self::Retry),
        ("park", Self::Park),
        ("split", Self::Split),
        ("bisect", Self::Bisect),
    ];
}

/// A key of `on_status`: one status, or a hundred of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statuses {
    /// `401`: this one, from 300 to 999 (proxies invent numbers above 599).
    One(u16),
    /// `4xx`: all of `3xx`, `4xx` or `5xx` that are not named alone. 429 is no part of `4xx`.
    Class(u16),
}

/// A key of `on_status` that cannot be read, or an action that it cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// Neither a status nor a class.
    #[error("expected a status from 300 to 999, or one of `3xx`, `4xx`, `5xx`")]
    Unknown,
    /// A 2xx has accepted the samples.
    #[error("2xx means that the receiver has the samples, and cannot be given another meaning")]
    Success,
    /// `split` and `bisect` end by dropping what is still refused.
    #[error(
        "only 4xx other than 429 can part a batch: other answers are no verdict on its samples"
    )]
    NoVerdict,
}

impl FromStr for Statuses {
    type Err = StatusError;

    fn from_str(text: &str) -> Result<Self, StatusError> {
        match text {
            "2xx" => return Err(StatusError::Success),
            "3xx" => return Ok(Self::Class(3)),
            "4xx" => return Ok(Self::Class(4)),
            "5xx" => return Ok(Self::Class(5)),
            _ => {}
        }
        let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(200..=299) if digits => Err(StatusError::Success),
            Ok(status @ 300..=999) if digits => Ok(Self::One(status)),
            _ => Err(StatusError::Unknown),
        }
    }
}

/// What is done at each status: the table above, and over it what `on_status` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusPolicy {
    rules: BTreeMap<Statuses, Action>,
}

impl StatusPolicy {
    /// Sets what is done at these statuses; one that is named alone wins over its class.
    ///
    /// # Errors
    /// When these statuses cannot have that action; nothing has changed then.
    pub fn set(&mut self, statuses: Statuses, action: Action) -> Result<(), StatusError> {
        let verdict = match statuses {
            Statuses::One(status) => (400..=499).contains(&status) && status != 429,
            Statuses::Class(class) => class == 4,
        };
        if !verdict && matches!(action, Action::Split | Action::Bisect) {
            return Err(StatusError::NoVerdict);
        }
        self.rules.insert(statuses, action);
        Ok(())
    }

    /// What is done at a status other than 2xx.
    pub fn action(&self, status: u16) -> Action {
        let class = Statuses::Class(if status == 429 { 0 } else { status / 100 });
        let rule = self.rules.get(&Statuses::One(status)).or_else(|| self.rules.get(&class));
        rule.copied().unwrap_or(match status {
            429 => Action::Retry,
            400..=499 => Action::Drop,
            _ => Action::Retry,
        })
    }
}

/// What an answer means: its status, its `Retry-After` header as text, and the time it came at.
pub fn outcome(
    policy: &StatusPolicy,
    status: u16,
    retry_after: Option<&str>,
    now: SystemTime,
) -> Outcome {
    if (200..=299).contains(&status) {
        return Outcome::Accepted;
    }
    let after = || retry_after.and_then(|text| pause(text, now));
    match policy.action(status) {
        Action::Drop => Outcome::Rejected,
        Action::Retry => Outcome::Retry { after: after() },
        Action::Park => Outcome::Park { after: after() },
        Action::Split => Outcome::Split,
        Action::Bisect => Outcome::Bisect,
    }
}

/// Reads `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date in one of the three forms
/// that HTTP has had. `None` when it is neither; a date that has passed is a pause of zero.
fn pause(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim_matches([' ', '\t']);
    let pause = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // Only a number too large for 64 bits fails here.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let until = httpdate::parse_http_date(text).ok()?;
        until.duration_since(now).unwrap_or_default()
    };
    Some(pause.min(RETRY_AFTER_MAX))
}

/// Of a request of 2.0: how many of its samples the receiver will never write although it has written
/// others, by its word ([`SAMPLES_WRITTEN`](super::SAMPLES_WRITTEN)). `None` when it has written none, when
/// it has accepted all, and with answers after which all of them are sent again, which it has to bear then.
///
/// A 4xx may come with samples that were written ("Partial Write"). These are not sent again, whatever
/// is done at that status: what is left was judged already.
pub fn unwritten(outcome: Outcome, written: Option<u64>, samples: u64) -> Option<u64> {
    let unwritten = samples.saturating_sub(written.filter(|&written| written > 0)?);
    match outcome {
        Outcome::Retry { .. } | Outcome::Park { .. } => None,
        Outcome::Accepted => Some(unwritten).filter(|&unwritten| unwritten > 0),
        Outcome::Rejected | Outcome::Split | Outcome::Bisect => Some(unwritten),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_not_sent_again() {
        let (retry, park) = (Outcome::NO_ANSWER, Outcome::Park { after: None });
        for outcome in [Outcome::Accepted, Outcome::Rejected, Outcome::Split, Outcome::Bisect] {
            assert_eq!(unwritten(outcome, None, 10), None, "{outcome:?}");
            assert_eq!(unwritten(outcome, Some(0), 10), None, "{outcome:?}");
            assert_eq!(unwritten(outcome, Some(7), 10), Some(3), "{outcome:?}");
            let all = (outcome != Outcome::Accepted).then_some(0);
            assert_eq!(unwritten(outcome, Some(10), 10), all, "{outcome:?}");
            assert_eq!(unwritten(outcome, Some(11), 10), all, "more than there were");
        }
        for outcome in [retry, park] {
            assert_eq!(unwritten(outcome, Some(7), 10), None, "{outcome:?}");
        }
    }

    /// Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
    const DATE: u64 = 784_111_777;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// Without `on_status`.
    fn outcome(status: u16, retry_after: Option<&str>, now: SystemTime) -> Outcome {
        super::outcome(&StatusPolicy::default(), status, retry_after, now)
    }

    #[test]
    fn only_2xx_accepts_and_only_4xx_refuses() {
        for status in 0..=u16::MAX {
            let expect = match status {
                200..=299 => Outcome::Accepted,
                429 => Outcome::NO_ANSWER,
                400..=499 => Outcome::Rejected,
                _ => Outcome::NO_ANSWER,
            };
            assert_eq!(outcome(status, None, at(0)), expect, "{status}");
        }
    }

    #[test]
    fn the_statuses_receivers_answer_with() {
        let retry = Outcome::Retry { after: None };
        for (statuses, expect) in [
            (&[200, 202, 204][..], Outcome::Accepted),
            (&[400, 401, 403, 404, 408, 409, 413, 415, 422], Outcome::Rejected),
            (&[429, 500, 502, 503, 504, 599], retry),
            (&[0, 101, 199, 301, 302, 304, 307, 308, 600, 999], retry),
        ] {
            for status in statuses {
                assert_eq!(outcome(*status, None, at(0)), expect, "{status}");
            }
        }
    }

    #[test]
    fn retry_after_counts_only_when_the_samples_are_kept() {
        let after = Some(Duration::from_secs(7));
        for status in [302, 429, 503, 999] {
            assert_eq!(outcome(status, Some("7"), at(0)), Outcome::Retry { after }, "{status}");
        }
        assert_eq!(outcome(200, Some("7"), at(0)), Outcome::Accepted);
        assert_eq!(outcome(400, Some("7"), at(0)), Outcome::Rejected);
    }

    #[test]
    fn on_status_is_read_or_refused() {
        use {Action::*, StatusError as E, Statuses::*};
        let check = |text: &str, action: Action, expect: Result<Statuses, StatusError>| {
            let statuses = text.parse::<Statuses>();
            let set = statuses.and_then(|statuses| {
                StatusPolicy::default().set(statuses, action).map(|()| statuses)
            });
            assert_eq!(set, expect, "{text}: {action:?}");
        };
        check("401", Park, Ok(One(401)));
        check("413", Split, Ok(One(413)));
        check("4xx", Bisect, Ok(Class(4)));
        check("5xx", Drop, Ok(Class(5)));
        check("999", Drop, Ok(One(999)));
        check("302", Park, Ok(One(302)));
        check("429", Drop, Ok(One(429)));
        for text in ["200", "204", "299", "2xx"] {
            check(text, Retry, Err(E::Success));
        }
        for text in ["", "0401", "+401", "1xx", "6xx", "4XX", "199", "99", "1000", "40", "abc"] {
            check(text, Retry, Err(E::Unknown));
        }
        for text in ["429", "500", "5xx", "3xx", "999"] {
            check(text, Bisect, Err(E::NoVerdict));
            check(text, Split, Err(E::NoVerdict));
        }
    }

    #[test]
    fn a_status_by_its_number_wins_over_its_class() {
        let mut policy = StatusPolicy::default();
        for (statuses, action) in [
            (Statuses::Class(4), Action::Park),
            (Statuses::One(400), Action::Bisect),
            (Statuses::One(413), Action::Split),
            (Statuses::One(404), Action::Retry),
            (Statuses::Class(5), Action::Drop),
        ] {
            policy.set(statuses, action).unwrap();
        }
        let after = Some(Duration::from_secs(9));
        for (status, expect) in [
            (200, Outcome::Accepted),
            (401, Outcome::Park { after }),
            (400, Outcome::Bisect),
            (413, Outcome::Split),
            (404, Outcome::Retry { after }),
            (429, Outcome::Retry { after }),
            (500, Outcome::Rejected),
            (302, Outcome::Retry { after }),
            (999, Outcome::Retry { after }),
        ] {
            assert_eq!(super::outcome(&policy, status, Some("9"), at(0)), expect, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let check = |text: &str, expect: Option<u64>| {
            let pause = pause(text, at(DATE - 90));
            assert_eq!(pause, expect.map(Duration::from_secs), "{text:?}");
        };
        check("0", Some(0));
        check("120", Some(120));
        check(" 5\t", Some(5));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(90));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(90));
        check("Sun Nov  6 08:49:37 1994", Some(90));
        check("Sun, 06 Nov 1994 08:48:07 GMT", Some(0)); // now
        check("Sat, 05 Nov 1994 08:49:37 GMT", Some(0)); // passed
        check("Thu, 06 Nov 2994 08:49:37 GMT", Some(86_400)); // a thousand years
        check("86401", Some(86_400));
        check("99999999999999999999999999", Some(86_400));
        for text in ["", " ", "-1", "+1", "1.5", "1e3", "0x10", "soon", "5 s", "５"] {
            check(text, None);
        }
    }
}
