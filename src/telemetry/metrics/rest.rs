//! What the relay tells of Flink's REST API.

use std::{fmt, time::UNIX_EPOCH};

use prometheus_client::encoding::DescriptorEncoder;

use super::{Kind, Row, family};
use crate::{flink_rest::EndpointState, relay::Relay};

const REST_ROWS: [Row<EndpointState>; 6] = [
    ("flink_rest_up", "Whether the last poll of the REST API succeeded.", Kind::Gauge, |s| {
        if s.polls == 0 { f64::NAN } else { f64::from(s.failure.is_none()) }
    }),
    ("flink_rest_polls", "Polls of the REST API, good and bad.", Kind::Counter, |s| s.polls as f64),
    ("flink_rest_poll_failures", "Polls that failed.", Kind::Counter, |s| s.polls_failed as f64),
    ("flink_rest_requests", "Requests that the polls took.", Kind::Counter, |s| s.requests as f64),
    (
        "flink_rest_request_failures",
        "Requests without an answer that can be used.",
        Kind::Counter,
        |s| s.requests_failed as f64,
    ),
    (
        "flink_rest_last_poll_timestamp_seconds",
        "When the last good poll ended.",
        Kind::Gauge,
        |s| {
            let since = s.last_ok.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            since.map_or(f64::NAN, |since| since.as_secs_f64())
        },
    ),
];

pub(super) fn flink_rest(relay: &Relay, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let endpoints: Vec<_> = relay
        .rest()
        .iter()
        .flat_map(|rest| rest.endpoints())
        .map(|(url, state)| (url.to_string(), state))
        .collect();
    for (name, help, kind, value) in REST_ROWS {
        family(encoder, name, help, kind, |family| {
            endpoints.iter().try_for_each(|(url, state)| family.add(&[("url", url)], value(state)))
        })?;
    }
    let help = "Jobs, tasks and TaskManagers on pages that no REST API has explained.";
    family(encoder, "flink_rest_unknown", help, Kind::Gauge, |family| {
        relay.rest().iter().try_for_each(|rest| family.add(&[], rest.unknown().len() as f64))
    })
}
