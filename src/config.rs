//! The checked, immutable configuration.
//!
//! A file is read in two steps: `raw` mirrors the YAML as it was typed, and checking turns it into
//! [`Config`], in which an illegal state cannot be written down. Errors say file, line and column,
//! show the line, and tell what to do. Command-line shortcuts join at the raw step, so that both
//! ways of configuring meet the same checks.

mod check;
mod client;
mod discovery;
mod duration;
mod error;
mod expand;
mod kubernetes;
mod overrides;
mod raw;
mod size;
mod target;
mod value;

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration};

pub use self::{
    check::MAX_SAMPLES_PER_SEND,
    client::{
        Auth, Authorization, AwsKeys, AwsRole, BasicAuth, Connections, HttpClient, OAuth2, Proxy,
        ProxyServer, Secret, Sigv4, Tls, TlsVersions,
    },
    discovery::{Discovery, DnsRecord, DnsSd, FileSd, FlinkPorts, FlinkRestSd, FlinkSd, HttpSd},
    duration::{DurationError, PromDuration},
    error::{ConfigError, Fault, Place},
    kubernetes::{
        FlinkKubernetes, KubernetesApi, KubernetesRole, KubernetesSd, Namespaces, Selector,
    },
    overrides::{Overrides, Purpose, SHORTCUT_JOB},
    raw::{SECTIONS, Section},
    size::{ByteSize, SizeError},
    target::{TargetError, query},
};
use crate::{
    flink, relabel, remote_write,
    shard::{Member, Shard},
};

/// A configuration file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path, for messages and for the relative paths in it.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// Reads and checks a configuration: the file's text, the command line's shortcuts and the variables
/// that the file refers to. Reads nothing else; files that the configuration names are not opened.
///
/// # Errors
///
/// All faults that can be told at once: those of the YAML and its keys stop at the first, those of
/// the values are collected.
pub fn load(
    source: Option<&Source>,
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    check::load(source, overrides, env)
}

/// Everything the relay needs to know; see `deploy/example.yaml` for each key.
#[derive(Clone, Debug)]
pub struct Config {
    /// Labels added to every series and metadata-free default for all scrapes.
    pub external_labels: BTreeMap<String, String>,
    /// The scrape jobs, at least one.
    pub scrapes: Vec<Scrape>,
    /// The receivers; empty only for subcommands that push nothing.
    pub receivers: Vec<Receiver>,
    /// Where and how samples are kept over a restart.
    pub spool: Spool,
    /// What is done with Flink's metrics.
    pub flink: Flink,
    /// Which part of the targets this relay scrapes; `None` for all.
    pub shard: Option<Shard>,
    /// The StatefulSet whose word `shard` goes by. It stands for nothing until the count is put in.
    pub member: Option<Member>,
    /// Whether each target is scraped once more when the relay is told to stop.
    pub final_scrape: bool,
    /// How many series of pages may be remembered of all targets.
    pub page_series_limit: PageSeriesLimit,
    /// Hash of the file's text, the same wherever the same file is used; 0 without one.
    pub hash: TextHash,
}

/// `global.page_series_limit`: the most series of pages that are remembered of all targets together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageSeriesLimit {
    /// By the memory that the process may use (default).
    #[default]
    Auto,
    /// So many; 0 is unlimited.
    Most(u64),
}

/// Hash of a configuration's text. Two texts may mean the same, so it is not shown with what they mean.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct TextHash(pub u64);

impl std::fmt::Debug for TextHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TextHash")
    }
}

/// One entry of `scrape_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    /// `job_name`: the value of the `job` label.
    pub job_name: String,
    /// Time between two scrapes of one target.
    pub interval: Duration,
    /// Longest time a scrape may take, never above the interval.
    pub timeout: Duration,
    /// `http` or `https` for targets that name no scheme.
    pub scheme: Scheme,
    /// Path for targets that name none.
    pub metrics_path: String,
    /// URL parameters, in order.
    pub params: Vec<(String, String)>,
    /// Whether a page's own `job`, `instance` … win over the target's.
    pub honor_labels: bool,
    /// Whether timestamps on a page are used.
    pub honor_timestamps: bool,
    /// Whether to ask for gzip.
    pub compression: Compression,
    /// Largest page in bytes after decompression; `u64::MAX` when the file says 0, unlimited.
    pub body_size_limit: u64,
    /// Most samples of a page after relabelling; 0 is unlimited. Above it the scrape fails.
    pub sample_limit: u64,
    /// Most labels of a sample after relabelling; 0 is unlimited. Above it the scrape fails.
    pub label_limit: u64,
    /// Longest label name in bytes; 0 is unlimited. Above it the scrape fails.
    pub label_name_length_limit: u64,
    /// Longest label value in bytes; 0 is unlimited. Above it the scrape fails.
    pub label_value_length_limit: u64,
    /// Time between two probes of the ports of a range.
    pub probe_interval: Duration,
    /// How long an instance found in a range is still scraped (`up` 0) after it stopped answering.
    pub forget_after: Duration,
    /// The targets, with the labels they share.
    pub static_configs: Vec<StaticConfig>,
    /// Where more targets are looked for.
    pub discovery: Vec<Discovery>,
    /// Rules for target labels.
    pub relabel_configs: Vec<relabel::Rule>,
    /// Rules for the labels of samples.
    pub metric_relabel_configs: Vec<relabel::Rule>,
    /// TLS and auth towards the targets.
    pub http: HttpClient,
}

/// URL scheme of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP, what Flink's reporter speaks.
    Http,
    /// HTTP over TLS, behind a proxy.
    Https,
}

