"""Flink found among the pods of a real Kubernetes API, with the rights of a ServiceAccount and no others.

Pods have addresses of loopback, 127.0.0.N, behind which one server plays Flink's pages, so that what is found is scraped as well. The
relay asks with a token of its account. A scripted API that misbehaves is in tests/relay/kubernetes.rs.
"""

import concurrent.futures
import http.server
import json
import os
import threading
import time
from pathlib import Path

import net
from kubernetes import ApiError
from procs import Process, free_port

NAMESPACE = "flink"
ACCOUNT = "relay"
PAGE = b'# TYPE flink_taskmanager_Status_JVM_CPU_Load gauge\nflink_taskmanager_Status_JVM_CPU_Load{tm_id="t",} 0.1\n'
# What is measured is in docs/kubernetes-discovery.md; the bounds are for a machine that does other things too, and
# see what costs a multiple. A target that is kept has a task and a connection's buffers.
MANY_KNOWN_MAX_S = 60
BYTES_MAX = 40 << 20
POD_BYTES_MAX = {"dropped": 22 << 10, "kept": 72 << 10}


def check(run) -> None:
    api = run.api
    api.make_namespace(NAMESPACE)
    api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": NAMESPACE}})
    grant(api, [("", "pods", ["list", "watch"])])
    pages = Pages()
    try:
        with run.report.section("pods: come and go"):
            come_and_go(run, pages)
        with run.report.section("pods: rights"):
            rights(run, pages)
        with run.report.section("pods: endpoint slices"):
            slices(run, pages)
        with run.report.section(f"pods: {run.pods}"):
            many(run)
    finally:
        pages.close()


def come_and_go(run, pages: "Pages") -> None:
    api, report = run.api, run.report
    for name, component, address in (("jm", "jobmanager", 11), ("tm-1", "taskmanager", 12), ("starting", "taskmanager", None)):
        make(api, pages, name, component, address)
    make(api, pages, "other", None, 19)
    relay = Relay(run, pages, "pods")
    report.eventually("Flink's pods are found and scraped", "both", 30, relay.are_up({"jm", "tm-1"}))
    labels = next((target["labels"] for target in relay.targets() if target["labels"].get("pod") == "tm-1"), {})
    expected = {
        "cluster": "clicks",
        "flink_deployment": "clicks",
        "instance": f"127.0.0.12:{pages.port}",
        "job": "flink",
        "namespace": NAMESPACE,
        "pod": "tm-1",
        "role": "taskmanager",
    }
    report.equal("with labels that say where they run", expected, labels)
    api.set_status(NAMESPACE, "starting", pages.address(13))
    report.eventually("a pod is one when it has an address", "three", 10, relay.are_up({"jm", "tm-1", "starting"}))
    api.delete_pod(NAMESPACE, "tm-1")
    report.eventually("and none when it is gone", "two", 10, relay.are_up({"jm", "starting"}))

    before = relay.scrapes()
    api.kill()
    time.sleep(5)
    report.that("its targets are scraped while the API is away", relay.scrapes() > before, "more scrapes", relay.scrapes())
    report.equal("and none is lost", {"jm", "starting"}, relay.pods())
    api.start()
    api.delete_pod(NAMESPACE, "starting")
    make(api, pages, "tm-2", "taskmanager", 14)
    report.eventually("what has changed after that is seen", "jm, tm-2", 60, relay.are_up({"jm", "tm-2"}))

    # Another account of the same name has other tokens, and the old ones are nobody's.
    account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}"
    api.request("DELETE", account)
    api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": NAMESPACE}})
    api.kill()
    api.start()
    report.eventually("a token that is not known any more is told", "401", 60, relay.says("401 Unauthorized"))
    report.equal("targets stay", {"jm", "tm-2"}, relay.pods())
    relay.renew_token()
    make(api, pages, "tm-3", "taskmanager", 15)
    report.eventually("the renewed one is read", "tm-3", 60, relay.are_up({"jm", "tm-2", "tm-3"}))
    relay.stop()


