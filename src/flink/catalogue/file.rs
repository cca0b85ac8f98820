//! The shape of `catalogue.yaml`, and the way from its rows to metrics and the forms of their names.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::{
    CatalogueError, Kind, Metric, Registered, Scope, Segment, Unit, Version,
    naming::{Canonical, Naming},
    spelling::{Part, Piece, Spelling},
};
use crate::flink::{Group, NAME_PREFIX, rollup::Function};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    segments: BTreeMap<String, Varying>,
    /// Labels that the keys of key-value groups are in canonical names, where that is not the key.
    #[serde(default)]
    keys: BTreeMap<String, String>,
    groups: Vec<Section>,
}

/// What a `<segment>` of a name may be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Varying {
    pub(crate) matches: Matches,
    /// The label it is in canonical names; its own name where nothing is given.
    pub(crate) label: Option<String>,
    /// Whether it is no dimension and stays in canonical names.
    #[serde(default)]
    pub(crate) stays: bool,
    pub(crate) about: String,
}

impl Varying {
    /// The label that a segment of this name is in canonical names, `None` when it stays in them.
    pub(super) fn label<'s>(&'s self, name: &'s str) -> Option<&'s str> {
        (!self.stays).then(|| self.label.as_deref().unwrap_or(name))
    }
}

/// The texts that a varying part may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Matches {
    /// Anything that a metric name may hold, underscores too, at least one character.
    Text,
    /// Decimal digits, at least one.
    Number,
}

/// A group's metrics.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    group: String,
    metrics: Vec<Row>,
}

/// A metric; the head of the file explains the fields.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) also: Vec<String>,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) canonical: Option<String>,
    pub(crate) canonical_scope: Option<Scope>,
    #[serde(default)]
    pub(crate) former_name: bool,
    pub(crate) r#type: Registered,
    pub(crate) kind: Option<Kind>,
    pub(crate) unit: Unit,
    pub(crate) rollup: Option<Vec<Function>>,
    pub(crate) help: String,
    pub(crate) since: Option<Version>,
    pub(crate) until: Option<Version>,
    #[serde(default)]
    pub(crate) no_value: Vec<f64>,
    #[serde(default)]
    pub(crate) derived_from: Vec<String>,
    #[serde(default)]
    pub(crate) shared_with: Vec<String>,
    #[serde(default)]
    pub(crate) deprecated: bool,
    pub(crate) replaced_by: Option<String>,
    pub(crate) opt_in: Option<String>,
    pub(crate) note: Option<String>,
}

/// One exported name of a metric, cut where it varies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Position of the metric.
    pub(super) metric: u32,
    /// Position of what the name becomes.
    pub(super) naming: u32,
    /// The name; the first part is text.
    pub(super) parts: Vec<Part>,
    /// Whether this is the `_count` twin of a summary.
    pub(super) is_count: bool,
}

/// What the file says.
#[derive(Default)]
pub(super) struct Contents {
    /// See [`Words`].
    pub(super) words: Words,
    /// By group in the order of [`Group::ALL`].
    pub(super) metrics: Vec<Metric>,
    /// By name.
    pub(super) segments: Vec<Segment>,
    /// Those of all metrics.
    pub(super) forms: Vec<Form>,
    /// What the forms point to.
    pub(super) namings: Vec<Naming>,
}

/// What names are made of beside text.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    /// What may vary, by name.
    pub(super) segments: BTreeMap<String, Varying>,
    /// Labels that the keys of key-value groups are in canonical names, where that is not the key.
    pub(super) keys: BTreeMap<String, String>,
}

/// A row that cannot be used: its position among the rows that were given, and why.
pub(super) type Refused = (usize, CatalogueError);

/// Reads the metrics, the segments, the forms of the metrics' names and what these become.
pub(super) fn read(text: &str) -> Result<Contents, CatalogueError> {
    let file: File =
        serde_saphyr::from_str(text).map_err(|e| CatalogueError::Format(Box::new(e)))?;
    let group_of = |s: Section| Ok::<_, CatalogueError>((s.group.parse::<Group>()?, s.metrics));
    let mut sections = file.groups.into_iter().map(group_of).collect::<Result<Vec<_>, _>>()?;
    sections.sort_by_key(|(group, _)| *group);

    let rows = sections.into_iter().flat_map(|(g, rows)| rows.into_iter().map(move |r| (g, r)));
    let words = Words { segments: file.segments, keys: file.keys };
    contents(rows, words).map_err(|(_, error)| error)
}

