//! Prometheus' relabelling: rules that keep, drop, rewrite, rename and hash labels.
//!
//! [`Rule::try_new`] checks a rule as it was typed; [`apply`] runs checked rules over a label set. The
//! semantics are those of Prometheus' `model/relabel` with `metric_name_validation_scheme: legacy`:
//! label names match `[a-zA-Z_][a-zA-Z0-9_]*`, for remote write 1.0 allows no others.
//!
//! ```text
//! source_labels --join with separator--> value --regex--> action --> label set, or dropped
//! ```
//!
//! Invariants: a rule never leaves a label with an empty value or a name that is not legal; a dropped
//! set may hold the edits of the rules that ran before, and must not be used.

mod by_name;
mod case;
mod pattern;
mod template;

use std::{borrow::Cow, sync::LazyLock};

use md5::{Digest, Md5};
use regex::{Captures, Regex};

pub use self::by_name::{drops_name, drops_names};
use self::template::Template;
use crate::labels::Labels;

static NAME_TEMPLATE: LazyLock<Regex> = LazyLock::new(|| {
    let word = "[a-zA-Z0-9_]";
    let reference = format!(r"\$(?:\{{{word}+\}}|{word}+)");
    Regex::new(&format!("^(?:[a-zA-Z_]|{reference})(?:{word}|{reference})*$"))
        .expect("a constant that a test compiles")
});

const SEPARATOR: &str = ";";
const REGEX: &str = "(.*)";
const REPLACEMENT: &str = "$1";

/// A rule as it was typed; `None` is a key that was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawRule {
    /// Labels whose values make up the value that the rule looks at.
    pub source_labels: Option<Vec<String>>,
    /// Text between these values, `;` by default.
    pub separator: Option<String>,
    /// Pattern that the whole value (for the label* actions: the name) has to match, `(.*)` by default.
    pub regex: Option<String>,
    /// Divisor of `hashmod`.
    pub modulus: Option<u64>,
    /// Label that is written; a template for `replace`.
    pub target_label: Option<String>,
    /// Template of what is written, `$1` by default.
    pub replacement: Option<String>,
    /// What the rule does, `replace` by default; upper and lower case are the same.
    pub action: Option<String>,
}

/// One checked relabelling rule.
#[derive(Clone, Debug)]
pub struct Rule {
    source_labels: Vec<String>,
    separator: String,
    regex: Regex,
    action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Drop,
    DropEqual { target: String },
    HashMod { target: String, modulus: u64 },
    Keep,
    KeepEqual { target: String },
    LabelDrop,
    LabelKeep,
    LabelMap { replacement: Template },
    Lowercase { target: String },
    Replace { target: Template, replacement: Template },
    Uppercase { target: String },
}

/// Why a rule is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// `action` is no action.
    #[error("unknown relabel action `{0}`, expected one of {names}", names = action_names())]
    Action(String),
    /// A source label's name is not legal.
    #[error("`{0}` is not a valid label name")]
    SourceLabel(String),
    /// `regex` does not compile.
    #[error("`{pattern}` is not a valid regular expression: {reason}")]
    Regex {
        /// The pattern as typed.
        pattern: String,
        /// What is wrong with it, on one line.
        reason: String,
    },
    /// `hashmod` without a modulus, or with 0.
    #[error("relabel action hashmod requires a non-zero `modulus`")]
    Modulus,
    /// An action that writes a label does not say which.
    #[error("relabel action {0} requires a `target_label`")]
    NoTarget(&'static str),
    /// `target_label` is neither a legal name nor a template of one.
    #[error("`{name}` is not a valid `target_label` for relabel action {action}")]
    Target {
        /// The name as typed.
        name: String,
        /// The action.
        action: &'static str,
    },
    /// `replacement` of `labelmap` is neither a legal name nor a template of one.
    #[error("`{0}` is not a valid `replacement` for relabel action labelmap")]
    Replacement(String),
    /// A key that means nothing to the action.
    #[error("relabel action {action} takes no `{field}`, only {takes}")]
    Field {
        /// The action.
        action: &'static str,
        /// The key.
        field: &'static str,
        /// The keys that it takes.
        takes: &'static str,
    },
}

impl RuleError {
    /// The key that is at fault, or that is missing.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Action(_) => "action",
            Self::SourceLabel(_) => "source_labels",
            Self::Regex { .. } => "regex",
            Self::Modulus => "modulus",
            Self::NoTarget(_) | Self::Target { .. } => "target_label",
            Self::Replacement(_) => "replacement",
            Self::Field { field, .. } => field,
        }
    }
}

/// Runs the rules in order; false means that the set is dropped.
///
/// Allocates for what changes, and for a value joined of several source labels.
pub fn apply(rules: &[Rule], labels: &mut Labels<'_>) -> bool {
    // When `labelmap` gives two labels one name, the last in Prometheus' order wins: sorted, and what
    // the rules before it have added behind.
    if rules.iter().any(|rule| matches!(rule.action, Action::LabelMap { .. })) {
        labels.sort();
    }
    rules.iter().all(|rule| rule.apply(labels))
}

