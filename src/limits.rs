//! Every limit of the relay that is not a config key, with the reason for its size.

/// Longest line of a page. Flink's lines average 450 bytes; SQL operator chains of some hundred KiB
/// have been seen, and a longer one is a fault of the page, not a sample.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Most labels of one sample. Receivers accept 30 to 60; Flink writes 11 and its users add a few.
pub const LABELS_MAX: usize = 128;

/// Largest page after decompression unless `body_size_limit` says otherwise. The largest page
/// known from a real TaskManager is 67 MB.
pub const PAGE_BYTES_MAX: u64 = 256 << 20;

/// Ports in one target range. A wider range is a typing error, and each port costs a probe.
pub const RANGE_PORTS_MAX: usize = 1024;

/// Faults of one page that are kept with line and column; the rest is counted.
pub const FAULTS_KEPT_MAX: usize = 16;

/// Bytes of a receiver's answer that are read and logged.
pub const ANSWER_BYTES_MAX: usize = 1024;