/// What rows come to, each with its group.
pub(super) fn contents(
    rows: impl Iterator<Item = (Group, Row)>,
    words: Words,
) -> Result<Contents, Refused> {
    let mut drafts = Vec::new();
    for (at, (group, row)) in rows.enumerate() {
        drafts.push(Draft::new(group, row, &words).map_err(|error| (at, error))?);
    }
    take_present_names(&mut drafts)?;

    let mut contents = Contents::default();
    let canonical: Vec<_> = drafts.iter().map(|draft| draft.canonical.clone()).collect();
    for (at, draft) in drafts.into_iter().enumerate() {
        draft.finish(&words, &mut contents).map_err(|error| (at, error))?;
    }
    for (at, canonical) in canonical.iter().enumerate() {
        contents.add_canonical(at, canonical, &words).map_err(|error| (at, error))?;
    }
    let segment = |(name, varying): (&String, &Varying)| Segment {
        label: varying.label(name).map(str::to_owned),
        is_number: varying.matches == Matches::Number,
        about: varying.about.clone(),
        name: name.clone(),
    };
    contents.segments = words.segments.iter().map(segment).collect();
    contents.words = words;
    Ok(contents)
}

impl Contents {
    /// Adds the canonical names of a metric where they are not among its exported ones, so that a page
    /// that the relay itself has written is understood like the one it came from.
    fn add_canonical(
        &mut self,
        at: usize,
        canonical: &[Canonical],
        words: &Words,
    ) -> Result<(), CatalogueError> {
        let Some(metric) = self.metrics.get(at).filter(|metric| !metric.is_former_name) else {
            return Ok(());
        };
        let (name, is_summary) = (metric.name.clone(), metric.kind == Kind::Summary);
        let matches = |segment: &str| {
            words.segments.get(segment).map_or(Matches::Text, |segment| segment.matches)
        };
        for canonical in canonical {
            let parts = canonical.parts(matches);
            if self.forms.iter().any(|form| form.parts == parts) {
                continue;
            }
            let naming = Naming::of_canonical(canonical)
                .map_err(|reason| CatalogueError::Name { name: name.clone(), reason })?;
            let form = Form {
                metric: position(at),
                naming: position(self.namings.len()),
                parts,
                is_count: false,
            };
            self.namings.push(naming);
            if is_summary {
                self.forms.push(form.count());
            }
            self.forms.push(form);
        }
        Ok(())
    }
}

fn position(len: usize) -> u32 {
    u32::try_from(len).expect("the catalogue is a file of some thousand lines")
}

/// A row that was read, before what refers to other rows is known.
struct Draft {
    metric: Metric,
    spellings: Vec<Spelling>,
    /// Parallel to the metric's scopes.
    canonical: Vec<Canonical>,
}

