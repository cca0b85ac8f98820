//! Which message a receiver gets, found out by what it answers.
//!
//! ```text
//!             2xx, samples written                       2.0 refused, or not understood
//!   Asking ------------------------> speaks 2.0   any ----------------------------------> speaks 1.0
//!     ^ 2.0 is sent                  2.0 is sent                                          1.0 is sent
//!     `------------------------------------- after REASK_AFTER --------------------------------'
//! ```
//!
//! Nothing tells beforehand what a receiver understands, so 2.0 is sent and the answer read:
//!
//! | answer to 2.0 | means | the same samples |
//! | --- | --- | --- |
//! | 2xx, `X-Prometheus-Remote-Write-Samples-Written` above 0 | it understands 2.0 | are accepted |
//! | 2xx without that header, or 0 | it took the body for one of 1.0 and found it empty (VictoriaMetrics, Prometheus before 2.54) | go again as 1.0 |
//! | 415 | it does not know the message | go again as 1.0 |
//! | 400, 406, 422, 500, 501 without that header, from a receiver that never understood 2.0 | perhaps the same: the specification says to expect 400 from receivers of 1.0, and some answer 500 to what they cannot decode | go again as 1.0; if that is accepted, it speaks 1.0, else the second answer stands |
//! | one of these with a pause that the receiver asks for by `Retry-After` | trouble, perhaps | wait for that time and go again as 2.0; answered alike, they wait once more and go as 1.0 |
//! | anything else | nothing about messages | as their status says |
//!
//! So an answer that is lost, a time-out or a proxy's 503 never decides. A decision for 1.0 holds for
//! [`REASK_AFTER`], since receivers are upgraded; asking again costs one request that is sent twice.
//!
//! VictoriaMetrics' compression of 1.0 with zstd, where it is configured, is found out about alike: 415, or
//! one of the doubtful statuses from a receiver that never took it, and the same samples go again in
//! snappy; after the pause that it asks for, if it does.
//!
//! A receiver that was configured to get one message gets that one. Then a 2xx to 2.0 that tells of
//! nothing written is a refusal: the samples are nowhere, and must not count as delivered.
//!
//! Source: Prometheus Remote-Write 2.0, sections "Required Written Response Headers" and
//! "Unsupported Request Content".

use std::time::Instant;

use super::{Encoding, Message, Wanted};
use crate::limits::REASK_AFTER;

/// The header that tells how many samples of a 2.0 request a receiver has written.
pub const SAMPLES_WRITTEN: &str = "x-prometheus-remote-write-samples-written";

/// What one receiver understands, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Negotiation {
    wanted: Wanted,
    known: Known,
    /// Only asked when zstd is wanted.
    zstd: Zstd,
    /// The doubtful status of a request of 2.0, or in zstd, that was sent again in vain after the pause that
    /// the receiver had asked for: what is sent next is 1.0 in snappy.
    doubt: Option<u16>,
    /// What was reported last, so that asking again in vain is no news.
    reported: Option<Known>,
    zstd_reported: bool,
}

#[derive(Clone, Copy, Debug)]
enum Zstd {
    NotWanted,
    Unknown,
    Taken,
    Refused { status: u16, since: Instant },
}

#[derive(Clone, Copy, Debug)]
enum Known {
    Nothing,
    V1 { why: Why, since: Instant },
    V2,
}

/// Why a receiver gets 1.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It accepted 2.0 without telling that it wrote a sample.
    NothingWritten,
    /// It refused 2.0 with this status, and 1.0 is what it takes.
    Refused(u16),
}

/// An answer to a request.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Which message was sent.
    pub message: Message,
    /// How it was compressed.
    pub encoding: Encoding,
    /// The status.
    pub status: u16,
    /// The value of [`SAMPLES_WRITTEN`]; `None` without it.
    pub written: Option<u64>,
    /// Samples in the request.
    pub samples: u64,
    /// For a request that repeats another one because of [`Heard::Again`]: the status that that one
    /// was answered with.
    pub refused_before: Option<u16>,
    /// Whether the receiver asks for a pause before anything is sent again.
    pub asks_for_pause: bool,
    /// How often the samples of the request were sent before it and not judged.
    pub tries: u32,
}

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// In which message.
    pub message: Message,
    /// How it is compressed, if it is 1.0.
    pub encoding: Encoding,
    /// What the request is to give as [`Answer::refused_before`].
    pub refused_before: Option<u16>,
}

