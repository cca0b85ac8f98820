//! Rows with numbers: the lines and the series of a target, of which a page may have a million.
//!
//! What a [`slab::Slab`] does, in less room. A vacant row is a value of the row's own type, so no row has a tag
//! beside it. Room grows by an eighth, not to the double. And rows can be moved together, for a job that
//! restarts leaves holes: while the page has the lines of both attempts, the new ones stand behind the old ones.
//!
//! Invariants: a row's number holds until it is removed, or moved by [`Rows::pack`], which tells where to; the
//! last row is not vacant; new rows take the vacant places from the lowest on, so rows stay in the order of pages.

use std::mem;

/// What a row may be.
pub(super) trait Row: Sized {
    /// No row.
    const VACANT: Self;

    /// Whether it is no row.
    fn is_vacant(&self) -> bool;
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Rows<T> {
    rows: Vec<T>,
    /// Numbers of vacant rows, the highest first once one is wanted.
    vacant: Vec<u32>,
    is_sorted: bool,
}

/// Where rows have gone, by their numbers before.
#[derive(Debug)]
pub(super) struct Moves(Vec<u32>);

/// Room that is not worth giving back, in rows.
const SPARE: usize = 16;

impl<T: Row> Rows<T> {
    pub(super) const fn new() -> Self {
        Self { rows: Vec::new(), vacant: Vec::new(), is_sorted: true }
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.rows.len() - self.vacant.len()
    }

    /// All numbers are below this one.
    pub(super) const fn end(&self) -> usize {
        self.rows.len()
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.rows.get(at).filter(|row| !row.is_vacant())
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.rows.get_mut(at).filter(|row| !row.is_vacant())
    }

    /// The number of a new row.
    pub(super) fn insert(&mut self, row: T) -> usize {
        debug_assert!(!row.is_vacant(), "a row is something");
        if !self.is_sorted {
            self.vacant.sort_unstable_by(|one, other| other.cmp(one));
            self.is_sorted = true;
        }
        if let Some(at) = self.vacant.pop()
            && let Some(place) = self.rows.get_mut(at as usize)
        {
            *place = row;
            return at as usize;
        }
        if self.rows.len() == self.rows.capacity() {
            self.rows.reserve_exact(SPARE.max(self.rows.len() / 8));
        }
        self.rows.push(row);
        self.rows.len() - 1
    }

    /// Takes a row out.
    pub(super) fn remove(&mut self, at: usize) -> Option<T> {
        let row = mem::replace(self.get_mut(at)?, T::VACANT);
        self.vacant.push(number(at));
        self.is_sorted = false;
        self.cut();
        Some(row)
    }

    /// Keeps some of the rows.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(usize, &mut T) -> bool) {
        for (at, row) in self.rows.iter_mut().enumerate() {
            if !row.is_vacant() && !keep(at, row) {
                *row = T::VACANT;
                self.vacant.push(number(at));
            }
        }
        self.is_sorted = false;
        self.cut();
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.vacant.clear();
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (usize, &T)> {
        self.rows.iter().enumerate().filter(|(_, row)| !row.is_vacant())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.rows.iter_mut().enumerate().filter(|(_, row)| !row.is_vacant())
    }

    /// Gives back room that is more than is needed.
    pub(super) fn shrink(&mut self) {
        let len = self.rows.len();
        if self.rows.capacity() > len + len / 16 + SPARE {
            self.rows.shrink_to_fit();
        }
        if self.vacant.capacity() > 2 * self.vacant.len() + SPARE {
            self.vacant.shrink_to_fit();
        }
    }

    /// Whether so many rows are vacant that it is worth to move the others.
    pub(super) const fn is_sparse(&self) -> bool {
        self.vacant.len() > self.rows.len() / 8 + SPARE
    }

