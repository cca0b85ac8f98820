//! Another configuration under a running relay: what is in both goes on to the sample, the rest begins
//! or ends as it should.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use flinkrelay::spool::Reason;

use crate::{
    fakes::{
        flink::FakeFlink,
        free_ports,
        http::Answer,
        receiver::{FakeReceiver, Sample},
        relay::{Running, config, job, receiver},
        until, until_true,
    },
    task_manager,
};

/// A page with these metrics, each of them 1.
fn page(names: &[&str]) -> String {
    task_manager(&names.iter().map(|&name| (name, 1.0)).collect::<Vec<_>>())
}

fn ups_of(remote: &FakeReceiver, instance: &str) -> Vec<Sample> {
    let mut ups = remote.samples_of("up");
    ups.retain(|up| up.label("instance") == instance);
    ups
}

/// Waits for `more` further scrapes of a target to arrive.
async fn scrapes(remote: &FakeReceiver, instance: &str, more: usize) {
    let before = ups_of(remote, instance).len();
    until_true("more scrapes", || ups_of(remote, instance).len() >= before + more).await;
}

fn times(samples: &[Sample]) -> Vec<i64> {
    samples.iter().map(|sample| sample.timestamp_ms).collect()
}

/// The series of an instance, each with its samples in the order in which they came.
fn series_of(remote: &FakeReceiver, instance: &str) -> BTreeMap<String, Vec<Sample>> {
    let mut series = BTreeMap::<_, Vec<Sample>>::new();
    for sample in remote.samples() {
        if sample.label("instance") == instance {
            series.entry(sample.series.clone()).or_default().push(sample);
        }
    }
    series
}

/// Each series of the instance has a sample at each scrape, and no marker. Returns their number.
fn undisturbed(remote: &FakeReceiver, flink: &FakeFlink) -> usize {
    let instance = flink.address();
    let ups = times(&ups_of(remote, &instance));
    // A scrape that a stop has broken off is no sample.
    assert!(ups.len() == flink.scrapes() || ups.len() + 1 == flink.scrapes(), "{ups:?}");
    let series = series_of(remote, &instance);
    for (name, samples) in &series {
        assert_eq!(times(samples), ups, "{name}");
        assert!(!samples.iter().any(Sample::is_stale), "{name}");
    }
    series.len()
}

/// The series has samples up to its one marker, which stands at `end`.
#[track_caller]
fn ended(samples: &[Sample], end: i64) {
    let (last, before) = samples.split_last().expect("there was such a series");
    assert!(!before.is_empty() && !before.iter().any(Sample::is_stale), "{samples:?}");
    assert!(last.is_stale(), "{last:?}");
    assert_eq!(last.timestamp_ms, end, "{last:?}");
}

#[tokio::test]
async fn the_same_configuration_changes_nothing() {
    let flink = FakeFlink::with_page(&page(&["a", "b"])).await;
    let remote = FakeReceiver::start().await;
    let jobs = [job("flink", &[flink.address()], "")];
    let config = config(&jobs, &[receiver(&remote.url(), "")], "");
    let running = Running::start(&config);
    scrapes(&remote, &flink.address(), 2).await;
    for _ in 0..20 {
        let changes = running.reload(&config).await;
        assert_eq!(changes.to_string(), "the same receivers and jobs");
        tokio::time::sleep(Duration::from_millis(31)).await;
    }
    scrapes(&remote, &flink.address(), 2).await;
    assert_eq!(running.stop().await, 0);
    assert_eq!(undisturbed(&remote, &flink), 5 + 2);
    let ups = times(&ups_of(&remote, &flink.address()));
    let early = ups.windows(2).filter(|pair| pair[1] - pair[0] < 150).count();
    assert_eq!(early, 0, "its place in the interval stays: {ups:?}");
    let connections: BTreeSet<_> = flink.requests().iter().map(|r| r.connection).collect();
    assert_eq!(connections.len(), 1, "the connection is kept");
    let metadata = remote.accepted().iter().filter(|write| !write.metadata.is_empty()).count();
    assert_eq!(metadata, 1, "nobody needs it again");
}

