//! A disk for tests, in memory, with everything that disks do to those who trust them: writes that stop
//! anywhere, a limit, calls that fail, and crashes that keep some of what was not synced.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use fastrand::Rng;

use super::disk::{Disk, DiskError};

/// A handle; clones are the same disk, so a test can keep one and open the disk again.
#[derive(Clone, Debug, Default)]
pub(super) struct SimDisk(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<String, usize>,
    files: Vec<File>,
    /// The names as they are on stable storage, and what was done to them since.
    synced_names: BTreeMap<String, usize>,
    unsynced: Vec<Change>,
    faults: Faults,
    /// Calls that failed because a fault was set.
    pub(super) failed: u64,
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    /// So many of them are on stable storage.
    synced: usize,
}

#[derive(Clone, Debug)]
enum Change {
    Name(String, usize),
    Remove(String),
}

/// What goes wrong, until it is set otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// Bytes that all files may have.
    pub(super) capacity: Option<usize>,
    /// The next append stops within its bytes.
    pub(super) append: bool,
    pub(super) truncate: bool,
    pub(super) sync: bool,
    pub(super) sync_directory: bool,
    pub(super) rename: bool,
    pub(super) create: bool,
    pub(super) read: bool,
    /// Decides how far an append gets that stops.
    pub(super) seed: u64,
}

impl SimDisk {
    pub(super) fn set(&self, faults: Faults) {
        self.0.borrow_mut().faults = faults;
    }

    pub(super) fn failed(&self) -> u64 {
        self.0.borrow().failed
    }

    pub(super) fn bytes(&self) -> usize {
        let state = self.0.borrow();
        state.names.values().map(|file| state.files[*file].bytes.len()).sum()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.borrow().names.keys().cloned().collect()
    }

    pub(super) fn file(&self, name: &str) -> Vec<u8> {
        let state = self.0.borrow();
        state.files[state.names[name]].bytes.clone()
    }

    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        let file = state.name(name);
        state.files[file].bytes = bytes.to_vec();
        state.sync_all();
    }

    /// Another disk with the same content, on which nothing fails.
    pub(super) fn copy(&self) -> Self {
        let copy = Self::default();
        for name in self.names() {
            copy.put(&name, &self.file(&name));
        }
        copy
    }

    /// The machine loses power: of what was not synced any part is there.
    pub(super) fn crash(&self, rng: &mut Rng) {
        let mut state = self.0.borrow_mut();
        let kept = rng.usize(..=state.unsynced.len());
        let changes: Vec<Change> = state.unsynced.drain(..).take(kept).collect();
        let mut names = std::mem::take(&mut state.synced_names);
        for change in changes {
            match change {
                Change::Name(name, file) => drop(names.insert(name, file)),
                Change::Remove(name) => drop(names.remove(&name)),
            }
        }
        state.names = names;
        for file in &mut state.files {
            let unsynced = file.bytes.len() - file.synced;
            let kept = file.synced + rng.usize(..=unsynced);
            match rng.u8(0..4) {
                // The length is there, what stood behind it is not.
                0 => file.bytes[kept..].fill(0),
                1 => {
                    file.bytes[kept..].fill(0);
                    let length = kept + rng.usize(..=file.bytes.len() - kept);
                    file.bytes.truncate(length);
                }
                // Pages go to the disk in any order.
                2 => {
                    let hole = file.synced + rng.usize(..=unsynced);
                    file.bytes[kept.min(hole)..hole].fill(0);
                }
                _ => file.bytes.truncate(kept),
            }
        }
        state.faults = Faults::default();
        state.sync_all();
    }

    /// The process is killed: everything that was written is there.
    pub(super) fn kill(&self) {
        self.0.borrow_mut().faults = Faults::default();
    }

    fn fault(&self, is_set: impl FnOnce(&mut Faults) -> bool) -> Result<(), DiskError> {
        let mut state = self.0.borrow_mut();
        if is_set(&mut state.faults) {
            state.failed += 1;
            return Err(DiskError::Failed("input/output error".to_owned()));
        }
        Ok(())
    }
}

