"""The chart, installed for real: every mode and preset, upgraded, and taken away again.

The API server says what `helm template` and schemas cannot: defaults and validation of the kinds themselves, fields that it would
drop, what may not be changed by an upgrade, and whether pods are allowed in a namespace that enforces the Pod Security
Standard `restricted`.
"""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import crds
import tools

LOOKED_IN = ("flink", "streaming")
MODES = ("deployment", "statefulset", "sidecar")
TARGETS = ("targets[0]=flink-jobmanager:9249", "targets[1]=flink-taskmanager:9249-9259")
# Which `helm template` cannot ask the server for.
KUBE_VERSION = tools.KUBE_APISERVER.version
# Kinds that the API server makes by itself in every namespace, or for whoever writes to it.
MADE_BY_OTHERS = {"Event", "ConfigMap/kube-root-ca.crt", "ServiceAccount/default"}


@dataclass(frozen=True)
class Case:
    """One installation."""

    name: str
    mode: str
    files: tuple[Path, ...]
    values: tuple[str, ...]
    # Of the Pod Security Standard, that its pods keep to.
    level: str = "restricted"

    @property
    def options(self) -> list[str]:
        files = [f"--values={file}" for file in self.files]
        return [*files, f"--set=mode={self.mode}", *(f"--set={value}" for value in self.values)]


@dataclass(frozen=True)
class Helm:
    """Helm against the API server of this run."""

    run: object
    binary: str

    def __call__(self, *arguments: str) -> str:
        argv = [self.binary, f"--kubeconfig={self.run.api.kubeconfig}", *map(str, arguments)]
        done = tools.run(argv, str(self.run.directory))
        if done.returncode:
            raise OSError(f"helm {' '.join(map(str, arguments))}: {done.stderr.strip()[-1500:]}")
        return done.stdout


def check(run) -> None:
    chart = run.root / "deploy/helm/flinkrelay"
    helm = Helm(run, tools.require(tools.HELM, tools.cache()))
    run.api.kubectl("apply", "--server-side", *(f"--filename={file}" for file in crds.monitoring(tools.cache())))
    run.report.eventually("the operator's kinds are known", "three", 30, lambda: _kinds(run))
    # Where `everything` looks for Flink.
    for namespace in LOOKED_IN:
        run.api.make_namespace(namespace)
    presets = sorted((chart / "presets").glob("*.yaml"))
    run.report.equal("there are presets", 6, len(presets))
    for number, case in enumerate(cases(run.root, presets)):
        with run.report.section(f"chart: {case.name}"):
            installed(run, helm, chart, case, f"chart-{number}")
    with run.report.section("chart: presets in other modes"):
        for preset in presets:
            for mode in MODES:
                case = Case(f"{mode} with {preset.stem}", mode, (preset,), () if mode == "sidecar" else TARGETS)
                manifest = helm("template", "x", chart, "--namespace=default", f"--kube-version={KUBE_VERSION}", *case.options)
                run.report.equal(f"{case.name} is accepted", (0, ""), _dry_run(run, manifest))
    with run.report.section("chart: what the operator's kinds refuse"):
        _refused(run, helm, chart, presets[0])


def cases(root: Path, presets: list[Path]) -> Iterator[Case]:
    prometheus = next(path for path in presets if path.stem == "prometheus")
    everything = root / "deploy/helm/everything.yaml"
    for mode in MODES:
        own = ["cluster=eu", *(() if mode == "sidecar" else TARGETS)]
        yield Case(mode, mode, (prometheus,), (*own, *(["replicaCount=3"] if mode == "statefulset" else [])))
        monitors = f"serviceMonitor.enabled={str(mode != 'sidecar').lower()}"
        scaler = f"autoscaling.enabled={str(mode == 'statefulset').lower()}"
        # The container that it adds is nobody's who keeps to a standard.
        yield Case(f"everything, {mode}", mode, (everything,), (monitors, scaler), "baseline")
        kept = ("persistence.enabled=true", *own)
        if mode != "sidecar":
            yield Case(f"{mode} with a volume", mode, (prometheus,), kept)
            looking = ("discovery.flink.enabled=true", "discovery.flink.allNamespaces=true")
            yield Case(f"{mode} that looks for Flink everywhere", mode, (prometheus,), looking)
    for preset in presets:
        yield Case(f"preset {preset.stem}", "deployment", (preset,), TARGETS)


