//! The Kubernetes API: a client of kube's that sends its requests through [`http`](crate::http).
//!
//! So that tokens that Kubernetes renews, authorities, proxies and limits are those of all other requests,
//! and one place opens sockets. Within a cluster the address comes from the environment, and the token's file is
//! looked at before each request: a ServiceAccount's token lives for an hour and is renewed long before.
//!
//! Invariants: an answer that stops coming ends after `BODY_IDLE_MAX`, a watch's after the time that the
//! watcher gives it; no answer is read beyond its bound, see `bounded`.

mod bounded;
mod object;

use std::{fs, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming};
use tokio::{
    sync::Mutex,
    time::{Interval, MissedTickBehavior, interval},
};

use self::bounded::{Bounded, Bounds};
pub use self::object::Watched;
use crate::{
    config::{Auth, Authorization, HttpClient, KubernetesApi, Namespaces, Secret, Tls},
    http::{BuildError, Client},
    kubernetes::kubeconfig::{self, Access, KubeconfigError},
    limits,
};

/// Where Kubernetes mounts what a pod needs to know to ask the API.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Longest time to the head of an answer. A page of 500 pods takes the API server a fraction of a second;
/// it gives up itself after a minute.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest pause within an answer that is no watch.
const BODY_IDLE_MAX: Duration = Duration::from_secs(30);

/// Shortest time between the beginnings of two watches of one client. A watch that ends without an error is begun
/// again at once, and with a proxy in between that ends each at once, this is all that protects the API.
const WATCH_EVERY_MIN: Duration = Duration::from_secs(1);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Not in a pod.
    #[error(
        "not in a Kubernetes pod: {0} is not set; set `kubeconfig_file`, or `api_server` with `authorization`"
    )]
    NotInCluster(&'static str),
    /// What the environment says is no address.
    #[error("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT make no URL: {0:?}")]
    Address(String),
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A kubeconfig that cannot be used.
    #[error("kubeconfig {path}: {source}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// Why.
        source: KubeconfigError,
    },
    /// Certificates or keys.
    #[error(transparent)]
    Client(#[from] BuildError),
}

/// An API server and how to ask it.
#[derive(Clone, Debug)]
pub struct Api {
    http: Client,
    url: Uri,
}

/// Told when a watch has begun: with a quiet cluster it is the only sign that the API works again.
pub type OnWatch = Arc<dyn Fn() + Send + Sync>;

/// The watches of one client.
struct Watches {
    /// The next one begins at the next turn.
    turns: Mutex<Interval>,
    on_watch: Option<OnWatch>,
}

