//! The command line: one subcommand a file, and what they share.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. Output goes to stdout, everything
//! that is said about it to stderr.

pub mod check;
pub mod demo;
pub mod doctor;
pub mod groups;
mod reload;
pub mod run;
pub mod scrape;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{
    Args, Parser, Subcommand,
    builder::{OsStringValueParser, TypedValueParser as _},
};

use crate::{
    config::{self, Config, Overrides, Purpose},
    flink::{self, Group},
    telemetry::{self, LogFormat},
};

/// Prometheus remote-write relay for Apache Flink.
///
/// Pulls the pages of Flink's PrometheusReporter, understands them as Flink metrics and pushes them to
/// any receiver of Prometheus remote write.
#[derive(Debug, Parser)]
#[command(name = "flinkrelay", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Scrape and push until SIGTERM or SIGINT
    Run(run::Run),
    /// Validate a configuration file
    Check(check::Check),
    /// Scrape each target once, push nothing, and show what would be sent
    Scrape(scrape::Scrape),
    // Described at its arguments, where the help of others is one line.
    Doctor(doctor::Doctor),
    /// Relay recorded pages of a real Flink to a receiver inside the process
    Demo(demo::Demo),
    /// Show the metric groups and the metrics that are known
    Groups(Groups),
}

/// Show the metric groups and the metrics that are known.
#[derive(Debug, Args)]
struct Groups {
    /// Only this group, with all its metrics
    group: Option<String>,
    /// Configuration file, for the metrics and groups of its `flink.metrics`
    #[arg(short, long, value_name = "FILE", env = "FLINKRELAY_CONFIG",
          value_parser = OsStringValueParser::new().map(PathBuf::from))]
    config: Option<PathBuf>,
    /// Format of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: groups::Format,
}

/// The shortcuts: what a sidecar needs, without a file.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Shortcuts")]
pub struct Shortcuts {
    /// Target to scrape: `host:9249`, `http://host:9250/metrics`, or a range of ports
    /// `host:9250-9260`, of which every port that answers with a Flink page is scraped; repeatable
    #[arg(long, value_name = "SPEC", env = "FLINKRELAY_TARGET", value_delimiter = ',')]
    target: Vec<String>,
    /// URL of a remote-write receiver; repeatable
    #[arg(long, value_name = "URL", env = "FLINKRELAY_REMOTE_WRITE", value_delimiter = ',')]
    remote_write: Vec<String>,
    /// Time between two scrapes of a target [default: 15s]
    #[arg(long, value_name = "DURATION", env = "FLINKRELAY_INTERVAL")]
    interval: Option<String>,
    /// Longest time of one scrape [default: 10s]
    #[arg(long, value_name = "DURATION", env = "FLINKRELAY_TIMEOUT")]
    timeout: Option<String>,
    /// Metric groups to relay, separated by commas, see `flinkrelay groups` [default: all]
    #[arg(long, value_name = "GROUPS", env = "FLINKRELAY_GROUPS")]
    groups: Option<String>,
    /// Label to add to every series; repeatable
    #[arg(
        long,
        value_name = "NAME=VALUE",
        env = "FLINKRELAY_EXTERNAL_LABEL",
        value_delimiter = ','
    )]
    external_label: Vec<String>,
    /// Tenant, sent as `X-Scope-OrgID`
    #[arg(long, value_name = "ID", env = "FLINKRELAY_TENANT")]
    tenant: Option<String>,
    /// URL of Flink's REST API, for the names of jobs, tasks and TaskManagers; `auto` looks on port 8081 of
    /// each JobManager that is scraped, `off` leaves names as the reporter writes them [default: auto]
    #[arg(long, value_name = "URL", env = "FLINKRELAY_FLINK_REST")]
    flink_rest: Option<String>,
    /// Scrape only the targets that fall to relay I of N, counted from 0; I may be `auto`, the number
    /// at the end of the host's name, and N `statefulset`, as many as the pod's has [default: all targets]
    #[arg(long, value_name = "I/N", env = "FLINKRELAY_SHARD")]
    shard: Option<String>,
    /// Directory in which samples wait for receivers, so that they survive a restart; without it they
    /// wait in memory. For `run` only
    #[arg(long, value_name = "DIR", env = "FLINKRELAY_DATA_DIR")]
    data_dir: Option<String>,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, Args)]
pub struct ConfigArgs {
    /// Configuration file (YAML)
    // clap's own parser of paths refuses an empty variable.
    #[arg(short, long, value_name = "FILE", env = "FLINKRELAY_CONFIG",
          value_parser = OsStringValueParser::new().map(PathBuf::from))]
    config: Option<PathBuf>,
    #[command(flatten)]
    shortcuts: Shortcuts,
}

