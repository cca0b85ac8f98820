//! Targets and labels of whole objects, as the API tells them.

use std::{collections::BTreeMap, fmt::Write as _, ops::RangeInclusive, sync::Arc};

use super::{
    Found, FoundTarget,
    flink::{self, Wanted},
    joined::{Joined, Told},
    known::{Event, Key},
    object::{EndpointSlice, Object, Pod, Service},
    pod, sanitized, slice,
};
use crate::labels::Labels;

fn taskmanager() -> Pod {
    serde_json::from_str(include_str!("fixtures/taskmanager.json")).unwrap()
}

fn endpoint_slice() -> EndpointSlice {
    serde_json::from_str(include_str!("fixtures/endpointslice.json")).unwrap()
}

fn service(metadata: serde_json::Value, spec: serde_json::Value) -> Service {
    let service = serde_json::json!({"metadata": metadata, "spec": spec});
    serde_json::from_value(service).unwrap()
}

/// What was found as a person reads it: targets, each with its labels in order.
fn shown(found: &Found) -> String {
    let mut text = String::new();
    let mut lines = |labels: &Labels<'_>| {
        let sorted: BTreeMap<_, _> = labels.iter().collect();
        sorted.iter().for_each(|(name, value)| writeln!(text, "    {name} = {value:?}").unwrap());
        std::mem::take(&mut text)
    };
    let mut all = format!("shared\n{}", lines(&found.labels));
    for target in &found.targets {
        let ports = target.ports.as_ref();
        let ports = ports.map(|ports| match ports.start() == ports.end() {
            true => format!(":{}", ports.start()),
            false => format!(":{}-{}", ports.start(), ports.end()),
        });
        write!(all, "{}{}", target.host, ports.unwrap_or_default()).unwrap();
        let instances = target.instances.map(|n| format!(" ({n} of them)")).unwrap_or_default();
        write!(all, "{instances}\n{}", lines(&target.labels)).unwrap();
    }
    all
}

#[test]
fn targets_of_a_pod() {
    insta::assert_snapshot!(shown(&pod::found(&taskmanager())));
}

#[test]
fn a_pod_without_an_address_has_no_target_and_one_that_has_ended_keeps_its_own() {
    let check = |change: fn(&mut Pod), expect: usize| {
        let mut pod = taskmanager();
        change(&mut pod);
        assert_eq!(pod::found(&pod).targets.len(), expect);
    };
    check(|_| {}, 3);
    check(|pod| pod.status.pod_ip.clear(), 0);
    check(|pod| pod.status.phase = "Succeeded".to_owned(), 3);
    check(|pod| pod.spec.init_containers.clear(), 2);
    check(|pod| pod.spec.containers.clear(), 1);
}

#[test]
fn readiness_is_unknown_before_it_is_told() {
    let ready = |pod: &Pod| {
        pod::found(pod).labels.get("__meta_kubernetes_pod_ready").unwrap_or_default().to_owned()
    };
    let mut pod = taskmanager();
    assert_eq!(ready(&pod), "true");
    pod.status.conditions.iter_mut().for_each(|condition| condition.status = "False".to_owned());
    assert_eq!(ready(&pod), "false");
    pod.status.conditions.clear();
    assert_eq!(ready(&pod), "unknown");
}

#[test]
fn targets_of_an_endpoint_slice() {
    let (slice, pod) = (endpoint_slice(), taskmanager());
    let service = service(
        serde_json::json!({"name": "clicks-metrics", "namespace": "flink", "labels": {"team": "a"}}),
        serde_json::json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"]}),
    );
    let found = slice::found(
        &slice,
        &|namespace, name| (namespace == "flink" && name == "clicks-metrics").then_some(&service),
        &|namespace, name| {
            (namespace == "flink" && name == "clicks-taskmanager-1-2").then_some(&pod)
        },
    );
    insta::assert_snapshot!(shown(&found));
}

