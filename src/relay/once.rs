//! One round of scrapes, for `flinkrelay scrape`: nothing runs on, and nothing is sent.

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Relay, now_ms};
use crate::{
    scrape::{BudgetState, Scraped, Scraper},
    status::RangeState,
    target::Target,
};

/// What one round of scrapes found.
#[derive(Debug, Default)]
pub struct Once {
    /// Port ranges, by their spelling in the config.
    pub ranges: Vec<(String, RangeState)>,
    /// Sources of targets that cannot tell, and found targets that cannot be scraped: where, and why.
    pub failures: Vec<(String, String)>,
    /// The targets with their outcome; the scraper still holds the page's series.
    pub targets: Vec<(Scraper, Scraped)>,
    /// What budgets did.
    pub budget: BudgetState,
}

impl Relay {
    /// Scrapes each target once, the ports of ranges that answer among them, and sends nothing. A target
    /// whose names became known by another's scrape is scraped a second time.
    pub async fn scrape_once(&self) -> Once {
        match self.rest() {
            None => self.scrape_round().await,
            Some(rest) => tokio::select! {
                once = self.scrape_round() => once,
                () = rest.run(CancellationToken::new()) => Once::default(),
            },
        }
    }

    async fn scrape_round(&self) -> Once {
        let (mut once, mut done) = (Once::default(), Vec::new());
        let plan = self.plan();
        for job in &plan.jobs {
            let found = job.find_once().await;
            once.ranges.extend(found.ranges);
            once.failures.extend(found.failures);
            let mut scrapes = JoinSet::new();
            for target in found.targets {
                let mut scraper = job.scraper(Target::clone(&target));
                scrapes.spawn(async move {
                    let scraped = scraper.scrape(now_ms()).await;
                    (scraper, scraped)
                });
            }
            while let Some(scraped) = scrapes.join_next().await {
                done.extend(scraped.ok().map(|(scraper, scraped)| (job, scraper, scraped)));
            }
        }
        if let Some(rest) = &plan.rest {
            let unknown = rest.unknown().into_iter().collect();
            rest.hold(&unknown, None, rest.hold_max()).await;
        }
        for (job, mut scraper, mut scraped) in done {
            if scraper.is_outdated() {
                scraper = job.scraper(scraper.target().clone());
                scraped = scraper.scrape(now_ms()).await;
            }
            once.targets.push((scraper, scraped));
        }
        once.budget = self.status.budget.state();
        if !once.budget.degraded.is_empty() {
            // The first targets were scraped before it was known how many series the others have.
            for (scraper, scraped) in &mut once.targets {
                *scraped = scraper.scrape(now_ms()).await;
            }
        }
        once
    }
}
