//! What is wrong with a configuration, shown where it is wrong.
//!
//! ```text
//! flinkrelay.yaml:12:5: unknown field `scrape_intervall`, expected one of …
//!    |
//! 12 |     scrape_intervall: 15s
//!    |     ^^^^^^^^^^^^^^^^
//!    = help: did you mean `scrape_interval`?
//! ```
//!
//! Invariants: an error holds at least one fault; no message and no line shown holds a secret, for
//! errors end up in logs: what follows a key that names one is cut off.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{
    Source,
    value::{Origin, Spot},
};

/// Everything that is wrong with a configuration, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    faults: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    place: Place,
    message: String,
    help: Option<String>,
    snippet: Option<Snippet>,
}

/// Where a fault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At a line and column (both from 1, the column in characters) of a file.
    File {
        /// The file's path as given.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// In a file as a whole.
    WholeFile(PathBuf),
    /// In a command-line flag.
    Flag(&'static str),
    /// In the configuration as a whole, which has no file.
    Nowhere,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Snippet {
    line: usize,
    text: String,
    /// Characters before the mark, and marked.
    indent: usize,
    width: usize,
}

/// A fault before its place is looked up in the source.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) origin: Origin,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// Longest piece of a line that is shown.
const LINE_CHARS_MAX: usize = 120;

impl ConfigError {
    /// Looks up the findings in the source; there is at least one.
    pub(super) fn new(findings: Vec<Finding>, source: Option<&Source>) -> Self {
        debug_assert!(!findings.is_empty(), "an error without a fault");
        let mut faults: Vec<Fault> =
            findings.into_iter().map(|finding| Fault::new(finding, source)).collect();
        faults.sort_by_key(|fault| match fault.place {
            Place::File { line, column, .. } => (0, line, column),
            Place::WholeFile(_) | Place::Nowhere => (1, 0, 0),
            Place::Flag(_) => (2, 0, 0),
        });
        faults.dedup();
        Self { faults }
    }

    /// The faults, at least one.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl std::error::Error for ConfigError {}

/// All faults, an empty line between them; no line break at the end.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl Fault {
    fn new(finding: Finding, source: Option<&Source>) -> Self {
        let Finding { origin, message, help } = finding;
        let place = match (origin, source) {
            (Origin::Flag(flag), _) => Place::Flag(flag),
            (Origin::File(spot), Some(source)) => {
                Place::File { path: source.path.clone(), line: spot.line, column: spot.column }
            }
            (_, Some(source)) => Place::WholeFile(source.path.clone()),
            (_, None) => Place::Nowhere,
        };
        let snippet = match (origin, source) {
            (Origin::File(spot), Some(source)) => Snippet::new(&source.text, spot),
            _ => None,
        };
        Self { place, message: without_userinfo(message), help, snippet }
    }

    /// Where the fault is.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |path: &Path| path.display().to_string();
        match &self.place {
            Place::File { path, line, column } => write!(f, "{}:{line}:{column}: ", shown(path))?,
            Place::WholeFile(path) => write!(f, "{}: ", shown(path))?,
            Place::Flag(flag) => write!(f, "{flag}: ")?,
            Place::Nowhere => {}
        }
        f.write_str(&self.message)?;
        let margin = self.snippet.as_ref().map_or(0, |snippet| snippet.line.to_string().len());
        if let Some(Snippet { line, text, indent, width }) = &self.snippet {
            write!(f, "\n{:margin$} |\n{line} | {text}\n", "")?;
            write!(f, "{:margin$} | {:indent$}{:^<width$}", "", "", "")?;
        }
        match &self.help {
            Some(help) => write!(f, "\n{:margin$} = help: {help}", ""),
            None => Ok(()),
        }
    }
}

// === impl Snippet ===

impl Snippet {
    fn new(text: &str, spot: Spot) -> Option<Self> {
        // The parser does not count a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let before = spot.line.checked_sub(1)?;
        let line = text.lines().nth(before)?;
        let above: Vec<&str> = text.lines().take(before).collect();
        let shown = if is_inside_secret(&above, line) {
            format!("{:1$}…", "", indent_of(line))
        } else {
            without_secret(line)
        };
        let shown: Vec<char> = shown
            .chars()
            .map(|c| match c {
                '\t' => ' ',
                c if c.is_control() => '\u{fffd}',
                c => c,
            })
            .collect();
        // What is hidden before the mark or under it moves and shortens the mark.
        let part = |from: usize, count: usize| {
            without_userinfo(line.chars().skip(from).take(count).collect()).chars().count()
        };
        let before = spot.column.saturating_sub(1);
        let column = part(0, before).min(shown.len().saturating_sub(1));
        let width = part(before, spot.width);
        // A window around the mark when the line is long.
        let start = if shown.len() <= LINE_CHARS_MAX {
            0
        } else {
            column.saturating_sub(LINE_CHARS_MAX / 3).min(shown.len() - LINE_CHARS_MAX)
        };
        let window: String = shown.iter().skip(start).take(LINE_CHARS_MAX).collect();
        let text = window.trim_end().to_owned();
        let indent = column - start;
        let room = text.chars().count().saturating_sub(indent);
        Some(Self { line: spot.line, indent, width: width.min(room).max(1), text })
    }
}

/// Whether the key, in small letters, holds a secret. Those that name a file or a URL do not.
fn is_secret(key: &str) -> bool {
    // Stems, because a key with a typing error holds the secret all the same.
    const SECRET: [&str; 7] = ["pas", "pwd", "cred", "tok", "secr", "auth", "key"];
    let harmless = key.ends_with("_file") || key.ends_with("_url") || key.contains('/');
    !harmless && (is_all_secret(key) || SECRET.iter().any(|stem| key.contains(stem)))
}

/// Whether all that is below the key is secret, whatever it looks like.
fn is_all_secret(key: &str) -> bool {
    key == "secrets" || key.contains("connect_header")
}

/// Whether a line is part of a secret that began above it: of a text in several lines, or of a list.
fn is_inside_secret(above: &[&str], line: &str) -> bool {
    let item = line.trim_start();
    let is_pair = item.trim_start_matches("- ").split_once(':').is_some_and(|(key, _)| {
        key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-\"'".contains(&b))
    });
    let (mut indent, mut is_item) = (indent_of(line), item.starts_with("- "));
    for parent in above.iter().rev() {
        let text = parent.trim_start();
        let parent_indent = indent_of(parent);
        // The items of a list may stand as far to the left as the list's key.
        let is_parent =
            parent_indent < indent || is_item && parent_indent == indent && !text.starts_with('-');
        if text.is_empty() || text.starts_with('#') || !is_parent {
            continue;
        }
        (indent, is_item) = (parent_indent, text.starts_with("- "));
        let Some((key, value)) = text.trim_start_matches("- ").split_once(':') else { continue };
        let (key, value) = (key.trim_matches(['"', '\'']).to_ascii_lowercase(), value.trim());
        let is_text = value.starts_with(['|', '>']);
        if is_secret(&key) && (is_text || is_all_secret(&key) || value.is_empty() && !is_pair) {
            return true;
        }
    }
    false
}

