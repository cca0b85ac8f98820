//! The catalogue: what each of Flink's metrics is, found from the name of a sample.
//!
//! The facts live in `catalogue.yaml`, which a person can read and extend; it is compiled in, read
//! once, and turned into a matcher. A name without varying parts is one lookup in a hash table; a
//! name with them (`…_operator_<state>_rocksdb_estimate_num_keys`) is found by walking its bytes from
//! the end, so the cost depends on the length of the name and not on the size of the catalogue.
//!
//! A sample name carries no border between scope, user groups and metric name, so a metric is only
//! recognised where Flink registers it: `…_operator_numRecordsIn` is known, while
//! `…_operator_myGroup_numRecordsIn` is a user's own and unknown.
//!
//! HELP does show that border; where it is at hand, [`Catalogue::find_described`] holds the metric
//! against it, so that a user's metric whose name only ends like one of Flink's stays a user's.
//!
//! Each exported name also has a canonical one, in which nothing varies ([`Found::canonical_name`]):
//! what varies is a label there, and a metric that was renamed has the name of today.
//!
//! Invariants: no two metrics claim one exported name or one canonical name; an exact name wins over
//! one with varying parts, then a longer fixed ending over a shorter one, then a longer fixed
//! beginning.

mod described;
mod file;
mod matcher;
mod naming;
mod own;
mod spelling;
mod terms;

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock},
};

pub use self::described::suggested;
pub use self::terms::{Kind, Product, Registered, Scope, Unit, Version};
pub(crate) use self::{
    file::{Matches, Row, Varying as Segmented},
    own::OwnMetrics,
};
use self::{
    matcher::{Matcher, Varying},
    naming::Naming,
};
use super::{Group, groups::UnknownGroup, rollup::Function};

/// The catalogue that is compiled in.
pub fn catalogue() -> &'static Arc<Catalogue> {
    static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
        let text = include_str!("catalogue.yaml");
        Arc::new(Catalogue::parse(text).expect("a test reads the compiled-in catalogue"))
    });
    &CATALOGUE
}

/// All known metrics, and the way from a sample's name to them.
pub struct Catalogue {
    /// Flink's groups, then the user's own.
    groups: Vec<Group>,
    /// The metrics of Flink.
    flink: Arc<Table>,
    /// The user's own, which go before Flink's.
    own: Option<own::Own>,
}

/// Metrics and the index over their names.
struct Table {
    metrics: Vec<Metric>,
    segments: Vec<Segment>,
    namings: Vec<Naming>,
    matcher: Matcher,
    /// The metric of each canonical name of which no part varies.
    canonical: HashMap<String, usize>,
    /// What rows of the user's may use too.
    words: file::Words,
}

