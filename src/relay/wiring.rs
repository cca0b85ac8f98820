//! Which receivers get which view of the series, and what that means when it changes.
//!
//! Receivers that want to see the same share one [`View`] and so the encoded bytes. After a reload two
//! of them share a view only when they also shared one before, or when one of them is new: a view has at
//! most one origin, so what a scraper has sent under it is the same for all its receivers, and it can
//! tell by itself what must end with a marker.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::outlet::Outlet;
use crate::{
    config::{self, Config},
    scrape::Staged,
    series::{Limits, Origin, View},
};

/// The receivers with their views.
#[derive(Debug)]
pub(super) struct Wiring {
    pub(super) views: Arc<[View]>,
    /// In the order of the config.
    pub(super) outlets: Vec<(Arc<Outlet>, usize)>,
}

impl Wiring {
    /// Connects the config's receivers, whose outlets are given in the same order; `before` is the
    /// present wiring when there is one.
    pub(super) fn new(config: &Config, outlets: Vec<Arc<Outlet>>, before: Option<&Self>) -> Self {
        let wishes = config.receivers.iter().zip(&outlets).map(|(receiver, outlet)| {
            (view(config, receiver), before.and_then(|before| before.view_of(outlet)))
        });
        let (mut views, view_of) = group(wishes);
        if views.is_empty() {
            // Without receivers series are only looked at: all of them, with their metadata.
            views.push(View {
                max_samples_per_send: u32::MAX,
                metadata_interval: Some(Duration::ZERO),
                external_labels: config.external_labels.clone(),
                write_relabel_configs: Vec::new(),
                limits: Limits::default(),
            });
        }
        Self { views: views.into(), outlets: outlets.into_iter().zip(view_of).collect() }
    }

    /// Hands what a scrape has staged to each receiver.
    pub(super) fn append(&self, lane_key: u64, staged: &[Staged], now: Instant) {
        for (outlet, view) in &self.outlets {
            if let Some(staged) = staged.get(*view) {
                outlet.append(lane_key, staged, now);
            }
        }
    }

    /// For each view, where it comes from in an older wiring.
    pub(super) fn origins(&self, before: &Self) -> Vec<Origin> {
        let mut origins = vec![Origin::default(); self.views.len()];
        for (outlet, view) in &self.outlets {
            let Some(origin) = origins.get_mut(*view) else { continue };
            match before.view_of(outlet) {
                Some(from) => origin.view = Some(from),
                None => origin.joined = true,
            }
        }
        origins
    }

    fn view_of(&self, outlet: &Arc<Outlet>) -> Option<usize> {
        let known = self.outlets.iter().find(|(known, _)| Arc::ptr_eq(known, outlet));
        known.map(|(_, view)| *view)
    }
}

/// The distinct views among wishes, each with the view that the receiver had before, and which one
/// each wish got.
fn group(wishes: impl Iterator<Item = (View, Option<usize>)>) -> (Vec<View>, Vec<usize>) {
    let mut groups: Vec<(View, Option<usize>)> = Vec::new();
    let mut group_of = Vec::new();
    for (view, from) in wishes {
        let shares = |(known, origin): &(View, Option<usize>)| {
            *known == view && (origin.is_none() || from.is_none() || *origin == from)
        };
        let at = groups.iter().position(shares).unwrap_or_else(|| {
            groups.push((view, from));
            groups.len() - 1
        });
        if let Some((_, origin)) = groups.get_mut(at) {
            *origin = origin.or(from);
        }
        group_of.push(at);
    }
    (groups.into_iter().map(|(view, _)| view).collect(), group_of)
}

/// What one receiver wants to see.
fn view(config: &Config, receiver: &config::Receiver) -> View {
    let metadata = &receiver.metadata;
    View {
        max_samples_per_send: receiver.queue.max_samples_per_send,
        metadata_interval: metadata.send.then_some(metadata.send_interval),
        external_labels: config.external_labels.clone(),
        write_relabel_configs: receiver.write_relabel_configs.clone(),
        limits: Limits {
            labels: receiver.label_limit,
            name_bytes: receiver.label_name_length_limit,
            value_bytes: receiver.label_value_length_limit,
            // Without a limit nothing is cut, and such a view is one that only adds labels.
            cut_values: receiver.cut_long_values && receiver.label_value_length_limit > 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, Source};

    #[test]
    fn a_view_has_limits_only_where_the_receiver_has_some() {
        let check = |receiver: &str, expected: Limits| {
            let text = format!(
                "scrape_configs: [{{job_name: a, static_configs: [{{targets: ['h:1']}}]}}]\n\
                 remote_write: [{{url: 'http://localhost:1/', {receiver}}}]"
            );
            let source = Source { path: "flinkrelay.yaml".into(), text };
            let config = config::load(Some(&source), &Overrides::default(), &|_| None).unwrap();
            assert_eq!(view(&config, &config.receivers[0]).limits, expected, "{receiver}");
        };
        check("name: r", Limits::default());
        check("label_limit: 30", Limits { labels: 30, ..Limits::default() });
        let cut = Limits { value_bytes: 99, cut_values: true, ..Limits::default() };
        check("label_value_length_limit: 99", cut);
    }

    #[test]
    fn receivers_share_a_view_when_past_and_wish_are_the_same() {
        let view = |cluster: &str| View {
            max_samples_per_send: 1,
            metadata_interval: None,
            external_labels: [("cluster".to_owned(), cluster.to_owned())].into(),
            write_relabel_configs: Vec::new(),
            limits: Limits::default(),
        };
        let check = |wishes: &[(&str, Option<usize>)], expected: &[usize]| {
            let (views, group_of) = group(wishes.iter().map(|(name, from)| (view(name), *from)));
            assert_eq!(group_of, expected, "{wishes:?}");
            for ((wish, _), at) in wishes.iter().zip(group_of) {
                assert_eq!(views[at], view(wish));
            }
        };
        check(&[], &[]);
        check(&[("a", None), ("b", None), ("a", None)], &[0, 1, 0]);
        check(&[("a", Some(0)), ("a", Some(0)), ("b", Some(0))], &[0, 0, 1]);
        // One series may have had two sets of labels before: what ends differs.
        check(&[("a", Some(0)), ("a", Some(1))], &[0, 1]);
        // A new receiver joins, but does not make two pasts one.
        check(&[("a", None), ("a", Some(1)), ("a", Some(0))], &[0, 0, 1]);
        check(&[("a", Some(1)), ("a", None), ("a", Some(1))], &[0, 0, 0]);
    }
}
