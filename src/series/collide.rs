//! Telling series apart that normalisation or naming made equal.
//!
//! Dropping `operator_id`, `task_id` or the attempt leaves two lines of a page with the same labels
//! when, say, two operators share a name (Flink cuts names at 80 characters) or two attempts of a
//! subtask run at once. Then the lines that are new on this page get one of the dropped ids back:
//! the first of [`flink::labels::IDS_BY_PRIORITY`] that tells all of them apart, or else every id that
//! differs. Where naming made them equal (a state's name in the metric's name and, for another state
//! backend, in a label), the name on the page counts as the last of these ids. A line that was there before keeps its labels, so no running series changes its identity.
//!
//! Whether two lines collide is known only when the page has ended: a restarted job's new lines take
//! over the series of its old lines, which are gone by then.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128;

use super::{Fate, Line, Made, Tracker, narrow};
use crate::{
    flink::{self, names::PAGE_NAME},
    labels::Labels,
    remote_write::v1,
};

/// Lines of a page that normalisation or naming made equal.
struct Collision {
    /// The series they share.
    series: u32,
    /// All of the page's lines with these labels, in page order, those among them that an earlier
    /// page gave a series of their own.
    members: Vec<u32>,
}

impl Tracker {
    /// Gives each colliding new line of the page a series of its own.
    pub(super) fn tell_apart(&mut self) {
        if self.new_lines.is_empty() {
            return;
        }
        for Collision { series, members } in self.collisions() {
            self.separate(series, &members);
        }
    }

    /// The collisions of this page.
    fn collisions(&self) -> Vec<Collision> {
        let mut first_lines = vec![u32::MAX; self.series.end()];
        let mut collisions = BTreeMap::<u128, Collision>::new();
        for at in self.lines_here() {
            let Some(line) = self.lines.get(at as usize) else { continue };
            let Fate::Series(series) = line.fate() else { continue };
            let Some(first) = first_lines.get_mut(series as usize) else { continue };
            if *first == u32::MAX {
                *first = at;
                continue;
            }
            // Lines that differ before metric_relabel_configs were made equal by the user's rules,
            // and lines without a differing id are equal on the page itself: duplicates.
            let Some(older) = self.lines.get(*first as usize) else { continue };
            let normal = self.normal_of(at);
            if let Some(normal) = normal.filter(|_| normal == self.normal_of(*first))
                && (self.whose_of(older).ids != self.whose_of(line).ids
                    || self.names_differ(older, line))
            {
                let collision = || Collision { series, members: Vec::new() };
                collisions.entry(normal).or_insert_with(collision);
            }
            if older.stands_back() {
                *first = at;
            }
        }
        if !collisions.is_empty() {
            // Lines that an earlier page told apart count too: the ids must differ from theirs.
            for at in self.lines_here() {
                let normal = self.normal_of(at);
                let collision = normal.and_then(|normal| collisions.get_mut(&normal));
                collision.into_iter().for_each(|collision| collision.members.push(at));
            }
        }
        collisions.into_values().collect()
    }

    fn separate(&mut self, series: u32, members: &[u32]) {
        let mut ids: Vec<Labels<'static>> = members.iter().map(|&line| self.ids_of(line)).collect();
        if !self.names_tell_apart(members) {
            ids.iter_mut().for_each(|ids| drop(ids.remove(PAGE_NAME)));
        }
        let names = distinguishing(&ids);
        let mut given = Vec::new();
        for (&member, ids) in members.iter().zip(&ids) {
            let line = self.lines.get(member as usize).map(|line| (line.is_new(), line.fate()));
            let kept: Labels<'_> =
                names.iter().filter_map(|&name| Some((name, ids.get(name)?))).collect();
            // A text that stands twice on the page is here twice; the first time settles it.
            if line != Some((true, Fate::Series(series))) || kept.is_empty() {
                continue;
            }
            let about = self.series.get(series as usize).map(|series| series.about);
            let base = self.series.get(series as usize).map(|series| series.identity.bits());
            let Some((identity, mut blocks)) = self.with_ids(series, kept) else { continue };
            let (Some(about), Some(base)) = (about, base) else { continue };
            // What was kept from a view without the ids is so with them, for the same reason.
            let mut unfit = self.unfit.of(base);
            let shown = self.shaper.fit(&mut blocks, &mut unfit);
            self.remember_unfit(identity, unfit, shown.as_bytes());
            if !self.remade.is_empty() {
                self.remake(identity, &blocks);
            }
            let about = self.abouts.share(about);
            let own = self.find_or_insert_series(identity, &blocks, about);
            let normal = self.normal_of(member);
            if let Some(line) = self.lines.get_mut(member as usize) {
                line.set_fate(Fate::Series(own));
            }
            normal.into_iter().for_each(|normal| self.set_normal(member, normal));
            // A metric that is on the page under two names has two lines for the one series.
            if !given.contains(&own) {
                given.push(own);
                self.tally.ids_kept += 1;
            }
        }
    }

