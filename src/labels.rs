//! A label set: the identity of one series, its name included as `__name__`.
//!
//! [`Labels`] is the form that travels from the parser through normalisation and relabelling to the
//! encoder. It borrows from the page wherever it can and is kept unsorted while it is edited;
//! [`Labels::sort`] puts it into the order that remote write demands.
//!
//! Invariants: names are unique; a label with an empty value does not exist (Prometheus data model),
//! so [`Labels::set`] with an empty value removes it.

use std::{borrow::Cow, fmt};

use xxhash_rust::xxh3::Xxh3Default;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// One label of a series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label<'a> {
    /// The label's name, `[a-zA-Z_][a-zA-Z0-9_]*`.
    pub name: Cow<'a, str>,
    /// The label's value, any UTF-8, never empty.
    pub value: Cow<'a, str>,
}

/// A set of labels, see the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels<'a> {
    pairs: Vec<Label<'a>>,
}

impl<'a> Labels<'a> {
    /// An empty set.
    pub const fn new() -> Self {
        Self { pairs: Vec::new() }
    }

    /// An empty set with room for `n` labels.
    pub fn with_capacity(n: usize) -> Self {
        Self { pairs: Vec::with_capacity(n) }
    }

    /// Adds a label that is known not to be in the set yet; an empty value adds nothing.
    pub fn push(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let (name, value) = (name.into(), value.into());
        debug_assert!(self.get(&name).is_none(), "label {name} pushed twice");
        if !value.is_empty() {
            self.pairs.push(Label { name, value });
        }
    }

    /// Sets a label, replacing an older value; an empty value removes the label.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let (name, value) = (name.into(), value.into());
        if value.is_empty() {
            self.remove(&name);
        } else if let Some(label) = self.pairs.iter_mut().find(|l| l.name == name) {
            label.value = value;
        } else {
            self.pairs.push(Label { name, value });
        }
    }

    /// Removes a label and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let at = self.pairs.iter().position(|l| l.name == name)?;
        Some(self.pairs.remove(at).value)
    }

    /// Keeps the labels for which `keep` returns true.
    pub fn retain(&mut self, mut keep: impl FnMut(&Label<'a>) -> bool) {
        self.pairs.retain(|l| keep(l));
    }

    /// As [`Labels::retain`], for one who changes labels on the way; names stay unique, values not empty.
    pub(crate) fn retain_mut(&mut self, keep: impl FnMut(&mut Label<'a>) -> bool) {
        self.pairs.retain_mut(keep);
        debug_assert!(self.pairs.iter().all(|label| !label.value.is_empty()), "{self}");
    }

    /// Sorts by name, in byte order, as remote write demands.
    pub fn sort(&mut self) {
        let by_name = |a: &Label<'_>, b: &Label<'_>| {
            head(&a.name).cmp(&head(&b.name)).then_with(|| a.name.cmp(&b.name))
        };
        self.pairs.sort_unstable_by(by_name);
    }

    /// The value of a label; `None` when the set does not have it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|l| l.name == name).map(|l| &*l.value)
    }

    /// The metric's name, empty when there is none.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or_default()
    }

    /// The labels in their present order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.pairs.iter().map(|l| (&*l.name, &*l.value))
    }

    /// Number of labels, `__name__` included.
    pub const fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether the set holds no label at all.
    pub const fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The same set, owning its text.
    pub fn into_owned(self) -> Labels<'static> {
        let own = |l: Label<'_>| Label {
            name: Cow::Owned(l.name.into_owned()),
            value: Cow::Owned(l.value.into_owned()),
        };
        Labels { pairs: self.pairs.into_iter().map(own).collect() }
    }

    /// A 128-bit hash of a sorted set. Two series are taken to be the same when theirs are equal:
    /// among 10^6 series the chance of one false match is below 10^-26.
    pub fn identity(&self) -> u128 {
        debug_assert!(
            self.pairs.is_sorted_by(|a, b| a.name <= b.name),
            "identity of an unsorted set"
        );
        let mut hash = Xxh3Default::new();
        for label in &self.pairs {
            hash.update(label.name.as_bytes());
            // 0xff cannot occur in UTF-8, so no two different sets feed the hash the same bytes.
            hash.update(&[0xff]);
            hash.update(label.value.as_bytes());
            hash.update(&[0xff]);
        }
        hash.digest128()
    }
}

impl<'a, N, V> FromIterator<(N, V)> for Labels<'a>
where
    N: Into<Cow<'a, str>>,
    V: Into<Cow<'a, str>>,
{
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut labels = Self::new();
        for (name, value) in pairs {
            labels.set(name, value);
        }
        labels
    }
}

/// The first bytes of a name, as a number that is ordered as they are: a name is no text, most differ there,
/// and a number is compared without a call.
#[inline]
fn head(name: &str) -> u64 {
    let name = name.as_bytes();
    if let Some(head) = name.first_chunk::<8>() {
        return u64::from_be_bytes(*head);
    }
    let shifted = name.iter().fold(0, |head, byte| head << 8 | u64::from(*byte));
    // Of an empty name nothing is shifted.
    shifted << (8 * (8 - name.len().max(1)))
}

/// As a line of the text format would show it: `name{a="b"}`, values escaped.
impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric_name())?;
        let mut open = '{';
        for (name, value) in self.iter().filter(|(name, _)| *name != METRIC_NAME) {
            write!(f, "{open}{name}=\"")?;
            for c in value.chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    c => write!(f, "{c}")?,
                }
            }
            f.write_str("\"")?;
            open = ',';
        }
        if open == ',' { f.write_str("}") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sorted_is_in_the_order_of_bytes(names in proptest::collection::hash_set("[A_ab0é]{0,10}", 0..30)) {
            let mut labels = Labels::new();
            names.iter().for_each(|name| labels.push(name.as_str(), "1"));
            labels.sort();
            let mut expect: Vec<_> = names.iter().map(String::as_bytes).collect();
            expect.sort();
            prop_assert_eq!(labels.iter().map(|(name, _)| name.as_bytes()).collect::<Vec<_>>(), expect);
        }
    }

    #[test]
    fn set_replaces_and_an_empty_value_removes() {
        let mut labels: Labels<'_> = [("b", "1"), ("a", "2"), ("c", "")].into_iter().collect();
        assert_eq!(labels.len(), 2);
        labels.set("b", "3");
        labels.set("a", "");
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("b", "3")]);
    }

    #[test]
    fn identity_tells_sets_apart_that_concatenate_alike() {
        let id = |pairs: &[(&'static str, &'static str)]| {
            let mut labels: Labels<'_> = pairs.iter().copied().collect();
            labels.sort();
            labels.identity()
        };
        assert_ne!(id(&[("a", "bc")]), id(&[("ab", "c")]));
        assert_ne!(id(&[("a", "b"), ("c", "d")]), id(&[("a", "bcd")]));
        assert_eq!(id(&[("a", "1"), ("b", "2")]), id(&[("b", "2"), ("a", "1")]));
    }

    #[test]
    fn display_is_a_line_of_the_text_format() {
        let labels: Labels<'_> =
            [(METRIC_NAME, "up"), ("a", "x\"\\\n"), ("b", "日志")].into_iter().collect();
        assert_eq!(labels.to_string(), r#"up{a="x\"\\\n",b="日志"}"#);
    }
}
