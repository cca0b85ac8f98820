//! New connections: an address of the name, the proxy in between, TLS.
//!
//! ```text
//! http://vm/                       TCP to vm
//! http://vm/  by http proxy        TCP to the proxy; requests name the whole URL
//! https://vm/ by http proxy        TCP to the proxy, CONNECT vm:443, TLS to vm
//! …           by https proxy       as above, with TLS to the proxy below it
//! ```

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::{Uri, rt};
use hyper_util::{
    client::legacy::connect::{self, Connection, proxy::Tunnel},
    rt::TokioIo,
};
use rustls::{CertificateError, ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::TlsConnector;
use tower::{Service, ServiceExt as _};

use super::{
    addresses::{order, race},
    error::BuildError,
    proxy::{Proxies, Via},
    resolve::{ResolveError, Resolver},
    secret::SecretError,
    tls::{TlsSource, name_of},
};

/// Age at which a connection is not used any more, less up to a quarter by chance so that those of a
/// start do not end together. A name is resolved for each new connection, so this is how long a
/// change of DNS, or a new member behind a balancer, may go unnoticed while the old address still
/// answers. A handshake each five minutes costs nothing that could be measured.
pub(super) const CONNECTION_AGE_MAX: Duration = Duration::from_secs(5 * 60);

/// Idle time after which the system begins to probe the other side.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Makes the connections of one client.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    resolver: Resolver,
    proxies: Arc<Proxies>,
    tls: TlsSource,
    /// Counts connections, so that each begins at another address.
    turn: AtomicUsize,
    timeout: Duration,
}

/// A connection and what the pool has to know of it.
pub(super) struct Stream {
    io: Box<dyn Io>,
    /// To an http proxy that wants the whole URL in each request.
    proxied: bool,
    http2: bool,
    life: Life,
}

/// When a connection began and how old it may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    opened: Instant,
    age_max: Duration,
}

