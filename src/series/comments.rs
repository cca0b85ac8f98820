//! The comments that stand above the line that is being read: HELP and TYPE precede the samples of their family.
//!
//! Only a new line asks what they say, and most pages have none. So a comment that the page before had too, word
//! for word, is kept as it stands, and read when a new line wants to know:
//!
//! ```text
//!   known  # HELP a …  --defer-->  unread: lines of one family --settle--> family, help, kind <-- observe_help,
//!   known  # TYPE a …  --defer-->    `- another family: dropped, with what was read              observe_type
//! ```
//!
//! Invariants: what was read, with what is unread on top, is what reading each comment as it came gives; what is
//! unread is of one family, and no longer than [`UNREAD_BYTES_MAX`].

use super::{Tracker, family::Families, page_kind};
use crate::{
    exposition::{self, Entry, Skimmed},
    remote_write::{proto::metric_metadata::MetricType, v2::About},
};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Comments {
    family: String,
    help: String,
    kind: Option<exposition::Kind>,
    /// Comments that were not read, each with a line break behind it.
    unread: Vec<u8>,
    /// Bytes of the name of their family.
    unread_name: usize,
    /// What follows from the comments for the names that were read last.
    pub(super) families: Families,
}

/// Most bytes of comments that wait to be read: HELP and TYPE of one family several times over. Longer ones are read
/// as they come.
const UNREAD_BYTES_MAX: usize = 4 << 10;

/// What the names of a summary's or histogram's samples have beyond their family's.
const SUFFIXES: [&str; 4] = ["", "_count", "_sum", "_bucket"];

impl Comments {
    /// Nothing stands above the next line.
    pub(super) fn clear(&mut self) {
        self.unread.clear();
        self.clear_read();
    }

    fn clear_read(&mut self) {
        self.family.clear();
        self.help.clear();
        self.kind = None;
        self.families.clear();
    }

    fn enter(&mut self, family: &str) {
        if self.family != family {
            self.clear_read();
            self.family.push_str(family);
        }
        self.families.clear();
    }

    fn help(&mut self, family: &str, help: &str) {
        self.enter(family);
        self.help.clear();
        self.help.push_str(help);
    }

    fn kind(&mut self, family: &str, kind: exposition::Kind) {
        self.enter(family);
        self.kind = Some(kind);
    }

    fn defer(&mut self, text: &[u8], family: &[u8]) -> bool {
        let name = Skimmed::FAMILY_AT..Skimmed::FAMILY_AT + self.unread_name;
        if !self.unread.is_empty() && self.unread.get(name) != Some(family) {
            // Another family: what was said before is about other lines.
            self.unread.clear();
            self.clear_read();
        }
        if self.unread.len() + text.len() >= UNREAD_BYTES_MAX {
            return false;
        }
        self.unread.extend_from_slice(text);
        self.unread.push(b'\n');
        self.unread_name = family.len();
        true
    }

    /// Reads what is unread.
    #[inline]
    pub(super) fn settle(&mut self, limits: &exposition::Limits) {
        if !self.unread.is_empty() {
            self.read(limits);
        }
    }

    fn read(&mut self, limits: &exposition::Limits) {
        let unread = std::mem::take(&mut self.unread);
        for line in unread.split(|&byte| byte == b'\n') {
            match exposition::parse(line, limits) {
                Ok(Entry::Help { name, text }) => self.help(name, &text),
                Ok(Entry::Type { name, kind }) => self.kind(name, kind),
                _ => {}
            }
        }
        self.unread = unread;
        self.unread.clear();
    }

    /// What HELP says of a sample of this name, `None` when the family being read is another one.
    pub(super) fn help_of(&self, sample_name: &str) -> Option<&str> {
        self.cover(sample_name).then_some(self.help.as_str()).filter(|help| !help.is_empty())
    }

    /// Whether the page says that a sample of this name is of a summary.
    pub(super) fn is_summary(&self, sample_name: &str) -> bool {
        self.kind == Some(exposition::Kind::Summary) && self.cover(sample_name)
    }

    /// What the page says of a sample of this name.
    pub(super) fn about(&self, sample_name: &str) -> About {
        if !self.cover(sample_name) {
            return About::kind(MetricType::Unknown);
        }
        About {
            kind: self.kind.map_or(MetricType::Unknown, page_kind),
            help: self.help.as_str().into(),
            unit: "".into(),
        }
    }

    /// Whether a sample of this name belongs to the family.
    fn cover(&self, sample_name: &str) -> bool {
        debug_assert!(self.unread.is_empty(), "who asks has settled what is unread");
        sample_name.strip_prefix(&*self.family).is_some_and(|suffix| SUFFIXES.contains(&suffix))
    }
}

impl Tracker {
    /// The page says what the samples below are about.
    pub fn observe_help(&mut self, family: &str, help: &str) {
        self.comments.settle(&self.limits);
        self.comments.help(family, help);
    }

    /// The page says of which type the samples below are.
    pub fn observe_type(&mut self, family: &str, kind: exposition::Kind) {
        self.comments.settle(&self.limits);
        self.comments.kind(family, kind);
    }

    /// As the one of the two above that the text of a line would come to, which is known to be without fault and
    /// of this family ([`exposition::skim`]). False when there is no room for it, so that it is to be read after all.
    #[inline]
    pub fn observe_comment(&mut self, text: &[u8], family: &[u8]) -> bool {
        self.comments.defer(text, family)
    }
}