/// What an answer says about messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing: the status says what becomes of the samples.
    Stands,
    /// The samples were not understood: send them again as 1.0 in snappy, at once.
    Again,
    /// The samples were not understood, and 1.0 is not wanted: they are refused.
    NotUnderstood,
}

/// Something that a person may want to know, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The receiver gets 1.0 from now on.
    Speaks1(Why),
    /// The receiver understands 2.0.
    Speaks2,
    /// The receiver refused zstd with this status, and gets snappy.
    NoZstd(u16),
}

impl Negotiation {
    /// A receiver that nothing is known of yet. Zstd is for 1.0: with it nothing else is sent.
    pub const fn new(wanted: Wanted, encoding: Encoding) -> Self {
        let (wanted, zstd) = match encoding {
            Encoding::Snappy => (wanted, Zstd::NotWanted),
            Encoding::Zstd => (Wanted::Only(Message::V1), Zstd::Unknown),
        };
        Self {
            wanted,
            known: Known::Nothing,
            zstd,
            doubt: None,
            reported: None,
            zstd_reported: false,
        }
    }

    /// Which message samples are encoded in now.
    pub fn message(&self, now: Instant) -> Message {
        match (self.wanted, self.known) {
            (Wanted::Only(message), _) => message,
            (Wanted::Auto, Known::V1 { since, .. }) if is_recent(since, now) => Message::V1,
            (Wanted::Auto, _) => Message::V2,
        }
    }

    /// How a body is sent that was queued as `queued`. One of 1.0 is understood by nearly everyone and stays
    /// what it is.
    pub fn send_as(&self, queued: Message, now: Instant) -> Sending {
        let message = match (queued, self.doubt) {
            (Message::V1, _) | (Message::V2, Some(_)) => Message::V1,
            (Message::V2, None) => self.message(now),
        };
        let encoding = if self.doubt.is_some() { Encoding::Snappy } else { self.encoding(now) };
        // What is sent as it would be anyway decides nothing.
        let is_another = queued == Message::V2 || !matches!(self.zstd, Zstd::NotWanted);
        Sending { message, encoding, refused_before: self.doubt.filter(|_| is_another) }
    }

    /// How a body is compressed now.
    fn encoding(&self, now: Instant) -> Encoding {
        match self.zstd {
            Zstd::NotWanted => Encoding::Snappy,
            Zstd::Refused { since, .. } if is_recent(since, now) => Encoding::Snappy,
            Zstd::Unknown | Zstd::Taken | Zstd::Refused { .. } => Encoding::Zstd,
        }
    }

    /// Takes in an answer.
    pub fn heard(&mut self, answer: &Answer, now: Instant) -> Heard {
        let success = (200..300).contains(&answer.status);
        let Answer { message, encoding, status, written, samples, refused_before, .. } = *answer;
        // A pause leaves the question open, any other answer to 1.0 closes it.
        if message == Message::V1 && refused_before.is_some() && !answer.asks_for_pause {
            self.doubt = None;
        }
        match message {
            Message::V1 if encoding == Encoding::Zstd => self.heard_of_zstd(answer, success, now),
            Message::V1 => {
                if let Some(status) = refused_before.filter(|_| success) {
                    self.learn_v1(Why::Refused(status), now);
                    self.learn_no_zstd(status, now);
                }
                Heard::Stands
            }
            Message::V2 if success && (written > Some(0) || samples == 0) => {
                self.learn(Known::V2);
                Heard::Stands
            }
            Message::V2 if success => self.not_understood(Why::NothingWritten, now),
            Message::V2 if status == UNSUPPORTED => self.not_understood(Why::Refused(status), now),
            Message::V2 if self.is_doubtful(status, written) => self.doubts(answer),
            Message::V2 => Heard::Stands,
        }
    }

