//! From what the Kubernetes API says to targets.
//!
//! ```text
//! events of watches -> Known -> objects -> pods | slices | flink -> Found
//! ```
//!
//! [`object`] is the few fields of pods, services and endpoint slices that are used; [`known`] is the set
//! of objects that a watch has told of; [`pod`] and [`slice`](mod@slice) make Prometheus' targets and
//! `__meta_kubernetes_…` labels of them, [`flink`] those of Flink's processes, without named ports.
//!
//! Invariants: an object that has not changed gives the same [`Found`], whatever its status fields that
//! are of no use here do; a set is never emptied because the API could not be asked.

pub mod flink;
pub mod joined;
pub mod known;
pub mod kubeconfig;
pub mod object;
pub mod pod;
pub mod refusal;
pub mod slice;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use crate::labels::Labels;

/// Targets that one object stands for, with the labels that they share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Labels of all of them.
    pub labels: Labels<'static>,
    /// The targets; some objects have none.
    pub targets: Vec<FoundTarget>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTarget {
    /// Address or host name; IPv6 in brackets when there are ports.
    pub host: String,
    /// One port, or a range to probe; `None` is for relabelling to add.
    pub ports: Option<RangeInclusive<u16>>,
    /// Its own labels; they win over the shared ones.
    pub labels: Labels<'static>,
    /// How many of the ports are instances, when that is known.
    pub instances: Option<usize>,
}

impl FoundTarget {
    /// A host with a port, or as it is when there is none.
    fn new(host: &str, port: Option<u16>, labels: Labels<'static>) -> Self {
        match port {
            Some(port) => {
                Self { host: bracketed(host), ports: Some(port..=port), labels, instances: None }
            }
            None => Self { host: host.to_owned(), ports: None, labels, instances: None },
        }
    }
}

/// A host as it stands before a colon and a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// A key of Kubernetes' as the end of a label name: every character that Prometheus does not allow
/// there is an underscore.
fn sanitized(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// Adds the labels and annotations of an object, and that they are there, since a value can be empty.
fn set_object_labels(labels: &mut Labels<'static>, meta: &object::Meta, resource: &str) {
    labels.set(format!("__meta_kubernetes_{resource}_name"), meta.name.clone());
    for (kind, pairs) in [("label", &meta.labels), ("annotation", &meta.annotations)] {
        for (key, value) in pairs {
            let key = sanitized(key);
            labels.set(format!("__meta_kubernetes_{resource}_{kind}_{key}"), value.clone());
            labels.set(format!("__meta_kubernetes_{resource}_{kind}present_{key}"), "true");
        }
    }
}
