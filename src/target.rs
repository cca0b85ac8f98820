//! A target: one URL to scrape, with the labels its series get.
//!
//! Labels are made as Prometheus makes them: `job`, `__address__`, `__scheme__`, `__metrics_path__`,
//! `__param_NAME`, `__scrape_interval__`, `__scrape_timeout__` and the config's own labels go through
//! `relabel_configs`; then `instance` defaults to the address and all labels that begin with `__` go.
//! Ports that were found in a range also carry `__meta_flink_role` (`jobmanager`, `taskmanager`), and what
//! discovery has found brings `__meta_…` labels of its own, which rules can read and nobody else sees.

use std::{ops::RangeInclusive, time::Duration};

use hyper::Uri;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    config::{self, PromDuration, Scrape, TargetSpec},
    flink::Role,
    labels::Labels,
    relabel, shard,
};

/// One URL to scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What is fetched.
    pub url: Uri,
    /// Labels added to each series, sorted; `job` and `instance` among them.
    pub labels: Labels<'static>,
    /// Time between two scrapes.
    pub interval: Duration,
    /// Longest time of one scrape.
    pub timeout: Duration,
    /// Which target it is whatever rules and labels make of it: its job and address as configured.
    /// Decides which relay scrapes it, and which scraper goes on with it after a reload.
    pub key: shard::Key,
}

/// A target before relabelling, as it is configured or as discovery has found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Where it is.
    pub address: Address,
    /// Its own labels, `__meta_…` among them; they win over those of its group and of its job.
    pub labels: Labels<'static>,
    /// For a range: how many of its ports are known to be instances once all are up, such as 1 for the
    /// pod of a TaskManager. When so many are found, the others are seldom probed. `None` is unknown.
    pub instances: Option<usize>,
}

/// Where a target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host with a port or a range of ports.
    Spec(TargetSpec),
    /// What has no port, or is no address at all, until `relabel_configs` make it one.
    Text(Box<str>),
}

/// A target that cannot be scraped as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The parts make no URL.
    #[error("{url:?} is not a valid URL; check __address__, __scheme__ and __metrics_path__")]
    Url {
        /// The parts put together.
        url: String,
    },
    /// A rule set a duration that cannot be read.
    #[error("{label} is {value:?}, expected a duration such as 15s")]
    Duration {
        /// `__scrape_interval__` or `__scrape_timeout__`.
        label: &'static str,
        /// Its value.
        value: String,
    },
}

impl Seed {
    /// A target that is configured, or found without more than where it is.
    pub const fn new(address: Address) -> Self {
        Self { address, labels: Labels::new(), instances: None }
    }

    /// Its ports; the only one of an address without any is 0.
    pub const fn ports(&self) -> RangeInclusive<u16> {
        match &self.address {
            Address::Spec(spec) => *spec.ports.start()..=*spec.ports.end(),
            Address::Text(_) => 0..=0,
        }
    }

    /// Whether its ports have to be probed.
    pub const fn is_range(&self) -> bool {
        match &self.address {
            Address::Spec(spec) => *spec.ports.end() > *spec.ports.start(),
            Address::Text(_) => false,
        }
    }

    /// The key of one of its ports, see [`Target::key`].
    pub fn key(&self, scrape: &Scrape, port: u16) -> shard::Key {
        shard::key(&scrape.job_name, &self.address.at(port))
    }
}

impl Address {
    /// What a source names: `host:9249`, `host:9250-9260`, a URL, or whatever it is.
    pub fn read(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Text(text.into()), Self::Spec)
    }

    /// `__address__` for one of its ports.
    pub fn at(&self, port: u16) -> String {
        match self {
            Self::Spec(spec) => spec.address(port),
            Self::Text(text) => text.to_string(),
        }
    }
}

