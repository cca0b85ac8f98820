//! Pages of Flink's that fail, or of which nothing is left; and a whole world that is well.

use crate::{
    fakes::{
        flink::{FakeFlink, limited, page},
        http::Answer,
    },
    process::flinkrelay,
    world::{
        FACTORY, Receiver, closed, doctor, job_manager_page, processes, rest, task_manager_page,
    },
};

#[tokio::test]
async fn where_all_is_well_nothing_is_found() {
    let (manager, worker) = processes().await;
    let receiver = Receiver::well().await;
    let settings = [
        ("metrics.reporter.prom.factory.class", FACTORY),
        ("metrics.reporter.prom.port", "9250-9260"),
    ];
    let rest = rest("1.20.5", &settings, "").await;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data").display().to_string();
    let (manager, worker) = (&manager, &worker);
    let arguments = [
        "--target",
        &manager.address(),
        "--target",
        &worker.address(),
        "--flink-rest",
        &rest.url(),
        "--remote-write",
        &receiver.url("/api/v1/write"),
        "--data-dir",
        &data,
    ];
    let said = doctor(&arguments).await;
    assert_eq!((said.code, said.ids()), (0, vec![]), "{said:#?}");
    assert_eq!(said.well.len(), 5, "{said:#?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was made");

    // One empty request, and pages as often as a probe and a scrape take.
    let requests = receiver.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].method, "POST");
    assert_eq!(requests[0].body, [0], "snappy's empty block");
    assert_eq!(requests[0].header("content-type"), Some("application/x-protobuf"));
    assert_eq!((worker.scrapes(), worker.requests().len()), (1, 2));

    let table = flinkrelay(&[&["doctor"], &arguments[..]].concat()).await;
    assert_eq!((table.code, &*table.stderr), (0, ""));
    let addresses = [manager.address(), worker.address()];
    let ports = addresses.each_ref().map(|address| address.rsplit_once(':').unwrap().1);
    let hidden = [
        (&*addresses[0], "JOBMANAGER"),
        (&*addresses[1], "TASKMANAGER"),
        (ports[0], "PORT"),
        (ports[1], "PORT"),
        (&*rest.url(), "REST"),
        (&*receiver.url(""), "RECEIVER"),
        (&*data, "DATA"),
    ];
    let told = hidden.iter().fold(table.stdout, |told, (from, to)| told.replace(*from, to));
    // What is free on this disk is none of the test's business.
    let mut lines: Vec<_> = told
        .lines()
        .map(|line| line.split(", ").next().filter(|_| line.contains("DATA")).unwrap_or(line))
        .collect();
    // Targets stand in the order of their ports, which is chance.
    lines[..2].sort_unstable();
    insta::assert_snapshot!(lines.join("\n"));
}

#[tokio::test]
async fn a_gauge_that_throws_is_told_by_its_name() {
    const THROWS: &str = "flink_taskmanager_Status_Flink_Memory_Managed_Used";
    let text = task_manager_page();
    let flink = FakeFlink::with_script(move |request| {
        let names = request.names();
        match names.is_empty() || names.iter().any(|name| name == THROWS) {
            true => Answer::close(),
            false => page(&limited(&text, request)),
        }
    })
    .await;
    let said = doctor(&["--target", &flink.address()]).await;
    let line = "metrics.reporter.prom.filter.excludes: '*Status.Flink.Memory.Managed:Used'";
    said.has_warning("page-throws", THROWS, line);
}

#[tokio::test]
async fn a_page_that_is_lost_to_a_gauge_is_a_problem() {
    let text = "flink_taskmanager_Status_JVM_Threads_Count{tm_id=\"a\",} 2.0\n";
    // Whatever is asked for but what a probe asks for.
    let flink = FakeFlink::with_script(move |request| match request.names().len() {
        2 => page(text),
        _ => Answer::close(),
    })
    .await;
    let said = doctor(&["--target", &flink.address()]).await;
    let line = "metrics.reporter.prom.filter.excludes: '*:NAME_OF_THE_GAUGE'";
    said.has_problem("page-throws", "closed", line);
}

#[tokio::test]
async fn empty_cut_slow_and_limited_pages_are_told() {
    let empty = FakeFlink::with_page("").await;
    let said = doctor(&["--target", &empty.address()]).await;
    let line = "# metrics.reporter.prom.filter.includes: …   (and filter.excludes)";
    said.has_problem("page-empty", "a page without a sample", line);

    let whole = |text: String, answer: fn(Answer) -> Answer| {
        FakeFlink::with_script(move |request| match request.names().is_empty() {
            true => answer(page(&text)),
            false => page(&limited(&text, request)),
        })
    };
    let cut = whole(job_manager_page(), |answer| answer.cut(100)).await;
    let said = doctor(&["--target", &cut.address()]).await;
    let line = format!("curl -s http://{}/metrics | wc -c", cut.address());
    said.has_problem("page-cut", "cut in the middle", &line);

    let slow = whole(job_manager_page(), |answer| answer.stuck(100)).await;
    let said = doctor(&["--target", &slow.address(), "--timeout", "2s"]).await;
    said.has_problem("page-slow", "not complete after 2s", "scrape_timeout: 4s");

    let flink = FakeFlink::with_page(&task_manager_page()).await;
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "scrape_configs:\n  - job_name: flink\n    sample_limit: 5\n    static_configs: [{{targets: ['{}']}}]\n",
        flink.address()
    );
    let said = doctor(&["-c", &crate::process::file(directory.path(), text.as_bytes())]).await;
    let line = "flinkrelay scrape --target HOST:PORT   # what has grown?";
    said.has_problem("page-limit", "sample_limit (5)", line);
}

