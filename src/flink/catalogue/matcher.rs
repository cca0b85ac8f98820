//! From a sample's name to a form of a metric's name, fast.
//!
//! Names without varying parts stand in a hash table. The forms with them are indexed by the fixed
//! text they end in, in a tree over the bytes of that ending read backwards; a form that ends in a
//! number is filed under the text before it, and names are looked up there without their trailing
//! digits. What the tree offers is then compared in full, longest ending first, and of equal endings
//! longest beginning first.

use hashbrown::HashMap;

use super::{
    CatalogueError, Metric,
    file::{Form, Matches},
    naming::VARYING_MAX,
    spelling::Part,
};

/// The index over all forms.
#[derive(Debug)]
pub(super) struct Matcher {
    forms: Vec<Form>,
    exact: HashMap<Box<str>, u32>,
    endings: Tree,
    endings_before_number: Tree,
}

/// The parts of a name that vary, in their order; empty where there are fewer.
pub(super) type Varying<'n> = [&'n str; VARYING_MAX];

impl Matcher {
    /// Indexes the forms; `metrics` is what their positions point into, for messages.
    pub(super) fn build(forms: Vec<Form>, metrics: &[Metric]) -> Result<Self, CatalogueError> {
        let mut matcher = Self {
            forms: Vec::with_capacity(forms.len()),
            exact: HashMap::new(),
            endings: Tree::default(),
            endings_before_number: Tree::default(),
        };
        for form in forms {
            let at = u32::try_from(matcher.forms.len()).expect("some thousand forms");
            let older = if let [Part::Text(name)] = form.parts.as_slice() {
                matcher.exact.insert(name.as_str().into(), at)
            } else {
                matcher.insert(&form, at)
            };
            if let Some(older) = older.and_then(|older| matcher.forms.get(older as usize)) {
                return Err(claimed(&form, older.metric, metrics));
            }
            matcher.forms.push(form);
        }
        Ok(matcher)
    }

    /// Files a form that varies; gives back an equal form filed before.
    fn insert(&mut self, form: &Form, at: u32) -> Option<u32> {
        let (tree, ending) = match form.parts.as_slice() {
            [.., Part::Text(ending)] => (&mut self.endings, ending.as_str()),
            [.., Part::Text(ending), Part::Free(Matches::Number)] => {
                (&mut self.endings_before_number, ending.as_str())
            }
            // A name that ends in free text has no ending to file it under.
            _ => (&mut self.endings, ""),
        };
        tree.insert(ending.as_bytes(), form, at, &self.forms)
    }

    /// The position of the form that a sample's name has, and the parts of it that vary.
    pub(super) fn find<'n>(&self, name: &'n str) -> Option<(u32, Varying<'n>)> {
        let mut varying = [""; VARYING_MAX];
        let found = match self.exact.get(name) {
            Some(at) => Some(*at),
            None => self.find_varying(name, &mut varying),
        };
        Some((found?, varying))
    }

    /// The form at a position that [`Matcher::find`] told.
    pub(super) fn form(&self, at: u32) -> Option<&Form> {
        self.forms.get(at as usize)
    }

    /// The parts of a name that vary, if it has the form at this position.
    pub(super) fn varying<'n>(&self, at: u32, name: &'n str) -> Option<Varying<'n>> {
        let mut varying = [""; VARYING_MAX];
        fits(&self.form(at)?.parts, name, &mut varying).then_some(varying)
    }

    fn find_varying<'n>(&self, name: &'n str, varying: &mut Varying<'n>) -> Option<u32> {
        let without_number = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let numbered = if without_number.len() < name.len() {
            let path = without_number.as_bytes();
            self.endings_before_number.find(path, name, &self.forms, varying)
        } else {
            None
        };
        numbered.or_else(|| self.endings.find(name.as_bytes(), name, &self.forms, varying))
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
    forms: Vec<u32>,
    /// The next byte towards the front, and what lies beyond it; a handful at most.
    children: Vec<(u8, Self)>,
}

impl Tree {
    /// Files a form under its ending; gives back an equal form filed before. `forms` are those that
    /// were filed, by position.
    fn insert(&mut self, ending: &[u8], form: &Form, at: u32, forms: &[Form]) -> Option<u32> {
        let filed = |at: &u32| forms.get(*at as usize);
        let Some((last, front)) = ending.split_last() else {
            let equal = |at: &&u32| filed(at).is_some_and(|older| older.parts == form.parts);
            let older = self.forms.iter().find(equal).copied();
            let longer = |at: &u32| filed(at).is_some_and(|f| f.beginning() >= form.beginning());
            let place = self.forms.partition_point(longer);
            self.forms.insert(place, at);
            return older;
        };
        let child = self.children.iter().position(|(byte, _)| byte == last).unwrap_or_else(|| {
            self.children.push((*last, Self::default()));
            self.children.len() - 1
        });
        let (_, child) = self.children.get_mut(child)?;
        child.insert(front, form, at, forms)
    }

    /// The form with the longest ending that `name` matches; `path` is the front of `name` that is
    /// still to be walked. The recursion goes no deeper than the longest ending is long.
    fn find<'n>(
        &self,
        path: &[u8],
        name: &'n str,
        forms: &[Form],
        varying: &mut Varying<'n>,
    ) -> Option<u32> {
        let deeper = path.split_last().and_then(|(last, front)| {
            let (_, child) = self.children.iter().find(|(byte, _)| byte == last)?;
            child.find(front, name, forms, varying)
        });
        deeper.or_else(|| {
            let parts = |at: &u32| forms.get(*at as usize).map_or(&[][..], |form| &form.parts);
            self.forms.iter().find(|at| fits(parts(at), name, varying)).copied()
        })
    }
}

/// Whether a text is what the parts describe; `varying` takes the parts that vary, in their order.
pub(super) fn fits<'n>(parts: &[Part], text: &'n str, varying: &mut [&'n str]) -> bool {
    match parts {
        [] => text.is_empty(),
        [Part::Text(fixed), rest @ ..] => {
            text.strip_prefix(fixed.as_str()).is_some_and(|text| fits(rest, text, varying))
        }
        [Part::Free(matches), rest @ ..] => {
            let Some((first, varying)) = varying.split_first_mut() else { return false };
            let mut end = |end: usize| {
                let Some((value, behind)) = text.split_at_checked(end) else { return false };
                *first = value;
                end > 0 && fits(rest, behind, varying)
            };
            match (matches, rest.first()) {
                // Taking all digits is right: no text that follows a number begins with one.
                (Matches::Number, _) => {
                    let after = text.trim_start_matches(|c: char| c.is_ascii_digit());
                    end(text.len() - after.len())
                }
                (Matches::Text, None) => end(text.len()),
                // Free text may hold what follows it, so each place where that stands is tried.
                (Matches::Text, Some(Part::Text(fixed))) => {
                    text.match_indices(fixed.as_str()).any(|(at, _)| end(at))
                }
                // Two varying parts in a row cannot be told apart; the reader refuses them.
                (Matches::Text, Some(Part::Free(_))) => false,
            }
        }
    }
}
