//! Faults in Flink's own configuration, seen by its REST API.

use serde_json::json;

use crate::{
    fakes::{
        flink::FakeFlink,
        http::Answer,
        rest::{FakeCluster, FakeRest},
    },
    world::{
        FACTORY, Receiver, closed, doctor, job_manager_page, processes, rest, task_manager_page,
    },
};

const FACTORY_KEY: &str = "metrics.reporter.prom.factory.class";
const CLASS_KEY: &str = "metrics.reporter.prom.class";
const PORT_KEY: &str = "metrics.reporter.prom.port";
const OLD_CLASS: &str = "org.apache.flink.metrics.prometheus.PrometheusReporter";

/// What doctor says of a JobManager of this version and configuration whose reporter does not answer.
async fn of(version: &str, settings: &[(&str, &str)], log: &str) -> crate::world::Said {
    let rest = rest(version, settings, log).await;
    doctor(&["--target", &closed().await, "--flink-rest", &rest.url()]).await
}

#[tokio::test]
async fn a_reporter_by_its_old_key_is_refused_from_1_17_on() {
    let settings = [(CLASS_KEY, OLD_CLASS), (PORT_KEY, "9250-9260")];
    let line = format!("{FACTORY_KEY}: {FACTORY}");
    for version in ["1.17.2", "1.20.5", "2.0.2", "2.3.0"] {
        let said = of(version, &settings, "").await;
        said.has_problem("reporter-class", &format!("{CLASS_KEY}: {OLD_CLASS}"), &line);
        let file = said.finding("reporter-class")["fixes"][0]["place"].as_str().unwrap().to_owned();
        let expected = if version < "1.19" { "flink-conf.yaml" } else { "conf/config.yaml" };
        assert!(file.contains(expected), "{version}: {file}");
    }
    of("1.16.3", &settings, "").await.has_warning("reporter-class", CLASS_KEY, &line);
    let said = of("1.15.4", &settings, "").await;
    assert!(!said.ids().contains(&"reporter-class"), "{said:#?}");
}

#[tokio::test]
async fn a_missing_reporter_is_told_with_the_lines_that_switch_it_on() {
    let said = of("1.20.5", &[("jobmanager.rpc.address", "localhost")], "").await;
    said.has_problem("reporter-missing", "no reporter", &format!("{FACTORY_KEY}: {FACTORY}"));
    said.has_problem("target-refused", "refused", "grep -h PrometheusReporter log/flink-*.log");
    let gateway = "org.apache.flink.metrics.prometheus.PrometheusPushGatewayReporterFactory";
    let said = of("1.20.5", &[("metrics.reporter.gw.factory.class", gateway)], "").await;
    said.has_problem("reporter-pushes", "`gw`", "metrics.reporter.prom.port: 9250-9260");
}

#[tokio::test]
async fn a_factory_that_is_none_and_one_that_is_missing_are_told() {
    let line = format!("{FACTORY_KEY}: {FACTORY}");
    let said = of("1.20.5", &[(FACTORY_KEY, OLD_CLASS)], "").await;
    said.has_problem("reporter-factory", OLD_CLASS, &line);
    let said = of("1.20.5", &[(PORT_KEY, "9249")], "").await;
    said.has_problem("reporter-factory", "without", &line);
}

#[tokio::test]
async fn a_reporter_that_is_not_listed_is_told() {
    let settings = [(FACTORY_KEY, FACTORY), ("metrics.reporters", "jmx,slf4j")];
    let said = of("1.20.5", &settings, "").await;
    said.has_problem("reporter-not-listed", "jmx,slf4j", "metrics.reporters: jmx,slf4j,prom");
}

#[tokio::test]
async fn a_jar_that_is_missing_is_told_from_the_log() {
    let line = format!(
        "WARN  ReporterSetup [] - The reporter factory ({FACTORY}) could not be found for reporter prom. Available factories: []."
    );
    let said =
        of("1.20.5", &[(FACTORY_KEY, FACTORY)], &format!("INFO starting\n{line}\nINFO x\n")).await;
    let jar = "plugins/metrics-prometheus/flink-metrics-prometheus-1.20.5.jar";
    said.has_problem("reporter-jar", &line, jar);
}