fn indent_of(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).count()
}

/// A line without what follows a key that holds a secret, and without a password in a URL.
fn without_secret(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let secret = lower.match_indices(':').map(|(at, _)| at).find(|at| {
        let key = lower.get(..*at).unwrap_or_default();
        let key = key.rsplit(['{', '[', ',', ' ', '\t']).next().unwrap_or_default();
        let key = key.trim_matches(['"', '\'']);
        let value = lower.get(at + 1..).unwrap_or_default().trim();
        let shown = value.is_empty() || value.starts_with('#');
        let shown = shown || value.starts_with('{') && !is_all_secret(key);
        !shown && is_secret(key)
    });
    without_userinfo(match secret {
        Some(at) => format!("{}: …", line.get(..at).unwrap_or_default()),
        None => line.to_owned(),
    })
}

/// A text without the `user:password` of the URLs and targets in it.
fn without_userinfo(mut text: String) -> String {
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find('@')).map(|at| from + at) {
        let before = text.get(..at).unwrap_or_default();
        let start = before.rfind(['/', ' ', '[', ',', '`', '"', '\'']).map_or(0, |at| at + 1);
        from = at + 1;
        if before.get(start..).is_some_and(|user| user.contains(':')) {
            text.replace_range(start..at, "…");
            from = start + "…@".len();
        }
    }
    text
}

