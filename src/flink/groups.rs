//! Metric groups: the unit in which people choose what is relayed.
//!
//! Flink's documentation sorts its metrics into tables; a group is one of those tables under a short
//! name, or what a connector, Table API and SQL, or the Kubernetes operator adds to them. Every sample
//! is in exactly one group, [`Group::Custom`] when the catalogue does not know it, so a filter that
//! includes all groups lets everything through.
//!
//! Users add groups of their own (`flink.metrics`). Those follow Flink's, numbered as the configuration
//! has them, so that a group is a small number wherever samples are counted or filtered.

mod own;

use std::{fmt, str::FromStr};

pub use self::own::{OwnGroup, OwnGroupError};
use crate::limits::OWN_GROUPS_MAX;

/// A metric group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Group {
    /// CPU of the JVM.
    Cpu,
    /// JVM and managed memory.
    Memory,
    /// JVM threads.
    Threads,
    /// Garbage collection.
    Gc,
    /// Class loading.
    ClassLoader,
    /// File descriptors.
    FileDescriptor,
    /// Old names of what is in `shuffle`.
    Network,
    /// The default (Netty) shuffle service.
    Shuffle,
    /// TaskManagers, slots and jobs of a cluster.
    Cluster,
    /// Job state, restarts, up and down time.
    Availability,
    /// Checkpoints.
    Checkpointing,
    /// Speculative execution of batch jobs.
    Speculative,
    /// RocksDB state backend, and the metrics of ForSt that have the names of RocksDB.
    RocksDb,
    /// File cache of the ForSt state backend.
    ForSt,
    /// Time of accesses to keyed state.
    StateLatency,
    /// Size of keys and values of keyed state.
    StateSize,
    /// Changelog of the state.
    Changelog,
    /// Records, bytes, back pressure, watermarks and latency.
    Io,
    /// Watermarks by split of a source.
    SplitWatermark,
    /// Asynchronous state processing.
    AsyncState,
    /// What sources report, whatever they read.
    Source,
    /// What sinks report, whatever they write.
    Sink,
    /// Caches of lookup joins.
    LookupCache,
    /// Kafka connector and its Kafka clients.
    Kafka,
    /// Kinesis and DynamoDB Streams connectors.
    Kinesis,
    /// HBase connector.
    HBase,
    /// Operators of Table API and SQL.
    Table,
    /// The machine, not the process.
    System,
    /// Flink Kubernetes Operator.
    K8sOperator,
    /// Autoscaler of the Flink Kubernetes Operator.
    Autoscaler,
    /// Everything the catalogue does not know: users' own metrics, unknown connectors, other software.
    Custom,
    /// A group of the user's, from `flink.metrics`.
    Own(OwnGroup),
}

impl Group {
    /// All groups that are built in, in the order in which they are shown; users' own follow them, see
    /// [`crate::flink::Catalogue::groups`].
    pub const ALL: [Self; 31] = [
        Self::Cpu,
        Self::Memory,
        Self::Threads,
        Self::Gc,
        Self::ClassLoader,
        Self::FileDescriptor,
        Self::Network,
        Self::Shuffle,
        Self::Cluster,
        Self::Availability,
        Self::Checkpointing,
        Self::Speculative,
        Self::RocksDb,
        Self::ForSt,
        Self::StateLatency,
        Self::StateSize,
        Self::Changelog,
        Self::Io,
        Self::SplitWatermark,
        Self::AsyncState,
        Self::Source,
        Self::Sink,
        Self::LookupCache,
        Self::Kafka,
        Self::Kinesis,
        Self::HBase,
        Self::Table,
        Self::System,
        Self::K8sOperator,
        Self::Autoscaler,
        Self::Custom,
    ];

