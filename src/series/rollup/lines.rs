//! From roll-ups to samples: lines of the relay's own, which take their places as those of the page do.

use std::collections::BTreeMap;

use super::{Destination, NONE, Rollup, hash};
use crate::{
    flink::{
        rest::AttemptId,
        rollup::{self, Function, Level},
    },
    labels::{Labels, METRIC_NAME},
    remote_write::{proto::metric_metadata::MetricType, v1, v2::About},
    series::{Dropped, Extra, Fate, Line, Observed, Shaped, Tracker, Whose, pool::NOTHING},
};

/// What is known of the series that were made under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeFamily {
    /// Its name before relabelling.
    pub name: String,
    /// Type, unit and help.
    pub about: About,
}

impl Rollup {
    /// Its line's fingerprint, which no line of a page has but by chance.
    fn fingerprint(&self, function: Function) -> u128 {
        hash(&[self.key, function as u128], b"rollup")
    }

    /// The normal labels of its series, sorted.
    fn labels(&self, function: Function) -> Labels<'_> {
        let mut labels = v1::decode_labels(&self.labels).expect("made by labels_block");
        let name = rollup::name(labels.metric_name(), self.level, function);
        labels.set(METRIC_NAME, name);
        labels
    }

    fn about(&self, function: Function) -> About {
        let of = if self.level == Level::Job { "a job" } else { "a task" };
        let is_total = self.is_counter && function == Function::Sum;
        let unit = match function {
            Function::Skew => "ratio",
            _ => self.unit.as_str(),
        };
        About {
            kind: if is_total { MetricType::Counter } else { MetricType::Gauge },
            help: format!("{} over the subtasks of {of}: {}", function.about(), self.help).into(),
            unit: unit.into(),
        }
    }
}

impl Tracker {
    /// Adds a sample of each roll-up that is sent to the page that is being closed.
    pub(in crate::series) fn make_rollups(&mut self, scraped_at_ms: i64) {
        let page = self.page;
        let sent = self.rollups.rollups.iter().filter(|(_, rollup)| self.is_sent(rollup));
        let sent: Vec<u32> = sent.map(|(at, _)| super::position(at)).collect();
        for at in sent {
            let Some(rollup) = self.rollups.rollups.get(at as usize) else { continue };
            let (functions, is_counter, sums) =
                (rollup.functions.clone(), rollup.is_counter, rollup.sums);
            for function in functions {
                let value = if sums.is_of(page) { sums.value(function, is_counter) } else { None };
                match value {
                    Some(value) => {
                        let line = self.rollup_line(at, function);
                        self.make_sample(line, value, scraped_at_ms);
                    }
                    // What tells it apart stays for its next value.
                    None => self.withhold_rollup(at, function),
                }
            }
        }
    }

    /// Whether the roll-up is one that is sent.
    fn is_sent(&self, rollup: &Rollup) -> bool {
        match self.rollups.destination {
            Destination::Sent => self.is_at_level(rollup),
            Destination::Parts => false,
            Destination::Wholes => true,
        }
    }

    /// Whether it is at the level that is wanted of its group and job.
    pub(super) fn is_at_level(&self, rollup: &Rollup) -> bool {
        rollup.level == self.rollups.level(rollup.group, rollup.job, &self.shaper.rollups)
    }

    fn make_sample(&mut self, line: u32, value: f64, scraped_at_ms: i64) {
        let page = self.page;
        let Some(state) = self.lines.get_mut(line as usize) else { return };
        self.lines_here += usize::from(state.seen != page);
        state.seen = page;
        self.tally.made += 1;
        if let Some(group) = self.tally.groups.at(state.group) {
            group.made += 1;
        }
        match state.fate() {
            Fate::Dropped(reason) => self.tally.dropped.add(reason, 1),
            Fate::Series(_) => {
                self.scraped_at_ms = scraped_at_ms;
                self.observed.push(Observed { line, time: NOTHING, value });
            }
        }
    }

    fn withhold_rollup(&mut self, at: u32, function: Function) {
        let rollup = self.rollups.rollups.get(at as usize);
        let fingerprint = rollup.map(|rollup| rollup.fingerprint(function));
        let line = fingerprint.and_then(|fingerprint| self.find_line(fingerprint));
        let Some(line) = line else { return };
        if let Some(state) = self.lines.get_mut(line as usize) {
            self.lines_here += usize::from(state.seen != self.page);
            state.seen = self.page;
            self.withheld.push(line);
        }
    }

    /// The line of a roll-up's function, found or made.
    fn rollup_line(&mut self, at: u32, function: Function) -> u32 {
        let Some(rollup) = self.rollups.rollups.get(at as usize) else { return NONE };
        let fingerprint = rollup.fingerprint(function);
        let known = self.line_index.find(&self.lines, fingerprint);
        if let Some(known) = known.filter(|_| self.remade.is_empty()) {
            return known;
        }
        let labels = rollup.labels(function);
        let shown = labels.to_string();
        let ids = rollup.ids.as_deref().map(Box::from);
        let shaped = self.shaper.relabel(labels, ids);
        let shaped = shaped.unwrap_or(Shaped::Dropped(Dropped::LabelLimit));
        if let Some(line) = known {
            self.reshape_as(line, shaped, shown.as_bytes());
            return line;
        }
        let (about, group, subject) = (rollup.about(function), rollup.group, rollup.subject);
        let job = rollup.job;
        let enter = |tracker: &mut Self| tracker.abouts.enter(&about);
        let (fate, normal, ids) = self.settle(shaped, shown.as_bytes(), enter);
        let group = u8::try_from(group.index()).expect("there are less than 64 groups");
        let whose = self.enter_whose(Whose { ids, subject, attempt: AttemptId::NONE, job });
        let line = Line::new(fingerprint, fate, group, whose);
        self.add_line(line, Extra::NONE, normal)
    }

    /// What is known of the roll-ups that the closed page has, by name.
    pub fn made_families(&self) -> Vec<MadeFamily> {
        let mut families = BTreeMap::new();
        let rollups = self.rollups.rollups.iter().map(|(_, rollup)| rollup);
        for rollup in rollups.filter(|r| self.is_sent(r) && r.sums.is_of(self.page)) {
            for &function in &rollup.functions {
                let labels = rollup.labels(function);
                let about = || rollup.about(function);
                families.entry(labels.metric_name().to_owned()).or_insert_with(about);
            }
        }
        families.into_iter().map(|(name, about)| MadeFamily { name, about }).collect()
    }
}
