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
//! Invariants: no two metrics claim one exported name; an exact name wins over one with varying
//! parts, then a longer fixed ending over a shorter one, then a longer fixed beginning.

mod file;
mod matcher;
mod terms;

use std::sync::LazyLock;

use self::matcher::Matcher;
pub use self::terms::{Kind, Product, Registered, Scope, Unit, Version};
use super::{Group, groups::UnknownGroup};

/// The catalogue that is compiled in.
pub fn catalogue() -> &'static Catalogue {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
        let text = include_str!("catalogue.yaml");
        Catalogue::parse(text).expect("a test reads the compiled-in catalogue")
    });
    &CATALOGUE
}

/// All known metrics, and the way from a sample's name to them.
#[derive(Debug)]
pub struct Catalogue {
    metrics: Vec<Metric>,
    segments: Vec<Segment>,
    matcher: Matcher,
}

impl Catalogue {
    /// Reads a catalogue in the format that `catalogue.yaml` describes.
    ///
    /// # Errors
    /// When the text is not of that format, names something undescribed, or claims a name twice.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let file::Contents { metrics, segments, forms } = file::read(text)?;
        let matcher = Matcher::build(forms, &metrics)?;
        Ok(Self { metrics, segments, matcher })
    }

    /// The metric that a sample of this name belongs to. Both series of a summary, `X` (with its
    /// quantiles) and `X_count`, belong to `X`.
    pub fn lookup(&self, sample_name: &str) -> Option<&Metric> {
        self.find(sample_name).map(|found| found.metric)
    }

    /// As [`Catalogue::lookup`], with the name of the family that the sample belongs to.
    pub fn find<'n>(&self, sample_name: &'n str) -> Option<Found<'_, 'n>> {
        let hit = self.matcher.find(sample_name)?;
        let metric = self.metrics.get(hit.metric as usize)?;
        let count = if hit.is_count { COUNT_SUFFIX.len() } else { 0 };
        let family = sample_name.get(..sample_name.len() - count)?;
        Some(Found { metric, family })
    }

    /// The group of a sample, [`Group::Custom`] when the catalogue does not know it. The info series,
    /// which are the relay's own, have one too.
    pub fn group(&self, sample_name: &str) -> Group {
        let known = self.lookup(sample_name).map(|metric| metric.group);
        known.or_else(|| super::rest::info::group(sample_name)).unwrap_or(Group::Custom)
    }

    /// All metrics, by group in the order of [`Group::ALL`], within a group as in the file.
    pub fn metrics(&self) -> impl Iterator<Item = &Metric> {
        self.metrics.iter()
    }

    /// The metrics of one group.
    pub fn metrics_of(&self, group: Group) -> impl Iterator<Item = &Metric> {
        self.metrics.iter().filter(move |metric| metric.group == group)
    }

    /// The metrics that a group has too, under names that are counted in another group.
    pub fn metrics_shared_with(&self, group: Group) -> impl Iterator<Item = &Metric> {
        self.metrics.iter().filter(move |metric| metric.shared_with.contains(&group))
    }

    /// What each `<x>` in the name of a metric stands for, by name.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }
}

/// What the reporter appends for the number of observations of a histogram.
const COUNT_SUFFIX: &str = "_count";

/// A sample name that the catalogue knows.
#[derive(Clone, Copy, Debug)]
pub struct Found<'c, 'n> {
    /// The metric.
    pub metric: &'c Metric,
    /// The sample's name without the `_count` of a summary: the name under which the page has its
    /// HELP and TYPE.
    pub family: &'n str,
}

/// A part of a name that varies.
#[derive(Clone, Debug)]
pub struct Segment {
    /// What stands between `<` and `>`.
    pub name: String,
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
    /// What it says, one or two sentences.
    pub help: String,
    /// First minor release of its [`Product`] known to have it; Flink 1.13, the oldest one examined,
    /// may mean earlier.
    pub since: Version,
    /// Last minor release that has it; `None` while it lives.
    pub until: Option<Version>,
    /// Values that mean "there is none", NaN among them.
    pub no_value: Vec<f64>,
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
}

#[cfg(test)]
mod tests;
