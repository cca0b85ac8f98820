//! A rule's regular expression, read the way Prometheus reads it.
//!
//! Prometheus compiles Go's RE2 syntax, the `regex` crate its own close relative. Where the two give
//! one spelling different meanings, [`translate`] rewrites it to what Go means:
//!
//! | spelling            | Go                         | `regex` crate               |
//! |---------------------|----------------------------|-----------------------------|
//! | `\d \w \s \b`       | ASCII                      | Unicode                     |
//! | `\<`, `\>`          | the character              | start, end of a word        |
//! | `\Q…\E`             | literal text               | an error                    |
//! | `{` that counts nothing | the character          | an error                    |
//! | `[` inside a class  | the character              | opens a nested class        |
//! | `&&`, `--`, `~~` inside a class | characters     | set operations              |
//!
//! The rest of RE2 is the same in both. `docs/configuration.md` lists what remains different.

use regex::Regex;

const NOT_DIGIT: &str = "[^0-9]";
const NOT_SPACE: &str = r"[^\t\n\f\r ]";
const NOT_WORD: &str = "[^0-9A-Za-z_]";

/// Compiles a pattern that has to match the whole of its input, `.` matching line breaks too.
///
/// The pattern stands in its group as it was typed, so that one with unbalanced parentheses means
/// here what it means in Prometheus.
pub(super) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?s:{})$", translate(pattern)))
}

/// Rewrites a pattern of Go's syntax to one that means the same to the `regex` crate.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let tail = rest.get(c.len_utf8()..).unwrap_or_default();
        rest = match c {
            '\\' => escape(tail, Place::Outside, &mut out),
            '[' => class(tail, &mut out),
            '{' if !is_repetition(tail) => {
                out.push_str(r"\{");
                tail
            }
            c => {
                out.push(c);
                tail
            }
        };
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    InClass,
}

/// What follows a backslash; returns what follows the escape.
fn escape<'p>(tail: &'p str, place: Place, out: &mut String) -> &'p str {
    let Some(c) = tail.chars().next() else {
        out.push('\\');
        return tail;
    };
    let rest = tail.get(c.len_utf8()..).unwrap_or_default();
    match (c, place) {
        ('d', Place::Outside) => out.push_str("[0-9]"),
        ('w', Place::Outside) => out.push_str("[0-9A-Za-z_]"),
        ('s', Place::Outside) => out.push_str(r"[\t\n\f\r ]"),
        ('d', Place::InClass) => out.push_str("0-9"),
        ('w', Place::InClass) => out.push_str("0-9A-Za-z_"),
        ('s', Place::InClass) => out.push_str(r"\t\n\f\r "),
        ('D', _) => out.push_str(NOT_DIGIT),
        ('W', _) => out.push_str(NOT_WORD),
        ('S', _) => out.push_str(NOT_SPACE),
        // A class has no word boundary: there the letter goes on as it is, for the error it is.
        ('b', Place::Outside) => out.push_str(r"(?-u:\b)"),
        ('B', Place::Outside) => out.push_str(r"(?-u:\B)"),
        ('<' | '>', _) => out.push(c),
        // Without its end it would quote the anchor in Prometheus: an error there, and so here.
        ('Q', Place::Outside) if rest.contains(r"\E") => {
            let (literal, rest) = rest.split_once(r"\E").unwrap_or((rest, ""));
            out.push_str(&regex::escape(literal));
            return rest;
        }
        // `\p{…}` and `\x{…}`: the braces belong to the escape.
        ('p' | 'P' | 'x', _) if rest.starts_with('{') => {
            let end = rest.find('}').map_or(rest.len(), |at| at + 1);
            out.push('\\');
            out.push(c);
            out.push_str(rest.get(..end).unwrap_or_default());
            return rest.get(end..).unwrap_or_default();
        }
        (c, _) => {
            out.push('\\');
            out.push(c);
        }
    }
    rest
}

