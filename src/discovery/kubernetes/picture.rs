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
    watches: Vec<Watch>,
    has_news: bool,
}

/// How a watch is doing.
#[derive(Debug)]
struct Watch {
    /// The part that it tells of.
    part: usize,
    failure: Option<Failure>,
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
        Self { parts, watches: Vec::new(), has_news: false }
    }

    /// The number of another watch, of a namespace by its place in their list.
    pub(super) fn add_watch(&mut self, part: usize) -> usize {
        self.watches.push(Watch { part, failure: None });
        self.watches.len() - 1
    }

    /// Whether there is anything to publish.
    pub(super) const fn has_news(&self) -> bool {
        self.has_news
    }

    /// Takes in what a watch tells.
    pub(super) fn take(&mut self, message: Message) {
        let Message { watch, news } = message;
        // Also when it is the same again: each try is counted, and that it works is told now and then.
        let (failure, is_new) = match news {
            News::Failed(failure) => (Some(failure), true),
            News::Works => (None, true),
            News::Change(change) => match self.change(change) {
                (is_new, true) => {
                    self.has_news |= is_new;
                    return;
                }
                (is_new, false) => (None, is_new),
            },
        };
        let Some(watch) = self.watches.get_mut(watch) else { return };
        self.has_news |= is_new || watch.failure.is_some();
        watch.failure = failure;
    }

    /// Returns whether there is something to tell, and whether this is within a list, after which the rest may
    /// fail.
    fn change(&mut self, change: Change) -> (bool, bool) {
        match change {
            Change::Group(at, event) => {
                let (is_end, is_list) = (is_end(&event), is_list(&event));
                let Some(Part::Pods(known)) = self.parts.get_mut(at) else {
                    return (false, is_list);
                };
                (!known.apply(event).is_empty() || is_end, is_list)
            }
            Change::Joined(at, told) => {
                let (is_end, is_list) = match &told {
                    Told::Slice(event) => (is_end(event), is_list(event)),
                    Told::Service(event) => (is_end(event), is_list(event)),
                    Told::Pod(event) => (is_end(event), is_list(event)),
                };
                let Some(Part::Slices(joined)) = self.parts.get_mut(at) else {
                    return (false, is_list);
                };
                (joined.apply(told) || is_end, is_list)
            }
        }
    }

    /// Hands over what is known, or says why nothing is.
    pub(super) fn publish(&mut self, report: &Report) {
        self.has_news = false;
        let failures = self.watches.iter().filter_map(|watch| watch.failure.as_ref());
        let why = failures.map(|failure| failure.why.as_str()).collect::<Vec<_>>().join("; ");
        // With one namespace refused, the others are worth having. While one has not answered nothing can
        // be said: what was found before a reload would end.
        let is_settled = |(at, part): (usize, &Part)| part.is_complete() || self.is_refused(at);
        let is_known = self.parts.iter().any(Part::is_complete)
            && self.parts.iter().enumerate().all(is_settled);
        if !is_known {
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

    /// Whether the API has said no to one of the watches of a part.
    fn is_refused(&self, part: usize) -> bool {
        let mut of_part = self.watches.iter().filter(|watch| watch.part == part);
        of_part.any(|watch| watch.failure.as_ref().is_some_and(|failure| failure.is_final))
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

/// Whether a list is complete: that there is nothing is news, too.
const fn is_end<T>(event: &Event<T>) -> bool {
    matches!(event, Event::Complete)
}

/// Whether a list is not.
const fn is_list<T>(event: &Event<T>) -> bool {
    matches!(event, Event::Begin | Event::Listed(..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kubernetes::known::Key,
        target::{Address, Seed},
    };

    /// One watch for each of the namespaces.
    struct World {
        picture: Picture,
        report: Report,
    }

    impl World {
        fn new(namespaces: usize) -> Self {
            let mut picture = Picture::new(namespaces, false);
            (0..namespaces).for_each(|at| assert_eq!(picture.add_watch(at), at));
            Self { picture, report: Report::new("flink", "a test".to_owned()) }
        }

        fn tell(&mut self, watch: usize, news: News) {
            self.picture.take(Message { watch, news });
        }

        fn change(&mut self, watch: usize, event: Event<Arc<Group>>) {
            self.tell(watch, News::Change(Change::Group(watch, event)));
        }

        fn list(&mut self, watch: usize, addresses: &[&str]) {
            self.change(watch, Event::Begin);
            for address in addresses {
                self.change(watch, Event::Listed(key(address), group_at(address)));
            }
            self.change(watch, Event::Complete);
        }

        fn fail(&mut self, watch: usize, why: &str, is_final: bool) {
            self.tell(watch, News::Failed(Failure { why: why.to_owned(), is_final }));
        }

        /// What is known and why not all of it, after all that was told is handed over.
        #[track_caller]
        fn check(&mut self, found: Option<&[&str]>, failure: Option<&str>) {
            if self.picture.has_news() {
                self.picture.publish(&self.report);
            }
            let known = self.report.groups();
            let known = known.as_ref().map(|groups| {
                groups.iter().map(|group| group.seeds[0].address.to_string()).collect::<Vec<_>>()
            });
            let found = found.map(|found| found.iter().map(|a| (*a).to_owned()).collect());
            assert_eq!((known, self.report.failure().as_deref()), (found, failure));
        }
    }

    fn key(name: &str) -> Key {
        ("ns".into(), name.into())
    }

    fn group_at(address: &str) -> Arc<Group> {
        let seeds = vec![Seed::new(Address::read(address))];
        Arc::new(Group { seeds, ..Group::default() })
    }

    #[test]
    fn nothing_is_told_before_everything_was_listed() {
        let mut world = World::new(2);
        world.list(0, &["a:1"]);
        world.check(None, None);
        world.fail(1, "away", false);
        world.check(None, Some("away"));
        world.list(1, &["b:1"]);
        world.check(Some(&["a:1", "b:1"]), None);
        world.change(0, Event::Gone(key("a:1")));
        world.check(Some(&["b:1"]), None);
    }

    #[test]
    fn that_there_is_nothing_is_told() {
        let mut world = World::new(1);
        world.list(0, &[]);
        world.check(Some(&[]), None);
        world.change(0, Event::Gone(key("never")));
        assert!(!world.picture.has_news(), "what changes nothing is not handed over");
    }

    #[test]
    fn what_is_known_stays_while_the_api_is_away() {
        let mut world = World::new(1);
        world.list(0, &["a:1", "b:1"]);
        world.check(Some(&["a:1", "b:1"]), None);
        world.fail(0, "away", false);
        world.check(Some(&["a:1", "b:1"]), Some("away"));
        world.change(0, Event::Begin);
        world.change(0, Event::Listed(key("b:1"), group_at("b:1")));
        world.check(Some(&["a:1", "b:1"]), Some("away"));
        world.change(0, Event::Complete);
        world.check(Some(&["b:1"]), None);
        // A quiet cluster that works again has nothing to tell but that.
        world.fail(0, "no", true);
        world.check(Some(&["b:1"]), Some("no"));
        world.tell(0, News::Works);
        world.check(Some(&["b:1"]), None);
    }

    #[test]
    fn a_namespace_that_is_refused_does_not_hide_the_others() {
        let mut world = World::new(3);
        world.fail(0, "forbidden", true);
        world.list(1, &["b:1"]);
        world.check(None, Some("forbidden"));
        world.list(2, &["c:1"]);
        world.check(Some(&["b:1", "c:1"]), Some("forbidden"));
        let mut world = World::new(2);
        world.fail(0, "forbidden", true);
        world.fail(1, "forbidden", true);
        world.check(None, Some("forbidden; forbidden"));
    }
}
