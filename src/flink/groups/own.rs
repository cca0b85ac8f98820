//! Groups of the user's, which `flink.metrics` adds to those that are built in.
//!
//! A group is copied into every count and every line of a page, so it is a reference to its name, kept
//! for the life of the process: a configuration that is read again finds the names of the last one.
//! What a process keeps is therefore bounded by what a person writes into its configuration.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Mutex, PoisonError},
};

use super::{Group, OWN_GROUPS_MAX};

/// A group of the user's. Two of the same number, name and text are the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnGroup(&'static Kept);

#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Kept {
    number: usize,
    name: String,
    about: String,
}

/// Why a name cannot be a group's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OwnGroupError {
    /// Other characters, or none.
    #[error(
        "`{0}` is not a valid name of a group: expected lower-case letters, digits and underscores, a \
         letter first"
    )]
    Name(String),
    /// One too many.
    #[error("there may be {OWN_GROUPS_MAX} groups of one's own, this is one more")]
    TooMany,
}

impl OwnGroup {
    /// The user's group of this number, from 0.
    ///
    /// # Errors
    /// When the name is not of the form of the built-in ones, or the number is not below
    /// [`OWN_GROUPS_MAX`].
    pub fn try_new(number: usize, name: &str, about: &str) -> Result<Self, OwnGroupError> {
        static KEPT: Mutex<BTreeSet<&'static Kept>> = Mutex::new(BTreeSet::new());
        if !is_group_name(name) {
            return Err(OwnGroupError::Name(name.to_owned()));
        }
        if number >= OWN_GROUPS_MAX {
            return Err(OwnGroupError::TooMany);
        }
        let wanted = Kept { number, name: name.to_owned(), about: about.to_owned() };
        // A set is whole after each of its calls, so a panic elsewhere leaves it usable.
        let mut all = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = all.get(&wanted) {
            return Ok(Self(kept));
        }
        let kept: &'static Kept = Box::leak(Box::new(wanted));
        all.insert(kept);
        Ok(Self(kept))
    }

    /// Its number, from 0.
    pub const fn number(self) -> usize {
        self.0.number
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        &self.0.name
    }

    /// What the user says of it.
    pub fn about(self) -> &'static str {
        &self.0.about
    }
}

impl fmt::Debug for OwnGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}

impl From<OwnGroup> for Group {
    fn from(own: OwnGroup) -> Self {
        Self::Own(own)
    }
}

/// `[a-z][a-z0-9_]*`
fn is_group_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    name.bytes().next().is_some_and(|b| b.is_ascii_lowercase()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_kept_once() {
        let group = |number, name, about| OwnGroup::try_new(number, name, about).unwrap();
        let shop = group(0, "shop", "Orders.");
        assert!(std::ptr::eq(shop.0, group(0, "shop", "Orders.").0));
        for other in [group(1, "shop", "Orders."), group(0, "shop", "More."), group(0, "s", "")] {
            assert_ne!(shop, other);
        }
        assert_eq!((shop.number(), shop.name(), shop.about()), (0, "shop", "Orders."));
        assert_eq!(Group::from(shop).index(), Group::ALL.len());
        assert_eq!(Group::from(shop).to_string(), "shop");
    }

    #[test]
    fn names_and_numbers_that_are_refused() {
        for name in ["", "Shop", "9shop", "_shop", "my-shop", "my shop", "日志"] {
            assert_eq!(OwnGroup::try_new(0, name, ""), Err(OwnGroupError::Name(name.to_owned())));
        }
        assert_eq!(OwnGroup::try_new(OWN_GROUPS_MAX, "a", ""), Err(OwnGroupError::TooMany));
        let last = Group::from(OwnGroup::try_new(OWN_GROUPS_MAX - 1, "a", "").unwrap());
        assert!(last.index() < 64, "a filter has room for {}", last.index());
    }
}