/// Whether pages are asked for compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Identity from loopback addresses, gzip from all others (default).
    Auto,
    /// Always `Accept-Encoding: gzip`.
    Gzip,
    /// Always `Accept-Encoding: identity`.
    Identity,
}

/// One entry of `static_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticConfig {
    /// The targets.
    pub targets: Vec<TargetSpec>,
    /// Labels added to each of them.
    pub labels: BTreeMap<String, String>,
}

/// A target as a person writes it: `host:9249`, `host:9250-9260`, `http://host:9250/metrics?x=y`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSpec {
    /// The scheme, when the target names one.
    pub scheme: Option<Scheme>,
    /// Host name or address; IPv6 in brackets, as in a URL.
    pub host: String,
    /// One port, or the range to probe.
    pub ports: RangeInclusive<u16>,
    /// Path, when the target names one.
    pub path: Option<String>,
    /// URL parameters that the target names.
    pub params: Vec<(String, String)>,
}

/// One entry of `remote_write`.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    /// Name in logs and metrics, unique; the URL's `host:port` unless given.
    pub name: String,
    /// Where batches are posted.
    pub url: hyper::Uri,
    /// Longest time one request may take.
    pub timeout: Duration,
    /// Which message it gets.
    pub protobuf_message: remote_write::Wanted,
    /// How its bodies are compressed.
    pub compression: remote_write::Encoding,
    /// TLS, auth and headers (the tenant among them).
    pub http: HttpClient,
    /// Rules for the labels of samples sent to this receiver.
    pub write_relabel_configs: Vec<relabel::Rule>,
    /// Most labels of a series, its name included; 0 is unlimited. A series above it is kept from
    /// this receiver, alone, and counted.
    pub label_limit: u64,
    /// Longest label name in bytes, likewise.
    pub label_name_length_limit: u64,
    /// Longest label value in bytes, likewise.
    pub label_value_length_limit: u64,
    /// Whether label values above that are cut to it; else the series is kept from the receiver.
    pub cut_long_values: bool,
    /// What each answer means for the samples of its request; `retry_on_http_429` is part of it.
    pub on_status: remote_write::StatusPolicy,
    /// Batching, memory and retry.
    pub queue: Queue,
    /// Metadata.
    pub metadata: Metadata,
}

/// `queue_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Samples of a batch at most.
    pub max_samples_per_send: u32,
    /// Longest time a sample waits for its batch to fill.
    pub batch_send_deadline: Duration,
    /// Requests that may be in flight even when the receiver is overloaded.
    pub min_shards: u16,
    /// Requests in flight at most; a target's samples always use the same lane.
    pub max_shards: u16,
    /// Compressed bytes kept for a receiver that does not accept, on disk with a data directory; beyond it the
    /// oldest go.
    pub max_bytes: u64,
    /// Samples kept likewise; 0 is unlimited.
    pub capacity: u64,
    /// Batches older than this are dropped; zero is unlimited.
    pub sample_age_limit: Duration,
    /// What is sent first when a backlog is there.
    pub drain: Drain,
    /// Samples of the backlog per second that are sent beside live data; 0 is unlimited.
    pub max_backlog_samples_per_second: u64,
    /// First and longest pause between two tries.
    pub min_backoff: Duration,
    /// See `min_backoff`.
    pub max_backoff: Duration,
}

/// What is sent first when a backlog is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Everything in its order (default).
    OldestFirst,
    /// Live data, and the backlog beside it; only for receivers that take samples out of order.
    NewestFirst,
}

/// `spool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// The data directory; without one samples wait in memory.
    pub directory: Option<PathBuf>,
    /// When what was written is brought to stable storage.
    pub fsync: Fsync,
    /// How often, with [`Fsync::Interval`].
    pub fsync_interval: Duration,
}

/// When what was written is brought to stable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before it is sent.
    Always,
    /// At intervals (default).
    Interval,
    /// When the operating system does it.
    Never,
}

/// `metadata_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Whether type, help and unit are sent.
    pub send: bool,
    /// How often each family's is sent again.
    pub send_interval: Duration,
}

/// The `flink` section.
#[derive(Clone, Debug, PartialEq)]
pub struct Flink {
    /// Flink's metrics, and the user's own.
    pub catalogue: Arc<flink::Catalogue>,
    /// Which metric groups are relayed.
    pub groups: flink::GroupFilter,
    /// Under which names metrics are sent.
    pub names: flink::NameMode,
    /// How Flink's labels are normalised.
    pub labels: flink::LabelPolicy,
    /// What is rolled up, and how far.
    pub rollups: flink::RollupPolicy,
    /// How many series there may be.
    pub budgets: flink::Budgets,
    /// What becomes of values that mean "there is none".
    pub sentinels: flink::Sentinels,
    /// Which derived series are made.
    pub derived: flink::Derivations,
    /// Whether targets are asked only for the metrics that are relayed, where that pays.
    pub pushdown: bool,
    /// Whether and where Flink's REST API is asked for the names that people gave.
    pub rest: Rest,
}

/// `flink.rest`
#[derive(Clone, Debug, PartialEq)]
pub struct Rest {
    /// Whom to ask.
    pub endpoints: RestEndpoints,
    /// Time between two regular polls of one endpoint.
    pub poll_interval: Duration,
    /// Longest time of one request.
    pub timeout: Duration,
    /// Longest time that a scrape waits for the names of what is new on its page; zero is not at all.
    pub hold: Duration,
    /// TLS, auth and headers towards the endpoints.
    pub http: HttpClient,
}

/// Whom to ask for names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestEndpoints {
    /// Nobody: pages keep their names.
    Off,
    /// Port 8081 of each target that turns out to be a JobManager.
    Auto,
    /// These URLs, each one cluster's; below them are `/jobs/overview` and so on.
    Urls(Vec<hyper::Uri>),
}
