//! A relay inside the test's process, from a configuration as a person writes it.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use flinkrelay::{
    config::{Config, Overrides, Source, load},
    relay::{Changes, Relay},
    spool::{Counts, Reason},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;

/// Time between two scrapes unless the job says something else: short, so that tests are, and long
/// enough for a small page on a machine that does other things too.
const GLOBAL: &str = "global:\n  scrape_interval: 300ms\n  scrape_timeout: 300ms\n";

/// A relay that runs.
pub(crate) struct Running {
    pub(crate) relay: Arc<Relay>,
    stop: CancellationToken,
    task: JoinHandle<u64>,
}

/// A job of the configuration: its targets, and further lines of YAML.
pub(crate) fn job<T: AsRef<str>>(name: &str, targets: &[T], lines: &str) -> String {
    let targets: Vec<_> = targets.iter().map(|target| format!("{:?}", target.as_ref())).collect();
    let targets = targets.join(", ");
    format!("  - job_name: {name}\n    static_configs: [{{targets: [{targets}]}}]\n")
        + &indented(lines)
}

/// A receiver of the configuration: its URL, and further lines of YAML. Batches are sent soon, and as
/// remote write 1.0 unless the lines say something else: most tests are about bodies and their tries,
/// and not about which message they are.
pub(crate) fn receiver(url: &str, lines: &str) -> String {
    let message = if lines.contains("protobuf_message") {
        ""
    } else {
        "protobuf_message: prometheus.WriteRequest\n"
    };
    let queue = if lines.contains("queue_config") {
        ""
    } else {
        "queue_config: {batch_send_deadline: 50ms, max_backoff: 100ms}\n"
    };
    format!("  - url: {url}\n") + &indented(&format!("{message}{queue}{lines}"))
}

/// The file with these jobs and receivers, and further sections.
pub(crate) fn config(jobs: &[String], receivers: &[String], sections: &str) -> Config {
    let global = if sections.contains("global:") { "" } else { GLOBAL };
    let (jobs, receivers) = (jobs.concat(), receivers.concat());
    let text = format!("{global}{sections}\nscrape_configs:\n{jobs}remote_write:\n{receivers}");
    let source = Source { path: "flinkrelay.yaml".into(), text };
    // What listens on port 8081 of the machine is none of a test's business.
    let flink_rest = (!sections.contains("rest:")).then(|| "off".to_owned());
    load(Some(&source), &Overrides { flink_rest, ..Overrides::default() }, &|_| None)
        .unwrap_or_else(|e| panic!("{e}"))
}

fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("    {line}\n")).collect()
}

impl Running {
    /// Starts a relay with a grace that is long enough for everything.
    pub(crate) fn start(config: &Config) -> Self {
        Self::with_grace(config, Duration::from_secs(10))
    }

    /// Starts a relay.
    pub(crate) fn with_grace(config: &Config, grace: Duration) -> Self {
        let relay = Relay::new(config).unwrap_or_else(|error| panic!("{error}"));
        relay.open_spools().unwrap_or_else(|error| panic!("{error}"));
        Self::run(relay, grace)
    }

    /// Starts a relay, unless another one has its data directory.
    pub(crate) fn try_start(config: &Config) -> Option<Self> {
        let relay = Relay::new(config).unwrap_or_else(|error| panic!("{error}"));
        relay.open_spools().ok()?;
        Some(Self::run(relay, Duration::from_secs(10)))
    }

    fn run(relay: Relay, grace: Duration) -> Self {
        let relay = Arc::new(relay);
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (relay, stop) = (Arc::clone(&relay), stop.clone());
            async move { relay.run(stop, grace).await }
        });
        Self { relay, stop, task }
    }

    /// The account of a receiver, by its place in the configuration. It must balance at all times.
    #[track_caller]
    pub(crate) fn counts(&self, receiver: usize) -> Counts {
        let receiver = &self.relay.receivers()[receiver];
        let counts = receiver.counts();
        balanced(&counts);
        assert_eq!(receiver.unaccounted(), 0, "the self-check that is exported");
        counts
    }

    /// Takes another configuration, which must be good.
    pub(crate) async fn reload(&self, config: &Config) -> Changes {
        let reloaded = self.relay.reload(config.clone()).await;
        reloaded.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Ends the relay where it is, as a kill of the process does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _aborted = self.task.await;
    }

    /// Stops, and returns the samples that were lost by that, and those that the first receiver's spool
    /// keeps.
    pub(crate) async fn stop_durable(self) -> (u64, u64) {
        let receivers = self.relay.receivers();
        self.stop.cancel();
        let lost = self.task.await.expect("the relay has not panicked");
        receivers.iter().for_each(|receiver| balanced(&receiver.counts()));
        (lost, receivers[0].counts().queued.samples)
    }

    /// Stops, and returns the samples that were lost by that.
    pub(crate) async fn stop(self) -> u64 {
        let receivers = self.relay.receivers();
        self.stop.cancel();
        let lost = self.task.await.expect("the relay has not panicked");
        for receiver in receivers {
            let counts = receiver.counts();
            balanced(&counts);
            assert_eq!(counts.queued.samples, 0, "nothing is left: {counts:?}");
        }
        lost
    }
}

#[track_caller]
fn balanced(counts: &Counts) {
    let dropped: u64 = Reason::ALL.iter().map(|&reason| counts.dropped(reason).samples).sum();
    let accounted = counts.delivered.samples + dropped + counts.queued.samples;
    assert_eq!(counts.appended.samples, accounted, "{counts:?}");
}

static SECOND: OnceLock<tracing::Dispatch> = OnceLock::new();

/// What the relay logs on this thread while the guard lives.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Starts to collect.
    pub(crate) fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        // While there is one subscriber in all, tracing asks that of the thread which comes to an
        // event first whether anybody wants it, and the threads of other tests have none. A second
        // one makes it ask all there are.
        SECOND.get_or_init(|| {
            tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(io::sink).finish())
        });
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .with_ansi(false)
            .with_target(false)
            .without_time();
        (log, tracing::subscriber::set_default(subscriber.finish()))
    }

    /// The lines that hold this text.
    pub(crate) fn lines_with(&self, text: &str) -> Vec<String> {
        let log = self.0.lock().unwrap();
        let log = str::from_utf8(&log).unwrap().lines();
        log.filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
