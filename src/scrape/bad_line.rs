//! A line of a page that costs its sample: one that cannot be read, or whose values stand under wrong label
//! names. Small and `Copy`; the text is made when somebody reads it.

use std::fmt;

use crate::{exposition::Fault, series::Mislabelled};

/// A bad line of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLine {
    /// It breaks the text format.
    Fault(Fault),
    /// It can be read, and cannot be right.
    Mislabelled {
        /// Number of the line, from 1.
        line: u64,
        /// Offset in the page of the byte at the column, from 0.
        offset: u64,
        /// What is wrong, and in which column.
        what: Mislabelled,
    },
}

impl BadLine {
    /// Number of the line, from 1.
    pub const fn line(&self) -> u64 {
        match self {
            Self::Fault(fault) => fault.line,
            Self::Mislabelled { line, .. } => *line,
        }
    }

    /// Place in the line, in bytes from 1.
    pub const fn column(&self) -> usize {
        match self {
            Self::Fault(fault) => fault.column,
            Self::Mislabelled { what, .. } => what.column,
        }
    }

    /// Offset in the page of the byte at the column, from 0.
    pub const fn offset(&self) -> u64 {
        match self {
            Self::Fault(fault) => fault.offset,
            Self::Mislabelled { offset, .. } => *offset,
        }
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Mislabelled { line, what, .. } => {
                write!(f, "line {line}, column {}: {what}", what.column)
            }
        }
    }
}
