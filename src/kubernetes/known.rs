//! What a watch has told so far: the set of its objects, kept through interruptions.
//!
//! ```text
//!            Begin        Listed …        Listing over
//! set:   old --------- old (new beside it) --------- new
//! ```
//!
//! A watch that cannot be resumed lists everything again (the API has forgotten where it was: 410). Until that
//! list is complete the set is the one from before, so that no target goes because of it; a list
//! that breaks off changes nothing. What is equal to before stays the very same value, so that whoever looks
//! for changes compares pointers.

use std::{collections::BTreeMap, mem};

/// Namespace and name of an object.
pub type Key = (Box<str>, Box<str>);

/// What a watch tells, in this order: a list (`Begin`, `Listed` …, `Complete`), then changes.
#[derive(Clone, Debug)]
pub enum Event<T> {
    /// A list begins.
    Begin,
    /// An object of the list.
    Listed(Key, T),
    /// All objects were listed.
    Complete,
    /// An object is new, or has changed.
    Changed(Key, T),
    /// An object is gone.
    Gone(Key),
}

/// The objects of a watch, see the module's documentation.
#[derive(Clone, Debug)]
pub struct Known<T> {
    objects: BTreeMap<Key, T>,
    /// Those of a list that is not complete.
    listed: Option<BTreeMap<Key, T>>,
    /// Whether there was a whole list.
    is_complete: bool,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), listed: None, is_complete: false }
    }
}

impl<T: Clone + PartialEq> Known<T> {
    /// Takes an event in. Tells the keys whose objects are now others than before.
    pub fn apply(&mut self, event: Event<T>) -> Vec<Key> {
        match event {
            Event::Begin => {
                self.listed = Some(BTreeMap::new());
                Vec::new()
            }
            Event::Listed(key, object) => {
                let same = self.objects.get(&key).filter(|known| **known == object).cloned();
                let listed = self.listed.get_or_insert_default();
                listed.insert(key, same.unwrap_or(object));
                Vec::new()
            }
            Event::Complete => self.complete(),
            Event::Changed(key, object) => {
                if self.objects.get(&key) == Some(&object) {
                    return Vec::new();
                }
                self.objects.insert(key.clone(), object);
                vec![key]
            }
            Event::Gone(key) => self.objects.remove(&key).map(|_| key).into_iter().collect(),
        }
    }

    fn complete(&mut self) -> Vec<Key> {
        let listed = self.listed.take().unwrap_or_default();
        let before = mem::replace(&mut self.objects, listed);
        self.is_complete = true;
        let gone = before.keys().filter(|key| !self.objects.contains_key(*key));
        let others = self.objects.iter().filter(|(key, object)| before.get(*key) != Some(*object));
        gone.chain(others.map(|(key, _)| key)).cloned().collect()
    }

    /// Whether all objects were listed at least once: before that, what is missing is not gone.
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&T> {
        self.objects.get(key)
    }

    /// All objects, in the order of their keys.
    pub fn objects(&self) -> impl Iterator<Item = (&Key, &T)> {
        self.objects.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> Key {
        ("ns".into(), name.into())
    }

    fn names(known: &Known<Arc<u32>>) -> Vec<String> {
        let mut names: Vec<_> =
            known.objects().map(|(key, object)| format!("{}={object}", key.1)).collect();
        names.sort();
        names
    }

    /// Plays events and says after each what changed and what is known.
    #[track_caller]
    fn check(known: &mut Known<Arc<u32>>, event: Event<u32>, changed: &[&str], expect: &[&str]) {
        let event = match event {
            Event::Begin => Event::Begin,
            Event::Listed(key, object) => Event::Listed(key, Arc::new(object)),
            Event::Complete => Event::Complete,
            Event::Changed(key, object) => Event::Changed(key, Arc::new(object)),
            Event::Gone(key) => Event::Gone(key),
        };
        let mut told: Vec<_> = known.apply(event).iter().map(|key| key.1.to_string()).collect();
        told.sort();
        assert_eq!(told, changed);
        assert_eq!(names(known), expect);
    }

    #[test]
    fn a_list_replaces_the_set_when_it_is_whole_and_never_before() {
        let known = &mut Known::default();
        check(known, Event::Begin, &[], &[]);
        check(known, Event::Listed(key("a"), 1), &[], &[]);
        check(known, Event::Listed(key("b"), 1), &[], &[]);
        assert!(!known.is_complete());
        check(known, Event::Complete, &["a", "b"], &["a=1", "b=1"]);
        assert!(known.is_complete());
        check(known, Event::Changed(key("c"), 1), &["c"], &["a=1", "b=1", "c=1"]);
        check(known, Event::Changed(key("b"), 2), &["b"], &["a=1", "b=2", "c=1"]);
        check(known, Event::Changed(key("b"), 2), &[], &["a=1", "b=2", "c=1"]);
        check(known, Event::Gone(key("a")), &["a"], &["b=2", "c=1"]);
        check(known, Event::Gone(key("a")), &[], &["b=2", "c=1"]);
        // The watch expired: everything again, and the first try breaks off.
        let same = Arc::clone(known.get(&key("c")).unwrap());
        check(known, Event::Begin, &[], &["b=2", "c=1"]);
        check(known, Event::Listed(key("x"), 9), &[], &["b=2", "c=1"]);
        check(known, Event::Begin, &[], &["b=2", "c=1"]);
        check(known, Event::Listed(key("c"), 1), &[], &["b=2", "c=1"]);
        check(known, Event::Listed(key("d"), 1), &[], &["b=2", "c=1"]);
        check(known, Event::Complete, &["b", "d"], &["c=1", "d=1"]);
        assert!(Arc::ptr_eq(&same, known.get(&key("c")).unwrap()), "what is equal is the same");
    }

    proptest! {
        /// However often a watch lists again, and wherever lists break off: the set is what the last whole
        /// list and the changes since then say, and what is told as changed is the difference.
        #[test]
        fn the_set_is_the_last_list_and_what_came_after(
            steps in prop::collection::vec((0u8..8, 0u8..6, 0u32..3), 0..60),
        ) {
            let mut known = Known::default();
            let mut model: BTreeMap<Key, Arc<u32>> = BTreeMap::new();
            let mut list: BTreeMap<Key, Arc<u32>> = BTreeMap::new();
            for (step, name, value) in steps {
                let before = known.clone();
                let (name, object) = (key(&name.to_string()), Arc::new(value));
                let event = match step {
                    0 => {
                        list.clear();
                        Event::Begin
                    }
                    1..=3 => {
                        list.insert(name.clone(), Arc::clone(&object));
                        Event::Listed(name, object)
                    }
                    4 => {
                        model = mem::take(&mut list);
                        Event::Complete
                    }
                    5 | 6 => {
                        model.insert(name.clone(), Arc::clone(&object));
                        Event::Changed(name, object)
                    }
                    _ => {
                        model.remove(&name);
                        Event::Gone(name)
                    }
                };
                let told = known.apply(event);
                prop_assert_eq!(&known.objects, &model);
                for at in 0..6 {
                    let key = key(&at.to_string());
                    let differs = before.get(&key) != known.get(&key);
                    prop_assert_eq!(told.contains(&key), differs);
                }
            }
        }
    }
}
