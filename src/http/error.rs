//! What can go wrong between a request and its answer, sorted into the kinds that users see.

use std::{error::Error as StdError, fmt, io, path::PathBuf, sync::Arc};

use super::{
    connect::ConnectError, credentials::CredentialError, resolve::ResolveError, secret::SecretError,
};

/// A client that cannot be built from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A header name that HTTP forbids.
    #[error("{name:?} is not a valid HTTP header name")]
    Header {
        /// The name as configured.
        name: String,
    },
    /// A secret or header value that HTTP forbids.
    #[error("a header value or secret holds bytes that an HTTP header cannot carry")]
    InlineSecret,
    /// A TLS file that cannot be read.
    #[error("cannot read {}", path.display())]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// TLS material that cannot be used.
    #[error("{what}: {reason}")]
    Tls {
        /// Which part.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The name could not be resolved.
    Dns,
    /// No connection: refused, reset, unreachable, TLS refused, closed before an answer.
    Connect,
    /// No answer in time.
    Timeout,
    /// The answer's body ended early.
    Truncated,
    /// A credential could not be read, or who gives it out did not; nothing was sent.
    Secret,
}

/// A request that got no complete answer.
#[derive(Debug)]
pub struct Error {
    /// Its kind.
    pub kind: ErrorKind,
    source: tower::BoxError,
}

impl Error {
    pub(super) fn new(kind: ErrorKind, source: tower::BoxError) -> Self {
        Self { kind, source }
    }

    pub(super) fn credential(error: Arc<CredentialError>) -> Self {
        Self { kind: ErrorKind::Secret, source: error.into() }
    }

    pub(super) fn from_service(source: tower::BoxError) -> Self {
        let kind = if caused_by::<tower::timeout::error::Elapsed>(&*source) {
            ErrorKind::Timeout
        } else if caused_by::<ResolveError>(&*source) {
            ErrorKind::Dns
        } else if caused_by::<SecretError>(&*source) {
            ErrorKind::Secret
        } else if io_kind(&*source) == Some(io::ErrorKind::TimedOut) {
            ErrorKind::Timeout
        } else {
            ErrorKind::Connect
        };
        Self { kind, source }
    }

    /// A request that its caller has given up.
    pub fn late() -> Self {
        Self::new(ErrorKind::Timeout, Box::from("no answer in time"))
    }

    /// Whether nobody listens at the address, as opposed to somebody who does not speak HTTP.
    pub fn is_refused(&self) -> bool {
        io_kind(&*self.source) == Some(io::ErrorKind::ConnectionRefused)
    }

    /// Whether both sides had a connection and could not agree on TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.connect_error(), Some(ConnectError::Tls { .. }))
    }

    fn connect_error(&self) -> Option<&ConnectError> {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&*self.source);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref() {
                return Some(error);
            }
            cause = error.source();
        }
        None
    }

    /// Whether the connection was closed before any answer, as happens to a request that meets a
    /// server closing an idle connection: sent again, on a new one, it may well be answered.
    pub fn is_closed_early(&self) -> bool {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&*self.source);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<hyper::Error>() {
                return error.is_incomplete_message() || error.is_canceled();
            }
            cause = error.source();
        }
        false
    }

    /// The body of an answer could not be read to its end.
    pub fn from_body(error: hyper::Error) -> Self {
        Self { kind: ErrorKind::Truncated, source: error.into() }
    }
}

/// The innermost causes say most: wrappers such as "client error (Connect)" are left out, and what a
/// cause has said already is not said again.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == ErrorKind::Timeout {
            return f.write_str("no answer in time");
        }
        let mut causes = Vec::<String>::new();
        let mut error: Option<&(dyn StdError + 'static)> = Some(&*self.source);
        while let Some(cause) = error {
            let text = cause.to_string();
            let wrapper = text.starts_with("client error (") || text == "dns error";
            if !wrapper && !causes.iter().any(|said| said.ends_with(&text)) {
                causes.push(text);
            }
            error = cause.source();
        }
        let skip = causes.len().saturating_sub(2);
        f.write_str(&causes.get(skip..).unwrap_or_default().join(": "))
    }
}

impl StdError for Error {}

fn caused_by<E: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}
