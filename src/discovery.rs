//! Discovery: from the config to the targets that are to be scraped now.
//!
//! A source hands over the whole set of its targets whenever it changes; the relay compares sets and
//! starts and stops scrapes. Static targets are known at once; the ports of a range are probed for as
//! long as the relay runs ([`range`]).

pub mod probe;
pub mod range;

use crate::{
    config::{Scrape, StaticConfig, TargetSpec},
    target::{Target, TargetError},
};

/// What a scrape job's config names.
#[derive(Debug, Default)]
pub struct Sources {
    /// Single targets, after relabelling.
    pub targets: Vec<Target>,
    /// Port ranges to probe, each with the entry it stands in.
    pub ranges: Vec<(TargetSpec, StaticConfig)>,
}

impl Sources {
    /// Sorts a job's targets; those that `relabel_configs` drop are left out.
    ///
    /// # Errors
    /// Rules that leave a target without a valid URL or duration.
    pub fn new(scrape: &Scrape) -> Result<Self, TargetError> {
        let mut sources = Self::default();
        for config in &scrape.static_configs {
            for spec in &config.targets {
                let port = *spec.ports.start();
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
