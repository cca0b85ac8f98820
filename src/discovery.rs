//! Discovery: from the config to the targets that are to be scraped now.
//!
//! A source hands over the whole set of its targets whenever it changes; the relay compares sets and
//! starts and stops scrapes. What falls to another relay by sharding is left out here. Static targets are known at once; the ports of a range are probed for as
//! long as the relay runs ([`range`]).

pub mod probe;
pub mod range;

use std::{collections::HashSet, time::Duration};

use crate::{
    config::{Scrape, StaticConfig, TargetSpec},
    flink::Role,
    shard::{self, Shard},
    target::{Target, TargetError},
};

/// What a scrape job's config names.
#[derive(Debug, Default)]
pub struct Sources {
    /// Single targets, after relabelling.
    pub targets: Vec<Target>,
    /// Port ranges to probe.
    pub ranges: Vec<Range>,
    /// What is configured and falls to other relays.
    pub elsewhere: HashSet<shard::Key>,
    /// The longest time that a scrape of one of them may take: rules can set it per target.
    pub timeout_max: Duration,
}

/// A port range to probe.
#[derive(Clone, Debug)]
pub struct Range {
    /// The range as configured.
    pub spec: TargetSpec,
    /// The entry it stands in.
    pub config: StaticConfig,
    /// Those of its ports that fall to this relay.
    pub ports: Vec<u16>,
}

impl Sources {
    /// Sorts a job's targets; those that `relabel_configs` drop, or that fall to another relay, are
    /// left out.
    ///
    /// # Errors
    /// Rules that leave a target without a valid URL or duration.
    pub fn new(scrape: &Scrape, shard: Option<Shard>) -> Result<Self, TargetError> {
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
                let mut ports: Vec<u16> = spec.ports.clone().collect();
                ports.retain(|&port| {
                    let key = Target::key(scrape, spec, port);
                    let own = shard.is_none_or(|shard| shard.owns(key));
                    if !own {
                        sources.elsewhere.insert(key);
                    }
                    own
                });
                if spec.ports.end() > &port {
                    sources.ranges.push(Range {
                        spec: spec.clone(),
                        config: config.clone(),
                        ports,
                    });
                } else if !ports.is_empty() {
                    let target = Target::resolve(scrape, spec, port, &config.labels, None)?;
                    sources.targets.extend(target);
                }
            }
        }
        Ok(sources)
    }
}
