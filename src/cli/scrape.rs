//! `flinkrelay scrape`: scrapes each target once, pushes nothing, and shows what would be sent.
//!
//! The samples take the very path that `run` takes, so what is shown is what receivers get: filtered,
//! normalised, relabelled, with external labels. With several receivers whose `write_relabel_configs`
//! differ, the first one's view is shown.

mod custom;
mod estimate;
mod json;
mod prom;
mod table;

use clap::{Args, ValueEnum};

use self::estimate::Estimate;
use super::{ConfigArgs, Failed, LogArgs, print, run};
use crate::{
    config::Purpose,
    flink::Group,
    labels::{Labels, METRIC_NAME},
    relay::{Once, Relay},
    remote_write::{proto::metric_metadata::MetricType, v1},
    scrape::{BudgetState, Scraped, Scraper},
    series::MadeFamily,
    status::RangeState,
    target::Target,
};

/// Scrape each target once, push nothing, and show what would be sent.
#[derive(Debug, Args)]
pub struct Scrape {
    #[command(flatten)]
    config: ConfigArgs,
    /// Format of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Show what the series will cost a receiver instead: by group and job, at each roll-up level, and
    /// against Mimir's default limits
    #[arg(long)]
    estimate: bool,
    /// Scale the estimate to so many TaskManagers, each with the mean of the pages that are scraped
    #[arg(long, value_name = "N", requires = "estimate",
          value_parser = clap::value_parser!(u64).range(1..))]
    task_managers: Option<u64>,
    #[command(flatten)]
    log: LogArgs,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Table,
    /// For tools: one document with all targets and series.
    Json,
    /// One page in the text format, with true types; flinkrelay and others can read it.
    Prom,
}

/// Everything that one round of scrapes found.
struct Report {
    ranges: Vec<(String, RangeState)>,
    /// Where targets were looked for in vain, and why.
    undiscovered: Vec<(String, String)>,
    targets: Vec<TargetReport>,
    budget: BudgetState,
}

/// One target.
struct TargetReport {
    target: Target,
    scraped: Scraped,
    families: Vec<FamilyReport>,
    series: Vec<Series>,
}

/// One series that would be sent.
struct Series {
    labels: Labels<'static>,
    timestamp_ms: i64,
    value: f64,
    group: Group,
}

/// Type, help and unit of one metric.
struct FamilyReport {
    name: String,
    kind: MetricType,
    help: String,
    unit: String,
}

impl Scrape {
    /// Scrapes and prints.
    ///
    /// # Errors
    /// A configuration that cannot be used; a target that cannot be scraped, after everything is
    /// printed.
    pub fn run(self) -> Result<(), Failed> {
        if self.estimate && self.output == Format::Prom {
            let message = "--estimate has no page: use `-o table` or `-o json`";
            return Err(Failed::Usage(anyhow::anyhow!(message)));
        }
        let config = self.config.load(Purpose::Scrape)?;
        self.log.init()?;
        let relay = Relay::new(&config).map_err(|error| Failed::Usage(error.into()))?;
        let report = Report::new(run::block_on(run::cores(), relay.scrape_once())?);
        if self.estimate {
            let estimate = Estimate::new(&report, &config, self.task_managers);
            print(|out| match self.output {
                Format::Json => json::write_estimate(&estimate, out),
                Format::Table | Format::Prom => estimate::write_table(&estimate, out),
            })?;
        } else {
            print(|out| match self.output {
                Format::Table => table::write(&report, out),
                Format::Json => json::write(&report, out),
                Format::Prom => prom::write(&report, out),
            })?;
        }
        if report.is_good() {
            return Ok(());
        }
        for failure in report.failures() {
            // Nobody is left to tell when stderr is closed.
            let _closed = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("flinkrelay: {failure}\n"),
            );
        }
        Err(Failed::Said)
    }
}

impl Report {
    fn new(once: Once) -> Self {
        let targets =
            once.targets.into_iter().map(|(scraper, scraped)| TargetReport::new(&scraper, scraped));
        let mut targets: Vec<_> = targets.collect();
        targets.sort_by_key(|report| report.target.url.to_string());
        let (ranges, undiscovered) = (once.ranges, once.failures);
        Self { ranges, undiscovered, targets, budget: once.budget }
    }

    fn is_good(&self) -> bool {
        self.failures().next().is_none()
    }

    fn failures(&self) -> impl Iterator<Item = String> + '_ {
        let empty = self.ranges.iter().filter(|(_, state)| state.instances.is_empty());
        let empty = empty.map(|(spec, _)| format!("{spec}: no port answers with a Flink page"));
        let failed = self.targets.iter().filter_map(|report| {
            let failure = report.scraped.result.as_ref().err()?;
            Some(format!("{}: {}: {failure}", report.target.url, failure.reason.as_str()))
        });
        let undiscovered = self.undiscovered.iter().map(|(source, why)| format!("{source}: {why}"));
        undiscovered.chain(empty).chain(failed)
    }
}

impl TargetReport {
    fn new(scraper: &Scraper, scraped: Scraped) -> Self {
        let known = scraper.families().map(|family| FamilyReport {
            name: family.name.into_owned(),
            kind: family.kind,
            help: family.help.to_owned(),
            unit: family.unit.to_owned(),
        });
        let samples = scraped.result.is_ok().then(|| scraper.samples_by_group(0));
        let samples = samples.into_iter().flatten();
        let series = samples.filter_map(|(group, block, timestamp_ms, value)| {
            let labels = v1::decode_labels(block).ok()?.into_owned();
            Some(Series { labels, timestamp_ms, value, group })
        });
        let made = scraper.made_families().into_iter().map(|MadeFamily { name, about }| {
            let (help, unit) = (about.help.into(), about.unit.into());
            FamilyReport { name, kind: about.kind, help, unit }
        });
        let (families, series) = (known.chain(made).collect(), series.collect());
        Self { target: scraper.target().clone(), scraped, families, series }
    }
}

impl Series {
    fn name(&self) -> &str {
        self.labels.metric_name()
    }

    fn other_labels(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.labels.iter().filter(|(name, _)| *name != METRIC_NAME)
    }
}

/// A value as the text format writes it.
fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}

/// The type as the text format writes it.
const fn kind(kind: MetricType) -> &'static str {
    match kind {
        MetricType::Counter => "counter",
        MetricType::Gauge => "gauge",
        MetricType::Histogram => "histogram",
        MetricType::Summary => "summary",
        MetricType::Info => "info",
        MetricType::Unknown | MetricType::Gaugehistogram | MetricType::Stateset => "untyped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_to_the_same_bits() {
        for value in [0.0, -0.0, 7.0, 1e-7, -2.5e-300, 9_007_199_254_740_992.0, 1e300, f64::MIN] {
            assert_eq!(number(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
        assert_eq!(number(7.0), "7");
        assert_eq!(number(f64::INFINITY), "+Inf");
        assert_eq!(number(f64::NEG_INFINITY), "-Inf");
        assert_eq!(number(f64::NAN), "NaN");
        assert_eq!(number(1e300), "1e300");
    }
}
