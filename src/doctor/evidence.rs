//! What was seen, before anything is concluded: plain data, gathered by `survey`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::{
    config,
    flink::{Group, Role},
};

/// All that was looked at.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The targets and ranges, in the order of the configuration.
    pub targets: Vec<TargetLook>,
    /// Where targets are looked for.
    pub discovery: Vec<SourceLook>,
    /// Targets that are configured and fall to other relays.
    pub elsewhere: usize,
    /// Flink's REST APIs.
    pub clusters: Vec<ClusterLook>,
    /// The receivers, in the order of the configuration.
    pub receivers: Vec<ReceiverLook>,
    /// The data directory, when one is configured.
    pub data_dir: Option<DirectoryLook>,
    /// This machine's clock, in milliseconds since the epoch.
    pub now_ms: i64,
    /// Checks that were not over when time was up.
    pub unfinished: Vec<String>,
}

/// Why there is no HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The kind.
    pub kind: TroubleKind,
    /// The words of who noticed.
    pub words: String,
}

/// Kinds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TroubleKind {
    /// The name has no address.
    Dns,
    /// Nobody listens.
    Refused,
    /// Packets vanish: neither yes nor no.
    Silent,
    /// No route, or not allowed.
    Unreachable,
    /// There is a connection, and no answer in time.
    Hangs,
    /// The connection was closed before an answer, or there is no HTTP.
    Closed,
    /// No agreement on TLS.
    Tls,
    /// A proxy did not let it through.
    Proxy,
    /// A credential is not to be had.
    Secret,
}

/// What one source of targets has told.
#[derive(Clone, Debug)]
pub struct SourceLook {
    /// The job it belongs to.
    pub job: String,
    /// Its kind, and what was asked.
    pub source: String,
    /// How many targets it knows, before relabelling; or why it cannot tell.
    pub found: Result<usize, String>,
}

/// One target as configured: a port, or a range.
#[derive(Clone, Debug)]
pub struct TargetLook {
    /// As configured, `h:9250-9260`.
    pub spec: config::TargetSpec,
    /// The job it belongs to.
    pub job: String,
    /// The job's `scrape_timeout`.
    pub timeout: Duration,
    /// The proxy in between.
    pub proxy: Option<String>,
    /// Each port that was looked at.
    pub ports: Vec<PortLook>,
    /// Ports of the same number on 127.0.0.1 that answer with a Flink page although the host does not.
    pub on_loopback: Vec<u16>,
}

/// One port.
#[derive(Clone, Debug)]
pub struct PortLook {
    /// Its number.
    pub port: u16,
    /// What was asked.
    pub url: String,
    /// What came back.
    pub answer: PortAnswer,
}

/// What a port says.
#[derive(Clone, Debug)]
pub enum PortAnswer {
    /// No HTTP answer.
    None(Trouble),
    /// An answer without a name of Flink's.
    Foreign(Head),
    /// Flink.
    Flink(Box<Page>),
}

/// The beginning of an answer that is no page of Flink's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The HTTP status.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: String,
    /// The header `Server`.
    pub server: String,
    /// The header `Location`.
    pub location: String,
    /// The beginning of the body, as text.
    pub beginning: String,
    /// Names of samples in it.
    pub names: Vec<String>,
}

/// A page of Flink's.
#[derive(Clone, Debug)]
pub struct Page {
    /// Whose it is.
    pub role: Role,
    /// What became of its scrape.
    pub scraped: Result<Samples, PageFailure>,
    /// How long that took.
    pub took: Duration,
    /// Bytes after decompression.
    pub bytes: u64,
    /// The metrics that throw when they are read, when the page does not come whole and was asked for
    /// around them; not all of them need to be found yet.
    pub throws: Option<Vec<String>>,
    /// Lines that cannot be read, and the first of them in words.
    pub faults: u64,
    /// See `faults`.
    pub first_fault: Option<String>,
}

/// The samples of a page.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// On the page.
    pub scraped: u64,
    /// Kept by the filters and rules of all receivers.
    pub kept: u64,
    /// Dropped by `flink.groups`.
    pub dropped_by_groups: u64,
    /// Dropped by `metric_relabel_configs`.
    pub dropped_by_rules: u64,
    /// On the page, by group; groups without any are left out.
    pub groups: BTreeMap<Group, u64>,
    /// For each view of the receivers.
    pub views: Vec<ViewLook>,
}

