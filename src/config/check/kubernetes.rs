//! `kubernetes_sd_configs`, and `flink_sd_configs` that ask Kubernetes.

use std::ops::RangeInclusive;

use super::{
    Checker,
    client::{RawClient, Side, client_keys},
};
use crate::{
    config::{
        FlinkKubernetes, HttpClient, KubernetesApi, KubernetesRole, KubernetesSd, Namespaces,
        Selector,
        raw::{RawFlinkSd, RawKubernetesSd, RawNamespaces, RawSelector},
        target::parse_ports,
        value::{At, Origin, Pairs, Scalar},
    },
    limits,
};

/// Flink's default for `metrics.reporter.<name>.port`.
const REPORTER_PORT: u16 = 9249;

const URL_EXAMPLE: &str = "expected one such as https://kubernetes.example.com:6443";

/// The keys that say how the API server is reached.
struct RawApi<'r> {
    api_server: Option<&'r Scalar>,
    kubeconfig_file: Option<&'r Scalar>,
    namespaces: Option<&'r RawNamespaces>,
    client: RawClient<'r>,
}

/// What a selector may be of, by its `role`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Pod,
    Service,
    EndpointSlice,
}

/// The roles that there are, and no other of Prometheus'.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Pod,
    EndpointSlice,
}

impl Checker<'_> {
    pub(super) fn kubernetes_sd(&mut self, entry: &At<RawKubernetesSd>) -> KubernetesSd {
        let At { value: raw, origin } = entry;
        let api = RawApi {
            api_server: raw.api_server.as_ref(),
            kubeconfig_file: raw.kubeconfig_file.as_ref(),
            namespaces: raw.namespaces.as_ref(),
            client: client_keys!(raw),
        };
        if raw.role.is_none() {
            self.note_with_help(
                *origin,
                "kubernetes_sd_configs needs a `role`".to_owned(),
                "`pod` or `endpointslice`; for Flink's own pods, `flink_sd_configs` needs less",
            );
        }
        self.no_attached_metadata(raw.attach_metadata.as_ref());
        let role = self.kubernetes_role(raw.role.as_ref());
        let selectors = self.selectors(role, raw.selectors.as_deref().unwrap_or_default());
        let of = |kind: Of| {
            let found = selectors.iter().find(|(of, _)| *of == kind);
            found.map(|(_, selector)| selector.clone()).unwrap_or_default()
        };
        KubernetesSd {
            role: match role {
                Role::Pod => KubernetesRole::Pod { pods: of(Of::Pod) },
                Role::EndpointSlice => KubernetesRole::EndpointSlice {
                    slices: of(Of::EndpointSlice),
                    services: of(Of::Service),
                    pods: of(Of::Pod),
                },
            },
            namespaces: self.namespaces(api.namespaces),
            api: self.kubernetes_api(&api),
        }
    }

    pub(super) fn flink_kubernetes(&mut self, raw: &RawFlinkSd) -> FlinkKubernetes {
        let api = RawApi {
            api_server: raw.api_server.as_ref(),
            kubeconfig_file: raw.kubeconfig_file.as_ref(),
            namespaces: raw.namespaces.as_ref(),
            client: client_keys!(raw),
        };
        FlinkKubernetes {
            namespaces: self.namespaces(api.namespaces),
            selector: self.filled(raw.selector.as_ref(), "selector"),
            ports: self.ports(raw.ports.as_ref()),
            with_sidecar: self.boolean(raw.with_sidecar.as_ref(), false),
            api: self.kubernetes_api(&api),
        }
    }

    /// One port or a range, as behind the colon of a target.
    fn ports(&mut self, scalar: Option<&Scalar>) -> RangeInclusive<u16> {
        let default = REPORTER_PORT..=REPORTER_PORT;
        let Some(scalar) = scalar else { return default };
        let Some(text) = self.text(scalar) else { return default };
        match parse_ports(&text) {
            Ok(ports) => ports,
            Err(error) => {
                self.note(scalar.origin, error.to_string());
                default
            }
        }
    }

    fn kubernetes_role(&mut self, scalar: Option<&Scalar>) -> Role {
        let Some(scalar) = scalar else { return Role::Pod };
        let Some(text) = self.text(scalar) else { return Role::Pod };
        let (message, help) = match text.as_str() {
            "pod" => return Role::Pod,
            "endpointslice" => return Role::EndpointSlice,
            "endpoints" => (
                "the role `endpoints` is not there: Kubernetes has deprecated Endpoints".to_owned(),
                "use `role: endpointslice`; in rules, `__meta_kubernetes_endpoints_…` becomes \
                 `__meta_kubernetes_endpointslice_…`",
            ),
            "service" | "ingress" | "node" => (
                format!("the role `{text}` is not there: it names no Flink process"),
                "use `role: pod` or `role: endpointslice`, which name each process",
            ),
            _ => (
                format!("`{text}` is not a role of kubernetes_sd_configs"),
                "expected `pod` or `endpointslice`",
            ),
        };
        self.note_with_help(scalar.origin, message, help);
        Role::Pod
    }

    fn selectors(&mut self, role: Role, raw: &[At<RawSelector>]) -> Vec<(Of, Selector)> {
        let mut selectors: Vec<(Of, Selector)> = Vec::new();
        for At { value: raw, origin } in raw {
            let Some(scalar) = &raw.role else {
                self.note(*origin, "a selector needs a `role`: what it selects".to_owned());
                continue;
            };
            let Some(text) = self.text(scalar) else { continue };
            let of = match (role, text.as_str()) {
                (_, "pod") => Of::Pod,
                (Role::EndpointSlice, "service") => Of::Service,
                (Role::EndpointSlice, "endpointslice") => Of::EndpointSlice,
                _ => {
                    let may = match role {
                        Role::Pod => "`pod`: nothing else is watched for this role",
                        Role::EndpointSlice => "`endpointslice`, `service` or `pod`",
                    };
                    let message = format!("there is no selector of `{text}`: expected {may}");
                    self.note(scalar.origin, message);
                    continue;
                }
            };
            if selectors.iter().any(|(other, _)| *other == of) {
                let message = format!("there are two selectors of `{text}`: join them with commas");
                self.note(scalar.origin, message);
                continue;
            }
            let label = self.filled(raw.label.as_ref(), "label");
            let field = self.filled(raw.field.as_ref(), "field");
            selectors.push((of, Selector { label, field }));
        }
        selectors
    }

    fn namespaces(&mut self, raw: Option<&RawNamespaces>) -> Namespaces {
        let Some(raw) = raw else { return Namespaces::default() };
        let names = raw.names.iter().flatten();
        let names = names.filter_map(|name| self.filled(Some(name), "names"));
        let mut names: Vec<String> = names.collect();
        if names.len() > limits::KUBERNETES_NAMESPACES_MAX {
            let at = raw.names.iter().flatten().nth(limits::KUBERNETES_NAMESPACES_MAX);
            let message = format!(
                "more than {} namespaces are watched one by one",
                limits::KUBERNETES_NAMESPACES_MAX
            );
            self.note_with_help(
                at.map_or(Origin::Whole, |name| name.origin),
                message,
                "name none, which watches all of them at once, and drop targets by `relabel_configs`",
            );
            names.truncate(limits::KUBERNETES_NAMESPACES_MAX);
        }
        Namespaces { own: self.boolean(raw.own_namespace.as_ref(), false), names }
    }

    fn kubernetes_api(&mut self, raw: &RawApi<'_>) -> KubernetesApi {
        let http: HttpClient = self.client(&raw.client, &Side::Target);
        if let (Some(_), Some(file)) = (raw.api_server, raw.kubeconfig_file) {
            self.note_with_help(
                file.origin,
                "both `api_server` and `kubeconfig_file` are set".to_owned(),
                "a kubeconfig names its server itself: keep one of the two",
            );
        }
        let elsewhere = raw.api_server.or(raw.kubeconfig_file);
        let own = raw.namespaces.and_then(|namespaces| namespaces.own_namespace.as_ref());
        if let (Some(_), Some(own)) = (elsewhere, own)
            && self.boolean(Some(own), false)
        {
            self.note_with_help(
                own.origin,
                "`own_namespace` needs the API of the relay's own cluster".to_owned(),
                "with `api_server` or `kubeconfig_file` write the namespace into `names`",
            );
        }
        if raw.api_server.is_none()
            && let Some(origin) = raw.client.given()
        {
            self.note_with_help(
                origin,
                "keys of the HTTP client are for an `api_server`, which is not set".to_owned(),
                "a pod logs in with its ServiceAccount, and a kubeconfig says how itself",
            );
        }
        let url = raw.api_server.and_then(|url| self.url(url, URL_EXAMPLE));
        if let (Some(scalar), Some(url)) = (raw.api_server, &url)
            && url.query().is_some()
        {
            self.note(scalar.origin, "the URL of the API server has no query".to_owned());
        }
        match (url, self.path(raw.kubeconfig_file, "kubeconfig_file")) {
            (Some(url), _) => KubernetesApi::Server { url, http: Box::new(http) },
            (None, Some(path)) => KubernetesApi::Kubeconfig(path),
            (None, None) => KubernetesApi::InCluster,
        }
    }

    fn no_attached_metadata(&mut self, raw: Option<&Pairs<Scalar>>) {
        for (name, value) in raw.iter().flat_map(|pairs| &pairs.0) {
            if self.boolean(Some(value), false) {
                let message = format!("`attach_metadata` of `{}` is not there", name.value);
                self.note_with_help(
                    name.origin,
                    message,
                    "leave it out; labels of the pod, and what controls it, are there without it",
                );
            }
        }
    }
}