/// As it is written, a range as a range.
impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Spec(spec) => spec.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Target {
    /// The target for one port of a seed, with the labels that its group shares; `None` when
    /// `relabel_configs` drop it.
    ///
    /// # Errors
    /// Rules that leave no valid URL or durations.
    pub fn resolve(
        scrape: &Scrape,
        shared: &Labels<'static>,
        seed: &Seed,
        port: u16,
        role: Option<Role>,
    ) -> Result<Option<Self>, TargetError> {
        const NO_PARAMS: &[(String, String)] = &[];
        let (scheme, path, own_params) = match &seed.address {
            Address::Spec(spec) => (spec.scheme, spec.path.as_ref(), &*spec.params),
            Address::Text(_) => (None, None, NO_PARAMS),
        };
        let mut labels = Labels::with_capacity(LABELS_USUAL + shared.len() + seed.labels.len());
        labels.set("job", &*scrape.job_name);
        labels.set("__address__", seed.address.at(port));
        labels.set("__scheme__", scheme.unwrap_or(scrape.scheme).to_string());
        labels.set("__metrics_path__", &**path.unwrap_or(&scrape.metrics_path));
        labels.set("__scrape_interval__", PromDuration(scrape.interval).to_string());
        labels.set("__scrape_timeout__", PromDuration(scrape.timeout).to_string());
        let mut params = own_params.to_vec();
        params.extend(scrape.params.iter().filter(|(n, _)| !has(own_params, n)).cloned());
        for (name, value) in params.iter().rev() {
            // Of a parameter that is given several times, rules see the first value.
            labels.set(format!("__param_{name}"), value.clone());
        }
        if let Some(role) = role {
            labels.set("__meta_flink_role", role.as_str());
        }
        for (name, value) in shared.iter().chain(seed.labels.iter()) {
            labels.set(name, value);
        }
        if !relabel::apply(&scrape.relabel_configs, &mut labels) {
            return Ok(None);
        }
        let interval = read_duration(&labels, "__scrape_interval__")?;
        let timeout = read_duration(&labels, "__scrape_timeout__")?.min(interval);
        let url = url(&labels, &params)?;
        if labels.get("instance").is_none() {
            labels.set("instance", labels.get("__address__").unwrap_or_default().to_owned());
        }
        labels.retain(|label| !label.name.starts_with("__"));
        labels.sort();
        let key = seed.key(scrape, port);
        Ok(Some(Self { url, labels: labels.into_owned(), interval, timeout, key }))
    }

    /// The `job` label.
    pub fn job(&self) -> &str {
        self.labels.get("job").unwrap_or_default()
    }

    /// The `instance` label.
    pub fn instance(&self) -> &str {
        self.labels.get("instance").unwrap_or_default()
    }

    /// The same for the same URL and labels, in every run and on every machine.
    pub fn hash(&self) -> u64 {
        xxh3_64(&[self.url.to_string().as_bytes(), &self.labels.identity().to_le_bytes()].concat())
    }

    /// Time from `now_ms` (since the epoch) to the target's next scrape. Each target has its place
    /// inside the interval, kept over restarts, so that many targets spread evenly over it.
    pub fn due_in(&self, now_ms: u64) -> Duration {
        let interval_ms = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX).max(1);
        let offset_ms = self.hash() % interval_ms;
        let since_ms = (now_ms % interval_ms + interval_ms - offset_ms) % interval_ms;
        Duration::from_millis((interval_ms - since_ms) % interval_ms)
    }
}

/// Labels that every target has before relabelling, with some room.
const LABELS_USUAL: usize = 8;

fn has(params: &[(String, String)], name: &str) -> bool {
    params.iter().any(|(n, _)| n == name)
}

fn read_duration(labels: &Labels<'_>, label: &'static str) -> Result<Duration, TargetError> {
    let value = labels.get(label).unwrap_or_default();
    let read = value.parse::<PromDuration>().ok().filter(|duration| !duration.0.is_zero());
    read.map(|duration| duration.0)
        .ok_or_else(|| TargetError::Duration { label, value: value.to_owned() })
}

fn url(labels: &Labels<'_>, params: &[(String, String)]) -> Result<Uri, TargetError> {
    let part = |name| labels.get(name).unwrap_or_default();
    let path = part("__metrics_path__");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut first_of = Vec::new();
    let mut asked = Vec::new();
    for (name, value) in params {
        let first = !first_of.contains(&name);
        first_of.push(name);
        let label = format!("__param_{name}");
        // A rule may have changed the first value; the others stay as configured.
        let value = if first { labels.get(&label).unwrap_or_default() } else { value };
        asked.push((name.clone(), value.to_owned()));
    }
    let added =
        labels.iter().filter_map(|(name, value)| Some((name.strip_prefix("__param_")?, value)));
    let added = added.filter(|(name, _)| !has(params, name));
    asked.extend(added.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mark = match (asked.is_empty(), path.contains('?')) {
        (true, _) => "",
        (false, false) => "?",
        (false, true) => "&",
    };
    let (scheme, address) = (part("__scheme__"), part("__address__"));
    let url = format!("{scheme}://{address}{slash}{path}{mark}{}", config::query(&asked));
    let fault = |_| TargetError::Url { url: url.clone() };
    // A whole URL in its place would make another URL, of another host.
    if address.contains('/') { Err(fault(())) } else { url.parse().map_err(|_| fault(())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(interval_s: u64, url: &str) -> Target {
        let interval = Duration::from_secs(interval_s);
        let url = url.parse().unwrap();
        Target { url, labels: Labels::new(), interval, timeout: interval, key: 0 }
    }

    #[test]
    fn a_target_keeps_its_place_in_the_interval() {
        let target = target(15, "http://a:9250/metrics");
        let now_ms = 1_795_335_749_038;
        let first = now_ms + target.due_in(now_ms).as_millis() as u64;
        assert_eq!(target.due_in(first), Duration::ZERO);
        assert_eq!(target.due_in(first + 1), Duration::from_millis(14_999));
        assert_eq!(target.due_in(first + 14_999), Duration::from_millis(1));
        assert!(target.due_in(now_ms) < target.interval);
    }

    #[test]
    fn targets_spread_over_the_interval() {
        let offset_s = |port| target(10, &format!("http://a:{port}/")).due_in(0).as_secs();
        let mut per_second = [0; 10];
        for port in 9000..9200 {
            per_second[offset_s(port) as usize] += 1;
        }
        assert!(per_second.iter().all(|&n| n > 5), "{per_second:?}");
    }
}