    /// Whether two lines are two metrics that naming made one. A former name is the same metric.
    fn names_differ(&self, one: &Line, other: &Line) -> bool {
        self.extra_of(one).name != self.extra_of(other).name
            && !one.stands_back()
            && !other.stands_back()
    }

    /// Whether some of the lines have the same ids and are of different metrics.
    fn names_tell_apart(&self, members: &[u32]) -> bool {
        let mut names = BTreeMap::new();
        let lines = members.iter().filter_map(|&line| self.lines.get(line as usize));
        let mut present = lines.filter(|line| !line.stands_back());
        present.any(|line| {
            let (ids, name) = (self.whose_of(line).ids, self.extra_of(line).name);
            *names.entry(ids).or_insert(name) != name
        })
    }

    /// The labels that normalisation dropped of a line, and its name on the page if naming changed it.
    pub(super) fn ids_of(&self, line: u32) -> Labels<'static> {
        let Some(line) = self.lines.get(line as usize) else { return Labels::new() };
        let ids = self.texts.get(self.whose_of(line).ids);
        let ids = ids.and_then(|ids| v1::decode_labels(ids).ok());
        let mut ids = ids.map(Labels::into_owned).unwrap_or_default();
        let name = self.texts.get(self.extra_of(line).name).filter(|_| !line.stands_back());
        if let Some(name) = name.and_then(|name| str::from_utf8(name).ok()) {
            ids.push(PAGE_NAME, name.to_owned());
        }
        ids
    }

    /// The series' labels with the ids added, for each view.
    fn with_ids(&self, series: u32, mut ids: Labels<'_>) -> Option<(u128, Made)> {
        ids.sort();
        let identity = self.series.get(series as usize)?.identity.bits();
        Some((identity_with(identity, &ids), blocks_with(&self.blocks.all(series), &ids)))
    }
}

/// What may tell series apart, in the order in which it is tried.
fn ids_by_priority() -> impl Iterator<Item = &'static str> + Clone {
    flink::labels::IDS_BY_PRIORITY.into_iter().chain([PAGE_NAME])
}

/// The identity of a series that got these ids back; they are sorted.
fn identity_with(identity: u128, ids: &Labels<'_>) -> u128 {
    narrow(xxh3_128(&[identity.to_le_bytes(), ids.identity().to_le_bytes()].concat()))
}

fn blocks_with(blocks: &[Option<Box<[u8]>>], ids: &Labels<'_>) -> Made {
    let add = |block: &Option<Box<[u8]>>| {
        let mut labels = v1::decode_labels(block.as_deref()?).ok()?;
        for (name, value) in ids.iter() {
            // A target's own label of that name stays, as it does against a page's labels.
            let taken = labels.get(name).is_some();
            let name = if taken { format!("exported_{name}") } else { name.to_owned() };
            labels.set(name, value.to_owned());
        }
        labels.sort();
        Some(v1::labels_block(&labels))
    };
    blocks.iter().map(add).collect()
}

/// The blocks of the series `own`, which was told apart from `identity` on some earlier page, from the
/// `blocks` that its line has without ids. Which of the line's `ids` it got back is not kept, for it
/// is asked at a change of the configuration only; there are few ways, and the identity tells.
pub(super) fn told_apart(
    own: u128,
    identity: u128,
    blocks: &[Option<Box<[u8]>>],
    ids: &Labels<'_>,
) -> Option<Made> {
    let names: Vec<&str> = ids_by_priority().collect();
    (1_u32..1 << names.len()).find_map(|chosen| {
        let chosen = names.iter().enumerate().filter(|(bit, _)| chosen >> bit & 1 == 1);
        let mut kept: Labels<'_> =
            chosen.filter_map(|(_, &name)| Some((name, ids.get(name)?))).collect();
        kept.sort();
        let found = !kept.is_empty() && identity_with(identity, &kept) == own;
        found.then(|| blocks_with(blocks, &kept))
    })
}

/// Names of the ids to keep, see the module's documentation.
fn distinguishing(ids: &[Labels<'_>]) -> Vec<&'static str> {
    // A line that stands twice on the page is one line here.
    let mut distinct: Vec<&Labels<'_>> = Vec::with_capacity(ids.len());
    for ids in ids {
        if !distinct.contains(&ids) {
            distinct.push(ids);
        }
    }
    let values = |name: &str| {
        let mut values: Vec<&str> =
            distinct.iter().map(|ids| ids.get(name).unwrap_or("")).collect();
        values.sort_unstable();
        values.dedup();
        values.len()
    };
    let names = ids_by_priority();
    match names.clone().find(|name| values(name) == distinct.len()) {
        Some(name) => vec![name],
        None => names.filter(|name| values(name) > 1).collect(),
    }
}
