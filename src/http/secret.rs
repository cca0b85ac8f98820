//! Secrets and certificates: from the config, or from a file that is read again when it changes.
//!
//! Kubernetes swaps a mounted secret by renaming a link, so the file is looked at before each use
//! (one `stat`), and read again when its time, size or inode differs.

use std::{
    fs,
    hash::{Hash as _, Hasher},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use hyper::header::HeaderValue;

use super::BuildError;
use crate::config::Secret;

/// A text of the config or of a file, without the line break at the file's end.
///
/// As long as it does not change, [`Text::read`] returns the same allocation, so that what was made
/// of a text can be kept until [`Arc::ptr_eq`] says otherwise.
pub(super) struct Text {
    secret: Secret,
    cached: Mutex<Option<(Stamp, Arc<[u8]>)>>,
}

/// Puts the parts of a credential together.
type Encode = Box<dyn Fn(&[String]) -> String + Send + Sync>;

/// Where a header's value comes from: one or more secrets, put together.
pub(super) struct SecretSource {
    parts: Vec<Text>,
    encode: Encode,
    cached: Mutex<Option<Cached>>,
}

/// A header value, and the texts that it was made of.
type Cached = (Vec<Arc<[u8]>>, HeaderValue);

/// What tells that a file was replaced; the default for a secret from the config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

/// A secret that cannot be used now.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    #[error("cannot read the secret file {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the secret file {} is empty", path.display())]
    Empty { path: PathBuf },
    #[error("a secret holds bytes that an HTTP header cannot carry")]
    NotAHeader,
}

impl Text {
    pub(super) const fn new(secret: Secret) -> Self {
        Self { secret, cached: Mutex::new(None) }
    }

    /// The bytes as they are now.
    pub(super) fn read(&self) -> Result<Arc<[u8]>, SecretError> {
        let stamp = self.stamp()?;
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, bytes)) = cached.as_ref()
            && *of == stamp
        {
            return Ok(Arc::clone(bytes));
        }
        let bytes: Arc<[u8]> = match &self.secret {
            Secret::Inline(text) => text.as_bytes().into(),
            Secret::File(path) => {
                let read = fs::read(path).map_err(|source| self.unreadable(source))?;
                let end = read.iter().rposition(|b| !matches!(b, b'\r' | b'\n'));
                read.get(..end.map_or(0, |at| at + 1)).unwrap_or_default().into()
            }
        };
        *cached = Some((stamp, Arc::clone(&bytes)));
        Ok(bytes)
    }

    /// As [`Text::read`], for credentials: a file with nothing in it is one that is being written, or that
    /// its writer could not fill. Nothing is sent then: an answer of 401 would cost the samples.
    fn read_filled(&self) -> Result<Arc<[u8]>, SecretError> {
        let bytes = self.read()?;
        match &self.secret {
            Secret::File(path) if bytes.is_empty() => {
                Err(SecretError::Empty { path: path.clone() })
            }
            _ => Ok(bytes),
        }
    }

    /// As a credential that has to be text.
    pub(super) fn read_text(&self) -> Result<String, SecretError> {
        String::from_utf8(self.read_filled()?.to_vec()).map_err(|_| SecretError::NotAHeader)
    }

    /// Where it is from, for messages.
    pub(super) fn place(&self) -> String {
        match &self.secret {
            Secret::Inline(_) => "the configuration".to_owned(),
            Secret::File(path) => path.display().to_string(),
        }
    }

    /// Adds what its file looks like now.
    pub(super) fn hash_file(&self, hasher: &mut impl Hasher) {
        self.stamp().ok().hash(hasher);
    }

    fn stamp(&self) -> Result<Stamp, SecretError> {
        let Secret::File(path) = &self.secret else { return Ok(Stamp::default()) };
        let metadata = fs::metadata(path).map_err(|source| self.unreadable(source))?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Ok(Stamp { modified: metadata.modified().ok(), bytes: metadata.len(), inode })
    }

    fn unreadable(&self, source: io::Error) -> SecretError {
        let path = match &self.secret {
            Secret::File(path) => path.clone(),
            Secret::Inline(_) => PathBuf::new(),
        };
        SecretError::Read { path, source }
    }
}

