//! What Flink's reporter makes of a name, and back.
//!
//! `AbstractPrometheusReporter.CHARACTER_FILTER` works on UTF-16 units: a character beyond the Basic
//! Multilingual Plane becomes two underscores. With `filterLabelValueCharacters: false` values come
//! as they are, except that a JVM without a UTF-8 locale writes `?` for what is not ASCII.
//!
//! Operators stand in the name of their vertex, as `StreamingJobGraphGenerator.createChainedName` puts
//! them together:
//!
//! ```text
//!  chain  = [ "[vertex-" N "]" ] operator [ " [" source { ", " source } "]" ] [ " -> " ( chain | "(" chain { ", " chain } ")" ) ]
//! ```
//!
//! The page shows the first 80 units of an operator's name
//! (`TaskMetricGroup.METRICS_OPERATOR_NAME_MAX_LENGTH`), and so does what is given back. An operator may
//! hold any of the grammar's words in its own name, therefore the chain is not cut into operators: each
//! place where one may begin is compared with what the page shows.

use std::collections::BTreeSet;

/// UTF-16 units of an operator's name on a page at most.
const OPERATOR_UNITS_MAX: usize = 80;

/// The name as the reporter writes it into a label.
pub fn sanitise(name: &str) -> String {
    Form::Filtered.write(name).collect()
}

/// Whether a page that shows `page` may mean `name`.
pub fn shows(page: &str, name: &str) -> bool {
    [Form::Exact, Form::Filtered, Form::Lossy]
        .into_iter()
        .any(|form| form.write(name).eq(page.chars()))
}

/// The operator that the page shows as `page`, out of its vertex's name; `None` when it is not there or
/// more than one may be meant.
pub fn operator<'c>(page: &str, chain: &'c str) -> Option<&'c str> {
    if page.is_empty() {
        return None;
    }
    let is_cut = page.encode_utf16().count() >= OPERATOR_UNITS_MAX;
    let mut found = BTreeSet::new();
    for begin in beginnings(chain) {
        let rest = chain.get(begin..)?;
        for form in [Form::Exact, Form::Filtered, Form::Lossy] {
            let Some(end) = form.prefix(page, rest) else { continue };
            let (operator, after) = rest.split_at(end);
            if is_cut || ends_operator(after) {
                found.insert(operator);
            }
        }
    }
    let mut found = found.into_iter();
    found.next().filter(|_| found.next().is_none())
}

/// How a page may write names.
#[derive(Clone, Copy)]
enum Form {
    Exact,
    Filtered,
    /// Unfiltered, by a JVM whose character set is ASCII.
    Lossy,
}

impl Form {
    /// The character that stands for `c` on the page, and how often.
    const fn written(self, c: char) -> (char, usize) {
        match self {
            Self::Filtered if !is_kept(c) => ('_', c.len_utf16()),
            Self::Lossy if !c.is_ascii() => ('?', 1),
            _ => (c, 1),
        }
    }

    fn write(self, name: &str) -> impl Iterator<Item = char> + '_ {
        name.chars().flat_map(move |c| {
            let (written, units) = self.written(c);
            std::iter::repeat_n(written, units)
        })
    }

    /// The length in bytes of the beginning of `name` that this form writes as `page`. A character of
    /// which only the first of two units is left belongs to it.
    fn prefix(self, page: &str, name: &str) -> Option<usize> {
        let mut page = page.chars().peekable();
        let mut length = 0;
        for c in name.chars() {
            if page.peek().is_none() {
                break;
            }
            let (written, units) = self.written(c);
            for unit in 0..units {
                match page.next() {
                    Some(found) if found == written => {}
                    None if unit > 0 => {}
                    _ => return None,
                }
            }
            length += c.len_utf8();
        }
        page.peek().is_none().then_some(length)
    }
}

/// `[a-zA-Z0-9:_]`
const fn is_kept(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ':' | '_')
}

/// Where an operator may begin in a chain, in bytes.
fn beginnings(chain: &str) -> impl Iterator<Item = usize> + '_ {
    let after_index = chain.strip_prefix("[vertex-").and_then(|rest| {
        let end = rest.find(']')?;
        rest.get(..end)?
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| chain.len() - rest.len() + end + 1)
    });
    let after = [" -> ", " -> (", ", ", " ["]
        .into_iter()
        .flat_map(|word| chain.match_indices(word).map(move |(at, _)| at + word.len()));
    [0].into_iter().chain(after_index).chain(after)
}

