//! Reading the configuration again: at SIGHUP, at `POST /-/reload`, and when the file has changed. And
//! following the number of relays, which is a change of configuration without a file.
//!
//! One loop does them all, one after the other. The file is looked at every few seconds, by its
//! content: a mounted ConfigMap is changed by swapping a link, which tells inotify and time stamps
//! nothing that could be relied on. A change counts when two looks in a row find the same, so that a
//! file that an editor has half written is not taken for a whole one.

use std::{path::Path, path::PathBuf, time::Duration};

use tokio::{
    signal::unix::Signal,
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tracing::{error, info};
use xxhash_rust::xxh3::xxh3_128;

use super::Failed;
use crate::{
    config::Config,
    relay::{Changes, Relay, ReloadError, ReloadRequest},
};

/// Reads the configuration again when there is a reason to.
pub(super) struct Reloader<'r> {
    relay: &'r Relay,
    /// The configuration in use.
    present: Config,
    load: &'r (dyn Fn() -> Result<Config, Failed> + Sync),
    watch: Option<Watch>,
    check_interval: Duration,
}

impl<'r> Reloader<'r> {
    /// `load` reads and checks the whole configuration, of which `present` is in use; `file` is looked at each
    /// `check_interval`, zero for never.
    pub(super) fn new(
        relay: &'r Relay,
        present: Config,
        file: Option<&Path>,
        check_interval: Duration,
        load: &'r (dyn Fn() -> Result<Config, Failed> + Sync),
    ) -> Self {
        let watch = file.filter(|_| !check_interval.is_zero()).map(Watch::new);
        relay.scale.follow(present.member.as_ref());
        Self { relay, present, load, watch, check_interval }
    }

    /// Reloads for as long as it is polled.
    pub(super) async fn run(mut self, mut hangup: Signal) {
        let mut requests = self.relay.reloads.requests();
        // Without a file there is nothing to look at; the ticks then only pass.
        let mut looks = interval(self.check_interval.max(Duration::from_millis(1)));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watches = self.watch.is_some();
        let mut counts = self.relay.scale.counts();
        loop {
            tokio::select! {
                _ = hangup.recv() => drop(self.reload("SIGHUP").await),
                request = asked(requests.as_mut()) => {
                    let done = self.reload("POST /-/reload").await;
                    // Whoever asked may have gone; the log tells too.
                    let _gone = request.send(done);
                }
                Ok(()) = counts.changed() => self.share().await,
                _ = looks.tick(), if watches => {
                    if self.watch.as_mut().is_some_and(Watch::has_changed) {
                        drop(self.reload("the file has changed").await);
                    }
                }
            }
        }
    }

    /// Reloads, and says what became of it.
    async fn reload(&mut self, why: &str) -> Result<(), String> {
        if let Some(watch) = &mut self.watch {
            watch.is_read();
        }
        let refused = match (self.load)() {
            Ok(config) => match self.take(config).await {
                Ok(changes) => {
                    info!(why, %changes, "the configuration is reloaded");
                    return Ok(());
                }
                Err(error) => format!("{:#}", anyhow::Error::from(error)),
            },
            Err(Failed::Usage(error) | Failed::Other(error)) => format!("{error:#}"),
            Err(Failed::Said) => "the reason was told before".to_owned(),
        };
        self.relay.reloads.refused();
        error!(why, error = %in_one_line(&refused),
            "the configuration is refused, the relay goes on with the one before");
        Err(refused)
    }

    async fn take(&mut self, config: Config) -> Result<Changes, ReloadError> {
        let next = match config.member == self.present.member {
            true => with_part(self.relay, config.clone()),
            // Nobody has said anything about another StatefulSet yet.
            false => config.clone(),
        };
        let changes = self.relay.reload(next).await?;
        self.relay.scale.follow(config.member.as_ref());
        self.present = config;
        Ok(changes)
    }

    /// Goes by another number of relays. The file is not read for that: one that is wrong must not keep a
    /// relay from its share.
    async fn share(&self) {
        let config = with_part(self.relay, self.present.clone());
        let shard = config.shard;
        // The configuration was taken before, so nothing about it can be wrong; a relay that stops takes no more.
        if let (Some(shard), Ok(_)) = (shard, self.relay.swap(config).await) {
            let (targets, ranges) = self.relay.configured_targets();
            info!(%shard, targets, ranges, "the targets are shared anew");
        }
    }
}

