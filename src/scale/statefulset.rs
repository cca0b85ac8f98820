//! Watches one StatefulSet by the Kubernetes API.
//!
//! ```text
//!   list  apps/v1 statefulsets?fieldSelector=metadata.name=NAME     then, from its resourceVersion on,
//!   watch the same                                                  until it ends, and again
//! ```
//!
//! With that selector RBAC's `resourceNames` grant it. Requests, the token's renewal and bounds are
//! [`kube_api`](crate::kube_api)'s, pauses between tries kube's: 0.8 s, growing to 30 s.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::Deserialize;
use tokio::time::sleep;

use super::Word;
use crate::{
    config::KubernetesApi,
    kube_api::{Api, ApiError, Watched, own_namespace},
    kubernetes::{
        object::{Meta, Object},
        refusal::{self, Asked},
    },
    shard::{Member, count::Replicas},
};

/// `StatefulSet`, as far as it is of use here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StatefulSet {
    metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    replicas: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    ready_replicas: Option<u32>,
}

impl Object for StatefulSet {
    const GROUP: &'static str = "apps";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "StatefulSet";
    const RESOURCE: &'static str = "statefulsets";

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl StatefulSet {
    fn replicas(&self) -> Replicas {
        // What is not written is the API's default, or zero.
        let wanted = self.spec.replicas.unwrap_or(1);
        Replicas { wanted, ready: self.status.ready_replicas.unwrap_or(0) }
    }
}

type Words = Pin<Box<dyn Stream<Item = Word> + Send>>;

/// What is said of the StatefulSet that `member` belongs to; never ends. `env` gives variables of the
/// environment: the API server is that of `KUBECONFIG` when it is set, and that of the cluster this runs in
/// otherwise; the namespace is `POD_NAMESPACE`, or that of the pod's ServiceAccount.
pub fn words<'e>(
    member: Member,
    env: &'e (dyn Fn(&str) -> Option<String> + Sync),
) -> impl Stream<Item = Word> + 'e {
    stream::unfold(None, move |open: Option<Words>| {
        let member = member.clone();
        async move {
            let mut words = match open {
                Some(words) => words,
                None => match begin(&member, env) {
                    Ok(words) => words,
                    Err(error) => stream::once(async move { Word::Trouble(error.to_string()) })
                        .chain(stream::once(sleep(OPEN_PAUSE)).filter_map(async |()| None))
                        .boxed(),
                },
            };
            match words.next().await {
                Some(word) => Some((Some(word), Some(words))),
                None => Some((None, None)),
            }
        }
    })
    .filter_map(async |word| word)
}

fn begin(member: &Member, env: &dyn Fn(&str) -> Option<String>) -> Result<Words, ApiError> {
    let given = |name| env(name).filter(|value| !value.is_empty());
    let api = match given("KUBECONFIG") {
        Some(path) => KubernetesApi::Kubeconfig(path.into()),
        None => KubernetesApi::InCluster,
    };
    let namespace = given("POD_NAMESPACE").map_or_else(own_namespace, Ok)?;
    let client = Api::new(&api, env)?.client(None);
    let api: kube::Api<Watched<StatefulSet>> = kube::Api::namespaced(client, &namespace);
    let name = member.statefulset.clone();
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut is_there = false;
    let events = watcher::watcher(api, only).default_backoff();
    let words = events.filter_map(move |event| {
        let word = match event {
            Ok(watcher::Event::Init) => {
                is_there = false;
                None
            }
            Ok(watcher::Event::InitApply(set) | watcher::Event::Apply(set)) => {
                is_there = true;
                Some(Word::Replicas(set.object.replicas()))
            }
            Ok(watcher::Event::InitDone) if is_there => None,
            Ok(watcher::Event::InitDone | watcher::Event::Delete(_)) => Some(Word::Trouble(
                format!("there is no StatefulSet {name} in namespace {namespace}"),
            )),
            Err(error) => trouble(&error, &namespace).map(Word::Trouble),
        };
        async move { word }
    });
    Ok(words.boxed())
}

/// What is wrong, in words; `None` for what the watcher puts right by itself.
fn trouble(error: &watcher::Error, namespace: &str) -> Option<String> {
    let asked = |verb| Asked {
        verb,
        group: StatefulSet::GROUP,
        resource: StatefulSet::RESOURCE,
        namespace: Some(namespace),
    };
    let (asked, status, said) = match error {
        // The history that it goes on from is over, so it lists again.
        watcher::Error::WatchError(status) if status.code == 410 => return None,
        watcher::Error::WatchError(status) => (asked("watch"), status.code, &status.message),
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => {
            (asked("list"), status.code, &status.message)
        }
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
            (asked("watch"), status.code, &status.message)
        }
        error => return Some(format!("{:#}", anyhow::anyhow!("{error}"))),
    };
    Some(refusal::words(&asked, status, said))
}

/// Between two tries to read a file that is missing or wrong.
const OPEN_PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use kube::core::Status as Answer;

    use super::*;

    #[test]
    fn a_statefulset_says_two_numbers() {
        let check = |json: &str, wanted, ready| {
            let set: StatefulSet = serde_json::from_str(json).unwrap();
            assert_eq!(set.replicas(), Replicas { wanted, ready }, "{json}");
        };
        let status = r#""status": {"replicas": 4, "readyReplicas": 2, "observedGeneration": 7}"#;
        check(&format!(r#"{{"spec": {{"replicas": 5, "serviceName": "a"}}, {status}}}"#), 5, 2);
        check(r#"{"spec": {"replicas": 0}, "status": {"replicas": 0}}"#, 0, 0);
        // The API fills in a number that is not written.
        check(r#"{"metadata": {"name": "relay"}, "spec": {}}"#, 1, 0);
    }

    #[test]
    fn trouble_says_what_to_do_and_what_the_watcher_repairs_is_none() {
        let refused = |code| Box::new(Answer::failure("no", "Reason").with_code(code));
        let check = |error: &watcher::Error, expect: Option<&str>| {
            let told = trouble(error, "flink");
            match expect {
                Some(words) => {
                    assert!(told.as_ref().is_some_and(|told| told.contains(words)), "{told:?}")
                }
                None => assert_eq!(told, None),
            }
        };
        check(&watcher::Error::WatchError(refused(410)), None);
        check(
            &watcher::Error::InitialListFailed(kube::Error::Api(refused(403))),
            Some(
                "cannot list statefulsets in namespace flink: not allowed (403 Forbidden); add to a Role in \
                 namespace flink of the relay's ServiceAccount: {apiGroups: [\"apps\"], resources: \
                 [statefulsets], verbs: [list, watch]}",
            ),
        );
        check(
            &watcher::Error::WatchStartFailed(kube::Error::Api(refused(403))),
            Some("cannot watch statefulsets"),
        );
        check(&watcher::Error::WatchError(refused(500)), Some("the API server answers 500: no"));
        check(&watcher::Error::NoResourceVersion, Some("resourceVersion"));
    }
}