    fn heard_of_zstd(&mut self, answer: &Answer, success: bool, now: Instant) -> Heard {
        let status = answer.status;
        if success {
            self.zstd = Zstd::Taken;
            self.doubt = None;
            return Heard::Stands;
        }
        if status == UNSUPPORTED {
            self.learn_no_zstd(status, now);
            return Heard::Again;
        }
        let doubtful = !matches!(self.zstd, Zstd::Taken) && DOUBTFUL.contains(&status);
        if doubtful { self.doubts(answer) } else { Heard::Stands }
    }

    /// It may not have understood. When it asks for a pause that goes first, and may be all that it wants.
    const fn doubts(&mut self, answer: &Answer) -> Heard {
        if !answer.asks_for_pause {
            return Heard::Again;
        }
        if answer.tries > 0 {
            self.doubt = Some(answer.status);
        }
        Heard::Stands
    }

    /// What has become known since the last call and was not reported before.
    pub fn news(&mut self) -> Option<News> {
        if let (Zstd::Refused { status, .. }, false) = (self.zstd, self.zstd_reported) {
            self.zstd_reported = true;
            return Some(News::NoZstd(status));
        }
        let news = |known| match known {
            Known::Nothing => None,
            Known::V1 { why, .. } => Some(News::Speaks1(why)),
            Known::V2 => Some(News::Speaks2),
        };
        let now = news(self.known)?;
        if self.reported.and_then(news) == Some(now) {
            return None;
        }
        self.reported = Some(self.known);
        Some(now)
    }

    fn not_understood(&mut self, why: Why, now: Instant) -> Heard {
        if self.wanted != Wanted::Auto {
            // A 415 is a refusal by its status already.
            return if why == Why::NothingWritten { Heard::NotUnderstood } else { Heard::Stands };
        }
        self.learn_v1(why, now);
        Heard::Again
    }

    /// Several lanes may hear of it, and the answer to the second try says it again: what is known
    /// already does not begin anew.
    fn learn_v1(&mut self, why: Why, now: Instant) {
        if self.message(now) != Message::V1 {
            self.learn(Known::V1 { why, since: now });
        }
    }

    fn is_doubtful(&self, status: u16, written: Option<u64>) -> bool {
        self.wanted == Wanted::Auto
            && !matches!(self.known, Known::V2)
            && written.is_none()
            && DOUBTFUL.contains(&status)
    }

    fn learn_no_zstd(&mut self, status: u16, now: Instant) {
        if self.encoding(now) == Encoding::Zstd {
            self.zstd = Zstd::Refused { status, since: now };
        }
    }

    fn learn(&mut self, known: Known) {
        if self.wanted == Wanted::Auto {
            self.known = known;
            self.doubt = None;
        }
    }
}

fn is_recent(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < REASK_AFTER
}

/// 415 Unsupported Media Type.
const UNSUPPORTED: u16 = 415;

/// What receivers answer to a body that they cannot decode.
const DOUBTFUL: [u16; 5] = [400, 406, 422, 500, 501];

