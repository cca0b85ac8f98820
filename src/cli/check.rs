//! `flinkrelay check`: validates a configuration file, and nothing else.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;

use super::{ConfigArgs, Failed, print};
use crate::{
    config::{Config, Discovery, Purpose},
    discovery::file,
    relay::Relay,
};

/// Validate a configuration file.
#[derive(Debug, Args)]
pub struct Check {
    /// Configuration file (YAML)
    #[arg(short, long, value_name = "FILE", env = "FLINKRELAY_CONFIG")]
    config: PathBuf,
}

impl Check {
    /// Checks the file: its syntax, each key, and the files that it names. One that is not there is
    /// worth a warning only: a configuration is often checked where its certificates are not mounted.
    ///
    /// # Errors
    /// What is wrong, with file, line and column.
    pub fn run(self) -> Result<(), Failed> {
        let args = ConfigArgs { config: Some(self.config.clone()), ..ConfigArgs::default() };
        let config = args.load(Purpose::Run)?;
        // Certificates and keys are read when the relay is built, so building it checks them too.
        let faults: Vec<_> = Relay::faults(&config).into_iter().map(anyhow::Error::new).collect();
        let (missing, wrong): (Vec<_>, Vec<_>) = faults.into_iter().partition(is_missing_file);
        if let Some(wrong) = wrong.into_iter().next() {
            return Err(Failed::Usage(wrong.context(self.config.display().to_string())));
        }
        for missing in missing {
            // Nobody is left to tell when stderr is closed.
            let _closed = writeln!(
                io::stderr(),
                "{}: warning: {missing:#}; `run` would not start here",
                self.config.display()
            );
        }
        self.target_files(&config)?;
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

impl Check {
    /// Reads the files of `file_sd_configs`, as the relay will. A path that stands for no file is worth a
    /// warning: they may come later.
    fn target_files(&self, config: &Config) -> Result<(), Failed> {
        let sources = config.scrapes.iter().flat_map(|job| &job.discovery);
        let files = sources.filter_map(|source| match source {
            Discovery::File(file) => Some(&file.files),
            _ => None,
        });
        for pattern in files.flatten() {
            let context = || format!("{}: {}", self.config.display(), pattern.display());
            let paths = file::paths(pattern).with_context(context).map_err(Failed::Usage)?;
            for path in &paths {
                file::read(path).map_err(|error| Failed::Usage(error.into()))?;
            }
            if paths.is_empty() {
                let config = self.config.display();
                // Nobody is left to tell when stderr is closed.
                let _closed = writeln!(
                    io::stderr(),
                    "{config}: warning: no file is there for {} of file_sd_configs",
                    pattern.display()
                );
            }
        }
        Ok(())
    }
}

fn is_missing_file(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.map(io::Error::kind).any(|kind| kind == io::ErrorKind::NotFound)
}
