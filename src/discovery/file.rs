//! `file_sd_configs`: lists of targets in files, written by whoever knows them.
//!
//! The files are looked at every second: which ones there are, and the inode, size and time of each.
//! That costs a few `stat`s, needs no limit of the kernel's, and sees what notifications of changes miss
//! or tell badly: a ConfigMap, which is a symbolic link to another directory from one moment to the next,
//! and files on network disks. What has changed is read, and at each `refresh_interval` everything is.
//!
//! A file that cannot be read or understood keeps what it last said; one that is gone says nothing any
//! more. Source of the format and the rules: Prometheus' `discovery/file/file.go`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use regex::Regex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    Group,
    lists::{self, Format},
    source::Report,
};
use crate::{config::FileSd, limits::LIST_BYTES_MAX};

/// The files of one entry.
#[derive(Debug)]
pub struct Files {
    patterns: Vec<PathBuf>,
    refresh_interval: Duration,
}

/// A file with targets that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The directory or the file.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// It is larger than is read.
    #[error("{}: larger than {LIST_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    /// What is in it.
    #[error("{}:{source}", path.display())]
    List {
        /// Which one.
        path: PathBuf,
        /// What is wrong, and where.
        source: lists::ListError,
    },
}

/// The files as they were last seen.
#[derive(Debug, Default)]
struct Tree {
    files: BTreeMap<PathBuf, Known>,
    /// Why some cannot be listed.
    unlisted: Vec<String>,
}

/// What one file last said.
#[derive(Debug, Default)]
struct Known {
    /// As it was read.
    stamp: Option<Stamp>,
    /// As it was found empty, which it had not been.
    doubted: Option<Stamp>,
    groups: Vec<Arc<Group>>,
    /// Why it is not what it says now.
    failure: Option<String>,
}

/// By which a change is noticed.
type Stamp = (u64, u64, Option<SystemTime>);

impl Files {
    /// The files that a configuration names; none is opened yet.
    pub fn new(config: &FileSd) -> Self {
        Self { patterns: config.files.clone(), refresh_interval: config.refresh_interval }
    }

    pub(super) async fn run(&self, report: &Report) {
        let mut tree = Tree::default();
        let (mut looks, mut read_at) = (interval(LOOK_EVERY), None::<Instant>);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = looks.tick().await;
            let is_due = read_at.is_none_or(|at| now - at >= self.refresh_interval);
            if self.look(&mut tree, is_due) || is_due {
                read_at = is_due.then_some(now).or(read_at);
                let groups = tree.files.values().flat_map(|file| &file.groups).cloned().collect();
                let failures = tree.files.values().filter_map(|file| file.failure.clone());
                let failures: Vec<_> = tree.unlisted.iter().cloned().chain(failures).collect();
                report.found_partly(groups, failures.join("; "));
            }
        }
    }

    /// Reads what has changed, or all. Returns whether anything is new, gone or wrong in another way.
    fn look(&self, tree: &mut Tree, all: bool) -> bool {
        let (mut present, mut unlisted) = (BTreeSet::new(), Vec::new());
        for pattern in &self.patterns {
            match paths(pattern) {
                Ok(paths) => present.extend(paths),
                Err(source) => {
                    unlisted.push(FileError::Io { path: pattern.clone(), source }.to_string());
                    // Whether its files are still there cannot be told.
                    let of = pattern.parent();
                    present.extend(tree.files.keys().filter(|p| p.parent() == of).cloned());
                }
            }
        }
        let before = tree.files.len();
        tree.files.retain(|path, _| present.contains(path));
        let mut changed = tree.files.len() != before || tree.unlisted != unlisted;
        tree.unlisted = unlisted;
        for path in present {
            changed |= tree.files.entry(path.clone()).or_default().look(&path, all);
        }
        changed
    }
}

impl Known {
    fn look(&mut self, path: &Path, all: bool) -> bool {
        let stamp = fs::metadata(path).ok().as_ref().map(stamp);
        if !all && self.stamp == stamp && stamp.is_some() {
            return false;
        }
        let is_empty = stamp.is_some_and(|(_, bytes, _)| bytes == 0);
        if is_empty && !self.groups.is_empty() && self.doubted != stamp {
            // Who writes a file in place empties it first: believed when it is still so next time.
            self.doubted = stamp;
            return false;
        }
        self.stamp = stamp;
        match read(path) {
            Ok(groups) => {
                self.failure = None;
                self.groups = groups.into_iter().map(Arc::new).collect();
                true
            }
            Err(error) => {
                let failure = error.to_string();
                self.failure.replace(failure.clone()) != Some(failure)
            }
        }
    }
}

/// The files that a path stands for. One that is not there is none.
///
/// # Errors
/// The directory cannot be read, although it is there.
pub fn paths(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    if !name.contains(['*', '?', '[']) {
        return Ok(pattern.exists().then(|| pattern.to_owned()).into_iter().collect());
    }
    let Some(matches) = glob(&name) else { return Ok(Vec::new()) };
    let directory = pattern.parent().unwrap_or_else(|| Path::new(""));
    let of = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let entries = match fs::read_dir(of) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if matches.is_match(&name.to_string_lossy()) {
            paths.push(directory.join(name));
        }
    }
    paths.sort();
    Ok(paths)
}