/// How many samples a receiver says it has written: the value of [`SAMPLES_WRITTEN`]. `None` when it
/// is no number.
pub fn samples_written(header: &str) -> Option<u64> {
    let digits = header.trim_matches([' ', '\t']);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Heard::*, Message::*, *};

    const fn answer(message: Message, status: u16, written: Option<u64>) -> Answer {
        let encoding = Encoding::Snappy;
        Answer {
            message,
            encoding,
            status,
            written,
            samples: 10,
            refused_before: None,
            asks_for_pause: false,
            tries: 0,
        }
    }

    const fn negotiation(wanted: Wanted) -> Negotiation {
        Negotiation::new(wanted, Encoding::Snappy)
    }

    #[test]
    fn zstd_is_given_up_when_it_is_refused() {
        let now = Instant::now();
        let zstd = |status| Answer { encoding: Encoding::Zstd, ..answer(V1, status, None) };
        let new = || Negotiation::new(Wanted::Auto, Encoding::Zstd);
        assert_eq!((new().message(now), new().encoding(now)), (V1, Encoding::Zstd));
        assert_eq!(negotiation(Wanted::Auto).encoding(now), Encoding::Snappy);

        let check = |before: &[u16], status, heard, encoding, news| {
            let mut known = new();
            before.iter().for_each(|&status| assert_eq!(known.heard(&zstd(status), now), Stands));
            assert_eq!(known.heard(&zstd(status), now), heard, "{before:?} {status}");
            assert_eq!(known.encoding(now), encoding, "{before:?} {status}");
            assert_eq!(known.news(), news, "{before:?} {status}");
            assert_eq!(known.news(), None, "{before:?} {status}");
            known
        };
        check(&[], 204, Stands, Encoding::Zstd, None);
        check(&[], 503, Stands, Encoding::Zstd, None);
        let mut refused = check(&[], 415, Again, Encoding::Snappy, Some(News::NoZstd(415)));
        check(&[204], 415, Again, Encoding::Snappy, Some(News::NoZstd(415)));
        check(&[204], 400, Stands, Encoding::Zstd, None);
        for status in DOUBTFUL {
            let mut doubted = check(&[], status, Again, Encoding::Zstd, None);
            let again =
                |answered| Answer { refused_before: Some(status), ..answer(V1, answered, None) };
            doubted.heard(&again(400), now);
            assert_eq!(doubted.encoding(now), Encoding::Zstd, "the samples are bad in either");
            doubted.heard(&again(204), now);
            assert_eq!(doubted.encoding(now), Encoding::Snappy);
            assert_eq!(doubted.news(), Some(News::NoZstd(status)));
        }
        assert_eq!(refused.encoding(now + REASK_AFTER), Encoding::Zstd);
        assert_eq!(refused.heard(&zstd(415), now + REASK_AFTER), Again);
        assert_eq!((refused.encoding(now + REASK_AFTER), refused.news()), (Encoding::Snappy, None));
    }

    #[test]
    fn what_the_first_answer_to_2_0_says() {
        let now = Instant::now();
        let check = |status, written, heard, message, news| {
            let mut auto = negotiation(Wanted::Auto);
            assert_eq!(auto.message(now), V2);
            assert_eq!(
                auto.heard(&answer(V2, status, written), now),
                heard,
                "{status} {written:?}"
            );
            assert_eq!(auto.message(now), message, "{status} {written:?}");
            assert_eq!(auto.news(), news, "{status} {written:?}");
            assert_eq!(auto.news(), None, "once: {status} {written:?}");
        };
        let (speaks_1, refused) = (|why| Some(News::Speaks1(why)), Why::Refused);
        for status in [200, 202, 204, 299] {
            check(status, Some(10), Stands, V2, Some(News::Speaks2));
            check(status, Some(3), Stands, V2, Some(News::Speaks2));
            check(status, Some(0), Again, V1, speaks_1(Why::NothingWritten));
            check(status, None, Again, V1, speaks_1(Why::NothingWritten));
        }
        check(415, None, Again, V1, speaks_1(refused(415)));
        check(415, Some(0), Again, V1, speaks_1(refused(415)));
        for status in DOUBTFUL {
            check(status, None, Again, V2, None);
            check(status, Some(0), Stands, V2, None);
            check(status, Some(9), Stands, V2, None);
        }
        for status in (0..=999).filter(|s| !(200..300).contains(s) && *s != UNSUPPORTED) {
            if !DOUBTFUL.contains(&status) {
                check(status, None, Stands, V2, None);
            }
        }
    }

    #[test]
    fn a_pause_that_is_asked_for_goes_before_the_question() {
        let now = Instant::now();
        let paused = |tries| Answer { asks_for_pause: true, tries, ..answer(V2, 500, None) };
        let of_1_0 = |status, asks_for_pause| Answer {
            refused_before: Some(500),
            asks_for_pause,
            ..answer(V1, status, None)
        };
        let sent = |known: &Negotiation, queued| {
            let Sending { message, encoding, refused_before } = known.send_as(queued, now);
            assert_eq!(encoding, Encoding::Snappy);
            (message, refused_before)
        };
        let mut auto = negotiation(Wanted::Auto);
        assert_eq!(auto.heard(&paused(0), now), Stands);
        assert_eq!(sent(&auto, V2), (V2, None), "it may have been trouble that passed");
        assert_eq!(auto.heard(&paused(1), now), Stands);
        assert_eq!(sent(&auto, V2), (V1, Some(500)), "no second time");
        assert_eq!(auto.heard(&paused(0), now), Stands, "of another lane");
        assert_eq!(sent(&auto, V2), (V1, Some(500)), "which does not know better");
        assert_eq!(sent(&auto, V1), (V1, None));
        assert_eq!((auto.message(now), auto.news()), (V2, None), "nothing is decided");

        let doubting = auto;
        let check = |status, pause, next, news| {
            let mut auto = doubting;
            assert_eq!(auto.heard(&of_1_0(status, pause), now), Stands, "{status}");
            assert_eq!(sent(&auto, V2), next, "{status}");
            assert_eq!(auto.news(), news, "{status}");
        };
        let refused = Some(News::Speaks1(Why::Refused(500)));
        check(503, true, (V1, Some(500)), None);
        check(204, false, (V1, None), refused);
        check(400, false, (V2, None), None);
        let mut auto = doubting;
        assert_eq!(auto.heard(&answer(V2, 204, Some(10)), now), Stands, "of another lane");
        assert_eq!(sent(&auto, V2), (V2, None));
        for decided in [415, 400] {
            let mut auto = negotiation(Wanted::Auto);
            let pause = Answer { asks_for_pause: decided == 415, ..answer(V2, decided, None) };
            assert_eq!(auto.heard(&pause, now), Again, "{decided}: no pause is meant");
        }
    }

    #[test]
    fn zstd_waits_for_the_pause_too() {
        let now = Instant::now();
        let zstd = |tries| Answer {
            encoding: Encoding::Zstd,
            asks_for_pause: true,
            tries,
            ..answer(V1, 500, None)
        };
        let sending = |encoding, refused_before| Sending { message: V1, encoding, refused_before };
        let mut known = Negotiation::new(Wanted::Auto, Encoding::Zstd);
        assert_eq!(known.heard(&zstd(0), now), Stands);
        assert_eq!(known.send_as(V1, now), sending(Encoding::Zstd, None));
        assert_eq!(known.heard(&zstd(1), now), Stands);
        assert_eq!(known.send_as(V1, now), sending(Encoding::Snappy, Some(500)));
        let mut taken = known;
        let of_another_lane = Answer { encoding: Encoding::Zstd, ..answer(V1, 204, None) };
        assert_eq!(taken.heard(&of_another_lane, now), Stands);
        assert_eq!(taken.send_as(V1, now), sending(Encoding::Zstd, None));
        let accepted = Answer { refused_before: Some(500), ..answer(V1, 204, None) };
        assert_eq!(known.heard(&accepted, now), Stands);
        assert_eq!(known.send_as(V1, now), sending(Encoding::Snappy, None));
        assert_eq!(known.news(), Some(News::NoZstd(500)));
    }

    #[test]
    fn a_doubt_is_decided_by_the_answer_to_1_0() {
        let now = Instant::now();
        let check = |status, message, news| {
            let mut auto = negotiation(Wanted::Auto);
            assert_eq!(auto.heard(&answer(V2, 400, None), now), Again);
            let again = Answer { refused_before: Some(400), ..answer(V1, status, None) };
            assert_eq!(auto.heard(&again, now), Stands, "{status}");
            assert_eq!(auto.message(now), message, "{status}");
            assert_eq!(auto.news(), news, "{status}");
        };
        check(204, V1, Some(News::Speaks1(Why::Refused(400))));
        // The samples are bad in either message, or the receiver is: nothing is known.
        for status in [400, 401, 429, 500, 503] {
            check(status, V2, None);
        }
        // What was certain before the second answer stays as it was.
        let mut auto = negotiation(Wanted::Auto);
        auto.heard(&answer(V2, 204, None), now);
        auto.heard(&Answer { refused_before: Some(204), ..answer(V1, 204, None) }, now);
        assert_eq!(auto.news(), Some(News::Speaks1(Why::NothingWritten)));
        // Nor does 1.0 that was queued before say anything.
        let mut auto = negotiation(Wanted::Auto);
        assert_eq!(auto.heard(&answer(V1, 204, None), now), Stands);
        assert_eq!(auto.message(now), V2);
    }

    #[test]
    fn a_receiver_that_understood_2_0_is_not_doubted_but_believed() {
        let now = Instant::now();
        let mut auto = negotiation(Wanted::Auto);
        auto.heard(&answer(V2, 204, Some(10)), now);
        for status in DOUBTFUL {
            assert_eq!(auto.heard(&answer(V2, status, None), now), Stands, "{status}");
        }
        // Somebody put an older one in its place.
        assert_eq!(auto.heard(&answer(V2, 204, None), now), Again);
        assert_eq!(auto.message(now), V1);
    }

    #[test]
    fn what_is_queued_as_2_0_goes_as_1_0_once_that_is_known() {
        let now = Instant::now();
        let mut auto = negotiation(Wanted::Auto);
        assert_eq!((auto.send_as(V1, now).message, auto.send_as(V2, now).message), (V1, V2));
        auto.heard(&answer(V2, 415, None), now);
        assert_eq!((auto.send_as(V1, now).message, auto.send_as(V2, now).message), (V1, V1));
    }

    #[test]
    fn it_is_asked_again_after_hours_and_the_same_answer_is_no_news() {
        let now = Instant::now();
        let mut auto = negotiation(Wanted::Auto);
        auto.heard(&answer(V2, 204, None), now);
        assert!(auto.news().is_some());
        let later = now + REASK_AFTER;
        assert_eq!(auto.message(later - Duration::from_nanos(1)), V1);
        // Answers of other lanes do not put it off.
        auto.heard(&answer(V2, 204, None), later - Duration::from_nanos(1));
        assert_eq!((auto.message(later), auto.send_as(V2, later).message), (V2, V2));
        assert_eq!(auto.heard(&answer(V2, 204, None), later), Again);
        assert_eq!((auto.message(later), auto.news()), (V1, None));
        let upgraded = later + REASK_AFTER;
        assert_eq!(auto.heard(&answer(V2, 204, Some(10)), upgraded), Stands);
        assert_eq!((auto.message(upgraded), auto.news()), (V2, Some(News::Speaks2)));
    }

    #[test]
    fn what_was_configured_is_obeyed() {
        let now = Instant::now();
        for only in Message::ALL {
            let mut fixed = negotiation(Wanted::Only(only));
            for status in [200, 204, 400, 415, 500] {
                for written in [None, Some(0), Some(10)] {
                    let unheard = only == V2 && status < 300 && written != Some(10);
                    let expect = if unheard { NotUnderstood } else { Stands };
                    let heard = fixed.heard(&answer(only, status, written), now);
                    assert_eq!(heard, expect, "{only:?} {status} {written:?}");
                    assert_eq!((fixed.message(now), fixed.news()), (only, None));
                }
            }
        }
        // What was queued as 2.0 before the configuration changed.
        assert_eq!(negotiation(Wanted::Only(V1)).send_as(V2, now).message, V1);
        assert_eq!(negotiation(Wanted::Only(V2)).send_as(V1, now).message, V1);
    }

    #[test]
    fn the_header_is_a_number_or_nothing() {
        let check = |text, expect| assert_eq!(samples_written(text), expect, "{text:?}");
        check("0", Some(0));
        check(" 17\t", Some(17));
        check("18446744073709551615", Some(u64::MAX));
        for text in ["", " ", "-1", "+1", "1.0", "1,1", "18446744073709551616", "５"] {
            check(text, None);
        }
    }
}
