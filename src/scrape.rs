//! Scraping one target: fetch the page as a stream, track its series, stage what is to be sent.
//!
//! A [`Scraper`] belongs to one target and has one request in flight at most. [`Scraper::scrape`]
//! reads the page chunk by chunk while it arrives; nothing of it counts until it has ended well. It
//! returns a [`Scraped`]: the outcome for people and metrics, and per view the fragments to append to
//! the spools. A failed scrape still yields fragments: `up` 0, the reason, and the markers that end the
//! target's series.

mod across;
mod bad_line;
mod budget;
mod comments;
mod families;
mod names;
mod page;
mod parts;
mod pushdown;
mod quarantine;
mod report;
mod stage;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
};
use std::io::Write as _;
use tokio::time::Instant;

pub use self::across::Combiner;
pub use self::bad_line::BadLine;
pub use self::budget::{Budget, BudgetState, level_number};
pub use self::families::Family;
pub use self::pushdown::{PushdownState, Pushed, REFUSED_FOR, Whole};
pub use self::quarantine::PartialPage;
pub use self::stage::Staged;
use self::{
    page::Page, parts::Refused, pushdown::Pushdown, quarantine::Quarantine, report::Report,
    stage::Wanted,
};
use crate::{
    config::{self, Compression, PromDuration},
    flink::{Group, Role},
    flink_rest::Rest,
    http,
    remote_write::{v1::Block, v2::Symbols},
    series::{MadeFamily, Origin, PageSeries, Part, Shaper, Tally, Tracker, View},
    target::Target,
};

/// Why a scrape failed, as a label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No connection, or it broke before an answer.
    Connect,
    /// The host's name could not be resolved.
    Dns,
    /// The page was not there in time.
    Timeout,
    /// An HTTP status other than 200.
    HttpStatus,
    /// The page ended before its announced end.
    Truncated,
    /// The page is larger than `body_size_limit`.
    BodyLimit,
    /// The page has more samples than `sample_limit`.
    SampleLimit,
    /// A sample exceeds a label limit.
    LabelLimit,
    /// The page has samples' shape but not one valid sample.
    Parse,
    /// The page is something else: HTML, JSON, nothing.
    NotPrometheus,
    /// A credential for the target could not be read.
    Secret,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 11] = [
        Self::Connect,
        Self::Dns,
        Self::Timeout,
        Self::HttpStatus,
        Self::Truncated,
        Self::BodyLimit,
        Self::SampleLimit,
        Self::LabelLimit,
        Self::Parse,
        Self::NotPrometheus,
        Self::Secret,
    ];

    /// The reason as a label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Dns => "dns",
            Self::Timeout => "timeout",
            Self::HttpStatus => "http_status",
            Self::Truncated => "truncated",
            Self::BodyLimit => "body_limit",
            Self::SampleLimit => "sample_limit",
            Self::LabelLimit => "label_limit",
            Self::Parse => "parse",
            Self::NotPrometheus => "not_prometheus",
            Self::Secret => "secret",
        }
    }
}

/// A scrape that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The kind.
    pub reason: Reason,
    /// What happened, for people.
    pub message: String,
}

