//! Several relays with one configuration: each target has one of them, and pairs of replicas differ in
//! one label.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use flinkrelay::{
    config::Config,
    relay::now_ms,
    scale::Word,
    server,
    shard::{self, count::Replicas},
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    endpoints::get,
    fakes::{
        flink::FakeFlink,
        free_ports,
        receiver::{FakeReceiver, Sample},
        relay::{Running, config, job, receiver},
        until_true,
    },
    task_manager,
};

const TARGETS: u32 = 100;

fn name_of(target: u32) -> String {
    format!("tm-{target}.flink:9249")
}

/// The configuration of one of several relays: a hundred TaskManagers, all of them played by one fake.
fn sharded(flink: &FakeFlink, remote: &FakeReceiver, shard: &str) -> Config {
    let targets: Vec<_> = (0..TARGETS).map(name_of).collect();
    let rules = format!(
        "relabel_configs:\n\
         - {{source_labels: [__address__], target_label: instance}}\n\
         - {{target_label: __address__, replacement: '{}'}}\n",
        flink.address()
    );
    let global = format!("global: {{scrape_interval: 1s, shard: {shard}}}\n");
    config(&[job("flink", &targets, &rules)], &[receiver(&remote.url(), "")], &global)
}

/// Who has scraped a target after a moment: instance to relays.
fn owners(remotes: &[FakeReceiver], after_ms: i64) -> BTreeMap<String, BTreeSet<usize>> {
    let mut owners = BTreeMap::<_, BTreeSet<usize>>::new();
    for (relay, remote) in remotes.iter().enumerate() {
        for up in remote.samples_of("up") {
            if up.timestamp_ms > after_ms {
                owners.entry(up.label("instance").to_owned()).or_default().insert(relay);
            }
        }
    }
    owners
}

#[tokio::test]
async fn targets_move_between_relays_without_a_marker_and_only_when_they_must() {
    let flink = FakeFlink::with_page(&task_manager(&[("a", 1.0)])).await;
    let mut remotes = Vec::new();
    for _ in 0..5 {
        remotes.push(FakeReceiver::start().await);
    }
    let mut running = BTreeMap::<usize, Running>::new();
    let mut before: Option<(u32, BTreeMap<String, BTreeSet<usize>>)> = None;
    for count in [3_u32, 5, 2] {
        for index in 0..count {
            let config = sharded(&flink, &remotes[index as usize], &format!("{index}/{count}"));
            match running.get(&(index as usize)) {
                Some(running) => drop(running.reload(&config).await),
                None => drop(running.insert(index as usize, Running::start(&config))),
            }
        }
        for index in count as usize..5 {
            if let Some(gone) = running.remove(&index) {
                assert_eq!(gone.stop().await, 0);
            }
        }
        let owner_of = |target| shard::owner(shard::key("flink", &name_of(target)), count) as usize;
        for (&relay, running) in &running {
            let own = (0..TARGETS).filter(|&target| owner_of(target) == relay).count();
            assert_eq!(running.relay.configured_targets(), (own, 0));
            until_true("the others to be let go", || running.relay.status.targets().len() == own)
                .await;
        }
        // From here on only the owners scrape, and each of them does so within a second.
        let (moment, after_ms) = (SystemTime::now(), now_ms());
        for running in running.values() {
            until_true("a round of scrapes", || {
                let targets = running.relay.status.targets();
                let began = targets.iter().map(|target| target.state().last_scrape);
                began.into_iter().all(|last| last.is_some_and(|(began, _)| began > moment))
            })
            .await;
        }
        let all = || owners(&remotes, after_ms).len() == TARGETS as usize;
        until_true("their samples", all).await;
        let now = owners(&remotes, after_ms);
        for target in 0..TARGETS {
            assert_eq!(now[&name_of(target)], [owner_of(target)].into(), "{target} of {count}");
        }
        if let Some((fewer, before)) = before.replace((count, now.clone())) {
            let moved = now.iter().filter(|(target, owners)| before[*target] != **owners).count();
            let (few, many) = (fewer.min(count), fewer.max(count));
            let fair = (TARGETS * (many - few) / many) as usize;
            assert!(moved.abs_diff(fair) < 15, "{fewer} -> {count}: {moved} moved, not {fair}");
        }
    }
    for running in running.into_values() {
        assert_eq!(running.stop().await, 0);
    }
    for remote in &remotes {
        assert!(!remote.samples().iter().any(Sample::is_stale), "no series has ended anywhere");
    }
}

