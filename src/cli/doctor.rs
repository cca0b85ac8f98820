//! `flinkrelay doctor`: finds out why no data arrives, and says what to change.
//!
//! Looks are taken by [`crate::survey`], conclusions drawn by [`crate::doctor`]; here is the command line
//! around them. The exit code is 1 when there is a problem; warnings alone leave it 0.

mod text;

use std::{io, io::Write as _};

use clap::{Args, ValueEnum};

use super::{ConfigArgs, Failed, LogArgs, print, run};
use crate::{
    config::{PromDuration, Purpose, RestEndpoints},
    doctor::{self, Diagnosis, Severity},
    relay::Relay,
    survey::{self, Manner},
};

/// Find out why no data arrives, and say what to change.
///
/// Looks once, from here, at everything that `run` would use: each port of each target, Flink's own
/// configuration by its REST API, each receiver, the data directory, clocks. Each finding tells what was
/// seen, why it matters, and the line to put where.
///
/// Nothing is written anywhere: a receiver is sent an empty request, which passes its network, TLS,
/// credentials, tenant and path and holds no sample. With --send-sample it is sent one.
///
/// Exit code 0 when there is no problem (warnings are none), 1 when there is one, 2 on wrong usage or
/// configuration.
#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    config: ConfigArgs,
    /// Format of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Write one sample, `flinkrelay_doctor` with the external labels and the value 1, to each receiver, to see
    /// whether it takes samples and not only requests
    #[arg(long)]
    send_sample: bool,
    /// Longest time of all checks together; what is not over by then is named
    #[arg(long, value_name = "DURATION", default_value = "25s")]
    max_time: PromDuration,
    #[command(flatten)]
    log: LogArgs,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Table,
    /// For tools: one document with all findings.
    Json,
}

impl Doctor {
    /// Looks, concludes and prints.
    ///
    /// # Errors
    /// A configuration that cannot be used, in the words of `check`; a problem, after everything is
    /// printed.
    pub fn run(self) -> Result<(), Failed> {
        let mut config = self.config.load(Purpose::Scrape)?;
        self.log.init()?;
        let faults = Relay::faults(&config);
        if let Some(fault) = faults.into_iter().next() {
            return Err(Failed::Usage(fault.into()));
        }
        // Pages are looked at as they are: what REST says is evidence of its own.
        let rest = std::mem::replace(&mut config.flink.rest.endpoints, RestEndpoints::Off);
        let relay = Relay::new(&config).map_err(|error| Failed::Usage(error.into()))?;
        config.flink.rest.endpoints = rest;
        let manner = Manner { send_sample: self.send_sample, time_max: self.max_time.0 };
        let looked = run::block_on(run::cores(), survey::survey(&config, &relay, manner))?;
        let evidence = looked.map_err(|error| Failed::Usage(error.into()))?;
        let diagnosis = doctor::examine(&evidence, &config);
        print(|out| match self.output {
            Format::Table => text::write(&diagnosis, out),
            Format::Json => json(&diagnosis, out),
        })?;
        match diagnosis.count(Severity::Problem) {
            0 => Ok(()),
            problems => {
                // Nobody is left to tell when stderr is closed.
                let _closed = writeln!(io::stderr(), "flinkrelay: {problems} problem(s) found");
                Err(Failed::Said)
            }
        }
    }
}

/// One document: `{"findings": [{"id", "severity", "subject", "seen", "why", "fixes": [{"place", "line"}]}],
/// "well": [{"subject", "seen"}]}`.
fn json(diagnosis: &Diagnosis, out: &mut dyn io::Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, diagnosis)?;
    writeln!(out)
}
