//! The data directory: the one place where the relay keeps something over a restart.
//!
//! ```text
//!  DIRECTORY/lock                          held by the relay that uses the directory
//!  DIRECTORY/victoria-3f2a…/lock           one directory per receiver, by its name and a hash of it
//!                          /0000….seg      its log, see `spool/log`
//!                          /cursor
//! ```
//!
//! The hash tells names apart that differ only in characters which file names cannot have. The URL is no
//! part of it, so a receiver keeps its spool when its address or password changes. Directories of receivers
//! that are not configured are left alone: what is in them is sent when the receiver comes back.

mod inspect;
mod writer;

use std::{
    collections::HashSet,
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use prometheus_client::metrics::histogram::Histogram;
use xxhash_rust::xxh3::xxh3_64;

pub use self::{
    inspect::{Inspection, inspect},
    writer::{Signal, Spooled, Writer},
};
use crate::{
    config,
    spool::{Disk, DiskError},
};

/// Characters of a receiver's name in its directory's; file names end at 255.
const NAME_CHARS_MAX: usize = 100;

const LOCK: &str = "lock";

/// A data directory that is this relay's.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// How its spools are written.
    pub settings: config::Spool,
    _lock: File,
}

/// A data directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process has it.
    #[error(
        "the data directory {path} is in use by another flinkrelay; give each its own, or stop the other"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot {what} {path}")]
    Failed {
        /// What was to be done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl DataDirectory {
    /// Makes the configured directory if it is not there, and takes it for this process. `None` when none
    /// is configured.
    ///
    /// # Errors
    /// Another process has it, or it cannot be made or written.
    pub fn open(settings: &config::Spool) -> Result<Option<Self>, DirectoryError> {
        let Some(path) = &settings.directory else { return Ok(None) };
        make(path)?;
        let (path, lock) = (path.clone(), lock(path)?);
        Ok(Some(Self { path, settings: settings.clone(), _lock: lock }))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The disk of a receiver's spool. Seconds that syncs take go to `sync_seconds`.
    ///
    /// # Errors
    /// The directory cannot be made or written, or the spool is open already.
    pub fn disk(&self, receiver: &str, sync_seconds: Histogram) -> Result<FsDisk, DirectoryError> {
        let path = self.path.join(directory_name(receiver));
        make(&path)?;
        let lock = lock(&path)?;
        sync_directory(&self.path)
            .map_err(|source| failed("sync the data directory", &self.path, source))?;
        Ok(FsDisk { path, _lock: lock, append: None, read: None, sync_seconds })
    }

    /// Directories of receivers that are none of these.
    pub fn strangers<'a>(&self, receivers: impl Iterator<Item = &'a str>) -> Vec<String> {
        let known: HashSet<String> = receivers.map(directory_name).collect();
        // A directory that could be opened and cannot be listed fails where it matters.
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let names = entries.filter(|entry| entry.path().join(LOCK).is_file());
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| !known.contains(name)).collect();
        names.sort();
        names
    }
}

/// The name of a receiver's directory.
fn directory_name(receiver: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = receiver.chars().take(NAME_CHARS_MAX).map(plain).collect();
    format!("{name}-{:016x}", xxh3_64(receiver.as_bytes()))
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> DirectoryError {
    DirectoryError::Failed { what, path: path.to_owned(), source }
}

fn make(path: &Path) -> Result<(), DirectoryError> {
    fs::create_dir_all(path).map_err(|source| failed("make the directory", path, source))
}

/// Takes a directory by a lock on a file in it. The system takes the lock back when the process ends,
/// however that happens.
fn lock(directory: &Path) -> Result<File, DirectoryError> {
    let path = directory.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|source| failed("write", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed("lock", &path, source)),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The directory of one spool.
#[derive(Debug)]
pub struct FsDisk {
    path: PathBuf,
    _lock: File,
    /// The file that was written last, and the one that was read last.
    append: Option<(String, File)>,
    read: Option<(String, File)>,
    sync_seconds: Histogram,
}

impl FsDisk {
    fn appended_to(&mut self, name: &str) -> io::Result<&mut File> {
        if self.append.as_ref().is_none_or(|(open, _)| open != name) {
            let file = File::options().append(true).open(self.path.join(name))?;
            self.append = Some((name.to_owned(), file));
        }
        let (_, file) = self.append.as_mut().ok_or(ErrorKind::NotFound)?;
        Ok(file)
    }

    fn read_from(&mut self, name: &str) -> io::Result<&File> {
        if self.read.as_ref().is_none_or(|(open, _)| open != name) {
            self.read = Some((name.to_owned(), File::open(self.path.join(name))?));
        }
        let (_, file) = self.read.as_ref().ok_or(ErrorKind::NotFound)?;
        Ok(file)
    }

    /// Lets go of a file that is renamed or removed, so that its space is free.
    fn close(&mut self, name: &str) {
        self.append.take_if(|(open, _)| open == name);
        self.read.take_if(|(open, _)| open == name);
    }

    fn timed(&self, began: Instant) {
        self.sync_seconds.observe(began.elapsed().as_secs_f64());
    }

    fn told<T>(&self, done: io::Result<T>, what: &str, name: &str) -> Result<T, DiskError> {
        done.map_err(|error| {
            let words = format!("cannot {what} {}: {error}", self.path.join(name).display());
            match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskError::Full(words),
                ErrorKind::NotFound => DiskError::Gone(words),
                _ => DiskError::Failed(words),
            }
        })
    }
}

impl Disk for FsDisk {
    fn list(&mut self) -> Result<Vec<(String, u64)>, DiskError> {
        let list = || {
            let mut files = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                    files.push((name, metadata.len()));
                }
            }
            Ok(files)
        };
        self.told(list(), "list", "")
    }

    fn create(&mut self, name: &str) -> Result<(), DiskError> {
        self.close(name);
        let created = File::options().create(true).append(true).open(self.path.join(name));
        let emptied = created.and_then(|file| file.set_len(0).map(|()| file));
        self.append = Some((name.to_owned(), self.told(emptied, "create", name)?));
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let written = self.appended_to(name).and_then(|file| file.write_all(bytes));
        self.told(written, "write", name)
    }

    fn truncate(&mut self, name: &str, bytes: u64) -> Result<(), DiskError> {
        let cut = self.appended_to(name).and_then(|file| file.set_len(bytes));
        self.told(cut, "truncate", name)
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let began = Instant::now();
        let synced = self.appended_to(name).and_then(|file| file.sync_data());
        self.timed(began);
        self.told(synced, "sync", name)
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        let began = Instant::now();
        let synced = sync_directory(&self.path);
        self.timed(began);
        self.told(synced, "sync", "")
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.close(from);
        self.close(to);
        let renamed = fs::rename(self.path.join(from), self.path.join(to));
        self.told(renamed, "rename", from)
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.close(name);
        self.told(fs::remove_file(self.path.join(name)), "remove", name)
    }

    fn read(&mut self, name: &str, offset: u64, bytes: usize) -> Result<Vec<u8>, DiskError> {
        let read = self.read_from(name).and_then(|file| read_at(file, offset, bytes));
        self.told(read, "read", name)
    }
}

