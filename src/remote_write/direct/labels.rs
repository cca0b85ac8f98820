//! The labels of a series: which series each part of them is taken from.
//!
//! Best is a series that has all that is left of this one's labels, since a run of copies goes on as long as it
//! comes from one place. Most often that is the one behind the one that the last rest came from, because families of
//! metrics list the same subtasks in the same order.

use super::{
    super::v1::PARTS,
    Direct, Source,
    series::Placed,
    texts::{Kept, common_prefix, common_suffix},
};

impl Direct {
    /// Tells the labels, from `source` as far as they are the same; returns where what follows may go on.
    #[inline]
    pub(super) fn labels(
        &mut self,
        parts: [&[u8]; PARTS],
        new: &Placed,
        mut source: Option<Source>,
    ) -> Option<Source> {
        let mut part = 0;
        while let Some(&bytes) = parts.get(part) {
            let (begin, end, _) = new.part(part);
            let mut equal = 0;
            if let Some(Source { series, offset, same }) = source {
                let same = (same >> part).trailing_ones() as usize;
                if same > 0 {
                    part += same;
                    self.teller.copy(offset, begin, new.part(part).0);
                    continue;
                }
                let (like_begin, like_end, like_number) =
                    self.ring.get(series).map_or((0, 0, 0), |like| like.part(part));
                if begin == end {
                    source = source.filter(|_| like_begin == like_end);
                } else {
                    equal = common_prefix(self.text(like_number), bytes);
                    if equal > 0 {
                        self.teller.copy(offset, begin, begin + equal as u32);
                    }
                }
            }
            if begin < end {
                let found = self.find(part, new);
                if let Some((series, same)) = found {
                    source = self.known_part(part, new, series, same);
                    part += (same >> part).trailing_ones() as usize;
                    continue;
                }
                source = self.new_part(part, bytes, new, (source, equal));
            }
            part += 1;
        }
        source
    }

    /// A series near that has the part, best of all with all parts behind it, and which parts it has.
    #[inline]
    fn find(&self, part: usize, new: &Placed) -> Option<(u32, u32)> {
        const ALL: u32 = (1 << PARTS) - 1;
        let all = ALL >> part;
        let same = |series| self.ring.near(series, new.at).map_or(0, |like| new.same(like));
        let next = self.source + 1;
        let of_next = same(next);
        if of_next >> part == all {
            return Some((next, of_next));
        }
        let of = |number| self.known(number).map_or(0, |known| known.series);
        let (.., number) = new.part(part);
        let this = of(number);
        let of_this = same(this);
        if of_this >> part == all {
            return Some((this, of_this));
        }
        let (last, like) = self.ring.last()?;
        let of_last = new.same(like);
        if (of_this | of_last) >> part & 1 == 0 {
            return None;
        }
        let [.., last_part] = new.numbers;
        let rest = of(last_part);
        let all = [(rest, same(rest)), (this, of_this), (last, of_last)];
        all.into_iter().max_by_key(|(_, same)| (same >> part).trailing_ones())
    }

    /// Tells a part that `series` has, with those that are `same`.
    #[inline]
    fn known_part(&mut self, part: usize, new: &Placed, series: u32, same: u32) -> Option<Source> {
        let like = self.ring.get(series)?;
        // It may have parts ahead too: as many bits as are ones right below this part's.
        let ahead = same.unbounded_shl(u32::BITS - part as u32).leading_ones() as usize;
        let behind = (same >> part).trailing_ones() as usize;
        let (from, ..) = new.part(part - ahead);
        let (end, ..) = new.part(part + behind);
        let offset = end - like.part(part + behind).0;
        self.teller.copy(offset, from, end);
        self.source = series;
        Some(Source { series, offset, same })
    }

    /// Tells a part that no series near has; the source has the first bytes of it.
    fn new_part(
        &mut self,
        part: usize,
        bytes: &[u8],
        new: &Placed,
        (source, mut from): (Option<Source>, usize),
    ) -> Option<Source> {
        let (begin, end, number) = new.part(part);
        let series = source.or_else(|| {
            let (series, like) = self.ring.last()?;
            Some(Source { series, offset: begin - like.part(part).0, same: new.same(like) })
        });
        let mut to = bytes.len();
        let like = series.and_then(|s| Some((s, *self.ring.get(s.series)?)));
        if let Some((Source { offset, .. }, like)) = like {
            let (.., like_number) = like.part(part);
            let known = self.text(like_number);
            if source.is_none() {
                from = common_prefix(known, bytes);
            }
            let rest = bytes.get(from..).unwrap_or_default();
            to -= common_suffix(known.get(from..).unwrap_or_default(), rest);
            self.teller.copy(offset, begin, begin + from as u32);
        }
        let kept = self.known(number).map_or_else(Kept::default, |known| known.kept);
        let Self { teller, texts, .. } = self;
        let kept = texts.tell(teller, begin, bytes, (from, to), kept);
        if let Some(known) = self.known_mut(number) {
            known.kept = kept;
        }
        let (Source { series, same, .. }, like) = like?;
        let (_, like_end, _) = like.part(part);
        let offset = end - like_end;
        self.teller.copy(offset, begin + to as u32, end);
        Some(Source { series, offset, same })
    }
}