#[tokio::test]
async fn a_target_that_stays_is_not_disturbed_by_others_that_come_and_go() {
    let (stays, goes, comes) = (
        FakeFlink::with_page(&page(&["a"])).await,
        FakeFlink::with_page(&page(&["a"])).await,
        FakeFlink::with_page(&page(&["a"])).await,
    );
    let remote = FakeReceiver::start().await;
    let receivers = [receiver(&remote.url(), "")];
    let with = |targets: &[String]| config(&[job("flink", targets, "")], &receivers, "");
    let running = Running::start(&with(&[stays.address(), goes.address()]));
    scrapes(&remote, &stays.address(), 2).await;
    scrapes(&remote, &goes.address(), 2).await;
    running.reload(&with(&[comes.address(), stays.address()])).await;
    scrapes(&remote, &comes.address(), 2).await;
    scrapes(&remote, &stays.address(), 2).await;
    let urls = running.relay.status.targets();
    let urls: BTreeSet<_> = urls.iter().map(|target| target.target.instance().to_owned()).collect();
    assert_eq!(urls, [stays.address(), comes.address()].into());
    assert_eq!(running.stop().await, 0);
    undisturbed(&remote, &stays);
    undisturbed(&remote, &comes);
    let gone = series_of(&remote, &goes.address());
    assert_eq!(gone.len(), 5 + 1);
    let end = gone.values().next().unwrap().last().unwrap().timestamp_ms;
    gone.values().for_each(|samples| ended(samples, end));
}

#[tokio::test]
async fn another_filter_ends_what_it_drops_and_nothing_else() {
    let flink = FakeFlink::with_page(&page(&["a", "b", "Status_JVM_CPU_Load"])).await;
    let remote = FakeReceiver::start().await;
    let with = |lines: &str, flink_section: &str| {
        let jobs = [job("flink", &[flink.address()], lines)];
        config(&jobs, &[receiver(&remote.url(), "")], flink_section)
    };
    let drop_b =
        "metric_relabel_configs:\n  - {source_labels: [__name__], regex: .*_b, action: drop}";
    let running = Running::start(&with("", ""));
    scrapes(&remote, &flink.address(), 2).await;
    running.reload(&with(drop_b, "")).await;
    scrapes(&remote, &flink.address(), 2).await;
    running.reload(&with(drop_b, "flink: {groups: {exclude: [cpu]}}\n")).await;
    scrapes(&remote, &flink.address(), 3).await;
    // A limit and another time-out change no series.
    running
        .reload(&with(
            &format!("{drop_b}\nsample_limit: 5\nscrape_timeout: 200ms"),
            "flink: {groups: {exclude: [cpu]}}\n",
        ))
        .await;
    scrapes(&remote, &flink.address(), 2).await;
    assert_eq!(running.stop().await, 0);
    let mut series = series_of(&remote, &flink.address());
    let ups = times(&ups_of(&remote, &flink.address()));
    let mut ends = Vec::new();
    for (name, samples) in &mut series {
        if name.contains("_b{") || name.contains("_CPU_") {
            let end = samples.last().unwrap().timestamp_ms;
            ended(samples, end);
            let place = ups.iter().position(|&up| up == end).expect("at a scrape");
            assert_eq!(times(samples), ups[..=place], "{name} has no gap before its end");
            ends.push(place);
        } else {
            assert_eq!(times(samples), ups, "{name}");
            assert!(!samples.iter().any(Sample::is_stale), "{name}");
        }
    }
    assert!(ends.len() == 2 && ends[0] != ends[1], "{ends:?}");
}

#[tokio::test]
async fn other_labels_end_the_old_series_where_the_new_ones_begin() {
    let flink = FakeFlink::with_page(&page(&["a"])).await;
    let remote = FakeReceiver::start().await;
    let with = |labels: &str, global: &str| {
        let target = flink.address();
        let jobs = format!(
            "  - job_name: flink\n    static_configs: [{{targets: ['{target}'], labels: {labels}}}]\n"
        );
        let global = format!("global: {{scrape_interval: 300ms, external_labels: {global}}}\n");
        config(&[jobs], &[receiver(&remote.url(), "")], &global)
    };
    let running = Running::start(&with("{team: red}", "{}"));
    scrapes(&remote, &flink.address(), 2).await;
    running.reload(&with("{team: blue}", "{}")).await;
    scrapes(&remote, &flink.address(), 3).await;
    running.reload(&with("{team: blue}", "{region: eu}")).await;
    scrapes(&remote, &flink.address(), 3).await;
    let targets = running.relay.status.targets();
    assert_eq!(targets.len(), 1);
    assert!(targets[0].state().scrapes >= 6, "its numbers go on");
    assert_eq!(running.stop().await, 0);
    let ups = ups_of(&remote, &flink.address());
    let scraped: BTreeSet<_> = times(&ups).into_iter().collect();
    let broken_off = flink.scrapes() - scraped.len();
    assert!(broken_off <= 1, "there was one scraper");
    let phases =
        |sample: &Sample| (sample.label("team").to_owned(), sample.labels.contains_key("region"));
    let mut begins = BTreeMap::new();
    for up in &ups {
        begins.entry(phases(up)).or_insert(up.timestamp_ms);
    }
    let begin_of = |team: &str, region| begins[&(team.to_owned(), region)];
    for (name, samples) in series_of(&remote, &flink.address()) {
        match phases(&samples[0]) {
            (team, false) if team == "red" => ended(&samples, begin_of("blue", false)),
            (team, false) if team == "blue" => ended(&samples, begin_of("blue", true)),
            _ => assert!(!samples.iter().any(Sample::is_stale), "{name}"),
        }
    }
}