def rights(run, pages: "Pages") -> None:
    """Both verbs are needed, and nothing more: with them discovery has worked above."""
    for verb, left in (("list", ["watch"]), ("watch", ["list"])):
        grant(run.api, [("", "pods", left)])
        relay = Relay(run, pages, f"without-{verb}")
        said = relay.says(f"cannot {verb} pods in namespace {NAMESPACE}: not allowed (403 Forbidden)")
        run.report.eventually(f"without {verb} the log says so", "403", 30, said)
        rule = relay.says("resources: [pods], verbs: [list, watch]")
        run.report.eventually("and which rule to add", "the rule", 5, rule)
        grant(run.api, [("", "pods", ["list", "watch"])])
        new = f"seen-{verb}"
        make(run.api, pages, new, "taskmanager", 16)
        run.report.eventually("with the rule it goes on", new, 60, lambda relay=relay, new=new: (new in relay.pods(), relay.pods()))
        run.api.delete_pod(NAMESPACE, new)
        relay.stop()


def slices(run, pages: "Pages") -> None:
    api = run.api
    needed = [("discovery.k8s.io", "endpointslices"), ("", "services"), ("", "pods")]
    grant(api, [(group, resource, ["list", "watch"]) for group, resource in needed])
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "metrics", "namespace": NAMESPACE, "labels": {"team": "a"}},
        "spec": {"clusterIP": "None", "ports": [{"name": "metrics", "port": pages.port}]},
    }
    endpoint = {
        # The API takes no loopback here; a rule takes the pod's own.
        "addresses": ["10.0.0.11"],
        "conditions": {"ready": True},
        "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": "jm"},
    }
    api.apply(
        service,
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "metrics-1", "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": "metrics"}},
            "addressType": "IPv4",
            "endpoints": [endpoint],
            "ports": [{"name": "metrics", "port": pages.port}],
        },
    )
    discovery = f"""
    kubernetes_sd_configs:
      - role: endpointslice
        namespaces: {{names: [{NAMESPACE}]}}
"""
    rules = f"""
    relabel_configs:
      - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}
      - {{source_labels: [__meta_kubernetes_service_label_team], target_label: team}}
      - {{source_labels: [__meta_kubernetes_pod_ip], target_label: __address__, replacement: "$1:{pages.port}"}}
"""
    relay = Relay(run, pages, "slices", discovery, rules)
    run.report.eventually("what is behind a service is found", "jm", 30, relay.are_up({"jm"}))
    run.report.equal("with the service's labels", ["a"], [target["labels"].get("team") for target in relay.targets()])
    relay.stop()
    for group, resource in needed:
        others = [(g, r, ["list", "watch"]) for g, r in needed if r != resource]
        grant(api, others)
        relay = Relay(run, pages, f"slices-without-{resource}", discovery, rules)
        run.report.eventually(f"without {resource} the log says so", "403", 30, relay.says(f"cannot list {resource} in namespace"))
        relay.stop()
    grant(api, [("", "pods", ["list", "watch"])])


def many(run) -> None:
    """What a cluster of thousands of pods costs: time until it is known, memory, CPU; at rest, and with pods that change."""
    api, report = run.api, run.report
    namespace = "many"
    api.make_namespace(namespace)
    grant(api, [("", "pods", ["list", "watch"])], namespace)
    base = memory_of(Relay(run, None, "none", f"{FLINK}\n        selector: none=such\n"), after_s=5)

    def make_one(number: int) -> None:
        name, address = f"tm-{number}", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        api.make_pod(realistic(namespace, name, number), address)

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(16) as workers:
        list(workers.map(make_one, range(run.pods)))
    print(f"# {run.pods} pods made in {time.monotonic() - began:.0f} s", flush=True)

    drop = "    relabel_configs: [{action: drop, source_labels: [pod], regex: tm-.*}]\n"
    for name, rules in (("dropped", drop), ("kept", "    scrape_interval: 1h\n")):
        relay = Relay(run, None, name, FLINK.replace(f"[{NAMESPACE}]", f"[{namespace}]"), rules, token_of=namespace)
        began = time.monotonic()
        known = lambda relay=relay: (relay.discovered() == run.pods, relay.discovered())  # noqa: E731
        report.eventually(f"{run.pods} pods are known, targets {name}", str(run.pods), MANY_KNOWN_MAX_S, known)
        took = time.monotonic() - began
        time.sleep(5)
        cpu_s, memory = cpu_of(relay), resident(relay)
        bound = BYTES_MAX + run.pods * POD_BYTES_MAX[name]
        report.that(f"in bounded memory, targets {name}", memory < bound, f"< {bound >> 20} MiB", memory >> 20)
        time.sleep(30)
        rest = cpu_of(relay) - cpu_s
        print(
            f"# targets {name}: known after {took:.1f} s, {cpu_s:.1f} s of CPU, {memory >> 20} MiB resident"
            f" ({base >> 20} MiB with no pod); at rest {rest / 30:.3f} of a core",
            flush=True,
        )
        if name == "dropped":
            began, before = time.monotonic(), cpu_of(relay)
            with concurrent.futures.ThreadPoolExecutor(16) as workers:
                list(workers.map(lambda n: api.delete_pod(namespace, f"tm-{n}"), range(500)))
            with concurrent.futures.ThreadPoolExecutor(16) as workers:
                list(workers.map(make_one, range(500)))
            report.eventually("500 that went and came are known", str(run.pods), 30, known)
            spent = cpu_of(relay) - before
            print(f"# 500 of them gone and made anew in {time.monotonic() - began:.0f} s: {spent:.2f} s of CPU", flush=True)
        relay.stop()


