//! The labels of one line that say what it is about, and the key that they make.

use std::borrow::Cow;

use smallvec::SmallVec;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{Given, Subject};

pub(super) const TM: &str = "tm_id";
pub(super) const JOB_ID: &str = "job_id";
pub(super) const JOB_NAME: &str = "job_name";
pub(super) const TASK_ID: &str = "task_id";
pub(super) const TASK_NAME: &str = "task_name";

/// The labels of a line that matter here.
#[derive(Default)]
pub(super) struct Found<'l> {
    pub(super) tm: Option<Cow<'l, str>>,
    pub(super) job_id: Option<Cow<'l, str>>,
    pub(super) job_name: Option<Cow<'l, str>>,
    pub(super) task_id: Option<Cow<'l, str>>,
    pub(super) task_name: Option<Cow<'l, str>>,
}

impl<'l> Found<'l> {
    pub(super) fn label(&mut self, name: &str, value: Cow<'l, str>) {
        let place = match name {
            TM => &mut self.tm,
            JOB_ID => &mut self.job_id,
            JOB_NAME => &mut self.job_name,
            TASK_ID => &mut self.task_id,
            TASK_NAME => &mut self.task_name,
            _ => return,
        };
        *place = Some(value).filter(|value| !value.is_empty());
    }

    pub(super) fn key(&self, is_process: bool, tells_leader: bool) -> u128 {
        let parts = [&self.tm, &self.job_id, &self.job_name, &self.task_id, &self.task_name];
        let mut digest = digest(parts.map(|part| part.as_deref().unwrap_or_default()));
        digest.extend([u8::from(is_process), u8::from(tells_leader)]);
        xxh3_128(&digest)
    }

    pub(super) fn subject(&self, key: u128) -> Subject {
        let given = |page: &Option<Cow<'l, str>>| {
            page.as_deref().map(|page| Given { page: page.into(), name: None })
        };
        Subject {
            key,
            tm: given(&self.tm),
            job_id: self.job_id.as_deref().map(Into::into),
            job_name: given(&self.job_name),
            task_id: self.task_id.as_deref().map(Into::into),
            task_name: given(&self.task_name),
            is_new: true,
            ..Subject::default()
        }
    }
}

/// Stands for a list of texts wherever it is hashed.
pub(super) fn digest<const N: usize>(parts: [&str; N]) -> SmallVec<[u8; DIGEST_INLINE]> {
    let mut digest = SmallVec::new();
    for part in parts {
        // The lengths keep two lists of one concatenation apart.
        digest.extend_from_slice(&xxh3_64(part.as_bytes()).to_le_bytes());
        digest.extend_from_slice(&part.len().to_le_bytes());
    }
    digest
}

/// Bytes of a digest of five texts, and of what is added to it.
const DIGEST_INLINE: usize = 96;
