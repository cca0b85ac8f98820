//! `flink.metrics`: metrics and groups of the user's own, with the fields of `catalogue.yaml`.
//!
//! Each value is checked by itself first, then the rows together with Flink's. A row that is wrong is
//! left out of the second step, so that what follows from it is not noted too.

use std::{collections::BTreeSet, sync::Arc};

use super::Checker;
use crate::{
    config::{
        raw::{RawMetric, RawMetrics, RawOwnGroup, RawSegment},
        value::{At, Origin, Pairs, Scalar},
    },
    flink::{
        self, Group, Kind,
        catalogue::{Matches, OwnMetrics, Registered, Row, Scope, Segmented, Unit},
        groups::OwnGroup,
        rollup::Function,
    },
    relabel::is_label_name,
};

const KINDS: [(&str, Kind); 4] = [
    ("counter", Kind::Counter),
    ("gauge", Kind::Gauge),
    ("summary", Kind::Summary),
    ("info", Kind::Info),
];
const TYPES: [(&str, Registered); 4] = [
    ("counter", Registered::Counter),
    ("gauge", Registered::Gauge),
    ("meter", Registered::Meter),
    ("histogram", Registered::Histogram),
];
const MATCHES: [(&str, Matches); 2] = [("text", Matches::Text), ("number", Matches::Number)];

/// Where the names of a row stand.
struct Places {
    row: Origin,
    /// As written.
    names: Vec<(String, Origin)>,
}

impl Places {
    /// Where this name stands, or else the row's own.
    fn of(&self, name: Option<&str>) -> Origin {
        let named = self.names.iter().find(|(known, _)| Some(known.as_str()) == name);
        named.or_else(|| self.names.first()).map_or(self.row, |(_, origin)| *origin)
    }
}

