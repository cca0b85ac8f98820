//! Where the Kubernetes API is and what of it is asked, in Prometheus' words.

use std::{fmt, ops::RangeInclusive, path::PathBuf};

use hyper::Uri;

use super::HttpClient;

/// How the API server is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum KubernetesApi {
    /// From within a pod: address from the environment, token and authority from the files that
    /// Kubernetes mounts for the pod's ServiceAccount and renews.
    InCluster,
    /// The current context of this kubeconfig.
    Kubeconfig(PathBuf),
    /// As configured.
    Server {
        /// `api_server`
        url: Uri,
        /// TLS and authentication.
        http: Box<HttpClient>,
    },
}

/// `namespaces`: whose objects are asked for; all namespaces when nothing is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// The pod's own.
    pub own: bool,
    /// By name.
    pub names: Vec<String>,
}

/// `label` and `field` of an entry of `selectors`; the API leaves out what does not match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Of labels, such as `app=flink,component in (jobmanager)`.
    pub label: Option<String>,
    /// Of fields, such as `spec.nodeName=node-1`.
    pub field: Option<String>,
}

/// One entry of `kubernetes_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct KubernetesSd {
    /// How the API server is reached.
    pub api: KubernetesApi,
    /// What is a target.
    pub role: KubernetesRole,
    /// Whose objects are asked for.
    pub namespaces: Namespaces,
}

/// `role`, with the selectors of what is watched for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubernetesRole {
    /// Containers' ports.
    Pod {
        /// Of pods.
        pods: Selector,
    },
    /// Addresses behind services.
    EndpointSlice {
        /// Of endpoint slices.
        slices: Selector,
        /// Of services.
        services: Selector,
        /// Of pods.
        pods: Selector,
    },
}

/// An entry of `flink_sd_configs` that asks Kubernetes.
#[derive(Clone, Debug, PartialEq)]
pub struct FlinkKubernetes {
    /// How the API server is reached.
    pub api: KubernetesApi,
    /// Whose pods are asked for.
    pub namespaces: Namespaces,
    /// Further selector of pods.
    pub selector: Option<String>,
    /// Ports of the reporter: one, or a range that is probed.
    pub ports: RangeInclusive<u16>,
    /// Whether pods that carry a relay of their own are targets, too.
    pub with_sidecar: bool,
}

/// For the log: where it is.
impl fmt::Display for KubernetesApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InCluster => f.write_str("this cluster"),
            Self::Kubeconfig(path) => path.display().fmt(f),
            Self::Server { url, .. } => url.fmt(f),
        }
    }
}

/// For the log: whose.
impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.own.then_some("own");
        let names: Vec<&str> =
            own.into_iter().chain(self.names.iter().map(String::as_str)).collect();
        match names.is_empty() {
            true => f.write_str("all namespaces"),
            false => write!(f, "namespaces {}", names.join(" ")),
        }
    }
}
