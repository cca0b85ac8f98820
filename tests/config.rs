//! The configuration from outside: what it makes of a file, what it says about a bad one, and that
//! example and reference tell the truth.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, not the functions they call"
)]

#[path = "config/discovery.rs"]
mod discovery;
#[path = "config/documents.rs"]
mod documents;
#[path = "config/errors.rs"]
mod errors;
#[path = "config/kubernetes.rs"]
mod kubernetes;
#[path = "config/values.rs"]
mod values;

use flinkrelay::config::{Config, ConfigError, Overrides, Purpose, Source, load};

/// Variables that the tests' files refer to.
fn env(name: &str) -> Option<String> {
    match name {
        "HOST" => Some("vm".to_owned()),
        "HOSTNAME" => Some("relay-2.relay.svc".to_owned()),
        "PORT" => Some("8428".to_owned()),
        "EMPTY" => Some(String::new()),
        "TRICKY" => Some("x: [y]\n  - $1 # ${HOST}".to_owned()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Config, ConfigError> {
    read_with(text, &Overrides::default())
}

fn read_with(text: &str, overrides: &Overrides) -> Result<Config, ConfigError> {
    let source = Source { path: "conf/flinkrelay.yaml".into(), text: text.to_owned() };
    load(Some(&source), overrides, &env)
}

#[track_caller]
fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|error| panic!("{error}"))
}

/// These lines, indented as those of a job or a receiver.
fn indented(lines: &str) -> String {
    lines.lines().map(|line| format!("    {line}\n")).collect()
}

/// A file with one job that has these lines, and one receiver.
fn job(lines: &str) -> String {
    format!(
        "scrape_configs:\n  - job_name: flink\n    static_configs: [{{targets: [localhost:9249]}}]\n\
         {}remote_write:\n  - url: http://vm:8428/api/v1/write\n",
        indented(lines)
    )
}

/// A file with one job, and one receiver that has these lines.
fn receiver(lines: &str) -> String {
    job("") + &indented(lines)
}

fn scrape_only() -> Overrides {
    Overrides { purpose: Purpose::Scrape, ..Overrides::default() }
}
