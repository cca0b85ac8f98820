//! Where targets are looked for, and what is found there; the ports of ranges among it.

use std::{fmt, time::UNIX_EPOCH};

use prometheus_client::encoding::DescriptorEncoder;

use super::{Kind, Row, family};
use crate::{
    discovery::source::SourceState,
    relay::{Relay, SourceLook},
    status::RangeState,
};

const SOURCE_ROWS: [Row<SourceState>; 5] = [
    (
        "sd_discovered_targets",
        "Targets that the source knows, before relabelling; a port range is one.",
        Kind::Gauge,
        |s| s.targets.map_or(f64::NAN, |targets| targets as f64),
    ),
    ("sd_up", "Whether the source could tell when it was asked last.", Kind::Gauge, |s| {
        if s.refreshes == 0 { f64::NAN } else { f64::from(s.failure.is_none()) }
    }),
    ("sd_refreshes", "How often the source was asked.", Kind::Counter, |s| s.refreshes as f64),
    ("sd_refresh_failures", "How often it could not tell, or not all of it.", Kind::Counter, |s| {
        s.failures as f64
    }),
    (
        "sd_last_refresh_timestamp_seconds",
        "When it told last all that there is.",
        Kind::Gauge,
        |s| {
            let since = s.last_refresh.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            since.map_or(f64::NAN, |since| since.as_secs_f64())
        },
    ),
];

pub(super) fn discovery(relay: &Relay, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let sources = relay.discovery();
    let sources: Vec<_> = sources.iter().map(|source| (source, source.source.state())).collect();
    for (name, help, kind, value) in SOURCE_ROWS {
        family(encoder, name, help, kind, |family| {
            sources.iter().try_for_each(|(source, state)| family.add(&labels(source), value(state)))
        })?;
    }
    let help = "Targets found that are not scraped, by reason.";
    family(encoder, "sd_dropped_targets", help, Kind::Gauge, |family| {
        sources.iter().filter(|(_, state)| state.targets.is_some()).try_for_each(
            |(source, state)| {
                let left_out = state.left_out;
                let reasons = [
                    ("relabel", left_out.relabel),
                    ("invalid", left_out.invalid),
                    ("shard", left_out.shard),
                ];
                reasons.into_iter().try_for_each(|(reason, targets)| {
                    let [job, config, mechanism] = labels(source);
                    family.add(&[job, config, mechanism, ("reason", reason)], targets as f64)
                })
            },
        )
    })
}

pub(super) fn ranges(relay: &Relay, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Ports of a range, by what answers: a Flink page, something else, nobody.";
    family(encoder, "range_ports", help, Kind::Gauge, |family| {
        relay.status.ranges().iter().try_for_each(|((_, range), state)| {
            let RangeState { job, instances, ignored, closed } = state;
            let states =
                [("instance", instances.len()), ("ignored", ignored.len()), ("closed", *closed)];
            states.into_iter().try_for_each(|(state, ports)| {
                let labels = [("job", &**job), ("range", range), ("state", state)];
                family.add(&labels, ports as f64)
            })
        })
    })
}

fn labels(source: &SourceLook) -> [(&str, &str); 3] {
    let mechanism = source.source.config.mechanism();
    [("job", &source.job), ("config", &source.config), ("mechanism", mechanism)]
}
