//! `flinkrelay check`: validates a configuration file, and nothing else.

use std::path::PathBuf;

use clap::Args;

use super::{ConfigArgs, Failed, print};
use crate::{config::Purpose, relay::Relay};

/// Validate a configuration file.
#[derive(Debug, Args)]
pub struct Check {
    /// Configuration file (YAML)
    #[arg(short, long, value_name = "FILE", env = "FLINKRELAY_CONFIG")]
    config: PathBuf,
}

impl Check {
    /// Checks the file: its syntax, each key, and the files that it names.
    ///
    /// # Errors
    /// What is wrong, with file, line and column.
    pub fn run(self) -> Result<(), Failed> {
        let args = ConfigArgs { config: Some(self.config.clone()), ..ConfigArgs::default() };
        let config = args.load(Purpose::Run)?;
        // Certificates and keys are read when the relay is built, so building it checks them too.
        Relay::new(&config).map_err(|error| Failed::Usage(error.into()))?;
        print(|out| {
            writeln!(
                out,
                "{}: valid, {} scrape job(s), {} receiver(s)",
                self.config.display(),
                config.scrapes.len(),
                config.receivers.len()
            )
        })
    }
}