/// The configuration with the part of the targets that the StatefulSet leaves to this relay.
fn with_part(relay: &Relay, mut config: Config) -> Config {
    if config.member.is_some() {
        config.shard = relay.scale.part();
    }
    config
}

async fn asked(requests: Option<&mut mpsc::Receiver<ReloadRequest>>) -> ReloadRequest {
    if let Some(requests) = requests
        && let Some(request) = requests.recv().await
    {
        return request;
    }
    std::future::pending().await
}

/// The first line of each fault: the lines after it show the place to people.
fn in_one_line(error: &str) -> String {
    let faults = error.split("\n\n").filter_map(|fault| fault.lines().next());
    faults.collect::<Vec<_>>().join("; ")
}

/// A file, and what it looked like.
struct Watch {
    path: PathBuf,
    /// When it was read last.
    read: Option<u128>,
    /// At the last look.
    seen: Option<u128>,
}

impl Watch {
    fn new(path: &Path) -> Self {
        let now = content(path);
        Self { path: path.to_owned(), read: now, seen: now }
    }

    /// Looks. A file that is not there looks like no other.
    fn has_changed(&mut self) -> bool {
        let now = content(&self.path);
        let settled = std::mem::replace(&mut self.seen, now) == now;
        settled && now != self.read
    }

    /// The file is read now, whatever it holds.
    fn is_read(&mut self) {
        self.read = content(&self.path);
        self.seen = self.read;
    }
}

/// What stands in a file, as a hash; `None` when it cannot be read.
fn content(path: &Path) -> Option<u128> {
    std::fs::read(path).ok().map(|bytes| xxh3_128(&bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_change_counts_when_two_looks_find_the_same() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("flinkrelay.yaml");
        fs::write(&path, "a").unwrap();
        let mut watch = Watch::new(&path);
        assert!(!watch.has_changed());
        fs::write(&path, "b: [").unwrap();
        assert!(!watch.has_changed(), "it may be half written");
        fs::write(&path, "b: []").unwrap();
        assert!(!watch.has_changed());
        assert!(watch.has_changed());
        watch.is_read();
        assert!(!watch.has_changed());
        // Touched, or written again as it was.
        fs::write(&path, "b: []").unwrap();
        assert!(!watch.has_changed());
        fs::remove_file(&path).unwrap();
        assert!(!watch.has_changed());
        assert!(watch.has_changed(), "that it is gone is told once it is sure");
        watch.is_read();
        assert!(!watch.has_changed());
    }

    /// A kubelet writes a new directory and swaps the link `..data` to it.
    #[test]
    fn a_config_map_that_is_swapped_is_noticed() {
        let directory = tempfile::TempDir::new().unwrap();
        let mount = directory.path();
        let write = |version: &str, text: &str| {
            fs::create_dir(mount.join(version)).unwrap();
            fs::write(mount.join(version).join("flinkrelay.yaml"), text).unwrap();
            std::os::unix::fs::symlink(version, mount.join("..new")).unwrap();
            fs::rename(mount.join("..new"), mount.join("..data")).unwrap();
        };
        write("..1", "a");
        std::os::unix::fs::symlink("..data/flinkrelay.yaml", mount.join("flinkrelay.yaml"))
            .unwrap();
        let mut watch = Watch::new(&mount.join("flinkrelay.yaml"));
        write("..2", "b");
        fs::remove_dir_all(mount.join("..1")).unwrap();
        assert!(!watch.has_changed());
        assert!(watch.has_changed());
    }

    #[test]
    fn an_error_in_the_log_has_one_line() {
        let error = "a.yaml:1:2: no\n  |\n1 | x\n  | ^\n\na.yaml:3:4: never\n   = help: y";
        assert_eq!(in_one_line(error), "a.yaml:1:2: no; a.yaml:3:4: never");
        assert_eq!(in_one_line("remote_write a: no such file"), "remote_write a: no such file");
    }
}
