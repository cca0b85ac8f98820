//! One scalar at a time: expanded, then read as what it should be.

use std::{
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use super::Checker;
use crate::config::{
    ByteSize, PageSeriesLimit, PromDuration, Secret,
    error::{Finding, nearest},
    expand::expand,
    value::{Origin, Scalar},
};

impl Checker<'_> {
    pub(super) fn note(&mut self, origin: Origin, message: String) {
        self.findings.push(Finding { origin, message, help: None });
    }

    pub(super) fn note_with_help(&mut self, origin: Origin, message: String, help: &str) {
        self.findings.push(Finding { origin, message, help: Some(help.to_owned()) });
    }

    /// The text with its variables replaced; notes and returns nothing when that fails.
    pub(super) fn text(&mut self, scalar: &Scalar) -> Option<String> {
        self.template(scalar, &|_| false, &|value| value)
    }

    /// Like [`Self::text`], with the exceptions of relabelling templates.
    pub(super) fn template(
        &mut self,
        scalar: &Scalar,
        is_group: &dyn Fn(&str) -> bool,
        quote: &dyn Fn(String) -> String,
    ) -> Option<String> {
        // The shell has expanded what stands on the command line.
        if matches!(scalar.origin, Origin::Flag(_)) {
            return Some(scalar.value.clone());
        }
        match expand(&scalar.value, self.env, is_group, quote) {
            Ok(text) => Some(text),
            Err(error) => {
                self.note_with_help(
                    scalar.origin,
                    error.to_string(),
                    "set the variable, or write `$${` where `${` is meant as text",
                );
                None
            }
        }
    }

    /// A text that may be missing but not be empty.
    pub(super) fn filled(&mut self, scalar: Option<&Scalar>, key: &str) -> Option<String> {
        let scalar = scalar?;
        let text = self.text(scalar)?;
        if text.is_empty() {
            self.note(scalar.origin, format!("`{key}` cannot be empty"));
            return None;
        }
        Some(text)
    }

    /// What the scalar reads as; notes and returns nothing when it does not.
    pub(super) fn parsed<T>(&mut self, scalar: Option<&Scalar>) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let scalar = scalar?;
        let text = self.text(scalar)?;
        text.parse()
            .map_err(|error: T::Err| self.note(scalar.origin, format!("`{text}`: {error}")))
            .ok()
    }

    pub(super) fn duration(&mut self, scalar: Option<&Scalar>, default: Duration) -> Duration {
        self.parsed::<PromDuration>(scalar).map_or(default, |duration| duration.0)
    }

    /// A duration that cannot be zero.
    pub(super) fn positive_duration(
        &mut self,
        raw: Option<&Scalar>,
        default: Duration,
    ) -> Duration {
        let duration = self.duration(raw, default);
        match raw {
            Some(scalar) if duration.is_zero() => {
                self.note(scalar.origin, "must be longer than 0".to_owned());
                default
            }
            _ => duration,
        }
    }

    pub(super) fn size(&mut self, scalar: Option<&Scalar>, default: u64) -> u64 {
        self.parsed::<ByteSize>(scalar).map_or(default, |size| size.0)
    }

    pub(super) fn number<T>(
        &mut self,
        scalar: Option<&Scalar>,
        range: RangeInclusive<T>,
        default: T,
    ) -> T
    where
        T: Copy + Display + FromStr + PartialOrd + Into<u64>,
    {
        let Some(scalar) = scalar else {
            return default;
        };
        let Some(text) = self.text(scalar) else {
            return default;
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (low, high) = (range.start(), range.end());
                let bounds = match (*high).into() {
                    u64::MAX => format!("from {low} up"),
                    _ => format!("from {low} to {high}"),
                };
                self.note(scalar.origin, format!("`{text}`: expected a whole number {bounds}"));
                default
            }
        }
    }

    pub(super) fn page_series_limit(&mut self, scalar: Option<&Scalar>) -> PageSeriesLimit {
        let text = scalar.and_then(|scalar| Some((scalar.origin, self.text(scalar)?)));
        // An empty variable stands for a value that is not set.
        match text.as_ref().map(|(origin, text)| (origin, &**text)) {
            None | Some((_, "" | "auto")) => PageSeriesLimit::Auto,
            Some((origin, text)) => text.parse().map(PageSeriesLimit::Most).unwrap_or_else(|_| {
                let expected = "expected `auto`, a whole number, or 0 for unlimited";
                self.note(*origin, format!("`{text}`: {expected}"));
                PageSeriesLimit::Auto
            }),
        }
    }

    pub(super) fn boolean(&mut self, scalar: Option<&Scalar>, default: bool) -> bool {
        let Some(scalar) = scalar else {
            return default;
        };
        match self.text(scalar).as_deref() {
            Some("true" | "True" | "TRUE") => true,
            Some("false" | "False" | "FALSE") => false,
            Some(text) => {
                self.note(scalar.origin, format!("`{text}`: expected true or false"));
                default
            }
            None => default,
        }
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        scalar: Option<&Scalar>,
        choices: &[(&str, T)],
        default: T,
    ) -> T {
        let Some(scalar) = scalar else {
            return default;
        };
        let Some(text) = self.text(scalar) else {
            return default;
        };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return *choice;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let shown: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let message = format!("`{text}`: expected one of {}", shown.join(", "));
        match nearest(&text, &names) {
            Some(name) => {
                self.note_with_help(scalar.origin, message, &format!("did you mean `{name}`?"));
            }
            None => self.note(scalar.origin, message),
        }
        default
    }

    /// A path; a relative one begins at the configuration file, as in Prometheus.
    pub(super) fn path(&mut self, scalar: Option<&Scalar>, key: &str) -> Option<PathBuf> {
        let path = self.filled(scalar, key)?;
        Some(self.directory.as_deref().unwrap_or_else(|| Path::new("")).join(path))
    }

    /// A secret that is written here or in a file, not both. The message never holds its text.
    pub(super) fn secret(
        &mut self,
        inline: Option<&Scalar>,
        file: Option<&Scalar>,
        key: &str,
    ) -> Option<Secret> {
        if let (Some(_), Some(file)) = (inline, file) {
            self.note_with_help(
                file.origin,
                format!("both `{key}` and `{key}_file` are set"),
                &format!("keep `{key}_file`, which is read again when it changes"),
            );
            return None;
        }
        match inline {
            Some(inline) => self.text(inline).map(Secret::Inline),
            None => self.path(file, &format!("{key}_file")).map(Secret::File),
        }
    }
}
