//! Flink's own configuration, as `/jobmanager/config` tells it: which reporters it has, and what this
//! version of Flink makes of their keys.
//!
//! ```text
//! metrics.reporters: prom, jmx                                     only these are started; all when it is missing
//! metrics.reporter.prom.factory.class: …PrometheusReporterFactory  a reporter is what has one of these two keys
//! metrics.reporter.prom.class: …PrometheusReporter                 until 1.16; refused from 1.17, unknown from 2.0
//! metrics.reporter.prom.port: 9250-9260                            any other key belongs to the reporter
//! ```
//!
//! Source: `ReporterSetup`, `MetricOptions`, `PrometheusReporterFactory` of Flink 1.13 to 2.3.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive};

/// The factory that opens a port.
pub(super) const FACTORY: &str = "org.apache.flink.metrics.prometheus.PrometheusReporterFactory";

/// The package of Flink's own two reporters for Prometheus.
const PACKAGE: &str = "org.apache.flink.metrics.prometheus.";

/// The port of a reporter that names none.
const PORT: u16 = 9249;

/// Major and minor version of Flink. Ordered; what cannot be read is [`Version::UNKNOWN`], the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

impl Version {
    pub(super) const UNKNOWN: Self = Self(u32::MAX, 0);

    /// Of `1.20.5`, `2.3-SNAPSHOT`, `1.16.2-vendor-3`.
    pub(super) fn new(text: &str) -> Self {
        let mut numbers = text.split(['.', '-']).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Self(major, minor),
            _ => Self::UNKNOWN,
        }
    }

    /// Where its configuration is written.
    pub(super) fn config_file(self) -> &'static str {
        match self {
            Self::UNKNOWN => {
                "Flink's conf/config.yaml (conf/flink-conf.yaml before 1.19), then restart it"
            }
            version if version < Self(1, 19) => "Flink's conf/flink-conf.yaml, then restart it",
            version if version < Self(2, 0) => {
                "Flink's conf/config.yaml (conf/flink-conf.yaml where that exists), then restart it"
            }
            _ => "Flink's conf/config.yaml, then restart it",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::UNKNOWN {
            return f.write_str("of unknown version");
        }
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What a reporter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It opens a port that is scraped.
    Prometheus,
    /// It pushes to a gateway.
    PushGateway,
    /// Anything else.
    Other,
}

/// One reporter in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reporter<'s> {
    /// `prom` in `metrics.reporter.prom.port`.
    pub(super) name: &'s str,
    /// All its keys, without the prefix.
    keys: BTreeMap<&'s str, &'s str>,
}

impl<'s> Reporter<'s> {
    /// All reporters of a configuration, and what only looks like one: some keys without a class.
    pub(super) fn all(settings: &'s [(String, String)]) -> Vec<Self> {
        let mut all = BTreeMap::<&str, Self>::new();
        for (key, value) in settings {
            let Some(rest) = key.strip_prefix("metrics.reporter.") else { continue };
            let Some((name, key)) = rest.split_once('.') else { continue };
            let reporter = all.entry(name).or_insert_with(|| Self { name, ..Self::default() });
            reporter.keys.insert(key, value.trim().trim_matches(['"', '\'']));
        }
        all.into_values().collect()
    }

    pub(super) fn get(&self, key: &str) -> Option<&'s str> {
        self.keys.get(key).copied().filter(|value| !value.is_empty())
    }

    pub(super) fn factory(&self) -> Option<&'s str> {
        self.get("factory.class")
    }

    pub(super) fn class(&self) -> Option<&'s str> {
        self.get("class")
    }

    /// A whole key of this reporter.
    pub(super) fn key(&self, key: &str) -> String {
        format!("metrics.reporter.{}.{key}", self.name)
    }

    pub(super) fn kind(&self) -> Kind {
        // Without a class, its keys and its name must tell.
        let named = self.factory().or_else(|| self.class()).unwrap_or(self.name).to_lowercase();
        if named.contains("pushgateway") || named == "promgateway" {
            Kind::PushGateway
        } else if named.contains("prom") {
            Kind::Prometheus
        } else {
            Kind::Other
        }
    }

    /// Whether the factory is one that can be: Flink's own, or somebody's own in another package.
    pub(super) fn factory_may_be(&self) -> bool {
        self.factory().is_some_and(|factory| {
            factory == FACTORY || !factory.starts_with(PACKAGE) && !factory.ends_with("Reporter")
        })
    }

    /// Whether it is started as far as `metrics.reporters` goes.
    pub(super) fn is_listed(&self, settings: &[(String, String)]) -> bool {
        let list = value(settings, "metrics.reporters").unwrap_or_default();
        let mut names = list.trim_matches(['[', ']']).split([',', ';', ' ']);
        let unquoted = |name: &str| name.trim_matches(['"', '\'']).to_owned();
        list.is_empty() || names.any(|name| unquoted(name) == self.name)
    }

    /// Its ports; `None` when they cannot be read.
    pub(super) fn ports(&self) -> Option<Vec<RangeInclusive<u16>>> {
        let Some(text) = self.get("port") else { return Some(vec![PORT..=PORT]) };
        let port = |text: &str| text.trim().parse::<u16>().ok();
        let range = |text: &str| match text.split_once('-') {
            Some((first, last)) => Some(port(first)?..=port(last)?),
            None => port(text).map(|port| port..=port),
        };
        text.split(',').map(range).collect()
    }
}

