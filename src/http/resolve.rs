//! Names to addresses.
//!
//! The system's resolver is asked for each new connection, so what changes in DNS is seen by the
//! next one; connections do not live for ever, see `transport`.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower::Service as _;

type Lookup =
    dyn Fn(&str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync;

/// A resolver: the system's, or a test's.
#[derive(Clone)]
pub(super) struct Resolver(Arc<Lookup>);

/// A name that could not be resolved.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve {name}: {source}")]
pub(super) struct ResolveError {
    name: String,
    source: io::Error,
}

impl Default for Resolver {
    fn default() -> Self {
        Self(Arc::new(|name| {
            let name = name.parse::<Name>();
            Box::pin(async move {
                let name = name.map_err(|error| io::Error::other(error.to_string()))?;
                let found = GaiResolver::new().call(name).await?;
                Ok(found.map(|address| address.ip()).collect())
            })
        }))
    }
}

impl Resolver {
    /// A resolver that answers what the function says.
    #[cfg(test)]
    pub(super) fn with(answer: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |name| Box::pin(std::future::ready(Ok(answer(name))))))
    }

    /// The addresses of a host as it stands in a URL, at least one, in the system's order.
    pub(super) async fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let host = host.trim_matches(['[', ']']);
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let fault = |source| ResolveError { name: host.to_owned(), source };
        let found = (self.0)(host).await.map_err(fault)?;
        if found.is_empty() {
            let none = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            return Err(fault(none));
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }
}
