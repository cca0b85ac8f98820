//! Whose page is this? Learnt from the page itself, since a port says nothing about who listens.
//!
//! Flink's processes look for a free port in a range, so 9250 may be the JobManager today and a
//! TaskManager tomorrow. The names on the page do tell: each begins with the process it came from.

use std::fmt;

use super::NAME_PREFIX;

/// The kind of Flink process behind a page. Starts as [`Role::Unknown`] and learns from every name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// A JobManager: Dispatcher, ResourceManager and JobMasters.
    JobManager,
    /// A TaskManager.
    TaskManager,
    /// Both in one process, as in a MiniCluster or behind an aggregating proxy.
    Both,
    /// The Flink Kubernetes Operator, and nothing else.
    KubernetesOperator,
    /// No name of Flink's was seen (yet).
    #[default]
    Unknown,
}

impl Role {
    /// Learns from one metric or sample name of the page, or a text that begins with it.
    #[inline]
    pub fn observe(&mut self, name: impl AsRef<[u8]>) {
        let seen = match name.as_ref().strip_prefix(NAME_PREFIX.as_bytes()) {
            Some(rest) if rest.starts_with(b"taskmanager_") => Self::TaskManager,
            Some(rest) if rest.starts_with(b"jobmanager_") => Self::JobManager,
            Some(rest) if rest.starts_with(b"k8soperator_") => Self::KubernetesOperator,
            _ => return,
        };
        *self = match (*self, seen) {
            (Self::Unknown | Self::KubernetesOperator, seen) => seen,
            // On a page that shows both, as behind a proxy, the processes of a cluster say more.
            (known, Self::KubernetesOperator) => known,
            (known, seen) if known == seen => known,
            _ => Self::Both,
        };
    }

    /// Whether the page is Flink's: at least one name of a JobManager, a TaskManager or the
    /// Kubernetes operator was seen.
    pub fn is_flink(self) -> bool {
        self != Self::Unknown
    }

    /// The role in output, lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JobManager => "jobmanager",
            Self::TaskManager => "taskmanager",
            Self::Both => "jobmanager+taskmanager",
            Self::KubernetesOperator => "kubernetes-operator",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_learnt_from_names() {
        let check = |names: &[&str], expect: Role| {
            let mut role = Role::default();
            names.iter().for_each(|name| role.observe(name));
            assert_eq!(role, expect, "{names:?}");
            assert_eq!(role.is_flink(), expect != Role::Unknown);
        };
        check(&[], Role::Unknown);
        check(&["up", "go_goroutines", "flink_", "flink_taskmanagers_total"], Role::Unknown);
        check(&["my_flink_taskmanager_job_x"], Role::Unknown);
        check(&["flink_jobmanager_numRunningJobs", "up"], Role::JobManager);
        check(&["flink_taskmanager_job_task_numRecordsIn"], Role::TaskManager);
        check(&["flink_taskmanager_a", "flink_taskmanager_b"], Role::TaskManager);
        check(&["flink_taskmanager_a", "flink_jobmanager_b"], Role::Both);
        check(&["flink_k8soperator_a", "flink_k8soperator_b"], Role::KubernetesOperator);
        check(&["flink_k8soperator_a", "flink_jobmanager_b"], Role::JobManager);
        check(&["flink_taskmanager_a", "flink_k8soperator_b"], Role::TaskManager);
        check(&["flink_taskmanager_a", "flink_jobmanager_b", "flink_k8soperator_c"], Role::Both);
        check(
            &["flink_jobmanager_b", "x", "flink_taskmanager_a", "flink_jobmanager_c"],
            Role::Both,
        );
    }
}
