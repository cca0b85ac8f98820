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

use std::time::{Duration, SystemTime};

use crate::limits::RETRY_AFTER_MAX;

/// What becomes of the samples of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has them.
    Accepted,
    /// The receiver refused them for good; they are dropped and counted by status.
    Rejected,
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

/// What an answer means: its status, its `Retry-After` header as text, and the time it came at.
pub fn outcome(status: u16, retry_after: Option<&str>, now: SystemTime) -> Outcome {
    match status {
        200..=299 => Outcome::Accepted,
        429 => Outcome::Retry { after: retry_after.and_then(|text| pause(text, now)) },
        400..=499 => Outcome::Rejected,
        _ => Outcome::Retry { after: retry_after.and_then(|text| pause(text, now)) },
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
    const DATE: u64 = 784_111_777;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
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
