//! Equal things of a target, each kept once: parts of encoded labels, ids, names, what is known of a family.
//!
//! A thing is named by a number while it has a user, and its room is given to another one when its
//! last user lets go of it: so a job that restarts for weeks leaves nothing behind.

use std::{
    borrow::Borrow,
    hash::{BuildHasher as _, Hash},
    num::NonZeroU32,
};

use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;

/// Things, and with each of them a `Note` that is made anew with it.
#[derive(Debug)]
pub(super) struct Pool<T, Note = ()> {
    things: Slab<Entry<T, Note>>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct Entry<T, Note> {
    users: NonZeroU32,
    note: Note,
    thing: T,
}

/// The number of no thing.
pub(super) const NOTHING: u32 = u32::MAX;

impl<T, Note> Default for Pool<T, Note> {
    fn default() -> Self {
        let hasher = DefaultHashBuilder::default();
        Self { things: Slab::new(), table: HashTable::new(), hasher }
    }
}

impl<T: Hash + Eq, Note: Default> Pool<T, Note> {
    /// The number of the thing, which has one user more now.
    pub(super) fn enter<Q>(&mut self, thing: &Q) -> u32
    where
        Q: ToOwned + Hash + Eq + ?Sized,
        T: Borrow<Q> + From<Q::Owned>,
    {
        self.enter_new(thing).0
    }

    /// The same, and whether it has no other user.
    pub(super) fn enter_new<Q>(&mut self, thing: &Q) -> (u32, bool)
    where
        Q: ToOwned + Hash + Eq + ?Sized,
        T: Borrow<Q> + From<Q::Owned>,
    {
        let Self { things, table, hasher } = self;
        let hash = hasher.hash_one(thing);
        let same =
            |&at: &u32| things.get(at as usize).is_some_and(|entry| entry.thing.borrow() == thing);
        if let Some(&at) = table.find(hash, same) {
            if let Some(entry) = things.get_mut(at as usize) {
                entry.users = entry.users.saturating_add(1);
            }
            return (at, false);
        }
        let thing = thing.to_owned().into();
        let entry = Entry { users: NonZeroU32::MIN, note: Note::default(), thing };
        let at = u32::try_from(things.insert(entry)).expect("fewer than the series of a page");
        let rehash = |&at: &u32| things.get(at as usize).map_or(0, |e| hasher.hash_one(&e.thing));
        table.insert_unique(hash, at, rehash);
        (at, true)
    }

    /// One more user of a thing that has some; of [`NOTHING`] nothing comes.
    pub(super) fn share(&mut self, at: u32) -> u32 {
        if let Some(entry) = self.things.get_mut(at as usize) {
            entry.users = entry.users.saturating_add(1);
        }
        at
    }

    /// A user of the thing is no more; the thing, when that was its last one. Of [`NOTHING`] nothing comes.
    pub(super) fn leave(&mut self, at: u32) -> Option<T> {
        let entry = self.things.get_mut(at as usize)?;
        if let Some(users) = NonZeroU32::new(entry.users.get() - 1) {
            entry.users = users;
            return None;
        }
        let Entry { thing, .. } = self.things.remove(at as usize);
        if let Ok(found) = self.table.find_entry(self.hasher.hash_one(&thing), |&l| l == at) {
            found.remove();
        }
        Some(thing)
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.things.get(at as usize).map(|entry| &entry.thing)
    }

    /// All things.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.things.iter().map(|(_, entry)| &entry.thing)
    }

    pub(super) fn note(&self, at: u32) -> Option<&Note> {
        self.things.get(at as usize).map(|entry| &entry.note)
    }

    /// All things with their notes, in no particular order.
    pub(super) fn notes_mut(&mut self) -> impl Iterator<Item = (&T, &mut Note)> {
        self.things.iter_mut().map(|(_, Entry { note, thing, .. })| (&*thing, note))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.things.len()
    }

    /// Gives back room that is far more than is needed.
    pub(super) fn shrink(&mut self) {
        let Self { things, table, hasher } = self;
        if things.capacity() > things.len() + things.len() / 16 + SPARE {
            things.shrink_to_fit();
        }
        if table.capacity() > 2 * things.len() + SPARE {
            let hash = |&at: &u32| things.get(at as usize).map_or(0, |e| hasher.hash_one(&e.thing));
            table.shrink_to(0, hash);
        }
    }
}

/// Room that is not worth giving back.
const SPARE: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_thing_stays_as_long_as_it_has_users(steps in proptest::collection::vec((0..6_u8, any::<bool>()), 0..60)) {
            let mut pool: Pool<Box<[u8]>> = Pool::default();
            // Each user's thing and the number that it was given.
            let mut users: Vec<(u8, u32)> = Vec::new();
            for (thing, enters) in steps {
                if enters || users.is_empty() {
                    let is_new = users.iter().all(|(other, _)| *other != thing);
                    let (at, entered) = pool.enter_new(&[thing][..]);
                    prop_assert_eq!(entered, is_new);
                    users.push((thing, at));
                } else {
                    let (thing, at) = users.swap_remove(usize::from(thing) % users.len());
                    let is_last = users.iter().all(|(other, _)| *other != thing);
                    prop_assert_eq!(pool.leave(at), is_last.then(|| Box::from([thing])));
                }
                for (thing, at) in &users {
                    prop_assert_eq!(pool.get(*at).map(|thing| &thing[..]), Some(&[*thing][..]));
                }
                let distinct: std::collections::BTreeSet<_> = users.iter().collect();
                prop_assert_eq!(pool.len(), distinct.len(), "a thing has one number");
                prop_assert_eq!(pool.table.len(), distinct.len(), "the table forgets it too");
                pool.shrink();
            }
        }
    }
}