/// What a StatefulSet says reaches the relay as the command line does it: the count changes, and the configuration is
/// taken again with the part that follows.
#[tokio::test]
async fn a_pod_scrapes_nothing_before_it_is_told_how_many_there_are() {
    let flink = FakeFlink::with_page(&task_manager(&[("a", 1.0)])).await;
    let remote = FakeReceiver::start().await;
    let mut config = sharded(&flink, &remote, "relay-1/statefulset");
    let member = config.member.clone().expect("it is a pod of a StatefulSet");
    let running = Running::start(&config);
    let relay = Arc::clone(&running.relay);
    relay.scale.follow(Some(&member));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let serving = tokio::spawn(server::serve(listener, Arc::clone(&relay), stop.clone()));
    let (say, heard) = mpsc::channel(4);
    let talking = async {
        let mut counts = relay.scale.counts();
        say.send(Word::Trouble("cannot list statefulsets".to_owned())).await.unwrap();
        until_true("the trouble", || relay.scale.look().is_some_and(|look| look.failures == 1))
            .await;
        let (status, _, why) = get(address, "/-/ready").await;
        assert_eq!(status, 503);
        assert_eq!(
            why,
            "StatefulSet relay has not said how many relays there are: cannot list statefulsets\n"
        );
        assert_eq!(relay.configured_targets(), (0, 0));
        let mut check = async |wanted, ready| {
            say.send(Word::Replicas(Replicas { wanted, ready })).await.unwrap();
            counts.changed().await.unwrap();
            config.shard = relay.scale.part();
            relay.swap(config.clone()).await.unwrap();
            let owned = |&target: &u32| shard::owner(shard::key("flink", &name_of(target)), wanted);
            let own = (0..TARGETS).filter(|target| wanted > 1 && owned(target) == 1).count();
            assert_eq!(relay.configured_targets(), (own, 0), "{wanted}");
            until_true("the others to be let go", || relay.status.targets().len() == own).await;
            let (_, _, text) = get(address, "/targets").await;
            let answer: Value = serde_json::from_str(&text).unwrap();
            let set = json!({
                "name": "relay", "replicasWanted": wanted, "replicasReady": ready, "lastError": "",
            });
            assert_eq!(answer["shard"], json!({"index": 1, "count": wanted, "statefulSet": set}));
        };
        check(3, 2).await;
        assert_eq!(get(address, "/-/ready").await.0, 200);
        check(2, 3).await;
        // This pod is about to go, and has left all its targets to the other one.
        check(1, 2).await;
    };
    let heard = RefCell::new(Some(heard));
    let watching = relay.scale.run(|_| {
        stream::unfold(heard.take(), async |heard| {
            let mut heard = heard?;
            Some((heard.recv().await?, Some(heard)))
        })
    });
    tokio::select! {
        () = watching => unreachable!("it goes on for ever"),
        () = talking => {}
    }
    stop.cancel();
    serving.await.unwrap().unwrap();
    assert_eq!(running.stop().await, 0);
    assert!(!remote.samples().iter().any(Sample::is_stale), "no series has ended");
}

/// Ports are shared one by one, so that a range of many TaskManagers is spread too.
#[tokio::test]
async fn the_ports_of_a_range_fall_to_one_relay_each() {
    let text = task_manager(&[("Status_JVM_Threads_Count", 9.0)]);
    let ports = free_ports(20);
    let flink = FakeFlink::on_port(ports.start + 9, &text).await;
    let spec = format!("127.0.0.1:{}-{}", ports.start, ports.end - 1);
    let owner = shard::owner(shard::key("flink", &flink.address()), 2);
    let remote = FakeReceiver::start().await;
    let config = |index| {
        let global = format!("global: {{scrape_interval: 300ms, shard: {index}/2}}\n");
        config(&[job("flink", &[&spec], "")], &[receiver(&remote.url(), "")], &global)
    };
    let running = [0, 1].map(|index| Running::start(&config(index)));
    let state = |relay: usize| {
        let ranges = running[relay].relay.status.ranges();
        ranges.values().next().map(|range| {
            (range.instances.len(), range.instances.len() + range.ignored.len() + range.closed)
        })
    };
    until_true("both to have probed", || state(0).is_some() && state(1).is_some()).await;
    until_true("its samples", || remote.samples_of("up").len() > 2).await;
    let (own, other) = (state(owner as usize).unwrap(), state(1 - owner as usize).unwrap());
    assert_eq!((own.0, other.0), (1, 0));
    assert_eq!(own.1 + other.1, 20, "every port is probed by one relay");
    assert!(own.1 > 2 && other.1 > 2, "{own:?} {other:?}");
    let probes = flink.requests().iter().filter(|request| !request.names().is_empty()).count();
    assert_eq!(probes, 1);
    for running in running {
        assert_eq!(running.stop().await, 0);
    }
}

/// What Mimir's HA tracker needs: the replica in a label of its own, and nothing else that differs.
#[tokio::test]
async fn replicas_differ_in_their_label_and_in_nothing_else() {
    let flink = FakeFlink::with_page(&task_manager(&[("a", 1.0), ("b", 2.0)])).await;
    let (first, second) = (FakeReceiver::start().await, FakeReceiver::start().await);
    let config = |remote: &FakeReceiver, replica: &str| {
        let labels = format!("external_labels: {{cluster: eu, __replica__: {replica}}}");
        let global = format!("global: {{scrape_interval: 300ms, {labels}}}\n");
        config(&[job("flink", &[flink.address()], "")], &[receiver(&remote.url(), "")], &global)
    };
    let running =
        [Running::start(&config(&first, "relay-0")), Running::start(&config(&second, "relay-1"))];
    until_true("scrapes of both", || {
        [&first, &second].iter().all(|remote| remote.samples_of("up").len() >= 2)
    })
    .await;
    for running in running {
        assert_eq!(running.stop().await, 0);
    }
    let series = |remote: &FakeReceiver, replica: &str| -> BTreeSet<_> {
        let samples = remote.samples().into_iter();
        samples
            .map(|mut sample| {
                assert_eq!(sample.labels.remove("__replica__").as_deref(), Some(replica));
                assert_eq!(sample.label("cluster"), "eu");
                sample.labels
            })
            .collect()
    };
    let of_first = series(&first, "relay-0");
    assert_eq!(of_first.len(), 5 + 2);
    assert_eq!(of_first, series(&second, "relay-1"));
    // Mimir takes the replica of a request from its first series.
    for write in first.accepted().iter().filter(|write| !write.samples.is_empty()) {
        let replicas: BTreeSet<_> = write.samples.iter().map(|s| s.label("__replica__")).collect();
        assert_eq!(replicas.len(), 1);
    }
}
