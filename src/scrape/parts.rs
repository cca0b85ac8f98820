//! Reading a page, as a whole, by the names that are wanted or, around a metric that throws, in parts: the
//! requests for what [`Pushdown`](super::pushdown) and [`Quarantine`](super::quarantine) decide.
//!
//! All parts together are one page to everything else: one begin and one end, the same time for
//! all samples, and the limits of a page. They have the scrape's time-out together; nothing new is searched
//! for in the second half of it, so that what is known to be good comes in any case.

use hyper::{StatusCode, Uri};
use tokio::time::Instant;

use super::{Failure, Reason, Scraper, pushdown::Answer, quarantine::Part};
use crate::flink::Role;

/// A metric of each process that nobody has ever seen throw.
const CANARY: &str = "name%5B%5D=flink_jobmanager_Status_JVM_Threads_Count\
                      &name%5B%5D=flink_taskmanager_Status_JVM_Threads_Count\
                      &name%5B%5D=flink_k8soperator_Status_JVM_Threads_Count";

/// Why a page, or a part of it, did not come.
#[derive(Debug)]
pub(super) enum Refused {
    /// What a metric that throws looks like from here; nothing of the answer was read.
    Throws(Failure),
    /// Anything else.
    No(Failure),
}

impl Refused {
    /// An answer with a status other than 200. Flink's own server closes the connection (seen with 2.3 on
    /// Java 17); a proxy in front of it says 5xx for that, and other servers have a 400 for a
    /// `NumberFormatException`.
    pub(super) fn with_status(status: StatusCode, failure: Failure) -> Self {
        if status == StatusCode::BAD_REQUEST || status.is_server_error() {
            Self::Throws(failure)
        } else {
            Self::No(failure)
        }
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::No(failure)
    }
}

impl Scraper {
    /// Reads the page to its end.
    pub(super) async fn read(&mut self, with_families: bool, now_ms: i64) -> Result<(), Failure> {
        self.begin(with_families, now_ms);
        let started = Instant::now();
        if self.quarantine.is_whole(started) {
            if self.read_pushed(with_families, now_ms).await? {
                return Ok(());
            }
            let failure = match self.read_whole().await {
                Ok(()) => return Ok(()),
                Err(Refused::No(failure)) => return Err(self.gone(failure)),
                Err(Refused::Throws(failure)) => failure,
            };
            let empty = failure.reason == Reason::NotPrometheus;
            let mut role = Role::default();
            if !self.quarantine.is_partial() {
                role = self.ask_canary(empty).await.ok_or(failure)?;
                // Its samples come again, with those beside them.
                self.tracker.abort();
                self.begin(with_families, now_ms);
            }
            self.quarantine.whole_refused(empty, role, Instant::now());
        }
        self.pushdown.forget();
        self.read_parts(started).await
    }

    fn begin(&mut self, with_families: bool, now_ms: i64) {
        self.tracker.begin();
        self.page.begin(with_families, now_ms);
        self.is_pushed = false;
    }

    /// Reads the page by name, where that pays. Returns whether it came: if not, the page as a whole tells why.
    async fn read_pushed(&mut self, with_families: bool, now_ms: i64) -> Result<bool, Failure> {
        let now = Instant::now();
        let query = self.pushdown.query(now).filter(|_| !self.quarantine.is_partial());
        let Some(query) = query.map(str::to_owned) else { return Ok(false) };
        match self.fetch(Some(&query), true).await {
            Ok(()) => {
                self.page.finish_part(&mut self.tracker)?;
                let is_empty = !self.page.has_samples();
                match self.pushdown.answered(&self.page.seen.present, is_empty, now) {
                    Answer::Pushed => {
                        self.is_pushed = true;
                        return Ok(true);
                    }
                    Answer::Whole => {
                        self.page.finish(&mut self.tracker)?;
                        self.quarantine.whole_came(&mut self.page.seen.present, now);
                        return Ok(true);
                    }
                    Answer::Doubtful => {}
                }
            }
            Err(Refused::No(failure)) if !is_refusal(failure.reason) => {
                return Err(self.gone(failure));
            }
            Err(_) => self.pushdown.refused(),
        }
        self.tracker.abort();
        self.begin(with_families, now_ms);
        Ok(false)
    }

    async fn read_whole(&mut self) -> Result<(), Refused> {
        self.page.seen.census = self.pushdown.census(Instant::now());
        self.fetch(None, true).await?;
        let nothing = self.page.bytes() == 0;
        let ended = self.page.finish(&mut self.tracker);
        if nothing {
            return ended.map_err(Refused::Throws);
        }
        ended?;
        let now = Instant::now();
        if let Some(census) = self.page.seen.census.take() {
            self.pushdown.learn(&census, self.page.bytes(), self.page.role(), now);
        }
        self.quarantine.whole_came(&mut self.page.seen.present, now);
        Ok(())
    }

    /// Whether the process answers when it is asked for something that does not throw, and whose it is.
    /// Where the page came empty, that takes a sample.
    async fn ask_canary(&mut self, empty: bool) -> Option<Role> {
        self.fetch(Some(CANARY), true).await.ok()?;
        self.page.finish_part(&mut self.tracker).ok()?;
        (!empty || self.page.bytes() > 0).then(|| self.page.role())
    }

    async fn read_parts(&mut self, started: Instant) -> Result<(), Failure> {
        let mut round = self.quarantine.begin();
        let mut last_refusal = None;
        let searches_until = started + self.target.timeout / 2;
        while let Some(part) = self.quarantine.next(&mut round, Instant::now() < searches_until) {
            match self.read_part(&part, last_refusal.is_none()).await {
                Ok(()) => self.quarantine.accepted(part, &mut round),
                Err(Refused::Throws(failure)) => {
                    last_refusal = Some(failure);
                    self.quarantine.refused(part, &mut round);
                }
                Err(Refused::No(failure)) => return Err(self.gone(failure)),
            }
        }
        let some = self.quarantine.end(&round, &self.page.seen.present, Instant::now());
        match last_refusal.filter(|_| !some) {
            Some(failure) => Err(failure),
            None => self.page.finish(&mut self.tracker),
        }
    }

    async fn read_part(&mut self, part: &Part, first: bool) -> Result<(), Refused> {
        let before = self.page.bytes();
        // A connection that was idle since the last scrape may be closed just now; one that was used a
        // moment ago says something of the metrics. Before one of them is blamed alone, it is asked twice.
        self.fetch(Some(&part.query()), first || part.is_single()).await?;
        if self.page.bytes() == before && self.quarantine.empty_refuses(part) {
            let message = "the answer to a question for known metrics was empty";
            return Err(Refused::Throws(Failure::new(Reason::NotPrometheus, message)));
        }
        Ok(self.page.finish_part(&mut self.tracker)?)
    }

    /// A process that cannot be reached may be another one when it can: nothing is known of its metrics.
    fn gone(&mut self, failure: Failure) -> Failure {
        if matches!(failure.reason, Reason::Connect | Reason::Dns) {
            self.quarantine.forget();
        }
        failure
    }
}

/// Whether a failure may be the server's way to say that it does not take the request.
const fn is_refusal(reason: Reason) -> bool {
    matches!(reason, Reason::HttpStatus | Reason::NotPrometheus)
}

/// The URL that asks for these names only.
pub(super) fn with_names(url: &Uri, names: Option<&str>) -> Uri {
    let Some(names) = names else { return url.clone() };
    let separator = if url.query().is_some() { '&' } else { '?' };
    format!("{url}{separator}{names}").parse().unwrap_or_else(|_| url.clone())
}