#[tokio::test]
async fn a_setting_that_the_reporter_cannot_read_is_told_with_the_exception() {
    let log = "INFO starting\n\
        ERROR ReporterSetup [] - Could not instantiate metrics reporter prom. Metrics might not be exposed/reported.\n\
        java.lang.IllegalArgumentException: Could not parse value for enum class MetricType.\n\
        \tat org.apache.flink.configuration.ConfigurationUtils\n";
    let settings =
        [(FACTORY_KEY, FACTORY), ("metrics.reporter.prom.filter.excludes", "\"*:a;b:c\"")];
    let said = of("1.17.2", &settings, log).await;
    let line = "metrics.reporter.prom.filter.excludes: *:numBuffers*   # without quotation marks in flink-conf.yaml";
    said.has_problem("reporter-fails", "Could not parse value for enum class", line);
}

#[tokio::test]
async fn another_port_than_the_target_s_is_told_from_configuration_and_log() {
    let said = of("2.3.0", &[(FACTORY_KEY, FACTORY), (PORT_KEY, "9-10")], "").await;
    said.has_problem("target-port", "metrics.reporter.prom.port: 9-10", "--target 127.0.0.1:9-10");
    let log = "INFO  PrometheusReporter [] - Started PrometheusReporter HTTP server on port 9.\n";
    let said = of("2.3.0", &[(FACTORY_KEY, FACTORY), (PORT_KEY, "9-10")], log).await;
    said.has_problem("target-port", "on port 9", "--target 127.0.0.1:9-10");
    let said = of("2.3.0", &[], log).await;
    said.has_problem("target-port", "on port 9", "--target 127.0.0.1:9");
}

#[tokio::test]
async fn fewer_ports_than_processes_are_told() {
    let cluster = ["tm-1", "tm-2", "tm-3"];
    let cluster = cluster.into_iter().fold(FakeCluster::default(), FakeCluster::with_task_manager);
    let rest = FakeRest::of(cluster).await;
    rest.script(|request| match request.target.as_str() {
        "/jobmanager/config" => {
            let settings = json!([{"key": FACTORY_KEY, "value": FACTORY}, {"key": PORT_KEY, "value": "9250-9251"}]);
            Some(Answer::new(200, &[], settings.to_string()))
        }
        "/taskmanagers" => {
            let row = |n| json!({"id": format!("tm-{n}"), "path": format!("pekko.tcp://flink@node-7:{n}/user/rpc/taskmanager_0")});
            Some(Answer::new(200, &[], json!({"taskmanagers": [row(1), row(2), row(3)]}).to_string()))
        }
        _ => None,
    });
    let said = doctor(&["--target", &closed().await, "--flink-rest", &rest.url()]).await;
    said.has_problem(
        "reporter-ports",
        "3 processes run on node-7",
        "metrics.reporter.prom.port: 9250-9260",
    );
}

#[tokio::test]
async fn filters_and_variables_that_hide_metrics_are_told_although_all_else_is_well() {
    let (manager, worker) = processes().await;
    let receiver = Receiver::well().await;
    let settings = [
        (FACTORY_KEY, FACTORY),
        ("metrics.reporter.prom.filter.excludes", "*:numRecords*"),
        ("metrics.reporter.prom.scope.variables.excludes", "subtask_index;host"),
        ("metrics.reporter.prom.allowList", "job"),
        ("metrics.reporter.prom.host", "0.0.0.0"),
    ];
    let rest = rest("1.20.5", &settings, "").await;
    let said = doctor(&[
        "--target",
        &manager.address(),
        "--target",
        &worker.address(),
        "--flink-rest",
        &rest.url(),
        "--remote-write",
        &receiver.url("/api/v1/write"),
    ])
    .await;
    assert_eq!(
        said.ids(),
        ["reporter-variables", "reporter-ignored", "reporter-host", "reporter-filter"],
        "{said:#?}"
    );
    let key = "metrics.reporter.prom.scope.variables.excludes";
    said.has_problem("reporter-variables", "subtask_index;host", &format!("{key}: host"));
    said.has_warning(
        "reporter-filter",
        "*:numRecords*",
        "# metrics.reporter.prom.filter.excludes: *:numRecords*",
    );
    said.has_warning(
        "reporter-ignored",
        "allowList: job",
        "# metrics.reporter.prom.allowList: job",
    );
    said.has_warning("reporter-host", "0.0.0.0", "# metrics.reporter.prom.host: 0.0.0.0");
}

