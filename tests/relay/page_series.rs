//! The limit on what is remembered of all pages together: what happens at it, and what makes room again.

use flinkrelay::{config::Config, relay::Relay, series::Dropped, telemetry::metrics};

use crate::{
    fakes::{
        flink::FakeFlink,
        receiver::{FakeReceiver, Sample},
        relay::{Log, Running, config, job, receiver},
        until_true,
    },
    task_manager,
};

/// A page with so many metrics.
fn page(metrics: usize) -> String {
    let names: Vec<_> = (0..metrics).map(|number| format!("metric{number}")).collect();
    task_manager(&names.iter().map(|name| (&**name, 1.0)).collect::<Vec<_>>())
}

/// Scrapes of these, with this limit.
fn settings(flinks: &[&FakeFlink], remote: &FakeReceiver, limit: &str) -> Config {
    let addresses: Vec<_> = flinks.iter().map(|flink| flink.address()).collect();
    let pace = "scrape_interval: 300ms, scrape_timeout: 300ms";
    let section = format!("global: {{{pace}, page_series_limit: {limit}}}\n");
    config(&[job("flink", &addresses, "")], &[receiver(&remote.url(), "")], &section)
}

/// Of the last good pages of all targets: samples on them, kept ones, and those for which there was no room.
fn sums(relay: &Relay) -> (u64, u64, u64) {
    let targets = relay.status.targets();
    targets.iter().fold((0, 0, 0), |(scraped, kept, left_out), target| {
        let tally = target.state().tally;
        assert_eq!(tally.scraped + tally.made, tally.kept + tally.dropped.total(), "{tally:?}");
        let here = tally.dropped.of(Dropped::PageSeriesLimit);
        (scraped + tally.scraped, kept + tally.kept, left_out + here)
    })
}

fn of_pages(remote: &FakeReceiver, flink: &FakeFlink) -> Vec<Sample> {
    let mut samples = remote.samples();
    samples.retain(|sample| {
        sample.name().starts_with("flink_") && sample.label("instance") == flink.address()
    });
    samples
}

#[tokio::test]
async fn all_targets_stop_at_one_limit_and_go_on_when_one_of_them_is_gone() {
    let (log, _guard) = Log::start();
    let (one, other) = (FakeFlink::with_page(&page(4)).await, FakeFlink::with_page(&page(6)).await);
    let remote = FakeReceiver::start().await;
    let running = Running::start(&settings(&[&one, &other], &remote, "7"));
    let relay = &running.relay;
    until_true("the limit", || sums(relay) == (10, 7, 3)).await;
    let before = one.scrapes() + other.scrapes();
    until_true("more scrapes", || one.scrapes() + other.scrapes() > before + 4).await;
    assert_eq!(sums(relay), (10, 7, 3));
    let text = metrics::encode(relay).unwrap();
    let left_out = "flinkrelay_target_samples_dropped_total{";
    let is_told = |line: &str| {
        let counted = line.starts_with(left_out) && line.contains("reason=\"page_series_limit\"");
        counted && !line.ends_with(" 0.0")
    };
    assert!(text.lines().any(is_told), "{text}");
    for line in ["flinkrelay_page_series 7.0", "flinkrelay_page_series_limit 7.0"] {
        let line = line.replace(' ', "{} ");
        assert!(text.contains(&line), "{line} is not in {text}");
    }
    // Once for each target that found no room, and not with each page.
    let told = log.lines_with("as page_series_limit allows");
    let short = relay.status.targets().into_iter().filter(|target| {
        let has_told = told.iter().any(|line| line.contains(&target.target.url.to_string()));
        let is_short = target.state().tally.dropped.of(Dropped::PageSeriesLimit) > 0;
        assert_eq!(has_told, is_short, "{told:?}");
        is_short
    });
    assert_eq!(told.len(), short.count(), "{told:?}");
    assert!(told.iter().all(|line| line.contains("WARN") && line.contains("limit=7")), "{told:?}");

    // What its series took is room for the other's.
    running.reload(&settings(&[&other], &remote, "7")).await;
    until_true("the whole page", || sums(relay) == (6, 6, 0)).await;
    assert_eq!(relay.status.page_series.remembered(), 6);
    // Known ones have had no gap and no marker.
    running.reload(&settings(&[&one, &other], &remote, "8")).await;
    until_true("the new limit", || sums(relay) == (10, 8, 2)).await;
    running.reload(&settings(&[&one, &other], &remote, "0")).await;
    until_true("no limit", || sums(relay) == (10, 10, 0)).await;
    assert_eq!(relay.status.page_series.remembered(), 10);
    assert_eq!(running.stop().await, 0);

    assert!(remote.samples_of("up").iter().filter(|up| !up.is_stale()).all(|up| up.value == 1.0));
    assert!(of_pages(&remote, &other).iter().all(|sample| !sample.is_stale()));
    assert!(
        of_pages(&remote, &one).iter().any(Sample::is_stale),
        "those of a target that goes end"
    );
}

#[tokio::test]
async fn one_round_keeps_to_the_limit_too() {
    let flinks = [FakeFlink::with_page(&page(3)).await, FakeFlink::with_page(&page(3)).await];
    let remote = FakeReceiver::start().await;
    for (limit, kept) in [("5", 5), ("0", 6), ("auto", 6)] {
        let relay = Relay::new(&settings(&flinks.each_ref(), &remote, limit)).unwrap();
        let once = relay.scrape_once().await;
        let tallies = once.targets.iter().map(|(_, scraped)| scraped.result.as_ref().unwrap());
        assert_eq!(tallies.map(|tally| tally.kept).sum::<u64>(), kept, "{limit}");
    }
}
