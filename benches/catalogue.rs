//! The cost of classifying one name, and of naming its sample, which is paid once for each new series:
//! less than a microsecond for both, whatever the name.
//!
//! `cargo bench --bench catalogue`; each time is for one pass over all names of its kind, and criterion
//! shows the names per second beside it.

use std::{collections::BTreeSet, hint::black_box};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flinkrelay::{
    flink::{NameMode, catalogue},
    labels::{Labels, METRIC_NAME},
};

const PAGES: [&str; 2] = [
    include_str!("../tests/pages/2.3.0/jobmanager.prom"),
    include_str!("../tests/pages/2.3.0/taskmanager-2.prom"),
];

/// The distinct names of real pages.
fn on_pages() -> Vec<String> {
    let lines = PAGES.iter().flat_map(|page| page.lines()).filter(|line| !line.starts_with('#'));
    let names = lines.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned);
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The names of the catalogue with varying parts (or without), these filled in.
fn exported(varies: bool) -> Vec<String> {
    let names = catalogue().metrics().flat_map(|metric| &metric.exported);
    names.filter(|name| name.contains('<') == varies).map(|name| filled(name)).collect()
}

fn filled(exported: &str) -> String {
    catalogue().segments().fold(exported.to_owned(), |name, segment| {
        let part = format!("<{}>", segment.name);
        name.replace(&part, if segment.is_number { "12" } else { "window_aggregates_7" })
    })
}

/// Names of users, as long as Flink's, some with an ending or a beginning of Flink's.
fn unknown() -> Vec<String> {
    let names = [
        "shop_orders_total",
        "shop_orders_numRecordsIn",
        "orders_9",
        "KafkaProduced_records_total",
        "shop_valueStateGetLatencies",
        "rocksdb_size_of_orders",
    ];
    let own = names.map(|name| format!("flink_taskmanager_job_task_operator_{name}"));
    own.into_iter()
        .chain(["go_goroutines".to_owned(), "process_cpu_seconds_total".to_owned()])
        .collect()
}

/// The families of real pages with their HELP.
fn described() -> Vec<(String, String)> {
    let lines = PAGES.iter().flat_map(|page| page.lines());
    let help = lines.filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    help.map(|(family, text)| (family.to_owned(), text.to_owned())).collect()
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("catalogue");
    for (kind, names) in [
        ("pages", on_pages()),
        ("exact", exported(false)),
        ("varying", exported(true)),
        ("unknown", unknown()),
    ] {
        group.throughput(Throughput::Elements(names.len() as u64));
        group.bench_function(kind, |bencher| {
            bencher.iter(|| {
                for name in &names {
                    black_box(catalogue().lookup(black_box(name)));
                }
            });
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("catalogue, with naming");
    let bare = |names: Vec<String>| names.into_iter().map(|name| (name, String::new())).collect();
    for (kind, names) in [
        ("pages, with HELP", described()),
        ("exact", bare(exported(false))),
        ("varying", bare(exported(true))),
    ] {
        let renamed = names.iter().filter(|(name, help)| named(name, help) != *name).count();
        assert!(renamed * 20 > names.len(), "{kind}: {renamed} of {} change", names.len());
        group.throughput(Throughput::Elements(names.len() as u64));
        group.bench_function(kind, |bencher| {
            bencher.iter(|| {
                for (name, help) in &names {
                    black_box(named(black_box(name), help));
                }
            });
        });
    }
    group.finish();
}

/// The name that a sample of this name gets.
fn named(name: &str, help: &str) -> String {
    let known = catalogue().find_described(name, (!help.is_empty()).then_some(help));
    let mut labels = Labels::with_capacity(16);
    labels.push(METRIC_NAME, name);
    NameMode::Canonical.apply(known.as_ref(), &mut labels);
    labels.metric_name().to_owned()
}

criterion_group!(all, benches);
criterion_main!(all);