trait Io: rt::Read + rt::Write + Send + Unpin {}
impl<T: rt::Read + rt::Write + Send + Unpin> Io for T {}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("dns error")]
    Resolve(#[from] ResolveError),
    #[error("tcp connect error{at}")]
    Tcp { at: String, source: io::Error },
    #[error("TLS with {host}: {error}{hint}")]
    Tls { host: String, error: io::Error, hint: &'static str },
    #[error("the proxy {proxy} opens no tunnel to {url}: {error}{hint}")]
    Tunnel { proxy: String, url: String, error: tower::BoxError, hint: &'static str },
    #[error("no connection in time")]
    Timeout(#[source] io::Error),
    #[error(transparent)]
    Name(#[from] BuildError),
    #[error("proxy_connect_header")]
    Secret(#[from] SecretError),
}

impl Life {
    /// Whether the connection has had its time.
    pub(super) fn is_over(&self) -> bool {
        self.opened.elapsed() >= self.age_max
    }
}

impl Connector {
    pub(super) fn new(
        resolver: Resolver,
        proxies: Arc<Proxies>,
        tls: TlsSource,
        timeout: Duration,
    ) -> Self {
        // Relays that start together should not all begin with the same address.
        let turn = AtomicUsize::new(fastrand::usize(..));
        Self(Arc::new(Inner { resolver, proxies, tls, turn, timeout }))
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let connected = tokio::time::timeout(inner.timeout, inner.connect(&url)).await;
            connected.unwrap_or_else(|_| {
                Err(ConnectError::Timeout(io::Error::from(io::ErrorKind::TimedOut)))
            })
        })
    }
}

impl Inner {
    async fn connect(&self, url: &Uri) -> Result<Stream, ConnectError> {
        let via = self.proxies.via(url).cloned();
        let life = Life {
            opened: Instant::now(),
            age_max: CONNECTION_AGE_MAX.mul_f64(1.0 - fastrand::f64() / 4.0),
        };
        let next = match &via {
            Some(via) => &via.url,
            None => url,
        };
        let mut io = self.tcp(next, via.is_some()).await?;
        if let Some(via) = via {
            if via.url.scheme_str() == Some("https") {
                let mut config = ClientConfig::clone(&self.tls.config());
                config.alpn_protocols.clear();
                let host = via.url.host().unwrap_or_default();
                (io, _) = handshake(config.into(), name_of(host)?, host, io).await?;
            }
            if url.scheme_str() != Some("https") {
                return Ok(Stream { io, proxied: true, http2: false, life });
            }
            io = self.tunnel(via, io, url).await?;
        }
        if url.scheme_str() != Some("https") {
            return Ok(Stream { io, proxied: false, http2: false, life });
        }
        let host = url.host().unwrap_or_default();
        let (io, http2) =
            handshake(self.tls.config(), self.tls.server_name(host)?, host, io).await?;
        Ok(Stream { io, proxied: false, http2, life })
    }

    /// A connection to the URL's host and port.
    async fn tcp(&self, url: &Uri, is_proxy: bool) -> Result<Box<dyn Io>, ConnectError> {
        let host = url.host().unwrap_or_default();
        let https = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if https { 443 } else { 80 });
        let addresses = self.resolver.resolve(host, port).await?;
        let is_literal =
            addresses.len() == 1 && host.ends_with(|c: char| c == ']' || c.is_ascii_digit());
        let turn = self.turn.fetch_add(1, Relaxed);
        let stream = race(order(&addresses, turn), dial).await.map_err(|failed| {
            let (address, source) = match failed {
                Some((address, source)) => (Some(address), source),
                None => (None, io::Error::from(io::ErrorKind::NotFound)),
            };
            let at = match address {
                _ if is_proxy => format!(" at the proxy {url}"),
                Some(address) if !is_literal => format!(" at {address}"),
                _ => String::new(),
            };
            ConnectError::Tcp { at, source }
        })?;
        // Both only make it better; a system that refuses them has a connection all the same.
        let _refused = stream.set_nodelay(true);
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
        let _refused = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        Ok(Box::new(TokioIo::new(stream)))
    }

    /// Asks the proxy at the other end of `io` for a tunnel to the URL's host and port.
    async fn tunnel(
        &self,
        via: Via,
        io: Box<dyn Io>,
        url: &Uri,
    ) -> Result<Box<dyn Io>, ConnectError> {
        let headers = self.proxies.connect_headers(&via)?;
        let tunnel = Tunnel::new(via.url.clone(), Connected(Some(io))).with_headers(headers);
        let tunnelled = tunnel.oneshot(url.clone()).await;
        tunnelled.map_err(|error| {
            let hint = match error.to_string() {
                text if text.contains("authorization") => {
                    "; write user and password into the proxy's URL"
                }
                _ => "; does it allow this host and port?",
            };
            ConnectError::Tunnel {
                proxy: via.url.to_string(),
                url: url.to_string(),
                error: error.into(),
                hint,
            }
        })
    }
}

async fn dial(address: SocketAddr) -> Result<TcpStream, (SocketAddr, io::Error)> {
    TcpStream::connect(address).await.map_err(|source| (address, source))
}

/// Speaks TLS over a connection. Returns whether both sides want HTTP/2.
async fn handshake(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    host: &str,
    io: Box<dyn Io>,
) -> Result<(Box<dyn Io>, bool), ConnectError> {
    let connected = TlsConnector::from(config).connect(name, TokioIo::new(io)).await;
    let stream = connected.map_err(|error| {
        let hint = hint(&error);
        ConnectError::Tls { host: host.to_owned(), error, hint }
    })?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((Box::new(TokioIo::new(stream)), http2))
}

/// What a person can do about a handshake that failed.
fn hint(error: &io::Error) -> &'static str {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let Some(tls) = tls else { return "" };
    match tls {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "; trust its authority with `ca_file`"
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "; verify another name with `server_name`",
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            "; an authority of the same name signed it: is `ca_file` the current one?"
        }
        rustls::Error::InvalidCertificate(CertificateError::Other(_))
            if tls.to_string().contains("CaUsedAsEndEntity") =>
        {
            "; it is an authority's: give this very certificate as `ca_file`"
        }
        rustls::Error::InvalidMessage(_) => "; does the other side speak TLS on this port?",
        _ => "",
    }
}

/// The connector that a tunnel wants, when the connection is there already.
struct Connected(Option<Box<dyn Io>>);

impl Service<Uri> for Connected {
    type Response = Box<dyn Io>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Box<dyn Io>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connected = self.0.take();
        std::future::ready(connected.ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

impl Connection for Stream {
    fn connected(&self) -> connect::Connected {
        let connected = connect::Connected::new().proxy(self.proxied).extra(self.life);
        if self.http2 { connected.negotiated_h2() } else { connected }
    }
}

impl rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl rt::Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, bytes)
    }
}
