//! Prometheus relabelling.

/// One checked relabelling rule.
#[derive(Clone, Debug)]
pub struct Rule {}