#[test]
fn the_slices_of_a_second_address_family_are_left_out() {
    let slice = endpoint_slice();
    let check = |policy: &str, families: &[&str], expect: usize| {
        let spec = serde_json::json!({"ipFamilyPolicy": policy, "ipFamilies": families});
        let service = service(serde_json::json!({"name": "clicks-metrics"}), spec);
        let found = slice::found(&slice, &|_, _| Some(&service), &|_, _| None);
        assert_eq!(found.targets.len(), expect, "{policy} {families:?}");
    };
    check("PreferDualStack", &["IPv6", "IPv4"], 0);
    check("RequireDualStack", &["IPv6", "IPv4"], 0);
    check("PreferDualStack", &["IPv4", "IPv6"], 4);
    check("SingleStack", &["IPv6"], 4);
    check("PreferDualStack", &[], 4);
}

#[test]
fn targets_of_flinks_own_pods() {
    let wanted = Wanted { ports: 9250..=9260, with_sidecar: false };
    insta::assert_snapshot!(shown(&flink::found(&taskmanager(), &wanted)));
}

#[test]
fn which_pods_are_flinks() {
    type Change = fn(&mut Pod);
    let found = |change: Change, with_sidecar: bool| {
        let mut pod = taskmanager();
        change(&mut pod);
        flink::found(&pod, &Wanted { ports: 9249..=9249, with_sidecar })
    };
    let set = |pod: &mut Pod, key: &str, value: &str| {
        pod.metadata.labels.insert(key.to_owned(), value.to_owned());
    };
    let check = |change: Change, expect: usize| {
        assert_eq!(found(change, false).targets.len(), expect);
    };
    check(|_| {}, 1);
    // It has no container port of that number, and needs none.
    check(|pod| pod.spec.containers.clear(), 1);
    check(|pod| drop(pod.metadata.labels.remove("type")), 1);
    check(|pod| drop(pod.metadata.labels.remove("app")), 0);
    check(|pod| drop(pod.metadata.labels.remove("component")), 0);
    check(|pod| drop(pod.metadata.labels.insert("component".into(), "history".into())), 0);
    // As soon as it has an address, ready or not, until it has ended.
    check(|pod| pod.status.pod_ip.clear(), 0);
    check(|pod| pod.status.conditions.clear(), 1);
    for (phase, expect) in [("Pending", 1), ("Unknown", 1), ("Succeeded", 0), ("Failed", 0)] {
        let mut pod = taskmanager();
        pod.status.phase = phase.to_owned();
        let wanted = Wanted { ports: 9249..=9249, with_sidecar: false };
        assert_eq!(flink::found(&pod, &wanted).targets.len(), expect, "{phase}");
    }
    // One that has its own relay would be scraped twice.
    let sidecar: Change = |pod| {
        pod.metadata.labels.insert(flink::SIDECAR.to_owned(), "relay".to_owned());
    };
    assert_eq!(found(sidecar, false).targets.len(), 0);
    assert_eq!(found(sidecar, true).targets.len(), 1);

    let deployment = |kind: Option<&str>| {
        let mut pod = taskmanager();
        pod.metadata.labels.remove("type");
        kind.into_iter().for_each(|kind| set(&mut pod, "type", kind));
        let found = flink::found(&pod, &Wanted { ports: 9249..=9249, with_sidecar: false });
        found.labels.get("flink_deployment").map(str::to_owned)
    };
    assert_eq!(deployment(Some("flink-native-kubernetes")).as_deref(), Some("clicks"));
    assert_eq!(deployment(Some("flink-standalone-kubernetes")).as_deref(), Some("clicks"));
    assert_eq!(deployment(None), None, "`app: flink` of a plain manifest is no deployment's name");
}

#[test]
fn what_changes_while_a_flink_pod_goes_on_does_not_change_its_target() {
    let wanted = Wanted { ports: 9249..=9249, with_sidecar: false };
    let (before, mut after) = (taskmanager(), taskmanager());
    after.metadata.resource_version = "9999999".to_owned();
    after.status.phase = "Unknown".to_owned();
    after.status.conditions.clear();
    after.status.container_statuses.clear();
    assert_ne!(before, after);
    assert_eq!(flink::found(&before, &wanted), flink::found(&after, &wanted));
}