/// Whether a name is legal for a label: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_label_name(name: &str) -> bool {
    name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

// === impl Rule ===

impl Rule {
    /// Checks a rule as Prometheus does when it loads its configuration.
    pub fn try_new(raw: RawRule) -> Result<Self, RuleError> {
        let kind = Kind::parse(raw.action.as_deref())?;
        if let Some(name) = raw.source_labels.iter().flatten().find(|name| !is_label_name(name)) {
            return Err(RuleError::SourceLabel(name.clone()));
        }
        let pattern = raw.regex.as_deref().unwrap_or(REGEX);
        let regex = pattern::compile(pattern)
            .map_err(|e| RuleError::Regex { pattern: pattern.to_owned(), reason: reason(&e) })?;
        let action = kind.check(&raw, &regex)?;
        Ok(Self {
            source_labels: raw.source_labels.unwrap_or_default(),
            separator: raw.separator.unwrap_or_else(|| SEPARATOR.to_owned()),
            regex,
            action,
        })
    }

    fn apply(&self, labels: &mut Labels<'_>) -> bool {
        match &self.action {
            Action::Drop => return !self.regex.is_match(&self.value(labels)),
            Action::Keep => return self.regex.is_match(&self.value(labels)),
            Action::DropEqual { target } => {
                return self.value(labels) != labels.get(target).unwrap_or_default();
            }
            Action::KeepEqual { target } => {
                return self.value(labels) == labels.get(target).unwrap_or_default();
            }
            Action::Replace { target, replacement } => self.replace(target, replacement, labels),
            Action::Lowercase { target } => {
                let value = case::lower(&self.value(labels));
                labels.set(target.clone(), value);
            }
            Action::Uppercase { target } => {
                let value = case::upper(&self.value(labels));
                labels.set(target.clone(), value);
            }
            Action::HashMod { target, modulus } => {
                let value = hash(&self.value(labels)) % modulus;
                labels.set(target.clone(), value.to_string());
            }
            Action::LabelMap { replacement } => self.map(replacement, labels),
            Action::LabelDrop => labels.retain(|label| !self.regex.is_match(&label.name)),
            Action::LabelKeep => labels.retain(|label| self.regex.is_match(&label.name)),
        }
        true
    }

    /// The values of the source labels, joined. A label that is missing counts as empty.
    fn value<'l>(&self, labels: &'l Labels<'_>) -> Cow<'l, str> {
        match self.source_labels.as_slice() {
            [] => Cow::Borrowed(""),
            [name] => Cow::Borrowed(labels.get(name).unwrap_or_default()),
            [first, rest @ ..] => {
                let mut joined = labels.get(first).unwrap_or_default().to_owned();
                for name in rest {
                    joined.push_str(&self.separator);
                    joined.push_str(labels.get(name).unwrap_or_default());
                }
                Cow::Owned(joined)
            }
        }
    }

    fn replace(&self, target: &Template, replacement: &Template, labels: &mut Labels<'_>) {
        let value = self.value(labels);
        // A match without its captures costs half; templates that need none are common.
        if let (Some(target), Some(replacement)) = (target.constant(), replacement.constant()) {
            if self.regex.is_match(&value) && is_label_name(target) {
                labels.set(target.to_owned(), replacement.to_owned());
            }
            return;
        }
        let Some(captures) = self.regex.captures(&value) else {
            return;
        };
        let expand = |template: &Template| {
            let mut out = String::new();
            template.expand(&captures, &mut out);
            out
        };
        let (target, replacement) = (expand(target), expand(replacement));
        if is_label_name(&target) {
            labels.set(target, replacement);
        }
    }

    fn map(&self, replacement: &Template, labels: &mut Labels<'_>) {
        let mut copies = Vec::new();
        for (name, value) in labels.iter() {
            if self.regex.is_match(name) {
                let copy = self.regex.replace_all(name, |captures: &Captures<'_>| {
                    let mut out = String::new();
                    replacement.expand(captures, &mut out);
                    out
                });
                copies.push((copy.into_owned(), value.to_owned()));
            }
        }
        for (name, value) in copies {
            // Prometheus would set it and then refuse the whole scrape for it.
            if is_label_name(&name) {
                labels.set(name, value);
            }
        }
    }
}

/// The last 8 bytes of the MD5 sum, big-endian: what Prometheus' `hashmod` divides.
fn hash(value: &str) -> u64 {
    let sum = u128::from_be_bytes(Md5::digest(value.as_bytes()).into());
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    let low = sum as u64;
    low
}

/// Rules are equal when they were written alike.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.source_labels == other.source_labels
            && self.separator == other.separator
            && self.regex.as_str() == other.regex.as_str()
            && self.action == other.action
    }
}

// === impl Kind ===

/// An action before its keys are checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Drop,
    DropEqual,
    HashMod,
    Keep,
    KeepEqual,
    LabelDrop,
    LabelKeep,
    LabelMap,
    Lowercase,
    Replace,
    Uppercase,
}