impl Failure {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// One scrape's outcome.
#[derive(Debug)]
pub struct Scraped {
    /// What became of the page's samples, or why there was none.
    pub result: Result<Tally, Failure>,
    /// From the request to the end of the page.
    pub duration: Duration,
    /// Bytes of the page, decompressed.
    pub page_bytes: u64,
    /// Whose page it is.
    pub role: Role,
    /// The first bad lines.
    pub faults: Vec<BadLine>,
    /// All bad lines, comments included.
    pub faults_total: u64,
    /// How the page was asked for by name, because it does not come whole; `None` when it does.
    pub partial: Option<PartialPage>,
    /// Whether the page was asked for by name, because the rest of it is left out anyway.
    pub is_pushed: bool,
    /// Whether the next one is.
    pub pushdown: PushdownState,
    /// What to send, per view.
    pub staged: Vec<Staged>,
}

/// Scrapes one target, see the module's documentation.
#[derive(Debug)]
pub struct Scraper {
    target: Target,
    client: http::Client,
    rest: Option<Arc<Rest>>,
    /// `None` while series are not limited.
    share: Option<budget::Share>,
    /// The last page had the info series of its cluster.
    has_info: bool,
    accept_encoding: &'static str,
    page: Page,
    quarantine: Quarantine,
    pushdown: Pushdown,
    /// The page that was read last was asked for by name.
    is_pushed: bool,
    tracker: Tracker,
    report: Report,
    views: Arc<[View]>,
    /// Which messages each view's receivers want.
    wanted: Vec<Wanted>,
    /// The texts of the series, for remote write 2.0; empty while no receiver wants that.
    symbols: Symbols,
    /// When each view's metadata was sent last.
    metadata_sent: Vec<Option<Instant>>,
    /// Time of the newest sample that was sent, so that no later one is older.
    newest_ms: i64,
}

impl Scraper {
    /// A scraper for a target of a scrape job; with `rest` its series get the names that people gave.
    pub fn new(
        target: Target,
        client: http::Client,
        scrape: &config::Scrape,
        shaper: Arc<Shaper>,
        rest: Option<Arc<Rest>>,
    ) -> Self {
        let views = Arc::clone(&shaper.views);
        Self {
            client,
            rest,
            share: None,
            has_info: false,
            accept_encoding: accept_encoding(scrape, &target),
            page: Page::new(scrape.body_size_limit, scrape.sample_limit, &shaper),
            quarantine: Quarantine::default(),
            pushdown: Pushdown::new(target.hash(), Arc::clone(&shaper)),
            is_pushed: false,
            report: Report::new(&target.labels, &views),
            tracker: Tracker::new(shaper, target.labels.clone()),
            wanted: vec![Wanted::default(); views.len()],
            symbols: Symbols::default(),
            metadata_sent: vec![None; views.len()],
            views,
            target,
            newest_ms: i64::MIN,
        }
    }

    /// The same, which shares with others how many series of pages may be remembered. To be said before its first
    /// scrape.
    pub fn within(self, shared: Arc<PageSeries>) -> Self {
        Self { tracker: self.tracker.within(shared), ..self }
    }

    /// Goes on with what a changed configuration says of the same target: series that are sent again
    /// have no gap, those that are not end with the next scrape. `origins` has an entry for each of the
    /// shaper's views. To be called between two scrapes.
    pub fn adopt(
        &mut self,
        target: Target,
        client: http::Client,
        scrape: &config::Scrape,
        shaper: Arc<Shaper>,
        origins: &[Origin],
    ) {
        let sent = |origin: &Origin| {
            let from = origin.view.filter(|_| !origin.joined)?;
            self.metadata_sent.get(from).copied().flatten()
        };
        self.metadata_sent = origins.iter().map(sent).collect();
        self.wanted = vec![Wanted::default(); shaper.views.len()];
        self.accept_encoding = accept_encoding(scrape, &target);
        self.page = Page::new(scrape.body_size_limit, scrape.sample_limit, &shaper);
        self.pushdown = Pushdown::new(target.hash(), Arc::clone(&shaper));
        self.report.adopt(&target.labels, &shaper.views, origins);
        self.views = Arc::clone(&shaper.views);
        self.tracker.adopt(shaper, target.labels.clone(), origins);
        self.client = client;
        if self.target.url != target.url {
            self.quarantine = Quarantine::default();
        }
        self.target = target;
    }

    /// Keeps to a budget from the next scrape on, or to none.
    pub fn keep_to(&mut self, budget: Option<&Arc<Budget>>) {
        match budget {
            Some(_) if self.share.is_some() => {}
            budget => self.share = budget.map(Budget::share),
        }
    }

    /// Whether the target is asked only for the names that are wanted, where that pays, from the next
    /// scrape on; to be said again after [`Scraper::adopt`].
    pub fn push_down(&mut self, is_wanted: bool) {
        self.pushdown.set(is_wanted, self.target.url.query());
    }

    /// Whether the target's roll-ups are parts of those of several targets from the next scrape on, and
    /// not sent as its own.
    pub const fn part_rollups(&mut self, are_parts: bool) {
        self.tracker.part_rollups(are_parts);
    }

