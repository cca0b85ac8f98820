//! The shape of `catalogue.yaml`, and the way from its rows to metrics and the forms of their names.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{CatalogueError, Kind, Metric, Registered, Scope, Segment, Unit, Version};
use crate::flink::{Group, NAME_PREFIX};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    segments: BTreeMap<String, Varying>,
    groups: Vec<Section>,
}

/// What a `<segment>` of a name may be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Varying {
    matches: Matches,
    about: String,
}

/// The texts that a varying part may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Matches {
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
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    #[serde(default)]
    also: Vec<String>,
    scopes: Vec<Scope>,
    r#type: Registered,
    kind: Option<Kind>,
    unit: Unit,
    help: String,
    since: Version,
    until: Option<Version>,
    #[serde(default)]
    no_value: Vec<f64>,
    #[serde(default)]
    shared_with: Vec<String>,
    #[serde(default)]
    deprecated: bool,
    replaced_by: Option<String>,
    opt_in: Option<String>,
    note: Option<String>,
}

/// One exported name of a metric, cut where it varies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Position of the metric.
    pub(super) metric: u32,
    /// The name; the first part is text.
    pub(super) parts: Vec<Part>,
    /// Whether this is the `_count` twin of a summary.
    pub(super) is_count: bool,
}

/// A piece of an exported name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Fixed text, not empty.
    Text(String),
    /// A part that varies.
    Free(Matches),
}

/// What the file says.
pub(super) struct Contents {
    /// By group in the order of [`Group::ALL`].
    pub(super) metrics: Vec<Metric>,
    /// By name.
    pub(super) segments: Vec<Segment>,
    /// Those of all metrics.
    pub(super) forms: Vec<Form>,
}

/// Reads the metrics, the segments and the forms of the metrics' names.
pub(super) fn read(text: &str) -> Result<Contents, CatalogueError> {
    let file: File =
        serde_saphyr::from_str(text).map_err(|e| CatalogueError::Format(Box::new(e)))?;
    let group_of = |s: Section| Ok::<_, CatalogueError>((s.group.parse::<Group>()?, s.metrics));
    let mut sections = file.groups.into_iter().map(group_of).collect::<Result<Vec<_>, _>>()?;
    sections.sort_by_key(|(group, _)| *group);

    let (mut metrics, mut forms) = (Vec::new(), Vec::new());
    for (group, row) in
        sections.into_iter().flat_map(|(g, rows)| rows.into_iter().map(move |r| (g, r)))
    {
        let at =
            u32::try_from(metrics.len()).expect("the catalogue is a file of some thousand lines");
        let (metric, its_forms) = metric(group, row, at, &file.segments)?;
        metrics.push(metric);
        forms.extend(its_forms);
    }
    let segment = |(name, Varying { matches, about })| Segment {
        name,
        is_number: matches == Matches::Number,
        about,
    };
    let segments = file.segments.into_iter().map(segment).collect();
    Ok(Contents { metrics, segments, forms })
}

