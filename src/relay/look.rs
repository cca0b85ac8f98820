//! A relay's parts for who looks at them one by one, and does not run it: `flinkrelay doctor`.

use std::{sync::Arc, time::Duration};

use super::{Relay, job::JobPlan};
use crate::{
    config::{Receiver, Scrape},
    discovery::Sources,
    http::Client,
    scrape::Scraper,
    target::Target,
};

/// One scrape job.
#[derive(Clone, Debug)]
pub struct JobLook(Arc<JobPlan>);

impl JobLook {
    /// As configured.
    pub fn scrape(&self) -> &Scrape {
        &self.0.scrape
    }

    /// Its targets and ranges.
    pub fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// What its targets are asked by.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// A scraper of one of its targets, exactly as it would run, but for the time it may take.
    pub fn scraper(&self, target: Target, timeout_max: Duration) -> Scraper {
        let timeout = target.timeout.min(timeout_max);
        self.0.scraper(Target { timeout, ..target })
    }
}

impl Relay {
    /// The scrape jobs, in the order of the config.
    pub fn jobs(&self) -> Vec<JobLook> {
        self.plan().jobs.iter().map(|job| JobLook(Arc::clone(job))).collect()
    }

    /// The receivers as configured, each with the number of its view of a scraper's series.
    pub fn views(&self) -> Vec<(Receiver, usize)> {
        let plan = self.plan();
        let outlets = plan.wiring.outlets.iter();
        outlets.zip(&plan.config.receivers).map(|((_, view), r)| (r.clone(), *view)).collect()
    }
}