    /// These parts, of the last page; to be asked for when it was good.
    pub fn parts(&mut self) -> Vec<Part> {
        self.tracker.parts()
    }

    /// The timestamp of the last scrape's samples.
    pub const fn newest_ms(&self) -> i64 {
        self.newest_ms
    }

    /// What is scraped.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Scrapes once. `now_ms` is the wall clock in milliseconds since the epoch.
    pub async fn scrape(&mut self, now_ms: i64) -> Scraped {
        let started = Instant::now();
        let now_ms = now_ms.max(self.newest_ms.saturating_add(1));
        self.newest_ms = now_ms;
        let metadata_due = self.metadata_due(started);
        let with_families = metadata_due.iter().any(|&due| due);
        let limit = self.target.timeout;
        let read = tokio::time::timeout(limit, self.read_named(with_families, now_ms)).await;
        let result = match read.unwrap_or_else(|_| Err(self.timed_out())) {
            Ok(()) => {
                if self.is_pushed && self.tracker.has_new_subjects() {
                    self.pushdown.begun(started);
                }
                let tally = self.close(now_ms);
                self.page.families.derived(&self.tracker);
                Ok(tally)
            }
            Err(failure) => {
                self.tracker.abort();
                self.pushdown.forget();
                Err(failure)
            }
        };
        let duration = started.elapsed();
        let partial = self.quarantine.report(Instant::now());
        let staged =
            self.stage(&result, partial.as_ref(), duration, now_ms, &metadata_due, started);
        self.want_names();
        Scraped {
            result,
            duration,
            page_bytes: self.page.bytes(),
            role: self.page.role(),
            faults: self.page.faults().to_vec(),
            faults_total: self.page.faults_total(),
            partial,
            is_pushed: self.is_pushed,
            pushdown: self.pushdown.state(),
            staged,
        }
    }

    /// Gives back the room that only a scrape takes, until the next one. The samples of the last page are
    /// not there any more.
    pub fn rest(&mut self) {
        self.tracker.rest();
        self.page.rest();
    }

    /// Number of series on the last page.
    pub fn series_len(&self) -> usize {
        self.tracker.series_len()
    }

    /// The families of the last page with a kept sample; only filled when metadata was due. Those of
    /// roll-ups are [`Scraper::made_families`].
    pub fn families(&self) -> impl Iterator<Item = Family<'_>> {
        self.page.families.used()
    }

    /// What is known of the roll-ups of the last page.
    pub fn made_families(&self) -> Vec<MadeFamily> {
        self.tracker.made_families()
    }

    /// The series of the last page for one view: encoded labels, timestamp, value.
    pub fn samples(&self, view: usize) -> impl Iterator<Item = (Block<'_>, i64, f64)> {
        self.tracker.samples(view)
    }

    /// As [`Scraper::samples`], each with its metric group.
    pub fn samples_by_group(
        &self,
        view: usize,
    ) -> impl Iterator<Item = (Group, Block<'_>, i64, f64)> {
        self.tracker.samples_by_group(view)
    }

    fn close(&mut self, now_ms: i64) -> Tally {
        let share = self.share.as_ref();
        let settle = |demands| share.map(|share| share.settle(demands, now_ms)).unwrap_or_default();
        self.tracker.close_within(now_ms, settle)
    }

    /// Asks for the page, or for a part of it, and reads it to its end; `again` when a connection that is
    /// closed without an answer is worth a second try.
    async fn fetch(&mut self, names: Option<&str>, again: bool) -> Result<(), Refused> {
        let answer = match self.request(names).await {
            // Once: a server that closes connections whatever is asked fails the scrape.
            Err(error) if again && error.is_closed_early() => self.request(names).await,
            answer => answer,
        };
        let answer = answer.map_err(|error| match error.kind {
            http::ErrorKind::Timeout => Refused::No(self.timed_out()),
            _ if error.is_closed_early() => Refused::Throws(failure(&error)),
            _ => Refused::No(failure(&error)),
        })?;
        let (gzip, mut body) = check_head(answer)?;
        if gzip {
            return Ok(self.read_gzip(&mut body).await?);
        }
        while let Some(chunk) = next_chunk(&mut body).await? {
            self.page.feed(&chunk, &mut self.tracker)?;
        }
        Ok(())
    }