impl Catalogue {
    /// Reads a catalogue in the format that `catalogue.yaml` describes.
    ///
    /// # Errors
    /// When the text is not of that format, names something undescribed, or claims a name twice.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let flink = Arc::new(Table::build(file::read(text)?)?);
        Ok(Self { groups: Group::ALL.to_vec(), flink, own: None })
    }

    /// The tables in the order in which a name is looked up.
    fn tables(&self) -> impl Iterator<Item = &Table> {
        self.own.iter().map(|own| &own.table).chain([&*self.flink])
    }

    /// All groups that there are: those that are built in, then the user's own; in the order of
    /// [`Group::index`].
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The metric that a sample of this name belongs to. Both series of a summary, `X` (with its
    /// quantiles) and `X_count`, belong to `X`.
    pub fn lookup(&self, sample_name: &str) -> Option<&Metric> {
        self.find(sample_name).map(|found| found.metric)
    }

    /// As [`Catalogue::lookup`], with the name of the family that the sample belongs to.
    pub fn find<'n>(&self, sample_name: &'n str) -> Option<Found<'_, 'n>> {
        self.tables().find_map(|table| table.find(self, sample_name))
    }

    /// As [`Catalogue::find`], a metric of this group: what HELP once decided.
    pub fn find_in<'n>(&self, sample_name: &'n str, group: Group) -> Option<Found<'_, 'n>> {
        let mut found = self.tables().filter_map(|table| table.find(self, sample_name));
        found.find(|found| found.metric.group == group)
    }

    /// As [`Catalogue::find`], held against the HELP text of the sample's family: `None` too when HELP
    /// shows that the metric's own name is another than the one found. A text that is not Flink's
    /// reporter's says nothing.
    pub fn find_described<'n>(
        &self,
        sample_name: &'n str,
        help: Option<&str>,
    ) -> Option<Found<'_, 'n>> {
        let mut found = self.tables().filter_map(|table| table.find(self, sample_name));
        let is_so = |found: &Found<'_, '_>| {
            let own_name = help.and_then(|help| described::own_name(found.family, help));
            own_name.is_none_or(|name| found.naming.may_be_called(name))
        };
        found.find(is_so)
    }

    /// What was found for this very name before, without looking for it. `None` for another name.
    pub fn find_again<'n>(&self, sample_name: &'n str, place: Place) -> Option<Found<'_, 'n>> {
        let table = if place.is_own { &self.own.as_ref()?.table } else { &*self.flink };
        let varying = table.matcher.varying(place.form, sample_name)?;
        table.found(self, sample_name, place.form, varying)
    }

    /// The metric of a canonical name, or of an exported one; see [`Catalogue::lookup`].
    pub fn lookup_canonical(&self, sample_name: &str) -> Option<&Metric> {
        let canonical = self.tables().find_map(|table| table.lookup_canonical(sample_name));
        canonical.or_else(|| self.lookup(sample_name))
    }

    /// The group of a sample, [`Group::Custom`] when the catalogue does not know it. The info series,
    /// which are the relay's own, have one too.
    pub fn group(&self, sample_name: &str) -> Group {
        group(self.find(sample_name).as_ref(), sample_name)
    }

    /// All metrics: Flink's by group in the order of [`Group::ALL`], within a group as in the file; then
    /// the user's own.
    pub fn metrics(&self) -> impl Iterator<Item = &Metric> {
        self.flink.metrics.iter().chain(self.own_metrics())
    }

    /// The user's own metrics.
    pub fn own_metrics(&self) -> impl Iterator<Item = &Metric> {
        self.own.iter().flat_map(|own| &own.table.metrics)
    }

    /// The metrics of one group.
    pub fn metrics_of(&self, group: Group) -> impl Iterator<Item = &Metric> {
        self.metrics().filter(move |metric| metric.group == group)
    }

    /// The metrics that a group has too, under names that are counted in another group.
    pub fn metrics_shared_with(&self, group: Group) -> impl Iterator<Item = &Metric> {
        self.metrics().filter(move |metric| metric.shared_with.contains(&group))
    }

    /// What each `<x>` in the name of a metric stands for, by name.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        // The user's table has Flink's segments too.
        self.tables().take(1).flat_map(|table| &table.segments)
    }

    /// The labels of keys of key-value groups, where those are not the key: key, label.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        let words = self.tables().take(1).map(|table| &table.words);
        words.flat_map(|words| &words.keys).map(|(key, label)| (key.as_str(), label.as_str()))
    }
}

impl Table {
    fn build(contents: file::Contents) -> Result<Self, CatalogueError> {
        let file::Contents { words, metrics, segments, forms, namings } = contents;
        let matcher = Matcher::build(forms, &metrics)?;
        let canonical = by_canonical_name(&metrics)?;
        Ok(Self { metrics, segments, namings, matcher, canonical, words })
    }

    fn find<'c, 'n>(&'c self, catalogue: &'c Catalogue, name: &'n str) -> Option<Found<'c, 'n>> {
        let (form, varying) = self.matcher.find(name)?;
        self.found(catalogue, name, form, varying)
    }

    fn found<'c, 'n>(
        &'c self,
        catalogue: &'c Catalogue,
        name: &'n str,
        at: u32,
        varying: Varying<'n>,
    ) -> Option<Found<'c, 'n>> {
        let form = self.matcher.form(at)?;
        let metric = self.metrics.get(form.metric as usize)?;
        let naming = self.namings.get(form.naming as usize)?;
        let count = if form.is_count { COUNT_SUFFIX.len() } else { 0 };
        let family = name.get(..name.len() - count)?;
        let place = Place { is_own: !std::ptr::eq(self, &*catalogue.flink), form: at };
        Some(Found { catalogue, metric, family, naming, varying, is_count: form.is_count, place })
    }