fn key<T: Object>(object: &T) -> Key {
    (object.meta().namespace.as_str().into(), object.meta().name.as_str().into())
}

/// The address and the pod's phase of each target, in order.
fn joined(joined: &mut Joined<Found>) -> Vec<String> {
    let mut all = Vec::new();
    for found in joined.make(|found| found) {
        for target in &found.targets {
            let phase = target.labels.get("__meta_kubernetes_pod_phase").unwrap_or("-");
            let team = found.labels.get("__meta_kubernetes_service_label_team").unwrap_or("-");
            all.push(format!("{} {phase} {team}", target.host));
        }
    }
    all.sort();
    all.dedup();
    all
}

#[test]
fn slices_change_with_what_they_name_and_only_then() {
    let mut known = Joined::default();
    let (slice, mut pod) = (Arc::new(endpoint_slice()), taskmanager());
    let lists = |known: &mut Joined<Found>| {
        known.apply(Told::Service(Event::Complete));
        known.apply(Told::Pod(Event::Complete));
        assert!(!known.is_complete());
        known.apply(Told::Slice(Event::Complete));
        assert!(known.is_complete());
    };
    lists(&mut known);
    assert!(known.apply(Told::Slice(Event::Changed(key(&*slice), slice.clone()))));
    assert_eq!(joined(&mut known), ["10.244.3.27 - -", "10.9.9.9 - -"]);
    assert!(known.apply(Told::Pod(Event::Changed(key(&pod), Arc::new(pod.clone())))));
    assert_eq!(joined(&mut known), ["10.244.3.27 Running -", "10.9.9.9 - -"]);
    let first: Vec<_> = known.make(|found| found).cloned().collect();

    // Another pod is none of its business, and the same is no change.
    let mut other = pod.clone();
    other.metadata.name = "other".to_owned();
    assert!(known.apply(Told::Pod(Event::Changed(key(&other), Arc::new(other.clone())))));
    assert!(!known.apply(Told::Pod(Event::Changed(key(&other), Arc::new(other)))));
    let second: Vec<_> = known.make(|found| found).cloned().collect();
    assert!(first.iter().zip(&second).all(|(a, b)| Arc::ptr_eq(a, b)));

    pod.status.phase = "Failed".to_owned();
    known.apply(Told::Pod(Event::Changed(key(&pod), Arc::new(pod.clone()))));
    let metadata = serde_json::json!(
        {"name": "clicks-metrics", "namespace": "flink", "labels": {"team": "a"}});
    let service = Arc::new(service(metadata, serde_json::json!({})));
    known.apply(Told::Service(Event::Changed(key(&*service), service)));
    assert_eq!(joined(&mut known), ["10.244.3.27 Failed a", "10.9.9.9 - a"]);
    known.apply(Told::Pod(Event::Gone(key(&pod))));
    assert_eq!(joined(&mut known), ["10.244.3.27 - a", "10.9.9.9 - a"]);
    known.apply(Told::Slice(Event::Gone(key(&*slice))));
    assert_eq!(joined(&mut known), [""; 0]);
}

#[test]
fn keys_become_label_names_as_prometheus_makes_them() {
    let check = |key: &str, expect: &str| assert_eq!(sanitized(key), expect);
    check("app", "app");
    check("app.kubernetes.io/name", "app_kubernetes_io_name");
    check("a-b_c.9", "a_b_c_9");
    check("größe", "gr__e");
}

#[test]
fn addresses_have_brackets_where_a_port_follows() {
    let check = |host: &str, port: Option<u16>, expect: (&str, Option<RangeInclusive<u16>>)| {
        let target = FoundTarget::new(host, port, Labels::new());
        assert_eq!((target.host.as_str(), target.ports), expect);
    };
    check("10.1.2.3", Some(9249), ("10.1.2.3", Some(9249..=9249)));
    check("10.1.2.3", None, ("10.1.2.3", None));
    check("fd00::17", Some(9249), ("[fd00::17]", Some(9249..=9249)));
    check("fd00::17", None, ("fd00::17", None));
}
