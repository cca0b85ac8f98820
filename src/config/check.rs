//! From what was typed to a [`Config`]: defaults, conversions and every rule between keys.
//!
//! A value that is wrong is noted and replaced by its default, so that one run tells everything that
//! is wrong; the result counts only when nothing was noted.

mod client;
mod discovery;
mod kubernetes;
mod metrics;
mod rest;
mod rollups;
mod rules;
mod scalars;
mod scrape;
mod spool;
mod write;

pub use self::write::MAX_SAMPLES_PER_SEND;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde_saphyr::{DefaultMessageFormatter, MessageFormatter, UserMessageFormatter};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Config, ConfigError, Flink, Overrides, Purpose, Source, TextHash,
    error::{Finding, nearest},
    overrides::EXTERNAL_LABEL,
    raw::{RawConfig, RawDerived, RawFlink, RawGlobal, RawGroups, RawLabels},
    value::{At, Form, Origin, Pairs, Scalar, Spot},
};
use crate::{
    flink::{self, derived::Switch},
    relabel::is_label_name,
    shard::{Member, Shard, Sharding},
};

const SCRAPE_INTERVAL: Duration = Duration::from_secs(15);
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

/// The label of a replica, as Mimir's and Cortex' HA trackers expect it by default.
const REPLICA: &str = "__replica__";

/// Collects what is wrong and converts scalars.
struct Checker<'c> {
    env: &'c dyn Fn(&str) -> Option<String>,
    /// Where relative paths begin: the file's directory.
    directory: Option<PathBuf>,
    /// Whether there is a data directory.
    is_durable: bool,
    findings: Vec<Finding>,
}

/// What `global` gives to jobs that name no interval and timeout of their own.
#[derive(Clone, Copy)]
struct Pace {
    interval: Duration,
    timeout: Duration,
}

pub(super) fn load(
    source: Option<&Source>,
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let fail = |findings| ConfigError::new(findings, source);
    let mut raw = match source {
        Some(source) => parse(&source.text).map_err(|finding| fail(vec![finding]))?,
        None => RawConfig::default(),
    };
    overrides.join(&mut raw);
    let directory = source.and_then(|source| source.path.parent()).map(PathBuf::from);
    let mut checker = Checker { env, directory, is_durable: false, findings: Vec::new() };
    let mut config = checker.config(raw, overrides);
    config.hash = source.map_or(TextHash(0), |source| TextHash(xxh3_64(source.text.as_bytes())));
    if checker.findings.is_empty() { Ok(config) } else { Err(fail(checker.findings)) }
}

fn parse(text: &str) -> Result<RawConfig, Finding> {
    let blank = |line: &str| line.is_empty() || line.starts_with('#') || line == "---";
    if text.trim_start_matches('\u{feff}').lines().all(|line| blank(line.trim())) {
        return Ok(RawConfig::default());
    }
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let mut finding = finding(&error);
        if let Origin::File(Spot { line, .. }) = finding.origin
            && finding.help.is_none()
            && text.lines().nth(line.saturating_sub(1)).is_some_and(|line| line.contains("${"))
        {
            let help = "inside `{…}` and `[…]` a value with `${…}` needs quotes";
            finding.help = Some(help.to_owned());
        }
        finding
    })
}

