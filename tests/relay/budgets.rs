//! Roll-ups and budgets over several targets: what receivers get, and what the relay says of it.

use std::{collections::BTreeSet, fmt::Write as _};

use flinkrelay::{
    flink::rollup::Level, relay::Relay, remote_write::proto::metric_metadata::MetricType,
    scrape::BudgetState, telemetry::metrics,
};

use crate::fakes::{
    flink::FakeFlink,
    receiver::FakeReceiver,
    relay::{Running, config, job, receiver},
    until_true,
};

/// A page of a TaskManager with so many subtasks of each job.
fn page(tm: usize, jobs: &[(&str, usize)]) -> String {
    let mut page =
        format!("flink_taskmanager_Status_JVM_CPU_Load{{tm_id=\"tm-{tm}\",host=\"h\"}} 0.5\n");
    for (job, subtasks) in jobs {
        for subtask in 0..*subtasks {
            writeln!(
                page,
                "flink_taskmanager_job_task_numRecordsIn{{job_id=\"{job}\",job_name=\"name of {job}\",\
                 task_name=\"T\",task_id=\"t\",subtask_index=\"{tm}{subtask}\",tm_id=\"tm-{tm}\",\
                 host=\"h\"}} {subtask}"
            )
            .unwrap();
        }
    }
    page
}

async fn names(relay: &Relay) -> (Vec<BTreeSet<String>>, BudgetState) {
    let once = relay.scrape_once().await;
    let names = once.targets.iter().map(|(scraper, scraped)| {
        let tally = scraped.result.as_ref().unwrap();
        assert_eq!(tally.scraped + tally.made, tally.kept + tally.dropped.total());
        let samples = scraper.samples(0).map(|(block, ..)| {
            let labels = flinkrelay::remote_write::v1::decode_labels(block).unwrap();
            let job = labels.get("job_id").unwrap_or_default();
            format!(
                "{} {job}",
                labels.metric_name().rsplit('_').take(2).collect::<Vec<_>>().join("_")
            )
        });
        samples.collect()
    });
    let names = names.collect();
    (names, once.budget)
}

#[tokio::test]
async fn the_largest_job_is_degraded_on_all_targets() {
    let pages = [page(0, &[("a", 2), ("b", 8)]), page(1, &[("b", 8)]), page(2, &[("a", 2)])];
    let mut flinks = Vec::new();
    for page in &pages {
        flinks.push(FakeFlink::with_page(page).await);
    }
    let addresses: Vec<_> = flinks.iter().map(FakeFlink::address).collect();
    let jobs = [job("flink", &addresses, "scrape_interval: 1m\nscrape_timeout: 30s")];
    let receivers = [receiver("http://127.0.0.1:1/api/v1/write", "")];
    let check = async |budgets: &str, expect: &[(&str, Level, u64, u64)], names_of_b: &str| {
        let section = format!("flink: {{budgets: {{{budgets}}}}}\n");
        let relay = Relay::new(&config(&jobs, &receivers, &section)).unwrap();
        let (names, state) = names(&relay).await;
        let degraded: Vec<_> = state
            .degraded
            .iter()
            .map(|job| (&*job.job, job.level, job.series, job.saved))
            .collect();
        assert_eq!(degraded, expect, "{budgets}");
        assert!(state.degraded.iter().all(|job| *job.name == *format!("name of {}", job.job)));
        let of_b = names.iter().flatten().filter(|name| name.ends_with(" b"));
        assert!(
            of_b.clone().count() > 0 && of_b.clone().all(|name| name == names_of_b),
            "{names:?}"
        );
    };
    // Three of processes, four of a, sixteen of b; rolled up, b has one on each of its targets.
    check("series_total: 23", &[], "numRecordsIn_task b").await;
    check("series_total: 22", &[("b", Level::Task, 2, 14)], "sum_numRecordsIn:task b").await;
    check("series_per_job: 15", &[("b", Level::Task, 2, 14)], "sum_numRecordsIn:task b").await;
    let both = [("a", Level::Task, 2, 2), ("b", Level::Task, 2, 14)];
    check("series_per_job: 3", &both, "sum_numRecordsIn:task b").await;
    check("series_total: 8", &both, "sum_numRecordsIn:task b").await;
}

#[tokio::test]
async fn a_job_that_grows_is_degraded_while_the_relay_runs_and_no_scrape_fails() {
    let flink = FakeFlink::with_page(&page(0, &[("a", 4)])).await;
    let remote = FakeReceiver::start().await;
    let section = "flink: {budgets: {series_per_job: 5}, rollups: {keep_raw: true}}\n";
    let settings =
        config(&[job("flink", &[flink.address()], "")], &[receiver(&remote.url(), "")], section);
    let running = Running::start(&settings);
    let raw = "flink_taskmanager_job_task_numRecordsIn";
    let sum = "flink_taskmanager_job_task_numRecordsIn:task_sum";
    until_true("raw series", || remote.samples_of(raw).len() >= 4).await;
    assert_eq!(remote.samples_of(sum).len(), 0);
    flink.set_page(&page(0, &[("a", 7)]));
    until_true("the roll-up", || remote.samples_of(sum).len() >= 2).await;
    let text = metrics::encode(&running.relay).unwrap();
    for line in [
        "flinkrelay_budget_job_level{job_id=\"a\",job_name=\"name of a\"} 1.0",
        "flinkrelay_budget_job_series_saved{job_id=\"a\",job_name=\"name of a\"} 6.0",
        "flinkrelay_budget_series{} 2.0",
        "flinkrelay_budget_jobs_short{} 0.0",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert_eq!(running.stop().await, 0);
    // 0 to 6 make 21; each raw series has ended with one marker.
    assert!(remote.samples_of(sum).iter().all(|sample| sample.value == 21.0));
    let markers = remote.samples_of(raw).into_iter().filter(|sample| sample.value.is_nan()).count();
    assert_eq!(markers, 4);
    assert!(remote.samples_of("up").iter().all(|sample| sample.value == 1.0));
}

#[tokio::test]
async fn roll_ups_come_with_their_type_and_as_one_series_over_restarts() {
    let flink = FakeFlink::with_page(&page(0, &[("a", 4)])).await;
    let remote = FakeReceiver::start().await;
    let settings = config(
        &[job("flink", &[flink.address()], "")],
        &[receiver(&remote.url(), "")],
        "flink: {rollups: job}\n",
    );
    let running = Running::start(&settings);
    let sum = "flink_taskmanager_job_task_numRecordsIn:job_sum";
    until_true("the roll-up", || remote.samples_of(sum).len() >= 2).await;
    // All subtasks begin anew on another TaskManager of this page's.
    flink.set_page(&page(1, &[("a", 2)]));
    until_true("its increase", || remote.samples_of(sum).iter().any(|s| s.value == 7.0)).await;
    assert_eq!(running.stop().await, 0);
    let samples = remote.samples_of(sum);
    assert!(samples.is_sorted_by(|a, b| a.value <= b.value), "it never falls");
    assert!(samples.iter().all(|sample| sample.series == samples[0].series));
    assert_eq!(
        (samples[0].value, samples[0].label("job_id"), samples[0].label("task_name")),
        (6.0, "a", "")
    );
    let writes = remote.accepted();
    let known =
        writes.iter().flat_map(|write| &write.metadata).find(|m| m.metric_family_name == sum);
    let known =
        known.map(|known| (known.r#type(), &*known.unit, known.help.starts_with("Sum over")));
    assert_eq!(known, Some((MetricType::Counter, "count", true)));
}
