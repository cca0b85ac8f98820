//! What a person is told when the API server refuses, in words that end with what to do.

use std::fmt;

/// A list or watch, as a rule of a Role would allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// `list` or `watch`.
    pub verb: &'static str,
    /// API group; empty for the core's.
    pub group: &'a str,
    /// Such as `pods`.
    pub resource: &'a str,
    /// `None` for all namespaces.
    pub namespace: Option<&'a str>,
}

/// As `list pods in namespace flink`.
impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} in ", self.verb, self.resource)?;
        match self.namespace {
            Some(namespace) => write!(f, "namespace {namespace}"),
            None => f.write_str("all namespaces"),
        }
    }
}

/// What an answer with this HTTP status means. `said` is the server's own message.
pub fn words(asked: &Asked<'_>, status: u16, said: &str) -> String {
    match status {
        401 => format!(
            "cannot {asked}: the API server does not know the token (401 Unauthorized); it is read again \
             at the next try, so check that its file is the one Kubernetes renews, and that the \
             ServiceAccount exists"
        ),
        403 => {
            let kind = match asked.namespace {
                Some(namespace) => format!("a Role in namespace {namespace}"),
                None => "a ClusterRole".to_owned(),
            };
            let Asked { group, resource, .. } = asked;
            format!(
                "cannot {asked}: not allowed (403 Forbidden); add to {kind} of the relay's \
                 ServiceAccount: {{apiGroups: [\"{group}\"], resources: [{resource}], verbs: [list, watch]}}; \
                 the API server says: {said}"
            )
        }
        404 => format!(
            "cannot {asked}: the API server does not have them (404 Not Found); is the URL that of \
             a Kubernetes API? {said}"
        ),
        429 => format!("cannot {asked}: the API server is busy (429 Too Many Requests)"),
        _ => format!("cannot {asked}: the API server answers {status}: {said}"),
    }
}

/// Whether waiting does not help, but a person does: there is an answer, and it is no.
pub const fn is_final(status: u16) -> bool {
    matches!(status, 401 | 403 | 404)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        let pods = Asked { verb: "list", group: "", resource: "pods", namespace: Some("flink") };
        let said = "pods is forbidden: User \"system:serviceaccount:relay:relay\" cannot list \
                    resource \"pods\" in API group \"\" in the namespace \"flink\"";
        let slices = Asked {
            verb: "watch",
            group: "discovery.k8s.io",
            resource: "endpointslices",
            namespace: None,
        };
        let told = [
            words(&pods, 403, said),
            words(&slices, 403, "no"),
            words(&pods, 401, "Unauthorized"),
            words(&pods, 404, "page not found"),
            words(&slices, 429, ""),
            words(&pods, 500, "etcdserver: request timed out"),
        ];
        insta::assert_snapshot!(told.join("\n"));
        assert_eq!(
            [401, 403, 404, 410, 429, 500].map(is_final),
            [true, true, true, false, false, false]
        );
    }
}