#[tokio::test]
async fn another_interval_or_path_goes_on_in_one_scraper() {
    let flink = FakeFlink::with_page(&page(&["a", "b"])).await;
    let remote = FakeReceiver::start().await;
    let with = |lines: &str| {
        let jobs = [job("flink", &[flink.address()], lines)];
        config(&jobs, &[receiver(&remote.url(), "")], "")
    };
    let running = Running::start(&with(""));
    scrapes(&remote, &flink.address(), 2).await;
    running.reload(&with("scrape_interval: 100ms\nscrape_timeout: 100ms")).await;
    scrapes(&remote, &flink.address(), 6).await;
    running.reload(&with("metrics_path: /metrics/")).await;
    scrapes(&remote, &flink.address(), 3).await;
    assert_eq!(running.stop().await, 0);
    undisturbed(&remote, &flink);
    let ups = times(&ups_of(&remote, &flink.address()));
    let close = ups.windows(2).filter(|pair| pair[1] - pair[0] < 200).count();
    assert!(close >= 3, "the interval of 100ms was kept: {ups:?}");
    let paths: Vec<_> = flink.requests().iter().map(|request| request.target.clone()).collect();
    let moved = paths.iter().position(|path| path == "/metrics/").expect("the new path is asked");
    assert!(paths[moved..].iter().all(|path| path == "/metrics/"), "{paths:?}");
}

#[tokio::test]
async fn a_job_of_another_name_is_another_job() {
    let flink = FakeFlink::with_page(&page(&["a"])).await;
    let remote = FakeReceiver::start().await;
    let with = |name: &str| {
        config(&[job(name, &[flink.address()], "")], &[receiver(&remote.url(), "")], "")
    };
    let running = Running::start(&with("one"));
    scrapes(&remote, &flink.address(), 2).await;
    let changes = running.reload(&with("two")).await;
    assert_eq!(changes.to_string(), "jobs added: two; jobs removed: one");
    let of = |name: &str| {
        let mut ups = ups_of(&remote, &flink.address());
        ups.retain(|up| up.label("job") == name);
        ups
    };
    until_true("the new job", || of("two").len() >= 2).await;
    assert_eq!(running.stop().await, 0);
    let one = of("one");
    ended(&one, one.last().unwrap().timestamp_ms);
    assert!(!of("two").iter().any(Sample::is_stale));
}

#[tokio::test]
async fn the_instances_of_a_range_stay_known() {
    let names = ["a", "Status_JVM_Threads_Count"];
    let port = free_ports(4).start + 1;
    let flink = FakeFlink::on_port(port, &page(&names)).await;
    let remote = FakeReceiver::start().await;
    let range = |before: u16, after: u16| format!("127.0.0.1:{}-{}", port - before, port + after);
    let with = |range: &str, lines: &str| {
        let jobs = [job("flink", &[range], lines)];
        config(&jobs, &[receiver(&remote.url(), "")], "")
    };
    // Probed once at the start; the next round would come after the test.
    let running = Running::start(&with(&range(0, 1), "probe_interval: 1h"));
    scrapes(&remote, &flink.address(), 2).await;
    running.reload(&with(&range(1, 2), "probe_interval: 30m")).await;
    scrapes(&remote, &flink.address(), 2).await;
    running.reload(&with(&range(1, 2), "probe_interval: 30m\nsample_limit: 100")).await;
    scrapes(&remote, &flink.address(), 2).await;
    let ranges = running.relay.status.ranges();
    let spelled: Vec<_> = ranges.keys().map(|(_, spec)| spec.clone()).collect();
    assert_eq!(spelled, [range(1, 2)], "the old spelling is gone");
    assert_eq!(running.stop().await, 0);
    undisturbed(&remote, &flink);
    let probes = flink.requests().iter().filter(|request| !request.names().is_empty()).count();
    assert_eq!(probes, 1, "an instance is not probed again");
}

