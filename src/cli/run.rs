//! `flinkrelay run`: scrapes and pushes until SIGTERM or SIGINT.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Args;
use futures_util::FutureExt as _;
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{ConfigArgs, Failed, LogArgs};
use crate::{
    config::{PromDuration, Purpose},
    relay::Relay,
    server,
};

/// Scrape and push until SIGTERM or SIGINT.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    config: ConfigArgs,
    /// Address of the relay's own endpoints: /metrics, /targets, /-/healthy, /-/ready; empty for none
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
        let config = self.config.load(Purpose::Run)?;
        self.log.init()?;
        let relay = Relay::new(&config).map_err(|error| Failed::Usage(error.into()))?;
        block_on(self.serve(Arc::new(relay)))?
    }

    async fn serve(self, relay: Arc<Relay>) -> Result<(), Failed> {
        let (stop, stopped) = (CancellationToken::new(), CancellationToken::new());
        let stop_at_signal = stop_on_signal(stop.clone())?;
        let listener = self.listen().await?;
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
        let (undelivered, endpoints, ()) = tokio::join!(
            relaying,
            endpoints,
            stopped.run_until_cancelled(stop_at_signal).map(drop)
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
        info!(listen = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), "started");
        Ok(Some(listener))
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

/// Runs a future on a runtime with as many threads as the cgroup allows cores; on one core, without
/// any. What the future leaves behind is not waited for: a name that is being resolved holds its thread
/// until the system's resolver gives up.
///
/// # Errors
/// The operating system gives no threads.
pub fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut builder = if cores == 1 {
        runtime::Builder::new_current_thread()
    } else {
        runtime::Builder::new_multi_thread()
    };
    let runtime = builder.worker_threads(cores).enable_all().build()?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
}

/// A future that sets `stop` at the first SIGTERM or SIGINT. SIGHUP, with which Prometheus and vmagent
/// are told to reload, must not end the process, which is what it does by default.
///
/// # Errors
/// The signals cannot be caught.
pub fn stop_on_signal(stop: CancellationToken) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break info!("SIGTERM: delivering what is pending"),
                _ = interrupt.recv() => break info!("SIGINT: delivering what is pending"),
                _ = hangup.recv() => {
                    warn!("SIGHUP: the configuration is read at the start only; restart to reload");
                }
            }
        }
        stop.cancel();
    })
}

/// How long the relay's own endpoints may finish their answers after everything else has stopped. A
/// connection on which half a request stands would otherwise keep the process.
const ANSWERS_GRACE: Duration = Duration::from_millis(500);
