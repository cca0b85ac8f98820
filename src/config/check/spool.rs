//! `spool`.

use std::{path::PathBuf, time::Duration};

use super::Checker;
use crate::config::{
    Fsync, Spool,
    raw::RawSpool,
    value::{Origin, Scalar},
};

const FSYNC_INTERVAL: Duration = Duration::from_secs(1);

impl Default for Spool {
    fn default() -> Self {
        Self { directory: None, fsync: Fsync::Interval, fsync_interval: FSYNC_INTERVAL }
    }
}

impl Checker<'_> {
    pub(super) fn spool(&mut self, raw: &RawSpool) -> Spool {
        const FSYNCS: [(&str, Fsync); 3] =
            [("always", Fsync::Always), ("interval", Fsync::Interval), ("never", Fsync::Never)];
        Spool {
            directory: raw.directory.as_ref().and_then(|directory| self.data_directory(directory)),
            fsync: self.choice(raw.fsync.as_ref(), &FSYNCS, Fsync::Interval),
            fsync_interval: self.positive_duration(raw.fsync_interval.as_ref(), FSYNC_INTERVAL),
        }
    }

    fn data_directory(&mut self, scalar: &Scalar) -> Option<PathBuf> {
        // As everywhere, a variable that is empty stands for a value that is not set.
        let path = self.text(scalar).filter(|path| !path.is_empty()).map(PathBuf::from)?;
        match (&self.directory, scalar.origin) {
            (Some(beside), Origin::File(_)) => Some(beside.join(path)),
            _ => Some(path),
        }
    }
}