/// The word of `known` that is nearest to `word`, when it is near enough to be what was meant.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let limit = (word.chars().count() / 3).max(1);
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters must be inserted, removed or replaced to make `b` of `a` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.chars().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_word() {
        let known = ["scrape_interval", "scrape_timeout", "scheme", "params"];
        let check = |word: &str, expected: Option<&str>| {
            assert_eq!(nearest(word, &known), expected, "{word}");
        };
        check("scrape_intervall", Some("scrape_interval"));
        check("scrape-timeout", Some("scrape_timeout"));
        check("shceme", Some("scheme"));
        check("param", Some("params"));
        check("kubernetes_sd_configs", None);
        check("x", None);
        check("", None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }

    #[test]
    fn a_line_with_a_secret_is_cut() {
        let check = |line: &str, expected: &str| assert_eq!(without_secret(line), expected);
        check("  password: hunter2", "  password: …");
        check("  - bearer_token: abc", "  - bearer_token: …");
        check("basic_auth: {username: a, password: b}", "basic_auth: {username: a, password: …");
        check("\"passwrod\": x", "\"passwrod\": …");
        check("  {usernam: a, pasword: b}", "  {usernam: a, pasword: …");
        check("  X-Api-Key: x", "  X-Api-Key: …");
        check("  password_file: /run/secrets/x", "  password_file: /run/secrets/x");
        check("  password:", "  password:");
        check("  job_name: password", "  job_name: password");
        check("  url: http://token:1/", "  url: http://token:1/");
        check("  - url: http://u:p@x:1/a", "  - url: http://…@x:1/a");
        check("  basic_auth: {username: a}", "  basic_auth: {username: a}");
        check("  authorization:", "  authorization:");
        check("  authorization: {credentials: x}", "  authorization: {credentials: …");
        check("  X-Auth: x", "  X-Auth: …");
        check("  token_url: http://u:p@h/", "  token_url: http://…@h/");
        check("  proxy_connect_header: {x-a: [b]}", "  proxy_connect_header: …");
        check("  http_headers: {X-A: {secrets: [b]}}", "  http_headers: {X-A: {secrets: …");
        check("  targets: [http://h:1/a@b]", "  targets: [http://h:1/a@b]");
        check("  targets: [u:p@h:1, 'v:q@h:2', w@h]", "  targets: […@h:1, '…@h:2', w@h]");
    }

    #[test]
    fn lines_inside_of_a_secret_are_not_shown() {
        let check = |text: &str, expected: &str| {
            let lines = text.lines().count();
            let spot = Spot { line: lines, column: 1, width: 99 };
            assert_eq!(Snippet::new(text, spot).unwrap().text, expected, "{text}");
        };
        check("key: |\n  hunter2", "  …");
        check("a:\n  - key: |-\n      one\n\n      two: three", "      …");
        check("secrets:\n  - hunter2", "  …");
        check("secrets:\n- hunter2", "…");
        check("proxy_connect_header:\n  x-a:\n    - hunter2", "    …");
        check("proxy_connect_header:\n  x-a: [hunter2]", "  …");
        check("password:\n  hunter2", "  …");
        check("password: a\nuser: b", "user: b");
        check("basic_auth:\n  username: a", "  username: a");
        check("oauth2:\n  tls_config:\n    ca_file: a", "    ca_file: a");
        check("tls_config:\n  key: |\n    hunter2\n  ca_file: a", "  ca_file: a");
        check("ca: |\n  one", "  one");
        check("key_file:\n  - a", "  - a");
    }

    #[test]
    fn the_mark_stays_inside_the_line() {
        let mark = |text: &str, column: usize, width: usize| {
            let snippet = Snippet::new(text, Spot { line: 1, column, width }).unwrap();
            (snippet.text, snippet.indent, snippet.width)
        };
        assert_eq!(mark("a: bc", 4, 2), ("a: bc".to_owned(), 3, 2));
        assert_eq!(mark("a: bc", 4, 99), ("a: bc".to_owned(), 3, 2));
        assert_eq!(mark("a: bc", 99, 1), ("a: bc".to_owned(), 4, 1));
        assert_eq!(mark("\ta:\u{1b}[1m", 2, 1), (" a:\u{fffd}[1m".to_owned(), 1, 1));
        assert_eq!(mark("password: x", 11, 1), ("password: …".to_owned(), 10, 1));
        // The mark follows what is hidden before it, and shrinks over what is hidden under it.
        let targets = "[http://u:p@h:1, http://v:q@i:2, j]";
        let hidden = "[http://…@h:1, http://…@i:2, j]".to_owned();
        assert_eq!(mark(targets, 18, 14), (hidden.clone(), 15, 12));
        assert_eq!(mark(targets, 34, 1), (hidden, 29, 1));
        let long = format!("{}target{}", "x".repeat(500), "y".repeat(500));
        let (text, indent, width) = mark(&long, 501, 6);
        assert_eq!(text.chars().count(), LINE_CHARS_MAX);
        assert_eq!(text.get(indent..indent + width), Some("target"));
        assert_eq!(Snippet::new("a", Spot { line: 2, column: 1, width: 1 }), None);
        assert_eq!(Snippet::new("a", Spot { line: 0, column: 0, width: 1 }), None);
    }
}
