//! The relay: builds everything from the config, spawns the tasks, and stops them in order.
//!
//! ```text
//!   per scrape job: sources (static, one prober per range) -> set of targets -> one task per target
//!   per receiver:   one task per lane
//!   on SIGTERM:     scrapes stop -> spools are flushed -> lanes drain within the grace -> the rest is counted
//! ```
//!
//! Only this module spawns tasks; each is joined here before the process ends.

mod job;

use std::{
    sync::{Arc, atomic::AtomicBool, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::job::Job;
pub use self::job::JobError;
use crate::{
    config::{self, Config},
    push::{Receiver, ReceiverError},
    scrape::{Scraped, Scraper},
    series::{Limits, View},
    spool::Reason,
    status::{RangeState, Status},
};

/// Everything that runs, and what is known about it.
#[derive(Debug)]
pub struct Relay {
    jobs: Vec<Arc<Job>>,
    /// The receivers, in the order of the config.
    pub receivers: Vec<Arc<Receiver>>,
    /// The targets.
    pub status: Arc<Status>,
    ready: AtomicBool,
    broken: AtomicBool,
}

/// What one round of scrapes found.
#[derive(Debug, Default)]
pub struct Once {
    /// Port ranges, by their spelling in the config.
    pub ranges: Vec<(String, RangeState)>,
    /// The targets with their outcome; the scraper still holds the page's series.
    pub targets: Vec<(Scraper, Scraped)>,
}

/// A relay that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A receiver's TLS files, headers or queue.
    #[error("remote_write {name}")]
    Receiver {
        /// The receiver's name.
        name: String,
        /// What is wrong.
        source: ReceiverError,
    },
    /// A scrape job's TLS files, headers or targets.
    #[error("scrape job {name}")]
    Job {
        /// The job's name.
        name: String,
        /// What is wrong.
        source: JobError,
    },
}

impl Relay {
    /// Builds the relay; nothing is scraped or sent yet.
    ///
    /// # Errors
    /// Files that the config names and that cannot be used.
    pub fn new(config: &Config) -> Result<Self, StartError> {
        let (relay, errors) = Self::build(config);
        errors.into_iter().next().map_or(Ok(relay), Err)
    }

    /// Everything that keeps a relay of this config from starting here.
    pub fn faults(config: &Config) -> Vec<StartError> {
        Self::build(config).1
    }

    /// The relay without those of its receivers and jobs that cannot be built.
    fn build(config: &Config) -> (Self, Vec<StartError>) {
        let mut errors = Vec::new();
        let (views, view_of) = views(config);
        let mut receivers = Vec::with_capacity(config.receivers.len());
        for (receiver, view) in config.receivers.iter().zip(view_of) {
            match Receiver::new(receiver.clone(), view) {
                Ok(built) => receivers.push(Arc::new(built)),
                Err(source) => {
                    errors.push(StartError::Receiver { name: receiver.name.clone(), source });
                }
            }
        }
        let status = Arc::new(Status::default());
        let mut jobs = Vec::with_capacity(config.scrapes.len());
        for scrape in &config.scrapes {
            match Job::new(scrape, &config.flink, Arc::clone(&views), receivers.clone(), &status) {
                Ok(job) => jobs.push(Arc::new(job)),
                Err(source) => {
                    errors.push(StartError::Job { name: scrape.job_name.clone(), source });
                }
            }
        }
        (
            Self {
                jobs,
                receivers,
                status,
                ready: AtomicBool::new(false),
                broken: AtomicBool::new(false),
            },
            errors,
        )
    }

    /// Scrapes and pushes until `stop` is set; then flushes for `grace` at most.
    /// Returns the number of samples that no receiver took.
    ///
    /// Also sets `stop` when a task of its own breaks, which is a bug: a relay that goes on without one
    /// of its parts would look healthy, and the supervisor starts a whole one. [`Relay::is_broken`]
    /// tells.
    pub async fn run(&self, stop: CancellationToken, grace: Duration) -> u64 {
        let (drain, abort) = (CancellationToken::new(), CancellationToken::new());
        let mut lanes = JoinSet::new();
        for receiver in &self.receivers {
            for lane in 0..receiver.lanes() {
                let (receiver, drain, abort) = (Arc::clone(receiver), drain.clone(), abort.clone());
                let lane = u16::try_from(lane).expect("max_shards is a u16");
                lanes.spawn(async move { receiver.push(lane, &drain, &abort).await });
            }
        }
        let mut jobs = JoinSet::new();
        for job in &self.jobs {
            let (job, stop) = (Arc::clone(job), stop.clone());
            jobs.spawn(async move { job.run(stop).await });
        }
        self.ready.store(true, Relaxed);
        let broken = tokio::select! {
            // First, because jobs end on their own once `stop` is set.
            biased;
            () = stop.cancelled() => None,
            Some(ended) = lanes.join_next() => Some(ended),
            Some(ended) = jobs.join_next() => Some(ended),
        };
        if let Some(ended) = broken {
            error!(?ended, "a part of the relay broke, so it stops");
            self.broken.store(true, Relaxed);
            stop.cancel();
        }
        self.ready.store(false, Relaxed);
        let deadline = Instant::now() + grace;
        while jobs.join_next().await.is_some() {}
        for receiver in &self.receivers {
            receiver.flush();
        }
        drain.cancel();
        let flushed = timeout(deadline.saturating_duration_since(Instant::now()), async {
            while lanes.join_next().await.is_some() {}
        });
        if flushed.await.is_err() {
            abort.cancel();
            while lanes.join_next().await.is_some() {}
        }
        self.close()
    }

    /// Scrapes each target once, the ports of ranges that answer among them, and sends nothing.
    pub async fn scrape_once(&self) -> Once {
        let mut once = Once::default();
        for job in &self.jobs {
            let (ranges, targets) = job.find_once().await;
            once.ranges.extend(ranges);
            let mut scrapes = JoinSet::new();
            for target in targets {
                let mut scraper = job.scraper(target);
                scrapes.spawn(async move {
                    let scraped = scraper.scrape(now_ms()).await;
                    (scraper, scraped)
                });
            }
            while let Some(scraped) = scrapes.join_next().await {
                once.targets.extend(scraped.ok());
            }
        }
        once
    }

    /// Whether the relay scrapes and pushes.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    /// Whether it stopped because a task of its own broke.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    fn close(&self) -> u64 {
        let mut lost_in_all = 0;
        for receiver in &self.receivers {
            let lost = receiver.close();
            lost_in_all += lost;
            let counts = receiver.counts();
            let (delivered, filtered) =
                (counts.delivered.samples, counts.dropped(Reason::WriteRelabel));
            let dropped = counts.dropped_in_all().samples - filtered.samples;
            if dropped > 0 {
                warn!(receiver = %receiver.config.name, delivered, dropped, pending_at_stop = lost,
                    rejected = counts.dropped(Reason::Rejected).samples,
                    "stopped; the receiver did not take all samples");
            } else {
                info!(receiver = %receiver.config.name, delivered, "stopped, all samples delivered");
            }
        }
        lost_in_all
    }
}

