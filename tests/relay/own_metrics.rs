//! Metrics and groups of the user's own, from the file to the receiver, and over a reload.

use flinkrelay::{flink::Group, remote_write::proto::metric_metadata::MetricType};

use crate::fakes::{
    flink::FakeFlink,
    receiver::FakeReceiver,
    relay::{Running, config, job, receiver},
    until_true,
};

const OPERATOR: &str = "flink_taskmanager_job_task_operator";

/// As the reporter writes it: counters are gauges, HELP has the border between groups and name.
fn page() -> String {
    let mut page = String::new();
    for (groups, name, kind, labels, value) in [
        ("_shop_berlin_mitte_orders", "placed", "gauge", "", "7.0"),
        ("_shop_ulm_orders", "placed", "gauge", "", "8.0"),
        ("_shop_ulm_orders", "not-described", "gauge", "", "9.0"),
        (
            "_payment_provider",
            "latency-ms",
            "summary",
            "provider=\"visa\",quantile=\"0.5\",",
            "12.0",
        ),
        ("", "numRecordsIn", "gauge", "", "1.0"),
    ] {
        let family = format!("{OPERATOR}{groups}_{}", name.replace('-', "_"));
        let scope = OPERATOR.strip_prefix("flink_").unwrap();
        page += &format!(
            "# HELP {family} {name} (scope: {scope}{groups})\n# TYPE {family} {kind}\n\
             {family}{{job_id=\"j\",operator_name=\"map\",tm_id=\"tm-1\",{labels}}} {value}\n"
        );
    }
    page
}

/// `flink.metrics` that says this type of the orders.
fn section(orders: &str, groups: &str) -> String {
    format!(
        "flink:\n  metrics:\n    segments: {{shop: {{about: a shop}}}}\n    groups:\n      - group: shop\n        \
         about: Ours.\n        metrics:\n          - name: shop.<shop>.orders.placed\n            \
         {orders}\n            scopes: [taskmanager_job_task_operator]\n            type: counter\n            \
         unit: count\n            help: Orders.\n          - {{name: 'payment.{{provider}}.latency-ms', scopes: \
         [taskmanager_job_task_operator], type: histogram, unit: milliseconds, help: Time.}}\n  groups: {groups}\n"
    )
}

fn names(remote: &FakeReceiver) -> Vec<String> {
    let mut names: Vec<_> = remote
        .samples()
        .into_iter()
        .filter_map(|sample| {
            let name = sample.name().strip_prefix(OPERATOR)?.to_owned();
            let labels = ["shop", "provider"].map(|label| sample.labels.get(label).cloned());
            Some(labels.into_iter().flatten().fold(name, |name, label| format!("{name} {label}")))
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[tokio::test]
async fn ones_own_metrics_are_named_typed_filtered_and_counted_as_flinks() {
    let flink = FakeFlink::with_page(&page()).await;
    let remote = FakeReceiver::start().await;
    let jobs = [job("flink", &[flink.address()], "")];
    let receivers = [receiver(&remote.url(), "")];
    let running = Running::start(&config(&jobs, &receivers, &section("", "[shop]")));
    until_true("two scrapes", || remote.samples_of("up").len() >= 2).await;
    assert_eq!(
        names(&remote),
        ["_payment_latency_ms visa", "_shop_orders_placed berlin_mitte", "_shop_orders_placed ulm"]
    );
    let told: Vec<_> = remote.accepted().into_iter().flat_map(|write| write.metadata).collect();
    let family = |name: &str| {
        let told = told.iter().find(|m| m.metric_family_name == format!("{OPERATOR}_{name}"));
        let told = told.unwrap_or_else(|| panic!("no metadata of {name}"));
        (told.r#type, told.unit.as_str(), told.help.as_str())
    };
    assert_eq!(family("shop_orders_placed"), (MetricType::Counter as i32, "count", "Orders."));
    let payment = (MetricType::Summary as i32, "milliseconds", "Time.");
    assert_eq!(family("payment_latency_ms"), payment);
    let targets = running.relay.status.targets();
    let tally = targets.first().unwrap().state().tally.clone();
    let counted: Vec<_> = tally
        .groups
        .iter()
        .filter(|(_, count)| count.scraped > 0)
        .map(|(group, count)| (group.as_str(), count.scraped, count.kept))
        .collect();
    assert_eq!(counted, [("io", 1, 0), ("custom", 1, 0), ("shop", 3, 3)]);
    assert_eq!(tally.groups.of(Group::Io).scraped, 1);
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn a_reload_ends_the_series_whose_rows_say_something_else_and_no_others() {
    let flink = FakeFlink::with_page(&page()).await;
    let remote = FakeReceiver::start().await;
    let jobs = [job("flink", &[flink.address()], "")];
    let receivers = [receiver(&remote.url(), "")];
    let with = |orders: &str| config(&jobs, &receivers, &section(orders, "[shop, custom, io]"));
    let running = Running::start(&with(""));
    until_true("two scrapes", || remote.samples_of("up").len() >= 2).await;
    running.reload(&with("canonical: orders.taken")).await;
    let taken = format!("{OPERATOR}_orders_taken");
    until_true("the new name", || remote.samples_of(&taken).len() >= 4).await;
    assert_eq!(running.stop().await, 0);
    let placed = remote.samples_of(&format!("{OPERATOR}_shop_orders_placed"));
    let ended = placed.iter().filter(|sample| sample.is_stale()).count();
    assert_eq!(ended, 2, "each of its two series ends once: {placed:?}");
    for name in ["_numRecordsIn", "_payment_latency_ms", "_shop_ulm_orders_not_described"] {
        let samples = remote.samples_of(&format!("{OPERATOR}{name}"));
        assert_eq!(samples.len(), remote.samples_of("up").len(), "{name}");
        assert!(!samples.iter().any(|sample| sample.is_stale()), "{name}");
    }
}

#[tokio::test]
async fn a_group_of_ones_own_is_rolled_up_like_flinks() {
    let flink = FakeFlink::with_page(&page()).await;
    let remote = FakeReceiver::start().await;
    let jobs = [job("flink", &[flink.address()], "")];
    let receivers = [receiver(&remote.url(), "")];
    let section =
        section("rollup: [sum, max]", "[shop, io]") + "  rollups: {levels: {shop: job}}\n";
    let running = Running::start(&config(&jobs, &receivers, &section));
    until_true("two scrapes", || remote.samples_of("up").len() >= 2).await;
    assert_eq!(running.stop().await, 0);
    assert_eq!(
        names(&remote),
        [
            "_numRecordsIn",
            "_payment_latency_ms:job_max visa",
            "_shop_orders_placed:job_max berlin_mitte",
            "_shop_orders_placed:job_max ulm",
            "_shop_orders_placed:job_sum berlin_mitte",
            "_shop_orders_placed:job_sum ulm",
        ]
    );
}