    /// In the same words, whichever of the time limits struck.
    fn timed_out(&self) -> Failure {
        let limit = PromDuration(self.target.timeout);
        let message = match self.page.bytes() {
            0 => format!("no page came within {limit}"),
            read => format!("the page was not complete after {limit} ({read} bytes read)"),
        };
        Failure::new(Reason::Timeout, message)
    }

    async fn request(&self, names: Option<&str>) -> Result<Response<Incoming>, http::Error> {
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = parts::with_names(&self.target.url, names);
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("text/plain;version=0.0.4"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(self.accept_encoding));
        let timeout = HeaderValue::try_from(self.target.timeout.as_secs_f64().to_string())
            .expect("a number is made of characters that headers may hold");
        headers.insert("X-Prometheus-Scrape-Timeout-Seconds", timeout);
        self.client.send(request).await
    }

    async fn read_gzip(&mut self, body: &mut Incoming) -> Result<(), Failure> {
        let bad = |error: std::io::Error| {
            Failure::new(Reason::Truncated, format!("the gzip body is broken: {error}"))
        };
        let mut decoder = MultiGzDecoder::new(Vec::new());
        while let Some(chunk) = next_chunk(body).await? {
            // gzip expands 1,000 times at most, so small bites bound the memory of a hostile page.
            for bite in chunk.chunks(GZIP_BITE_BYTES) {
                decoder.write_all(bite).map_err(bad)?;
                self.page.feed(decoder.get_ref(), &mut self.tracker)?;
                decoder.get_mut().clear();
            }
        }
        decoder.try_finish().map_err(bad)?;
        self.page.feed(decoder.get_ref(), &mut self.tracker)
    }
}

fn accept_encoding(scrape: &config::Scrape, target: &Target) -> &'static str {
    let gzip = match scrape.compression {
        Compression::Auto => !http::is_loopback(&target.url),
        Compression::Gzip => true,
        Compression::Identity => false,
    };
    if gzip { "gzip" } else { "identity" }
}

fn failure(error: &http::Error) -> Failure {
    let reason = match error.kind {
        http::ErrorKind::Dns => Reason::Dns,
        http::ErrorKind::Connect => Reason::Connect,
        http::ErrorKind::Timeout => Reason::Timeout,
        http::ErrorKind::Truncated => Reason::Truncated,
        http::ErrorKind::Secret => Reason::Secret,
    };
    Failure::new(reason, error.to_string())
}

/// Refuses an answer that is no page; returns whether the page is compressed.
fn check_head(answer: Response<Incoming>) -> Result<(bool, Incoming), Refused> {
    let status = answer.status();
    if status != hyper::StatusCode::OK {
        let message = format!("the target answered {status}, expected 200 OK");
        return Err(Refused::with_status(status, Failure::new(Reason::HttpStatus, message)));
    }
    let header = |headers: &HeaderMap, name| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_lowercase()
    };
    let content_type = header(answer.headers(), CONTENT_TYPE);
    if content_type.starts_with("text/html") || content_type.starts_with("application/json") {
        let message = format!("the target answered {content_type}, expected a page of metrics");
        return Err(Failure::new(Reason::NotPrometheus, message).into());
    }
    let gzip = match &*header(answer.headers(), CONTENT_ENCODING) {
        "" | "identity" => false,
        "gzip" | "x-gzip" => true,
        other => {
            let message = format!("the page is encoded as {other}, which was not asked for");
            return Err(Failure::new(Reason::NotPrometheus, message).into());
        }
    };
    Ok((gzip, answer.into_body()))
}

async fn next_chunk(body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let error = http::Error::from_body(error);
            Failure::new(Reason::Truncated, format!("the page was cut in the middle: {error}"))
        })?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Compressed bytes that are decompressed at once: 4 MiB of page at the most.
const GZIP_BITE_BYTES: usize = 4 << 10;