impl Api {
    /// Reads what is needed to ask; asks nothing. `env` gives variables of the environment.
    ///
    /// # Errors
    /// Files that are missing or cannot be used. They may come, so it makes sense to try again.
    pub fn new(
        config: &KubernetesApi,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ApiError> {
        let Access { url, http } = match config {
            KubernetesApi::InCluster => in_cluster(Path::new(SERVICE_ACCOUNT), env)?,
            KubernetesApi::Kubeconfig(path) => from_kubeconfig(path)?,
            KubernetesApi::Server { url, http } => {
                Access { url: url.clone(), http: (**http).clone() }
            }
        };
        Ok(Self { http: Client::new(&http, HEAD_TIMEOUT)?, url })
    }

    /// A number that changes when a file with a token or certificate does.
    pub fn credentials(&self) -> u64 {
        self.http.credentials()
    }

    /// A client of kube's. Has to be called within a tokio runtime.
    pub fn client(&self, on_watch: Option<OnWatch>) -> kube::Client {
        let api = self.clone();
        let mut turns = interval(WATCH_EVERY_MIN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watches = Arc::new(Watches { turns: turns.into(), on_watch });
        let service = tower::service_fn(move |request| {
            let (api, watches) = (api.clone(), Arc::clone(&watches));
            async move { api.send(request, &watches).await }
        });
        kube::Client::new(service, "default")
    }

    async fn send(
        self,
        request: Request<kube::client::Body>,
        watches: &Watches,
    ) -> Result<Response<Bounded<Incoming>>, tower::BoxError> {
        let (mut head, body) = request.into_parts();
        let is_watch = head.uri.query().is_some_and(|query| {
            form_urlencoded::parse(query.as_bytes())
                .any(|(name, value)| name == "watch" && (value == "true" || value == "1"))
        });
        let asked = head.uri.path_and_query().map_or("/", |asked| asked.as_str());
        head.uri = format!("{}{asked}", self.url.to_string().trim_end_matches('/')).parse()?;
        let body: Bytes = body.collect().await?.to_bytes();
        if is_watch {
            watches.turns.lock().await.tick().await;
        }
        let answer = self.http.send(Request::from_parts(head, Full::new(body))).await?;
        let bounds = match is_watch && answer.status() == StatusCode::OK {
            true => {
                watches.on_watch.iter().for_each(|told| told());
                Bounds::Watch { bytes_max: limits::KUBERNETES_EVENT_BYTES_MAX }
            }
            false => Bounds::Whole {
                bytes_max: limits::KUBERNETES_LIST_BYTES_MAX,
                idle_max: BODY_IDLE_MAX,
            },
        };
        Ok(answer.map(|body| Bounded::new(body, bounds)))
    }
}

/// The namespaces to ask for; `None` is all of them.
///
/// # Errors
/// The own namespace is wanted and its file cannot be read.
pub fn namespaces(config: &Namespaces) -> Result<Vec<Option<String>>, ApiError> {
    let mut names = config.names.clone();
    if config.own {
        names.push(own_namespace()?);
    }
    names.sort();
    names.dedup();
    match names.is_empty() {
        true => Ok(vec![None]),
        false => Ok(names.into_iter().map(Some).collect()),
    }
}

/// The namespace of the pod that this runs in.
///
/// # Errors
/// The file that says so cannot be read: this is no pod, or one without a ServiceAccount's token.
pub fn own_namespace() -> Result<String, ApiError> {
    read(&Path::new(SERVICE_ACCOUNT).join("namespace")).map(|text| text.trim().to_owned())
}

fn in_cluster(mounted: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Access, ApiError> {
    const HOST: &str = "KUBERNETES_SERVICE_HOST";
    const PORT: &str = "KUBERNETES_SERVICE_PORT";
    let given = |name| env(name).filter(|value| !value.is_empty());
    let host = given(HOST).ok_or(ApiError::NotInCluster(HOST))?;
    let port = given(PORT).ok_or(ApiError::NotInCluster(PORT))?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let url = format!("https://{host}:{port}");
    let token = Secret::File(mounted.join("token"));
    let http = HttpClient {
        auth: Some(Auth::Authorization(Authorization {
            kind: "Bearer".to_owned(),
            credentials: token,
        })),
        tls: Tls { ca: Some(Secret::File(mounted.join("ca.crt"))), ..Tls::default() },
        http2: true,
        ..HttpClient::default()
    };
    let url = url.parse().map_err(|_| ApiError::Address(url))?;
    Ok(Access { url, http })
}

fn from_kubeconfig(path: &Path) -> Result<Access, ApiError> {
    let directory = path.parent().unwrap_or_else(|| Path::new(""));
    kubeconfig::read(&read(path)?, directory)
        .map_err(|source| ApiError::Kubeconfig { path: path.display().to_string(), source })
}

fn read(path: &Path) -> Result<String, ApiError> {
    fs::read_to_string(path)
        .map_err(|source| ApiError::File { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_knows_the_api_by_its_environment_and_its_files() {
        let env = |name: &str| match name {
            "KUBERNETES_SERVICE_HOST" => Some("fd00::1".to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some("443".to_owned()),
            _ => None,
        };
        let access = in_cluster(Path::new("/mounted"), &env).unwrap();
        assert_eq!(access.url, "https://[fd00::1]:443");
        assert_eq!(access.http.tls.ca, Some(Secret::File("/mounted/ca.crt".into())));
        let error = in_cluster(Path::new("/mounted"), &|_| None).unwrap_err().to_string();
        assert!(error.contains("not in a Kubernetes pod: KUBERNETES_SERVICE_HOST"), "{error}");
    }

    #[test]
    fn all_namespaces_are_meant_when_none_is_named() {
        let of = |names: &[&str]| Namespaces {
            own: false,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let check = |names: &[&str], expect: &[Option<&str>]| {
            let told = namespaces(&of(names)).unwrap();
            assert_eq!(told.iter().map(Option::as_deref).collect::<Vec<_>>(), expect);
        };
        check(&[], &[None]);
        check(&["b", "a", "b"], &[Some("a"), Some("b")]);
    }
}