#[tokio::test]
async fn receivers_come_and_go_and_the_others_notice_nothing() {
    let flink = FakeFlink::with_page(&page(&["a", "b"])).await;
    let (stays, goes, comes) =
        (FakeReceiver::start().await, FakeReceiver::start().await, FakeReceiver::start().await);
    let of = |remote: &FakeReceiver, name: &str| receiver(&remote.url(), &format!("name: {name}"));
    let with =
        |receivers: &[String]| config(&[job("flink", &[flink.address()], "")], receivers, "");
    let running = Running::start(&with(&[of(&goes, "goes"), of(&stays, "stays")]));
    scrapes(&stays, &flink.address(), 2).await;
    let changes = running.reload(&with(&[of(&stays, "stays"), of(&comes, "comes")])).await;
    assert_eq!(changes.to_string(), "receivers added: comes; receivers removed: goes");
    scrapes(&comes, &flink.address(), 3).await;
    until_true("that the removed one is drained", || running.relay.receivers().len() == 2).await;
    let numbers: Vec<_> = running.relay.receivers().iter().map(|r| r.config.name.clone()).collect();
    assert_eq!(numbers, ["stays", "comes"]);
    assert_eq!(running.stop().await, 0);
    undisturbed(&stays, &flink);
    let (all, first) = (ups_of(&stays, &flink.address()), ups_of(&goes, &flink.address()));
    let last = ups_of(&comes, &flink.address());
    assert_eq!(times(&first), times(&all)[..first.len()], "it got everything until it was removed");
    assert_eq!(
        times(&last),
        times(&all)[all.len() - last.len()..],
        "and this one all from then on"
    );
    assert!(last.len() >= 3 && last.len() + first.len() >= all.len());
    for remote in [&goes, &comes] {
        assert!(!remote.samples().iter().any(Sample::is_stale), "no series has ended");
    }
    assert!(!comes.accepted()[0].metadata.is_empty(), "a new receiver knows no types");
}

#[tokio::test]
async fn what_a_removed_receiver_does_not_take_is_dropped_after_the_grace() {
    let flink = FakeFlink::with_page(&page(&["a"])).await;
    let (good, dead) = (FakeReceiver::start().await, FakeReceiver::start().await);
    dead.set(|_| Answer::words(503, "not now"));
    let of = |remote: &FakeReceiver, name: &str| receiver(&remote.url(), &format!("name: {name}"));
    let with =
        |receivers: &[String]| config(&[job("flink", &[flink.address()], "")], receivers, "");
    let both = with(&[of(&good, "good"), of(&dead, "dead")]);
    let running = Running::with_grace(&both, Duration::from_millis(700));
    scrapes(&good, &flink.address(), 3).await;
    let leaving = running.relay.receivers()[1].clone();
    running.reload(&with(&[of(&good, "good")])).await;
    assert_eq!(running.relay.receivers().len(), 2, "it is shown while it drains");
    until_true("the end of the grace", || running.relay.receivers().len() == 1).await;
    let counts = leaving.counts();
    let lost = counts.dropped(Reason::ReceiverRemoved).samples;
    assert!(lost > 0 && counts.queued.samples == 0, "{counts:?}");
    assert_eq!(counts.appended.samples, lost, "it has taken nothing");
    assert_eq!(running.stop().await, 0);
    undisturbed(&good, &flink);
}