/// Says what the YAML reader found wrong, in the words of a configuration file.
fn finding(error: &serde_saphyr::Error) -> Finding {
    use serde_saphyr::Error;
    let origin = |location: Option<serde_saphyr::Location>| {
        location
            .filter(|location| location.line() > 0)
            .map_or(Origin::Whole, |location| Origin::File(Spot::from(location)))
    };
    let place = origin(error.location());
    let (message, help) = match error {
        Error::AliasError { error, .. } => return finding(error),
        Error::SerdeUnknownField { field, expected, .. } => {
            let names: Vec<String> = expected.iter().map(|name| format!("`{name}`")).collect();
            (
                format!("unknown field `{field}`, expected one of {}", names.join(", ")),
                nearest(field, expected).map(|name| format!("did you mean `{name}`?")),
            )
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => (
            format!("the key `{key}` is given twice"),
            Some("keep one of the two; which one would count is not left to chance".to_owned()),
        ),
        Error::MultipleDocuments { .. } => (
            "a second document begins here".to_owned(),
            Some("a configuration is one document".to_owned()),
        ),
        Error::Unexpected { expected, .. } => (format!("expected {}", kind(expected)), None),
        Error::ExternalMessage { .. } => {
            (format!("not valid YAML: {}", DefaultMessageFormatter.format_message(error)), None)
        }
        error => (UserMessageFormatter.format_message(error).into_owned(), None),
    };
    Finding { origin: place, message, help }
}

/// The YAML reader's names for the kinds of values, in the words of a configuration file.
fn kind(expected: &str) -> &str {
    match expected {
        "sequence start" => "a list: `[a, b]`, or lines that begin with `- `",
        "mapping start" => "a map: `{key: value}`, or lines such as `key: value`",
        "string scalar" => "a single value, not a list or a map",
        other => other,
    }
}

/// The relay's part as far as it is known now, and whose word it goes by later. Who looks at targets only once does
/// not wait for that word: it looks at all of them.
fn parts(sharding: Option<Sharding>, purpose: Purpose) -> (Option<Shard>, Option<Member>) {
    match sharding {
        None => (None, None),
        Some(Sharding::Fixed(shard)) => (Some(shard), None),
        Some(Sharding::Of(member)) if purpose == Purpose::Run => {
            (Some(member.part(None)), Some(member))
        }
        Some(Sharding::Of(_)) => (None, None),
    }
}

// === impl Checker ===

impl Checker<'_> {
    fn config(&mut self, raw: RawConfig, overrides: &Overrides) -> Config {
        let RawConfig { global, scrape_configs, remote_write, spool, flink } = raw;
        let global = global.map(|global| global.value).unwrap_or_default();
        let pace = self.pace(&global);
        let external_labels = self.external_labels(&global, overrides);
        let scrapes = self.scrapes(scrape_configs, pace, overrides.purpose != Purpose::Show);
        let spool = self.spool(&spool.map(|spool| spool.value).unwrap_or_default());
        self.is_durable = spool.directory.is_some();
        let receivers = self.receivers(remote_write, overrides.purpose == Purpose::Run);
        let sharding = self.sharding(global.shard.as_ref());
        let is_sharded = sharding.is_some();
        let (shard, member) = parts(sharding, overrides.purpose);
        let flink = self.flink(flink.map(|flink| flink.value).unwrap_or_default(), is_sharded);
        let final_scrape = self.boolean(global.final_scrape.as_ref(), false);
        let page_series_limit = self.page_series_limit(global.page_series_limit.as_ref());
        Config {
            external_labels,
            scrapes,
            receivers,
            spool,
            flink,
            shard,
            member,
            final_scrape,
            page_series_limit,
            hash: TextHash(0),
        }
    }

    fn sharding(&mut self, raw: Option<&Scalar>) -> Option<Sharding> {
        let raw = raw?;
        let text = self.text(raw)?;
        // As everywhere, a variable that is empty stands for a value that is not set.
        if text.is_empty() {
            return None;
        }
        let sharding = Sharding::parse(&text, || (self.env)("HOSTNAME"));
        sharding.map_err(|error| self.note(raw.origin, error.to_string())).ok()
    }

    fn pace(&mut self, global: &RawGlobal) -> Pace {
        let interval = self.positive_duration(global.scrape_interval.as_ref(), SCRAPE_INTERVAL);
        let default = SCRAPE_TIMEOUT.min(interval);
        let timeout = self.timeout(global.scrape_timeout.as_ref(), default, interval);
        Pace { interval, timeout }
    }

    /// A scrape's timeout, which its interval bounds.
    fn timeout(&mut self, raw: Option<&Scalar>, default: Duration, interval: Duration) -> Duration {
        let timeout = self.positive_duration(raw, default);
        match raw {
            Some(raw) if timeout > interval => {
                self.note(
                    raw.origin,
                    format!(
                        "the scrape timeout, {}, is longer than the scrape interval, {}",
                        super::PromDuration(timeout),
                        super::PromDuration(interval),
                    ),
                );
                interval
            }
            _ => timeout,
        }
    }

    fn external_labels(
        &mut self,
        global: &RawGlobal,
        overrides: &Overrides,
    ) -> BTreeMap<String, String> {
        let mut labels = self.labels(global.external_labels.as_ref());
        if let Some(Pairs(pairs)) = &global.external_labels {
            for (name, _) in pairs.iter().filter(|(name, _)| is_reserved(&name.value)) {
                self.note(name.origin, reserved(&name.value));
            }
        }
        for text in &overrides.external_labels {
            let origin = Origin::Flag(EXTERNAL_LABEL);
            match text.split_once('=') {
                Some((name, _)) if is_reserved(name) => self.note(origin, reserved(name)),
                Some((name, value)) if is_label_name(name) => {
                    labels.insert(name.to_owned(), value.to_owned());
                }
                Some((name, _)) => self.note(origin, not_a_label(name)),
                None => self.note(origin, format!("expected NAME=VALUE, found `{text}`")),
            }
        }
        labels
    }

    /// A map of labels; a label whose value is empty does not exist.
    fn labels(&mut self, raw: Option<&Pairs<Scalar>>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for (name, value) in raw.iter().flat_map(|pairs| &pairs.0) {
            if !is_label_name(&name.value) {
                self.note(name.origin, not_a_label(&name.value));
            }
            if let Some(value) = self.text(value).filter(|value| !value.is_empty()) {
                labels.insert(name.value.clone(), value);
            }
        }
        labels
    }

    fn flink(&mut self, raw: RawFlink, is_sharded: bool) -> Flink {
        const NAMES: [(&str, flink::NameMode); 2] =
            [("canonical", flink::NameMode::Canonical), ("raw", flink::NameMode::Raw)];
        let catalogue = self.catalogue(raw.metrics);
        let budgets = self.budgets(raw.budgets.unwrap_or_default());
        let mut rollups = self.rollups(raw.rollups, &catalogue, is_sharded);
        rollups.has_budget = budgets.is_on();
        const SENTINELS: [(&str, flink::Sentinels); 2] =
            [("drop", flink::Sentinels::Drop), ("keep", flink::Sentinels::Keep)];
        const PUSHDOWN: [(&str, bool); 2] = [("auto", true), ("off", false)];
        Flink {
            groups: self.groups(raw.groups, catalogue.groups()),
            catalogue,
            names: self.choice(raw.names.as_ref(), &NAMES, flink::NameMode::Canonical),
            labels: self.label_policy(raw.labels),
            rollups,
            budgets,
            sentinels: self.choice(raw.sentinels.as_ref(), &SENTINELS, flink::Sentinels::Drop),
            derived: self.derived(raw.derived),
            pushdown: self.choice(raw.pushdown.as_ref(), &PUSHDOWN, true),
            rest: self.rest(raw.rest),
        }
    }

    fn groups(
        &mut self,
        raw: Option<At<Form<RawGroups>>>,
        all: &[flink::Group],
    ) -> flink::GroupFilter {
        let Some(At { value, origin }) = raw else {
            return flink::GroupFilter::default();
        };
        let (include, exclude) = match value {
            Form::Word(word) => {
                self.note(
                    origin,
                    format!("`{word}`: expected a list of groups, or `include` and `exclude`"),
                );
                return flink::GroupFilter::default();
            }
            Form::List(list) if list.is_empty() => {
                self.note(origin, "no group is named, so nothing would be relayed".to_owned());
                return flink::GroupFilter::default();
            }
            Form::List(list) => (list, Vec::new()),
            Form::Map(map) => (map.include.unwrap_or_default(), map.exclude.unwrap_or_default()),
        };
        // One by one first, to point at the name that is wrong.
        let noted = self.findings.len();
        let mut names = |list: Vec<Scalar>| -> Vec<String> {
            list.iter()
                .filter_map(|scalar| {
                    let name = self.text(scalar)?;
                    if let Err(error) = flink::Group::find(name.trim(), all) {
                        self.note(scalar.origin, error.to_string());
                    }
                    Some(name)
                })
                .collect()
        };
        let (include, exclude) = (names(include), names(exclude));
        flink::GroupFilter::try_new_among(all, &include, &exclude).unwrap_or_else(|error| {
            if self.findings.len() == noted {
                self.note(origin, error.to_string());
            }
            flink::GroupFilter::default()
        })
    }

    fn derived(&mut self, raw: Option<At<Form<RawDerived>>>) -> flink::Derivations {
        let mut derived = flink::Derivations::default();
        let Some(At { value, origin }) = raw else { return derived };
        let map = match value {
            Form::Word(word) if word == "all" => return derived,
            Form::Word(word) if word == "none" => return flink::Derivations::NONE,
            Form::Word(_) | Form::List(_) => {
                let expected = "expected `all`, `none`, or a map such as `watermark_lag: false`";
                self.note(origin, expected.to_owned());
                return derived;
            }
            Form::Map(map) => map,
        };
        for (switch, scalar) in Switch::ALL.into_iter().zip([
            map.watermark_lag,
            map.checkpoint_age,
            map.checkpoint_failures,
            map.restarts,
            map.time_ratios,
            map.memory_ratios,
            map.rocksdb_memory,
            map.slots_used,
        ]) {
            derived.set(switch, self.boolean(scalar.as_ref(), true));
        }
        derived
    }

    fn label_policy(&mut self, raw: Option<At<Form<RawLabels>>>) -> flink::LabelPolicy {
        const MODES: [(&str, flink::LabelMode); 2] =
            [("normalised", flink::LabelMode::Normalised), ("raw", flink::LabelMode::Raw)];
        let Some(At { value, origin }) = raw else {
            return flink::LabelPolicy::default();
        };
        let (mode, keep) = match value {
            Form::Word(mode) => (Some(At { value: mode, origin }), Vec::new()),
            Form::List(_) => {
                self.note(
                    origin,
                    "expected `normalised` or `raw`, or a map with `mode` and `keep`".to_owned(),
                );
                return flink::LabelPolicy::default();
            }
            Form::Map(map) => (map.mode, map.keep.unwrap_or_default()),
        };
        let mode = self.choice(mode.as_ref(), &MODES, flink::LabelMode::Normalised);
        let keep: Vec<String> = keep.iter().filter_map(|scalar| self.text(scalar)).collect();
        flink::LabelPolicy::try_new(mode, &keep).unwrap_or_else(|error| {
            self.note(origin, error.to_string());
            flink::LabelPolicy::default()
        })
    }
}

/// Names with two underscores in front are internal to Prometheus, where they never leave it, but for
/// the one by which Mimir and Cortex tell the replicas of a pair apart; they take it off again.
fn is_reserved(name: &str) -> bool {
    name.starts_with("__") && name != REPLICA
}

fn reserved(name: &str) -> String {
    format!(
        "an external label cannot be named `{name}`: names with two underscores in front are \
         internal, except `{REPLICA}`"
    )
}

fn not_a_label(name: &str) -> String {
    format!(
        "`{name}` is not a valid label name: expected letters, digits and underscores, no digit first"
    )
}
