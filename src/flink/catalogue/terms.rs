//! The words in which the catalogue describes a metric: what it is, what it measures, under which of
//! Flink's scopes it is exported, and which releases have it.
//!
//! Their names in the catalogue file and in output are one and the same, and stay as they are: tools
//! read them.

use std::{fmt, str::FromStr};

use serde::Deserialize;

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
            /// All of them, with their names.
            pub const ALL: &[(&str, Self)] = &[$(($name, Self::$variant),)+];

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

impl Scope {
    /// Whether its series are a subtask's, or a job's on one TaskManager: many make one of the job.
    pub const fn is_of_subtask(self) -> bool {
        matches!(self, Self::TaskManagerJob | Self::Task | Self::Operator)
    }

    /// Whether the Kubernetes operator exports it, not a process of a Flink cluster.
    pub const fn is_of_kubernetes_operator(self) -> bool {
        matches!(self, Self::K8sOperator | Self::K8sNamespace | Self::K8sResource)
    }
}

named! {
    /// The software that a metric came with.
    Product {
        /// Flink, or a connector that runs in it.
        Flink = "flink",
        /// The Flink Kubernetes Operator, which has releases of its own.
        KubernetesOperator = "flink-kubernetes-operator",
    }
}

/// A minor release of a [`Product`]; ordered as releases are, so 1.9 < 1.13 < 2.0.
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
        let (major, minor) = parts.ok_or("expected a version like 1.13")?;
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
