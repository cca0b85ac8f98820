//! From a parsed sample to the labels that are sent: the cold path of a line.
//!
//! ```text
//!   page labels -> group filter -> names from Flink's REST API -> canonical name -> Flink normalisation
//!       -> target labels (honor_labels)
//!       -> metric_relabel_configs -> label limits -> per view: external labels, write_relabel_configs,
//!          the receivers' own label limits
//! ```
//!
//! The order is Prometheus' own, with Flink's steps in front, so that relabelling rules see the
//! names and labels that a user sees in `flinkrelay scrape`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use xxhash_rust::xxh3::xxh3_128;

use super::{Dropped, Unfit, Unfits};
use crate::{
    config,
    exposition::Sample,
    flink::{self, Group, catalogue::Found},
    labels::{Labels, METRIC_NAME},
    relabel,
    remote_write::v1,
};

/// What one or more receivers want to see: receivers with equal views share their encoded bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Samples of a fragment at most.
    pub max_samples_per_send: u32,
    /// How often each family's type, help and unit are sent; `None` is never.
    pub metadata_interval: Option<Duration>,
    /// Added where the series has no label of that name.
    pub external_labels: BTreeMap<String, String>,
    /// Applied last.
    pub write_relabel_configs: Vec<relabel::Rule>,
    /// What a series may not exceed; one that does is kept from these receivers, alone.
    pub limits: Limits,
}

/// `label_limit` and its companions; 0 is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Labels of a sample, its name included.
    pub labels: u64,
    /// Bytes of a label's name.
    pub name_bytes: u64,
    /// Bytes of a label's value.
    pub value_bytes: u64,
    /// Whether longer values are cut to that; only receivers want it.
    pub cut_values: bool,
}