    /// Moves the rows together, in their order.
    pub(super) fn pack(&mut self) -> Moves {
        let mut next = 0;
        let moved = self.rows.iter().map(|row| {
            let to = next;
            next += u32::from(!row.is_vacant());
            if row.is_vacant() { NOWHERE } else { to }
        });
        let moves = Moves(moved.collect());
        self.rows.retain(|row| !row.is_vacant());
        self.vacant = Vec::new();
        self.shrink();
        moves
    }

    /// Lets go of vacant rows at the end.
    fn cut(&mut self) {
        let before = self.rows.len();
        let kept = self.rows.iter().rposition(|row| !row.is_vacant()).map_or(0, |last| last + 1);
        if kept < before {
            self.rows.truncate(kept);
            self.vacant.retain(|&at| (at as usize) < kept);
        }
    }
}

impl Moves {
    /// The number of a row now; of what was no row, a number that none has.
    pub(super) fn of(&self, at: u32) -> u32 {
        self.0.get(at as usize).copied().unwrap_or(NOWHERE)
    }

    /// Numbers before, in the order of those now.
    pub(super) fn origins(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.0).filter(|(_, to)| **to != NOWHERE).map(|(from, _)| from)
    }
}

/// The number of no row.
const NOWHERE: u32 = u32::MAX;

fn number(at: usize) -> u32 {
    u32::try_from(at).expect("a page has less than 2^32 lines: pages are capped")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl Row for u16 {
        const VACANT: Self = 0;

        fn is_vacant(&self) -> bool {
            *self == Self::VACANT
        }
    }

    fn all(rows: &Rows<u16>) -> BTreeMap<usize, u16> {
        rows.iter().map(|(at, row)| (at, *row)).collect()
    }

    proptest! {
        #[test]
        fn rows_are_those_of_a_map(steps in proptest::collection::vec((0..8_u8, 1..40_u16), 0..200)) {
            let mut rows = Rows::new();
            let mut model = BTreeMap::new();
            for (step, value) in steps {
                match step {
                    0 => prop_assert_eq!(rows.remove(value.into()), model.remove(&value.into())),
                    1 => {
                        let keep = |at: usize| !at.is_multiple_of(usize::from(value % 5) + 2);
                        rows.retain(|at, _| keep(at));
                        model.retain(|at, _| keep(*at));
                    }
                    2 => {
                        let moves = rows.pack();
                        let moved: BTreeMap<_, _> =
                            model.iter().map(|(&at, &row)| (moves.of(at as u32) as usize, row)).collect();
                        let origins: Vec<_> = model.keys().map(|&at| at as u32).collect();
                        prop_assert_eq!(moves.origins().collect::<Vec<_>>(), origins);
                        prop_assert!(moved.keys().copied().eq(0..model.len()), "together, in order");
                        model = moved;
                    }
                    _ => {
                        let at = rows.insert(value);
                        prop_assert_eq!(model.insert(at, value), None, "a number is given once");
                    }
                }
                rows.shrink();
                prop_assert_eq!(all(&rows), model.clone());
                prop_assert_eq!(rows.len(), model.len());
                prop_assert_eq!(rows.end(), model.keys().last().map_or(0, |last| last + 1));
                for at in 0..50 {
                    prop_assert_eq!(rows.get(at), model.get(&at));
                }
            }
        }
    }

    #[test]
    fn vacant_places_are_taken_from_the_lowest_on() {
        let mut rows = Rows::new();
        assert_eq!([1, 2, 3, 4, 5, 6].map(|row| rows.insert(row)), [0, 1, 2, 3, 4, 5]);
        rows.retain(|_, row| row.is_multiple_of(3));
        assert_eq!([7, 8, 9, 10, 11].map(|row| rows.insert(row)), [0, 1, 3, 4, 6]);
    }

    #[test]
    fn room_grows_by_an_eighth() {
        let mut rows = Rows::new();
        for row in 0..10_000_u16 {
            rows.insert(row + 1);
            assert!(rows.rows.capacity() <= rows.len() + rows.len() / 8 + SPARE);
        }
    }
}
