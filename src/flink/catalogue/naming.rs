//! What one exported name becomes: the canonical name of its metric, and the labels that hold what
//! left the name.
//!
//! Built once for each exported name of the catalogue; a sample only fills in what varies.

use std::borrow::Cow;

use super::{
    COUNT_SUFFIX,
    file::Matches,
    matcher::Varying,
    spelling::{Part, Piece, Spelling, Staying},
};

/// How many parts of one name may vary.
pub(super) const VARYING_MAX: usize = 4;

/// The canonical name and labels of one exported name.
#[derive(Debug)]
pub(super) struct Naming {
    name: Name,
    labels: Vec<(Box<str>, Source)>,
    renamed: Vec<(Box<str>, Box<str>)>,
    /// What HELP may show as the metric's own name.
    own_names: Vec<Vec<Part>>,
    /// Whether this is a name that the metric no longer goes by.
    pub(super) is_former: bool,
    /// Whether this is a canonical name that Flink itself never exports.
    pub(super) is_relays: bool,
}

/// A canonical name.
#[derive(Debug)]
enum Name {
    /// One for all samples: of the family, and of a summary's count.
    Fixed { family: Box<str>, count: Box<str> },
    /// Made of text and of parts of the sample's name.
    Made(Vec<Source>),
}

/// Where a text comes from.
#[derive(Debug)]
enum Source {
    /// The catalogue.
    Text(Box<str>),
    /// The varying part of this number.
    Varying(usize),
}

/// The canonical name of a metric below its scope, and that scope.
#[derive(Clone, Debug)]
pub(super) struct Canonical {
    /// `flink_<scope>_`
    pub(super) prefix: String,
    /// What follows.
    pub(super) staying: Vec<Staying>,
}

impl Canonical {
    /// The whole name, with `<x>` for a part that varies.
    pub(super) fn shown(&self) -> String {
        let mut name = self.prefix.clone();
        for piece in &self.staying {
            match piece {
                Staying::Text(text) => name.push_str(text),
                Staying::Segment(segment) => name.extend(["<", segment, ">"]),
            }
        }
        name
    }

    /// The whole name as text and varying parts.
    pub(super) fn parts(&self, matches: impl Fn(&str) -> Matches) -> Vec<Part> {
        let mut parts = vec![Part::Text(self.prefix.clone())];
        for piece in &self.staying {
            match (piece, parts.last_mut()) {
                (Staying::Segment(segment), _) => parts.push(Part::Free(matches(segment))),
                (Staying::Text(text), Some(Part::Text(last))) => last.push_str(text),
                (Staying::Text(text), _) => parts.push(Part::Text(text.clone())),
            }
        }
        parts
    }
}

impl Naming {
    /// The naming of an exported name. `key_label` is the label of a key-value group's key in
    /// canonical names, `None` when it keeps its own.
    ///
    /// # Errors
    /// When the canonical name and this one do not have the same segments that stay, or more parts
    /// vary than may.
    pub(super) fn build(
        spelling: &Spelling,
        canonical: &Canonical,
        is_former: bool,
        key_label: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let varying: Vec<_> = spelling.varying().collect();
        if varying.len() > VARYING_MAX {
            return Err(format!("more than {VARYING_MAX} parts vary"));
        }
        for (segment, _) in varying.iter().filter(|(_, label)| label.is_none()) {
            if !canonical.staying.contains(&Staying::Segment((*segment).to_owned())) {
                return Err(format!("<{segment}> is no label, and the canonical name lacks it"));
            }
        }
        let mut labels = Vec::new();
        let mut number = 0;
        for piece in spelling.pieces() {
            match piece {
                Piece::Free { label, .. } => {
                    if let Some(label) = label {
                        labels.push((label.as_str().into(), Source::Varying(number)));
                    }
                    number += 1;
                }
                Piece::Word { label, value, .. } => {
                    labels.push((label.as_str().into(), Source::Text(value.as_str().into())));
                }
                Piece::Key(_) | Piece::Text(_) | Piece::Own(_) => {}
            }
        }
        let renamed = spelling.keys().filter_map(|key| Some((key.into(), key_label(key)?.into())));
        Ok(Self {
            name: Name::build(canonical, &varying)?,
            labels,
            renamed: renamed.collect(),
            own_names: spelling.own_names(),
            is_former,
            is_relays: false,
        })
    }

    /// The naming of a canonical name: it stays as it is. Flink's reporter exports no such name, so HELP
    /// of the reporter's speaks against it.
    pub(super) fn of_canonical(canonical: &Canonical) -> Result<Self, String> {
        let segments = canonical.staying.iter().filter_map(|piece| match piece {
            Staying::Segment(segment) => Some((segment.as_str(), None)),
            Staying::Text(_) => None,
        });
        let segments: Vec<_> = segments.collect();
        Ok(Self {
            name: Name::build(canonical, &segments)?,
            labels: Vec::new(),
            renamed: Vec::new(),
            own_names: Vec::new(),
            is_former: false,
            is_relays: true,
        })
    }

    /// The canonical name of a sample, given the varying parts of its name.
    pub(super) fn name(&self, varying: &[&str], is_count: bool) -> Cow<'_, str> {
        match &self.name {
            Name::Fixed { count, .. } if is_count => Cow::Borrowed(count),
            Name::Fixed { family, .. } => Cow::Borrowed(family),
            Name::Made(sources) => {
                let mut name: String = sources.iter().map(|source| source.text(varying)).collect();
                if is_count {
                    name.push_str(COUNT_SUFFIX);
                }
                Cow::Owned(name)
            }
        }
    }

    /// The labels that hold what left the name, given the varying parts of the sample's name.
    pub(super) fn labels<'s: 'n, 'n>(
        &'s self,
        varying: Varying<'n>,
    ) -> impl Iterator<Item = (&'s str, &'n str)> {
        self.labels.iter().map(move |(label, source)| (&**label, source.text(&varying)))
    }

    /// Labels of the page that have another name in canonical samples: from, to.
    pub(super) fn renamed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.renamed.iter().map(|(key, label)| (&**key, &**label))
    }

    /// Whether HELP may show this as the metric's own name.
    pub(super) fn may_be_called(&self, own_name: &str) -> bool {
        let mut varying = [""; VARYING_MAX];
        self.own_names.iter().any(|parts| super::matcher::fits(parts, own_name, &mut varying))
    }
}

impl Name {
    fn build(canonical: &Canonical, varying: &[(&str, Option<&str>)]) -> Result<Self, String> {
        if canonical.staying.iter().all(|piece| matches!(piece, Staying::Text(_))) {
            let family = canonical.shown();
            let count = format!("{family}{COUNT_SUFFIX}").into();
            return Ok(Self::Fixed { family: family.into(), count });
        }
        let prefix = Source::Text(canonical.prefix.as_str().into());
        let mut sources = vec![prefix];
        for piece in &canonical.staying {
            sources.push(match piece {
                Staying::Text(text) => Source::Text(text.as_str().into()),
                Staying::Segment(segment) => {
                    let number = varying.iter().position(|(name, _)| name == segment);
                    Source::Varying(number.ok_or_else(|| {
                        format!("the canonical name has <{segment}>, which one of the names lacks")
                    })?)
                }
            });
        }
        Ok(Self::Made(sources))
    }
}

impl Source {
    fn text<'s: 'n, 'n>(&'s self, varying: &[&'n str]) -> &'n str {
        match self {
            Self::Text(text) => text,
            Self::Varying(number) => varying.get(*number).copied().unwrap_or_default(),
        }
    }
}
