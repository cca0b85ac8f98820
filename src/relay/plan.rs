//! From a configuration to everything that runs by it, built beside what runs now.
//!
//! Nothing of the present relay is touched until the whole plan stands: a certificate that cannot be read
//! refuses the reload, and the old configuration goes on.

use std::sync::Arc;

use super::{StartError, job::JobPlan, outlet::Outlet, wiring::Wiring};
use crate::{config::Config, flink_rest::Rest, push::Receiver, status::Status};

/// A configuration, ready to run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) wiring: Arc<Wiring>,
    pub(super) jobs: Vec<Arc<JobPlan>>,
    /// Where names come from; the same as before when nothing about it has changed.
    pub(super) rest: Option<Arc<Rest>>,
}

/// What a plan does to the outlets that are there.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Outlets that are new.
    pub(super) added: Vec<Arc<Outlet>>,
    /// Outlets that get another receiver.
    pub(super) replaced: Vec<(Arc<Outlet>, Arc<Receiver>)>,
    /// Outlets that are no longer configured.
    pub(super) removed: Vec<Arc<Outlet>>,
}

impl Plan {
    /// Builds what it can. The plan is whole only when there are no errors.
    pub(super) fn build(
        config: &Config,
        present: Option<&Self>,
        leaving: &[Arc<Outlet>],
        status: &Arc<Status>,
    ) -> (Self, Moves, Vec<StartError>) {
        let mut errors = Vec::new();
        let mut moves = Moves::default();
        let mut outlets = Vec::with_capacity(config.receivers.len());
        let mut config = config.clone();
        config.receivers.retain(|wanted| {
            let found = present.and_then(|present| present.outlet(&wanted.name));
            let back = || leaving.iter().find(|outlet| outlet.name == wanted.name);
            let built = match (found, back()) {
                (Some((outlet, as_before)), _) if as_before == wanted => Ok(Arc::clone(outlet)),
                // One that has been removed and still drains comes back with what it holds.
                (Some((outlet, _)), _) | (None, Some(outlet)) => {
                    outlet.receiver().successor(wanted.clone()).map(|next| {
                        moves.replaced.push((Arc::clone(outlet), Arc::new(next)));
                        Arc::clone(outlet)
                    })
                }
                (None, None) => Receiver::new(wanted.clone()).map(|receiver| {
                    let outlet = Arc::new(Outlet::new(receiver));
                    moves.added.push(Arc::clone(&outlet));
                    outlet
                }),
            };
            match built {
                Ok(outlet) => outlets.push(outlet),
                Err(source) => {
                    errors.push(StartError::Receiver { name: wanted.name.clone(), source });
                    return false;
                }
            }
            true
        });
        for (outlet, _) in present.iter().flat_map(|present| &present.wiring.outlets) {
            if !outlets.iter().any(|kept| Arc::ptr_eq(kept, outlet)) {
                moves.removed.push(Arc::clone(outlet));
            }
        }
        let before = present.map(|present| &*present.wiring);
        let wiring = Arc::new(Wiring::new(&config, outlets, before));
        let same = |present: &&Self| present.config.flink.rest == config.flink.rest;
        let rest = match present.filter(same) {
            Some(present) => present.rest.clone(),
            None => Rest::new(&config.flink.rest).map_or_else(
                |source| {
                    errors.push(StartError::Rest { source });
                    None
                },
                |rest| rest.map(Arc::new),
            ),
        };
        let mut jobs = Vec::with_capacity(config.scrapes.len());
        for scrape in &config.scrapes {
            let before = present.and_then(|present| present.job(&scrape.job_name));
            let before = before.map(AsRef::as_ref);
            match JobPlan::new(scrape, &config, &wiring, status, rest.as_ref(), before) {
                Ok(job) => jobs.push(Arc::new(job)),
                Err(source) => {
                    errors.push(StartError::Job { name: scrape.job_name.clone(), source });
                }
            }
        }
        (Self { config, wiring, jobs, rest }, moves, errors)
    }

    pub(super) fn job(&self, name: &str) -> Option<&Arc<JobPlan>> {
        self.jobs.iter().find(|job| job.scrape.job_name == name)
    }

    /// The outlet of a receiver, and what it was configured as.
    fn outlet(&self, name: &str) -> Option<(&Arc<Outlet>, &crate::config::Receiver)> {
        let outlets = self.wiring.outlets.iter().zip(&self.config.receivers);
        let mut known = outlets.map(|((outlet, _), config)| (outlet, config));
        known.find(|(_, config)| config.name == name)
    }
}