/// `*`, `?` and `[…]` of a path's last element, as Go's `filepath.Match` reads them.
fn glob(pattern: &str) -> Option<Regex> {
    let mut regex = "^(?s:".to_owned();
    let (mut chars, mut in_class) = (pattern.chars(), false);
    while let Some(c) = chars.next() {
        match (c, in_class) {
            ('*', false) => regex.push_str(".*"),
            ('?', false) => regex.push('.'),
            ('[', false) => (in_class, regex) = (true, regex + "["),
            (']', true) => (in_class, regex) = (false, regex + "]"),
            ('^' | '-', true) => regex.push(c),
            ('\\', _) => regex.push_str(&regex::escape(&chars.next()?.to_string())),
            (c, _) => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    Regex::new(&(regex + ")$")).ok()
}

/// Reads one file.
///
/// # Errors
/// What is wrong with it.
pub fn read(path: &Path) -> Result<Vec<Group>, FileError> {
    let fault = |source| FileError::Io { path: path.to_owned(), source };
    let mut text = String::new();
    let most = u64::try_from(LIST_BYTES_MAX).unwrap_or(u64::MAX);
    let file = fs::File::open(path).map_err(fault)?;
    file.take(most + 1).read_to_string(&mut text).map_err(fault)?;
    if text.len() > LIST_BYTES_MAX {
        return Err(FileError::TooLarge(path.to_owned()));
    }
    let is_json = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
    let format = if is_json { Format::Json } else { Format::Yaml };
    let groups = lists::read(&text, format);
    let mut groups = groups.map_err(|source| FileError::List { path: path.to_owned(), source })?;
    for group in &mut groups {
        group.labels.set("__meta_filepath", path.display().to_string());
    }
    Ok(groups)
}

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.ino(), metadata.len(), metadata.modified().ok())
}

/// How often files are looked at. A person who saves one sees the change before they look.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_a_path_s_last_element() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(glob(pattern).unwrap().is_match(name), expected, "{pattern} {name}");
        };
        check("*.yaml", "a.yaml", true);
        check("*.yaml", ".yaml", true);
        check("*.yaml", "a.yamlx", false);
        check("*.yaml", "axyaml", false);
        check("tg_*_?.json", "tg_a_1.json", true);
        check("tg_*_?.json", "tg_a_12.json", false);
        check("[a-c].yml", "b.yml", true);
        check("[^a-c].yml", "b.yml", false);
        check("[^a-c].yml", "d.yml", true);
        check("a\\*.yml", "a*.yml", true);
        check("a\\*.yml", "ab.yml", false);
        check("*(1)+.yml", "x(1)+.yml", true);
        assert!(glob("[a.yml").is_none(), "Go's refuses it, too");
    }

    #[test]
    fn files_come_change_break_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let files = Files {
            patterns: vec![path("*.yaml"), path("one.json")],
            refresh_interval: Duration::from_secs(300),
        };
        let mut tree = Tree::default();
        let mut look = || {
            let changed = files.look(&mut tree, false);
            let targets: Vec<_> = tree
                .files
                .values()
                .flat_map(|file| &file.groups)
                .flat_map(|group| &group.seeds)
                .map(|seed| seed.address.to_string())
                .collect();
            let failures: Vec<_> =
                tree.files.values().filter_map(|file| file.failure.clone()).collect();
            (changed, targets.join(" "), failures.join(" "))
        };
        let good = |changed, targets: &str| (changed, targets.to_owned(), String::new());
        assert_eq!(look(), good(false, ""));
        fs::write(path("a.yaml"), "- targets: [a:1]").unwrap();
        fs::write(path("one.json"), r#"[{"targets": ["j:1"]}]"#).unwrap();
        fs::write(path("other.json"), r#"[{"targets": ["no:1"]}]"#).unwrap();
        assert_eq!(look(), good(true, "a:1 j:1"));
        assert_eq!(look(), good(false, "a:1 j:1"));
        // Replaced as a whole, by the same number of bytes.
        fs::write(path("new"), "- targets: [b:1]").unwrap();
        fs::rename(path("new"), path("a.yaml")).unwrap();
        assert_eq!(look(), good(true, "b:1 j:1"));
        fs::write(path("a.yaml"), "- targets: [b:1]\n  lables: {}\n").unwrap();
        let (changed, targets, failure) = look();
        assert!(changed && targets == "b:1 j:1", "what it last said stays: {targets}");
        assert!(failure.starts_with(&format!("{}:2:3: ", path("a.yaml").display())), "{failure}");
        assert!(!look().0, "told once");
        // Emptied by an editor that is about to write it, and then for good.
        fs::write(path("a.yaml"), "").unwrap();
        let (changed, targets, _) = look();
        assert!(!changed && targets == "b:1 j:1", "{targets}");
        assert_eq!(look(), good(true, "j:1"));
        fs::remove_file(path("one.json")).unwrap();
        assert_eq!(look(), good(true, ""));
    }

    #[test]
    fn a_directory_of_a_config_map_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (at, host) in [("v1", "a"), ("v2", "b")] {
            fs::create_dir(path(at)).unwrap();
            fs::write(path(at).join("t.yaml"), format!("- targets: ['{host}:1']")).unwrap();
        }
        std::os::unix::fs::symlink("v1", path("data")).unwrap();
        std::os::unix::fs::symlink("data/t.yaml", path("t.yaml")).unwrap();
        let files = Files { patterns: vec![path("*.yaml")], refresh_interval: LOOK_EVERY };
        let mut tree = Tree::default();
        let mut look = || {
            let changed = files.look(&mut tree, false);
            let group = Arc::clone(&tree.files.values().next().unwrap().groups[0]);
            (changed, group.seeds[0].address.to_string())
        };
        assert_eq!(look(), (true, "a:1".to_owned()));
        std::os::unix::fs::symlink("v2", path("next")).unwrap();
        fs::rename(path("next"), path("data")).unwrap();
        assert_eq!(look(), (true, "b:1".to_owned()));
        assert_eq!(look(), (false, "b:1".to_owned()));
    }
}
