//! Objects of the Kubernetes API, with the fields that are used here and no others.
//!
//! A pod as the API tells it has 6 to 15 KiB of JSON, most of it specifications of volumes, probes and
//! managed fields. What is not named here is skipped by the reader and never becomes memory, which is what
//! makes a cluster of thousands of pods affordable. Lists and maps that are `null` are empty: the API
//! writes both.
//!
//! Source: Kubernetes API reference, `core/v1` Pod and Service, `discovery.k8s.io/v1` EndpointSlice.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// What all objects have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Unique among its kind in its namespace.
    pub name: String,
    /// The namespace.
    pub namespace: String,
    /// Unique for all time.
    pub uid: String,
    /// Which state of the object this is; opaque.
    pub resource_version: String,
    /// Its labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    /// What it belongs to.
    #[serde(deserialize_with = "or_default")]
    pub owner_references: Vec<Owner>,
}

/// An entry of `ownerReferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// Kind of the owner, such as `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whether it is the one that controls the object.
    #[serde(deserialize_with = "or_default")]
    pub controller: bool,
}

/// A kind of object.
pub trait Object {
    /// API group; empty for the core's.
    const GROUP: &'static str;
    /// Version of the group.
    const VERSION: &'static str;
    /// Name of the kind.
    const KIND: &'static str;
    /// Its name in URLs and in rules of Roles.
    const RESOURCE: &'static str;

    /// Its metadata.
    fn meta(&self) -> &Meta;
}

/// `Pod`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// Name, labels and so on.
    pub metadata: Meta,
    /// What was asked for.
    pub spec: PodSpec,
    /// What there is.
    #[serde(deserialize_with = "or_default")]
    pub status: PodStatus,
}

/// `PodSpec`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The node it was scheduled onto; empty before that.
    pub node_name: String,
    /// Its containers.
    #[serde(deserialize_with = "or_default")]
    pub containers: Vec<Container>,
    /// Those that run before them, or beside them as native sidecars.
    #[serde(deserialize_with = "or_default")]
    pub init_containers: Vec<Container>,
}

/// `Container`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Unique in its pod.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Ports that it declares.
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<ContainerPort>,
}

/// `ContainerPort`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Its name; may be empty.
    pub name: String,
    /// Its number.
    pub container_port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// `PodStatus`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// Its address; empty until it has one.
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// Address of its node.
    #[serde(rename = "hostIP")]
    pub host_ip: String,
    /// Conditions, `Ready` among them.
    #[serde(deserialize_with = "or_default")]
    pub conditions: Vec<Condition>,
    /// States of the containers.
    #[serde(deserialize_with = "or_default")]
    pub container_statuses: Vec<ContainerStatus>,
    /// States of the init containers.
    #[serde(deserialize_with = "or_default")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// `PodCondition`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Such as `Ready`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
}

/// `ContainerStatus`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    /// The container.
    pub name: String,
    /// `TYPE://ID`; empty before it runs.
    #[serde(rename = "containerID")]
    pub container_id: String,
}

/// `Service`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Name, labels and so on.
    pub metadata: Meta,
    /// What was asked for.
    #[serde(deserialize_with = "or_default")]
    pub spec: ServiceSpec,
}

/// `ServiceSpec`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `SingleStack`, `PreferDualStack` or `RequireDualStack`.
    pub ip_family_policy: Option<String>,
    /// `IPv4`, `IPv6`; the first is the service's own.
    #[serde(deserialize_with = "or_default")]
    pub ip_families: Vec<String>,
}

/// `EndpointSlice`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// Name, labels and so on.
    pub metadata: Meta,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// What the service leads to.
    #[serde(deserialize_with = "or_default")]
    pub endpoints: Vec<Endpoint>,
    /// The ports of each of them.
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<EndpointPort>,
}

/// `Endpoint`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Its addresses; all but the first are ignored by Kubernetes itself.
    #[serde(deserialize_with = "or_default")]
    pub addresses: Vec<String>,
    /// Whether it takes requests.
    #[serde(deserialize_with = "or_default")]
    pub conditions: EndpointConditions,
    /// Its host name.
    pub hostname: Option<String>,
    /// Its node.
    pub node_name: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// What it is, usually a pod.
    pub target_ref: Option<TargetRef>,
    /// Where it runs, in the words of before `v1`.
    #[serde(deserialize_with = "or_default")]
    pub deprecated_topology: BTreeMap<String, String>,
}

/// `EndpointConditions`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EndpointConditions {
    /// Ready for requests.
    pub ready: Option<bool>,
    /// As `ready`, also while it ends.
    pub serving: Option<bool>,
    /// It ends.
    pub terminating: Option<bool>,
}

/// `EndpointPort`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    /// Its name.
    pub name: Option<String>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Option<String>,
    /// Its number; without one all ports are meant.
    pub port: Option<u16>,
    /// What is spoken there.
    pub app_protocol: Option<String>,
}

/// `ObjectReference`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// Such as `Pod`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Object for Pod {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Pod";
    const RESOURCE: &'static str = "pods";

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Object for Service {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Service";
    const RESOURCE: &'static str = "services";

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl Object for EndpointSlice {
    const GROUP: &'static str = "discovery.k8s.io";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "EndpointSlice";
    const RESOURCE: &'static str = "endpointslices";

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// A value of which `null` means the same as nothing.
fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_nothing() {
        let slice = r#"{"metadata": {"name": "x", "labels": null}, "addressType": "IPv4",
                        "endpoints": null, "ports": null}"#;
        let slice: EndpointSlice = serde_json::from_str(slice).unwrap();
        assert_eq!(slice.metadata.name, "x");
        assert_eq!((slice.endpoints.len(), slice.ports.len()), (0, 0));
        let pod: Pod = serde_json::from_str(r#"{"metadata": {}, "status": null}"#).unwrap();
        assert_eq!(pod, Pod::default());
    }
}
