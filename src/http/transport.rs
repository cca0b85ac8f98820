//! Requests over kept connections, without authentication.
//!
//! A client has one or more pools of connections, and a request takes the pool with the fewest
//! requests in flight. One pool is right for HTTP/1: it keeps as many connections as there are
//! requests at once. With HTTP/2 a pool has one connection for all, and so one address and one
//! congestion window; several pools give a receiver's lanes several of each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, Uri, body::Incoming, header::PROXY_AUTHORIZATION};
use hyper_util::{
    client::legacy::{
        self,
        connect::{CaptureConnection, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use tower::{
    ServiceBuilder, ServiceExt as _, limit::GlobalConcurrencyLimitLayer, util::BoxCloneSyncService,
};

use super::{
    BuildError, Error,
    connect::{Connector, Life},
    proxy::Proxies,
    resolve::Resolver,
    tls::TlsSource,
};
use crate::config::{Connections, Proxy, Tls};

/// Requests of one client that may wait for an answer's head at once. Each holds a file descriptor;
/// the usual limit of those is 1,024 to 65,536. It is far above any number of targets that hang at
/// once, so that one dead host never delays the others.
const IN_FLIGHT_MAX: usize = 4096;

/// How long an idle connection is kept. Longer than usual scrape intervals, so that a target's
/// connection survives from scrape to scrape; servers that close earlier are noticed by hyper.
const IDLE: Duration = Duration::from_secs(150);

/// What is read from a connection at once; hyper goes up to 408 KiB, and each target has a connection.
const READ_BYTES_MAX: usize = 64 << 10;

/// Idle connections to one host that are kept. There are as many as requests went out at once: one
/// for a target, up to `max_shards` for a receiver, of which few people have more than this.
const IDLE_PER_HOST_MAX: usize = 64;

/// An HTTP/2 connection with requests on it is asked for a sign of life when nothing came for that
/// long, and is given up when none comes. Without it a host that vanished would keep its connection,
/// and with it all requests, until the system gives up after a quarter of an hour.
const PING_AFTER: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

type Service = BoxCloneSyncService<Request<Full<Bytes>>, Response<Incoming>, tower::BoxError>;

/// Sends requests and waits for the heads of their answers.
#[derive(Clone)]
pub(super) struct Transport {
    service: Service,
    proxies: Arc<Proxies>,
}

/// How a transport connects.
pub(super) struct Settings<'c> {
    pub(super) tls: &'c Tls,
    pub(super) proxy: Option<&'c Proxy>,
    pub(super) http2: bool,
    pub(super) connections: Connections,
    /// Longest time to an answer's head.
    pub(super) timeout: Duration,
}

struct Pool {
    client: legacy::Client<Connector, Full<Bytes>>,
    in_flight: AtomicUsize,
}

impl Transport {
    pub(super) fn new(settings: &Settings<'_>) -> Result<Self, BuildError> {
        Self::with_resolver(settings, Resolver::default())
    }

    pub(super) fn with_resolver(
        settings: &Settings<'_>,
        resolver: Resolver,
    ) -> Result<Self, BuildError> {
        let proxies = Arc::new(Proxies::new(settings.proxy)?);
        let tls = TlsSource::new(settings.tls, settings.http2)?;
        let connector = Connector::new(resolver, Arc::clone(&proxies), tls, settings.timeout);
        let pool = || Pool {
            client: legacy::Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
                .http1_max_buf_size(READ_BYTES_MAX)
                .http2_keep_alive_interval(PING_AFTER)
                .http2_keep_alive_timeout(PING_TIMEOUT)
                .build(connector.clone()),
            in_flight: AtomicUsize::new(0),
        };
        let pools = match settings.http2 {
            true => settings.connections.0.max(1),
            false => 1,
        };
        let pools: Arc<[Pool]> = (0..pools).map(|_| pool()).collect();
        let service = ServiceBuilder::new()
            .layer(GlobalConcurrencyLimitLayer::new(IN_FLIGHT_MAX))
            .timeout(settings.timeout)
            .service(tower::service_fn(move |request| exchange(Arc::clone(&pools), request)));
        Ok(Self { service: BoxCloneSyncService::new(service), proxies })
    }

    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Error> {
        if let Some(login) = self.proxy_login(request.uri()) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, login);
        }
        self.service.clone().oneshot(request).await.map_err(Error::from_service)
    }

    pub(super) fn proxy_for(&self, url: &Uri) -> Option<Uri> {
        self.proxies.via(url).map(|via| via.url.clone())
    }

    /// What the proxy wants in each request that it reads itself; tunnels are asked for it once.
    fn proxy_login(&self, url: &Uri) -> Option<hyper::header::HeaderValue> {
        if url.scheme_str() == Some("https") {
            return None;
        }
        self.proxies.via(url)?.login.clone()
    }
}

async fn exchange(
    pools: Arc<[Pool]>,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, tower::BoxError> {
    // The first of those with the fewest: who sends one at a time always uses the same connection.
    let pool = pools.iter().min_by_key(|pool| pool.in_flight.load(Relaxed));
    let pool = pool.ok_or("a transport has a pool")?;
    let mut turn = Turn::begin(pool, capture_connection(&mut request));
    let answer = pool.client.request(request).await;
    turn.is_answered = answer.is_ok();
    Ok(answer?)
}

/// One request on a connection.
struct Turn<'p> {
    pool: &'p Pool,
    connection: CaptureConnection,
    is_answered: bool,
}

impl<'p> Turn<'p> {
    fn begin(pool: &'p Pool, connection: CaptureConnection) -> Self {
        pool.in_flight.fetch_add(1, Relaxed);
        Self { pool, connection, is_answered: false }
    }
}

/// The connection is not used again when it is too old, and when there was no answer in time:
/// HTTP/2 would go on to use one whose other end has vanished. Requests that are on it now go on.
impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.pool.in_flight.fetch_sub(1, Relaxed);
        let metadata = self.connection.connection_metadata();
        let Some(connected) = metadata.as_ref() else { return };
        let mut extra = hyper::http::Extensions::new();
        connected.get_extras(&mut extra);
        if !self.is_answered || extra.get::<Life>().is_some_and(Life::is_over) {
            connected.poison();
        }
    }
}
