//! Discovery: from the config to the targets that are to be scraped now.
//!
//! A source hands over the whole set of its targets whenever it changes; the relay compares sets and
//! starts and stops scrapes. Static targets are known at once; the ports of a range are probed for as
//! long as the relay runs ([`range`]).

pub mod probe;
pub mod range;

use std::time::Duration;

use crate::{
    config::{Scrape, StaticConfig, TargetSpec},
    flink::Role,
    target::{Target, TargetError},
};

/// What a scrape job's config names.
#[derive(Debug, Default)]
pub struct Sources {
    /// Single targets, after relabelling.
    pub targets: Vec<Target>,
    /// Port ranges to probe, each with the entry it stands in.
    pub ranges: Vec<(TargetSpec, StaticConfig)>,
    /// The longest time that a scrape of one of them may take: rules can set it per target.
    pub timeout_max: Duration,
}

impl Sources {
    /// Sorts a job's targets; those that `relabel_configs` drop are left out.
    ///
    /// # Errors
    /// Rules that leave a target without a valid URL or duration.
    pub fn new(scrape: &Scrape) -> Result<Self, TargetError> {
        let mut sources = Self { timeout_max: scrape.timeout, ..Self::default() };
        for config in &scrape.static_configs {
            for spec in &config.targets {
                let port = *spec.ports.start();
                // Of a range the first port stands for all, so that rules that cannot work are
                // told at the start and not by instances that never show.
                for role in [None, Some(Role::JobManager), Some(Role::TaskManager)] {
                    let target = Target::resolve(scrape, spec, port, &config.labels, role)?;
                    let timeout = target.map_or(Duration::ZERO, |target| target.timeout);
                    sources.timeout_max = sources.timeout_max.max(timeout);
                }
                if spec.ports.end() > &port {
                    sources.ranges.push((spec.clone(), config.clone()));
                } else {
                    let target = Target::resolve(scrape, spec, port, &config.labels, None)?;
                    sources.targets.extend(target);
                }
            }
        }
        Ok(sources)
    }
}