    /// The name in config, on the command line and in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Threads => "threads",
            Self::Gc => "gc",
            Self::ClassLoader => "classloader",
            Self::FileDescriptor => "file_descriptor",
            Self::Network => "network",
            Self::Shuffle => "shuffle",
            Self::Cluster => "cluster",
            Self::Availability => "availability",
            Self::Checkpointing => "checkpointing",
            Self::Speculative => "speculative",
            Self::RocksDb => "rocksdb",
            Self::ForSt => "forst",
            Self::StateLatency => "state_latency",
            Self::StateSize => "state_size",
            Self::Changelog => "changelog",
            Self::Io => "io",
            Self::SplitWatermark => "split_watermark",
            Self::AsyncState => "async_state",
            Self::Source => "source",
            Self::Sink => "sink",
            Self::LookupCache => "lookup_cache",
            Self::Kafka => "kafka",
            Self::Kinesis => "kinesis",
            Self::HBase => "hbase",
            Self::Table => "table",
            Self::System => "system",
            Self::K8sOperator => "k8s_operator",
            Self::Autoscaler => "autoscaler",
            Self::Custom => "custom",
            Self::Own(own) => own.name(),
        }
    }

    /// What the group holds, one sentence.
    pub fn about(self) -> &'static str {
        match self {
            Self::Cpu => "CPU load and CPU time of the JVM.",
            Self::Memory => "Heap, non-heap, metaspace, direct, mapped and managed memory.",
            Self::Threads => "Live threads of the JVM.",
            Self::Gc => "Runs and time of each garbage collector.",
            Self::ClassLoader => "Classes loaded and unloaded.",
            Self::FileDescriptor => "File descriptors that are open, and their limit.",
            Self::Network => {
                "Old names of network buffers and queues, gone with Flink 2.0; see shuffle."
            }
            Self::Shuffle => "Network buffers, queues and traffic of the default shuffle service.",
            Self::Cluster => "TaskManagers, slots and jobs as the JobManager counts them.",
            Self::Availability => "Job states, restarts, up time and down time.",
            Self::Checkpointing => "Number, size, duration and alignment of checkpoints.",
            Self::Speculative => "Slow and speculative executions of batch jobs.",
            Self::RocksDb => {
                "Memory, files, compaction and reads of the state backends RocksDB and ForSt."
            }
            Self::ForSt => "The file cache of the ForSt state backend.",
            Self::StateLatency => "Time that accesses to keyed state take, by kind of access.",
            Self::StateSize => "Size of the keys and values in accesses to keyed state.",
            Self::Changelog => "Uploads and materialisation of the state changelog.",
            Self::Io => {
                "Records, bytes, back pressure, watermarks and latency of tasks and operators."
            }
            Self::SplitWatermark => {
                "Watermark, active, paused and idle time of each split of a source."
            }
            Self::AsyncState => "Records and keys in asynchronous state processing.",
            Self::Source => "Lag, errors and idle time of sources, and splits not yet assigned.",
            Self::Sink => "Records, bytes, errors and committables of sinks.",
            Self::LookupCache => "Hits, loads and size of the caches of lookup joins.",
            Self::Kafka => {
                "Offsets and commits of the Kafka connector, and all metrics of its Kafka clients."
            }
            Self::Kinesis => "Lag and fetches of the Kinesis and DynamoDB Streams connectors.",
            Self::HBase => "Lookup cache of the HBase connector.",
            Self::Table => "Windows, joins, aggregations and bundles of Table API and SQL.",
            Self::System => "CPU, memory, swap and network of the machine.",
            Self::K8sOperator => {
                "Resources, transitions and API calls of the Flink Kubernetes Operator."
            }
            Self::Autoscaler => {
                "Rates, parallelism and scalings of the autoscaler of the Flink Kubernetes Operator."
            }
            Self::Custom => "Every metric that the catalogue does not know, users' own among them.",
            Self::Own(own) => own.about(),
        }
    }

    /// Position among the built-in groups and then the user's own; below 64.
    pub fn index(self) -> usize {
        match self {
            Self::Own(own) => Self::ALL.len() + own.number(),
            // The variants without a field stand in the order of `ALL`; a test holds them together.
            built_in => Self::ALL.iter().position(|group| *group == built_in).unwrap_or_default(),
        }
    }

    /// This group's bit in a [`GroupFilter`], which has room for 64.
    fn bit(self) -> u64 {
        1 << self.index()
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One that is built in.
impl FromStr for Group {
    type Err = UnknownGroup;

    fn from_str(name: &str) -> Result<Self, UnknownGroup> {
        Self::find(name, &Self::ALL)
    }
}

impl TryFrom<String> for Group {
    type Error = UnknownGroup;

    fn try_from(name: String) -> Result<Self, UnknownGroup> {
        name.parse()
    }
}

impl Group {
    /// The group of this name among `groups`.
    ///
    /// # Errors
    /// When none has it.
    pub fn find(name: &str, groups: &[Self]) -> Result<Self, UnknownGroup> {
        let names = || groups.iter().map(|group| group.as_str());
        groups.iter().find(|group| group.as_str() == name).copied().ok_or_else(|| UnknownGroup {
            name: name.to_owned(),
            nearest: nearest(name, names()),
            all: names().collect(),
        })
    }
}

/// A name that is no group's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown metric group `{name}`{}", did_you_mean_or_all(*.nearest, .all))]
pub struct UnknownGroup {
    /// What was written.
    pub name: String,
    /// The group that was probably meant.
    pub nearest: Option<&'static str>,
    /// All groups that there are.
    pub all: Vec<&'static str>,
}

/// The end of an error message: the group that was probably meant, or all of them. All of them after
/// a suggestion would bury it, there are too many.
fn did_you_mean_or_all(nearest: Option<&str>, all: &[&str]) -> String {
    match nearest {
        Some(_) => format!("{}; `flinkrelay groups` lists all", did_you_mean(nearest)),
        None => format!("; the groups are {}", all.join(", ")),
    }
}

/// Which groups are relayed. The default relays all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GroupFilter {
    allowed: u64,
}