/// How the log looks.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Format of the log on stderr
    #[arg(long, value_enum, default_value_t, env = "FLINKRELAY_LOG_FORMAT")]
    log_format: LogFormat,
    /// Level (error, warn, info, debug, trace), or levels by module
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "FLINKRELAY_LOG_LEVEL")]
    log_level: String,
}

/// What a subcommand ends with when it does not succeed.
#[derive(Debug)]
pub enum Failed {
    /// Wrong usage or configuration: exit code 2.
    Usage(anyhow::Error),
    /// Something else: exit code 1.
    Other(anyhow::Error),
    /// Exit code 1; everything was said already.
    Said,
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(run) => run.run(),
        Command::Check(check) => check.run(),
        Command::Scrape(scrape) => scrape.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Demo(demo) => demo.run(),
        Command::Groups(groups) => groups.run(),
    };
    let (code, error) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failed::Said) => return ExitCode::from(1),
        Err(Failed::Usage(error)) => (2, error),
        Err(Failed::Other(error)) => (1, error),
    };
    // Nobody is left to tell when stderr is closed.
    let _closed = writeln!(io::stderr(), "flinkrelay: {error:#}");
    ExitCode::from(code)
}

/// Prints to stdout. A reader that goes away (`| head`) is no failure.
pub fn print(write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> Result<(), Failed> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

impl Groups {
    fn run(self) -> Result<(), Failed> {
        let args = ConfigArgs { config: self.config, ..ConfigArgs::default() };
        let catalogue = match args.file() {
            Some(_) => args.load(Purpose::Show)?.flink.catalogue,
            None => Arc::clone(flink::catalogue()),
        };
        let group = self.group.map(|name| Group::find(&name, catalogue.groups()));
        let group = group.transpose().map_err(|error| Failed::Usage(error.into()))?;
        print(|out| groups::print(&catalogue, group, self.output, groups::terminal_width(), out))
    }
}

impl ConfigArgs {
    /// The configuration file, when there is one.
    pub fn file(&self) -> Option<&Path> {
        self.config.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// A file that cannot be read, or a configuration that cannot be used: always [`Failed::Usage`].
    pub fn load(&self, purpose: Purpose) -> Result<Config, Failed> {
        // An empty variable, as Helm and Compose write for a value that is not set, is none.
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let all = |texts: &[String]| texts.iter().filter(|t| !t.is_empty()).cloned().collect();
        let source = match self.file() {
            Some(path) => Some(config::Source { path: path.to_owned(), text: read(path)? }),
            None => None,
        };
        let shortcuts = &self.shortcuts;
        let overrides = Overrides {
            purpose,
            targets: all(&shortcuts.target),
            remote_write: all(&shortcuts.remote_write),
            interval: given(&shortcuts.interval),
            timeout: given(&shortcuts.timeout),
            groups: given(&shortcuts.groups),
            external_labels: all(&shortcuts.external_label),
            tenant: given(&shortcuts.tenant),
            flink_rest: given(&shortcuts.flink_rest),
            shard: given(&shortcuts.shard),
            data_dir: given(&shortcuts.data_dir),
        };
        config::load(source.as_ref(), &overrides, &variable)
            .map_err(|error| Failed::Usage(error.into()))
    }
}

impl LogArgs {
    /// Starts logging.
    ///
    /// # Errors
    /// A level that cannot be read.
    pub fn init(&self) -> Result<(), Failed> {
        telemetry::init(self.log_format, &self.log_level)
            .map_err(|error| Failed::Usage(anyhow::anyhow!("--log-level: {error}")))
    }
}

/// An environment variable. `HOSTNAME`, which shells and container runtimes set and others do not, is
/// the kernel's word when it is not set, so that `auto` shards and `${HOSTNAME}` work everywhere.
fn variable(name: &str) -> Option<String> {
    let set = std::env::var(name).ok();
    set.or_else(|| {
        let kernel = (name == "HOSTNAME").then(|| fs::read_to_string("/proc/sys/kernel/hostname"));
        Some(kernel?.ok()?.trim().to_owned())
    })
}

fn read(path: &Path) -> Result<String, Failed> {
    let bytes = fs::read(path).map_err(|error| {
        Failed::Usage(anyhow::Error::new(error).context(format!("cannot read {}", path.display())))
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failed::Usage(anyhow::anyhow!("{}: not UTF-8 at byte {at}", path.display()))
    })
}