impl SecretSource {
    /// A header made from these secrets. Files are read at the first request, since a secret that is
    /// mounted late must not stop the relay.
    pub(super) fn new(
        parts: Vec<Secret>,
        encode: impl Fn(&[String]) -> String + Send + Sync + 'static,
    ) -> Result<Self, BuildError> {
        let inline = parts.iter().all(|part| matches!(part, Secret::Inline(_)));
        let parts = parts.into_iter().map(Text::new).collect();
        let source = Self { parts, encode: Box::new(encode), cached: Mutex::default() };
        match source.header_value() {
            Err(_) if inline => Err(BuildError::InlineSecret),
            _ => Ok(source),
        }
    }

    pub(super) fn header_value(&self) -> Result<HeaderValue, SecretError> {
        let read = self.parts.iter().map(Text::read_filled).collect::<Result<Vec<_>, _>>()?;
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |of: &[Arc<[u8]>]| of.iter().zip(&read).all(|(was, is)| Arc::ptr_eq(was, is));
        if let Some((_, value)) = cached.as_ref().filter(|(of, _)| is_same(of)) {
            return Ok(value.clone());
        }
        let texts = read.iter().map(|bytes| str::from_utf8(bytes).map(str::to_owned));
        let texts = texts.collect::<Result<Vec<_>, _>>().map_err(|_| SecretError::NotAHeader)?;
        let value = (self.encode)(&texts);
        let mut value = HeaderValue::try_from(value).map_err(|_| SecretError::NotAHeader)?;
        value.set_sensitive(true);
        *cached = Some((read, value.clone()));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_changed_file_is_read_again_and_its_line_break_is_not_part_of_the_secret() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"first\n").unwrap();
        let secret = Secret::File(file.path().to_owned());
        let source =
            SecretSource::new(vec![secret], |token| format!("Bearer {}", token.concat())).unwrap();
        assert_eq!(source.header_value().unwrap(), "Bearer first");
        fs::write(file.path(), "second-longer\r\n").unwrap();
        assert_eq!(source.header_value().unwrap(), "Bearer second-longer");
    }

    #[test]
    fn a_file_that_is_replaced_by_one_of_the_same_size_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, "one").unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let text = Text::new(Secret::File(path.clone()));
        let first = text.read().unwrap();
        assert!(Arc::ptr_eq(&first, &text.read().unwrap()), "nothing has changed");
        // As a rotation does it: another file, moved into the place of the first.
        let next = directory.path().join("next");
        fs::write(&next, "two").unwrap();
        fs::File::options().write(true).open(&next).unwrap().set_modified(time).unwrap();
        fs::rename(next, path).unwrap();
        assert_eq!(&*text.read().unwrap(), b"two");
    }

    #[test]
    fn an_empty_file_is_no_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let secret = || Secret::File(file.path().to_owned());
        let source = SecretSource::new(vec![secret()], <[_]>::concat).unwrap();
        let place = file.path().display();
        for nothing in ["", "\n"] {
            fs::write(file.path(), nothing).unwrap();
            let error = source.header_value().unwrap_err().to_string();
            assert_eq!(error, format!("the secret file {place} is empty"));
            assert!(Text::new(secret()).read_text().is_err());
        }
        fs::write(file.path(), "written\n").unwrap();
        assert_eq!(source.header_value().unwrap(), "written");
        let inline = SecretSource::new(vec![Secret::Inline(String::new())], <[_]>::concat);
        assert_eq!(inline.unwrap().header_value().unwrap(), "", "what was typed is meant");
    }

    #[test]
    fn a_missing_file_is_named() {
        let source =
            SecretSource::new(vec![Secret::File("/nonexistent/token".into())], <[_]>::concat)
                .unwrap();
        let error = source.header_value().unwrap_err().to_string();
        assert!(error.contains("/nonexistent/token"), "{error}");
    }
}
