//! Targets of the role `pod`, as Prometheus makes them (`discovery/kubernetes/pod.go`).
//!
//! One target for each port that a container declares, init containers included, and one without a port
//! for a container that declares none: relabelling adds it. A pod without an address has no target. Pods
//! that have ended have, as in Prometheus, as long as they keep their address: rules can look at
//! `__meta_kubernetes_pod_phase`.

use super::{
    Found, FoundTarget,
    object::{Container, ContainerPort, Object as _, Pod},
    set_object_labels,
};
use crate::labels::Labels;

/// The targets of a pod.
pub fn found(pod: &Pod) -> Found {
    if pod.status.pod_ip.is_empty() {
        return Found::default();
    }
    let mut shared = labels(pod);
    shared.set("__meta_kubernetes_namespace", pod.metadata.namespace.clone());
    let mut targets = Vec::new();
    for (container, is_init) in containers(pod) {
        let statuses = match is_init {
            true => &pod.status.init_container_statuses,
            false => &pod.status.container_statuses,
        };
        let status = statuses.iter().find(|status| status.name == container.name);
        let id = status.map(|status| status.container_id.clone()).unwrap_or_default();
        let mut target = |port: Option<&ContainerPort>| {
            let mut labels = Labels::new();
            set_container(&mut labels, container, is_init, port);
            labels.set("__meta_kubernetes_pod_container_id", id.clone());
            let port = port.map(|port| port.container_port);
            targets.push(FoundTarget::new(&pod.status.pod_ip, port, labels));
        };
        match container.ports.as_slice() {
            [] => target(None),
            ports => ports.iter().for_each(|port| target(Some(port))),
        }
    }
    Found { labels: shared, targets }
}

/// The containers of a pod, and whether they are init containers.
pub(super) fn containers(pod: &Pod) -> impl Iterator<Item = (&Container, bool)> {
    let own = pod.spec.containers.iter().map(|container| (container, false));
    own.chain(pod.spec.init_containers.iter().map(|container| (container, true)))
}

/// What is said of the pod as a whole, without its namespace.
pub(super) fn labels(pod: &Pod) -> Labels<'static> {
    let Pod { metadata, spec, status } = pod;
    let mut labels = Labels::new();
    let ready = status.conditions.iter().find(|condition| condition.r#type == "Ready");
    let ready = ready.map_or_else(|| "unknown".to_owned(), |c| c.status.to_ascii_lowercase());
    labels.set("__meta_kubernetes_pod_ip", status.pod_ip.clone());
    labels.set("__meta_kubernetes_pod_ready", ready);
    labels.set("__meta_kubernetes_pod_phase", status.phase.clone());
    labels.set("__meta_kubernetes_pod_node_name", spec.node_name.clone());
    labels.set("__meta_kubernetes_pod_host_ip", status.host_ip.clone());
    labels.set("__meta_kubernetes_pod_uid", metadata.uid.clone());
    set_object_labels(&mut labels, pod.meta(), "pod");
    if let Some(owner) = metadata.owner_references.iter().find(|owner| owner.controller) {
        labels.set("__meta_kubernetes_pod_controller_kind", owner.kind.clone());
        labels.set("__meta_kubernetes_pod_controller_name", owner.name.clone());
    }
    labels
}

/// What is said of a container and, when it declares one, of its port.
pub(super) fn set_container(
    labels: &mut Labels<'static>,
    container: &Container,
    is_init: bool,
    port: Option<&ContainerPort>,
) {
    labels.set("__meta_kubernetes_pod_container_name", container.name.clone());
    labels.set("__meta_kubernetes_pod_container_image", container.image.clone());
    labels.set("__meta_kubernetes_pod_container_init", is_init.to_string());
    if let Some(port) = port {
        let number = port.container_port.to_string();
        labels.set("__meta_kubernetes_pod_container_port_number", number);
        labels.set("__meta_kubernetes_pod_container_port_name", port.name.clone());
        labels.set("__meta_kubernetes_pod_container_port_protocol", port.protocol.clone());
    }
}
