//! `…_sd_configs`: where a job's targets are looked for.

use std::{path::PathBuf, time::Duration};

use hyper::Uri;

use super::{
    Checker,
    client::{Side, client_keys},
};
use crate::config::{
    Discovery, DnsRecord, DnsSd, FileSd, FlinkPorts, FlinkRestSd, FlinkSd, HttpSd,
    raw::{RawDnsSd, RawFileSd, RawFlinkSd, RawHttpSd, RawScrape},
    target::parse_ports,
    value::{At, Origin, Scalar},
};

// As in Prometheus.
const FILE_REFRESH: Duration = Duration::from_secs(5 * 60);
const HTTP_REFRESH: Duration = Duration::from_secs(60);
const DNS_REFRESH: Duration = Duration::from_secs(30);
/// A TaskManager is known to REST some seconds after its start, and to be dead after 50.
const FLINK_REFRESH: Duration = Duration::from_secs(30);

/// Flink's default of `metrics.reporter.NAME.port`.
const REPORTER_PORT: u16 = 9249;

/// Ends of the names of files with targets, as Prometheus takes them.
const FILE_ENDS: [&str; 6] = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];

/// Whether a job looks for targets anywhere.
pub(super) fn has_discovery(raw: &RawScrape) -> bool {
    let lists = [
        raw.file_sd_configs.as_ref().map(Vec::len),
        raw.http_sd_configs.as_ref().map(Vec::len),
        raw.dns_sd_configs.as_ref().map(Vec::len),
        raw.kubernetes_sd_configs.as_ref().map(Vec::len),
        raw.flink_sd_configs.as_ref().map(Vec::len),
    ];
    lists.into_iter().flatten().any(|entries| entries > 0)
}

