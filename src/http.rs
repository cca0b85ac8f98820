//! The HTTP client towards targets and receivers: the only place that opens outgoing sockets.
//!
//! One [`Client`] serves one scrape job or one receiver. It keeps connections alive, verifies TLS as
//! configured, adds authentication (secrets from files are read again when the file changes) and
//! bounds the time to the answer's head and the number of requests in flight with tower layers. The
//! body is the caller's to read, with the caller's deadline.

mod error;
mod secret;
mod tls;

use std::{
    hash::{DefaultHasher, Hasher as _},
    net::IpAddr,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response, Uri,
    body::Incoming,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower::{
    ServiceBuilder, ServiceExt as _, limit::GlobalConcurrencyLimitLayer, util::BoxCloneSyncService,
};

pub use self::error::{BuildError, Error, ErrorKind};
use self::{error::Resolver, secret::SecretSource};
use crate::config;

/// `User-Agent` of all requests.
pub const USER_AGENT: &str = concat!("flinkrelay/", env!("CARGO_PKG_VERSION"));

/// Requests of one client that may wait for an answer's head at once. Each holds a file descriptor;
/// the usual limit of those is 1,024 to 65,536. It is far above any number of targets that hang at
/// once, so that one dead host never delays the others.
const IN_FLIGHT_MAX: usize = 4096;

/// How long an idle connection is kept. Longer than usual scrape intervals, so that a target's
/// connection survives from scrape to scrape; servers that close earlier are noticed by hyper.
const IDLE: Duration = Duration::from_secs(150);

type Service = BoxCloneSyncService<Request<Full<Bytes>>, Response<Incoming>, tower::BoxError>;

/// A client for one scrape job or one receiver.
#[derive(Clone)]
pub struct Client {
    service: Service,
    headers: HeaderMap,
    secrets: std::sync::Arc<[(HeaderName, SecretSource)]>,
}

impl Client {
    /// Builds a client; `timeout` bounds the time to an answer's head.
    ///
    /// # Errors
    /// A certificate, key or secret file that cannot be read or used, a header that HTTP forbids.
    pub fn new(config: &config::HttpClient, timeout: Duration) -> Result<Self, BuildError> {
        let mut http = HttpConnector::new_with_resolver(Resolver::default());
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(timeout));
        http.set_keepalive(Some(Duration::from_secs(30)));
        let connector = tls::connector(&config.tls, http)?;
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(4)
            .build(connector);
        let service = ServiceBuilder::new()
            .layer(GlobalConcurrencyLimitLayer::new(IN_FLIGHT_MAX))
            .timeout(timeout)
            .service(client)
            .map_err(tower::BoxError::from);
        let mut headers = HeaderMap::new();
        headers.insert(hyper::header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let secrets = secret_headers(config)?;
        Ok(Self { service: BoxCloneSyncService::new(service), headers, secrets: secrets.into() })
    }

    /// A number that changes when a file with credentials does: its time, its size or whether it can
    /// be read.
    pub fn credentials(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.secrets.iter().for_each(|(_, secret)| secret.hash_files(&mut hasher));
        hasher.finish()
    }

    /// Sends a request and waits for the answer's head. Headers that the request does not have are
    /// added from the client's configuration.
    ///
    /// # Errors
    /// What went wrong, by kind; an HTTP status is not an error here.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Error> {
        for (name, value) in &self.headers {
            request.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        for (name, secret) in self.secrets.iter() {
            let value = secret.header_value().map_err(Error::secret)?;
            request.headers_mut().insert(name, value);
        }
        self.service.clone().oneshot(request).await.map_err(Error::from_service)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("headers", &self.headers).finish_non_exhaustive()
    }
}

/// Whether the URL's host is this machine by its spelling; names other than `localhost` are not
/// resolved.
pub fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn secret_headers(
    config: &config::HttpClient,
) -> Result<Vec<(HeaderName, SecretSource)>, BuildError> {
    let mut headers = Vec::new();
    for (name, value) in &config.headers {
        let header = HeaderName::try_from(name.as_str())
            .map_err(|_| BuildError::Header { name: name.clone() })?;
        headers.push((header, SecretSource::new(vec![value.clone()], <[_]>::concat)?));
    }
    if let Some(basic) = &config.basic_auth {
        let parts = vec![basic.username.clone(), basic.password.clone()];
        let encode = |parts: &[String]| format!("Basic {}", STANDARD.encode(parts.join(":")));
        headers.push((AUTHORIZATION, SecretSource::new(parts, encode)?));
    }
    if let Some(authorization) = &config.authorization {
        let kind = authorization.kind.clone();
        let encode = move |credentials: &[String]| format!("{kind} {}", credentials.concat());
        let parts = vec![authorization.credentials.clone()];
        headers.push((AUTHORIZATION, SecretSource::new(parts, encode)?));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_by_the_host_as_written() {
        for (url, expected) in [
            ("http://127.0.0.1:9250/metrics", true),
            ("http://127.3.2.1/", true),
            ("http://localhost:9250/", true),
            ("http://[::1]:9250/", true),
            ("http://10.0.0.1:9250/", false),
            ("http://localhost.example.com/", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
