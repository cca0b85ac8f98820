//! Metrics of the relay as a whole: its configuration, and its part of the targets.

use std::{fmt, time::UNIX_EPOCH};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};

use super::{Kind, family};
use crate::{relay::Relay, remote_write::Replay};

pub(super) fn reloads(relay: &Relay, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let state = relay.reloads.state();
    let taken = state.success_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    // What a float holds exactly.
    let hash = state.hash.0 & ((1 << 48) - 1);
    for (name, help, value) in [
        (
            "config_last_reload_successful",
            "Whether the configuration that was read last is in use.",
            f64::from(state.successful),
        ),
        (
            "config_last_reload_success_timestamp_seconds",
            "When the configuration in use was taken.",
            taken.as_secs_f64(),
        ),
        (
            "config_hash",
            "Hash of the configuration file in use; the same where the same file is used.",
            hash as f64,
        ),
    ] {
        let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(gauge)?;
    }
    Ok(())
}

/// What is kept to encode a page that repeats.
pub(super) fn replay(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Bytes kept of the last scrapes' encoding, to save time.";
    family(encoder, "replay_bytes", help, Kind::Gauge, |family| {
        family.add(&[], Replay::kept_bytes() as f64)
    })
}

/// What is remembered of pages, and how much may be.
pub(super) fn page_series(relay: &Relay, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let page_series = &relay.status.page_series;
    let help = "Series of pages that are remembered of all targets, left out ones included.";
    family(encoder, "page_series", help, Kind::Gauge, |family| {
        family.add(&[], page_series.remembered() as f64)
    })?;
    let help = "The most that are; what is new beyond it is dropped. 0 is unlimited.";
    family(encoder, "page_series_limit", help, Kind::Gauge, |family| {
        family.add(&[], page_series.limit() as f64)
    })
}

/// Without series when the relay scrapes all targets.
pub(super) fn shard(relay: &Relay, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let shard = relay.shard();
    let help = "Number of this relay among those that share the targets, from 0.";
    family(encoder, "shard_index", help, Kind::Gauge, |family| {
        shard.iter().try_for_each(|shard| family.add(&[], f64::from(shard.index())))
    })?;
    let help = "Relays that share the targets, as this one goes by it; 0 while it is not known.";
    family(encoder, "shard_count", help, Kind::Gauge, |family| {
        shard.iter().try_for_each(|shard| family.add(&[], f64::from(shard.count())))
    })?;
    let help = "Failures to watch the StatefulSet that says how many relays there are.";
    family(encoder, "shard_watch_failures", help, Kind::Counter, |family| {
        let scale = relay.scale.look();
        scale.iter().try_for_each(|scale| family.add(&[], scale.failures as f64))
    })
}
