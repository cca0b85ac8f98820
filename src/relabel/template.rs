//! A rule's `replacement` or `target_label`: text with references to what the pattern captured.
//!
//! ```text
//! template  = { text | "$$" | "$" name | "${" name "}" }
//! name      = one or more letters, digits or "_" of any script, as many as there are
//! ```
//!
//! These are the rules of Go's `Regexp.Expand`. The `regex` crate's own expansion is not used, for
//! it reads three spellings differently: `$1日` (Go: the group named `1日`), `$01` (Go: a name, not
//! the number 1) and `${a-b}` (Go: text, for that is no name). A reference to a group that the
//! pattern does not have stands for nothing, and a `$` that begins no reference for itself.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What Go takes for a letter or a digit; `char::is_alphanumeric` takes more.
static NAME: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[\p{L}\p{Nd}_]+").expect("a constant that a test compiles"));

/// A template whose references are resolved against one pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Template {
    /// Reads a template; `regex` tells which groups there are.
    pub(super) fn new(template: &str, regex: &Regex) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            text.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                text.push('$');
                rest = after;
            } else if let Some((name, after)) = reference(rest) {
                if let Some(group) = group(name, regex) {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    parts.push(Part::Group(group));
                }
                rest = after;
            } else {
                text.push('$');
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Self { parts }
    }

    /// The template's text when it refers to no group.
    pub(super) fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the template with what `captures` holds.
    pub(super) fn expand(&self, captures: &Captures<'_>, out: &mut String) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(group) => out.push_str(captures.get(*group).map_or("", |m| m.as_str())),
            }
        }
    }
}

/// The name of a reference after its `$`, and what follows the reference.
fn reference(rest: &str) -> Option<(&str, &str)> {
    if let Some(rest) = rest.strip_prefix('{') {
        let (name, after) = rest.split_once('}')?;
        return NAME.find(name).filter(|m| m.len() == name.len()).map(|_| (name, after));
    }
    let name = NAME.find(rest)?;
    Some((name.as_str(), rest.get(name.end()..)?))
}

/// The index of the group with this number or name. A number has no leading zero.
fn group(name: &str, regex: &Regex) -> Option<usize> {
    let number = (name == "0" || !name.starts_with('0'))
        .then(|| name.bytes().all(|b| b.is_ascii_digit()).then(|| name.parse::<usize>().ok()))
        .flatten()
        .flatten();
    match number {
        Some(number) => (number < regex.captures_len()).then_some(number),
        None => regex.capture_names().position(|group| group == Some(name)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The expectations were printed by Go 1.26's `Regexp.ExpandString`.
    #[test]
    fn expands_as_go_does() {
        let regex = Regex::new("^(a+)-(?P<x>b+)(c)?$").unwrap();
        let captures = regex.captures("aa-bb").unwrap();
        let check = |template: &str, expected: &str| {
            let mut out = String::new();
            Template::new(template, &regex).expand(&captures, &mut out);
            assert_eq!(out, expected, "{template}");
        };
        check("", "");
        check("text", "text");
        check("$1", "aa");
        check("${1}", "aa");
        check("$x", "bb");
        check("${x}", "bb");
        check("$1x", "");
        check("${1}x", "aax");
        check("$1_", "");
        check("$1-$x", "aa-bb");
        check("$1$x", "aabb");
        check("$0", "aa-bb");
        check("$01", "");
        check("$00", "");
        check("${01}", "");
        check("$9", "");
        check("${9}", "");
        check("$é", "");
        check("$3", "");
        check("${é}|", "|");
        check("$$", "$");
        check("$$1", "$1");
        check("$$$1", "$aa");
        check("$$${1}", "$aa");
        check("$", "$");
        check("a$", "a$");
        check("$-", "$-");
        check("${", "${");
        check("${}", "${}");
        check("${1", "${1");
        check("${x-}", "${x-}");
        check("${a-b}c", "${a-b}c");
        check("$1日", "");
        check("${1}日", "aa日");
        check("$none", "");
        check("x$none-", "x-");
        check("$ 1", "$ 1");
        check("${ 1}", "${ 1}");
        check("$$$$", "$$");
        check("$$x", "$x");
        check("${x}}", "bb}");
        check("{$1}", "{aa}");
        check("$999999999999999999999", "");
        check("$①", "$①");
        check("$Ⅳ", "$Ⅳ");
        check("$1²", "aa²");
        check("$1½", "aa½");
    }

    #[test]
    fn a_template_without_a_reference_is_constant() {
        let regex = Regex::new("^(.*)$").unwrap();
        let constant =
            |template: &str| Template::new(template, &regex).constant().map(str::to_owned);
        assert_eq!(constant("text"), Some("text".to_owned()));
        assert_eq!(constant("a$$b"), Some("a$b".to_owned()));
        assert_eq!(constant("$none"), Some(String::new()));
        assert_eq!(constant("$1"), None);
    }

    proptest! {
        #[test]
        fn text_with_its_dollars_doubled_stands_for_itself(text in "\\PC{0,24}") {
            let regex = Regex::new("^(.*)$").unwrap();
            let template = Template::new(&text.replace('$', "$$"), &regex);
            prop_assert_eq!(template.constant(), Some(text.as_str()));
        }
    }
}
