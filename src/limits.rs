//! Every limit of the relay that is not a config key, with the reason for its size.

use std::time::Duration;

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

/// Comments of a page (HELP, TYPE) that are known on the next one, eight bytes each; the rest is read on every page.
/// A large TaskManager has some thousand, and half a MiB is little beside the lines of a page with more.
pub const COMMENTS_KNOWN_MAX: usize = 1 << 16;

/// Bytes of a receiver's answer that are read and logged.
pub const ANSWER_BYTES_MAX: usize = 1024;

/// Largest request body before compression. Receivers refuse by this size, not by the bytes on the
/// wire: VictoriaMetrics above 32 MiB (`-maxInsertRequestSize`), Mimir and Cortex above 100 MiB.
/// A quarter of the smallest leaves room for receivers set tighter, and 10,000 samples of Flink's
/// labels are about 3.5 MiB, so only pathological labels ever meet it.
pub const BODY_RAW_BYTES_MAX: u64 = 8 << 20;

/// Longest pause a receiver may ask for with `Retry-After`. A longer one is a fault of some proxy;
/// believing it would stop delivery until a person looks.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long roll-ups across targets wait for the last pages of an interval, at most; a quarter of the
/// interval or the scrape timeout when that is less. A page takes a second where it is large, and
/// what is sent should be of now.
pub const ACROSS_SLACK_MAX: Duration = Duration::from_secs(5);

/// How long a receiver that did not understand remote write 2.0 gets 1.0 before it is asked again.
/// Receivers are upgraded at most every few days, and each time costs one request that is sent twice.
pub const REASK_AFTER: Duration = Duration::from_secs(6 * 60 * 60);

/// Relays that may share one configuration by sharding. Choosing a target's owner costs a hash for
/// each of them, and a hundred relays already carry tens of thousands of targets.
pub const SHARD_COUNT_MAX: u32 = 1024;

/// Longest body of a frame on disk; a longer length is damage, and nothing is allocated for it. Fragments
/// hold at most `BODY_RAW_BYTES_MAX` or one line of a page, and snappy adds a sixth at worst.
pub const FRAME_BODY_BYTES_MAX: usize = 16 << 20;

/// Compressed bytes per receiver that stay in memory although they are on disk, so that a receiver that keeps up is
/// served without reading; and the most that waits in memory while the disk takes nothing. 300,000
/// samples of 28 bytes: five minutes at 1,000 samples a second.
pub const SPOOL_MEMORY_BYTES_MAX: u64 = 8 << 20;

/// Smallest and largest segment of a spool on disk; between them a sixteenth of `max_bytes`. What is dropped when
/// the disk limit is reached is one segment, so it should be a small part of the whole; and a
/// segment costs a file and two syncs, so not too small.
pub const SEGMENT_BYTES_LEAST: u64 = 256 << 10;
/// See [`SEGMENT_BYTES_LEAST`].
pub const SEGMENT_BYTES_MAX: u64 = 16 << 20;

/// Largest cursor of a spool: half a million records settled one by one. What exceeds it is sent again
/// after a restart.
pub const CURSOR_BYTES_MAX: usize = 64 << 10;

/// Compressed bytes that are written to a spool's disk at a time, so that reads and settled batches
/// wait at most that long.
pub const SPOOL_WRITE_BYTES_MAX: u64 = 1 << 20;

/// Ids on pages that no REST API has explained, remembered to ask for them. A session cluster with a
/// thousand jobs of some tasks each fits; beyond it pages keep their own names.
pub const WANTS_MAX: usize = 16_384;

/// Tasks whose attempts one poll of a REST endpoint asks about. An answer grows with the task's parallelism, and
/// after a restart of a job with many tasks hundreds of sidecars ask; starts that come minutes later do no harm.
pub const STARTS_PER_POLL_MAX: usize = 16;

/// Polls of a REST endpoint that new ids on pages may cause in a row, beside the regular ones: a start,
/// where each target of a session cluster brings new jobs, takes some ten.
pub const EARLY_POLLS: u32 = 30;

/// Time after which one of them comes back.
pub const EARLY_POLL_EVERY: Duration = Duration::from_secs(10);

/// Largest answer of Flink's REST API. A TaskManager's entry has 0.8 KiB and a vertex with its plan
/// some KiB, so this is a cluster of ten thousand TaskManagers.
pub const REST_BYTES_MAX: usize = 16 << 20;

/// How long the finer level must have fitted a budget, with a fifth to spare, before a job goes back to it.
/// Longer than a job takes to restart, during which it has few series.
pub const RESTORE_AFTER: Duration = Duration::from_secs(10 * 60);

/// Bytes of a query that asks a target for its metrics by name. Flink's server takes far more; a proxy in front of it may
/// refuse what is above 8 KiB, which costs one request an hour.
pub const PUSHED_QUERY_BYTES_MAX: usize = 16 << 10;

/// REST endpoints found at JobManager targets. Each may be polled; a person who has more clusters
/// runs more than one relay.
pub const REST_ENDPOINTS_MAX: usize = 256;

/// Largest list of targets that is read from a file or over HTTP. A target with its labels has some
/// hundred bytes, so this is a hundred thousand of them.
pub const LIST_BYTES_MAX: usize = 32 << 20;

/// Groups of the user's in `flink.metrics`. A filter over groups is one word of 64 bits, of which the
/// built-in groups have half.
pub const OWN_GROUPS_MAX: usize = 32;

/// Largest answer of the Kubernetes API to a list. Objects are asked for in pages of 500; a pod has 6 to
/// 15 KiB, seldom 100, so this is far above any page and below what a relay should hold.
pub const KUBERNETES_LIST_BYTES_MAX: usize = 256 << 20;

/// Largest event of a watch. Kubernetes stores no object above 1.5 MiB (etcd's limit), 3 MiB where it was
/// raised.
pub const KUBERNETES_EVENT_BYTES_MAX: usize = 8 << 20;

/// Namespaces that are watched one by one. Each takes a connection's stream and a request a few minutes; who
/// has more watches all of them at once.
pub const KUBERNETES_NAMESPACES_MAX: usize = 64;

/// Bytes per target of what is kept of one scrape's encoding for the next one, for one view in one message. It is some 24
/// for each series in 1.0, and less in 2.0, so this is twice the largest page known; beyond it each scrape is encoded from its labels, which takes thrice as long.
pub const REPLAY_TARGET_BYTES_MAX: usize = 8 << 20;

/// The same of all targets and views: two million series, of a relay that needs a gigabyte for other things.
pub const REPLAY_BYTES_MAX: usize = 64 << 20;

/// Bytes of the process' memory for each series of pages that `page_series_limit: auto` lets it remember. One takes 145
/// to 224 of them, by its page, and thrice that for moments while a target is new or its job restarts; the rest is for what
/// waits for receivers, the process itself, and what the allocator cannot give back.
pub const PAGE_SERIES_BYTES: u64 = 1024;