#[tokio::test]
async fn a_receiver_that_comes_back_before_it_is_gone_keeps_its_queue() {
    let flink = FakeFlink::with_page(&page(&["a"])).await;
    let (good, late) = (FakeReceiver::start().await, FakeReceiver::start().await);
    late.set(|_| Answer::words(503, "not now"));
    let of = |remote: &FakeReceiver, name: &str| receiver(&remote.url(), &format!("name: {name}"));
    let with =
        |receivers: &[String]| config(&[job("flink", &[flink.address()], "")], receivers, "");
    let both = with(&[of(&good, "good"), of(&late, "late")]);
    let running = Running::start(&both);
    scrapes(&good, &flink.address(), 2).await;
    running.reload(&with(&[of(&good, "good")])).await;
    let before = ups_of(&good, &flink.address()).len();
    running.reload(&both).await;
    late.set(|_| Answer::words(200, ""));
    scrapes(&good, &flink.address(), 2).await;
    until_true("the queue", || ups_of(&late, &flink.address()).len() > before).await;
    assert_eq!(running.stop().await, 0);
    let kept = times(&ups_of(&late, &flink.address()));
    let all = times(&ups_of(&good, &flink.address()));
    assert_eq!(kept[..before], all[..before], "what was queued when it was removed has arrived");
}

/// The queue goes to the successor: another address, another number of lanes, other limits.
#[tokio::test]
async fn a_receiver_that_changes_keeps_what_is_queued_and_its_order() {
    let mut flinks = Vec::new();
    for _ in 0..6 {
        flinks.push(FakeFlink::with_page(&page(&["a", "b"])).await);
    }
    let targets: Vec<_> = flinks.iter().map(FakeFlink::address).collect();
    let (old, new) = (FakeReceiver::start().await, FakeReceiver::start().await);
    let with = |remote: &FakeReceiver, shards: u16| {
        let queue = format!(
            "name: one\nqueue_config: {{batch_send_deadline: 50ms, max_backoff: 100ms, \
             max_shards: {shards}, max_samples_per_send: 20}}\n"
        );
        config(&[job("flink", &targets, "")], &[receiver(&remote.url(), &queue)], "")
    };
    old.set(|_| Answer::words(503, "not now"));
    let running = Running::start(&with(&old, 3));
    let queued = || running.counts(0).queued.samples;
    until_true("a backlog", || queued() > 200).await;
    let before = running.counts(0).appended.samples;
    // Batches of the new receiver wait too, so that the lanes are dealt out anew twice.
    new.set(|_| Answer::words(503, "not now"));
    for shards in [1, 4, 2] {
        let changes = running.reload(&with(&new, shards)).await;
        assert_eq!(changes.to_string(), "receivers changed: one");
        until_true("the successor", || {
            let receiver = running.relay.receivers().remove(0);
            receiver.lanes() == usize::from(shards) && receiver.config.url == *new.url()
        })
        .await;
        let more = queued() + 50;
        until_true("more of a backlog", || queued() > more).await;
    }
    assert!(running.counts(0).appended.samples > before, "the account goes on");
    new.set(|_| Answer::words(200, ""));
    until_true("that the backlog is gone", || queued() < 100).await;
    let counts = running.relay.receivers().remove(0);
    assert_eq!(running.stop().await, 0);
    assert_eq!(counts.counts().dropped_in_all().samples, 0);
    assert!(old.samples().is_empty());
    for flink in &flinks {
        undisturbed(&new, flink);
    }
}

#[tokio::test]
async fn what_is_in_flight_ends_before_the_successor_sends() {
    let flink = FakeFlink::with_page(&page(&["a"])).await;
    let (slow, new) = (FakeReceiver::start().await, FakeReceiver::start().await);
    slow.set(|_| Answer::words(200, "").trickle(40, Duration::from_millis(400)));
    let with = |remote: &FakeReceiver| {
        let receiver = receiver(&remote.url(), "name: one");
        config(&[job("flink", &[flink.address()], "")], &[receiver], "")
    };
    let running = Running::start(&with(&slow));
    until_true("a request in flight", || !slow.tries().is_empty()).await;
    running.reload(&with(&new)).await;
    scrapes(&new, &flink.address(), 2).await;
    assert_eq!(running.stop().await, 0);
    let (first, last) =
        (times(&ups_of(&slow, &flink.address())), times(&ups_of(&new, &flink.address())));
    let all: Vec<_> = first.iter().chain(&last).copied().collect();
    assert!(all.is_sorted_by(|a, b| a < b), "each sample once: {first:?} {last:?}");
    assert!(all.len() == flink.scrapes() || all.len() + 1 == flink.scrapes());
}

