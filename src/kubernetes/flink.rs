//! Flink's processes among the pods of a cluster: `flink_sd_configs` with the source `kubernetes`.
//!
//! Nobody has to declare a port or write an annotation. Flink's pods are known by their labels, their pages
//! by the port that the reporter is configured with:
//!
//! ```text
//!                                             app          component                  type
//! native Flink, and the operator's native     cluster id   jobmanager | taskmanager   flink-native-kubernetes
//! the operator's standalone mode              cluster id   jobmanager | taskmanager   flink-standalone-kubernetes
//! manifests of Flink's documentation          flink        jobmanager | taskmanager
//! ```
//!
//! Sources: Flink's `KubernetesUtils` and `Constants` (LABEL_APP_KEY, LABEL_COMPONENT_KEY, LABEL_TYPE_KEY),
//! the operator's `StandaloneKubernetesUtils`, and "Standalone, Kubernetes" of Flink's documentation.
//!
//! A pod is a target from the moment on at which it has an address, ready or not: a TaskManager that does
//! not become ready is one that people want to see, and `up` 0 of a page that does not answer is a finding.
//! It stays one while it is being deleted, because a Flink that stops still says how it stops, and ends
//! with its phase (`Succeeded`, `Failed`) or with the pod itself.

use std::ops::RangeInclusive;

use super::{Found, FoundTarget, bracketed, object::Pod, pod};
use crate::labels::Labels;

/// What the API is asked for: only Flink's own pods cross the network.
pub const SELECTOR: &str = "app,component in (jobmanager,taskmanager)";

/// The label of pods that have a relay of their own.
pub const SIDECAR: &str = "flinkrelay.sidecar";

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Ports of the reporter.
    pub ports: RangeInclusive<u16>,
    /// Whether pods with a relay of their own are targets, too.
    pub with_sidecar: bool,
}

/// The target of a pod, if it is one of Flink's.
pub fn found(pod: &Pod, wanted: &Wanted) -> Found {
    let meta = &pod.metadata;
    let label = |key| meta.labels.get(key).map(String::as_str);
    let role = match label("component") {
        Some(role @ ("jobmanager" | "taskmanager")) => role.to_owned(),
        _ => return Found::default(),
    };
    let Some(cluster) = label("app") else { return Found::default() };
    let has_ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
    let has_sidecar = meta.labels.contains_key(SIDECAR);
    if pod.status.pod_ip.is_empty() || has_ended || (has_sidecar && !wanted.with_sidecar) {
        return Found::default();
    }
    let mut labels = pod::labels(pod);
    // They change while the pod goes on, and would be a change of the target each time.
    labels.remove("__meta_kubernetes_pod_ready");
    labels.remove("__meta_kubernetes_pod_phase");
    labels.set("__meta_kubernetes_namespace", meta.namespace.clone());
    labels.set("__meta_flink_role", role);
    labels.set("cluster", cluster.to_owned());
    labels.set("namespace", meta.namespace.clone());
    labels.set("pod", meta.name.clone());
    if matches!(label("type"), Some("flink-native-kubernetes" | "flink-standalone-kubernetes")) {
        labels.set("flink_deployment", cluster.to_owned());
    }
    let target = FoundTarget {
        host: bracketed(&pod.status.pod_ip),
        ports: Some(wanted.ports.clone()),
        labels: Labels::new(),
        // A pod of Flink's runs one process.
        instances: Some(1),
    };
    Found { labels, targets: vec![target] }
}