const KINDS: [(&str, Kind); 11] = [
    ("replace", Kind::Replace),
    ("keep", Kind::Keep),
    ("drop", Kind::Drop),
    ("keepequal", Kind::KeepEqual),
    ("dropequal", Kind::DropEqual),
    ("hashmod", Kind::HashMod),
    ("labelmap", Kind::LabelMap),
    ("labeldrop", Kind::LabelDrop),
    ("labelkeep", Kind::LabelKeep),
    ("lowercase", Kind::Lowercase),
    ("uppercase", Kind::Uppercase),
];

impl Kind {
    fn parse(action: Option<&str>) -> Result<Self, RuleError> {
        let Some(action) = action else {
            return Ok(Self::Replace);
        };
        let lower = action.to_lowercase();
        KINDS
            .iter()
            .find(|(name, _)| *name == lower)
            .map(|(_, kind)| *kind)
            .ok_or_else(|| RuleError::Action(action.to_owned()))
    }

    fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The rules of Prometheus' `Config.Validate`.
    fn check(self, raw: &RawRule, regex: &Regex) -> Result<Action, RuleError> {
        let target_text = raw.target_label.clone().unwrap_or_default();
        let replacement_text = raw.replacement.as_deref().unwrap_or(REPLACEMENT);
        let replacement = || Template::new(replacement_text, regex);
        if self == Self::HashMod && raw.modulus.unwrap_or(0) == 0 {
            return Err(RuleError::Modulus);
        }
        if self.writes_target() {
            if target_text.is_empty() {
                return Err(RuleError::NoTarget(self.name()));
            }
            let template = self == Self::Replace && target_text.contains('$');
            let valid =
                if template { is_name_template(&target_text) } else { is_label_name(&target_text) };
            if !valid {
                return Err(RuleError::Target { name: target_text, action: self.name() });
            }
        }
        self.refuse_fields(raw)?;
        let target = target_text;
        Ok(match self {
            Self::Drop => Action::Drop,
            Self::DropEqual => Action::DropEqual { target },
            Self::HashMod => Action::HashMod { target, modulus: raw.modulus.unwrap_or(1) },
            Self::Keep => Action::Keep,
            Self::KeepEqual => Action::KeepEqual { target },
            Self::LabelDrop => Action::LabelDrop,
            Self::LabelKeep => Action::LabelKeep,
            Self::LabelMap if !is_name_template(replacement_text) => {
                return Err(RuleError::Replacement(replacement_text.to_owned()));
            }
            Self::LabelMap => Action::LabelMap { replacement: replacement() },
            Self::Lowercase => Action::Lowercase { target },
            Self::Replace => Action::Replace {
                target: Template::new(&target, regex),
                replacement: replacement(),
            },
            Self::Uppercase => Action::Uppercase { target },
        })
    }

    const fn writes_target(self) -> bool {
        matches!(
            self,
            Self::Replace
                | Self::HashMod
                | Self::Lowercase
                | Self::Uppercase
                | Self::KeepEqual
                | Self::DropEqual
        )
    }

    /// Refuses keys that the action would ignore, where Prometheus does. A key with its default value
    /// passes, but a `regex` never does for `keepequal` and `dropequal`.
    fn refuse_fields(self, raw: &RawRule) -> Result<(), RuleError> {
        let replacement = raw.replacement.as_deref().is_some_and(|text| text != REPLACEMENT);
        let separator = raw.separator.as_deref().is_some_and(|text| text != SEPARATOR);
        let modulus = raw.modulus.is_some_and(|modulus| modulus != 0);
        let target = raw.target_label.as_deref().is_some_and(|text| !text.is_empty());
        let (takes, refused) = match self {
            Self::KeepEqual | Self::DropEqual => (
                "`source_labels` and `target_label`",
                vec![
                    ("regex", raw.regex.is_some()),
                    ("modulus", modulus),
                    ("separator", separator),
                    ("replacement", replacement),
                ],
            ),
            Self::LabelDrop | Self::LabelKeep => (
                "`regex`",
                vec![
                    ("source_labels", raw.source_labels.is_some()),
                    ("target_label", target),
                    ("modulus", modulus),
                    ("separator", separator),
                    ("replacement", replacement),
                ],
            ),
            Self::Lowercase | Self::Uppercase => (
                "`source_labels`, `separator` and `target_label`",
                vec![("replacement", replacement)],
            ),
            _ => return Ok(()),
        };
        match refused.iter().find(|(_, present)| *present) {
            Some((field, _)) => Err(RuleError::Field { action: self.name(), field, takes }),
            None => Ok(()),
        }
    }
}

/// Whether a template can give a legal label name: legal characters and references alone, the first
/// of them no digit.
fn is_name_template(template: &str) -> bool {
    NAME_TEMPLATE.is_match(template)
}

fn action_names() -> String {
    KINDS.map(|(name, _)| format!("`{name}`")).join(", ")
}

/// What a regex error says, without the drawing over several lines.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}
