//! To be written in the next commits.

pub mod groups;