    fn lookup_canonical(&self, name: &str) -> Option<&Metric> {
        let metric = |name: &str| self.metrics.get(*self.canonical.get(name)?);
        let count = || metric(name.strip_suffix(COUNT_SUFFIX)?).filter(|m| m.kind == Kind::Summary);
        metric(name).or_else(count)
    }
}

/// Whether they know the same metrics.
impl PartialEq for Catalogue {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.flink, &other.flink) && self.own == other.own
    }
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.own.as_ref().map(|own| own.source.as_str());
        f.debug_struct("Catalogue").field("own", &own).finish_non_exhaustive()
    }
}

/// The group of a sample of which the catalogue says `known`, as [`Catalogue::group`].
pub fn group(known: Option<&Found<'_, '_>>, sample_name: &str) -> Group {
    let known = known.map(|known| known.metric.group);
    known.or_else(|| super::rest::info::group(sample_name)).unwrap_or(Group::Custom)
}

/// What the reporter appends for the number of observations of a histogram.
const COUNT_SUFFIX: &str = "_count";

/// A sample name that the catalogue knows.
#[derive(Clone, Copy, Debug)]
pub struct Found<'c, 'n> {
    catalogue: &'c Catalogue,
    /// The metric.
    pub metric: &'c Metric,
    /// The sample's name without the `_count` of a summary: the name under which the page has its
    /// HELP and TYPE.
    pub family: &'n str,
    naming: &'c Naming,
    varying: Varying<'n>,
    is_count: bool,
    /// Where in the catalogue it was found, for [`Catalogue::find_again`].
    pub place: Place,
}

/// A place in one catalogue, which means nothing in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether it is one of the user's own.
    is_own: bool,
    form: u32,
}

impl<'c, 'n> Found<'c, 'n> {
    /// The sample's canonical name.
    pub fn canonical_name(&self) -> Cow<'c, str> {
        self.naming.name(&self.varying, self.is_count)
    }

    /// The canonical name of the sample's family.
    pub fn canonical_family(&self) -> Cow<'c, str> {
        self.naming.name(&self.varying, false)
    }

    /// What left the name for the canonical one, as labels.
    pub fn name_labels(&self) -> impl Iterator<Item = (&'c str, &'n str)> + use<'c, 'n>
    where
        'c: 'n,
    {
        self.naming.labels(self.varying)
    }

    /// Labels of the sample that have another name in its canonical form: from, to. The key of such a
    /// label stands in the sample's name.
    pub fn renamed_labels(&self) -> impl Iterator<Item = (&'c str, &'c str)> {
        self.naming.renamed()
    }

    /// Whether the sample is the number of observations of a summary.
    pub const fn is_count(&self) -> bool {
        self.is_count
    }

    /// Whether this is a name that the metric no longer goes by. While Flink exports it, the page may
    /// have the same values under the present name too.
    pub const fn is_former_name(&self) -> bool {
        self.naming.is_former
    }

    /// Whether this is a canonical name that Flink never exports: the sample has been through a relay.
    pub const fn is_relays(&self) -> bool {
        self.naming.is_relays
    }

    /// The metric, or where this is a former name the one of the present name.
    pub fn present(&self) -> &'c Metric {
        if self.is_former_name() {
            let heir = self.catalogue.lookup_canonical(&self.canonical_family());
            heir.unwrap_or(self.metric)
        } else {
            self.metric
        }
    }
}

/// A part of a name that varies.
#[derive(Clone, Debug)]
pub struct Segment {
    /// What stands between `<` and `>`.
    pub name: String,
    /// The label that it is in canonical names; `None` when it stays in them.
    pub label: Option<String>,
    /// Whether it is made of digits; else it may be anything that a name may hold.
    pub is_number: bool,
    /// What it stands for, without a full stop.
    pub about: String,
}