/// The distinct views of the receivers, and which one each receiver has.
fn views(config: &Config) -> (Arc<[View]>, Vec<usize>) {
    let mut views = Vec::new();
    let mut view_of = Vec::with_capacity(config.receivers.len());
    for receiver in &config.receivers {
        let view = view(config, receiver);
        let at = views.iter().position(|known| *known == view).unwrap_or_else(|| {
            views.push(view);
            views.len() - 1
        });
        view_of.push(at);
    }
    if views.is_empty() {
        // Without receivers series are only looked at: all of them, with their metadata.
        views.push(View {
            max_samples_per_send: u32::MAX,
            metadata_interval: Some(Duration::ZERO),
            external_labels: config.external_labels.clone(),
            write_relabel_configs: Vec::new(),
            limits: Limits::default(),
        });
    }
    (views.into(), view_of)
}

/// What one receiver wants to see.
fn view(config: &Config, receiver: &config::Receiver) -> View {
    let metadata = &receiver.metadata;
    View {
        max_samples_per_send: receiver.queue.max_samples_per_send,
        metadata_interval: metadata.send.then_some(metadata.send_interval),
        external_labels: config.external_labels.clone(),
        write_relabel_configs: receiver.write_relabel_configs.clone(),
        limits: Limits {
            labels: receiver.label_limit,
            name_bytes: receiver.label_name_length_limit,
            value_bytes: receiver.label_value_length_limit,
        },
    }
}

/// The wall clock in milliseconds since the epoch; the time that samples get.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