impl Checker<'_> {
    /// All sources of a job, in the order of their kinds and then of the file.
    pub(super) fn discovery(&mut self, raw: &RawScrape) -> Vec<Discovery> {
        let mut found = Vec::new();
        for entry in raw.file_sd_configs.iter().flatten() {
            found.push(Discovery::File(self.file_sd(entry)));
        }
        for entry in raw.http_sd_configs.iter().flatten() {
            found.extend(self.http_sd(entry).map(Box::new).map(Discovery::Http));
        }
        for entry in raw.dns_sd_configs.iter().flatten() {
            found.push(Discovery::Dns(self.dns_sd(entry)));
        }
        for entry in raw.kubernetes_sd_configs.iter().flatten() {
            found.push(Discovery::Kubernetes(Box::new(self.kubernetes_sd(entry))));
        }
        for entry in raw.flink_sd_configs.iter().flatten() {
            found.extend(self.flink_sd(entry).map(Discovery::Flink));
        }
        found
    }

    fn file_sd(&mut self, entry: &At<RawFileSd>) -> FileSd {
        let At { value: raw, origin } = entry;
        let files = raw.files.iter().flat_map(|files| &files.value);
        let files: Vec<PathBuf> = files.filter_map(|file| self.target_file(file)).collect();
        if raw.files.as_ref().is_none_or(|files| files.value.is_empty()) {
            let origin = raw.files.as_ref().map_or(*origin, |files| files.origin);
            self.note_with_help(
                origin,
                "file_sd_configs needs `files`, at least one path".to_owned(),
                "such as `files: [/etc/flinkrelay/targets/*.yaml]`",
            );
        }
        FileSd {
            files,
            refresh_interval: self.positive_duration(raw.refresh_interval.as_ref(), FILE_REFRESH),
        }
    }

    fn target_file(&mut self, scalar: &Scalar) -> Option<PathBuf> {
        let path = self.path(Some(scalar), "files")?;
        let text = path.to_string_lossy();
        let (directory, _) = text.rsplit_once('/').unwrap_or(("", &text));
        if directory.contains('*') || !FILE_ENDS.iter().any(|end| text.ends_with(end)) {
            let message = format!("`{text}` is no path of files with targets");
            self.note_with_help(
                scalar.origin,
                message,
                "a path ends in .json, .yml or .yaml, and only its last element may have a `*`",
            );
        }
        Some(path)
    }

    fn http_sd(&mut self, entry: &At<RawHttpSd>) -> Option<HttpSd> {
        let At { value: raw, origin } = entry;
        let refresh_interval = self.positive_duration(raw.refresh_interval.as_ref(), HTTP_REFRESH);
        let http = self.client(&client_keys!(raw), &Side::Target);
        let url = self.sd_url(raw.url.as_ref(), *origin, "http_sd_configs", HTTP_EXAMPLE)?;
        Some(HttpSd { url, refresh_interval, http })
    }

    fn sd_url(
        &mut self,
        url: Option<&Scalar>,
        origin: Origin,
        section: &str,
        example: &str,
    ) -> Option<Uri> {
        if url.is_none() {
            self.note_with_help(origin, format!("{section} needs a `url`"), example);
        }
        self.url(url?, example)
    }

    fn dns_sd(&mut self, entry: &At<RawDnsSd>) -> DnsSd {
        let At { value: raw, origin } = entry;
        const RECORDS: [DnsRecord; 5] =
            [DnsRecord::Srv, DnsRecord::A, DnsRecord::Aaaa, DnsRecord::Mx, DnsRecord::Ns];
        let upper = raw.r#type.as_ref().and_then(|scalar| {
            let text = self.text(scalar)?.to_ascii_uppercase();
            Some(Scalar { value: text, origin: scalar.origin })
        });
        let records = RECORDS.map(|record| (record.as_str(), record));
        let record = self.choice(upper.as_ref(), &records, DnsRecord::Srv);
        let names = raw.names.iter().flat_map(|names| &names.value);
        let names: Vec<_> = names.filter_map(|name| self.filled(Some(name), "names")).collect();
        if raw.names.as_ref().is_none_or(|names| names.value.is_empty()) {
            let origin = raw.names.as_ref().map_or(*origin, |names| names.origin);
            let message = "dns_sd_configs needs `names`, at least one".to_owned();
            let help = "such as `names: [_prometheus._tcp.flink.example.com]`";
            self.note_with_help(origin, message, help);
        }
        if raw.port.is_none() && record != DnsRecord::Srv {
            let message = format!("records of type {} name no port", record.as_str());
            self.note_with_help(*origin, message, "add `port`, such as `port: 9249`");
        }
        DnsSd {
            names,
            record,
            port: self.number(raw.port.as_ref(), 1..=u16::MAX, REPORTER_PORT),
            refresh_interval: self.positive_duration(raw.refresh_interval.as_ref(), DNS_REFRESH),
        }
    }

    fn flink_sd(&mut self, entry: &At<RawFlinkSd>) -> Option<FlinkSd> {
        let At { value: raw, origin } = entry;
        let Some(source) = &raw.source else {
            let message = "flink_sd_configs needs a `source`".to_owned();
            self.note_with_help(
                *origin,
                message,
                "`kubernetes` or `rest`: who knows where it runs",
            );
            return None;
        };
        let choices = [("rest", Some(false)), ("kubernetes", Some(true))];
        let of_kubernetes = self.choice(Some(source), &choices, None)?;
        self.flink_keys_fit(raw, of_kubernetes);
        Some(match of_kubernetes {
            true => FlinkSd::Kubernetes(Box::new(self.flink_kubernetes(raw))),
            false => FlinkSd::Rest(Box::new(self.flink_rest_sd(raw, *origin)?)),
        })
    }

    /// Notes keys that only the other source has.
    fn flink_keys_fit(&mut self, raw: &RawFlinkSd, of_kubernetes: bool) {
        let namespaces = raw.namespaces.as_ref();
        let own = namespaces.and_then(|namespaces| namespaces.own_namespace.as_ref());
        let name = namespaces.and_then(|namespaces| namespaces.names.as_ref()?.first());
        let keys = [
            ("url", raw.url.as_ref(), false),
            ("job_manager", raw.job_manager.as_ref(), false),
            ("refresh_interval", raw.refresh_interval.as_ref(), false),
            ("namespaces", own.or(name), true),
            ("selector", raw.selector.as_ref(), true),
            ("with_sidecar", raw.with_sidecar.as_ref(), true),
            ("api_server", raw.api_server.as_ref(), true),
            ("kubeconfig_file", raw.kubeconfig_file.as_ref(), true),
        ];
        for (key, scalar, is_of_kubernetes) in keys {
            if let Some(scalar) = scalar
                && is_of_kubernetes != of_kubernetes
            {
                let other = if is_of_kubernetes { "kubernetes" } else { "rest" };
                self.note(scalar.origin, format!("`{key}` is for `source: {other}`"));
            }
        }
    }

    fn flink_rest_sd(&mut self, raw: &RawFlinkSd, origin: Origin) -> Option<FlinkRestSd> {
        let ports = self.flink_ports(raw.ports.as_ref());
        let job_manager = self.boolean(raw.job_manager.as_ref(), true);
        let refresh_interval = self.positive_duration(raw.refresh_interval.as_ref(), FLINK_REFRESH);
        let http = self.client(&client_keys!(raw), &Side::Target);
        let url = self.sd_url(raw.url.as_ref(), origin, "flink_sd_configs", FLINK_EXAMPLE)?;
        if url.query().is_some()
            && let Some(scalar) = &raw.url
        {
            let message = "the URL of a REST API cannot have a query (`?…`)";
            self.note(scalar.origin, message.to_owned());
        }
        Some(FlinkRestSd { url, ports, job_manager, refresh_interval, http })
    }

    fn flink_ports(&mut self, raw: Option<&Scalar>) -> FlinkPorts {
        let default = FlinkPorts::Range(REPORTER_PORT..=REPORTER_PORT);
        let Some(scalar) = raw else { return default };
        match self.text(scalar).as_deref() {
            None => default,
            Some("logs") => FlinkPorts::Logs,
            Some(text) => match parse_ports(text) {
                Ok(ports) => FlinkPorts::Range(ports),
                Err(error) => {
                    self.note(scalar.origin, format!("{error}, or `logs`"));
                    default
                }
            },
        }
    }
}

const HTTP_EXAMPLE: &str = "expected one such as http://inventory:8080/targets";
const FLINK_EXAMPLE: &str = "expected one such as http://flink-jobmanager:8081";
