"""That the API server of these tests is one: it forbids what RBAC does not grant, and survives being killed.

Without this a test of minimal rights would pass on a server that grants everything.
"""

from kubernetes import ApiError

NAMESPACE = "access"
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "reader", "namespace": NAMESPACE},
    "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
}
BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "RoleBinding",
    "metadata": {"name": "reader", "namespace": NAMESPACE},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
    "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": NAMESPACE}],
}
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


def check(run) -> None:
    api, report = run.api, run.report
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "reader", "namespace": NAMESPACE},
    }
    api.make_namespace(NAMESPACE)
    api.apply(account)
    token = api.token(NAMESPACE, "reader")
    report.equal("an account without rules may do nothing", 403, status_of(api, token))
    api.apply(ROLE, BINDING)
    granted = lambda: (status_of(api, token) == 200, status_of(api, token))  # noqa: E731
    report.eventually("a rule grants it", "200", 30, granted)
    report.equal("and nothing else", 403, status_of(api, token, "/api/v1/pods"))
    report.equal("who is unknown is refused", 401, status_of(api, "nobody"))
    containers = [{"name": "flink-main-container", "image": "flink:2.3"}]
    pod = {"metadata": {"name": "a", "namespace": NAMESPACE}, "spec": {"containers": containers}}
    api.make_pod(pod, "127.0.0.7")
    api.kill()
    api.start()
    kept = api.request("GET", f"{PODS}/a")
    report.equal("a pod's address outlives the API server", "127.0.0.7", kept["status"]["podIP"])
    api.delete_pod(NAMESPACE, "a")
    report.equal("a deleted pod is gone", 404, status_of(api, token=None, path=f"{PODS}/a"))


def status_of(api, token: str | None, path: str = PODS) -> int:
    try:
        api.request("GET", path, **({"token": token} if token else {}))
    except ApiError as error:
        return error.status
    return 200
