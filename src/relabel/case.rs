//! Upper and lower case the way Prometheus maps them: one character to one character.
//!
//! Go's `strings.ToUpper` and `ToLower` know Unicode's simple mappings alone, Rust's the full ones,
//! which turn `ß` into `SS` and a final `Σ` into `ς`. A label value must come out the same from both,
//! or a join with series that Prometheus relabelled finds nothing.

/// `text` in upper case.
pub(super) fn upper(text: &str) -> String {
    text.chars().map(simple_upper).collect()
}

/// `text` in lower case.
pub(super) fn lower(text: &str) -> String {
    text.chars().map(simple_lower).collect()
}

fn simple_upper(c: char) -> char {
    match c {
        // These have a simple mapping (to the letter with its iota below) beside the full one.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => offset(c, 8),
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => offset(c, 9),
        c => single(c.to_uppercase()).unwrap_or(c),
    }
}

fn simple_lower(c: char) -> char {
    match c {
        // The only letter whose full mapping is longer than one character.
        '\u{130}' => 'i',
        c => single(c.to_lowercase()).unwrap_or(c),
    }
}

fn offset(c: char, by: u32) -> char {
    char::from_u32(u32::from(c) + by).unwrap_or(c)
}

fn single(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next()?;
    mapped.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expectations were printed by Go 1.26's `strings.ToUpper` and `strings.ToLower`.
    #[test]
    fn maps_as_go_does() {
        let check = |text: &str, upper_: &str, lower_: &str| {
            assert_eq!(upper(text), upper_, "upper case of {text}");
            assert_eq!(lower(text), lower_, "lower case of {text}");
        };
        check("bAr123Foo", "BAR123FOO", "bar123foo");
        check("", "", "");
        check("ß", "ß", "ß");
        check("ΑΣ", "ΑΣ", "ασ");
        check("İı", "İI", "iı");
        check("ŉǰ", "ŉǰ", "ŉǰ");
        check("ﬁ", "ﬁ", "ﬁ");
        check("ᾀᾈ", "ᾈᾈ", "ᾀᾀ");
        check("ᾳᾼᾷ", "ᾼᾼᾷ", "ᾳᾳᾷ");
        check("ῃῌ", "ῌῌ", "ῃῃ");
        check("日志", "日志", "日志");
        check("Ǆǅǆ", "ǄǄǄ", "ǆǆǆ");
        check("ⅷ", "Ⅷ", "ⅷ");
        check("ώΏ", "ΏΏ", "ώώ");
        check("և", "և", "և");
        check("ῳ", "ῼ", "ῳ");
        check("ὐ", "ὐ", "ὐ");
    }
}