impl Checker<'_> {
    /// Flink's metrics, and the user's own.
    pub(super) fn catalogue(&mut self, raw: Option<At<RawMetrics>>) -> Arc<flink::Catalogue> {
        let built_in = flink::catalogue();
        let Some(At { value: raw, .. }) = raw else { return Arc::clone(built_in) };
        let noted = self.findings.len();
        let mut own = OwnMetrics {
            segments: self.segments(raw.segments.as_ref()),
            keys: self.metric_keys(raw.keys.as_ref()),
            ..OwnMetrics::default()
        };
        let mut places = Vec::new();
        let mut seen = BTreeSet::new();
        for At { value: raw, origin } in raw.groups.into_iter().flatten() {
            self.own_group(&raw, origin, &mut seen, &mut own, &mut places);
        }
        // The groups are there whatever is wrong, so that a filter that names them is not wrong too.
        let groups = OwnMetrics { groups: own.groups.clone(), ..OwnMetrics::default() };
        let own = if self.findings.len() > noted { groups.clone() } else { own };
        let catalogue = built_in.with_own(own).or_else(|fault| {
            let place = places.get(fault.row);
            let origin = place.map_or(Origin::Whole, |place| place.of(fault.name.as_deref()));
            self.note(origin, fault.message);
            built_in.with_own(groups)
        });
        Arc::new(catalogue.expect("groups without rows can be added"))
    }

    fn segments(&mut self, raw: Option<&Pairs<At<RawSegment>>>) -> Vec<(String, Segmented)> {
        let mut segments = Vec::new();
        for (name, At { value: raw, .. }) in raw.iter().flat_map(|pairs| &pairs.0) {
            let is_word = |b: u8| b.is_ascii_alphabetic() || b == b'_';
            if name.value.is_empty() || !name.value.bytes().all(is_word) {
                let message =
                    format!("`{}`: expected a name of letters and underscores", name.value);
                self.note(name.origin, message);
            }
            if flink::catalogue().segments().any(|segment| segment.name == name.value) {
                self.note_with_help(
                    name.origin,
                    format!("<{}> is a segment of Flink's own metrics", name.value),
                    "use it as it is, or choose another name",
                );
            }
            let segment = Segmented {
                matches: self.choice(raw.matches.as_ref(), &MATCHES, Matches::Text),
                label: self.label_name(raw.label.as_ref()),
                stays: self.boolean(raw.stays.as_ref(), false),
                about: self.filled(raw.about.as_ref(), "about").unwrap_or_default(),
            };
            if let (Some(label), true) = (&raw.label, segment.stays) {
                let message = "a segment that stays in the name is no label".to_owned();
                self.note(label.origin, message);
            }
            segments.push((name.value.clone(), segment));
        }
        segments
    }

    fn metric_keys(&mut self, raw: Option<&Pairs<Scalar>>) -> Vec<(String, String)> {
        let mut keys = Vec::new();
        for (key, label) in raw.iter().flat_map(|pairs| &pairs.0) {
            if flink::catalogue().keys().any(|(known, _)| known == key.value) {
                let message = format!("`{}` is a key of Flink's own metrics", key.value);
                self.note(key.origin, message);
            }
            let label = self.label_name(Some(label));
            keys.extend(label.map(|label| (key.value.clone(), label)));
        }
        keys
    }

    fn label_name(&mut self, raw: Option<&Scalar>) -> Option<String> {
        let raw = raw?;
        let name = self.text(raw)?;
        if !is_label_name(&name) {
            self.note(raw.origin, super::not_a_label(&name));
            return None;
        }
        Some(name)
    }

    fn own_group(
        &mut self,
        raw: &RawOwnGroup,
        origin: Origin,
        seen: &mut BTreeSet<String>,
        own: &mut OwnMetrics,
        places: &mut Vec<Places>,
    ) {
        let Some(name) = self.needed(raw.group.as_ref(), "group", origin) else { return };
        let named = raw.group.as_ref().map_or(origin, |group| group.origin);
        if !seen.insert(name.clone()) {
            self.note(named, format!("the group `{name}` is given twice"));
            return;
        }
        let about = self.filled(raw.about.as_ref(), "about");
        let built_in = name.parse::<Group>().ok();
        if let (Some(_), Some(about)) = (built_in, &raw.about) {
            let message = format!("`{name}` is built in, and says itself what it is about");
            self.note(about.origin, message);
        }
        let about = about.unwrap_or_else(|| "Metrics of your own.".to_owned());
        let group = match built_in {
            Some(Group::Custom) => {
                self.note_with_help(
                    named,
                    "`custom` holds the metrics that no row describes".to_owned(),
                    "give the group a name of your own",
                );
                return;
            }
            Some(group) => group,
            None => match OwnGroup::try_new(own.groups.len(), &name, &about) {
                Ok(group) => {
                    own.groups.push(group.into());
                    group.into()
                }
                Err(error) => return self.note(named, error.to_string()),
            },
        };
        for At { value: raw, origin } in raw.metrics.iter().flatten() {
            if let Some((row, names)) = self.row(raw, *origin) {
                own.rows.push((group, row));
                places.push(Places { row: *origin, names });
            }
        }
    }

    /// A metric, and where its names stand; nothing when it lacks what it needs.
    fn row(&mut self, raw: &RawMetric, origin: Origin) -> Option<(Row, Vec<(String, Origin)>)> {
        let name = self.needed(raw.name.as_ref(), "name", origin);
        let scopes = self.scopes(raw, origin);
        let registered = self.needed_choice(raw.r#type.as_ref(), "type", &TYPES, origin);
        let unit = self.needed_choice(raw.unit.as_ref(), "unit", Unit::ALL, origin);
        let help = self.needed(raw.help.as_ref(), "help", origin);
        let also: Vec<String> = self.texts(raw.also.as_deref());
        let canonical = self.filled(raw.canonical.as_ref(), "canonical");
        let kind = self.optional_choice(raw.kind.as_ref(), &KINDS);
        if let (Some(at), Some(kind), Some(registered)) = (&raw.kind, kind, registered)
            && (kind == Kind::Summary) != (registered == Registered::Histogram)
        {
            let message = "histograms and nothing else are exported as summaries";
            self.note(at.origin, message.to_owned());
        }
        let places = self.places(raw, &also, canonical.as_deref());
        let row = Row {
            canonical,
            canonical_scope: self.optional_choice(raw.canonical_scope.as_ref(), Scope::ALL),
            former_name: self.boolean(raw.former_name.as_ref(), false),
            kind,
            since: self.parsed(raw.since.as_ref()),
            until: self.parsed(raw.until.as_ref()),
            no_value: self.numbers(raw.no_value.as_deref()),
            rollup: self.functions(raw.rollup.as_deref()),
            derived_from: Vec::new(),
            shared_with: self.group_names(raw.shared_with.as_deref()),
            deprecated: self.boolean(raw.deprecated.as_ref(), false),
            replaced_by: self.filled(raw.replaced_by.as_ref(), "replaced_by"),
            opt_in: self.filled(raw.opt_in.as_ref(), "opt_in"),
            note: self.filled(raw.note.as_ref(), "note"),
            name: name?,
            also,
            scopes: scopes?,
            r#type: registered?,
            unit: unit?,
            help: help?,
        };
        Some((row, places))
    }

    fn places(
        &mut self,
        raw: &RawMetric,
        also: &[String],
        canonical: Option<&str>,
    ) -> Vec<(String, Origin)> {
        let name = raw.name.as_ref().and_then(|name| Some((self.text(name)?, name.origin)));
        let also = also.iter().cloned().zip(raw.also.iter().flatten().map(|name| name.origin));
        let canonical = canonical.map(str::to_owned).zip(raw.canonical.as_ref().map(|c| c.origin));
        name.into_iter().chain(also).chain(canonical).collect()
    }

    fn scopes(&mut self, raw: &RawMetric, origin: Origin) -> Option<Vec<Scope>> {
        let Some(At { value: list, origin }) = &raw.scopes else {
            self.note(origin, "`scopes` is missing".to_owned());
            return None;
        };
        if list.is_empty() {
            self.note(*origin, "a metric has at least one scope".to_owned());
        }
        let mut scopes = Vec::new();
        for raw in list {
            let scope = self.optional_choice(Some(raw), Scope::ALL)?;
            if scopes.contains(&scope) {
                self.note(raw.origin, format!("the scope `{scope}` is given twice"));
            }
            scopes.push(scope);
        }
        Some(scopes)
    }

    /// Nothing where the key is not given: then they follow from type and unit.
    fn functions(&mut self, raw: Option<&[Scalar]>) -> Option<Vec<Function>> {
        let names = Function::ALL.map(|function| (function.as_str(), function));
        let functions = raw?.iter().map(Some);
        Some(functions.filter_map(|raw| self.optional_choice(raw, &names)).collect())
    }

    fn texts(&mut self, raw: Option<&[Scalar]>) -> Vec<String> {
        raw.unwrap_or_default().iter().filter_map(|scalar| self.text(scalar)).collect()
    }

    fn numbers(&mut self, raw: Option<&[Scalar]>) -> Vec<f64> {
        let raw = raw.unwrap_or_default().iter();
        raw.filter_map(|scalar| {
            let text = self.text(scalar)?;
            // As YAML writes them.
            let number = match text.as_str() {
                ".nan" | ".NaN" | ".NAN" => Ok(f64::NAN),
                ".inf" | ".Inf" | ".INF" => Ok(f64::INFINITY),
                "-.inf" | "-.Inf" | "-.INF" => Ok(f64::NEG_INFINITY),
                text => text.parse(),
            };
            number
                .map_err(|_| self.note(scalar.origin, format!("`{text}`: expected a number")))
                .ok()
        })
        .collect()
    }

    fn group_names(&mut self, raw: Option<&[Scalar]>) -> Vec<String> {
        let raw = raw.unwrap_or_default().iter();
        raw.filter_map(|scalar| {
            let name = self.text(scalar)?;
            let known = name.parse::<Group>().map_err(|error| error.to_string());
            known.map_err(|message| self.note(scalar.origin, message)).ok().map(|_| name)
        })
        .collect()
    }

    /// A text that must be there.
    fn needed(&mut self, raw: Option<&Scalar>, key: &str, origin: Origin) -> Option<String> {
        if raw.is_none() {
            self.note(origin, format!("`{key}` is missing"));
        }
        self.filled(raw, key)
    }

    fn needed_choice<T: Copy>(
        &mut self,
        raw: Option<&Scalar>,
        key: &str,
        choices: &[(&str, T)],
        origin: Origin,
    ) -> Option<T> {
        if raw.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
            self.note(origin, format!("`{key}` is missing: one of {}", names.join(", ")));
        }
        self.optional_choice(raw, choices)
    }

    fn optional_choice<T: Copy>(
        &mut self,
        raw: Option<&Scalar>,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let choices: Vec<_> = choices.iter().map(|(name, choice)| (*name, Some(*choice))).collect();
        self.choice(raw, &choices, None)
    }
}
