//! `scrape_configs`.

use std::time::Duration;

use super::{
    Checker, Pace,
    client::{Side, client_keys},
    discovery::has_discovery,
};
use crate::{
    config::{
        Compression, Scheme, Scrape, StaticConfig,
        overrides::TARGET,
        raw::{RawScrape, RawStatic},
        target::is_path,
        value::{At, Origin, Pairs, Scalar},
    },
    limits,
};

const METRICS_PATH: &str = "/metrics";
const PROBE_INTERVAL: Duration = Duration::from_secs(30);
const FORGET_AFTER: Duration = Duration::from_secs(5 * 60);

impl Checker<'_> {
    pub(super) fn scrapes(
        &mut self,
        raw: Option<At<Vec<At<RawScrape>>>>,
        pace: Pace,
        required: bool,
    ) -> Vec<Scrape> {
        let (jobs, origin) = match raw {
            Some(At { value, origin }) => (value, origin),
            None => (Vec::new(), Origin::Whole),
        };
        if required && jobs.is_empty() {
            self.note_with_help(
                origin,
                "there is nothing to scrape: no scrape_configs and no --target".to_owned(),
                "add `scrape_configs` with a job, or give --target HOST:PORT",
            );
        }
        self.unique_job_names(&jobs);
        jobs.iter().map(|job| self.scrape(job, pace)).collect()
    }

    fn unique_job_names(&mut self, jobs: &[At<RawScrape>]) {
        let names: Vec<&Scalar> =
            jobs.iter().filter_map(|job| job.value.job_name.as_ref()).collect();
        for (i, name) in names.iter().enumerate() {
            let first = names.iter().take(i).find(|other| other.value == name.value);
            // The job of the command line may have the name of a job of the file: they are scraped
            // apart, and only the label is the same.
            if let (Some(first), true) = (first, name.origin != Origin::Flag(TARGET)) {
                let at = match first.origin {
                    Origin::File(spot) => format!(" in line {}", spot.line),
                    Origin::Flag(_) | Origin::Whole => String::new(),
                };
                self.note(
                    name.origin,
                    format!("there is another job with the name `{}`{at}", name.value),
                );
            }
        }
    }

    fn scrape(&mut self, job: &At<RawScrape>, pace: Pace) -> Scrape {
        let At { value: raw, origin } = job;
        if raw.job_name.is_none() {
            self.note(*origin, "the job has no `job_name`".to_owned());
        }
        let interval = self.positive_duration(raw.scrape_interval.as_ref(), pace.interval);
        let default_timeout = pace.timeout.min(interval);
        let unlimited = 0..=u64::MAX;
        Scrape {
            job_name: self.filled(raw.job_name.as_ref(), "job_name").unwrap_or_default(),
            interval,
            timeout: self.timeout(raw.scrape_timeout.as_ref(), default_timeout, interval),
            scheme: self.choice(
                raw.scheme.as_ref(),
                &[("http", Scheme::Http), ("https", Scheme::Https)],
                Scheme::Http,
            ),
            metrics_path: self.metrics_path(raw.metrics_path.as_ref()),
            params: self.params(raw.params.as_ref()),
            honor_labels: self.boolean(raw.honor_labels.as_ref(), false),
            honor_timestamps: self.boolean(raw.honor_timestamps.as_ref(), true),
            compression: self.compression(raw),
            body_size_limit: match self.size(raw.body_size_limit.as_ref(), limits::PAGE_BYTES_MAX) {
                0 => u64::MAX,
                bytes => bytes,
            },
            sample_limit: self.number(raw.sample_limit.as_ref(), unlimited.clone(), 0),
            label_limit: self.number(raw.label_limit.as_ref(), unlimited.clone(), 0),
            label_name_length_limit: self.number(
                raw.label_name_length_limit.as_ref(),
                unlimited.clone(),
                0,
            ),
            label_value_length_limit: self.number(
                raw.label_value_length_limit.as_ref(),
                unlimited,
                0,
            ),
            probe_interval: self.positive_duration(raw.probe_interval.as_ref(), PROBE_INTERVAL),
            forget_after: self.duration(raw.forget_after.as_ref(), FORGET_AFTER),
            static_configs: self.static_configs(raw, *origin),
            discovery: self.discovery(raw),
            relabel_configs: self.rules(raw.relabel_configs.as_ref()),
            metric_relabel_configs: self.rules(raw.metric_relabel_configs.as_ref()),
            http: self.client(&client_keys!(raw), &Side::Target),
        }
    }

    fn metrics_path(&mut self, raw: Option<&Scalar>) -> String {
        let default = || METRICS_PATH.to_owned();
        let Some(scalar) = raw else {
            return default();
        };
        match self.text(scalar) {
            Some(path) if is_path(&path) => path,
            Some(path) if path.contains('?') => {
                self.note(
                    scalar.origin,
                    "a path has no parameters: set `params` instead".to_owned(),
                );
                default()
            }
            Some(path) => {
                let message = format!("`{path}` is not a URL path: expected one such as /metrics");
                self.note(scalar.origin, message);
                default()
            }
            None => default(),
        }
    }

    fn params(&mut self, raw: Option<&Pairs<Vec<Scalar>>>) -> Vec<(String, String)> {
        let mut params = Vec::new();
        for (name, values) in raw.iter().flat_map(|pairs| &pairs.0) {
            for value in values {
                if let Some(value) = self.text(value) {
                    params.push((name.value.clone(), value));
                }
            }
        }
        params
    }

    fn compression(&mut self, raw: &RawScrape) -> Compression {
        let names = [
            ("auto", Compression::Auto),
            ("gzip", Compression::Gzip),
            ("identity", Compression::Identity),
        ];
        match (&raw.compression, &raw.enable_compression) {
            (Some(_), Some(old)) => {
                self.note_with_help(
                    old.origin,
                    "both `compression` and `enable_compression` are set".to_owned(),
                    "keep `compression`, which can say more",
                );
                Compression::Auto
            }
            (None, Some(old)) if self.boolean(Some(old), true) => Compression::Gzip,
            (None, Some(_)) => Compression::Identity,
            (new, None) => self.choice(new.as_ref(), &names, Compression::Auto),
        }
    }

    fn static_configs(&mut self, raw: &RawScrape, job: Origin) -> Vec<StaticConfig> {
        const HELP: &str = "add `static_configs` with `targets`, such as [localhost:9249], or a \
                            source of targets such as `file_sd_configs`";
        let is_looked_for = has_discovery(raw);
        let Some(At { value: list, origin }) = &raw.static_configs else {
            if !is_looked_for {
                self.note_with_help(job, "the job has no targets".to_owned(), HELP);
            }
            return Vec::new();
        };
        if list.is_empty() && !is_looked_for {
            self.note_with_help(*origin, "the list of static_configs is empty".to_owned(), HELP);
        }
        list.iter().map(|entry| self.static_config(entry)).collect()
    }

    fn static_config(&mut self, entry: &At<RawStatic>) -> StaticConfig {
        let At { value: raw, origin } = entry;
        let targets = match &raw.targets {
            Some(At { value, .. }) if !value.is_empty() => value.as_slice(),
            empty => {
                let origin = empty.as_ref().map_or(*origin, |list| list.origin);
                self.note(origin, "the list of targets is empty".to_owned());
                &[]
            }
        };
        StaticConfig {
            targets: targets.iter().filter_map(|target| self.parsed(Some(target))).collect(),
            labels: self.labels(raw.labels.as_ref()),
        }
    }
}
