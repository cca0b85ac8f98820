//! What doctor says: findings, each with what was seen, why it matters and what to write where.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Data does not arrive, or is lost. Exit code 1.
    Problem,
    /// Data arrives, but not all of it, not always, or not for long.
    Warning,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which fault it is: the same in all versions, see docs/doctor.md.
    pub id: Id,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: a target, a URL, a directory.
    pub subject: String,
    /// What was seen, in the words of who said it.
    pub seen: String,
    /// Why that matters.
    pub why: String,
    /// What to do; alternatives when there are several.
    pub fixes: Vec<Fix>,
}

/// A line and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// Where: a file, a command line, a machine.
    pub place: String,
    /// The line, to be copied.
    pub line: String,
}

impl Fix {
    /// A line for a place.
    pub fn new(place: impl Into<String>, line: impl Into<String>) -> Self {
        Self { place: place.into(), line: line.into() }
    }
}

impl Finding {
    /// A finding without a remedy yet.
    pub fn new(
        id: Id,
        severity: Severity,
        subject: impl Into<String>,
        seen: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        let (subject, seen, why) = (subject.into(), seen.into(), why.into());
        Self { id, severity, subject, seen, why, fixes: Vec::new() }
    }

    /// The same with one more remedy.
    #[must_use]
    pub fn fix(mut self, place: impl Into<String>, line: impl Into<String>) -> Self {
        self.fixes.push(Fix::new(place, line));
        self
    }

    /// The same with more remedies.
    #[must_use]
    pub fn fixes(mut self, fixes: impl IntoIterator<Item = Fix>) -> Self {
        self.fixes.extend(fixes);
        self
    }
}

/// Declares the ids with their spelling, in the order of the documentation.
macro_rules! ids {
    ($($(#[doc = $doc:literal])+ $id:ident = $name:literal,)+) => {
        /// Which fault it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Id {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $id,)+
        }

        impl Id {
            /// All ids.
            pub const ALL: &[Self] = &[$(Self::$id),+];

            /// The id as it is printed.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$id => $name),+
                }
            }
        }
    };
}

ids! {
    /// Flink's config has no Prometheus reporter.
    ReporterMissing = "reporter-missing",
    /// Only the push gateway's reporter is configured, which opens no port.
    ReporterPushes = "reporter-pushes",
    /// The reporter is configured by `class`, which this version warns of, refuses or does not know.
    ReporterClass = "reporter-class",
    /// `factory.class` is missing or names no factory of Flink's.
    ReporterFactory = "reporter-factory",
    /// `metrics.reporters` leaves the reporter out.
    ReporterNotListed = "reporter-not-listed",
    /// Flink's log says that the reporter's jar is not there.
    ReporterJar = "reporter-jar",
    /// Fewer ports than processes on a host.
    ReporterPorts = "reporter-ports",
    /// `host` is no key of the reporter.
    ReporterHost = "reporter-host",
    /// The reporter's filters hide metrics.
    ReporterFilter = "reporter-filter",
    /// A key that this version of Flink ignores.
    ReporterIgnored = "reporter-ignored",
    /// Variables are excluded that tell series apart.
    ReporterVariables = "reporter-variables",
    /// Flink's REST API cannot be asked.
    RestUnreachable = "rest-unreachable",
    /// Flink's clock and this machine's differ.
    RestClock = "rest-clock",
    /// REST knows TaskManagers on a target's host that no target shows.
    TaskManagersUnseen = "taskmanagers-unseen",
    /// No target falls to this relay.
    TargetNone = "target-none",
    /// A source of targets cannot tell.
    DiscoveryFails = "discovery-fails",
    /// A source of targets names none.
    DiscoveryEmpty = "discovery-empty",
    /// A target's name has no address.
    TargetDns = "target-dns",
    /// Nobody listens.
    TargetRefused = "target-refused",
    /// The network swallows packets.
    TargetSilent = "target-silent",
    /// No way there.
    TargetUnreachable = "target-unreachable",
    /// It listens and does not answer.
    TargetHangs = "target-hangs",
    /// No agreement on TLS.
    TargetTls = "target-tls",
    /// A proxy in between.
    TargetProxy = "target-proxy",
    /// It answers with another HTTP status, or not with HTTP.
    TargetStatus = "target-status",
    /// A credential for it cannot be read.
    TargetSecret = "target-secret",
    /// It answers on 127.0.0.1 alone.
    TargetLoopback = "target-loopback",
    /// Flink says that its reporter has another port.
    TargetPort = "target-port",
    /// What answers is not Flink.
    PageForeign = "page-foreign",
    /// What answers is Flink's REST API and web page.
    PageRest = "page-rest",
    /// The page has no sample.
    PageEmpty = "page-empty",
    /// A gauge throws, and the whole page is lost.
    PageThrows = "page-throws",
    /// The page breaks off.
    PageCut = "page-cut",
    /// The page exceeds a limit of the scrape job.
    PageLimit = "page-limit",
    /// The page takes too long.
    PageSlow = "page-slow",
    /// The page has lines that cannot be read.
    PageLines = "page-lines",
    /// `flink.groups` lets nothing through.
    GroupsDropAll = "groups-drop-all",
    /// Rules let nothing through.
    RelabelDropsAll = "relabel-drops-all",
    /// A group that was asked for is on no page.
    GroupAbsent = "group-absent",
    /// There is no receiver.
    ReceiverNone = "receiver-none",
    /// A receiver's name has no address.
    ReceiverDns = "receiver-dns",
    /// Nobody listens.
    ReceiverRefused = "receiver-refused",
    /// No connection or no answer in time, or no way there.
    ReceiverUnreachable = "receiver-unreachable",
    /// No agreement on TLS.
    ReceiverTls = "receiver-tls",
    /// A proxy in between.
    ReceiverProxy = "receiver-proxy",
    /// A credential cannot be read or had.
    ReceiverSecret = "receiver-secret",
    /// Credentials are missing or not accepted.
    ReceiverCredentials = "receiver-credentials",
    /// The tenant is missing.
    ReceiverTenant = "receiver-tenant",
    /// The path is not one that takes remote write.
    ReceiverPath = "receiver-path",
    /// Prometheus was started without its receiver.
    ReceiverSwitchedOff = "receiver-switched-off",
    /// It redirects.
    ReceiverRedirect = "receiver-redirect",
    /// It does not understand the message.
    ReceiverMessage = "receiver-message",
    /// It has no capacity at the moment, or is in trouble.
    ReceiverFails = "receiver-fails",
    /// It refuses for another reason.
    ReceiverRefuses = "receiver-refuses",
    /// Its clock and this machine's differ.
    ReceiverClock = "receiver-clock",
    /// Series exceed label limits that it has.
    LabelLimit = "label-limit",
    /// The data directory cannot be used.
    DataDirUnusable = "data-dir-unusable",
    /// Another process has the data directory.
    DataDirInUse = "data-dir-in-use",
    /// The data directory's disk is smaller than the spools may become.
    DataDirSmall = "data-dir-small",
    /// This machine's clock cannot be right.
    Clock = "clock",
    /// A check was not over when time was up.
    Unfinished = "unfinished",
}