/// A setting that is not empty.
pub(super) fn value<'s>(settings: &'s [(String, String)], key: &str) -> Option<&'s str> {
    let (_, value) = settings.iter().find(|(known, _)| known == key)?;
    Some(value.trim()).filter(|value| !value.is_empty())
}

/// Ports as Flink and targets spell them: `9249`, `9250-9260`.
pub(super) fn spelt(ports: &RangeInclusive<u16>) -> String {
    let (first, last) = (ports.start(), ports.end());
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        lines.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn versions_are_ordered_and_name_their_file() {
        let check = |text: &str, version: Version, file: &str| {
            assert_eq!(Version::new(text), version, "{text}");
            assert!(version.config_file().starts_with(&format!("Flink's conf/{file}")), "{text}");
        };
        check("1.13.6", Version(1, 13), "flink-conf.yaml");
        check("1.18.1", Version(1, 18), "flink-conf.yaml");
        check("1.19.3", Version(1, 19), "config.yaml (conf/flink-conf.yaml where");
        check("1.20-SNAPSHOT", Version(1, 20), "config.yaml (conf/flink-conf.yaml where");
        check("2.3.0", Version(2, 3), "config.yaml, then");
        check("<unknown>", Version::UNKNOWN, "config.yaml (conf/flink-conf.yaml before");
        assert!(Version(1, 9) < Version(1, 17) && Version(1, 20) < Version(2, 0));
    }

    #[test]
    fn reporters_are_what_has_keys() {
        let settings = settings(&[
            ("metrics.reporter.prom.factory.class", FACTORY),
            ("metrics.reporter.prom.port", "9250-9260, 9300"),
            (
                "metrics.reporter.jmx.factory.class",
                "org.apache.flink.metrics.jmx.JMXReporterFactory",
            ),
            ("metrics.reporter.promgateway.class", "…prometheus.PrometheusPushGatewayReporter"),
            ("metrics.reporters", "prom,jmx"),
            ("metrics.scope.jm", "x"),
            ("metrics.reporter.empty", "x"),
        ]);
        let all = Reporter::all(&settings);
        let kinds: Vec<_> =
            all.iter().map(|r| (r.name, r.kind(), r.is_listed(&settings))).collect();
        assert_eq!(
            kinds,
            [
                ("jmx", Kind::Other, true),
                ("prom", Kind::Prometheus, true),
                ("promgateway", Kind::PushGateway, false)
            ]
        );
        let prom = &all[1];
        assert!(prom.factory_may_be());
        assert_eq!(prom.ports(), Some(vec![9250..=9260, 9300..=9300]));
        assert_eq!(all[0].ports(), Some(vec![PORT..=PORT]));
        assert_eq!(prom.key("port"), "metrics.reporter.prom.port");
    }

    #[test]
    fn factories_that_cannot_be() {
        let check = |factory: &str, may_be: bool| {
            let settings = settings(&[("metrics.reporter.prom.factory.class", factory)]);
            assert_eq!(Reporter::all(&settings)[0].factory_may_be(), may_be, "{factory}");
        };
        check(FACTORY, true);
        check("com.example.OurPrometheusFactory", true);
        check("org.apache.flink.metrics.prometheus.PrometheusReporter", false);
        check("org.apache.flink.metrics.prometheus.PrometheusReporterFactroy", false);
        check("PrometheusReporter", false);
        check("", false);
    }
}
