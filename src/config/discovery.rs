//! Where targets are looked for: the entries of `…_sd_configs`, in Prometheus' words.

use std::{fmt, path::PathBuf, time::Duration};

use super::{FlinkKubernetes, KubernetesSd};

/// One entry of one of a job's `…_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    /// `file_sd_configs`
    File(FileSd),
    /// `kubernetes_sd_configs`
    Kubernetes(KubernetesSd),
    /// `flink_sd_configs` with the source `kubernetes`.
    FlinkKubernetes(FlinkKubernetes),
}

/// One entry of `file_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSd {
    /// Paths; the last element of each may be a pattern.
    pub files: Vec<PathBuf>,
    /// How often they are read although nothing seems to have changed.
    pub refresh_interval: Duration,
}

impl Discovery {
    /// The key of the list it stands in.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::File(_) => "file_sd_configs",
            Self::Kubernetes(_) => "kubernetes_sd_configs",
            Self::FlinkKubernetes(_) => "flink_sd_configs",
        }
    }
}

/// For the log: what kind it is, and what is asked.
impl fmt::Display for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(config) => {
                let files: Vec<_> = config.files.iter().map(|p| p.display().to_string()).collect();
                write!(f, "file {}", files.join(" "))
            }
            Self::Kubernetes(config) => {
                write!(f, "kubernetes {}, {}", config.api, config.namespaces)
            }
            Self::FlinkKubernetes(config) => {
                write!(f, "flink kubernetes {}, {}", config.api, config.namespaces)
            }
        }
    }
}