impl State {
    fn name(&mut self, name: &str) -> usize {
        self.files.push(File::default());
        let file = self.files.len() - 1;
        self.names.insert(name.to_owned(), file);
        self.unsynced.push(Change::Name(name.to_owned(), file));
        file
    }

    fn find(&mut self, name: &str) -> Result<&mut File, DiskError> {
        let file = self.names.get(name).ok_or_else(|| DiskError::Gone(name.to_owned()))?;
        Ok(&mut self.files[*file])
    }

    fn sync_all(&mut self) {
        self.files.iter_mut().for_each(|file| file.synced = file.bytes.len());
        self.synced_names.clone_from(&self.names);
        self.unsynced.clear();
    }
}

impl Disk for SimDisk {
    fn list(&mut self) -> Result<Vec<(String, u64)>, DiskError> {
        let state = self.0.borrow();
        let names = state.names.iter();
        Ok(names.map(|(name, at)| (name.clone(), state.files[*at].bytes.len() as u64)).collect())
    }

    fn create(&mut self, name: &str) -> Result<(), DiskError> {
        self.fault(|faults| faults.create)?;
        self.0.borrow_mut().name(name);
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let used = self.bytes();
        let mut state = self.0.borrow_mut();
        let room = state.faults.capacity.map_or(usize::MAX, |all| all.saturating_sub(used));
        let stops = std::mem::take(&mut state.faults.append)
            .then(|| Rng::with_seed(state.faults.seed).usize(..=bytes.len()));
        let kept = bytes.len().min(room).min(stops.unwrap_or(usize::MAX));
        state.find(name)?.bytes.extend_from_slice(&bytes[..kept]);
        if stops.is_some() {
            state.failed += 1;
            return Err(DiskError::Failed("input/output error".to_owned()));
        }
        if kept < bytes.len() {
            state.failed += 1;
            return Err(DiskError::Full("no space left on device".to_owned()));
        }
        Ok(())
    }

    fn truncate(&mut self, name: &str, bytes: u64) -> Result<(), DiskError> {
        self.fault(|faults| faults.truncate)?;
        let mut state = self.0.borrow_mut();
        let file = state.find(name)?;
        file.bytes.truncate(usize::try_from(bytes).unwrap());
        file.synced = file.synced.min(file.bytes.len());
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        self.fault(|faults| faults.sync)?;
        let mut state = self.0.borrow_mut();
        let file = state.find(name)?;
        file.synced = file.bytes.len();
        Ok(())
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        self.fault(|faults| faults.sync_directory)?;
        let mut state = self.0.borrow_mut();
        let names = state.names.clone();
        state.synced_names = names;
        state.unsynced.clear();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.fault(|faults| faults.rename)?;
        let mut state = self.0.borrow_mut();
        let file = state.names.remove(from).ok_or_else(|| DiskError::Gone(from.to_owned()))?;
        state.names.insert(to.to_owned(), file);
        state.unsynced.push(Change::Remove(from.to_owned()));
        state.unsynced.push(Change::Name(to.to_owned(), file));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        let mut state = self.0.borrow_mut();
        state.names.remove(name).ok_or_else(|| DiskError::Gone(name.to_owned()))?;
        state.unsynced.push(Change::Remove(name.to_owned()));
        Ok(())
    }

    fn read(&mut self, name: &str, offset: u64, bytes: usize) -> Result<Vec<u8>, DiskError> {
        self.fault(|faults| faults.read)?;
        let mut state = self.0.borrow_mut();
        let file = &state.find(name)?.bytes;
        let from = usize::try_from(offset).unwrap().min(file.len());
        Ok(file[from..file.len().min(from.saturating_add(bytes))].to_vec())
    }
}
