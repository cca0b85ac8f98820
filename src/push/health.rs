//! How a receiver is, for `/targets` and `/metrics`: what a person asks first when samples are
//! missing. It follows the answers and decides nothing.

use std::time::SystemTime;

/// What is known about a receiver.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// See [`State`].
    pub state: State,
    /// Since when no request has been accepted, beginning with the first that was not; `None` while
    /// they are.
    pub failing_since: Option<SystemTime>,
    /// When a request was accepted last.
    pub last_success: Option<SystemTime>,
    /// The last answer.
    pub last_answer: Option<LastAnswer>,
}

/// How a receiver is, by the last request that decided something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing was sent yet.
    #[default]
    Unknown,
    /// It accepts what is sent.
    Ok,
    /// It refuses: the last batch was dropped as a whole.
    Refusing,
    /// It takes nothing now: samples wait and are sent again.
    Failing,
    /// It takes nothing, by an answer that `on_status` parks at: samples wait, one batch is tried now
    /// and then.
    Parked,
}

/// What came back last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAnswer {
    /// The HTTP status; `None` when there was no answer.
    pub status: Option<u16>,
    /// Status and the receiver's own words, or why there was no answer; empty with a 2xx.
    pub words: String,
    /// When it came.
    pub at: SystemTime,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Unknown, Self::Ok, Self::Refusing, Self::Failing, Self::Parked];

    /// The state as a label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Refusing => "refusing",
            Self::Failing => "failing",
            Self::Parked => "parked",
        }
    }
}

impl Health {
    /// An answer came, whatever it means.
    pub(super) fn answered(&mut self, status: Option<u16>, words: &str, at: SystemTime) {
        self.last_answer = Some(LastAnswer { status, words: words.to_owned(), at });
    }

    /// A request was accepted.
    pub(super) const fn accepted(&mut self, at: SystemTime) {
        self.state = State::Ok;
        self.failing_since = None;
        self.last_success = Some(at);
    }

    /// A request came to this other end.
    pub(super) fn troubled(&mut self, state: State, at: SystemTime) {
        self.state = state;
        self.failing_since.get_or_insert(at);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn trouble_has_a_beginning_and_an_end() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut health = Health::default();
        assert_eq!((health.state, health.failing_since), (State::Unknown, None));
        health.troubled(State::Failing, at(1));
        health.troubled(State::Parked, at(2));
        assert_eq!((health.state, health.failing_since), (State::Parked, Some(at(1))));
        assert_eq!(health.last_success, None);
        health.accepted(at(3));
        health.answered(Some(400), "HTTP 400: no", at(4));
        assert_eq!((health.state, health.failing_since), (State::Ok, None), "not decided yet");
        health.troubled(State::Refusing, at(4));
        assert_eq!((health.state, health.failing_since), (State::Refusing, Some(at(4))));
        assert_eq!(health.last_success, Some(at(3)));
        assert_eq!(health.last_answer.unwrap().words, "HTTP 400: no");
    }
}
