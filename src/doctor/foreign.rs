//! What answers on a port when it is not Flink's reporter: told from the beginning of the answer.

use super::evidence::Head;

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// Flink's REST API and web page.
    FlinkRest,
    /// A page without any sample.
    Empty,
    /// Metrics of other software, or a web page of it; its name as a phrase.
    Software(String),
    /// Credentials are wanted.
    Credentials,
    /// It leads elsewhere.
    Redirect,
    /// Another HTTP status.
    Status,
}

/// Prefixes of metric names, or of all names, and whose they are. The first that fits counts.
const NAMES: [(&str, &str); 13] = [
    ("node_", "node_exporter (metrics of the machine)"),
    (
        "jmx_",
        "the JMX exporter (Flink's PrometheusReporter is something else, and is what is wanted here)",
    ),
    ("flinkrelay_", "this very relay, or another flinkrelay: its own /metrics"),
    ("vm_", "VictoriaMetrics or one of its agents"),
    ("prometheus_", "Prometheus or an agent of its kind"),
    ("pushgateway_", "Prometheus' Pushgateway"),
    ("alloy_", "Grafana Alloy"),
    ("cortex_", "Mimir or Cortex"),
    ("thanos_", "Thanos"),
    ("otelcol_", "an OpenTelemetry collector"),
    ("kafka_", "an exporter for Kafka"),
    ("kube_", "kube-state-metrics"),
    ("container_", "cAdvisor (metrics of containers)"),
];

/// Flink's words for a path that its REST API does not know: of its file server, and of its router.
const UNKNOWN_PATH: [&str; 2] = ["Unable to load requested file /", "Not found: /"];

/// Names it.
pub(super) fn identify(head: &Head) -> Foreign {
    let text = head.beginning.as_str();
    let rest = text.contains("Apache Flink Web Dashboard")
        || (head.status == 404
            && text.contains("\"errors\"")
            && UNKNOWN_PATH.iter().any(|words| text.contains(words)));
    match head.status {
        _ if rest => Foreign::FlinkRest,
        401 | 403 | 407 => Foreign::Credentials,
        300..=399 => Foreign::Redirect,
        200 => of_body(head),
        _ => Foreign::Status,
    }
}

fn of_body(head: &Head) -> Foreign {
    let text = head.beginning.trim_start();
    if text.is_empty() {
        return Foreign::Empty;
    }
    let known = NAMES.iter().find(|(prefix, _)| head.names.iter().any(|n| n.starts_with(prefix)));
    if let Some((_, software)) = known {
        return Foreign::Software((*software).to_owned());
    }
    if let Some(name) = head.names.first() {
        let java = head.names.iter().any(|name| name.starts_with("jvm_"));
        let kind = if java { "a Java program, not Flink's reporter" } else { "other software" };
        return Foreign::Software(format!("metrics of {kind}, such as {name}"));
    }
    let lower = text.get(..256).unwrap_or(text).to_lowercase();
    if head.content_type.starts_with("text/html")
        || lower.starts_with("<!doctype")
        || lower.starts_with("<html")
    {
        let title = text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
        let title = title.map(|(title, _)| title.trim()).filter(|title| !title.is_empty());
        return Foreign::Software(title.map_or_else(
            || "a web page".to_owned(),
            |title| format!("a web page with the title {title:?}"),
        ));
    }
    if head.content_type.contains("json") || text.starts_with(['{', '[']) {
        return Foreign::Software("JSON".to_owned());
    }
    if text.lines().all(|line| line.starts_with('#') || line.trim().is_empty()) {
        return Foreign::Empty;
    }
    Foreign::Software(match head.content_type.as_str() {
        "" => "something that is no page of metrics".to_owned(),
        kind => format!("{kind}, no page of metrics"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_named() {
        let head = |status, content_type: &str, beginning: &str, names: &[&str]| Head {
            status,
            content_type: content_type.to_owned(),
            beginning: beginning.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Head::default()
        };
        let software = |head: &Head, words: &str| match identify(head) {
            Foreign::Software(name) => assert!(name.contains(words), "{name}"),
            other => panic!("{other:?}, expected {words}"),
        };
        let not_found = r#"{"errors":["Not found: /metrics"]}"#;
        assert_eq!(identify(&head(404, "application/json", not_found, &[])), Foreign::FlinkRest);
        let no_file = r#"{"errors":["Unable to load requested file /metrics."]}"#;
        assert_eq!(identify(&head(404, "application/json", no_file, &[])), Foreign::FlinkRest);
        assert_eq!(identify(&head(500, "application/json", no_file, &[])), Foreign::Status);
        let page = "<!doctype html>\n<html><head><title>Apache Flink Web Dashboard</title>";
        assert_eq!(identify(&head(200, "text/html", page, &[])), Foreign::FlinkRest);
        assert_eq!(identify(&head(200, "text/plain", "", &[])), Foreign::Empty);
        assert_eq!(identify(&head(200, "text/plain", "# HELP a b\n\n", &[])), Foreign::Empty);
        assert_eq!(identify(&head(401, "", "", &[])), Foreign::Credentials);
        assert_eq!(identify(&head(302, "", "", &[])), Foreign::Redirect);
        assert_eq!(identify(&head(404, "text/html", "<html>", &[])), Foreign::Status);
        assert_eq!(identify(&head(503, "", "starting", &[])), Foreign::Status);
        software(&head(200, "text/plain", "go 1", &["go_threads", "node_load1"]), "node_exporter");
        software(&head(200, "text/plain", "jvm 1", &["jvm_x", "jmx_scrape_error"]), "JMX exporter");
        software(&head(200, "text/plain", "x 1", &["jvm_threads"]), "a Java program");
        software(&head(200, "text/plain", "x 1", &["up"]), "other software, such as up");
        software(&head(200, "text/html", "<p>", &[]), "a web page");
        software(&head(200, "", "<html><title> Grafana </title>", &[]), "title \"Grafana\"");
        software(&head(200, "application/json", "{}", &[]), "JSON");
        software(&head(200, "image/png", "\u{fffd}PNG", &[]), "image/png, no page");
        software(&head(200, "", "hello", &[]), "something that is no page");
    }
}
