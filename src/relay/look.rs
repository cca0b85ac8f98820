//! A relay's parts for who looks at them one by one, and does not run it: `flinkrelay doctor`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Relay, job::JobPlan};
use crate::{
    config::{Receiver, Scrape},
    discovery::{Group, source::Source},
    http::Client,
    scrape::Scraper,
    target::{Seed, Target},
};

/// One scrape job.
#[derive(Clone, Debug)]
pub struct JobLook {
    plan: Arc<JobPlan>,
    /// Static targets, and what discovery has found.
    groups: Vec<Arc<Group>>,
}

impl JobLook {
    /// As configured.
    pub fn scrape(&self) -> &Scrape {
        &self.plan.scrape
    }

    /// Its targets before relabelling: the static ones, and after [`JobLook::look_for_targets`] also
    /// those that its sources have found.
    pub fn groups(&self) -> &[Arc<Group>] {
        &self.groups
    }

    /// Asks each source once. Returns what it answers: the source in words for people, and how many
    /// targets it knows or why it cannot tell.
    pub async fn look_for_targets(&mut self) -> Vec<(String, Result<usize, String>)> {
        let mut told = Vec::new();
        for (source, answer) in self.plan.ask_sources().await {
            let targets = answer.groups.iter().map(|group| group.seeds.len()).sum();
            self.groups.extend(answer.groups.iter().cloned());
            told.push((source, answer.failure.map_or(Ok(targets), Err)));
        }
        told
    }

    /// Whether this relay scrapes a port of a target, and no other.
    pub fn owns(&self, seed: &Seed, port: u16) -> bool {
        self.plan.shard.is_none_or(|shard| shard.owns(seed.key(&self.plan.scrape, port)))
    }

    /// What its targets are asked by.
    pub fn client(&self) -> &Client {
        &self.plan.client
    }

    /// A scraper of one of its targets, exactly as it would run, but for the time it may take.
    pub fn scraper(&self, target: Target, timeout_max: Duration) -> Scraper {
        let timeout = target.timeout.min(timeout_max);
        self.plan.scraper(Target { timeout, ..target })
    }
}

/// One entry of a job's `…_sd_configs`.
#[derive(Clone, Debug)]
pub struct SourceLook {
    /// The job.
    pub job: String,
    /// Its place in the configuration, such as `file_sd_configs[0]`.
    pub config: String,
    /// The source itself.
    pub source: Arc<Source>,
}

impl Relay {
    /// Where targets are looked for, in the order of the config.
    pub fn discovery(&self) -> Vec<SourceLook> {
        let mut looks = Vec::new();
        for job in &self.plan().jobs {
            let mut counts = BTreeMap::<_, usize>::new();
            for source in &job.discovery {
                let key = source.config.key();
                let at = counts.entry(key).or_default();
                let (job, config) = (job.scrape.job_name.clone(), format!("{key}[{at}]"));
                *at += 1;
                looks.push(SourceLook { job, config, source: Arc::clone(source) });
            }
        }
        looks
    }

    /// The scrape jobs, in the order of the config.
    pub fn jobs(&self) -> Vec<JobLook> {
        let look = |plan: &Arc<JobPlan>| JobLook {
            plan: Arc::clone(plan),
            groups: plan.sources.groups.clone(),
        };
        self.plan().jobs.iter().map(look).collect()
    }

    /// The receivers as configured, each with the number of its view of a scraper's series.
    pub fn views(&self) -> Vec<(Receiver, usize)> {
        let plan = self.plan();
        let outlets = plan.wiring.outlets.iter();
        outlets.zip(&plan.config.receivers).map(|((_, view), r)| (r.clone(), *view)).collect()
    }
}
