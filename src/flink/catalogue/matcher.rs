//! From a sample's name to a metric, fast.
//!
//! Names without varying parts stand in a hash table. The forms with them are indexed by the fixed
//! text they end in, in a tree over the bytes of that ending read backwards; a form that ends in a
//! number is filed under the text before it, and names are looked up there without their trailing
//! digits. What the tree offers is then compared in full, longest ending first, and of equal endings
//! longest beginning first.

use hashbrown::HashMap;

use super::{
    CatalogueError, Metric,
    file::{Form, Matches, Part},
};

/// The index over all forms.
#[derive(Debug)]
pub(super) struct Matcher {
    exact: HashMap<Box<str>, Hit>,
    endings: Tree,
    endings_before_number: Tree,
}

/// What a name was found to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// Position of the metric.
    pub(super) metric: u32,
    /// Whether it is the `_count` twin of a summary.
    pub(super) is_count: bool,
}

impl Matcher {
    /// Indexes the forms; `metrics` is what their positions point into, for messages.
    pub(super) fn build(forms: Vec<Form>, metrics: &[Metric]) -> Result<Self, CatalogueError> {
        let mut matcher = Self {
            exact: HashMap::new(),
            endings: Tree::default(),
            endings_before_number: Tree::default(),
        };
        for form in forms {
            let hit = Hit { metric: form.metric, is_count: form.is_count };
            let older = if let [Part::Text(name)] = form.parts.as_slice() {
                matcher.exact.insert(name.as_str().into(), hit).map(|older| older.metric)
            } else {
                matcher.insert(form.clone())
            };
            if let Some(older) = older {
                return Err(claimed(&form, older, metrics));
            }
        }
        Ok(matcher)
    }

    /// Files a form that varies; gives back the metric of an equal form filed before.
    fn insert(&mut self, form: Form) -> Option<u32> {
        let (tree, ending) = match form.parts.as_slice() {
            [.., Part::Text(ending)] => (&mut self.endings, ending.as_str()),
            [.., Part::Text(ending), Part::Free(Matches::Number)] => {
                (&mut self.endings_before_number, ending.as_str())
            }
            // A name that ends in free text has no ending to file it under.
            _ => (&mut self.endings, ""),
        };
        tree.insert(ending.to_owned().as_bytes(), form)
    }

    /// What a sample of this name is.
    pub(super) fn find(&self, name: &str) -> Option<Hit> {
        if let Some(hit) = self.exact.get(name) {
            return Some(*hit);
        }
        let without_number = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let numbered = if without_number.len() < name.len() {
            self.endings_before_number.find(without_number.as_bytes(), name)
        } else {
            None
        };
        numbered.or_else(|| self.endings.find(name.as_bytes(), name))
    }
}

fn claimed(form: &Form, older: u32, metrics: &[Metric]) -> CatalogueError {
    let name = |at: u32| metrics.get(at as usize).map(|m| m.name.clone()).unwrap_or_default();
    let exported = form.parts.iter().map(|part| match part {
        Part::Text(text) => text.as_str(),
        Part::Free(_) => "*",
    });
    CatalogueError::Claimed {
        exported: exported.collect(),
        first: name(older),
        second: name(form.metric),
    }
}

/// Forms by the fixed text they end in.
#[derive(Debug, Default)]
struct Tree {
    /// The forms whose ending is the path to this node, read backwards; longest beginning first.
    forms: Vec<Form>,
    /// The next byte towards the front, and what lies beyond it; a handful at most.
    children: Vec<(u8, Self)>,
}

impl Tree {
    /// Files a form under its ending; gives back the metric of an equal form filed before.
    fn insert(&mut self, ending: &[u8], form: Form) -> Option<u32> {
        let Some((last, front)) = ending.split_last() else {
            let older = self.forms.iter().find(|older| older.parts == form.parts).map(|f| f.metric);
            let at = self.forms.partition_point(|older| older.beginning() >= form.beginning());
            self.forms.insert(at, form);
            return older;
        };
        let at = self.children.iter().position(|(byte, _)| byte == last).unwrap_or_else(|| {
            self.children.push((*last, Self::default()));
            self.children.len() - 1
        });
        let (_, child) = self.children.get_mut(at)?;
        child.insert(front, form)
    }

    /// The form with the longest ending that `name` matches; `path` is the front of `name` that is
    /// still to be walked. The recursion goes no deeper than the longest ending is long.
    fn find(&self, path: &[u8], name: &str) -> Option<Hit> {
        let deeper = path.split_last().and_then(|(last, front)| {
            let (_, child) = self.children.iter().find(|(byte, _)| byte == last)?;
            child.find(front, name)
        });
        deeper.or_else(|| {
            let form = self.forms.iter().find(|form| matches(&form.parts, name))?;
            Some(Hit { metric: form.metric, is_count: form.is_count })
        })
    }
}

/// Whether a text is what the parts describe.
fn matches(parts: &[Part], text: &str) -> bool {
    match parts {
        [] => text.is_empty(),
        [Part::Text(fixed), rest @ ..] => {
            text.strip_prefix(fixed.as_str()).is_some_and(|text| matches(rest, text))
        }
        [Part::Free(Matches::Number), rest @ ..] => {
            // Taking all digits is right: no text that follows a number begins with one.
            let after = text.trim_start_matches(|c: char| c.is_ascii_digit());
            after.len() < text.len() && matches(rest, after)
        }
        [Part::Free(Matches::Text)] => !text.is_empty(),
        // Free text may hold what follows it, so each place where that stands is tried.
        [Part::Free(Matches::Text), Part::Text(fixed), rest @ ..] => text
            .match_indices(fixed.as_str())
            .filter(|(at, _)| *at > 0)
            .any(|(at, _)| text.get(at + fixed.len()..).is_some_and(|text| matches(rest, text))),
        // Two varying parts in a row cannot be told apart; the reader of the file refuses them.
        [Part::Free(Matches::Text), Part::Free(_), ..] => false,
    }
}
