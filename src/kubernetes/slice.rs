//! Targets of the role `endpointslice`, as Prometheus makes them
//! (`discovery/kubernetes/endpointslice.go`).
//!
//! One target for each address and port of a slice, with what is known of the service and, where the
//! endpoint is a pod, of the pod and of the container that declares the port. Ports that such a pod
//! declares beyond those of the service are targets as well. Of a service with two address families,
//! the slices of the second are left out: they would double the targets.

use std::collections::BTreeMap;

use super::{
    Found, FoundTarget,
    object::{Endpoint, EndpointPort, EndpointSlice, Object as _, Pod, Service, TargetRef},
    pod::{self, containers, set_container},
    set_object_labels,
};
use crate::labels::Labels;

/// The label that names a slice's service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Looks an object up by namespace and name.
pub type Lookup<'l, T> = &'l dyn Fn(&str, &str) -> Option<&'l T>;

/// A pod that endpoints of the slice lead to, and the ports by which they do.
struct Seen<'p> {
    pod: &'p Pod,
    ports: Vec<u16>,
}

/// The targets of an endpoint slice.
pub fn found(slice: &EndpointSlice, services: Lookup<'_, Service>, pods: Lookup<'_, Pod>) -> Found {
    let meta = slice.meta();
    let mut shared = Labels::new();
    shared.set("__meta_kubernetes_namespace", meta.namespace.clone());
    shared.set("__meta_kubernetes_endpointslice_address_type", slice.address_type.clone());
    set_object_labels(&mut shared, meta, "endpointslice");
    let service = meta.labels.get(SERVICE_NAME).and_then(|name| services(&meta.namespace, name));
    if let Some(service) = service {
        set_object_labels(&mut shared, service.meta(), "service");
        if is_second_family(service, slice) {
            return Found { labels: shared, targets: Vec::new() };
        }
    }
    let mut targets = Vec::new();
    let mut seen: BTreeMap<(&str, &str), Seen<'_>> = BTreeMap::new();
    for endpoint in &slice.endpoints {
        let reference = endpoint.target_ref.as_ref();
        let pod_of = |reference: &TargetRef| match reference.kind.as_str() {
            "Pod" => pods(&reference.namespace, &reference.name),
            _ => None,
        };
        let pod = reference.and_then(pod_of);
        for port in &slice.ports {
            for address in &endpoint.addresses {
                let mut labels = endpoint_labels(endpoint, port);
                if let Some(pod) = pod {
                    set_pod(&mut labels, pod, port.port);
                    let key = (pod.metadata.namespace.as_str(), pod.metadata.name.as_str());
                    let seen = seen.entry(key).or_insert(Seen { pod, ports: Vec::new() });
                    seen.ports.extend(port.port);
                }
                targets.push(FoundTarget::new(address, port.port, labels));
            }
        }
    }
    targets.extend(seen.into_values().flat_map(further_ports));
    Found { labels: shared, targets }
}

fn endpoint_labels(endpoint: &Endpoint, port: &EndpointPort) -> Labels<'static> {
    let mut labels = Labels::new();
    let mut set = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            labels.set(format!("__meta_kubernetes_endpointslice_{name}"), value);
        }
    };
    set("port_name", port.name.clone());
    set("port_protocol", port.protocol.clone());
    set("port", port.port.map(|port| port.to_string()));
    set("port_app_protocol", port.app_protocol.clone());
    let conditions = &endpoint.conditions;
    set("endpoint_conditions_ready", conditions.ready.map(|is| is.to_string()));
    set("endpoint_conditions_serving", conditions.serving.map(|is| is.to_string()));
    set("endpoint_conditions_terminating", conditions.terminating.map(|is| is.to_string()));
    set("endpoint_hostname", endpoint.hostname.clone());
    if let Some(reference) = &endpoint.target_ref {
        set("address_target_kind", Some(reference.kind.clone()));
        set("address_target_name", Some(reference.name.clone()));
    }
    set("endpoint_node_name", endpoint.node_name.clone());
    set("endpoint_zone", endpoint.zone.clone());
    for (key, value) in &endpoint.deprecated_topology {
        let key = super::sanitized(key);
        set(&format!("endpoint_topology_{key}"), Some(value.clone()));
        set(&format!("endpoint_topology_present_{key}"), Some("true".to_owned()));
    }
    labels
}

/// What is said of the pod, and of the container that declares this port. Of several the last one is
/// told, and of its ports the first, as in Prometheus.
fn set_pod(labels: &mut Labels<'static>, pod: &Pod, port: Option<u16>) {
    for (name, value) in pod::labels(pod).iter() {
        labels.set(name.to_owned(), value.to_owned());
    }
    for (container, is_init) in containers(pod) {
        let declared =
            container.ports.iter().find(|declared| Some(declared.container_port) == port);
        if let Some(declared) = declared {
            set_container(labels, container, is_init, Some(declared));
        }
    }
}

/// Targets of the ports that the pod declares and no endpoint has led to.
fn further_ports(seen: Seen<'_>) -> Vec<FoundTarget> {
    let Seen { pod, ports } = seen;
    let mut targets = Vec::new();
    if pod.status.pod_ip.is_empty() {
        return targets;
    }
    for (container, is_init) in containers(pod) {
        let further = container.ports.iter().filter(|port| !ports.contains(&port.container_port));
        for port in further {
            let mut labels = pod::labels(pod);
            set_container(&mut labels, container, is_init, Some(port));
            let address = &pod.status.pod_ip;
            targets.push(FoundTarget::new(address, Some(port.container_port), labels));
        }
    }
    targets
}

/// Whether the slice is of the second address family of a service that has two.
fn is_second_family(service: &Service, slice: &EndpointSlice) -> bool {
    let policy = service.spec.ip_family_policy.as_deref();
    let has_two = matches!(policy, Some("PreferDualStack" | "RequireDualStack"));
    let first = service.spec.ip_families.first();
    has_two && first.is_some_and(|first| *first != slice.address_type)
}