FLINK = f"""
    flink_sd_configs:
      - source: kubernetes
        ports: PORT
        namespaces: {{names: [{NAMESPACE}]}}"""
ROLE_RULE = """
    relabel_configs:
      - {source_labels: [__meta_flink_role], target_label: role}
"""


class Relay:
    """A relay that looks for Flink with a token of the account."""

    def __init__(self, run, pages, name: str, discovery: str = FLINK, rules: str = ROLE_RULE, token_of: str = NAMESPACE) -> None:
        self._api, self._token_of = run.api, token_of
        self._token = run.directory / f"{name}.token"
        self.renew_token()
        self._listen = free_port()
        config = run.directory / f"{name}.yaml"
        where = f"""
        api_server: {run.api.url}
        authorization: {{credentials_file: {self._token}}}
        tls_config: {{ca_file: {run.api.authority}}}
"""
        discovery = discovery.rstrip("\n").replace("PORT", str(pages.port if pages else 9249))
        config.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\nflink: {rest: off}\n"
            f"scrape_configs:\n  - job_name: flink{discovery}{where}{rules}"
            "remote_write: [{url: 'http://127.0.0.1:9/api/v1/write'}]\n"
        )
        argv = [str(run.relay), "run", "-c", str(config), "--listen", f"127.0.0.1:{self._listen}"]
        self.process: Process = run.processes.start(f"relay-{name}", argv)

    def renew_token(self) -> None:
        """As a kubelet does it: another file, moved into the place of the first."""
        new = self._token.with_suffix(".new")
        new.write_text(self._api.token(self._token_of, ACCOUNT))
        os.replace(new, self._token)

    def targets(self) -> list[dict]:
        try:
            return json.loads(net.fetch(f"http://127.0.0.1:{self._listen}/targets"))["activeTargets"]
        except OSError:
            return []

    def metric(self, name: str) -> list[float]:
        try:
            page = net.fetch(f"http://127.0.0.1:{self._listen}/metrics").decode()
        except OSError:
            return []
        lines = [line for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        return [float(line.rsplit(" ", 1)[1]) for line in lines]

    def discovered(self) -> int:
        return int(sum(self.metric("flinkrelay_sd_discovered_targets")))

    def scrapes(self) -> int:
        return int(sum(self.metric("flinkrelay_target_scrapes_total")))

    def pods(self) -> set[str]:
        return {target["labels"].get("pod", "") for target in self.targets()}

    def are_up(self, pods: set[str]):
        def see() -> tuple[bool, object]:
            seen = {target["labels"].get("pod", ""): target.get("health") for target in self.targets()}
            return set(seen) == pods and set(seen.values()) == {"up"}, seen

        return see

    def says(self, words: str):
        def see() -> tuple[bool, object]:
            text = self.process.log.read_text(errors="replace").replace("\\", "")
            return words in text, text[-600:]

        return see

    def stop(self) -> None:
        self.process.stop()


class Pages:
    """Flink's pages on one port of several addresses of loopback."""

    def __init__(self) -> None:
        self.port = free_port()
        self._servers: dict[str, http.server.ThreadingHTTPServer] = {}

    def address(self, number: int) -> str:
        address = f"127.0.0.{number}"
        if address not in self._servers:
            server = http.server.ThreadingHTTPServer((address, self.port), _Page)
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self._servers[address] = server
        return address

    def close(self) -> None:
        for server in self._servers.values():
            server.shutdown()
            server.server_close()


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        """Requests are not logged."""


def grant(api, rules: list[tuple[str, str, list[str]]], namespace: str = NAMESPACE) -> None:
    """These are all the rights of the account in the namespace."""
    api.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": ACCOUNT, "namespace": namespace},
            "rules": [{"apiGroups": [group], "resources": [resource], "verbs": verbs} for group, resource, verbs in rules],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": ACCOUNT, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
        },
    )
    # The authorizer follows a watch of its own.
    token = api.token(namespace, ACCOUNT)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if all(may(api, token, namespace, *rule) for rule in rules) and len(rules) == granted(api, token, namespace):
            return
        time.sleep(0.1)
    raise TimeoutError(f"the rights of {ACCOUNT} do not become {rules}")