impl Draft {
    fn new(
        group: Group,
        row: Row,
        Words { segments, keys }: &Words,
    ) -> Result<Self, CatalogueError> {
        let spell = |name: &String| {
            Spelling::parse(name, segments)
                .map_err(|reason| CatalogueError::Name { name: name.clone(), reason })
        };
        let first = spell(&row.name)?;
        let name = first.as_in_flink();
        let staying = match &row.canonical {
            Some(canonical) => spell(canonical)?.staying(),
            None => first.staying(),
        };
        let also = row.also.iter().map(spell);
        let spellings =
            std::iter::once(Ok(first)).chain(also).collect::<Result<Vec<Spelling>, _>>()?;
        let prefix = |scope: &Scope| format!("{NAME_PREFIX}{scope}_");
        let names = spellings.iter().map(Spelling::exported);
        let exported = names
            .flat_map(|name| row.scopes.iter().map(prefix).map(move |prefix| prefix + &name))
            .collect();
        let canonical = row.scopes.iter().map(|scope| Canonical {
            prefix: prefix(row.canonical_scope.as_ref().unwrap_or(scope)),
            staying: staying.clone(),
        });
        let canonical = canonical.collect();
        let shared_with =
            row.shared_with.iter().map(|group| group.parse()).collect::<Result<_, _>>()?;
        let kind = row.kind.unwrap_or_else(|| row.r#type.kind());
        let is_subtasks = row.scopes.iter().any(|scope| scope.is_of_subtask());
        let usual = || match is_subtasks {
            true => Function::usual(kind, row.r#type, row.unit).to_vec(),
            false => Vec::new(),
        };
        let metric = Metric {
            rollup: row.rollup.unwrap_or_else(usual),
            group,
            shared_with,
            name,
            exported,
            canonical: Vec::new(),
            labels: distinct(spellings.iter().flat_map(Spelling::keys)),
            canonical_labels: distinct(spellings.iter().flat_map(|s| canonical_labels(s, keys))),
            is_former_name: row.former_name,
            scopes: row.scopes,
            registered: row.r#type,
            kind,
            unit: row.unit,
            help: row.help,
            since: row.since,
            until: row.until,
            no_value: row.no_value,
            derived_from: row.derived_from,
            deprecated: row.deprecated,
            replaced_by: row.replaced_by,
            opt_in: row.opt_in,
            note: row.note,
        };
        Ok(Self { metric, spellings, canonical })
    }

    /// Adds the metric, the forms of its names and what they become.
    fn finish(
        mut self,
        Words { keys, .. }: &Words,
        contents: &mut Contents,
    ) -> Result<(), CatalogueError> {
        let at = position(contents.metrics.len());
        for spelling in &self.spellings {
            for (scope, canonical) in self.metric.scopes.iter().zip(&self.canonical) {
                let naming = position(contents.namings.len());
                let key_label = |key: &str| keys.get(key).cloned();
                let is_former = self.metric.is_former_name;
                let built = Naming::build(spelling, canonical, is_former, key_label);
                contents.namings.push(built.map_err(|reason| CatalogueError::Name {
                    name: self.metric.name.clone(),
                    reason,
                })?);
                let parts = spelling.parts(format!("{NAME_PREFIX}{scope}_"));
                let form = Form { metric: at, naming, parts, is_count: false };
                if self.metric.kind == Kind::Summary {
                    contents.forms.push(form.count());
                }
                contents.forms.push(form);
            }
        }
        self.metric.canonical = distinct(self.canonical.iter().map(Canonical::shown));
        contents.metrics.push(self.metric);
        Ok(())
    }
}

/// Gives each former name the canonical name of the metric that goes by another name now.
fn take_present_names(drafts: &mut [Draft]) -> Result<(), Refused> {
    let mut present = HashMap::new();
    for draft in drafts.iter().filter(|draft| !draft.metric.is_former_name) {
        // The names stand in the order of the spellings, each with all scopes.
        let scopes = draft.metric.scopes.iter().zip(&draft.canonical).cycle();
        for (exported, (scope, canonical)) in draft.metric.exported.iter().zip(scopes) {
            let labels = &draft.metric.canonical_labels;
            present.insert(exported.clone(), (*scope, canonical.clone(), labels.clone()));
        }
    }
    let former = drafts.iter_mut().enumerate().filter(|(_, draft)| draft.metric.is_former_name);
    for (at, draft) in former {
        let name = draft.metric.name.clone();
        let refuse = |reason: &str| {
            (at, CatalogueError::Name { name: name.clone(), reason: reason.to_owned() })
        };
        let heir = draft.metric.replaced_by.as_ref().and_then(|heir| present.get(heir));
        let Some((scope, canonical, labels)) = heir else {
            return Err(refuse("a former name needs the present one in replaced_by"));
        };
        if draft.metric.scopes != [*scope] {
            return Err(refuse("a former name has the scope of the present one, and no other"));
        }
        if draft.metric.canonical_labels != *labels {
            return Err(refuse("a former name has the labels of the present one"));
        }
        draft.canonical = vec![canonical.clone()];
    }
    Ok(())
}

/// The labels of a name in its canonical form beyond those of its scope.
fn canonical_labels<'s>(
    spelling: &'s Spelling,
    keys: &'s BTreeMap<String, String>,
) -> impl Iterator<Item = &'s str> {
    spelling.pieces().iter().filter_map(|piece| match piece {
        Piece::Key(key) => Some(keys.get(key).unwrap_or(key).as_str()),
        Piece::Word { label, .. } => Some(label),
        Piece::Free { label, .. } => label.as_deref(),
        Piece::Text(_) | Piece::Own(_) => None,
    })
}

/// Texts in the order of their first appearance.
fn distinct<T: Into<String>>(texts: impl Iterator<Item = T>) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for text in texts.map(Into::into) {
        if !distinct.contains(&text) {
            distinct.push(text);
        }
    }
    distinct
}

impl Form {
    /// How long the text is that the name begins with.
    pub(super) fn beginning(&self) -> usize {
        match self.parts.first() {
            Some(Part::Text(text)) => text.len(),
            _ => 0,
        }
    }

    /// The form of the summary's `_count` twin.
    fn count(&self) -> Self {
        let mut twin = Self { is_count: true, ..self.clone() };
        match twin.parts.last_mut() {
            Some(Part::Text(text)) => text.push_str(super::COUNT_SUFFIX),
            _ => twin.parts.push(Part::Text(super::COUNT_SUFFIX.to_owned())),
        }
        twin
    }
}
