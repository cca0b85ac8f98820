//! Relabelling rules.

use regex::Regex;

use super::Checker;
use crate::{
    config::{
        raw::RawRelabel,
        value::{At, Origin, Scalar},
    },
    relabel::{RawRule, Rule},
};

impl Checker<'_> {
    pub(super) fn rules(&mut self, raw: Option<&Vec<At<RawRelabel>>>) -> Vec<Rule> {
        raw.into_iter().flatten().filter_map(|raw| self.rule(raw)).collect()
    }

    fn rule(&mut self, at: &At<RawRelabel>) -> Option<Rule> {
        let raw = &at.value;
        let noted = self.findings.len();
        // A key that is given without a value is empty, not its default: so does Prometheus.
        let nullable = |checker: &mut Self, key: &Option<Option<Scalar>>| match key {
            Some(Some(scalar)) => checker.text(scalar),
            Some(None) => Some(String::new()),
            None => None,
        };
        let regex = nullable(self, &raw.regex);
        let separator = nullable(self, &raw.separator);
        // In templates `${name}` may be a group of the pattern, which a variable must not shadow;
        // and what a variable holds is text, not a template.
        let names = group_names(regex.as_deref().unwrap_or_default());
        let is_group = |name: &str| names.iter().any(|group| group == name);
        let quote = |value: String| value.replace('$', "$$");
        let replacement = match &raw.replacement {
            Some(Some(scalar)) => self.template(scalar, &is_group, &quote),
            Some(None) => Some(String::new()),
            None => None,
        };
        let target_label =
            raw.target_label.as_ref().and_then(|scalar| self.template(scalar, &is_group, &quote));
        let source_labels = raw
            .source_labels
            .as_ref()
            .map(|list| list.value.iter().filter_map(|scalar| self.text(scalar)).collect());
        let modulus =
            raw.modulus.as_ref().map(|_| self.number(raw.modulus.as_ref(), 0..=u64::MAX, 0));
        let action = raw.action.as_ref().and_then(|scalar| self.text(scalar));
        if self.findings.len() > noted {
            return None;
        }
        let rule =
            RawRule { source_labels, separator, regex, modulus, target_label, replacement, action };
        Rule::try_new(rule)
            .map_err(|error| self.note(field_origin(at, error.field()), error.to_string()))
            .ok()
    }
}

/// Where a key of the rule stands, or the rule when the key is missing.
fn field_origin(at: &At<RawRelabel>, field: &str) -> Origin {
    let raw = &at.value;
    let scalar = |scalar: &Option<Scalar>| scalar.as_ref().map(|at| at.origin);
    let nullable = |key: &Option<Option<Scalar>>| key.as_ref().and_then(&scalar);
    match field {
        "source_labels" => raw.source_labels.as_ref().map(|at| at.origin),
        "separator" => nullable(&raw.separator),
        "regex" => nullable(&raw.regex),
        "modulus" => scalar(&raw.modulus),
        "target_label" => scalar(&raw.target_label),
        "replacement" => nullable(&raw.replacement),
        "action" => scalar(&raw.action),
        _ => None,
    }
    .unwrap_or(at.origin)
}

/// The named groups of a pattern, none when it does not compile.
fn group_names(pattern: &str) -> Vec<String> {
    if !pattern.contains("(?") {
        return Vec::new();
    }
    let regex = Regex::new(pattern);
    regex.iter().flat_map(Regex::capture_names).flatten().map(str::to_owned).collect()
}