def may(api, token: str, namespace: str, group: str, resource: str, verbs: list[str]) -> bool:
    """Whether the account may do exactly this with the resource."""
    allowed = {verb for verb in ("list", "watch", "get") if is_allowed(api, token, namespace, group, resource, verb)}
    return allowed == set(verbs)


def granted(api, token: str, namespace: str) -> int:
    kinds = (("", "pods"), ("", "services"), ("discovery.k8s.io", "endpointslices"))
    verbs = ("list", "watch")
    return sum(any(is_allowed(api, token, namespace, *kind, verb) for verb in verbs) for kind in kinds)


def is_allowed(api, token: str, namespace: str, group: str, resource: str, verb: str) -> bool:
    attributes = {"namespace": namespace, "group": group, "resource": resource, "verb": verb}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    try:
        return bool(api.request("POST", path, review, token=token)["status"]["allowed"])
    except ApiError as error:
        # Every account may ask for its own rights; a new one is known a moment later.
        if error.status in (401, 403):
            return False
        raise


def make(api, pages: Pages, name: str, component: str | None, address: int | None) -> None:
    labels = {"app": "clicks", "type": "flink-native-kubernetes"} | ({"component": component} if component else {})
    pod = {
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"containers": [{"name": "flink-main-container", "image": "flink:2.3"}]},
    }
    api.make_pod(pod, pages.address(address) if address else None)


def realistic(namespace: str, name: str, number: int) -> dict:
    """A TaskManager's pod as native Flink makes it: some KiB, most of which is of no use for discovery."""
    environment = [{"name": f"FLINK_OPTION_{at}", "value": "x" * 60} for at in range(20)]
    mounts = [{"name": f"volume-{at}", "mountPath": f"/opt/flink/{at}"} for at in range(4)]
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                "app": f"job-{number % 200}",
                "component": "taskmanager",
                "type": "flink-native-kubernetes",
                "app.kubernetes.io/part-of": "clickstream",
                "team": f"team-{number % 20}",
            },
            "annotations": {f"example.com/note-{at}": "y" * 40 for at in range(5)},
        },
        "spec": {
            "nodeName": f"node-{number % 300}",
            "containers": [
                {
                    "name": "flink-main-container",
                    "image": "registry.example.com/flink/clicks:2.3",
                    "args": ["bash", "-c", "kubernetes-taskmanager.sh " + "-Dtaskmanager.option=value " * 40],
                    "ports": [{"name": "taskmanager-rpc", "containerPort": 6122}],
                    "env": environment,
                    "volumeMounts": mounts,
                }
            ],
            "volumes": [{"name": f"volume-{at}", "emptyDir": {}} for at in range(4)],
        },
    }


def resident(relay: Relay) -> int:
    pages = int(Path(f"/proc/{relay.process.popen.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def cpu_of(relay: Relay) -> float:
    """Seconds that the process has computed."""
    fields = Path(f"/proc/{relay.process.popen.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(relay: Relay, after_s: float) -> int:
    time.sleep(after_s)
    memory = resident(relay)
    relay.stop()
    return memory
