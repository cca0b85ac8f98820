//! The HELP line that was read last, for the samples behind it.
//!
//! HELP stands before the samples of its family, and a name's meaning may depend on it
//! ([`crate::flink::Catalogue::find_described`]). It is looked at for new lines only, so one is kept
//! at a time and its memory is used again.

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Help {
    family: String,
    text: String,
}

impl Help {
    /// Takes the place of the last one; an empty family is none.
    pub(super) fn set(&mut self, family: &str, text: &str) {
        self.family.clear();
        self.family.push_str(family);
        self.text.clear();
        self.text.push_str(text);
    }

    /// What it says of the family of a sample of this name, `None` when it is another family's.
    pub(super) fn of(&self, sample_name: &str) -> Option<&str> {
        let behind = sample_name.strip_prefix(self.family.as_str())?;
        (!self.family.is_empty() && matches!(behind, "" | "_count")).then_some(&self.text)
    }
}
