//! `…_sd_configs`: where a job's targets are looked for.

use std::{path::PathBuf, time::Duration};

use super::Checker;
use crate::config::{
    Discovery, FileSd,
    raw::{RawFileSd, RawFlinkSd, RawScrape},
    value::{At, Scalar},
};

const FILE_REFRESH: Duration = Duration::from_secs(5 * 60);

/// Ends of the names of files with targets, as Prometheus takes them.
const FILE_ENDS: [&str; 6] = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];

/// Whether a job looks for targets anywhere.
pub(super) fn has_discovery(raw: &RawScrape) -> bool {
    [
        raw.file_sd_configs.as_ref().is_some_and(|list| !list.is_empty()),
        raw.kubernetes_sd_configs.as_ref().is_some_and(|list| !list.is_empty()),
        raw.flink_sd_configs.as_ref().is_some_and(|list| !list.is_empty()),
    ]
    .contains(&true)
}

impl Checker<'_> {
    /// All sources of a job, in the order of their kinds and then of the file.
    pub(super) fn discovery(&mut self, raw: &RawScrape) -> Vec<Discovery> {
        let mut found = Vec::new();
        for entry in raw.file_sd_configs.iter().flatten() {
            found.push(Discovery::File(self.file_sd(entry)));
        }
        for entry in raw.kubernetes_sd_configs.iter().flatten() {
            found.push(Discovery::Kubernetes(self.kubernetes_sd(entry)));
        }
        for entry in raw.flink_sd_configs.iter().flatten() {
            found.push(self.flink_sd(entry));
        }
        found
    }

    fn flink_sd(&mut self, entry: &At<RawFlinkSd>) -> Discovery {
        const SOURCES: [(&str, ()); 1] = [("kubernetes", ())];
        let At { value: raw, origin } = entry;
        if raw.source.is_none() {
            self.note_with_help(
                *origin,
                "flink_sd_configs needs a `source`".to_owned(),
                "who is asked where Flink's processes are: `source: kubernetes`",
            );
        }
        self.choice(raw.source.as_ref(), &SOURCES, ());
        Discovery::FlinkKubernetes(self.flink_kubernetes(raw))
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
