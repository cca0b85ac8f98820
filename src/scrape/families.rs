//! Type, help and unit of the metric families of a page, for remote write's metadata.
//!
//! What the catalogue knows wins: Flink writes every counter as a gauge and fills HELP with the
//! metric's name. Families that the catalogue does not know keep what the page says.

use std::collections::HashMap;

use crate::{
    exposition, flink,
    remote_write::{Encoder, proto::metric_metadata::MetricType, v1::Metadata},
    series::{known_kind, page_kind},
};

/// The families of one page.
#[derive(Debug, Default)]
pub(super) struct Families {
    wanted: bool,
    index: HashMap<Box<str>, usize>,
    families: Vec<State>,
    /// The family whose samples are being read: HELP and TYPE precede them.
    current: Option<usize>,
}

#[derive(Debug)]
struct State {
    name: Box<str>,
    kind: Option<exposition::Kind>,
    help: Box<str>,
    used: bool,
}

/// A family with at least one kept sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family<'a> {
    /// The metric's name on the page.
    pub name: &'a str,
    /// Its true type where the catalogue knows it, otherwise the page's.
    pub kind: MetricType,
    /// What it tells.
    pub help: &'a str,
    /// Its unit, empty when unknown.
    pub unit: &'a str,
}

impl Families {
    pub(super) fn begin(&mut self, wanted: bool) {
        *self = Self { wanted, ..Self::default() };
    }

    pub(super) fn help(&mut self, name: &str, help: &str) {
        if self.wanted {
            self.enter(name).help = help.into();
        }
    }

    pub(super) fn kind(&mut self, name: &str, kind: exposition::Kind) {
        if self.wanted {
            self.enter(name).kind = Some(kind);
        }
    }

    /// A kept sample was read, whose line begins with `text`; a summary's `_count` belongs to it.
    pub(super) fn sample(&mut self, text: &[u8]) {
        if let Some(current) = self.current
            && let Some(family) = self.families.get_mut(current)
            && text.starts_with(family.name.as_bytes())
        {
            family.used = true;
        }
    }

    pub(super) fn used(&self) -> impl Iterator<Item = Family<'_>> {
        self.families.iter().filter(|family| family.used).map(State::family)
    }

    pub(super) fn encode(&self, encoder: &mut Encoder) {
        for family in self.used() {
            let Family { name, kind, help, unit } = family;
            encoder.push_metadata(&Metadata { kind, family: name, help, unit });
        }
    }

    fn enter(&mut self, name: &str) -> &mut State {
        let next = self.families.len();
        let at = *self.index.entry(name.into()).or_insert(next);
        if at == next {
            let name = name.into();
            self.families.push(State { name, kind: None, help: "".into(), used: false });
        }
        self.current = Some(at);
        self.families.get_mut(at).expect("the index points into the families")
    }
}

impl State {
    fn family(&self) -> Family<'_> {
        match flink::catalogue().lookup(&self.name) {
            Some(metric) => Family {
                name: &self.name,
                kind: known_kind(metric),
                help: &metric.help,
                unit: metric.unit.as_str(),
            },
            None => {
                let kind = self.kind.map_or(MetricType::Unknown, page_kind);
                Family { name: &self.name, kind, help: &self.help, unit: "" }
            }
        }
    }
}
