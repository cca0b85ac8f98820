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
//! parts, and a longer fixed ending over a shorter one.

mod file;
mod matcher;

use std::{fmt, str::FromStr, sync::LazyLock};

use serde::Deserialize;

use self::matcher::Matcher;
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
    matcher: Matcher,
}

impl Catalogue {
    /// Reads a catalogue in the format that `catalogue.yaml` describes.
    ///
    /// # Errors
    /// When the text is not of that format, names something undescribed, or claims a name twice.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let (metrics, forms) = file::read(text)?;
        let matcher = Matcher::build(forms, &metrics)?;
        Ok(Self { metrics, matcher })
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

    /// The group of a sample, [`Group::Custom`] when the catalogue does not know it.
    pub fn group(&self, sample_name: &str) -> Group {
        self.lookup(sample_name).map_or(Group::Custom, |metric| metric.group)
    }

    /// All metrics, by group in the order of [`Group::ALL`], within a group as in the file.
    pub fn metrics(&self) -> impl Iterator<Item = &Metric> {
        self.metrics.iter()
    }

    /// The metrics of one group.
    pub fn metrics_of(&self, group: Group) -> impl Iterator<Item = &Metric> {
        self.metrics.iter().filter(move |metric| metric.group == group)
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

/// One metric of Flink's.
#[derive(Clone, Debug)]
pub struct Metric {
    /// The group it belongs to.
    pub group: Group,
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
    /// First minor release known to have it; 1.13, the oldest one examined, may mean earlier.
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

/// What a series truly is. The reporter exports all but summaries as gauges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Only grows, except when the process or job starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Quantiles over a sliding window, and the number of observations.
    Summary,
    /// A text that the reporter cannot export: its value is always 0.
    Info,
}

impl Kind {
    /// The kind in output, lower case; the names are those of the text format and OpenMetrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
            Self::Info => "info",
        }
    }
}

/// The type under which Flink's code registers a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registered {
    /// `org.apache.flink.metrics.Counter`.
    Counter,
    /// `org.apache.flink.metrics.Gauge`.
    Gauge,
    /// `org.apache.flink.metrics.Meter`; its rate over the last minute is exported.
    Meter,
    /// `org.apache.flink.metrics.Histogram`.
    Histogram,
}

impl Registered {
    /// What a metric of this type is unless the catalogue knows better.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Counter => Kind::Counter,
            Self::Gauge | Self::Meter => Kind::Gauge,
            Self::Histogram => Kind::Summary,
        }
    }

    /// The type in output, lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Meter => "meter",
            Self::Histogram => "histogram",
        }
    }
}

/// Declares an enum whose variants have one name each in the catalogue file and in output.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident { $($(#[$about:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
        pub enum $type {
            $($(#[$about])* #[serde(rename = $name)] $variant,)+
        }

        impl $type {
            /// The name in the catalogue file and in output.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

named! {
    /// What the values of a metric measure.
    Unit {
        /// Things counted.
        Count = "count",
        /// Things counted, per second.
        PerSecond = "per_second",
        /// Bytes.
        Bytes = "bytes",
        /// Bytes per second.
        BytesPerSecond = "bytes_per_second",
        /// A share, 0 to 1 (buffer pools with overdraft go beyond).
        Ratio = "ratio",
        /// A share, 0 to 100 or beyond.
        Percent = "percent",
        /// 0 or 1.
        Boolean = "boolean",
        /// A duration.
        Seconds = "seconds",
        /// A duration.
        Milliseconds = "milliseconds",
        /// A duration.
        Microseconds = "microseconds",
        /// A duration.
        Nanoseconds = "nanoseconds",
        /// Share of time, 0 to 1000.
        MillisecondsPerSecond = "milliseconds_per_second",
        /// Milliseconds since 1970-01-01 UTC.
        TimestampMs = "timestamp_ms",
        /// A number that names something.
        Id = "id",
        /// A position in a partition.
        Offset = "offset",
        /// CPU cores.
        Cores = "cores",
        /// A path of a file system.
        Path = "path",
        /// Several metrics of different units share the row.
        Mixed = "mixed",
    }
}

named! {
    /// Flink's logical scopes, as the `(scope: …)` of a HELP line spells them
    /// (`org.apache.flink.runtime.metrics.groups.*MetricGroup`).
    Scope {
        /// A JobManager, with its Dispatcher and ResourceManager.
        JobManager = "jobmanager",
        /// A job, seen from the JobManager.
        JobManagerJob = "jobmanager_job",
        /// An operator's coordinator, since 1.18.
        JobManagerJobOperator = "jobmanager_job_operator",
        /// A TaskManager.
        TaskManager = "taskmanager",
        /// A job, seen from a TaskManager.
        TaskManagerJob = "taskmanager_job",
        /// A subtask.
        Task = "taskmanager_job_task",
        /// An operator of a subtask.
        Operator = "taskmanager_job_task_operator",
        /// The Kubernetes operator's process.
        K8sOperator = "k8soperator",
        /// A namespace that the Kubernetes operator looks after.
        K8sNamespace = "k8soperator_namespace",
        /// A resource that the Kubernetes operator looks after.
        K8sResource = "k8soperator_namespace_resource",
    }
}

/// A minor release of Flink; ordered as releases are, so 1.9 < 1.13 < 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Version {
    /// The number before the dot.
    pub major: u16,
    /// The number after it.
    pub minor: u16,
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts =
            text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (major, minor) = parts.ok_or_else(|| format!("`{text}` is no version like 1.13"))?;
        Ok(Self { major, minor })
    }
}

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
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
