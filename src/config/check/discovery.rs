//! `…_sd_configs`: where a job's targets are looked for.

use std::{path::PathBuf, time::Duration};

use super::Checker;
use crate::config::{
    Discovery, FileSd,
    raw::{RawFileSd, RawScrape},
    value::{At, Scalar},
};

const FILE_REFRESH: Duration = Duration::from_secs(5 * 60);

/// Ends of the names of files with targets, as Prometheus takes them.
const FILE_ENDS: [&str; 6] = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];

/// Whether a job looks for targets anywhere.
pub(super) fn has_discovery(raw: &RawScrape) -> bool {
    [raw.file_sd_configs.as_ref().is_some_and(|list| !list.is_empty())].contains(&true)
}

impl Checker<'_> {
    /// All sources of a job, in the order of their kinds and then of the file.
    pub(super) fn discovery(&mut self, raw: &RawScrape) -> Vec<Discovery> {
        let mut found = Vec::new();
        for entry in raw.file_sd_configs.iter().flatten() {
            found.push(Discovery::File(self.file_sd(entry)));
        }
        found
    }

    fn file_sd(&mut self, entry: &At<RawFileSd>) -> FileSd {
        let At { value: raw, origin } = entry;
        let files = raw.files.iter().flat_map(|files| &files.value);
        let files: Vec<PathBuf> = files.filter_map(|file| self.target_file(file)).collect();
        if raw.files.as_ref().is_none_or(|files| files.value.is_empty()) {
            let origin = raw.files.as_ref().map_or(*origin, |files| files.origin);
            self.note_with_help(
                origin,
                "file_sd_configs needs `files`, at least one path".to_owned(),
                "such as `files: [/etc/flinkrelay/targets/*.yaml]`",
            );
        }
        FileSd {
            files,
            refresh_interval: self.positive_duration(raw.refresh_interval.as_ref(), FILE_REFRESH),
        }
    }

    fn target_file(&mut self, scalar: &Scalar) -> Option<PathBuf> {
        let path = self.path(Some(scalar), "files")?;
        let text = path.to_string_lossy();
        let (directory, _) = text.rsplit_once('/').unwrap_or(("", &text));
        if directory.contains('*') || !FILE_ENDS.iter().any(|end| text.ends_with(end)) {
            let message = format!("`{text}` is no path of files with targets");
            self.note_with_help(
                scalar.origin,
                message,
                "a path ends in .json, .yml or .yaml, and only its last element may have a `*`",
            );
        }
        Some(path)
    }
}
