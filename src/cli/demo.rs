//! `flinkrelay demo`: the main job with nothing else installed.
//!
//! Pages recorded from a real Flink 2.3 (a JobManager and two TaskManagers that run three jobs) are
//! served on loopback ports; their counters advance from scrape to scrape. The relay finds them,
//! scrapes them over HTTP and pushes over HTTP, either to a receiver inside the process, which decodes
//! and keeps the last samples, or to a real one.

mod pages;
mod receiver;
mod screen;
mod summary;

use std::{io::IsTerminal as _, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Args;
use console::Term;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{receiver::Store, screen::Screen, summary::Summary};
use super::{Failed, LogArgs, print, run};
use crate::{
    config::{self, Config, Overrides, PromDuration, Purpose},
    relay::Relay,
};

/// Relay recorded pages of a real Flink to a receiver inside the process.
#[derive(Debug, Args)]
pub struct Demo {
    /// Stop after this time; 0 goes on until Ctrl-C
    #[arg(long = "for", value_name = "DURATION", default_value = "10s")]
    duration: PromDuration,
    /// Push to this receiver instead of the one inside the process
    #[arg(long, value_name = "URL")]
    remote_write: Option<String>,
    /// Time between two scrapes
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    interval: String,
    #[command(flatten)]
    log: LogArgs,
}

/// How long pending samples may take at the end.
const GRACE: Duration = Duration::from_secs(5);

/// How often the summary is drawn.
const FRAME: Duration = Duration::from_millis(500);

impl Demo {
    /// Runs the demo.
    ///
    /// # Errors
    /// Samples that were scraped and not delivered, or a target without a good scrape.
    pub fn run(self) -> Result<(), Failed> {
        let log_format = self.log.log_format;
        let quiet = LogArgs { log_format, log_level: "error".to_owned() };
        // On a terminal the summary is redrawn in place, where log lines would tear it.
        if std::io::stderr().is_terminal() {
            quiet.init()?
        } else {
            self.log.init()?
        };
        run::block_on(self.relay())?
    }

    async fn relay(self) -> Result<(), Failed> {
        let stop = CancellationToken::new();
        let (targets, pages) = pages::serve(stop.child_token()).await?;
        let store = Arc::new(Store::default());
        let listener =
            TcpListener::bind("127.0.0.1:0").await.context("no loopback port is free")?;
        let embedded = format!("http://{}/api/v1/write", listener.local_addr()?);
        let served = CancellationToken::new();
        let receiver = receiver::serve(listener, Arc::clone(&store), served.clone());
        let url = self.remote_write.clone().unwrap_or_else(|| embedded.clone());
        let config = self.config(&targets, &url)?;
        let relay = Relay::new(&config).map_err(|error| Failed::Usage(error.into()))?;
        let embedded = self.remote_write.is_none().then_some(&*store);
        let summary = Summary::new(&relay, embedded, &url);
        let relaying = async {
            let undelivered = relay.run(stop.clone(), GRACE).await;
            served.cancel();
            undelivered
        };
        let (undelivered, (), received, ()) =
            tokio::join!(relaying, pages, receiver, self.watch(&summary, &stop));
        received.context("the embedded receiver failed")?;
        print(|out| write!(out, "{}", summary.text(Instant::now())))?;
        summary.verdict(undelivered).map_err(|why| Failed::Other(anyhow::anyhow!(why)))
    }

    fn config(&self, targets: &[String], url: &str) -> Result<Config, Failed> {
        let overrides = Overrides {
            purpose: Purpose::Run,
            targets: targets.to_vec(),
            remote_write: vec![url.to_owned()],
            interval: Some(self.interval.clone()),
            timeout: Some(self.interval.clone()),
            // Nobody asked to talk to anything outside the process.
            flink_rest: Some("off".to_owned()),
            ..Overrides::default()
        };
        let mut config = config::load(None, &overrides, &|_| None)
            .map_err(|error| Failed::Usage(error.into()))?;
        for receiver in &mut config.receivers {
            // A person watches: what was scraped is shown after a second, not after five.
            receiver.queue.batch_send_deadline = Duration::from_millis(500);
        }
        Ok(config)
    }

    /// Shows the summary until the time is over or a signal comes; then stops the relay.
    async fn watch(&self, summary: &Summary<'_>, stop: &CancellationToken) {
        let mut screen = Screen::new(Term::buffered_stderr());
        let over = async {
            if self.duration.0.is_zero() {
                std::future::pending().await
            } else {
                tokio::time::sleep(self.duration.0).await
            }
        };
        let draw = async {
            let mut frames = tokio::time::interval(FRAME);
            loop {
                frames.tick().await;
                // A terminal that is gone shows nothing; the relay goes on, and the end is printed.
                let _shown = screen.show(&summary.text(Instant::now()));
            }
        };
        match run::stop_on_signals(stop.clone(), || ()) {
            Ok(signal) => tokio::select! {
                () = over => {}
                () = draw => {}
                () = signal => {}
                () = stop.cancelled() => {}
            },
            Err(_) => tokio::select! {
                () = over => {}
                () = draw => {}
            },
        }
        let _cleared = screen.show("");
        stop.cancel();
    }
}
