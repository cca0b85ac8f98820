//! Finds rows by their marks, while something is looked for.
//!
//! A table for that costs eight bytes a row. But lines are looked up when they are not where the page before
//! had them, and series when a line is new: on most pages neither is. So the table is made when it is first
//! asked, which costs little beside what a new line costs, and goes with the page: when a relay begins, all its
//! targets are new, and so would have their tables at one time. It stays for a page that comes after another one
//! that asked, as where lines come in another order each time, and goes with the first that did without it.

use hashbrown::HashTable;

use super::rows::{Row, Rows};

/// 96 bits of a hash: what tells lines, or series, from each other. Among a million of them, one of a thousand
/// million new ones has the mark of another with a probability of 10^-14.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark([u32; 3]);

impl Mark {
    pub(super) const ZERO: Self = Self([0; 3]);

    /// The bits of the hash that are kept; the others are 0.
    #[inline]
    pub(super) const fn bits(self) -> u128 {
        let [a, b, c] = self.0;
        (a as u128) | (b as u128) << 32 | (c as u128) << 64
    }

    /// Whether it is that of this hash.
    #[inline]
    pub(super) const fn is(self, hash: u128) -> bool {
        self.bits() == narrow(hash)
    }
}

/// The bits of a hash that a [`Mark`] keeps.
#[inline]
pub(super) const fn narrow(hash: u128) -> u128 {
    hash & (u128::MAX >> 32)
}

impl From<u128> for Mark {
    fn from(hash: u128) -> Self {
        Self([0, 32, 64].map(|shift| (hash >> shift) as u32))
    }
}

/// A row that is found by its mark.
pub(super) trait Marked: Row {
    /// No other row has it.
    fn mark(&self) -> Mark;
}

/// The numbers of rows by their marks, see the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Index {
    table: Option<HashTable<u32>>,
    /// Since the last page ended.
    is_used: bool,
    /// On the page before that.
    was_used: bool,
}

impl Index {
    /// The row with the mark of this hash.
    pub(super) fn find<T: Marked>(&mut self, rows: &Rows<T>, hash: u128) -> Option<u32> {
        self.is_used = true;
        let table = self.table.get_or_insert_with(|| {
            let mut table = HashTable::with_capacity(rows.len());
            for (at, row) in rows.iter() {
                table.insert_unique(row.mark().bits() as u64, at as u32, rehash(rows));
            }
            table
        });
        let same = |&at: &u32| rows.get(at as usize).is_some_and(|row| row.mark().is(hash));
        table.find(hash as u64, same).copied()
    }

    /// A row is new; its mark is not there yet.
    pub(super) fn insert<T: Marked>(&mut self, rows: &Rows<T>, at: u32) {
        if let Some(table) = &mut self.table {
            let hash = rehash(rows);
            table.insert_unique(hash(&at), at, hash);
        }
    }

    /// A row is no more.
    pub(super) fn remove(&mut self, mark: Mark, at: u32) {
        if let Some(table) = &mut self.table
            && let Ok(found) = table.find_entry(mark.bits() as u64, |&found| found == at)
        {
            found.remove();
        }
    }

    /// Keeps some of the rows.
    pub(super) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        if let Some(table) = &mut self.table {
            table.retain(|&mut at| keep(at));
        }
    }

    /// Rows have other numbers, or there are none.
    pub(super) fn forget(&mut self) {
        self.table = None;
    }

    /// A page has ended.
    pub(super) fn end_page<T: Marked>(&mut self, rows: &Rows<T>) {
        let is_used = std::mem::take(&mut self.is_used);
        let was_used = std::mem::replace(&mut self.was_used, is_used);
        if !(is_used && was_used) {
            self.table = None;
        }
        if let Some(table) = &mut self.table
            && table.capacity() > 2 * table.len() + SPARE
        {
            table.shrink_to(0, rehash(rows));
        }
    }
}

/// Room that is not worth giving back.
const SPARE: usize = 64;

fn rehash<T: Marked>(rows: &Rows<T>) -> impl Fn(&u32) -> u64 {
    |&at| rows.get(at as usize).map_or(0, |row| row.mark().bits() as u64)
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_128;

    use super::*;

    impl Row for Mark {
        const VACANT: Self = Self::ZERO;

        fn is_vacant(&self) -> bool {
            *self == Self::VACANT
        }
    }

    impl Marked for Mark {
        fn mark(&self) -> Mark {
            *self
        }
    }

    fn hash(n: u32) -> u128 {
        xxh3_128(&n.to_le_bytes())
    }

    #[test]
    fn a_mark_is_that_of_its_hash_alone() {
        let of = hash(1);
        assert!(Mark::from(of).is(of));
        assert_eq!(Mark::from(of).bits(), narrow(of));
        for bit in 0..128 {
            assert_eq!(Mark::from(of).is(of ^ 1 << bit), bit >= 96, "bit {bit}");
        }
    }

    #[test]
    fn rows_are_found_whenever_the_table_was_made() {
        let (mut index, mut rows) = (Index::default(), Rows::new());
        let mut expect = std::collections::BTreeMap::new();
        for page in 0..40_u32 {
            for n in page * 10..page * 10 + 20 {
                expect.entry(n).or_insert_with(|| {
                    let at = rows.insert(Mark::from(hash(n))) as u32;
                    index.insert(&rows, at);
                    at
                });
            }
            // Two of five pages look nothing up, so that the table goes.
            let looks = page % 5 < 3;
            if looks {
                for n in 0..500 {
                    assert_eq!(index.find(&rows, hash(n)), expect.get(&n).copied(), "{page}: {n}");
                }
                assert!(index.table.is_some());
            }
            let gone = page * 7;
            if let Some(at) = expect.remove(&gone) {
                index.remove(Mark::from(hash(gone)), at);
                rows.remove(at as usize);
            }
            if page % 5 == 0 {
                expect.retain(|n, _| n % 2 == 0);
                let kept: std::collections::BTreeSet<u32> = expect.values().copied().collect();
                index.retain(|at| kept.contains(&at));
                rows.retain(|at, _| kept.contains(&(at as u32)));
            }
            index.end_page(&rows);
            // It stays when it was used twice in a row.
            assert_eq!(index.table.is_some(), matches!(page % 5, 1 | 2), "{page}");
        }
    }
}