/// One row, as a metric and the forms of its name.
fn metric(
    group: Group,
    row: Row,
    at: u32,
    segments: &BTreeMap<String, Varying>,
) -> Result<(Metric, Vec<Form>), CatalogueError> {
    let kind = row.kind.unwrap_or_else(|| row.r#type.kind());
    let (mut exported, mut labels, mut forms) = (Vec::new(), Vec::new(), Vec::new());
    for name in std::iter::once(&row.name).chain(&row.also) {
        let spelling = Spelling::parse(name, segments)
            .map_err(|reason| CatalogueError::Name { name: name.clone(), reason })?;
        for scope in &row.scopes {
            let prefix = format!("{NAME_PREFIX}{scope}_");
            exported.push(format!("{prefix}{}", spelling.shown));
            let form = Form { metric: at, parts: spelling.below(prefix), is_count: false };
            if kind == Kind::Summary {
                forms.push(form.count());
            }
            forms.push(form);
        }
        for label in spelling.labels {
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
    }
    let shared_with =
        row.shared_with.iter().map(|group| group.parse()).collect::<Result<_, _>>()?;
    let metric = Metric {
        group,
        shared_with,
        name: row.name,
        exported,
        scopes: row.scopes,
        labels,
        registered: row.r#type,
        kind,
        unit: row.unit,
        help: row.help,
        since: row.since,
        until: row.until,
        no_value: row.no_value,
        deprecated: row.deprecated,
        replaced_by: row.replaced_by,
        opt_in: row.opt_in,
        note: row.note,
    };
    Ok((metric, forms))
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

/// A name in the file's notation, taken apart.
struct Spelling {
    /// As exported, with `<x>` where it varies.
    shown: String,
    /// The same as parts; no two of a kind in a row.
    parts: Vec<Part>,
    /// Keys of key-value groups.
    labels: Vec<String>,
}

impl Spelling {
    fn parse(name: &str, segments: &BTreeMap<String, Varying>) -> Result<Self, String> {
        let mut spelling = Self { shown: String::new(), parts: Vec::new(), labels: Vec::new() };
        let mut rest = name;
        while let Some(first) = rest.chars().next() {
            rest = match first {
                '<' => {
                    let (segment, rest) = enclosed(rest, '>')?;
                    spelling.push_free(segment, segments)?;
                    rest
                }
                '{' => {
                    let (key, rest) = enclosed(rest, '}')?;
                    spelling.labels.push(key.to_owned());
                    spelling.push_text(key)?;
                    rest
                }
                _ => {
                    let end = rest.find(['<', '{']).unwrap_or(rest.len());
                    let (text, rest) = rest.split_at(end);
                    spelling.push_text(text)?;
                    rest
                }
            };
        }
        if spelling.parts.is_empty() { Err("is empty".to_owned()) } else { Ok(spelling) }
    }

    /// Appends fixed text, sanitised as the reporter does (`CHARACTER_FILTER`).
    fn push_text(&mut self, text: &str) -> Result<(), String> {
        let sanitise = |c: char| if c.is_ascii_alphanumeric() || c == ':' { c } else { '_' };
        let text: String = text.chars().map(sanitise).collect();
        self.shown.push_str(&text);
        match self.parts.last_mut() {
            Some(Part::Free(Matches::Number)) if text.starts_with(|c: char| c.is_ascii_digit()) => {
                return Err("a digit after a segment that is a number belongs to either".to_owned());
            }
            Some(Part::Text(last)) => last.push_str(&text),
            _ => self.parts.push(Part::Text(text)),
        }
        Ok(())
    }

    fn push_free(
        &mut self,
        segment: &str,
        segments: &BTreeMap<String, Varying>,
    ) -> Result<(), String> {
        let matches = segments.get(segment).map(|s| s.matches);
        let matches = matches.ok_or_else(|| format!("<{segment}> is not under `segments`"))?;
        if matches!(self.parts.last(), Some(Part::Free(_))) {
            return Err(format!("<{segment}> follows another segment without text between"));
        }
        self.shown.push('<');
        self.shown.push_str(segment);
        self.shown.push('>');
        self.parts.push(Part::Free(matches));
        Ok(())
    }

    /// The parts with `prefix` before them.
    fn below(&self, mut prefix: String) -> Vec<Part> {
        let mut parts = self.parts.iter().cloned().peekable();
        if let Some(Part::Text(text)) = parts.next_if(|part| matches!(part, Part::Text(_))) {
            prefix.push_str(&text);
        }
        std::iter::once(Part::Text(prefix)).chain(parts).collect()
    }
}

/// The word between the bracket that `text` starts with and `close`, and what follows.
fn enclosed(text: &str, close: char) -> Result<(&str, &str), String> {
    let (word, rest) = text
        .get(1..)
        .and_then(|text| text.split_once(close))
        .ok_or_else(|| format!("`{text}` lacks its `{close}`"))?;
    let is_word = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    if is_word { Ok((word, rest)) } else { Err(format!("`{word}` is no name of a segment or key")) }
}
