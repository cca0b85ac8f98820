//! The HTTP client towards targets and receivers: the only place that opens outgoing sockets.
//!
//! One [`Client`] serves one scrape job or one receiver. It keeps connections alive, verifies TLS as
//! configured, goes through proxies, adds authentication and bounds the time to the answer's head
//! and the number of requests in flight. The body is the caller's to read, with the caller's
//! deadline. Secrets and certificates in files are read again when the files change.
//!
//! ```text
//! Client     headers, authentication, redirects
//!   +-- oauth2, aws     ask for credentials, by a Transport of their own
//!   +-- Transport       pools of connections, limits
//!         +-- connect   addresses of the name, proxy, TLS
//! ```

mod addresses;
mod ask;
mod aws;
mod connect;
mod credentials;
mod error;
mod oauth2;
mod proxy;
mod reach;
mod redirect;
mod resolve;
mod secret;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod watched;

use std::{net::IpAddr, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{AUTHORIZATION, HOST, HeaderName, HeaderValue},
};

pub use self::{
    ask::without_query,
    error::{BuildError, Error, ErrorKind},
    reach::{Reached, reach},
};
use self::{
    aws::Signer,
    oauth2::OAuth2,
    secret::SecretSource,
    transport::{Settings, Transport},
    watched::Watched,
};
use crate::config;

/// `User-Agent` of all requests.
pub const USER_AGENT: &str = concat!("flinkrelay/", env!("CARGO_PKG_VERSION"));

/// A client for one scrape job or one receiver.
#[derive(Clone)]
pub struct Client {
    transport: Transport,
    own: Arc<Own>,
}

/// Part of a request's time that a question for its credentials may take. It ends before the request
/// does, so that who hangs is told by name and not taken for the server that was to be asked.
const CREDENTIAL_PART: f64 = 0.9;

/// What a client adds to requests.
struct Own {
    auth: Option<Auth>,
    /// Those whose name stands several times are sent several times.
    headers: Vec<(HeaderName, SecretSource)>,
    follow_redirects: bool,
    watched: Watched,
}

/// Where `Authorization` comes from.
enum Auth {
    Header(SecretSource),
    OAuth2(Box<OAuth2>),
    Sigv4(Box<Signer>),
}

impl Client {
    /// Builds a client; `timeout` bounds the time to an answer's head.
    ///
    /// # Errors
    /// A certificate or key that cannot be read or used, a header that HTTP forbids. Files with
    /// secrets are not looked at: they may come later.
    pub fn new(config: &config::HttpClient, timeout: Duration) -> Result<Self, BuildError> {
        let transport = Transport::new(&settings(config, timeout))?;
        Self::with_transport(config, timeout, transport)
    }

    /// A number that changes when a file with credentials or certificates does.
    pub fn credentials(&self) -> u64 {
        self.own.watched.stamp()
    }

    /// The proxy that requests for this URL go through.
    pub fn proxy_for(&self, url: &Uri) -> Option<Uri> {
        self.transport.proxy_for(url)
    }

    fn with_transport(
        config: &config::HttpClient,
        timeout: Duration,
        transport: Transport,
    ) -> Result<Self, BuildError> {
        let mut headers = Vec::new();
        for (name, value) in &config.headers {
            let header = HeaderName::try_from(name.as_str())
                .map_err(|_| BuildError::Header { name: name.clone() })?;
            headers.push((header, SecretSource::new(vec![value.clone()], <[_]>::concat)?));
        }
        let auth = Auth::new(config, timeout)?;
        let follow_redirects = config.follow_redirects;
        let watched = Watched::new(config);
        Ok(Self { transport, own: Arc::new(Own { auth, headers, follow_redirects, watched }) })
    }

