//! Targets that Kubernetes knows: what an entry comes to, and what is said of a bad one.

use std::fmt::Write as _;

use flinkrelay::config::{
    Auth, Discovery, FlinkKubernetes, FlinkSd, KubernetesApi, KubernetesRole, KubernetesSd, Secret,
};

use super::{good, job, read};

/// A file with one job that has these lines and no static targets.
fn found(lines: &str) -> String {
    job(lines).replace("    static_configs: [{targets: [localhost:9249]}]\n", "")
}

fn only(lines: &str) -> KubernetesSd {
    let lines = format!("kubernetes_sd_configs:\n- {}", lines.replace('\n', "\n  "));
    match good(&found(&lines)).scrapes.remove(0).discovery.remove(0) {
        Discovery::Kubernetes(config) => *config,
        other => panic!("{other:?}"),
    }
}

fn flink(lines: &str) -> FlinkKubernetes {
    let lines =
        format!("flink_sd_configs:\n- source: kubernetes\n  {}", lines.replace('\n', "\n  "));
    match good(&found(&lines)).scrapes.remove(0).discovery.remove(0) {
        Discovery::Flink(FlinkSd::Kubernetes(config)) => *config,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_api_is_that_of_the_cluster_unless_another_is_named() {
    let config = only("role: pod");
    assert_eq!(config.api, KubernetesApi::InCluster);
    assert!(!config.namespaces.own && config.namespaces.names.is_empty());

    let config = only("role: pod\nkubeconfig_file: kube/config\nnamespaces: {names: [a, b]}");
    assert_eq!(config.api, KubernetesApi::Kubeconfig("conf/kube/config".into()));
    assert_eq!(config.namespaces.names, ["a", "b"]);

    let config = only("role: pod\napi_server: 'https://${HOST}:6443'\nbearer_token_file: token");
    let KubernetesApi::Server { url, http } = config.api else { panic!("{:?}", config.api) };
    assert_eq!(url, "https://vm:6443/");
    let Some(Auth::Authorization(auth)) = http.auth else { panic!("{:?}", http.auth) };
    assert_eq!(auth.credentials, Secret::File("conf/token".into()));
}

#[test]
fn selectors_belong_to_what_is_watched_for_a_role() {
    let KubernetesRole::Pod { pods } = only(
        "role: pod\nselectors: [{role: pod, label: 'app=x,y in (a)', field: spec.nodeName=n}]",
    )
    .role
    else {
        panic!("another role")
    };
    assert_eq!(pods.label.as_deref(), Some("app=x,y in (a)"));
    assert_eq!(pods.field.as_deref(), Some("spec.nodeName=n"));
    let KubernetesRole::EndpointSlice { slices, services, pods } = only(
        "role: endpointslice\nselectors: [{role: service, label: a}, {role: endpointslice, label: b}]\n\
         attach_metadata: {node: false}",
    )
    .role
    else {
        panic!("another role")
    };
    assert_eq!(slices.label.as_deref(), Some("b"));
    assert_eq!(services.label.as_deref(), Some("a"));
    assert_eq!(pods.label, None);
}

#[test]
fn flinks_pods_need_no_more_than_their_source() {
    let config = flink("");
    assert_eq!(config.ports, 9249..=9249);
    assert_eq!(config.selector, None);
    assert!(!config.with_sidecar);
    let config = flink(
        "ports: 9250-9260\nselector: team=a\nwith_sidecar: true\nnamespaces: {own_namespace: true}",
    );
    assert_eq!(config.ports, 9250..=9260);
    assert_eq!(config.selector.as_deref(), Some("team=a"));
    assert!(config.with_sidecar && config.namespaces.own);
}

#[test]
fn what_is_said_of_bad_entries() {
    let mut out = String::new();
    for lines in [
        "kubernetes_sd_configs: [{}]",
        "kubernetes_sd_configs: [{role: endpoints}]",
        "kubernetes_sd_configs: [{role: node}]",
        "kubernetes_sd_configs: [{role: pods}]",
        "kubernetes_sd_configs: [{role: pod, api_server: 'https://a', kubeconfig_file: b}]",
        "kubernetes_sd_configs: [{role: pod, tls_config: {ca_file: a}}]",
        "kubernetes_sd_configs: [{role: pod, kubeconfig_file: b, bearer_token: x}]",
        "kubernetes_sd_configs: [{role: pod, api_server: 'https://a', namespaces: {own_namespace: true}}]",
        "kubernetes_sd_configs: [{role: pod, api_server: 'https://a?b=c'}]",
        "kubernetes_sd_configs: [{role: pod, selectors: [{role: service, label: a}]}]",
        "kubernetes_sd_configs: [{role: endpointslice, selectors: [{role: pod, label: a}, {role: pod, label: b}]}]",
        "kubernetes_sd_configs: [{role: pod, attach_metadata: {node: true}}]",
        "flink_sd_configs: [{source: kubernetes, url: 'http://jm:8081', refresh_interval: 1m}]",
        "flink_sd_configs: [{source: kubernetes, ports: logs}]",
        "flink_sd_configs: [{source: rest, url: 'http://jm:8081', selector: a=b}]",
        "flink_sd_configs: [{source: yarn}]",
    ] {
        let error = read(&found(lines)).unwrap_err();
        writeln!(out, "{error}\n==========").unwrap();
    }
    insta::assert_snapshot!(out);
}
