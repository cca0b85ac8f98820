//! `-o table`: a block for each finding, problems first, and what is as it should be below.
//!
//! ```text
//! problem  receiver-path  http://mimir:9009/api/v1/write
//!   seen  HTTP 404 Not Found: 404 page not found
//!   why   no receiver of remote write is at this path, and what is sent there is lost
//!   do    the relay's command line, for Mimir
//!           --remote-write http://mimir:9009/api/v1/push
//! ```
//!
//! Sentences are wrapped, lines to be copied never.

use std::io::{self, IsTerminal as _};

use crate::doctor::{Diagnosis, Finding, Severity};

/// Writes it.
pub(super) fn write(diagnosis: &Diagnosis, out: &mut dyn io::Write) -> io::Result<()> {
    let colour = io::stdout().is_terminal();
    for finding in &diagnosis.findings {
        write_finding(finding, colour, out)?;
    }
    for well in &diagnosis.well {
        wrap(&format!("{}       {}:", paint("32", "ok", colour), well.subject), &well.seen, out)?;
    }
    let [problems, warnings] = [Severity::Problem, Severity::Warning].map(|s| diagnosis.count(s));
    if !diagnosis.well.is_empty() {
        writeln!(out)?;
    }
    match (problems, warnings) {
        (0, 0) => writeln!(out, "nothing is wrong"),
        _ => writeln!(
            out,
            "{problems} problem(s), {warnings} warning(s); docs/doctor.md explains each id"
        ),
    }
}

fn write_finding(finding: &Finding, colour: bool, out: &mut dyn io::Write) -> io::Result<()> {
    let severity = match finding.severity {
        Severity::Problem => paint("31", "problem", colour),
        Severity::Warning => paint("33", "warning", colour),
    };
    let id = paint("1", finding.id.as_str(), colour);
    writeln!(out, "{severity}  {id}  {}", finding.subject)?;
    wrap("  seen ", &finding.seen, out)?;
    wrap("  why  ", &finding.why, out)?;
    for fix in &finding.fixes {
        wrap("  do   ", &format!("{}:", fix.place), out)?;
        writeln!(out, "           {}", paint("36", &fix.line, colour))?;
    }
    writeln!(out)
}

/// Writes a text behind its heading, with lines of [`COLUMNS`] where words allow it.
fn wrap(heading: &str, text: &str, out: &mut dyn io::Write) -> io::Result<()> {
    write!(out, "{heading}")?;
    let mut column = heading.chars().count();
    for word in text.split_whitespace() {
        let width = word.chars().count() + 1;
        if column + width > COLUMNS && column > INDENT.len() {
            write!(out, "\n{INDENT}")?;
            column = INDENT.len();
        }
        write!(out, " {word}")?;
        column += width;
    }
    writeln!(out)
}

fn paint(code: &str, text: &str, colour: bool) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// As wide as the help.
const COLUMNS: usize = 100;

const INDENT: &str = "       ";
