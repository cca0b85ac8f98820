//! One page while it arrives: lines to samples, faults and families.

use std::sync::Arc;

use memchr::memchr;

use super::{BadLine, Failure, Reason, comments::Comments, families::Families, pushdown::Seen};
use crate::{
    exposition::{self, Entry, Fault, Line, Lines, PageTooLarge, Reader, Skimmed},
    flink::Role,
    limits::{FAULTS_KEPT_MAX, LABELS_MAX, LINE_BYTES_MAX},
    series::{Known, ObserveError, Shaper, Tracker},
};

/// The state of the page that is being read; reused from page to page.
#[derive(Debug)]
pub(super) struct Page {
    lines: Lines,
    limits: exposition::Limits,
    sample_limit: u64,
    state: State,
    comments: Comments,
    pub(super) families: Families,
    /// The families that the page names.
    pub(super) seen: Seen,
}

/// What is known of the page so far.
#[derive(Debug, Default)]
struct State {
    now_ms: i64,
    role: Role,
    readable: u64,
    faults: Vec<BadLine>,
    faults_total: u64,
    failure: Option<Failure>,
}

impl Page {
    pub(super) fn new(body_size_limit: u64, sample_limit: u64, shaper: &Shaper) -> Self {
        let limits = exposition::Limits {
            line_bytes_max: LINE_BYTES_MAX,
            labels_max: LABELS_MAX,
            page_bytes_max: body_size_limit,
        };
        Self {
            lines: Lines::new(limits),
            limits,
            sample_limit,
            state: State::default(),
            comments: Comments::default(),
            families: Families::new(Arc::clone(&shaper.catalogue), shaper.names),
            seen: Seen::default(),
        }
    }

    /// Starts a page; `with_families` when HELP and TYPE are of interest this time.
    pub(super) fn begin(&mut self, with_families: bool, now_ms: i64) {
        self.lines.reset();
        self.state = State { now_ms, ..State::default() };
        self.comments.begin();
        self.families.begin(with_families);
        self.seen.begin();
    }

    /// Takes the next chunk.
    pub(super) fn feed(&mut self, chunk: &[u8], tracker: &mut Tracker) -> Result<(), Failure> {
        let (lines, mut reading) = self.reading(tracker);
        let fed = lines.read(chunk, &mut reading);
        fed.map_err(|PageTooLarge { limit }| {
            let message = format!("the page is larger than body_size_limit ({limit} bytes)");
            Failure::new(Reason::BodyLimit, message)
        })?;
        self.check(tracker)
    }

    /// Ends an answer, which may be a part of the page.
    pub(super) fn finish_part(&mut self, tracker: &mut Tracker) -> Result<(), Failure> {
        let (lines, mut reading) = self.reading(tracker);
        lines.finish(|line| reading.read(line));
        self.check(tracker)
    }

    /// Ends the page.
    pub(super) fn finish(&mut self, tracker: &mut Tracker) -> Result<(), Failure> {
        self.finish_part(tracker)?;
        if self.has_samples() {
            return Ok(());
        }
        Err(match self.state.faults.first() {
            None => Failure::new(Reason::NotPrometheus, "the page holds no sample"),
            Some(fault) => Failure::new(
                Reason::Parse,
                format!("none of the page's {} lines is a sample; {fault}", self.lines.lines()),
            ),
        })
    }

    /// Adds lines of the relay's own to a page that has ended.
    pub(super) fn add(&mut self, text: &str, tracker: &mut Tracker) -> Result<(), Failure> {
        let (number, offset) = (self.lines.lines() + 1, self.lines.bytes());
        // The relay's own lines are about other processes too.
        let role = self.state.role;
        for line in text.lines() {
            let line = Line { bytes: line.as_bytes(), number, offset };
            self.reading(tracker).1.read(Ok(line));
        }
        self.state.role = role;
        self.check(tracker)
    }

    fn reading<'a>(&'a mut self, tracker: &'a mut Tracker) -> (&'a mut Lines, Reading<'a>) {
        let Self { lines, limits, state, comments, families, seen, .. } = self;
        (lines, Reading { state, limits, comments, families, seen, tracker })
    }

    /// Gives back the room that only a page takes, until the next one: its families are not there any more.
    pub(super) fn rest(&mut self) {
        // A target that did not answer shows the same comments when it does.
        if self.has_samples() {
            self.comments.end();
        }
        self.families.begin(false);
        self.seen = Seen::default();
    }

    fn check(&mut self, tracker: &Tracker) -> Result<(), Failure> {
        if let Some(failure) = self.state.failure.take() {
            return Err(failure);
        }
        if self.sample_limit > 0 && tracker.kept() > self.sample_limit {
            let limit = self.sample_limit;
            let message = format!("the page has more samples than sample_limit ({limit})");
            return Err(Failure::new(Reason::SampleLimit, message));
        }
        Ok(())
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.lines.bytes()
    }

    /// Whether a line was a sample so far.
    pub(super) const fn has_samples(&self) -> bool {
        self.state.readable > 0
    }

    pub(super) const fn role(&self) -> Role {
        self.state.role
    }

    pub(super) fn faults(&self) -> &[BadLine] {
        &self.state.faults
    }

    pub(super) const fn faults_total(&self) -> u64 {
        self.state.faults_total
    }
}

