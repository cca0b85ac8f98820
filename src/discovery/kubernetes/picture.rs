//! What all watches of an entry have told, put together, and how they are doing.

use std::sync::Arc;

use super::{
    super::{Group, source::Report},
    follow::{Message, News},
    group,
};
use crate::kubernetes::{
    joined::{Joined, Told},
    known::{Event, Known},
};

/// Something about the objects of one of the namespaces, by its place in their list.
#[derive(Debug)]
pub(super) enum Change {
    /// A pod, as the targets that it is.
    Group(usize, Event<Arc<Group>>),
    /// An endpoint slice, or what it names.
    Joined(usize, Told),
}

/// Why a watch cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// In words for people.
    pub(super) why: String,
    /// Whether it is an answer, and will be the same until a person does something.
    pub(super) is_final: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Picture {
    parts: Vec<Part>,
    failures: Vec<Option<Failure>>,
    has_news: bool,
}

/// The objects of a namespace.
#[derive(Debug)]
enum Part {
    Pods(Known<Arc<Group>>),
    Slices(Box<Joined<Group>>),
}

impl Picture {
    /// A picture of so many namespaces, of which nothing is known yet.
    pub(super) fn new(namespaces: usize, of_slices: bool) -> Self {
        let part = |_| match of_slices {
            true => Part::Slices(Box::default()),
            false => Part::Pods(Known::default()),
        };
        let parts = (0..namespaces).map(part).collect();
        Self { parts, failures: Vec::new(), has_news: false }
    }

    /// The number of another watch.
    pub(super) fn add_watch(&mut self) -> usize {
        self.failures.push(None);
        self.failures.len() - 1
    }

    /// Whether there is anything to publish.
    pub(super) const fn has_news(&self) -> bool {
        self.has_news
    }

    /// Takes in what a watch tells.
    pub(super) fn take(&mut self, message: Message) {
        let Message { watch, news } = message;
        let failure = match news {
            News::Failed(failure) => Some(failure),
            News::Works => None,
            News::Change(change) => {
                let (is_new, is_list) = self.change(change);
                self.has_news |= is_new;
                if is_list {
                    return;
                }
                None
            }
        };
        let Some(before) = self.failures.get_mut(watch) else { return };
        // Also when it is the same again: each try is counted, and that it works is told now and then.
        self.has_news = true;
        *before = failure;
    }

    /// Returns whether what is known is another, and whether this is a part of a list, after which the rest may
    /// fail.
    fn change(&mut self, change: Change) -> (bool, bool) {
        let is_part = |event: &Event<_>| matches!(event, Event::Begin | Event::Listed(..));
        match change {
            Change::Group(at, event) => {
                let is_list = is_part(&event);
                let Some(Part::Pods(known)) = self.parts.get_mut(at) else {
                    return (false, is_list);
                };
                (!known.apply(event).is_empty(), is_list)
            }
            Change::Joined(at, told) => {
                let is_list = match &told {
                    Told::Slice(event) => matches!(event, Event::Begin | Event::Listed(..)),
                    Told::Service(event) => matches!(event, Event::Begin | Event::Listed(..)),
                    Told::Pod(event) => matches!(event, Event::Begin | Event::Listed(..)),
                };
                let Some(Part::Slices(joined)) = self.parts.get_mut(at) else {
                    return (false, is_list);
                };
                (joined.apply(told), is_list)
            }
        }
    }

    /// Hands over what is known, or says why nothing is.
    pub(super) fn publish(&mut self, report: &Report) {
        self.has_news = false;
        let failures: Vec<&Failure> = self.failures.iter().flatten().collect();
        let why = failures.iter().map(|failure| failure.why.as_str()).collect::<Vec<_>>();
        let why = why.join("; ");
        let is_complete = self.parts.iter().all(Part::is_complete);
        // With one namespace refused, the others are worth having. With one that does not answer nothing can be
        // said: what was found before a reload would end.
        let is_refused = !failures.is_empty()
            && failures.iter().all(|failure| failure.is_final)
            && self.parts.iter().any(Part::is_complete)
            && self.missing() <= failures.len();
        if !is_complete && !is_refused {
            if !why.is_empty() {
                report.failed(why);
            }
            return;
        }
        let mut groups = Vec::new();
        for part in &mut self.parts {
            part.groups(&mut groups);
        }
        report.found_partly(groups, why);
    }

    fn missing(&self) -> usize {
        self.parts.iter().filter(|part| !part.is_complete()).count()
    }
}

impl Part {
    fn is_complete(&self) -> bool {
        match self {
            Self::Pods(known) => known.is_complete(),
            Self::Slices(joined) => joined.is_complete(),
        }
    }

    fn groups(&mut self, groups: &mut Vec<Arc<Group>>) {
        let has_seeds = |group: &&Arc<Group>| !group.seeds.is_empty();
        match self {
            Self::Pods(known) => {
                groups.extend(known.objects().map(|(_, group)| group).filter(has_seeds).cloned());
            }
            Self::Slices(joined) if joined.is_complete() => {
                groups.extend(joined.make(group).filter(has_seeds).cloned());
            }
            Self::Slices(_) => {}
        }
    }
}
