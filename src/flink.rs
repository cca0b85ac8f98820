//! Everything that knows Flink.

/// Which metric groups are relayed.
#[derive(Clone, Debug, Default)]
pub struct GroupFilter {
    include: Vec<String>,
    exclude: Vec<String>,
}

const GROUPS: [&str; 12] = [
    "cpu",
    "memory",
    "threads",
    "gc",
    "classloader",
    "shuffle",
    "cluster",
    "availability",
    "checkpointing",
    "rocksdb",
    "io",
    "custom",
];

/// Stand-in.
#[derive(Debug, thiserror::Error)]
#[error("unknown group `{0}`")]
pub struct GroupError(String);

impl GroupFilter {
    /// Stand-in.
    pub fn try_new(include: &[String], exclude: &[String]) -> Result<Self, GroupError> {
        match include.iter().chain(exclude).find(|g| !GROUPS.contains(&g.as_str())) {
            Some(group) => Err(GroupError(group.clone())),
            None => Ok(Self { include: include.to_vec(), exclude: exclude.to_vec() }),
        }
    }
}

/// How Flink's labels are normalised.
#[derive(Clone, Debug, Default)]
pub struct LabelPolicy {
    raw: bool,
    keep: Vec<String>,
}

impl LabelPolicy {
    /// Stand-in.
    pub fn try_new(raw: bool, keep: &[String]) -> Result<Self, GroupError> {
        Ok(Self { raw, keep: keep.to_vec() })
    }
}