/// Whether an operator may end where `after` begins.
fn ends_operator(after: &str) -> bool {
    after.is_empty() || [" -> ", ", ", ")", " [", "]"].iter().any(|word| after.starts_with(word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_written_as_the_reporter_writes_them() {
        for (name, written) in [
            ("", ""),
            ("clicks-window", "clicks_window"),
            ("日志清洗 / log-clean (eu)", "_______log_clean__eu_"),
            ("orders-enrichment \"prod\" \\ v2", "orders_enrichment__prod____v2"),
            ("10.0.0.7:41235-a1b2c3", "10_0_0_7:41235_a1b2c3"),
            ("订单 \"job\"\nA{x=1}", "____job__A_x_1_"),
            // Beyond the Basic Multilingual Plane a character is two units.
            ("🚀x", "__x"),
        ] {
            assert_eq!(sanitise(name), written, "{name}");
            assert!(shows(written, name), "{name}");
        }
    }

    #[test]
    fn a_page_shows_a_name_or_not() {
        let check = |page, name, expected| assert_eq!(shows(page, name), expected, "{page} {name}");
        check("a-b", "a-b", true);
        check("a_b", "a-b", true);
        check("a-b", "a_b", false);
        check("a_b", "a_bc", false);
        check("a_bc", "a_b", false);
        check("???? / x", "日志清洗 / x", true);
        check("????___x", "日志清洗 / x", false);
        check("?", "a", false);
        check("_", "🚀", false);
        check("__", "🚀", true);
    }

    #[test]
    fn operators_are_found_in_their_chain() {
        let check = |page: &str, chain: &str, expected: Option<&str>| {
            assert_eq!(operator(page, chain), expected, "{page} in {chain}");
        };
        let sql = "Source: a[1] -> WatermarkAssigner[2] -> Calc[3] -> p[4]: Writer";
        check("Source:_a_1_", sql, Some("Source: a[1]"));
        check("Calc_3_", sql, Some("Calc[3]"));
        check("p_4_:_Writer", sql, Some("p[4]: Writer"));
        check("Calc", sql, None);
        check("alc_3_", sql, None);
        check("", sql, None);
        // Unfiltered pages have it already.
        check("Calc[3]", sql, Some("Calc[3]"));
        check("Calc[4]", sql, None);
        // Branches, chained sources, an index in front.
        let branches = "Map -> (Filter-a -> Sink: x, Filter b, C)";
        for name in ["Map", "Filter-a", "Sink: x", "Filter b", "C"] {
            check(&sanitise(name), branches, Some(name));
        }
        check("Join_1_", "[vertex-12]Join-1- [Source: a.b, Source: c]", Some("Join-1-"));
        check("Source:_a_b", "[vertex-12]Join [Source: a.b, Source: c]", Some("Source: a.b"));
        check("Source:_c", "[vertex-12]Join [Source: a.b, Source: c]", Some("Source: c"));
        // One text twice is one name; two texts are none.
        check("Map_1", "Map-1 -> x -> Map-1", Some("Map-1"));
        check("Map_1", "Map-1 -> Map.1", None);
        check("Map_1", "Map_1 -> Map.1", None);
        check("Map.1", "Map_1 -> Map.1", Some("Map.1"));
        check("??-1", "日志-1 -> x", Some("日志-1"));
    }

    #[test]
    fn a_cut_name_is_given_back_as_far_as_it_goes() {
        let long = format!("Calc(select=[{}])", "a.b, ".repeat(30));
        let cut: String = long.chars().take(80).collect();
        let chain = format!("Source: x -> {long} -> Sink: y");
        assert_eq!(operator(&sanitise(&cut), &chain), Some(&*cut));
        // Two that agree in all that is shown are shown alike.
        let chain = format!("{long} -> {long}!");
        assert_eq!(operator(&sanitise(&cut), &chain), Some(&*cut));
        // The cut goes through a character of two units.
        let rockets = "🚀".repeat(50);
        let half = format!("x{rockets}");
        let shown: String = sanitise(&half).chars().take(80).collect();
        assert_eq!(operator(&shown, &half), Some(&*format!("x{}", "🚀".repeat(40))));
    }

    proptest! {
        #[test]
        fn an_operator_of_a_chain_is_found_or_another_one_looks_the_same(
            names in prop::collection::vec("[a-c._ 日-]{1,6}", 1..5),
            at in 0..4usize,
        ) {
            let chain = names.join(" -> ");
            let name = &names[at % names.len()];
            match operator(&sanitise(name), &chain) {
                Some(found) => prop_assert_eq!(sanitise(found), sanitise(name)),
                None => {
                    let alike = |other: &str| sanitise(other) == sanitise(name) && other != name;
                    let pieces = chain.match_indices("").map(|(from, _)| &chain[from..]);
                    let mut other = pieces.flat_map(|rest| {
                        rest.char_indices().map(move |(to, c)| &rest[..to + c.len_utf8()])
                    });
                    let is_ambiguous = other.any(alike);
                    prop_assert!(is_ambiguous);
                }
            }
        }
    }
}
