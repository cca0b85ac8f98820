//! Discovery: from the config to the targets that are to be scraped now.
//!
//! ```text
//!   static_configs --------------------------> Group \
//!                                                     > resolve: relabelling, shards -> Resolved -> relay
//!   sources: file, http, dns, flink -> found: Groups /
//! ```
//!
//! A [`source`] hands over the whole set of its targets whenever it changes, and keeps what it had
//! when it cannot ask; groups that stay the same stay the same [`Arc`], so that only what has changed
//! is looked at again. The relay compares sets and starts and stops scrapes. What falls to another
//! relay by sharding is left out here. Static targets are known at once; the ports of a range are probed
//! for as long as the relay runs ([`range`]).

pub mod dns;
mod fetch;
pub mod file;
pub mod flink_rest;
pub mod http;
pub mod kubernetes;
pub mod lists;
pub mod probe;
pub mod range;
pub mod source;

use self::range::Probed;
use std::{collections::HashSet, sync::Arc, time::Duration};

use crate::{
    config::{Scrape, StaticConfig},
    flink::Role,
    labels::Labels,
    shard::{self, Shard},
    target::{Address, Seed, Target, TargetError},
};

/// By which rules and sources tell whose page it is.
pub const ROLE_LABEL: &str = "__meta_flink_role";

/// Targets that belong together, such as the ports of one pod, with the labels that they share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Labels of all of them.
    pub labels: Labels<'static>,
    /// The targets before relabelling.
    pub seeds: Vec<Seed>,
}

/// All that a source has found.
pub type Groups = Arc<[Arc<Group>]>;

/// What became of a group, or of all static ones.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// Single targets, after relabelling.
    pub targets: Vec<Arc<Target>>,
    /// Port ranges to probe.
    pub ranges: Vec<Arc<Range>>,
    /// Those that fall to other relays.
    pub elsewhere: Vec<shard::Key>,
    /// Ports that `relabel_configs` drop. Those of ranges are not known here.
    pub dropped: usize,
    /// Targets that relabelling leaves invalid: how they were found, and why.
    pub invalid: Vec<(Address, TargetError)>,
}

/// What a scrape job's config names.
#[derive(Debug, Default)]
pub struct Sources {
    /// The entries of `static_configs`.
    pub groups: Vec<Arc<Group>>,
    /// Single targets, after relabelling.
    pub targets: Vec<Arc<Target>>,
    /// Port ranges to probe.
    pub ranges: Vec<Arc<Range>>,
    /// What is configured and falls to other relays.
    pub elsewhere: HashSet<shard::Key>,
    /// The longest time that a scrape may take: rules can set it per target. Targets that are found
    /// later keep to it.
    pub timeout_max: Duration,
}

/// A port range to probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The range as configured or found.
    pub seed: Seed,
    /// Labels of the group it belongs to.
    pub labels: Labels<'static>,
    /// Those of its ports that fall to this relay.
    pub ports: Vec<u16>,
}

impl From<&StaticConfig> for Group {
    fn from(config: &StaticConfig) -> Self {
        Self {
            labels: config.labels.iter().map(|(n, v)| (n.clone(), v.clone())).collect(),
            seeds: config.targets.iter().cloned().map(Address::Spec).map(Seed::new).collect(),
        }
    }
}

impl Sources {
    /// Sorts a job's static targets; those that `relabel_configs` drop, or that fall to another relay,
    /// are left out.
    ///
    /// # Errors
    /// Rules that leave a target without a valid URL or duration.
    pub fn new(scrape: &Scrape, shard: Option<Shard>) -> Result<Self, TargetError> {
        let groups: Vec<_> =
            scrape.static_configs.iter().map(|config| Arc::new(Group::from(config))).collect();
        let mut sources = Self { timeout_max: scrape.timeout, ..Self::default() };
        if !scrape.discovery.is_empty() {
            // What will be found is not known yet; more than an interval is asked for by nobody.
            sources.timeout_max = scrape.interval.max(scrape.timeout);
        }
        for group in &groups {
            for seed in &group.seeds {
                // Of a range the first port stands for all, so that rules that cannot work are
                // told at the start and not by instances that never show.
                for role in [None, Some(Role::JobManager), Some(Role::TaskManager)] {
                    let port = *seed.ports().start();
                    let target = Target::resolve(scrape, &group.labels, seed, port, role)?;
                    let timeout = target.map_or(Duration::ZERO, |target| target.timeout);
                    sources.timeout_max = sources.timeout_max.max(timeout);
                }
            }
            let resolved = Resolved::new(scrape, group, shard);
            if let Some((_, error)) = resolved.invalid.into_iter().next() {
                return Err(error);
            }
            sources.targets.extend(resolved.targets);
            sources.ranges.extend(resolved.ranges);
            sources.elsewhere.extend(resolved.elsewhere);
        }
        sources.groups = groups;
        Ok(sources)
    }
}

impl Resolved {
    /// Sorts the targets of a group.
    pub fn new(scrape: &Scrape, group: &Group, shard: Option<Shard>) -> Self {
        let mut resolved = Self::default();
        for seed in &group.seeds {
            let mut ports: Vec<u16> = seed.ports().collect();
            ports.retain(|&port| {
                let key = seed.key(scrape, port);
                let own = shard.is_none_or(|shard| shard.owns(key));
                if !own {
                    resolved.elsewhere.push(key);
                }
                own
            });
            if seed.is_range() {
                let (seed, labels) = (seed.clone(), group.labels.clone());
                resolved.ranges.push(Arc::new(Range { seed, labels, ports }));
            } else if let [port] = *ports {
                match Target::resolve(scrape, &group.labels, seed, port, None) {
                    Ok(Some(target)) => resolved.targets.push(Arc::new(target)),
                    Ok(None) => resolved.dropped += 1,
                    Err(error) => resolved.invalid.push((seed.address.clone(), error)),
                }
            }
        }
        resolved
    }
}

impl Range {
    /// What a probe has found, for this range: where its source says whose ports these are, an instance
    /// of another role is somebody else's.
    pub fn expects(&self, probed: Probed) -> Probed {
        let said = self.seed.labels.get(ROLE_LABEL).or_else(|| self.labels.get(ROLE_LABEL));
        match (probed, said) {
            (Probed::Flink(role), Some(said)) if role != Role::Both && role.as_str() != said => {
                Probed::Foreign(format!("a page of a {}, not of a {said}", role.as_str()))
            }
            (probed, _) => probed,
        }
    }

    /// The target that one of its ports is; `None` when rules drop it or leave it invalid.
    pub fn target(&self, scrape: &Scrape, port: u16, role: Option<Role>) -> Option<Target> {
        Target::resolve(scrape, &self.labels, &self.seed, port, role).ok()?
    }
}