/// Reads `bytes` bytes, or fewer at the end of the file.
fn read_at(file: &File, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let left = file.metadata()?.len().saturating_sub(offset);
    let mut buffer = vec![0; bytes.min(usize::try_from(left).unwrap_or(usize::MAX))];
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<DataDirectory, DirectoryError> {
        let directory = Some(path.to_owned());
        let settings = config::Spool { directory, ..config::Spool::default() };
        DataDirectory::open(&settings).map(Option::unwrap)
    }

    fn disk(directory: &Path) -> FsDisk {
        open(directory).unwrap().disk("receiver", Histogram::new([1.0])).unwrap()
    }

    #[test]
    fn files_are_written_cut_renamed_read_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = disk(directory.path());
        disk.create("a").unwrap();
        disk.append("a", b"0123456789").unwrap();
        disk.create("b").unwrap();
        disk.append("b", b"x").unwrap();
        disk.append("a", b"abc").unwrap();
        disk.sync("a").unwrap();
        disk.truncate("a", 11).unwrap();
        disk.append("a", b"Z").unwrap();
        assert_eq!(disk.read("a", 8, 100).unwrap(), b"89aZ");
        assert_eq!(disk.read("a", 2, 3).unwrap(), b"234");
        assert_eq!(disk.read("a", 50, 3).unwrap(), b"");
        disk.rename("a", "b").unwrap();
        disk.sync_directory().unwrap();
        assert_eq!(disk.read("b", 0, 2).unwrap(), b"01", "the old b is not read any more");
        assert!(matches!(disk.read("a", 0, 1), Err(DiskError::Gone(_))));
        disk.create("b").unwrap();
        let mut files = disk.list().unwrap();
        files.sort();
        assert_eq!(files, [("b".to_owned(), 0), (LOCK.to_owned(), 0)]);
        disk.remove("b").unwrap();
        assert!(matches!(disk.remove("b"), Err(DiskError::Gone(_))));
        assert!(matches!(disk.append("b", b"x"), Err(DiskError::Gone(_))));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told_from_one_that_fails() {
        let directory = tempfile::tempdir().unwrap();
        let mut disk = disk(directory.path());
        std::os::unix::fs::symlink("/dev/full", disk.path.join("a")).unwrap();
        let error = disk.append("a", b"x").unwrap_err();
        assert!(matches!(&error, DiskError::Full(words) if words.contains("/a: ")), "{error:?}");
        fs::create_dir(disk.path.join("b")).unwrap();
        assert!(matches!(disk.append("b", b"x"), Err(DiskError::Failed(_))));
    }

    #[test]
    fn a_directory_has_one_relay_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/data");
        let first = open(&path).unwrap();
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("is in use by another flinkrelay"), "{error}");
        let disk = first.disk("a", Histogram::new([1.0])).unwrap();
        assert!(first.disk("a", Histogram::new([1.0])).is_err(), "open twice");
        drop((first, disk));
        let again = open(&path).unwrap();
        again.disk("b", Histogram::new([1.0])).unwrap();
        let strangers = again.strangers(["b"].into_iter());
        assert_eq!(strangers, [directory_name("a")]);
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = open(&file).unwrap_err();
        assert!(error.to_string().starts_with("cannot make the directory"), "{error}");
    }

    #[test]
    fn directories_are_named_after_receivers_and_never_shared() {
        let check = |name: &str, expect: &str| {
            let directory = directory_name(name);
            assert_eq!(directory.rsplit_once('-').unwrap().0, expect);
            assert!(directory.len() < 255);
        };
        check("victoria-metrics", "victoria-metrics");
        check("localhost:8428/api", "localhost_8428_api");
        check("../..", ".._..");
        check(&"é".repeat(300), &"_".repeat(100));
        assert_ne!(directory_name("a:1"), directory_name("a/1"));
        assert_eq!(directory_name("vm"), "vm-f2f1a76b26185588", "a stored name never changes");
    }
}