    /// Sends a request and waits for the answer's head, that of the last one when redirects are
    /// followed. Headers and authentication of the client's configuration are added.
    ///
    /// # Errors
    /// What went wrong, by kind; an HTTP status is not an error here.
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Error> {
        let agent = request.headers_mut().entry(hyper::header::USER_AGENT);
        agent.or_insert_with(|| HeaderValue::from_static(USER_AGENT));
        if !self.own.follow_redirects {
            return self.send_with_auth(request).await;
        }
        let (mut visited, mut trusted) = (vec![request.uri().clone()], true);
        loop {
            let answer = match trusted {
                true => self.send_with_auth(request.clone()).await?,
                false => self.transport.send(request.clone()).await?,
            };
            let (method, url) = (request.method(), request.uri());
            let target = redirect::target(method, url, answer.status(), answer.headers());
            // Asked again in the same way, who has answered before answers the same.
            let is_new = |target: &Uri| {
                visited.len() <= redirect::REDIRECTS_MAX && !visited.contains(target)
            };
            let Some(target) = target.filter(is_new) else { return Ok(answer) };
            // Who was left once is not trusted by coming back.
            trusted &= visited.first().is_some_and(|from| redirect::is_trusted(from, &target));
            visited.push(target.clone());
            request.headers_mut().remove(HOST);
            *request.uri_mut() = target;
        }
    }

    async fn send_with_auth(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Error> {
        self.own.add_headers(request.headers_mut())?;
        match &self.own.auth {
            None => self.transport.send(request).await,
            Some(Auth::Header(secret)) => {
                let value = secret.header_value().map_err(secret_error)?;
                request.headers_mut().insert(AUTHORIZATION, value);
                self.transport.send(request).await
            }
            Some(Auth::Sigv4(signer)) => {
                Box::pin(signer.sign(&mut request)).await.map_err(Error::credential)?;
                self.transport.send(request).await
            }
            Some(Auth::OAuth2(oauth2)) => {
                let token = Box::pin(oauth2.authorization()).await.map_err(Error::credential)?;
                let mut again = request.clone();
                request.headers_mut().insert(AUTHORIZATION, token.clone());
                let answer = self.transport.send(request).await?;
                if answer.status() != StatusCode::UNAUTHORIZED || !oauth2.refused(&token) {
                    return Ok(answer);
                }
                // The server has forgotten the token before its time: once more with a new one.
                let token = Box::pin(oauth2.authorization()).await.map_err(Error::credential)?;
                again.headers_mut().insert(AUTHORIZATION, token);
                self.transport.send(again).await
            }
        }
    }
}

impl Own {
    fn add_headers(&self, headers: &mut HeaderMap) -> Result<(), Error> {
        for (name, _) in &self.headers {
            headers.remove(name);
        }
        for (name, secret) in &self.headers {
            headers.append(name, secret.header_value().map_err(secret_error)?);
        }
        Ok(())
    }
}

impl Auth {
    fn new(config: &config::HttpClient, timeout: Duration) -> Result<Option<Self>, BuildError> {
        let timeout = timeout.mul_f64(CREDENTIAL_PART);
        Ok(Some(match &config.auth {
            None => return Ok(None),
            Some(config::Auth::Basic(basic)) => {
                let parts = vec![basic.username.clone(), basic.password.clone()];
                let encode =
                    |parts: &[String]| format!("Basic {}", STANDARD.encode(parts.join(":")));
                Self::Header(SecretSource::new(parts, encode)?)
            }
            Some(config::Auth::Authorization(authorization)) => {
                let kind = authorization.kind.clone();
                let encode =
                    move |credentials: &[String]| format!("{kind} {}", credentials.concat());
                let parts = vec![authorization.credentials.clone()];
                Self::Header(SecretSource::new(parts, encode)?)
            }
            Some(config::Auth::OAuth2(oauth2)) => {
                Self::OAuth2(Box::new(OAuth2::new(oauth2, timeout)?))
            }
            Some(config::Auth::Sigv4(sigv4)) => {
                Self::Sigv4(Box::new(Signer::new(sigv4, config.proxy.as_ref(), timeout)?))
            }
        }))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

fn settings(config: &config::HttpClient, timeout: Duration) -> Settings<'_> {
    Settings {
        tls: &config.tls,
        proxy: config.proxy.as_ref(),
        http2: config.http2,
        connections: config.connections,
        timeout,
    }
}

fn secret_error(error: secret::SecretError) -> Error {
    Error::credential(Arc::new(error.into()))
}

/// Whether the URL's host is this machine by its spelling; names other than `localhost` are not
/// resolved.
pub fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
