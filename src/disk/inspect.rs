//! Whether a data directory could be used, found out without making or changing anything that stays.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use super::LOCK;

/// What was found.
#[derive(Debug)]
pub struct Inspection {
    /// The directory, or the nearest one above it that is there.
    pub present: PathBuf,
    /// Whether another process has it.
    pub in_use: bool,
    /// Bytes that are free on its file system for this user.
    pub free_bytes: Option<u64>,
    /// Why nothing can be written there.
    pub fault: Option<io::Error>,
}

/// Looks at a data directory. A file is written beside its contents and removed at once, for rights and
/// read-only mounts show by nothing else for certain.
pub fn inspect(directory: &Path) -> Inspection {
    let there = |path: &&Path| path.exists();
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let present = absolute.ancestors().find(there).unwrap_or(&absolute).to_owned();
    let free_bytes = rustix::fs::statvfs(&present).ok().map(|fs| fs.f_bavail * fs.f_frsize);
    let fault = write(&present).err();
    let in_use = present == absolute && is_locked(&absolute.join(LOCK));
    Inspection { present, in_use, free_bytes, fault }
}

fn write(directory: &Path) -> io::Result<()> {
    let name = format!(".flinkrelay-doctor-{}", std::process::id());
    let path = directory.join(name);
    File::options().create_new(true).write(true).open(&path)?;
    fs::remove_file(&path)
}

fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::options().write(true).open(path) else { return false };
    // The lock, where it was free, goes with the file.
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::{super::DataDirectory, *};
    use crate::config::{Fsync, Spool};

    #[test]
    fn nothing_stays_and_locks_are_seen() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("a/b");
        let found = inspect(&directory);
        assert!(found.fault.is_none() && !found.in_use, "{found:?}");
        assert_eq!(found.present, place.path());
        assert!(found.free_bytes.is_some_and(|bytes| bytes > 0));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);

        let settings = Spool {
            directory: Some(directory.clone()),
            fsync: Fsync::Never,
            fsync_interval: std::time::Duration::from_secs(1),
        };
        let held = DataDirectory::open(&settings).unwrap();
        assert!(inspect(&directory).in_use);
        drop(held);
        assert!(!inspect(&directory).in_use);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "only the lock is there");
    }

    #[test]
    fn a_file_in_the_way_is_a_fault() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(inspect(&file.join("spool")).fault.is_some());
    }
}
