//! What the command line adds to the file, joined before anything is checked.

use super::{
    raw::{RawConfig, RawGlobal, RawReceiver, RawRest, RawScrape, RawSpool, RawStatic},
    value::{At, Form, Origin, Scalar},
};

/// The shortcuts of the command line, as typed. A flag wins over the file's key of the same meaning,
/// except that targets and receivers are added to the file's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// What the configuration is for.
    pub purpose: Purpose,
    /// `--target`, each: one scrape job named `flink` holds them all.
    pub targets: Vec<String>,
    /// `--remote-write`, each: a receiver with default settings.
    pub remote_write: Vec<String>,
    /// `--interval`: `global.scrape_interval`; a job that names its own keeps it.
    pub interval: Option<String>,
    /// `--timeout`: `global.scrape_timeout`, likewise.
    pub timeout: Option<String>,
    /// `--groups`, separated by commas: replaces `flink.groups`.
    pub groups: Option<String>,
    /// `--external-label NAME=VALUE`, each: added to `global.external_labels`, replacing equal names.
    pub external_labels: Vec<String>,
    /// `--tenant`: the tenant of every receiver.
    pub tenant: Option<String>,
    /// `--flink-rest`: `off`, `auto` or a URL: replaces `flink.rest.mode` and `flink.rest.urls`.
    pub flink_rest: Option<String>,
    /// `--shard`: replaces `global.shard`.
    pub shard: Option<String>,
    /// `--data-dir`: replaces `spool.directory`; relative to the working directory.
    pub data_dir: Option<String>,
}

/// What a configuration is for, and so what it cannot do without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Scrape and push: at least one target and one receiver.
    #[default]
    Run,
    /// Scrape only: at least one target.
    Scrape,
    /// Neither; to show what the file says of metrics.
    Show,
}

/// The job that holds the targets of the command line.
pub const SHORTCUT_JOB: &str = "flink";

pub(super) const TARGET: &str = "--target";
pub(super) const REMOTE_WRITE: &str = "--remote-write";
pub(super) const INTERVAL: &str = "--interval";
pub(super) const TIMEOUT: &str = "--timeout";
pub(super) const GROUPS: &str = "--groups";
pub(super) const EXTERNAL_LABEL: &str = "--external-label";
pub(super) const TENANT: &str = "--tenant";
pub(super) const FLINK_REST: &str = "--flink-rest";
pub(super) const SHARD: &str = "--shard";
pub(super) const DATA_DIR: &str = "--data-dir";

impl Overrides {
    /// Puts the shortcuts into the raw configuration. External labels are left to the check, for they
    /// have a syntax of their own.
    pub(super) fn join(&self, raw: &mut RawConfig) {
        let scalar = |text: &str, flag| Scalar::flag(text.to_owned(), flag);
        let global = &mut raw.global.get_or_insert_with(|| whole(RawGlobal::default())).value;
        if let Some(interval) = &self.interval {
            global.scrape_interval = Some(scalar(interval, INTERVAL));
        }
        if let Some(timeout) = &self.timeout {
            global.scrape_timeout = Some(scalar(timeout, TIMEOUT));
        }
        if let Some(shard) = &self.shard {
            global.shard = Some(scalar(shard, SHARD));
        }
        if let Some(directory) = &self.data_dir {
            let spool = raw.spool.get_or_insert_with(|| whole(RawSpool::default()));
            spool.value.directory = Some(scalar(directory, DATA_DIR));
        }
        if !self.targets.is_empty() {
            let targets = self.targets.iter().map(|target| scalar(target, TARGET)).collect();
            let targets =
                RawStatic { targets: Some(At::flag(targets, TARGET)), ..RawStatic::default() };
            let job = RawScrape {
                job_name: Some(scalar(SHORTCUT_JOB, TARGET)),
                static_configs: Some(At::flag(vec![At::flag(targets, TARGET)], TARGET)),
                ..RawScrape::default()
            };
            let jobs = raw.scrape_configs.get_or_insert_with(|| whole(Vec::new()));
            jobs.value.push(At::flag(job, TARGET));
        }
        if !self.remote_write.is_empty() {
            let receivers = raw.remote_write.get_or_insert_with(|| whole(Vec::new()));
            receivers.value.extend(self.remote_write.iter().map(|url| {
                let url = Some(scalar(url, REMOTE_WRITE));
                At::flag(RawReceiver { url, ..RawReceiver::default() }, REMOTE_WRITE)
            }));
        }
        if let Some(tenant) = &self.tenant {
            for receiver in raw.remote_write.iter_mut().flat_map(|list| &mut list.value) {
                receiver.value.tenant = Some(scalar(tenant, TENANT));
            }
        }
        if let Some(groups) = &self.groups {
            let list = groups
                .split(',')
                .map(str::trim)
                .filter(|group| !group.is_empty())
                .map(|group| scalar(group, GROUPS))
                .collect();
            let flink = raw.flink.get_or_insert_with(|| whole(Default::default()));
            flink.value.groups = Some(At::flag(Form::List(list), GROUPS));
        }
        if let Some(rest) = &self.flink_rest {
            let flink = raw.flink.get_or_insert_with(|| whole(Default::default()));
            // What the file says of authentication and pace stays.
            let kept = match flink.value.rest.take() {
                Some(At { value: Form::Map(map), .. }) => map,
                _ => RawRest::default(),
            };
            let rest = RawRest {
                mode: Some(scalar(rest, FLINK_REST)).filter(|mode| is_mode(&mode.value)),
                urls: (!is_mode(rest))
                    .then(|| At::flag(vec![scalar(rest, FLINK_REST)], FLINK_REST)),
                ..kept
            };
            flink.value.rest = Some(At::flag(Form::Map(rest), FLINK_REST));
        }
    }
}

/// Whether it is a word for `flink.rest.mode` and no URL.
pub(super) fn is_mode(text: &str) -> bool {
    matches!(text, "off" | "auto")
}

const fn whole<T>(value: T) -> At<T> {
    At { value, origin: Origin::Whole }
}
