//! `kubernetes_sd_configs`, and `flink_sd_configs` that ask Kubernetes: follows what the API tells.
//!
//! ```text
//!  one watch per namespace and kind           one for all
//!  list, watch, list again … -> Told  ------> Picture -> groups -> Report
//!      + failure, pause, again                        at most each PUBLISH_EVERY
//! ```
//!
//! What the objects mean is [`kubernetes`](crate::kubernetes)' business, how the API is asked
//! [`kube_api`]'s, and kube's watcher knows when to list and when to go on.
//!
//! Invariants: nothing is told before each watch has listed all there is, or was refused; from then on, what a
//! watch has told stays until the API says otherwise, however long it cannot be asked.

mod follow;
mod picture;

use std::{convert::Infallible, env, pin::pin, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use self::{
    follow::{Follower, Message},
    picture::{Change, Picture},
};
use super::{Group, source::Report};
use crate::{
    config::{self, FlinkKubernetes, KubernetesRole, KubernetesSd, Selector, TargetSpec},
    kube_api::{self, Api, ApiError},
    kubernetes::{
        Found, FoundTarget,
        flink::{self, Wanted},
        joined::Told,
        object::Pod,
        pod,
    },
    target::{Address, Seed},
};

/// Shortest time between two sets that are handed over: a deployment that comes or goes is a burst of events,
/// and should be one change or two.
const PUBLISH_EVERY: Duration = Duration::from_millis(500);

/// Pause before the files that say where the API is are looked at again.
const SETUP_AGAIN: Duration = Duration::from_secs(15);

/// Events that wait to be taken in. They are taken in faster than they come, so this is only there to have an
/// end.
const MESSAGES_MAX: usize = 256;

/// What an entry follows.
#[derive(Debug)]
pub struct Kubernetes {
    api: config::KubernetesApi,
    namespaces: config::Namespaces,
    what: What,
}

#[derive(Debug)]
enum What {
    Pods { selector: Selector, of_flink: Option<Wanted> },
    Slices { slices: Selector, services: Selector, pods: Selector },
}

impl Kubernetes {
    /// What an entry of `kubernetes_sd_configs` follows.
    pub fn new(config: &KubernetesSd) -> Self {
        let what = match &config.role {
            KubernetesRole::Pod { pods } => What::Pods { selector: pods.clone(), of_flink: None },
            KubernetesRole::EndpointSlice { slices, services, pods } => What::Slices {
                slices: slices.clone(),
                services: services.clone(),
                pods: pods.clone(),
            },
        };
        Self { api: config.api.clone(), namespaces: config.namespaces.clone(), what }
    }

    /// What an entry of `flink_sd_configs` follows.
    pub fn of_flink(config: &FlinkKubernetes) -> Self {
        let further = config.selector.iter().map(String::as_str);
        let label: Vec<&str> = [flink::SELECTOR].into_iter().chain(further).collect();
        let selector = Selector { label: Some(label.join(",")), field: None };
        let wanted = Wanted { ports: config.ports.clone(), with_sidecar: config.with_sidecar };
        Self {
            api: config.api.clone(),
            namespaces: config.namespaces.clone(),
            what: What::Pods { selector, of_flink: Some(wanted) },
        }
    }

    pub(super) async fn run(&self, report: &Report) {
        loop {
            let Err(error) = self.watch(report).await;
            report.failed(error);
            sleep(SETUP_AGAIN).await;
        }
    }

    /// Ends only when it cannot begin.
    async fn watch(&self, report: &Report) -> Result<Infallible, ApiError> {
        let api = Api::new(&self.api, &|name| env::var(name).ok())?;
        let namespaces = kube_api::namespaces(&self.namespaces)?;
        let (tell, mut told) = mpsc::channel::<Message>(MESSAGES_MAX);
        let mut followers = FuturesUnordered::new();
        let mut picture = Picture::new(namespaces.len(), matches!(self.what, What::Slices { .. }));
        for (at, namespace) in namespaces.iter().enumerate() {
            let mut follow = |selector: &Selector| {
                let watch = picture.add_watch(at);
                Follower::new(&api, watch, namespace.as_deref(), selector, tell.clone())
            };
            match &self.what {
                What::Pods { selector, of_flink } => {
                    let group = |pod: Pod| Arc::new(group(found(&pod, of_flink.as_ref())));
                    let change = move |event| Change::Group(at, event);
                    followers.push(follow(selector).follow::<Pod, _>(group, change).boxed());
                }
                What::Slices { slices, services, pods } => {
                    let slice = move |event| Change::Joined(at, Told::Slice(event));
                    followers.push(follow(slices).follow(Arc::new, slice).boxed());
                    let service = move |event| Change::Joined(at, Told::Service(event));
                    followers.push(follow(services).follow(Arc::new, service).boxed());
                    let pod = move |event| Change::Joined(at, Told::Pod(event));
                    followers.push(follow(pods).follow(Arc::new, pod).boxed());
                }
            }
        }
        let mut pause = pin!(sleep_until(Instant::now()));
        loop {
            tokio::select! {
                Some(never) = followers.next() => match never {},
                Some(message) = told.recv() => picture.take(message),
                () = pause.as_mut(), if picture.has_news() => {
                    picture.publish(report);
                    pause.as_mut().reset(Instant::now() + PUBLISH_EVERY);
                }
            }
        }
    }
}

fn found(pod: &Pod, of_flink: Option<&Wanted>) -> Found {
    match of_flink {
        Some(wanted) => flink::found(pod, wanted),
        None => pod::found(pod),
    }
}

/// What was found, as the relay takes it.
fn group(found: Found) -> Group {
    let seeds = found.targets.into_iter().map(seed).collect();
    Group { labels: found.labels, seeds }
}

fn seed(target: FoundTarget) -> Seed {
    let FoundTarget { host, ports, labels, instances } = target;
    let address = match ports {
        Some(ports) => {
            let params = Vec::new();
            Address::Spec(TargetSpec { scheme: None, host, ports, path: None, params })
        }
        None => Address::Text(host.into()),
    };
    Seed { address, labels, instances }
}
