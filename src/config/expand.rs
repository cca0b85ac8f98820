//! `${VAR}` and `${VAR:-default}` in values.
//!
//! ```text
//! value     = { text | reference | "$" reference }     "$" before a reference makes it text
//! reference = "${" name "}" | "${" name ":-" default "}"
//! name      = letter or "_", then letters, digits and "_" (ASCII)
//! default   = anything but "}" and "${"; taken when the variable is not set, or empty
//! ```
//!
//! All other dollars stay: `$1`, `${1}`, `$name`, `$$` and `${` before anything but a name.

/// Why a value cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExpandError {
    #[error("environment variable `{0}` is not set and `${{{0}}}` has no default")]
    Unset(String),
    #[error("`{0}` is not a reference to a variable: expected `${{NAME}}` or `${{NAME:-default}}`")]
    Malformed(String),
}

/// Replaces the references in `text`. `is_group` tells names that are groups of a pattern, which stay;
/// `quote` is applied to what comes from a variable.
pub(super) fn expand(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    is_group: &dyn Fn(&str) -> bool,
    quote: &dyn Fn(String) -> String,
) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some(name) = name(after) else {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        };
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let malformed = || {
            let end = after.find('}').map_or(after.len(), |at| at + 1);
            ExpandError::Malformed(format!("${{{}", after.get(..end).unwrap_or(after)))
        };
        let (body, tail) = after.split_once('}').ok_or_else(malformed)?;
        let default = match body.strip_prefix(name) {
            Some("") => None,
            Some(rest) => Some(
                rest.strip_prefix(":-")
                    .filter(|text| !text.contains("${"))
                    .ok_or_else(malformed)?,
            ),
            None => return Err(malformed()),
        };
        match (env(name), default) {
            _ if default.is_none() && is_group(name) => out.push_str(&format!("${{{name}}}")),
            (Some(value), None) => out.push_str(&quote(value)),
            (Some(value), Some(_)) if !value.is_empty() => out.push_str(&quote(value)),
            (_, Some(default)) => out.push_str(default),
            (None, None) => return Err(ExpandError::Unset(name.to_owned())),
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// The name at the start of `text`, if one stands there.
fn name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    text.get(..end).filter(|name| name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("vm".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("a: [b]\n${HOST} $1".to_owned()),
            _ => None,
        }
    }

    fn run(text: &str) -> Result<String, String> {
        expand(text, &env, &|name| name == "group", &|value| value).map_err(|e| e.to_string())
    }

    #[test]
    fn references_expand_and_other_dollars_stay() {
        let check = |text: &str, expected: &str| {
            assert_eq!(run(text).as_deref(), Ok(expected), "{text}");
        };
        check("", "");
        check("http://${HOST}:8428/", "http://vm:8428/");
        check("${HOST}${HOST}", "vmvm");
        check("${NONE:-x}", "x");
        check("${NONE:-}", "");
        check("${EMPTY:-x}", "x");
        check("${EMPTY}", "");
        check("${HOST:-x}", "vm");
        check("${NONE:-a:-b $1}", "a:-b $1");
        // What a variable holds is not expanded again.
        check("${TRICKY}", "a: [b]\n${HOST} $1");
        check("$${HOST}", "${HOST}");
        check("$$${HOST}", "$${HOST}");
        check("$${NONE:-x}", "${NONE:-x}");
        for text in [
            "$HOST", "$1", "${1}", "$${1}", "$$", "a$", "${}", "${", "${-}", "${ HOST}", "$$$1",
            "日${1}",
        ] {
            check(text, text);
        }
        check("${group}-${HOST}", "${group}-vm");
        check("${group:-x}", "x");
    }

    #[test]
    fn a_reference_without_a_value_is_an_error() {
        let check = |text: &str, expected: &str| {
            assert_eq!(run(text), Err(expected.to_owned()), "{text}");
        };
        check("a${NONE}", "environment variable `NONE` is not set and `${NONE}` has no default");
        let malformed = |shown: &str| {
            format!(
                "`{shown}` is not a reference to a variable: expected `${{NAME}}` or \
                 `${{NAME:-default}}`"
            )
        };
        check("x${HOST", &malformed("${HOST"));
        check("${HOST-x}y", &malformed("${HOST-x}"));
        check("${HOST?x}", &malformed("${HOST?x}"));
        check("${NONE:-${HOST}}", &malformed("${NONE:-${HOST}"));
        check("${HO ST}", &malformed("${HO ST}"));
    }

    proptest! {
        #[test]
        fn text_without_references_stays(text in "[^{]{0,24}") {
            prop_assert_eq!(run(&text), Ok(text));
        }

        #[test]
        fn a_default_is_taken_as_it_is(default in "[^}$]{0,16}") {
            prop_assert_eq!(run(&format!("${{NONE:-{default}}}")), Ok(default));
        }
    }
}
