//! `flinkrelay run`: scrapes and pushes until SIGTERM or SIGINT, and reads its configuration again when
//! it is told to.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::{Args, builder::FalseyValueParser};
use futures_util::FutureExt as _;
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{ConfigArgs, Failed, LogArgs, reload::Reloader};
use crate::{
    config::{Config, PromDuration, Purpose},
    flink::Group,
    relay::Relay,
    scale::statefulset,
    server,
};

/// Scrape and push until SIGTERM or SIGINT.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    config: ConfigArgs,
    /// Address of the relay's own endpoints: /metrics, /targets, /-/healthy, /-/ready, /-/reload; empty
    /// for none, `:9480` for all addresses
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9480",
        env = "FLINKRELAY_LISTEN"
    )]
    listen: String,
    /// Longest time to deliver what is pending after SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "5s", env = "FLINKRELAY_SHUTDOWN_GRACE")]
    shutdown_grace: PromDuration,
    /// Scrape each target once more after SIGTERM, for batch jobs that end with the relay
    #[arg(long, env = "FLINKRELAY_FINAL_SCRAPE", value_parser = FalseyValueParser::new())]
    final_scrape: bool,
    /// How often to look whether the configuration file has changed, and reload it then; 0 for never
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        env = "FLINKRELAY_CONFIG_AUTO_RELOAD_INTERVAL"
    )]
    config_auto_reload_interval: PromDuration,
    #[command(flatten)]
    log: LogArgs,
}

impl Run {
    /// Runs the relay.
    ///
    /// # Errors
    /// A configuration that cannot be used, or an address that cannot be listened on. Targets and
    /// receivers that cannot be reached are no errors: they are tried again.
    pub fn run(self) -> Result<(), Failed> {
        let config = self.load()?;
        self.log.init()?;
        let relay = Relay::new(&config).map_err(|error| Failed::Usage(error.into()))?;
        relay.open_spools()?;
        let threads = threads(cores(), self.targets_max(&relay));
        block_on(threads, self.serve(Arc::new(relay), config))?
    }

    /// Reads the configuration, at the start and at each reload.
    fn load(&self) -> Result<Config, Failed> {
        let mut config = self.config.load(Purpose::Run)?;
        config.final_scrape |= self.final_scrape;
        Ok(config)
    }

    /// The most targets that there will ever be, when that is known: nothing but a file can be read again, and
    /// nothing but ranges and discovery finds targets. Then each is named in the arguments.
    fn targets_max(&self, relay: &Relay) -> Option<usize> {
        let (targets, ranges) = relay.configured_targets();
        let is_fixed = self.config.file().is_none() && ranges == 0 && relay.discovery().is_empty();
        is_fixed.then_some(targets)
    }

    async fn serve(self, relay: Arc<Relay>, config: Config) -> Result<(), Failed> {
        let (stop, stopped) = (CancellationToken::new(), CancellationToken::new());
        let stop_at_signal = stop_on_signals(stop.clone(), || relay.hurry())?;
        let hangup = signal(SignalKind::hangup())?;
        let listener = self.listen().await?;
        self.log_start(&relay, &config, listener.as_ref());
        let load = || self.load();
        let check_interval = self.config_auto_reload_interval.0;
        let reloader = Reloader::new(&relay, config, self.config.file(), check_interval, &load);
        let endpoints = async {
            let Some(listener) = listener else { return Ok(()) };
            let serving = server::serve(listener, Arc::clone(&relay), stopped.clone());
            let overdue = async {
                stopped.cancelled().await;
                sleep(ANSWERS_GRACE).await;
            };
            tokio::select! {
                served = serving => served,
                () = overdue => Ok(()),
            }
        };
        let relaying = async {
            let undelivered = relay.run(stop.clone(), self.shutdown_grace.0).await;
            stopped.cancel();
            undelivered
        };
        let scale = relay.scale.run(|member| statefulset::words(member, &super::variable));
        let (undelivered, endpoints, (), (), ()) = tokio::join!(
            relaying,
            endpoints,
            stopped.run_until_cancelled(stop_at_signal).map(drop),
            stop.run_until_cancelled(reloader.run(hangup)).map(drop),
            stop.run_until_cancelled(scale).map(drop)
        );
        if let Err(error) = endpoints {
            error!(%error, "the endpoints failed");
        }
        info!(pending_at_stop = undelivered, "stopped");
        if relay.is_broken() { Err(Failed::Said) } else { Ok(()) }
    }

    async fn listen(&self) -> Result<Option<TcpListener>, Failed> {
        if self.listen.is_empty() {
            return Ok(None);
        }
        let address = listen_address(&self.listen)?;
        let listener = TcpListener::bind(&address).await;
        let listener =
            listener.with_context(|| format!("--listen: cannot listen on {}", self.listen))?;
        Ok(Some(listener))
    }

