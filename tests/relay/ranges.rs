//! A range of ports as one target: who is there, who is not Flink, and who has moved.

use flinkrelay::flink::Role;

use crate::{
    fakes::{
        flink::FakeFlink,
        free_ports,
        receiver::{FakeReceiver, Sample},
        relay::{Running, config, job, receiver},
        until, until_true,
    },
    task_manager,
};

const JOB_MANAGER: &str = "flink_jobmanager_numRunningJobs{host=\"h\",} 3\n\
                           flink_jobmanager_Status_JVM_Threads_Count{host=\"h\",} 40\n";
const PROBED_OFTEN: &str = "probe_interval: 100ms\nforget_after: 600ms";

fn task_manager_page() -> String {
    task_manager(&[("a", 1.0), ("Status_JVM_Threads_Count", 9.0)])
}

fn of_port(remote: &FakeReceiver, name: &str, port: u16) -> Vec<Sample> {
    let mut samples = remote.samples_of(name);
    samples.retain(|sample| sample.label("instance") == format!("127.0.0.1:{port}"));
    samples
}

#[tokio::test]
async fn the_ports_of_a_range_become_targets_while_flink_answers() {
    let first = free_ports(6).start;
    let job_manager = FakeFlink::on_port(first, JOB_MANAGER).await;
    let exporter = FakeFlink::on_port(first + 1, "node_load1 0.5\n").await;
    let site = FakeFlink::on_port(first + 2, "<html></html>\n").await;
    let moving = FakeFlink::on_port(first + 3, &task_manager_page()).await;
    let spec = format!("127.0.0.1:{first}-{}", first + 5);
    let remote = FakeReceiver::start().await;
    let roles = "relabel_configs: [{source_labels: [__meta_flink_role], target_label: role}]";
    let jobs = [job("flink", &[&spec], &format!("{PROBED_OFTEN}\n{roles}"))];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), "")], ""));
    let instances = || {
        running
            .relay
            .status
            .ranges()
            .remove(&("flink".to_owned(), spec.clone()))
            .map(|range| range.instances)
    };
    until_true("both processes", || {
        let both = [(first, Role::JobManager), (first + 3, Role::TaskManager)];
        instances().is_some_and(|instances| instances == both)
    })
    .await;
    let range = running.relay.status.ranges().remove(&("flink".to_owned(), spec.clone())).unwrap();
    assert_eq!(range.closed, 2);
    let ignored: Vec<_> = range.ignored.into_iter().collect();
    let other = "metrics of other software, none of Flink's".to_owned();
    let kind = "text/plain; version=0.0.4; charset=utf-8, no page of metrics".to_owned();
    assert_eq!(ignored, [(first + 1, other), (first + 2, kind)]);
    until_true("their samples", || {
        let up = |port| of_port(&remote, "up", port).iter().any(|up| up.value == 1.0);
        up(first) && up(first + 3)
    })
    .await;
    assert!(exporter.requests().iter().all(|request| request.method == "GET"));
    let scraped = job_manager.requests();
    let probes = scraped.iter().filter(|request| !request.names().is_empty()).count();
    assert_eq!(probes, 1, "an instance is not probed any more");
    assert_eq!(of_port(&remote, "up", first)[0].label("role"), "jobmanager");
    assert_eq!(of_port(&remote, "up", first + 3)[0].label("role"), "taskmanager");

    // The TaskManager dies and comes back on another port.
    moving.kill().await;
    let moved = FakeFlink::on_port(first + 4, &task_manager_page()).await;
    until_true("the new place", || {
        of_port(&remote, "up", first + 4).iter().any(|up| up.value == 1.0)
    })
    .await;
    let down = until("up 0 at the old place", || {
        let ups = of_port(&remote, "up", first + 3);
        ups.into_iter().find(|up| up.value == 0.0)
    })
    .await;
    until_true("that the old place is forgotten", || {
        of_port(&remote, "up", first + 3).iter().any(Sample::is_stale)
    })
    .await;
    let here = [(first, Role::JobManager), (first + 4, Role::TaskManager)];
    until_true("the two of now", || instances().is_some_and(|instances| instances == here)).await;
    let urls: Vec<_> = running
        .relay
        .status
        .targets()
        .iter()
        .map(|target| target.target.instance().to_owned())
        .collect();
    assert!(!urls.contains(&format!("127.0.0.1:{}", first + 3)), "{urls:?}");
    assert_eq!(running.stop().await, 0);
    check_end(&remote, first + 3, down.timestamp_ms);
    assert!(remote.samples().iter().all(|sample| sample.name() != "node_load1"));
    drop((site, moved));
}

/// Every series of the instance has ended, once, its report too.
fn check_end(remote: &FakeReceiver, port: u16, down_ms: i64) {
    let samples = remote.samples();
    let here = |s: &&Sample| s.label("instance") == format!("127.0.0.1:{port}");
    let mut series: Vec<_> = samples.iter().filter(here).map(|s| s.series.clone()).collect();
    series.sort();
    series.dedup();
    assert_eq!(series.len(), 2 + 5 + 1, "{series:#?}");
    let end = of_port(remote, "up", port).last().unwrap().timestamp_ms;
    for series in series {
        let of_series: Vec<_> = samples.iter().filter(|s| s.series == series).collect();
        let markers: Vec<_> = of_series.iter().filter(|s| s.is_stale()).collect();
        let page = series.starts_with("flink_taskmanager_");
        assert_eq!(markers.len(), 1, "{series}");
        assert!(of_series.last().unwrap().is_stale(), "{series} goes on after its end");
        let at = if page { down_ms } else { end };
        assert_eq!(markers[0].timestamp_ms, at, "{series}");
    }
}

#[tokio::test]
async fn a_port_that_another_software_takes_over_is_no_instance_any_more() {
    let first = free_ports(2).start;
    let flink = FakeFlink::on_port(first, &task_manager_page()).await;
    let spec = format!("127.0.0.1:{first}-{}", first + 1);
    let remote = FakeReceiver::start().await;
    let jobs = [job("flink", &[&spec], "probe_interval: 100ms\nforget_after: 1h")];
    let running = Running::start(&config(&jobs, &[receiver(&remote.url(), "")], ""));
    until_true("its samples", || !remote.samples_of("flink_taskmanager_a").is_empty()).await;
    flink.set_page("node_load1 0.5\n");
    until_true("that it is ignored", || {
        let range =
            running.relay.status.ranges().remove(&("flink".to_owned(), spec.clone())).unwrap();
        range.instances.is_empty() && range.ignored.contains_key(&first)
    })
    .await;
    until_true("the end of its series", || {
        remote.samples_of("up").last().is_some_and(Sample::is_stale)
    })
    .await;
    assert_eq!(running.stop().await, 0);
    let foreign = remote.samples_of("node_load1");
    assert!(foreign.len() <= 3 && foreign.last().is_none_or(Sample::is_stale), "{foreign:?}");
}
