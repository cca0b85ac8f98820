//! Secrets of a client: from the config, or from a file that is read again when it changes.
//!
//! Kubernetes swaps a mounted secret by renaming a link, so the file is looked at before each
//! request (one `stat`), and read again when its time or size differs.

use std::{
    fs,
    hash::{Hash as _, Hasher},
    io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use hyper::header::HeaderValue;

use super::BuildError;
use crate::config::Secret;

/// Puts the parts of a credential together.
type Encode = Box<dyn Fn(&[String]) -> String + Send + Sync>;

/// Where a header's value comes from: one or more secrets, put together.
pub(super) struct SecretSource {
    parts: Vec<Secret>,
    encode: Encode,
    cached: Mutex<Option<Cached>>,
}

/// A header value, and what the files looked like when it was made.
struct Cached {
    stamps: Vec<Stamp>,
    value: HeaderValue,
}

/// Time and size of a file; `None` for a secret from the config.
type Stamp = Option<(Option<SystemTime>, u64)>;

/// A secret that cannot be used now.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    #[error("cannot read the secret file {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("a secret holds bytes that an HTTP header cannot carry")]
    NotAHeader,
}

impl SecretSource {
    /// A header made from these secrets. Files are read at the first request, since a secret that is
    /// mounted late must not stop the relay.
    pub(super) fn new(
        parts: Vec<Secret>,
        encode: impl Fn(&[String]) -> String + Send + Sync + 'static,
    ) -> Result<Self, BuildError> {
        let inline = parts.iter().all(|part| matches!(part, Secret::Inline(_)));
        let source = Self { parts, encode: Box::new(encode), cached: Mutex::default() };
        match source.header_value() {
            Err(_) if inline => Err(BuildError::InlineSecret),
            _ => Ok(source),
        }
    }

    /// Adds what its files look like now.
    pub(super) fn hash_files(&self, hasher: &mut impl Hasher) {
        for part in &self.parts {
            stamp(part).ok().hash(hasher);
        }
    }

    pub(super) fn header_value(&self) -> Result<HeaderValue, SecretError> {
        let stamps = self.parts.iter().map(stamp).collect::<Result<Vec<_>, _>>()?;
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = cached.as_ref().filter(|cached| cached.stamps == stamps) {
            return Ok(cached.value.clone());
        }
        let texts = self.parts.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let value = (self.encode)(&texts);
        let mut value = HeaderValue::try_from(value).map_err(|_| SecretError::NotAHeader)?;
        value.set_sensitive(true);
        *cached = Some(Cached { stamps, value: value.clone() });
        Ok(value)
    }
}

fn stamp(secret: &Secret) -> Result<Stamp, SecretError> {
    let Secret::File(path) = secret else { return Ok(None) };
    let metadata = fs::metadata(path);
    let metadata = metadata.map_err(|source| SecretError::Read { path: path.clone(), source })?;
    Ok(Some((metadata.modified().ok(), metadata.len())))
}

fn read(secret: &Secret) -> Result<String, SecretError> {
    match secret {
        Secret::Inline(text) => Ok(text.clone()),
        Secret::File(path) => {
            let text = fs::read_to_string(path);
            let text = text.map_err(|source| SecretError::Read { path: path.clone(), source })?;
            Ok(text.trim_end_matches(['\r', '\n']).to_owned())
        }
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
    fn a_missing_file_is_named() {
        let source =
            SecretSource::new(vec![Secret::File("/nonexistent/token".into())], <[_]>::concat)
                .unwrap();
        let error = source.header_value().unwrap_err().to_string();
        assert!(error.contains("/nonexistent/token"), "{error}");
    }
}