    /// One line that tells a person what this relay does, and where to look.
    fn log_start(&self, relay: &Relay, config: &Config, listener: Option<&TcpListener>) {
        let (targets, ranges) = relay.configured_targets();
        let sources = relay.discovery().len();
        let receivers: Vec<_> = config.receivers.iter().map(|r| r.name.as_str()).collect();
        let all = config.flink.catalogue.groups();
        let groups: Vec<_> = config.flink.groups.among(all).map(Group::as_str).collect();
        let groups = if groups.len() == all.len() { "all".into() } else { groups.join(",") };
        let listen = listener.and_then(|listener| listener.local_addr().ok());
        let listen = listen.map_or_else(|| "nowhere".to_owned(), |address| address.to_string());
        let file = self.config.file().map_or_else(|| "none".into(), |f| f.display().to_string());
        let shard = config.shard.map_or_else(|| "none".to_owned(), |shard| shard.to_string());
        let data_dir = config.spool.directory.as_ref();
        let data_dir = data_dir.map_or_else(|| "none".into(), |path| path.display().to_string());
        info!(version = env!("CARGO_PKG_VERSION"), %listen, %file, receivers = receivers.join(","),
            %groups, targets, ranges, sources, %shard, %data_dir, "started");
        if config.spool.directory.is_none() {
            info!(
                "without a data directory samples wait in memory: a restart loses what no receiver has \
                   taken yet"
            );
        }
    }
}

/// `HOST:PORT`; without the host, as Prometheus and vmagent take it, all addresses.
fn listen_address(text: &str) -> Result<String, Failed> {
    match text.rsplit_once(':') {
        Some(("", port)) if port.parse::<u16>().is_ok() => Ok(format!("0.0.0.0:{port}")),
        Some((_, port)) if port.parse::<u16>().is_ok() => Ok(text.to_owned()),
        _ => Err(Failed::Usage(anyhow::anyhow!(
            "--listen: expected HOST:PORT such as 127.0.0.1:9480 or :9480, found `{text}`"
        ))),
    }
}

/// The cores that the cgroup allows.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How many threads a relay of at most so many targets gets: one for two cores, and no more than targets, since
/// what can go on at once is a page of each. A thread has room for a million samples a second and more, at half a
/// microsecond each; each further one has a heap of its own, and threads wake each other for every piece of a page,
/// which costs a sixth of all.
const fn threads(cores: usize, targets_max: Option<usize>) -> usize {
    let half = cores.div_ceil(2);
    match targets_max {
        Some(..=1) => 1,
        Some(targets) if targets < half => targets,
        _ => half,
    }
}

/// Runs a future on a runtime with so many threads; one is the caller's own. What the future leaves behind is
/// not waited for: a name that is being resolved holds its thread until the system's resolver gives up.
///
/// # Errors
/// The operating system gives no threads.
pub fn block_on<T>(threads: usize, future: impl Future<Output = T>) -> std::io::Result<T> {
    let mut builder = if threads == 1 {
        runtime::Builder::new_current_thread()
    } else {
        runtime::Builder::new_multi_thread()
    };
    let runtime = builder.worker_threads(threads).enable_all().build()?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
}

/// A future that sets `stop` at the first SIGTERM or SIGINT, calls `again` at the second, and never
/// ends after that.
///
/// # Errors
/// The signals cannot be caught.
pub fn stop_on_signals(
    stop: CancellationToken,
    again: impl Fn(),
) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    Ok(async move {
        let signal = next().await;
        info!("{signal}: delivering what is pending");
        stop.cancel();
        let signal = next().await;
        info!("{signal} again: what is still pending is left");
        again();
        std::future::pending().await
    })
}

/// How long the relay's own endpoints may finish their answers after everything else has stopped. A
/// connection on which half a request stands would otherwise keep the process.
const ANSWERS_GRACE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: Run,
    }

    #[test]
    fn threads_are_half_as_many_as_cores_and_no_more_than_targets() {
        let check = |args: &str, cores: usize, expected: usize| {
            let line = format!("run --remote-write http://localhost:1/ --flink-rest off {args}");
            let Line { run } = Line::try_parse_from(line.split(' ')).unwrap();
            let relay = Relay::new(&run.load().map_err(|_| args).unwrap()).unwrap();
            assert_eq!(threads(cores, run.targets_max(&relay)), expected, "{args} on {cores}");
        };
        check("--target a:1", 8, 1);
        check("--target a:1", 1, 1);
        check("--target a:1,b:1", 8, 2);
        check("--target a:1,b:1,c:1", 2, 1);
        check("--target a:1,b:1,c:1", 3, 2);
        check("--target a:1,b:1", 1, 1);
        // A port of the range may answer later.
        check("--target a:1-9", 8, 4);
        check("--target a:1 --target a:1-9", 8, 4);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("relay.yaml");
        let one = "scrape_configs: [{job_name: a, static_configs: [{targets: ['a:1']}]}]";
        std::fs::write(&file, one).unwrap();
        // The file may be another one at the next reload.
        check(&format!("--config {}", file.display()), 4, 2);
        check(&format!("--config {}", file.display()), 2, 1);
    }
}
