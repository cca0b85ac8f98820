//! What waits for each receiver, and how its disk is. A receiver without a data directory has no series of
//! the families `spool_…`.

use std::{fmt, sync::Arc};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::MetricType,
};

use super::{Kind, Row, family};
use crate::{push::Receiver, spool::StoreState};

/// A receiver and one reading of its disk.
type Spool = (Arc<Receiver>, StoreState);

const ROWS: [Row<StoreState>; 8] = [
    ("spool_disk_bytes", "Bytes of the spool's segments on disk.", Kind::Gauge, |s| {
        s.disk_bytes as f64
    }),
    ("spool_segments", "Segments of the spool on disk.", Kind::Gauge, |s| s.segments as f64),
    (
        "spool_memory_bytes",
        "Compressed bytes of the spool in memory, most of which are on disk as well.",
        Kind::Gauge,
        |s| s.memory_bytes as f64,
    ),
    (
        "spool_unwritten_bytes",
        "Compressed bytes of the spool that are not on disk yet.",
        Kind::Gauge,
        |s| s.unwritten_bytes as f64,
    ),
    (
        "spool_writable",
        "Whether the spool's disk takes new samples; otherwise they wait in memory.",
        Kind::Gauge,
        |s| f64::from(s.trouble.is_empty()),
    ),
    ("spool_disk_errors", "Calls to the spool's disk that failed.", Kind::Counter, |s| {
        s.errors as f64
    }),
    (
        "spool_corrupt_records",
        "Records of the spool that were damaged on disk.",
        Kind::Counter,
        |s| s.corrupt_records as f64,
    ),
    (
        "spool_corrupt_bytes",
        "Bytes of damage that were found when the spool was opened.",
        Kind::Counter,
        |s| s.corrupt_bytes as f64,
    ),
];

/// Writes the families of spools.
pub(super) fn spools(
    receivers: &[Arc<Receiver>],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let help = "Samples that the account of the spool cannot place; anything but 0 is a bug.";
    family(encoder, "remote_write_samples_unaccounted", help, Kind::Gauge, |family| {
        receivers.iter().try_for_each(|receiver| {
            family.add(&[("receiver", &*receiver.config.name)], receiver.unaccounted() as f64)
        })
    })?;
    let spools: Vec<Spool> =
        receivers.iter().filter_map(|r| Some((Arc::clone(r), r.store()?))).collect();
    for (name, help, kind, value) in ROWS {
        family(encoder, name, help, kind, |family| {
            spools.iter().try_for_each(|(receiver, state)| {
                family.add(&[("receiver", &*receiver.config.name)], value(state))
            })
        })?;
    }
    let name = "spool_fsync_duration_seconds";
    let help = "Time that syncs of the spool's disk took.";
    let mut histograms = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    spools.iter().try_for_each(|(receiver, _)| {
        let labels = [("receiver", &*receiver.config.name)];
        receiver.numbers.sync_seconds.encode(histograms.encode_family(&labels)?)
    })
}