/// A chunk while it is read.
struct Reading<'a> {
    state: &'a mut State,
    limits: &'a exposition::Limits,
    comments: &'a mut Comments,
    families: &'a mut Families,
    seen: &'a mut Seen,
    tracker: &'a mut Tracker,
}

impl Reader for Reading<'_> {
    #[inline]
    fn read_known(&mut self, text: &[u8]) -> Option<usize> {
        // What is counted for filtering at the source is counted from whole lines.
        if self.seen.is_counting() {
            return None;
        }
        if text.first() == Some(&b'#') {
            return self.read_known_comment(text);
        }
        let Known { len, kept } = self.tracker.observe_known(text, self.state.now_ms)?;
        self.state.readable += 1;
        self.state.learn_role(text);
        if kept {
            self.families.sample(text);
        }
        Some(len)
    }

    fn read(&mut self, line: Result<Line<'_>, Fault>) {
        let line = match line {
            Ok(line) => line,
            Err(fault) => {
                self.tracker.observe_unreadable();
                return self.state.fault(BadLine::Fault(fault));
            }
        };
        let text = line.bytes.trim_ascii_start();
        match text.first() {
            None => {}
            Some(b'#') => self.comment(line),
            Some(_) => self.sample(line, text),
        }
    }
}

impl Reading<'_> {
    fn read_known_comment(&mut self, text: &[u8]) -> Option<usize> {
        let end = memchr(b'\n', text)?;
        // A line ends before `\r\n`; those are cut first.
        let line = text.get(..end).filter(|line| !line.ends_with(b"\r"))?;
        self.take_known(line).then_some(end + 1)
    }

    /// Takes a comment that stood here on the page before and that nobody asks for by now.
    fn take_known(&mut self, line: &[u8]) -> bool {
        if self.families.are_wanted() || self.seen.is_counting() {
            return false;
        }
        let Some(Skimmed { family, kind }) = self.comments.expected(line) else { return false };
        let Ok(name) = str::from_utf8(family) else { return false };
        if !self.tracker.observe_comment(line, family) {
            return false;
        }
        if let Some(kind) = kind {
            self.seen.kind(name, kind);
        }
        self.comments.go_on();
        true
    }

    /// Comments that are not known are read each time, though families are of interest only when metadata is due:
    /// a bad comment that counts on every fourth page would look like a page that changes.
    fn comment(&mut self, line: Line<'_>) {
        if self.take_known(line.bytes) {
            return;
        }
        match line.parse(self.limits) {
            Ok(Entry::Help { name, text }) => {
                self.tracker.observe_help(name, &text);
                self.seen.help(name, &text);
                self.families.help(name, &text);
            }
            Ok(Entry::Type { name, kind }) => {
                self.tracker.observe_type(name, kind);
                self.families.kind(name, kind);
                self.seen.kind(name, kind);
            }
            Ok(_) => return,
            Err(fault) => return self.state.fault(BadLine::Fault(fault)),
        }
        self.comments.learn(line.bytes);
    }

    fn sample(&mut self, line: Line<'_>, text: &[u8]) {
        let state = &mut *self.state;
        match self.tracker.observe(line.bytes, state.now_ms) {
            Ok(kept) => {
                state.readable += 1;
                state.learn_role(text);
                self.seen.sample(line.bytes);
                if kept {
                    self.families.sample(text);
                }
            }
            Err(ObserveError::Syntax(error)) => state.fault(BadLine::Fault(line.fault(error))),
            Err(ObserveError::Mislabelled(what)) => {
                state.readable += 1;
                state.learn_role(text);
                let offset = line.offset + what.column as u64 - 1;
                state.fault(BadLine::Mislabelled { line: line.number, offset, what });
            }
            Err(ObserveError::LabelLimit(limit)) => {
                let message = format!("line {}: {limit}", line.number);
                state.failure.get_or_insert_with(|| Failure::new(Reason::LabelLimit, message));
            }
        }
    }
}

impl State {
    /// Samples of one process come in runs, so a page's role is known after a few lines. A sample's line
    /// begins with its name.
    fn learn_role(&mut self, text: &[u8]) {
        if self.role == Role::Both || self.readable > ROLE_SAMPLES {
            return;
        }
        self.role.observe(text);
    }

    fn fault(&mut self, fault: BadLine) {
        self.faults_total += 1;
        if self.faults.len() < FAULTS_KEPT_MAX {
            self.faults.push(fault);
        }
    }
}

/// Samples from which a page's role is learnt.
const ROLE_SAMPLES: u64 = 1000;

#[cfg(test)]
mod tests;
