//! Equal things of a target, each kept once: parts of encoded labels, ids, names, what is known of a family.
//!
//! A thing is named by a number while it has a user, and its room is given to another one when its
//! last user lets go of it: so a job that restarts for weeks leaves nothing behind.

use std::hash::{BuildHasher as _, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;

/// Things, and with each of them a `Note` that is made anew with it.
#[derive(Debug)]
pub(super) struct Pool<T: ?Sized, Note = ()> {
    things: Slab<Entry<T, Note>>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct Entry<T: ?Sized, Note> {
    users: u32,
    note: Note,
    thing: Box<T>,
}

/// The number of no thing.
pub(super) const NOTHING: u32 = u32::MAX;

impl<T: ?Sized, Note> Default for Pool<T, Note> {
    fn default() -> Self {
        let hasher = DefaultHashBuilder::default();
        Self { things: Slab::new(), table: HashTable::new(), hasher }
    }
}

impl<T, Note> Pool<T, Note>
where
    T: ToOwned + Hash + Eq + ?Sized,
    Box<T>: From<T::Owned>,
    Note: Default,
{
    /// The number of the thing, which has one user more now.
    pub(super) fn enter(&mut self, thing: &T) -> u32 {
        let Self { things, table, hasher } = self;
        let hash = hasher.hash_one(thing);
        let same = |&at: &u32| things.get(at as usize).is_some_and(|entry| *entry.thing == *thing);
        if let Some(&at) = table.find(hash, same) {
            if let Some(entry) = things.get_mut(at as usize) {
                entry.users += 1;
            }
            return at;
        }
        let entry = Entry { users: 1, note: Note::default(), thing: thing.to_owned().into() };
        let at = u32::try_from(things.insert(entry)).expect("fewer than the series of a page");
        let rehash = |&at: &u32| things.get(at as usize).map_or(0, |e| hasher.hash_one(&*e.thing));
        table.insert_unique(hash, at, rehash);
        at
    }

    /// One more user of a thing that has some; of [`NOTHING`] nothing comes.
    pub(super) fn share(&mut self, at: u32) -> u32 {
        if let Some(entry) = self.things.get_mut(at as usize) {
            entry.users += 1;
        }
        at
    }

    /// A user of the thing is no more; of [`NOTHING`] nothing comes.
    pub(super) fn leave(&mut self, at: u32) {
        let Some(entry) = self.things.get_mut(at as usize) else { return };
        entry.users -= 1;
        if entry.users == 0 {
            let Entry { thing, .. } = self.things.remove(at as usize);
            if let Ok(found) = self.table.find_entry(self.hasher.hash_one(&*thing), |&l| l == at) {
                found.remove();
            }
        }
    }

    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.things.get(at as usize).map(|entry| &*entry.thing)
    }

    pub(super) fn note(&self, at: u32) -> Option<&Note> {
        self.things.get(at as usize).map(|entry| &entry.note)
    }

    /// All things with their notes, in no particular order.
    pub(super) fn notes_mut(&mut self) -> impl Iterator<Item = (&T, &mut Note)> {
        self.things.iter_mut().map(|(_, Entry { note, thing, .. })| (&**thing, note))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.things.len()
    }

    /// Gives back room that is far more than is needed.
    pub(super) fn shrink(&mut self) {
        let Self { things, table, hasher } = self;
        if things.capacity() > 2 * things.len() + SPARE {
            things.shrink_to_fit();
        }
        if table.capacity() > 4 * things.len() + SPARE {
            let hash =
                |&at: &u32| things.get(at as usize).map_or(0, |e| hasher.hash_one(&*e.thing));
            table.shrink_to(0, hash);
        }
    }
}

/// Room that is not worth giving back.
const SPARE: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_thing_stays_as_long_as_it_has_users(steps in proptest::collection::vec((0..6_u8, any::<bool>()), 0..60)) {
            let mut pool: Pool<[u8]> = Pool::default();
            // Each user's thing and the number that it was given.
            let mut users: Vec<(u8, u32)> = Vec::new();
            for (thing, enters) in steps {
                if enters || users.is_empty() {
                    users.push((thing, pool.enter(&[thing])));
                } else {
                    let (_, at) = users.swap_remove(usize::from(thing) % users.len());
                    pool.leave(at);
                }
                for (thing, at) in &users {
                    prop_assert_eq!(pool.get(*at), Some(&[*thing][..]));
                }
                let distinct: std::collections::BTreeSet<_> = users.iter().collect();
                prop_assert_eq!(pool.len(), distinct.len(), "a thing has one number");
                prop_assert_eq!(pool.table.len(), distinct.len(), "the table forgets it too");
                pool.shrink();
            }
        }
    }
}
