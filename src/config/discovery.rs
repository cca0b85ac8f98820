//! Where targets are looked for: the entries of `…_sd_configs`, in Prometheus' words.

use std::{fmt, ops::RangeInclusive, path::PathBuf, time::Duration};

use hyper::Uri;

use super::{FlinkKubernetes, HttpClient, KubernetesSd};

/// One entry of one of a job's `…_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    /// `file_sd_configs`
    File(FileSd),
    /// `http_sd_configs`
    Http(Box<HttpSd>),
    /// `dns_sd_configs`
    Dns(DnsSd),
    /// `kubernetes_sd_configs`
    Kubernetes(Box<KubernetesSd>),
    /// `flink_sd_configs`
    Flink(FlinkSd),
}

/// One entry of `file_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSd {
    /// Paths; the last element of each may be a pattern.
    pub files: Vec<PathBuf>,
    /// How often they are read although nothing seems to have changed.
    pub refresh_interval: Duration,
}

/// One entry of `http_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSd {
    /// What answers with the list of targets.
    pub url: Uri,
    /// How often it is asked.
    pub refresh_interval: Duration,
    /// TLS, auth and headers towards it.
    pub http: HttpClient,
}

/// One entry of `dns_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSd {
    /// The names that are looked up.
    pub names: Vec<String>,
    /// Which records.
    pub record: DnsRecord,
    /// The port of each target; SRV records bring their own.
    pub port: u16,
    /// How often they are looked up.
    pub refresh_interval: Duration,
}

/// Which records of a name are targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsRecord {
    /// Services: a host and a port each (default).
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail servers.
    Mx,
    /// Name servers.
    Ns,
}

/// One entry of `flink_sd_configs`, by its `source`.
#[derive(Clone, Debug, PartialEq)]
pub enum FlinkSd {
    /// The REST API of a JobManager.
    Rest(Box<FlinkRestSd>),
    /// The API of Kubernetes.
    Kubernetes(Box<FlinkKubernetes>),
}

/// `source: rest`
#[derive(Clone, Debug, PartialEq)]
pub struct FlinkRestSd {
    /// The JobManager's REST API.
    pub url: Uri,
    /// Where the reporters listen.
    pub ports: FlinkPorts,
    /// Whether the JobManager is a target, too, at the URL's host.
    pub job_manager: bool,
    /// How often it is asked.
    pub refresh_interval: Duration,
    /// TLS, auth and headers towards it.
    pub http: HttpClient,
}

/// How the ports of Flink's reporters are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlinkPorts {
    /// As Flink's configuration says: one, or a range that is probed.
    Range(RangeInclusive<u16>),
    /// From the line by which each process logs where its reporter listens.
    Logs,
}

impl Discovery {
    /// The key of the list it stands in.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::File(_) => "file_sd_configs",
            Self::Http(_) => "http_sd_configs",
            Self::Dns(_) => "dns_sd_configs",
            Self::Kubernetes(_) => "kubernetes_sd_configs",
            Self::Flink(_) => "flink_sd_configs",
        }
    }

    /// The kind, as metrics and `/targets` name it.
    pub const fn mechanism(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Http(_) => "http",
            Self::Dns(_) => "dns",
            Self::Kubernetes(_) => "kubernetes",
            Self::Flink(FlinkSd::Rest(_)) => "flink_rest",
            Self::Flink(FlinkSd::Kubernetes(_)) => "flink_kubernetes",
        }
    }
}

impl DnsRecord {
    /// As the file and DNS spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Srv => "SRV",
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Mx => "MX",
            Self::Ns => "NS",
        }
    }
}

/// For the log: what kind it is, and what is asked.
impl fmt::Display for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.mechanism())?;
        // The query of a URL may hold a secret.
        let url = |url: &Uri| url.to_string().split('?').next().unwrap_or_default().to_owned();
        match self {
            Self::File(config) => {
                let files: Vec<_> = config.files.iter().map(|p| p.display().to_string()).collect();
                f.write_str(&files.join(" "))
            }
            Self::Http(config) => f.write_str(&url(&config.url)),
            Self::Dns(config) => write!(f, "{} {}", config.record.as_str(), config.names.join(" ")),
            Self::Kubernetes(config) => write!(f, "{}, {}", config.api, config.namespaces),
            Self::Flink(FlinkSd::Rest(config)) => f.write_str(&url(&config.url)),
            Self::Flink(FlinkSd::Kubernetes(config)) => {
                write!(f, "{}, {}", config.api, config.namespaces)
            }
        }
    }
}