/// What the receivers of one view would get of a page.
#[derive(Clone, Debug, Default)]
pub struct ViewLook {
    /// Series to be sent.
    pub series: u64,
    /// Series kept back for the label limits that the configuration gives.
    pub kept_back: u64,
    /// The first of them in words.
    pub first_kept_back: Option<String>,
    /// How large the labels of those to be sent are.
    pub sizes: LabelSizes,
}

/// How many series reach which size; enough to hold them against any limits.
#[derive(Clone, Debug, Default)]
pub struct LabelSizes {
    /// Series by their number of labels, the name included.
    pub labels: BTreeMap<usize, u64>,
    /// The largest number of labels, by the metric that has it.
    pub most: Option<(String, usize)>,
    /// The longest label name in bytes, by metric and label.
    pub longest_name: Option<(String, String, usize)>,
    /// The longest values in bytes, by label; each with a metric that has it, and how many series exceed
    /// which of [`VALUE_STEPS`].
    pub values: BTreeMap<String, LongValue>,
}

/// Values of one label.
#[derive(Clone, Debug, Default)]
pub struct LongValue {
    /// The longest in bytes.
    pub bytes: usize,
    /// A metric that has it.
    pub metric: String,
    /// Series with a value above each of [`VALUE_STEPS`].
    pub above: [u64; VALUE_STEPS.len()],
}

/// Limits of values that receivers have, in bytes: Mimir's and VictoriaMetrics'.
pub const VALUE_STEPS: [usize; 2] = [2048, 4096];

/// Why a scrape of a Flink page failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageFailure {
    /// The kind.
    pub kind: PageFailureKind,
    /// In words.
    pub words: String,
}

/// Kinds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFailureKind {
    /// The connection was closed without a word, though a small part of the page came well.
    Closed,
    /// It was not complete in time.
    Timeout,
    /// It broke off.
    Cut,
    /// A limit of the scrape job.
    Limit,
    /// Not one sample.
    Empty,
    /// Another HTTP status, or anything else.
    Other,
}

/// One REST API of Flink's.
#[derive(Clone, Debug, Default)]
pub struct ClusterLook {
    /// Where.
    pub url: String,
    /// Its host.
    pub host: String,
    /// It stands in the configuration; the others were tried because a target has this host.
    pub named: bool,
    /// Why it could not be asked.
    pub failure: Option<String>,
    /// Flink's version, such as `1.20.5`.
    pub version: Option<String>,
    /// The JobManager's configuration.
    pub settings: Option<Vec<(String, String)>>,
    /// The TaskManagers: id and host.
    pub task_managers: Vec<(String, String)>,
    /// The JobManager's clock and this machine's, in milliseconds since the epoch.
    pub clocks_ms: Option<(i64, i64)>,
    /// The lines of the beginning of the JobManager's log that speak of reporters.
    pub log: Vec<String>,
}

/// One receiver.
#[derive(Clone, Debug)]
pub struct ReceiverLook {
    /// As configured.
    pub config: config::Receiver,
    /// The number of its view in [`Samples::views`].
    pub view: usize,
    /// The proxy in between.
    pub proxy: Option<String>,
    /// A sample was sent, not an empty request.
    pub with_sample: bool,
    /// What came back; `None` when time was up.
    pub answer: Option<Result<Answer, Trouble>>,
}

/// What a receiver answered.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Status and the receiver's words; empty with a 2xx.
    pub words: String,
    /// The header `Location`.
    pub location: String,
    /// It says how many samples of remote write 2.0 it has written.
    pub tells_written: bool,
    /// It has the header `X-Server-Hostname`, as VictoriaMetrics has.
    pub is_victoria: bool,
    /// Its clock and this machine's, in milliseconds since the epoch; the first in whole seconds.
    pub clocks_ms: Option<(i64, i64)>,
}

/// The data directory.
#[derive(Clone, Debug)]
pub struct DirectoryLook {
    /// As configured.
    pub path: PathBuf,
    /// What of it is there already.
    pub present: PathBuf,
    /// Another process has it.
    pub in_use: bool,
    /// Bytes free for this user.
    pub free_bytes: Option<u64>,
    /// Why nothing can be written there.
    pub fault: Option<String>,
}