/// One metric of Flink's.
#[derive(Clone, Debug)]
pub struct Metric {
    /// The group it belongs to.
    pub group: Group,
    /// Other groups with a metric of this name, which nothing on a page tells apart.
    pub shared_with: Vec<Group>,
    /// Flink's name below the scope; `<x>` stands for a part that varies, `{x}` for the key of a
    /// key-value group.
    pub name: String,
    /// Every name under which it is exported, `<x>` again standing for a part that varies. For a
    /// summary without the `_count` twins.
    pub exported: Vec<String>,
    /// The name it is sent under, one for each of its scopes unless one stands for all. A part that
    /// varies and is no dimension is `<x>` here too. A former name has the present one's.
    pub canonical: Vec<String>,
    /// Labels that canonical series have beyond those of their scope.
    pub canonical_labels: Vec<String>,
    /// Whether its names are former names of the metric in [`Metric::replaced_by`]: the same values,
    /// sent under that metric's canonical name, and only where the page has them under no other.
    pub is_former_name: bool,
    /// The scopes it is exported under.
    pub scopes: Vec<Scope>,
    /// Labels it has beyond those of its scope.
    pub labels: Vec<String>,
    /// What Flink registers it as.
    pub registered: Registered,
    /// What its series truly is, whatever TYPE the page shows.
    pub kind: Kind,
    /// What its values measure.
    pub unit: Unit,
    /// What many subtasks' values of it become when they are rolled up; of a summary its quantiles'.
    /// Empty when it is not a subtask's.
    pub rollup: Vec<Function>,
    /// What it says, one or two sentences.
    pub help: String,
    /// First minor release of its [`Product`] known to have it; Flink 1.13, the oldest one examined,
    /// may mean earlier. `None` for a metric of the user's that says nothing of it.
    pub since: Option<Version>,
    /// Last minor release that has it; `None` while it lives.
    pub until: Option<Version>,
    /// Values that mean "there is none", NaN among them.
    pub no_value: Vec<f64>,
    /// Names of the metrics that the relay makes it from; empty for a metric of Flink's.
    pub derived_from: Vec<String>,
    /// Whether Flink calls it deprecated.
    pub deprecated: bool,
    /// Exported name of the metric to use instead.
    pub replaced_by: Option<String>,
    /// The option of Flink's that switches it on; `None` when it is always there.
    pub opt_in: Option<String>,
    /// What else one should know.
    pub note: Option<String>,
}

impl Metric {
    /// The software whose releases [`Metric::since`] and [`Metric::until`] are.
    pub fn product(&self) -> Product {
        if self.scopes.iter().all(|scope| scope.is_of_kubernetes_operator()) {
            Product::KubernetesOperator
        } else {
            Product::Flink
        }
    }
}

/// The metrics by their canonical names, former ones left out.
fn by_canonical_name(metrics: &[Metric]) -> Result<HashMap<String, usize>, CatalogueError> {
    let mut exported = HashMap::new();
    for (at, metric) in metrics.iter().enumerate() {
        exported.extend(metric.exported.iter().map(|name| (name, at)));
    }
    let mut canonical = HashMap::new();
    for (at, metric) in metrics.iter().enumerate().filter(|(_, metric)| !metric.is_former_name) {
        for name in &metric.canonical {
            let other = canonical.insert(name.clone(), at).or_else(|| exported.get(name).copied());
            if let Some(other) = other.filter(|other| *other != at) {
                let other = metrics.get(other).map(|metric| metric.name.clone());
                return Err(CatalogueError::SameCanonical {
                    canonical: name.clone(),
                    first: other.unwrap_or_default(),
                    second: metric.name.clone(),
                });
            }
        }
    }
    Ok(canonical)
}

/// Why a catalogue cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The text is not YAML of the described format.
    #[error("the metric catalogue is malformed: {0}")]
    Format(Box<serde_saphyr::Error>),
    /// A section names no group.
    #[error(transparent)]
    Group(#[from] UnknownGroup),
    /// A name uses the notation wrongly.
    #[error("metric `{name}`: {reason}")]
    Name {
        /// The name as written.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two metrics, or two names of one metric, are exported alike.
    #[error("`{exported}` is claimed by `{first}` and by `{second}`")]
    Claimed {
        /// The exported name.
        exported: String,
        /// The metric that claimed it first.
        first: String,
        /// The metric that claims it again.
        second: String,
    },
    /// Two metrics have one canonical name, or one has a name that the other is exported under.
    #[error("`{canonical}` would be the canonical name of `{first}` and of `{second}`")]
    SameCanonical {
        /// The canonical name.
        canonical: String,
        /// One metric.
        first: String,
        /// The other.
        second: String,
    },
}

#[cfg(test)]
mod tests;