impl GroupFilter {
    /// [`GroupFilter::try_new_among`] the built-in groups.
    ///
    /// # Errors
    /// When a name is no built-in group's, and when no group is left.
    pub fn try_new(include: &[String], exclude: &[String]) -> Result<Self, GroupFilterError> {
        Self::try_new_among(&Group::ALL, include, exclude)
    }

    /// Relays the groups of `include` (all when it is empty) without those of `exclude`; a group that
    /// stands in both is left out. Blanks around a name are ignored, so that `a, b` can be split at
    /// the comma. `all` are the groups that there are, the user's own among them.
    ///
    /// # Errors
    /// When a name is no group's, and when no group is left.
    pub fn try_new_among(
        all: &[Group],
        include: &[String],
        exclude: &[String],
    ) -> Result<Self, GroupFilterError> {
        let bits = |names: &[String]| {
            names.iter().try_fold(0, |bits, name| {
                Group::find(name.trim(), all).map(|group| bits | group.bit())
            })
        };
        let (include, exclude) = (bits(include)?, bits(exclude)?);
        let include = if include == 0 { Self::default().allowed } else { include };
        let allowed = include & !exclude;
        match all.iter().any(|group| allowed & group.bit() != 0) {
            false => Err(GroupFilterError::Nothing),
            true => Ok(Self { allowed }),
        }
    }

    /// Whether the samples of a group are relayed.
    pub fn allows(self, group: Group) -> bool {
        self.allowed & group.bit() != 0
    }

    /// Those of `all` that are relayed, in their order.
    pub fn among(self, all: &[Group]) -> impl Iterator<Item = Group> {
        all.iter().copied().filter(move |group| self.allows(*group))
    }

    /// The built-in groups that are relayed, in the order of [`Group::ALL`].
    pub fn groups(self) -> impl Iterator<Item = Group> {
        Group::ALL.into_iter().filter(move |group| self.allows(*group))
    }
}

impl Default for GroupFilter {
    fn default() -> Self {
        Self { allowed: u64::MAX }
    }
}

/// Shows the built-in groups; it does not know the names of others.
impl fmt::Debug for GroupFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupFilter")?;
        f.debug_set().entries(self.groups().map(Group::as_str)).finish()
    }
}