def installed(run, helm: Helm, chart: Path, case: Case, namespace: str) -> None:
    """Installs, looks at what is there, upgrades and uninstalls."""
    api, report = run.api, run.report
    labels = {"pod-security.kubernetes.io/enforce": case.level}
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    before = objects_of(run, namespace)
    where = f"--namespace={namespace}"
    helm("install", "relay", chart, where, "--dry-run=server", *case.options)
    report.equal("a dry run leaves nothing", before, objects_of(run, namespace))
    helm("install", "relay", chart, where, *case.options)
    manifest = helm("get", "manifest", "relay", where)
    report.equal("no field is unknown", (0, ""), _dry_run(run, manifest))
    _pods(run, case, namespace)
    _notes(run, helm("get", "notes", "relay", where), namespace)
    upgrade = ["--set=logLevel=debug", "--set=image.tag=next", "--set=image.digest="]
    helm("upgrade", "relay", chart, where, *case.options, *upgrade)
    if case.mode == "statefulset":
        _replicas(run, helm, chart, (where, *case.options, *upgrade), namespace)
    report.that("it is upgraded", True, "", "")
    helm("uninstall", "relay", where)
    report.equal("nothing is left behind", [], sorted(set(objects_of(run, namespace)) - set(before)))


def _replicas(run, helm: Helm, chart: Path, options: tuple[str, ...], namespace: str) -> None:
    """Who decides how many relays there are: the values, or an autoscaler, whose word an upgrade does not change."""
    count = lambda: run.api.request(  # noqa: E731
        "GET", f"/apis/apps/v1/namespaces/{namespace}/statefulsets/relay-flinkrelay"
    )["spec"]["replicas"]
    alone = "--set=autoscaling.enabled=false"
    helm("upgrade", "relay", chart, *options, alone, "--set=replicaCount=4")
    run.report.equal("an upgrade sets the number", 4, count())
    # As an autoscaler does.
    run.api.kubectl("scale", "statefulset/relay-flinkrelay", "--replicas=6", f"--namespace={namespace}")
    for level in ("info", "warn"):
        automatic = "--set=autoscaling.enabled=true"
        helm("upgrade", "relay", chart, *options, automatic, f"--set=logLevel={level}")
    run.report.equal("with an autoscaler an upgrade leaves the number alone", 6, count())


def _dry_run(run, manifest: str) -> tuple[int, str]:
    """What the API server says of a manifest; strict, so that a field which it does not know is an error and not dropped."""
    # Each object names its namespace, but for those of the values' own, which may be in any.
    options = ["--dry-run=server", "--validate=strict"]
    done = run.api.try_kubectl("apply", "--filename=-", *options, stdin=manifest)
    # kubectl misses its own annotation on what it did not make.
    said = [line for line in done.stderr.splitlines() if "last-applied-configuration" not in line]
    return done.returncode, "\n".join(said)


