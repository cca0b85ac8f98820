//! Endpoint slices, joined with the services and pods they name.
//!
//! The API tells of each kind by itself and in any order, so a slice's targets change when one of the three
//! does. Only slices that name what has changed are made again: in a large cluster pods change all the
//! time, and few of them are behind a service that is scraped.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{
    Found,
    known::{Event, Key, Known},
    object::{EndpointSlice, Pod, Service},
    slice::{self, SERVICE_NAME},
};

/// The slices of one namespace, or of all, with what they name.
#[derive(Clone, Debug)]
pub struct Joined<G> {
    slices: Known<Arc<EndpointSlice>>,
    services: Known<Arc<Service>>,
    pods: Known<Arc<Pod>>,
    /// The targets of each slice as they were made last.
    made: BTreeMap<Key, Arc<G>>,
    changed: Changed,
}

/// What has changed since targets were made last.
#[derive(Clone, Debug, Default)]
struct Changed {
    slices: HashSet<Key>,
    services: HashSet<Key>,
    pods: HashSet<Key>,
}

/// What one of the three watches tells.
#[derive(Clone, Debug)]
pub enum Told {
    /// Of endpoint slices.
    Slice(Event<Arc<EndpointSlice>>),
    /// Of services.
    Service(Event<Arc<Service>>),
    /// Of pods.
    Pod(Event<Arc<Pod>>),
}

impl<G> Default for Joined<G> {
    fn default() -> Self {
        Self {
            slices: Known::default(),
            services: Known::default(),
            pods: Known::default(),
            made: BTreeMap::new(),
            changed: Changed::default(),
        }
    }
}

impl<G: PartialEq> Joined<G> {
    /// Takes an event in. Says whether targets may have changed.
    pub fn apply(&mut self, told: Told) -> bool {
        let (keys, changed) = match told {
            Told::Slice(event) => (self.slices.apply(event), &mut self.changed.slices),
            Told::Service(event) => (self.services.apply(event), &mut self.changed.services),
            Told::Pod(event) => (self.pods.apply(event), &mut self.changed.pods),
        };
        let any = !keys.is_empty();
        changed.extend(keys);
        any
    }

    /// Whether all three were listed.
    pub const fn is_complete(&self) -> bool {
        self.slices.is_complete() && self.services.is_complete() && self.pods.is_complete()
    }

    /// The targets of all slices as they are now, in the form that `form` gives them.
    pub fn make(&mut self, form: impl Fn(Found) -> G) -> impl Iterator<Item = &Arc<G>> {
        let changed = std::mem::take(&mut self.changed);
        self.made.retain(|key, _| self.slices.get(key).is_some());
        let of = |namespace: &str, name: &str| (namespace.into(), name.into());
        for (key, slice) in self.slices.objects() {
            if self.made.contains_key(key) && !changed.concerns(key, slice) {
                continue;
            }
            let services =
                |namespace: &str, name: &str| Some(&**self.services.get(&of(namespace, name))?);
            let pods = |namespace: &str, name: &str| Some(&**self.pods.get(&of(namespace, name))?);
            let found = form(slice::found(slice, &services, &pods));
            if self.made.get(key).is_none_or(|made| **made != found) {
                self.made.insert(key.clone(), Arc::new(found));
            }
        }
        self.made.values()
    }
}

impl Changed {
    /// Whether the slice, or what it names, is among what has changed.
    fn concerns(&self, key: &Key, slice: &EndpointSlice) -> bool {
        let namespace = &slice.metadata.namespace;
        let has = |set: &HashSet<Key>, namespace: &str, name: &str| {
            !set.is_empty() && set.contains(&(namespace.into(), name.into()))
        };
        self.slices.contains(key)
            || slice
                .metadata
                .labels
                .get(SERVICE_NAME)
                .is_some_and(|service| has(&self.services, namespace, service))
            || slice
                .endpoints
                .iter()
                .filter_map(|endpoint| endpoint.target_ref.as_ref())
                .any(|reference| has(&self.pods, &reference.namespace, &reference.name))
    }
}
