//! The relay's tasks: one per outlet, one per scrape job, and the orders that they take.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::{
    job::{Job, JobOrder, JobPlan},
    outlet::{Ended, Order, Outlet, Stops},
    plan::{Moves, Plan},
    scraping::Ending,
};
use crate::{disk::DataDirectory, push::Receiver};

/// Everything that runs.
pub(super) struct Crew {
    ending: Ending,
    stops: Stops,
    grace: Duration,
    data: Option<Arc<DataDirectory>>,
    outlets: JoinSet<(Arc<Outlet>, Ended)>,
    outlet_orders: HashMap<String, watch::Sender<Option<Order>>>,
    jobs: JoinSet<()>,
    job_orders: HashMap<String, watch::Sender<JobOrder>>,
    /// Jobs that were ended and have not ended yet.
    jobs_leaving: usize,
    /// What asks for names, and how to end the present one.
    rests: JoinSet<()>,
    rest_stop: CancellationToken,
}

/// What a task that ended means.
pub(super) enum News {
    /// An outlet that was removed is drained.
    Removed(Arc<Outlet>),
    /// As it should be.
    Expected,
    /// A part of the relay broke.
    Broken,
}

impl Crew {
    pub(super) fn new(ending: Ending, grace: Duration, data: Option<Arc<DataDirectory>>) -> Self {
        Self {
            ending,
            stops: Stops::default(),
            grace,
            data,
            outlets: JoinSet::new(),
            outlet_orders: HashMap::new(),
            jobs: JoinSet::new(),
            job_orders: HashMap::new(),
            jobs_leaving: 0,
            rests: JoinSet::new(),
            rest_stop: CancellationToken::new(),
        }
    }

    /// Starts everything of a plan.
    pub(super) fn start(&mut self, plan: &Plan) {
        for (outlet, _) in &plan.wiring.outlets {
            self.begin_outlet(outlet);
        }
        self.run_rest(plan);
        for job in &plan.jobs {
            self.run_job(job);
        }
    }

    /// Goes from one plan to the next. Returns the outlets that drain now.
    pub(super) async fn follow(
        &mut self,
        before: &Plan,
        next: &Plan,
        moves: &Moves,
    ) -> Vec<Arc<Outlet>> {
        for outlet in &moves.added {
            self.begin_outlet(outlet);
        }
        for (outlet, receiver) in &moves.replaced {
            self.replace(outlet, receiver).await;
        }
        // Whoever reloads may have put right what a parked receiver waits for.
        next.wiring.outlets.iter().for_each(|(outlet, _)| outlet.receiver().probe_now());
        let same_rest = match (&before.rest, &next.rest) {
            (Some(before), Some(next)) => Arc::ptr_eq(before, next),
            (before, next) => before.is_none() && next.is_none(),
        };
        if !same_rest {
            self.run_rest(next);
        }
        // Scrapers first: what a removed receiver gets until then is still delivered.
        for job in &next.jobs {
            self.run_job(job);
        }
        for job in &before.jobs {
            let name = &job.scrape.job_name;
            if next.job(name).is_none()
                && let Some(orders) = self.job_orders.remove(name)
            {
                orders.send_replace(JobOrder::End);
                self.jobs_leaving += 1;
            }
        }
        for outlet in &moves.removed {
            if let Some(orders) = self.outlet_orders.get(&outlet.name) {
                outlet.order(orders, Order::Remove);
            }
        }
        moves.removed.clone()
    }

    fn begin_outlet(&mut self, outlet: &Arc<Outlet>) {
        let (orders, told) = watch::channel(None);
        let (name, outlet) = (outlet.name.clone(), Arc::clone(outlet));
        let (stops, grace, data) = (self.stops.clone(), self.grace, self.data.clone());
        self.outlets.spawn(async move {
            let ended = Arc::clone(&outlet).tend(told, stops, grace, data).await;
            (outlet, ended)
        });
        self.outlet_orders.insert(name, orders);
    }

    async fn replace(&mut self, outlet: &Arc<Outlet>, receiver: &Arc<Receiver>) {
        let orders = self.outlet_orders.get(&outlet.name);
        let order = Order::Replace(Arc::clone(receiver));
        if !orders.is_some_and(|orders| outlet.order(orders, order)) {
            // It was drained and closed a moment ago.
            outlet.reopen(Arc::clone(receiver), self.data.as_ref()).await;
            self.begin_outlet(outlet);
        }
    }

    fn run_job(&mut self, plan: &Arc<JobPlan>) {
        let name = &plan.scrape.job_name;
        if let Some(orders) = self.job_orders.get(name) {
            orders.send_replace(JobOrder::Run(Arc::clone(plan)));
            return;
        }
        let (orders, told) = watch::channel(JobOrder::Run(Arc::clone(plan)));
        let job = Job::new(Arc::clone(plan), self.ending.clone());
        self.jobs.spawn(job.run(told));
        self.job_orders.insert(name.clone(), orders);
    }

    fn run_rest(&mut self, plan: &Plan) {
        self.rest_stop.cancel();
        self.rest_stop = self.ending.stop.child_token();
        if let Some(rest) = plan.rest.clone() {
            let stop = self.rest_stop.clone();
            self.rests.spawn(async move { rest.run(stop).await });
        }
    }

    /// Waits until a task ends.
    pub(super) async fn news(&mut self) -> News {
        tokio::select! {
            Some(ended) = self.outlets.join_next() => self.outlet_ended(ended),
            Some(ended) = self.jobs.join_next() => self.job_ended(ended),
            Some(ended) = self.rests.join_next() => match ended {
                Ok(()) => News::Expected,
                Err(_) => broken(&ended),
            },
            else => std::future::pending().await,
        }
    }

    fn outlet_ended(&mut self, ended: Result<(Arc<Outlet>, Ended), JoinError>) -> News {
        match ended {
            Ok((outlet, Ended::Removed)) => {
                // Unless it is back already under new orders.
                let orders = &mut self.outlet_orders;
                orders.retain(|name, orders| *name != outlet.name || !orders.is_closed());
                News::Removed(outlet)
            }
            ended => broken(&ended),
        }
    }

    fn job_ended(&mut self, ended: Result<(), JoinError>) -> News {
        if ended.is_ok() && self.jobs_leaving > 0 {
            self.jobs_leaving -= 1;
            return News::Expected;
        }
        broken(&ended)
    }

    /// Waits until nothing is scraped any more.
    pub(super) async fn join_jobs(&mut self) {
        while self.jobs.join_next().await.is_some() {}
        while self.rests.join_next().await.is_some() {}
    }

    /// Lets the lanes end when they are empty, and waits for them.
    pub(super) async fn drain(&mut self) {
        self.stops.drain.cancel();
        while self.outlets.join_next().await.is_some() {}
    }

    /// Ends the lanes at once.
    pub(super) async fn abort(&mut self) {
        self.stops.abort.cancel();
        while self.outlets.join_next().await.is_some() {}
    }
}

fn broken(ended: &dyn std::fmt::Debug) -> News {
    error!(?ended, "a part of the relay broke, so it stops");
    News::Broken
}