def _pods(run, case: Case, namespace: str) -> None:
    """The pods that a controller would make are admitted."""
    if case.mode == "sidecar":
        told = _config_map(run, namespace, "relay-flinkrelay-sidecar")
        template = run.api.kubectl(
            "create", "--dry-run=client", "--output=json", "--validate=false", "--filename=-", stdin=told["pod-template.yaml"]
        )
        pod = json.loads(template)
        # Which Flink does to its own container.
        restricted = {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        pod["spec"]["containers"][0] |= {"image": "flink:2.3", "securityContext": restricted}
    else:
        made = json.loads(
            run.api.kubectl("get", f"{case.mode}/relay-flinkrelay", f"--namespace={namespace}", "--output=json")
        )
        pod = made["spec"]["template"]
        # The claims of a StatefulSet are volumes of its pods.
        claims = [claim["metadata"]["name"] for claim in made["spec"].get("volumeClaimTemplates", [])]
        pod["spec"]["volumes"] += [
            {"name": name, "persistentVolumeClaim": {"claimName": f"{name}-relay-flinkrelay-0"}} for name in claims
        ]
    pod["spec"].pop("priorityClassName", None)
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": pod["spec"]}
    pod["metadata"] = {"name": "relay-flinkrelay-0", "namespace": namespace}
    done = run.api.try_kubectl(
        "create", "--dry-run=server", "--validate=strict", "--filename=-", stdin=json.dumps(pod)
    )
    run.report.equal(f"its pods are allowed by `{case.level}`", (0, ""), (done.returncode, done.stderr))


def _notes(run, notes: str, namespace: str) -> None:
    """The commands that NOTES.txt gives to a person name what there is."""
    lines = [line.strip() for line in notes.splitlines() if line.startswith("  kubectl ")]
    tried = []
    for line in lines:
        words = shlex.split(line.split(" > ")[0].split(" & ")[0])[1:]
        # What needs a pod, or Flink's operator, is looked at for the object that it names.
        if words[:1] == ["patch"] or "POD" in words:
            continue
        if words[2] in ("logs", "port-forward"):
            words = [*words[:2], "get", words[3]]
        done = run.api.try_kubectl(*words)
        good = done.returncode == 0 and (done.stdout or "No resources found" in done.stderr)
        tried.append((" ".join(words), good, done.stderr))
    wrong = [(command, said) for command, good, said in tried if not good]
    run.report.that("the commands of its notes work", len(tried) >= 2 and not wrong, "two or more", wrong or tried)
    run.report.that("its notes name the namespace", f"-n {namespace}" in notes, f"-n {namespace}", notes)


def _refused(run, helm: Helm, chart: Path, preset: Path) -> None:
    """That the schemas look at all: without them everything would be accepted."""
    bad = {
        "an action of relabelling": ["serviceMonitor.enabled=true", "serviceMonitor.relabelings[0].action=none"],
        "a label": ["commonLabels.a=b c"],
        "a field of a container": ["extraContainers[0].name=a", "extraContainers[0].imagee=b"],
    }
    for name, values in bad.items():
        case = Case(name, "deployment", (preset,), (*TARGETS, *values))
        manifest = helm("template", "x", chart, "--namespace=default", f"--kube-version={KUBE_VERSION}", *case.options)
        code, said = _dry_run(run, manifest)
        run.report.that(f"{name} that is wrong is refused", code != 0, "refused", said)


def _config_map(run, namespace: str, name: str) -> dict[str, str]:
    return run.api.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}")["data"]


def _kinds(run) -> tuple[bool, object]:
    known = run.api.kubectl("api-resources", "--api-group=monitoring.coreos.com", "--output=name").split()
    return all(f"{kind}.monitoring.coreos.com" in known for kind in crds.KINDS), known


def objects_of(run, namespace: str) -> list[str]:
    """Everything in the namespaces that a release writes to, and what it could leave in none, as `Kind/name`."""
    kinds = run.api.kubectl("api-resources", "--namespaced", "--verbs=list,delete", "--output=name").split()
    everywhere = ["clusterroles.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io"]
    found = []
    spaces = [(kinds, [f"--namespace={one}"]) for one in (namespace, *LOOKED_IN)]
    for what, where in (*spaces, (everywhere, [])):
        listed = json.loads(run.api.kubectl("get", ",".join(what), *where, "--output=json", "--ignore-not-found") or "{}")
        # A claim that is being deleted waits for a controller, which there is none of here.
        there = [one for one in listed.get("items", []) if "deletionTimestamp" not in one["metadata"]]
        found += [f"{one['kind']}/{one['metadata']['name']}" for one in there]
    kept = [name for name in found if name not in MADE_BY_OTHERS and name.split("/")[0] not in MADE_BY_OTHERS]
    return sorted(kept)