#[tokio::test]
async fn bad_lines_are_a_warning() {
    let text = format!("{}flink_jobmanager_x{{a=\"1\",a=\"2\"}} 1\n", job_manager_page());
    let flink = FakeFlink::with_page(&text).await;
    let said = doctor(&["--target", &flink.address()]).await;
    let line = "flinkrelay scrape --target HOST:PORT   # all of them";
    said.has_warning("page-lines", "label name stands twice", line);
    assert_eq!(said.code, 0);
}

#[tokio::test]
async fn a_filter_that_lets_nothing_through_is_told_with_one_that_does() {
    let flink = FakeFlink::with_page(
        "flink_taskmanager_Status_JVM_CPU_Load{tm_id=\"a\",} 1.0\n\
         flink_taskmanager_Status_JVM_Threads_Count{tm_id=\"a\",} 2.0\n",
    )
    .await;
    let said = doctor(&["--target", &flink.address(), "--groups", "kafka,rocksdb"]).await;
    said.has_problem(
        "groups-drop-all",
        "of 2 samples flink.groups lets none through",
        "--groups cpu,threads",
    );
    said.has_warning(
        "group-absent",
        "`rocksdb`",
        "state.backend.rocksdb.metrics.num-immutable-mem-table: true",
    );
}

#[tokio::test]
async fn rules_that_let_nothing_through_are_told() {
    let flink = FakeFlink::with_page(&job_manager_page()).await;
    let receiver = Receiver::well().await;
    let directory = tempfile::tempdir().unwrap();
    let config = |job: &str, receiver_rules: &str| {
        let text = format!(
            "scrape_configs:\n  - job_name: flink\n    {job}static_configs: [{{targets: ['{}']}}]\n\
             remote_write:\n  - url: {}\n    {receiver_rules}\n",
            flink.address(),
            receiver.url("/api/v1/write"),
        );
        crate::process::file(directory.path(), text.as_bytes())
    };
    let keep = "relabel_configs: [{action: keep, source_labels: [operator_name], regex: x}]";
    let said = doctor(&["-c", &config(&format!("metric_{keep}\n    "), "")]).await;
    said.has_problem(
        "relabel-drops-all",
        "metric_relabel_configs drop",
        "metric_relabel_configs: []",
    );
    let said = doctor(&["-c", &config("", &format!("write_{keep}"))]).await;
    said.has_problem(
        "relabel-drops-all",
        "write_relabel_configs leave none",
        "write_relabel_configs: []",
    );
}

#[tokio::test]
async fn the_help_says_what_is_sent_and_what_the_exit_code_means() {
    let help = flinkrelay(&["doctor", "--help"]).await;
    assert_eq!(help.code, 0);
    // The shortcuts are those of `run`.
    let (begin, rest) = help.stdout.split_once("Shortcuts:").unwrap();
    let (shared, own) = rest.split_once("  -o, --output").unwrap();
    assert!(shared.contains("--target <SPEC>") && shared.contains("--flink-rest <URL>"));
    insta::assert_snapshot!(format!("{begin}…\n  -o, --output{own}"));
}

#[tokio::test]
async fn what_people_read_at_three_in_the_morning() {
    let settings = [
        ("metrics.reporter.prom.class", "org.apache.flink.metrics.prometheus.PrometheusReporter"),
        ("metrics.reporter.prom.port", "9-10"),
    ];
    let rest = rest("1.20.5", &settings, "").await;
    let receiver = Receiver::answering(Answer::words(401, "no org id")).await;
    let (closed, url) = (closed().await, receiver.url("/api/v1/push"));
    let output = flinkrelay(&[
        "doctor",
        "--target",
        &closed,
        "--flink-rest",
        &rest.url(),
        "--remote-write",
        &url,
    ])
    .await;
    let (_, port) = closed.rsplit_once(':').unwrap();
    let replace = [
        (&*closed, "TARGET"),
        (port, "PORT"),
        (&*rest.url(), "REST"),
        (&*url.replace("http://", "").replace("/api/v1/push", ""), "RECEIVER"),
    ];
    insta::assert_snapshot!(output.told(&replace));
}