/// Why a group filter cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupFilterError {
    /// A name is no group's.
    #[error(transparent)]
    Unknown(#[from] UnknownGroup),
    /// Nothing would be relayed.
    #[error(
        "every metric group is excluded, so nothing would be relayed; leave at least one of those \
         that `flinkrelay groups` lists"
    )]
    Nothing,
}

/// The candidate that `word` was probably meant to be, if any is close enough to be worth naming.
pub(super) fn nearest(
    word: &str,
    candidates: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    let score = |candidate: &str| {
        let is_part = word.len() >= 3 && (candidate.contains(&word) || word.contains(candidate));
        if is_part { 1.0 } else { strsim::jaro_winkler(&word, candidate) }
    };
    // Below 0.8 the suggestions begin to surprise ("timers" -> "threads").
    let scored = candidates.into_iter().map(|c| (score(c), c));
    scored.filter(|(score, _)| *score >= 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, c)| c)
}

/// The part of an error message that offers [`nearest`].
pub(super) fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!(" (did you mean `{nearest}`?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Result<GroupFilter, GroupFilterError> {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        GroupFilter::try_new(&own(include), &own(exclude))
    }

    #[test]
    fn every_group_is_listed_once_and_its_name_leads_back_to_it() {
        for (i, group) in Group::ALL.into_iter().enumerate() {
            assert_eq!(group.index(), i, "{group} is out of order in ALL");
            assert_eq!(group.as_str().parse(), Ok(group));
            assert!(group.about().ends_with('.'), "{group}");
        }
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_nearest_and_all_names() {
        let check = |name: &str, nearest: Option<&str>| {
            assert_eq!(name.parse::<Group>().unwrap_err().nearest, nearest, "{name}");
        };
        check("CPU", Some("cpu"));
        check("rocks", Some("rocksdb"));
        check("checkpoint", Some("checkpointing"));
        check("classLoader", Some("classloader"));
        check("avalability", Some("availability"));
        check("KafkaSource", Some("kafka"));
        check("k8s", Some("k8s_operator"));
        check("timers", None);
        check("", None);
        let messages =
            ["memroy", "timers"].map(|name| name.parse::<Group>().unwrap_err().to_string());
        insta::assert_snapshot!(messages.join("\n"));
    }

    #[test]
    fn filters() {
        let check = |include: &[&str], exclude: &[&str], expect: &str| {
            let filter = filter(include, exclude).unwrap();
            let names = filter.groups().map(Group::as_str).collect::<Vec<_>>().join(" ");
            assert_eq!(names, expect, "{include:?} {exclude:?}");
        };
        let all = Group::ALL.map(Group::as_str).join(" ");
        check(&[], &[], &all);
        check(&["cpu", " memory "], &[], "cpu memory");
        check(&["memory", "cpu", "cpu"], &[], "cpu memory");
        check(&["cpu", "io"], &["io"], "cpu");
        check(&[], &["custom"], all.strip_suffix(" custom").unwrap());
        check(&["custom"], &["rocksdb"], "custom");
        assert_eq!(filter(&[], &[]).unwrap(), GroupFilter::default());
    }

    #[test]
    fn filters_that_are_refused() {
        assert_eq!(filter(&["io"], &["io"]), Err(GroupFilterError::Nothing));
        assert_eq!(filter(&[], &Group::ALL.map(Group::as_str)), Err(GroupFilterError::Nothing));
        for (include, exclude) in [(&["cpu", "disk"][..], &[][..]), (&[], &["disk"]), (&[""], &[])]
        {
            let error = filter(include, exclude).unwrap_err();
            assert!(matches!(error, GroupFilterError::Unknown(_)), "{error}");
        }
    }

    #[test]
    fn debug_names_the_groups() {
        let filter = filter(&["cpu", "io"], &[]).unwrap();
        assert_eq!(format!("{filter:?}"), r#"GroupFilter{"cpu", "io"}"#);
    }
}