#[tokio::test]
async fn a_job_manager_whose_page_is_there_has_started_its_reporter() {
    let manager = crate::fakes::flink::FakeFlink::with_page(&job_manager_page()).await;
    let rest = rest("2.3.0", &[(CLASS_KEY, OLD_CLASS)], "").await;
    let said = doctor(&["--target", &manager.address(), "--flink-rest", &rest.url()]).await;
    assert_eq!((said.code, said.ids()), (0, vec!["receiver-none"]), "{said:#?}");
}

#[tokio::test]
async fn a_rest_api_that_cannot_be_asked_is_a_warning() {
    let (manager, _) = processes().await;
    let url = format!("http://{}", closed().await);
    let said = doctor(&["--target", &manager.address(), "--flink-rest", &url]).await;
    assert_eq!(said.code, 0);
    said.has_warning("rest-unreachable", "refused", "--flink-rest http://JOBMANAGER:8081");
}

/// The JobManager is well, and the TaskManagers on its host are not: what is wrong stands in their own logs.
#[tokio::test]
async fn the_logs_of_task_managers_without_a_page_are_read() {
    let (manager, worker) = processes().await;
    let ids = ["tm-1", "tm-2", "tm-3"];
    let cluster = ids.into_iter().fold(FakeCluster::default(), FakeCluster::with_task_manager);
    let logs = std::sync::Arc::new(std::sync::Mutex::new(("", "")));
    let rest = FakeRest::of(cluster).await;
    let told = std::sync::Arc::clone(&logs);
    rest.script(move |request| match request.target.as_str() {
        "/taskmanagers" => {
            let row = |n| json!({"id": format!("tm-{n}"), "path": format!("pekko.tcp://flink@127.0.0.1:{n}/user/rpc/taskmanager_0")});
            Some(Answer::new(200, &[], json!({"taskmanagers": [row(1), row(2)]}).to_string()))
        }
        "/taskmanagers/tm-1/log" => Some(Answer::new(200, &[], told.lock().unwrap().0)),
        "/taskmanagers/tm-2/log" => Some(Answer::new(200, &[], told.lock().unwrap().1)),
        _ => None,
    });
    let started =
        "INFO  PrometheusReporter [] - Started PrometheusReporter HTTP server on port 9.\n";
    let lacks =
        "WARN  ReporterSetup [] - The reporter factory (x) could not be found for reporter prom.\n";
    let ask = async |targets: &[&str]| {
        let rest = rest.url();
        let mut arguments = vec!["--flink-rest", &rest];
        targets.iter().for_each(|target| arguments.extend(["--target", target]));
        doctor(&arguments).await
    };
    let (manager, worker) = (manager.address(), worker.address());

    *logs.lock().unwrap() = (started, "");
    let said = ask(&[&manager, &closed().await]).await;
    said.has_problem("target-port", "the TaskManager's log: Started", "--target 127.0.0.1:9");
    *logs.lock().unwrap() = ("", lacks);
    let said = ask(&[&manager, &closed().await]).await;
    let jar = "plugins/metrics-prometheus/flink-metrics-prometheus-2.3.0.jar";
    said.has_problem("reporter-jar", lacks.trim(), jar);
    // One of two is seen.
    *logs.lock().unwrap() = (started, "");
    let said = ask(&[&manager, &worker]).await;
    said.has_warning("taskmanagers-unseen", "2 TaskManagers", "--target 127.0.0.1:9");

    let asked = rest.paths().iter().filter(|path| path.ends_with("/log")).count();
    let second = FakeFlink::with_page(&task_manager_page()).await;
    let said = ask(&[&manager, &worker, &second.address()]).await;
    assert!(!said.ids().contains(&"taskmanagers-unseen"), "{said:#?}");
    let now = rest.paths().iter().filter(|path| path.contains("taskmanagers/")).count();
    assert_eq!(now, asked - 3, "no log is read where nothing is missing");
}