/// A sample exceeds a label limit; the scrape fails, as in Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelLimit {
    /// Too many labels.
    #[error("a sample has {found} labels, label_limit is {limit}")]
    Labels {
        /// Labels of the sample.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A label name is too long.
    #[error("a label name has {found} bytes, label_name_length_limit is {limit}")]
    NameBytes {
        /// Bytes of the name.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A label value is too long.
    #[error("a label value has {found} bytes, label_value_length_limit is {limit}")]
    ValueBytes {
        /// Bytes of the value.
        found: u64,
        /// The limit.
        limit: u64,
    },
}

/// What becomes of the samples of a scrape job: immutable, shared by its targets.
#[derive(Clone, Debug)]
pub struct Shaper {
    /// What each metric is.
    pub catalogue: Arc<flink::Catalogue>,
    /// Which groups are relayed.
    pub groups: flink::GroupFilter,
    /// Under which names samples are sent.
    pub names: flink::NameMode,
    /// How Flink's labels are normalised.
    pub labels: flink::LabelPolicy,
    /// What is rolled up.
    pub rollups: flink::RollupPolicy,
    /// What becomes of values that mean "there is none".
    pub sentinels: flink::Sentinels,
    /// Which derived series are made.
    pub derived: flink::Derivations,
    /// See [`config::Scrape::honor_labels`].
    pub honor_labels: bool,
    /// See [`config::Scrape::honor_timestamps`].
    pub honor_timestamps: bool,
    /// Rules for the labels of samples.
    pub metric_relabel_configs: Vec<relabel::Rule>,
    /// Label limits.
    pub limits: Limits,
    /// What the receivers want, one entry per distinct wish.
    pub views: Arc<[View]>,
}

/// Encoded labels, `None` where a view drops the series, and whether a value was cut for its receivers.
type Fitted = (Option<Box<[u8]>>, bool);

/// What a new line is.
#[derive(Debug)]
pub enum Shaped {
    /// Not wanted.
    Dropped(Dropped),
    /// A sample of a series.
    Series {
        /// Identity of the final labels, before views.
        identity: u128,
        /// Identity before `metric_relabel_configs`.
        normal: u128,
        /// Encoded labels per view.
        blocks: Box<[Option<Box<[u8]>>]>,
        /// Which views it is unfit for.
        unfit: Unfits,
        /// The labels that normalisation dropped, encoded; `None` when it dropped none.
        ids: Option<Box<[u8]>>,
    },
}

#[cfg(test)]
impl Shaper {
    /// One that does what is done by default, without views; for tests that change a part of it.
    pub(crate) fn plain() -> Self {
        Self {
            catalogue: Arc::clone(flink::catalogue()),
            groups: flink::GroupFilter::default(),
            names: flink::NameMode::default(),
            labels: flink::LabelPolicy::default(),
            sentinels: flink::Sentinels::Drop,
            derived: flink::Derivations::default(),
            rollups: flink::RollupPolicy::default(),
            honor_labels: false,
            honor_timestamps: true,
            metric_relabel_configs: Vec::new(),
            limits: Limits::default(),
            views: Arc::from([]),
        }
    }
}

impl Shaper {
    /// The shaper of a scrape job.
    pub fn new(scrape: &config::Scrape, flink: &config::Flink, views: Arc<[View]>) -> Self {
        Self {
            catalogue: Arc::clone(&flink.catalogue),
            groups: flink.groups,
            names: flink.names,
            labels: flink.labels,
            rollups: flink.rollups.clone(),
            sentinels: flink.sentinels,
            derived: flink.derived,
            honor_labels: scrape.honor_labels,
            honor_timestamps: scrape.honor_timestamps,
            metric_relabel_configs: scrape.metric_relabel_configs.clone(),
            limits: Limits {
                labels: scrape.label_limit,
                name_bytes: scrape.label_name_length_limit,
                value_bytes: scrape.label_value_length_limit,
                cut_values: false,
            },
            views,
        }
    }

    /// Whether a sample becomes the same series here and there, whatever the views.
    pub fn has_rules_of(&self, other: &Self) -> bool {
        let Self {
            catalogue,
            groups,
            names,
            labels,
            rollups,
            sentinels,
            derived,
            honor_labels,
            honor_timestamps,
            metric_relabel_configs,
            ..
        } = self;
        *catalogue == other.catalogue
            && *groups == other.groups
            && *names == other.names
            && *labels == other.labels
            && *rollups == other.rollups
            && *sentinels == other.sentinels
            && *derived == other.derived
            && *honor_labels == other.honor_labels
            && *honor_timestamps == other.honor_timestamps
            && *metric_relabel_configs == other.metric_relabel_configs
            && self.limits == other.limits
    }

    /// Decides what the sample is, see the module's documentation for the order of the steps; `known`
    /// is what the catalogue says of it, and `names` puts the names that people gave into the labels
    /// of the page.
    pub fn shape<'a>(
        &self,
        sample: &Sample<'a>,
        group: Group,
        known: Option<&Found<'a, 'a>>,
        target: &'a Labels<'static>,
        names: impl FnOnce(&mut Labels<'a>),
    ) -> Result<Shaped, LabelLimit> {
        if !self.groups.allows(group) {
            return Ok(Shaped::Dropped(Dropped::Group));
        }
        let (mut labels, ids) = self.normal(sample, known, names);
        self.add_target_labels(&mut labels, target);
        labels.sort();
        let ids = (!ids.is_empty()).then(|| v1::pairs_block(ids.sorted()));
        self.relabel(labels, ids)
    }

    /// The labels of a sample under the names that it is sent by, without its target's; and those that
    /// normalisation dropped.
    pub(super) fn normal<'a>(
        &self,
        sample: &Sample<'a>,
        known: Option<&Found<'a, 'a>>,
        names: impl FnOnce(&mut Labels<'a>),
    ) -> (Labels<'a>, flink::labels::Dropped<'a>) {
        let mut labels = Labels::with_capacity(16);
        labels.push(METRIC_NAME, sample.name);
        for (name, value) in sample.labels() {
            labels.push(name, value);
        }
        names(&mut labels);
        self.names.apply(known, &mut labels);
        let ids = if flink::rest::info::is_info(sample.name) {
            flink::labels::Dropped::default()
        } else {
            self.labels.normalise(&mut labels)
        };
        (labels, ids)
    }

    /// The last steps: what becomes of normal labels, the target's among them, which are sorted. `ids`
    /// are those that normalisation dropped, encoded.
    pub(super) fn relabel(
        &self,
        mut labels: Labels<'_>,
        ids: Option<Box<[u8]>>,
    ) -> Result<Shaped, LabelLimit> {
        let mut block = v1::labels_block(&labels);
        // Two series are taken to be the same when the hashes of their blocks are equal: among 10^6 series
        // the chance of one false match is below 10^-26.
        let normal = xxh3_128(&block);
        let mut identity = normal;
        if !self.metric_relabel_configs.is_empty() {
            if !relabel::apply(&self.metric_relabel_configs, &mut labels) {
                return Ok(Shaped::Dropped(Dropped::Relabel));
            }
            labels.sort();
            block = v1::labels_block(&labels);
            identity = xxh3_128(&block);
        }
        if !is_metric_name(labels.metric_name()) {
            return Ok(Shaped::Dropped(Dropped::Name));
        }
        self.limits.check(&labels)?;
        let mut unfit = Unfits::new();
        let views = self.views.iter().enumerate();
        let blocks = views
            .map(|(view, of)| {
                let (block, is_cut) = of.made(&labels, &block).unwrap_or_else(|why| {
                    unfit.push((view, why));
                    (None, false)
                });
                if is_cut {
                    unfit.push((view, of.limits.cut()));
                }
                block
            })
            .collect();
        Ok(Shaped::Series { identity, normal, blocks, unfit, ids })
    }

    /// Adds the target's labels. A page's own label of the same name wins with `honor_labels`, and
    /// otherwise moves to `exported_NAME` (prefixed again while that is taken), as in Prometheus.
    pub(super) fn add_target_labels<'a>(
        &self,
        labels: &mut Labels<'a>,
        target: &'a Labels<'static>,
    ) {
        for (name, value) in target.iter() {
            if self.honor_labels {
                if labels.get(name).is_none() {
                    labels.push(name, value);
                }
                continue;
            }
            if let Some(own) = labels.remove(name) {
                let mut exported = format!("exported_{name}");
                while labels.get(&exported).is_some() || target.get(&exported).is_some() {
                    exported.insert_str(0, "exported_");
                }
                labels.push(exported, own);
            }
            labels.push(name, value);
        }
    }
}

