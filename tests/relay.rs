//! The relay from outside: scripted Flink processes on one side, receivers that check the protocol on
//! the other, real sockets between them.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, not the functions they call"
)]

#[path = "relay/across.rs"]
mod across;
#[path = "relay/answers.rs"]
mod answers;
#[path = "relay/broken_pages.rs"]
mod broken_pages;
#[path = "relay/budgets.rs"]
mod budgets;
#[path = "relay/delivery.rs"]
mod delivery;
#[path = "relay/discovery.rs"]
mod discovery;
#[path = "relay/endpoints.rs"]
mod endpoints;
#[path = "relay/failures.rs"]
mod failures;
#[path = "common/fakes.rs"]
mod fakes;
#[path = "relay/final_scrape.rs"]
mod final_scrape;
#[path = "relay/hour.rs"]
mod hour;
#[path = "relay/kubernetes.rs"]
mod kubernetes;
#[path = "relay/names.rs"]
mod names;
#[path = "relay/negotiation.rs"]
mod negotiation;
#[path = "relay/outages.rs"]
mod outages;
#[path = "relay/own_metrics.rs"]
mod own_metrics;
#[path = "relay/page_series.rs"]
mod page_series;
#[path = "relay/policies.rs"]
mod policies;
#[path = "relay/pushdown.rs"]
mod pushdown;
#[path = "relay/quarantine.rs"]
mod quarantine;
#[path = "relay/ranges.rs"]
mod ranges;
#[path = "relay/refusals.rs"]
mod refusals;
#[path = "relay/reload.rs"]
mod reload;
#[path = "relay/sharding.rs"]
mod sharding;
#[path = "relay/spool.rs"]
mod spool;
#[path = "relay/staleness.rs"]
mod staleness;
#[path = "transport/clients.rs"]
mod transport;
#[path = "relay/views.rs"]
mod views;

/// A page with these samples, as a TaskManager has it.
fn task_manager(samples: &[(&str, f64)]) -> String {
    samples
        .iter()
        .map(|(name, value)| {
            format!(
                "# HELP flink_taskmanager_{name} of {name}\n# TYPE flink_taskmanager_{name} gauge\n\
                 flink_taskmanager_{name}{{host=\"h\",tm_id=\"tm-1\",}} {value:?}\n"
            )
        })
        .collect()
}
