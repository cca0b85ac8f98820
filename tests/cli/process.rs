//! Runs the program as a shell would.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::process::{Child, Command};

/// Longest life of a program that ends by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a run of the program left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program with these arguments, and nothing of the test's own environment that concerns it.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flinkrelay"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FLINKRELAY_") {
            command.env_remove(name);
        }
    }
    // What listens on port 8081 of the machine is none of a test's business.
    command.env("FLINKRELAY_FLINK_REST", "off");
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs the program to its end.
pub(crate) async fn flinkrelay(arguments: &[&str]) -> Output {
    finish(command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).await
}

/// Waits for the end of a program whose output is piped.
pub(crate) async fn finish(child: Child) -> Output {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.expect("the program ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
    let code = output.status.code().unwrap_or_else(|| panic!("killed: {:?}", output.status));
    Output { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Output {
    /// All of it, for a snapshot; texts that differ from run to run are replaced.
    pub(crate) fn told(&self, replace: &[(&str, &str)]) -> String {
        let mut told =
            format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr);
        for (from, to) in replace {
            told = told.replace(from, to);
        }
        told
    }
}

/// A configuration file in a directory of its own.
pub(crate) fn file(directory: &Path, text: &[u8]) -> String {
    let path = directory.join("flinkrelay.yaml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}