/// A bracketed class after its `[`; returns what follows its `]`.
fn class<'p>(tail: &'p str, out: &mut String) -> &'p str {
    out.push('[');
    let mut rest = tail;
    if let Some(tail) = rest.strip_prefix('^') {
        out.push('^');
        rest = tail;
    }
    // A bracket that comes first is a member.
    if let Some(tail) = rest.strip_prefix(']') {
        out.push_str(r"\]");
        rest = tail;
    }
    while let Some(c) = rest.chars().next() {
        let tail = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            ']' => {
                out.push(']');
                return tail;
            }
            '\\' => {
                rest = escape(tail, Place::InClass, out);
                continue;
            }
            '[' if tail.starts_with(':') && tail.contains(":]") => {
                let end = tail.find(":]").map_or(tail.len(), |at| at + 2);
                out.push('[');
                out.push_str(tail.get(..end).unwrap_or_default());
                rest = tail.get(end..).unwrap_or_default();
                continue;
            }
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            // `--` would subtract: the second hyphen is a member or the end of a range.
            '-' if tail.starts_with('-') => {
                out.push_str(r"-\-");
                rest = tail.get(1..).unwrap_or_default();
                continue;
            }
            c => out.push(c),
        }
        rest = tail;
    }
    rest
}

/// Whether what follows a `{` makes it a repetition: `2}`, `2,}` or `2,5}`.
fn is_repetition(tail: &str) -> bool {
    let Some((counts, _)) = tail.split_once('}') else {
        return false;
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (low, high) = counts.split_once(',').unwrap_or((counts, ""));
    !low.is_empty() && digits(low) && digits(high)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_go_keep_their_meaning() {
        let check = |pattern: &str, matching: &[&str], other: &[&str]| {
            let regex = compile(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            for text in matching {
                assert!(regex.is_match(text), "{pattern} should match {text:?}");
            }
            for text in other {
                assert!(!regex.is_match(text), "{pattern} should not match {text:?}");
            }
        };
        check("a.c", &["abc", "a\nc"], &["ac", "abcd", "xabc", "abc\n"]);
        check("f|o", &["f", "o"], &["foo", "of"]);
        check(r"\d+", &["12"], &["١٢", ""]);
        check(r"\D", &["a", "١"], &["1"]);
        check(r"\w+", &["a_1"], &["日志", "é"]);
        check(r"\W+", &["日志", "-"], &["a"]);
        check(r"a\sb", &["a b", "a\tb"], &["a\u{a0}b", "a\u{b}b"]);
        check(r"[\w.-]+", &["a.b-c"], &["日"]);
        check(r"[^\W]+", &["abc"], &["日", "-"]);
        check(r"[\D]", &["x", "١"], &["1"]);
        check(r"日\b.*", &["日x"], &["日", "日志"]);
        check(r".*\bx", &["日x", "x", "-x"], &["ax"]);
        check(r"a\Bb", &["ab"], &["a b"]);
        check(r"\<a\>", &["<a>"], &["a"]);
        check(r"\Qa.b\E+", &["a.b", "a.bb"], &["axb"]);
        check("a{", &["a{"], &["a"]);
        check("a{x}", &["a{x}"], &["a"]);
        check("a{,2}", &["a{,2}"], &["aa"]);
        check("a{2}", &["aa"], &["a", "a{2}"]);
        check("a{1,}b", &["ab", "aab"], &["b"]);
        check(r"\x{65E5}\p{Han}", &["日志"], &["日a"]);
        check("[[]", &["["], &["]"]);
        check("[]a]", &["]", "a"], &["["]);
        check("[^]a]", &["b"], &["]", "a"]);
        check("[a&&b]+", &["a&b"], &["c"]);
        check("[a~~b]+", &["a~b"], &["c"]);
        check("[a-b-c]+", &["a-c", "b"], &["d"]);
        check("[+--]+", &["+,-"], &["."]);
        check("[[:alpha:]_]+", &["a_b"], &["1"]);
        check("[日志]+", &["日志"], &["x"]);
        check("(?i)abc", &["ABC"], &["x"]);
        check("", &[""], &["a"]);
        // The group that anchors the pattern can be closed by the pattern, here as in Prometheus.
        check("a)|(b", &["ax", "xb"], &["x"]);
    }

    #[test]
    fn errors_stay_errors() {
        for pattern in [
            "(", "a**b(", "[a", r"\", r"\q", "x{2,1}", "(?P<n>a", r"[\b]", "[a--]", r"[\Qa\E]",
            r"\Qa",
        ] {
            assert!(compile(pattern).is_err(), "{pattern} should not compile");
        }
    }

    proptest! {
        #[test]
        fn any_text_translates(pattern in "\\PC{0,24}") {
            let _ = compile(&pattern);
        }

        #[test]
        fn quoted_text_matches_itself_alone(text in "[^\\\\]{0,16}", other in "\\PC{0,16}") {
            let regex = compile(&format!(r"\Q{text}\E")).unwrap();
            prop_assert!(regex.is_match(&text));
            prop_assert_eq!(regex.is_match(&other), text == other);
        }
    }
}
