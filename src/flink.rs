//! Everything that knows Flink.

/// Which metric groups are relayed.
#[derive(Clone, Debug, Default)]
pub struct GroupFilter {}

/// How Flink's labels are normalised.
#[derive(Clone, Debug, Default)]
pub struct LabelPolicy {}
