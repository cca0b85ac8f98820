//! Lists of targets as Prometheus reads them from files and over HTTP.
//!
//! ```text
//! [ { "targets": ["10.0.0.7:9249", "10.0.0.8:9250-9260"], "labels": { "team": "streaming" } }, … ]
//! ```
//!
//! The same in JSON and in YAML. Unknown keys are errors, as there; so is a group that is null, and in
//! JSON a label's value that is no string. A range of ports and a URL can stand for a target as in
//! `static_configs`, which Prometheus does not know; anything else is left to `relabel_configs`.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use super::Group;
use crate::{
    labels::Labels,
    relabel::is_label_name,
    target::{Address, Seed},
};

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON, RFC 8259.
    Json,
    /// YAML 1.2, of one document.
    Yaml,
}

/// A list that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ListError {
    /// Line and column from 1; `None` when it is about the whole.
    pub place: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
}

/// `LINE:COLUMN: MESSAGE`, for behind a path and a colon.
impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{line}:{column}: {}", self.message),
            None => write!(f, " {}", self.message),
        }
    }
}

/// Reads a list. An empty YAML file is an empty list, an empty JSON file is a fault.
///
/// # Errors
/// What is wrong, and where.
pub fn read(text: &str, format: Format) -> Result<Vec<Group>, ListError> {
    let groups: Vec<RawGroup> = match format {
        Format::Json => serde_json::from_str(text).map_err(|error| {
            let message = error.to_string();
            // The place is told apart from the words.
            let end = message.rfind(" at line ").unwrap_or(message.len());
            ListError {
                place: (error.line() > 0).then(|| (error.line(), error.column())),
                message: message.get(..end).unwrap_or_default().to_owned(),
            }
        })?,
        Format::Yaml if is_blank(text) => Vec::new(),
        Format::Yaml => {
            let options = serde_saphyr::options! { with_snippet: false };
            serde_saphyr::from_str_with_options(text, options)
                .map_err(|error| yaml_error(&error))?
        }
    };
    Ok(groups.into_iter().map(Group::from).collect())
}

fn is_blank(text: &str) -> bool {
    let blank = |line: &str| line.is_empty() || line.starts_with('#') || line == "---";
    text.trim_start_matches('\u{feff}').lines().all(|line| blank(line.trim()))
}

fn yaml_error(error: &serde_saphyr::Error) -> ListError {
    use serde_saphyr::{MessageFormatter as _, UserMessageFormatter};
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let place = error.location().map(|at| (size(at.line()), size(at.column())));
    ListError {
        place: place.filter(|(line, _)| *line > 0),
        message: UserMessageFormatter.format_message(error).into_owned(),
    }
}

/// A group as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a group: a map with `targets` and `labels`")]
struct RawGroup {
    #[serde(default)]
    targets: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<RawLabels>,
}

#[derive(Debug, Default)]
struct RawLabels(Labels<'static>);

impl<'de> Deserialize<'de> for RawLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelsVisitor;

        impl<'de> Visitor<'de> for LabelsVisitor {
            type Value = RawLabels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of label names to texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = Labels::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if !is_label_name(&name) {
                        return Err(A::Error::custom(format!("`{name}` is not a label name")));
                    }
                    labels.set(name, value);
                }
                Ok(RawLabels(labels))
            }
        }

        deserializer.deserialize_map(LabelsVisitor)
    }
}

impl From<RawGroup> for Group {
    fn from(raw: RawGroup) -> Self {
        let targets = raw.targets.unwrap_or_default();
        Self {
            labels: raw.labels.unwrap_or_default().0,
            seeds: targets.iter().map(|text| Seed::new(Address::read(text))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, format: Format) -> String {
        match read(text, format) {
            Err(error) => format!("error: {error}"),
            Ok(groups) => {
                let line = |group: &Group| {
                    let labels = group.labels.iter().map(|(n, v)| format!("{n}={v}"));
                    let labels: Vec<_> = labels.collect();
                    let seeds = group.seeds.iter().map(|seed| match &seed.address {
                        Address::Spec(spec) => spec.to_string(),
                        Address::Text(text) => format!("{text:?}"),
                    });
                    let seeds: Vec<_> = seeds.collect();
                    format!("{} {{{}}}", seeds.join(" "), labels.join(","))
                };
                groups.iter().map(line).collect::<Vec<_>>().join("; ")
            }
        }
    }

    #[test]
    fn lists_in_json() {
        let check = |text: &str, expected: &str| {
            assert_eq!(shown(text, Format::Json), expected, "{text}");
        };
        check("[]", "");
        check(
            r#"[{"targets": ["a:9249", "b:9250-9260", "c", "[::1]:1"], "labels": {"x": "1"}}]"#,
            "a:9249 b:9250-9260 \"c\" [::1]:1 {x=1}",
        );
        check(r#"[{"targets": []}, {"labels": {"x": ""}}]"#, " {};  {}");
        check(r#"[{"targets": null, "labels": null}]"#, " {}");
        check("", "error: 1:0: EOF while parsing a value");
        check(
            "[null]",
            "error: 1:5: invalid type: null, expected a group: a map with `targets` and `labels`",
        );
        check(
            "[\n {\"targets\": [9249]}\n]",
            "error: 2:18: invalid type: integer `9249`, expected a string",
        );
        check(
            "[{\"target\": []}]",
            "error: 1:10: unknown field `target`, expected `targets` or `labels`",
        );
        check(r#"[{"labels": {"a b": "x"}}]"#, "error: 1:24: `a b` is not a label name");
        check(
            r#"[{"labels": {"a": 1}}]"#,
            "error: 1:19: invalid type: integer `1`, expected a string",
        );
    }

    #[test]
    fn lists_in_yaml() {
        let check = |text: &str, expected: &str| {
            assert_eq!(shown(text, Format::Yaml), expected, "{text}");
        };
        check("", "");
        check("# nothing yet\n---\n", "");
        check("[]", "");
        check(
            "- targets: ['a:9249', b:9250-9260]\n  labels: {x: 1, y: true, z: 'a b'}\n- targets: [c]\n",
            "a:9249 b:9250-9260 {x=1,y=true,z=a b}; \"c\" {}",
        );
        // What is JSON is YAML, too.
        check(r#"[{"targets": ["a:1"], "labels": {"x": "1"}}]"#, "a:1 {x=1}");
        let error = shown("- targets: [a:1]\n  label: {}\n", Format::Yaml);
        assert!(error.starts_with("error: 2:3: ") && error.contains("label"), "{error}");
        let error = shown("- targets: [a:1\n", Format::Yaml);
        assert!(error.starts_with("error: "), "{error}");
    }
}
