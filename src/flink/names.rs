//! Canonical names: one name for one metric, whatever varies and whichever version of Flink it is.
//!
//! Flink's reporter writes into a metric's name what belongs into labels, and Flink renames metrics:
//!
//! ```text
//! flink_taskmanager_job_task_operator_window_aggs_rocksdb_estimate_num_keys{…}
//! flink_taskmanager_job_task_operator_rocksdb_estimate_num_keys{state="window_aggs",…}
//!
//! flink_taskmanager_job_task_Network_Input_0_totalQueueLen{…}                        up to 1.20
//! flink_taskmanager_job_task_Shuffle_Netty_Input_0_totalQueueLen{…}
//! flink_taskmanager_job_task_Shuffle_Netty_totalQueueLen{direction="input",gate="0",…}
//! ```
//!
//! Which parts vary and which names are one metric's is the catalogue's knowledge
//! ([`crate::flink::catalogue::Found::canonical_name`]); this gives it to a sample. Where a page has a
//! metric under a former name and under its present one, the former is left out; and where two metrics
//! of a page would become one series, they keep the label [`PAGE_NAME`]. Both take the whole page, so
//! [`crate::series`] does it.
//!
//! Invariants: a sample that the catalogue does not know stays as it is; no value that a label had is
//! lost, since a label in the way of a new one moves to `exported_NAME`, as in Prometheus.

use std::borrow::Cow;

use super::{Metric, catalogue::Found};
use crate::labels::{Labels, METRIC_NAME};

/// The label that holds a metric's name on the page, where only that tells two series apart.
pub const PAGE_NAME: &str = "exported_name";

/// Under which names samples are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameMode {
    /// The catalogue's canonical ones.
    #[default]
    Canonical,
    /// Those of the page.
    Raw,
}

impl NameMode {
    /// The name that a sample is sent under, `name` being the one on the page.
    pub fn sample<'n>(self, known: Option<&Found<'n, '_>>, name: &'n str) -> Cow<'n, str> {
        match (self, known) {
            (Self::Canonical, Some(known)) => known.canonical_name(),
            _ => Cow::Borrowed(name),
        }
    }

    /// The name of the family that a sample belongs to, `family` being its name on the page.
    pub fn family<'n>(self, known: Option<&Found<'n, '_>>, family: &'n str) -> Cow<'n, str> {
        match (self, known) {
            (Self::Canonical, Some(known)) => known.canonical_family(),
            _ => Cow::Borrowed(family),
        }
    }

    /// The metric whose type, unit and help a sample's family has: of a former name the present one.
    pub fn metric<'c>(self, known: &Found<'c, '_>) -> &'c Metric {
        if self == Self::Canonical { known.present() } else { known.metric }
    }

    /// Gives a sample, whose labels with `__name__` are those of the page, its name.
    pub fn apply<'a>(self, known: Option<&Found<'a, 'a>>, labels: &mut Labels<'a>) {
        let (Self::Canonical, Some(known)) = (self, known) else { return };
        labels.set(METRIC_NAME, known.canonical_name());
        for (key, label) in known.renamed_labels() {
            // The state is called like the key when there is no such label: then its name is what
            // stands in the sample's name.
            let value = labels.remove(key).unwrap_or(Cow::Borrowed(key));
            insert(labels, label, value);
        }
        for (label, value) in known.name_labels() {
            insert(labels, label, Cow::Borrowed(value));
        }
    }

    /// Whether the sample is sent under another name than it has on the page.
    pub fn renames(self, known: Option<&Found<'_, '_>>, sample_name: &str) -> bool {
        self == Self::Canonical && known.is_some_and(|known| known.canonical_name() != sample_name)
    }

    /// Whether the sample has to stand back where the page has its values under the present name too.
    pub fn stands_back(self, known: Option<&Found<'_, '_>>) -> bool {
        self == Self::Canonical && known.is_some_and(Found::is_former_name)
    }
}

/// Adds a label; one of its name that is there already moves out of the way.
fn insert<'a>(labels: &mut Labels<'a>, name: &'a str, value: Cow<'a, str>) {
    if let Some(own) = labels.remove(name) {
        let mut exported = format!("exported_{name}");
        while labels.get(&exported).is_some() {
            exported.insert_str(0, "exported_");
        }
        labels.push(exported, own);
    }
    labels.push(name, value);
}

#[cfg(test)]
mod tests;