#[tokio::test]
async fn another_view_ends_series_for_its_receiver_only() {
    let flink = FakeFlink::with_page(&page(&["a", "b"])).await;
    let (plain, picky) = (FakeReceiver::start().await, FakeReceiver::start().await);
    let with = |rules: &str| {
        let receivers = [
            receiver(&plain.url(), "name: plain"),
            receiver(&picky.url(), &format!("name: picky\n{rules}")),
        ];
        config(&[job("flink", &[flink.address()], "")], &receivers, "")
    };
    let drop_b =
        "write_relabel_configs:\n  - {source_labels: [__name__], regex: .*_b, action: drop}";
    let rename = "write_relabel_configs:\n  - {target_label: zone, replacement: z}";
    let running = Running::start(&with(""));
    scrapes(&picky, &flink.address(), 2).await;
    running.reload(&with(drop_b)).await;
    scrapes(&picky, &flink.address(), 3).await;
    running.reload(&with("")).await;
    scrapes(&picky, &flink.address(), 3).await;
    running.reload(&with(rename)).await;
    scrapes(&picky, &flink.address(), 3).await;
    until_true("the other's", || ups_of(&plain, &flink.address()).len() >= 10).await;
    assert_eq!(running.stop().await, 0);
    assert_eq!(undisturbed(&plain, &flink), 5 + 2);
    let series = series_of(&picky, &flink.address());
    let markers = |name: &str, zone: bool| -> usize {
        let of = series
            .iter()
            .filter(|(text, _)| text.starts_with(name) && text.contains("zone=") == zone);
        of.flat_map(|(_, samples)| samples).filter(|sample| sample.is_stale()).count()
    };
    assert_eq!(markers("flink_taskmanager_a{", false), 1, "when the zone came");
    assert_eq!(markers("flink_taskmanager_b{", false), 2, "when it was dropped, and the zone came");
    assert_eq!(markers("up{", false), 1);
    assert_eq!(series.values().filter(|samples| samples[0].labels.contains_key("zone")).count(), 7);
    assert!(series.iter().all(|(text, samples)| {
        !text.contains("zone=") || !samples.iter().any(Sample::is_stale)
    }));
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_refused_and_changes_nothing() {
    let flink = FakeFlink::with_page(&page(&["a"])).await;
    let remote = FakeReceiver::start().await;
    let with = |lines: &str| {
        let receivers = [receiver(&remote.url(), "name: one")];
        config(&[job("other", &[flink.address()], lines)], &receivers, "")
    };
    let good = config(
        &[job("flink", &[flink.address()], "")],
        &[receiver(&remote.url(), "name: one")],
        "",
    );
    let running = Running::start(&good);
    scrapes(&remote, &flink.address(), 2).await;
    let missing = with("tls_config: {ca_file: not-there.pem}");
    let error = running.relay.reload(missing).await.unwrap_err();
    let error = format!("{:#}", anyhow::Error::from(error));
    assert!(error.contains("scrape job other") && error.contains("not-there.pem"), "{error}");
    let rule = with("relabel_configs: [{target_label: __scheme__, replacement: 'a b'}]");
    let error = running.relay.reload(rule).await.unwrap_err().to_string();
    assert!(error.contains("scrape job other"), "{error}");
    scrapes(&remote, &flink.address(), 2).await;
    let relay = running.relay.clone();
    assert_eq!(running.stop().await, 0);
    undisturbed(&remote, &flink);
    let error = relay.reload(good).await.unwrap_err().to_string();
    assert_eq!(error, "the relay is starting or stopping");
}

/// A target that fails has its failure told by one series, whatever happens to the configuration.
#[tokio::test]
async fn a_failing_target_recovers_under_the_new_configuration() {
    let flink = FakeFlink::with_script(|_| Answer::words(500, "no")).await;
    let remote = FakeReceiver::start().await;
    let with = |limit: u32| {
        let jobs = [job("flink", &[flink.address()], &format!("sample_limit: {limit}"))];
        config(&jobs, &[receiver(&remote.url(), "")], "")
    };
    let running = Running::start(&with(10));
    scrapes(&remote, &flink.address(), 2).await;
    running.reload(&with(11)).await;
    flink.set_page(&page(&["a"]));
    let failures = || remote.samples_of("flinkrelay_scrape_failure");
    until("its end", || failures().last().filter(|last| last.is_stale()).cloned()).await;
    scrapes(&remote, &flink.address(), 1).await;
    running.reload(&with(12)).await;
    scrapes(&remote, &flink.address(), 2).await;
    assert_eq!(running.stop().await, 0);
    assert_eq!(failures().iter().filter(|sample| sample.is_stale()).count(), 1);
}
