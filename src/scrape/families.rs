//! Type, help and unit of the metric families of a page, for remote write's metadata.
//!
//! What the catalogue knows wins: Flink writes every counter as a gauge and fills HELP with the
//! metric's name. Families that the catalogue does not know keep what the page says. Several families
//! of a page may be one under its canonical name: a metric of two garbage collectors, or two names of
//! one metric.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    exposition,
    flink::{Catalogue, NameMode},
    remote_write::{Encoder, proto::metric_metadata::MetricType, v1::Metadata},
    series::{Tracker, known_kind, page_kind},
};

/// The families of one page.
#[derive(Debug)]
pub(super) struct Families {
    catalogue: Arc<Catalogue>,
    names: NameMode,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family<'a> {
    /// The name of its series, without the `_count` of a summary.
    pub name: Cow<'a, str>,
    /// Its true type where the catalogue knows it, otherwise the page's.
    pub kind: MetricType,
    /// What it tells.
    pub help: &'a str,
    /// Its unit, empty when unknown.
    pub unit: &'a str,
    /// Whether the catalogue knows it.
    pub is_known: bool,
}

impl Families {
    pub(super) fn new(catalogue: Arc<Catalogue>, names: NameMode) -> Self {
        let (index, families) = (HashMap::new(), Vec::new());
        Self { catalogue, names, wanted: false, index, families, current: None }
    }

    pub(super) fn begin(&mut self, wanted: bool) {
        *self = Self { wanted, ..Self::new(Arc::clone(&self.catalogue), self.names) };
    }

    /// Whether HELP and TYPE are of interest.
    pub(super) const fn are_wanted(&self) -> bool {
        self.wanted
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

    /// What was derived from the page's samples is a family of it too.
    pub(super) fn derived(&mut self, tracker: &Tracker) {
        if self.wanted {
            for name in tracker.derived_names() {
                self.enter(name).used = true;
            }
        }
    }

    /// Each family once, in the order of the page.
    pub(super) fn used(&self) -> impl Iterator<Item = Family<'_>> {
        let used = self.families.iter().filter(|family| family.used);
        let mut named = HashSet::new();
        let families = used.map(|family| family.family(&self.catalogue, self.names));
        families.filter(move |family| named.insert(family.name.clone()))
    }

    pub(super) fn encode(&self, encoder: &mut Encoder) {
        for family in self.used() {
            let Family { name, kind, help, unit, .. } = family;
            encoder.push_metadata(&Metadata { kind, family: &name, help, unit });
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
    fn family<'a>(&'a self, catalogue: &'a Catalogue, names: NameMode) -> Family<'a> {
        let known = catalogue.find_described(&self.name, Some(&self.help));
        let name = names.family(known.as_ref(), &self.name);
        match known.map(|known| names.metric(&known)) {
            Some(metric) => Family {
                name,
                kind: known_kind(metric),
                help: &metric.help,
                unit: metric.unit.as_str(),
                is_known: true,
            },
            None => {
                let kind = self.kind.map_or(MetricType::Unknown, page_kind);
                Family { name, kind, help: &self.help, unit: "", is_known: false }
            }
        }
    }
}