impl Limits {
    /// The first limit that a series exceeds.
    ///
    /// # Errors
    /// That limit, and by how much.
    pub fn check(&self, labels: &Labels<'_>) -> Result<(), LabelLimit> {
        let over =
            |found: usize, limit: u64| (limit > 0 && found as u64 > limit).then_some(found as u64);
        if *self == Self::default() {
            return Ok(());
        }
        if let Some(found) = over(labels.len(), self.labels) {
            return Err(LabelLimit::Labels { found, limit: self.labels });
        }
        for (name, value) in labels.iter() {
            if let Some(found) = over(name.len(), self.name_bytes) {
                return Err(LabelLimit::NameBytes { found, limit: self.name_bytes });
            }
            if let Some(found) = over(value.len(), self.value_bytes) {
                return Err(LabelLimit::ValueBytes { found, limit: self.value_bytes });
            }
        }
        Ok(())
    }
}

impl Limits {
    /// The labels within the limits, encoded, and whether a value was cut for that.
    pub(super) fn fitted(&self, labels: &Labels<'_>) -> Result<Fitted, Unfit> {
        let shortened = self.shorten(labels);
        let labels = shortened.as_ref().unwrap_or(labels);
        self.check(labels)?;
        Ok((Some(v1::labels_block(labels)), shortened.is_some()))
    }

    /// What is told of a series with a value that was cut.
    pub(super) const fn cut(&self) -> Unfit {
        Unfit::Cut { limit: self.value_bytes }
    }
}

impl View {
    /// Whether a series has the same labels here and there, or none in both.
    pub fn has_labels_of(&self, other: &Self) -> bool {
        self.external_labels == other.external_labels
            && self.write_relabel_configs == other.write_relabel_configs
            && self.limits == other.limits
    }

    /// The labels, which are sorted, as this view's receivers get them, encoded; `None` when the view drops
    /// the series.
    ///
    /// # Errors
    /// When a receiver would refuse them.
    pub fn block(&self, labels: &Labels<'_>) -> Result<Option<Box<[u8]>>, Unfit> {
        self.made(labels, &v1::labels_block(labels)).map(|(block, _)| block)
    }

    /// As [`View::block`], and whether a value was cut; `block` is the labels as they are, encoded: what most
    /// views add to and change nothing of.
    fn made(&self, labels: &Labels<'_>, block: &[u8]) -> Result<Fitted, Unfit> {
        let more = self.external_labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let more = more.filter(|(_, value)| !value.is_empty());
        if self.write_relabel_configs.is_empty() && self.limits == Limits::default() {
            return Ok((Some(v1::with_labels(block, labels, more)), false));
        }
        let mut labels = labels.clone();
        for (name, value) in more {
            if labels.get(name).is_none() {
                labels.push(name, value);
            }
        }
        if !self.write_relabel_configs.is_empty() {
            if !relabel::apply(&self.write_relabel_configs, &mut labels) || labels.is_empty() {
                return Ok((None, false));
            }
            if !is_metric_name(labels.metric_name()) {
                return Err(Unfit::MetricName);
            }
            if !labels.iter().all(|(name, _)| relabel::is_label_name(name)) {
                return Err(Unfit::LabelName);
            }
        }
        labels.sort();
        self.limits.fitted(&labels)
    }
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`
fn is_metric_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b':';
    name.bytes().next().is_some_and(|b| !b.is_ascii_digit()) && name.bytes().all(allowed)
}
