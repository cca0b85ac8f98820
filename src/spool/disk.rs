//! What the log needs of a directory, and nothing more.
//!
//! The real one is in `crate::disk`; the tests have one that cuts writes, fills up, fails to sync and
//! forgets what was not synced. Names are plain file names inside the one directory of a spool.

/// A directory with files that only grow at their end, or are cut there.
pub trait Disk {
    /// The files with their sizes in bytes, in any order.
    fn list(&mut self) -> Result<Vec<(String, u64)>, DiskError>;

    /// Makes an empty file; one of that name is emptied.
    fn create(&mut self, name: &str) -> Result<(), DiskError>;

    /// Writes at the end of a file. After an error any part of `bytes` may be there.
    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), DiskError>;

    /// Cuts a file to its first `bytes` bytes.
    fn truncate(&mut self, name: &str, bytes: u64) -> Result<(), DiskError>;

    /// Returns when what was written to the file is on stable storage.
    fn sync(&mut self, name: &str) -> Result<(), DiskError>;

    /// Returns when files made, renamed and removed are so on stable storage.
    fn sync_directory(&mut self) -> Result<(), DiskError>;

    /// Gives a file another name, in place of the one that had it.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file.
    fn remove(&mut self, name: &str) -> Result<(), DiskError>;

    /// Reads up to `bytes` bytes from `offset` on; fewer only at the end of the file.
    fn read(&mut self, name: &str, offset: u64, bytes: usize) -> Result<Vec<u8>, DiskError>;
}

/// Why the disk did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// No space, or a quota.
    #[error("the disk is full: {0}")]
    Full(String),
    /// There is no such file.
    #[error("the file is gone: {0}")]
    Gone(String),
    /// Anything else, in the system's words.
    #[error("{0}")]
    Failed(String),
}
