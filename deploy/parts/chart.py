"""The Helm chart: every mode and preset rendered, valid, as it was; wrong values refused; configurations that the relay takes."""

import re
from collections.abc import Iterator
from pathlib import Path

import tools

from parts.base import Deploy

MODES = ("deployment", "statefulset", "sidecar")
# Renders are those of this version, whatever helm was built with.
KUBE_VERSION = "1.35.0"
# Kinds of the Prometheus operator: no part of Kubernetes, so its schemas know nothing of them.
FOREIGN = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}

TARGETS = ["targets[0]=flink-jobmanager:9249", "targets[1]=flink-taskmanager:9249-9259"]

# Values that the schema or the chart must refuse, and what is said.
REFUSED = {
    "a mode that there is not": (["mode=daemonset"], "mode"),
    "a key that there is not": (["replicas=2"], "replicas"),
    "a key below that there is not": (["image.name=x"], "name"),
    "no replica": (["replicaCount=0"], "replicaCount"),
    "replicas in words": (["replicaCount=two"], "replicaCount"),
    "a port out of range": (["port=70000"], "port"),
    "an interval without a unit": (["podMonitor.interval=30"], "interval"),
    "a digest that is none": (["image.digest=latest"], "digest"),
    "memory that is none": (["resources.limits.memory=much"], "memory"),
    "a receiver without URL": (["config.remote_write[0].name=x"], "url"),
    "a receiver without scheme": (["config.remote_write[0].url=mimir:8080"], "url"),
    "a ports text": (["sidecar.port=metrics"], "port"),
    "a runbook address without slash": (["prometheusRule.runbookBaseUrl=https://x"], "runbookBaseUrl"),
    "no receiver": (["config.remote_write=null"], "remote_write"),
    "no target": (["targets=null"], "targets"),
    "a ServiceMonitor of sidecars": (["mode=sidecar", "serviceMonitor.enabled=true"], "podMonitor"),
    "a data directory for two": (["replicaCount=2", "persistence.enabled=true"], "statefulset"),
    "an autoscaler of relays that do not share": (["autoscaling.enabled=true"], "statefulset"),
    "an autoscaler whose word nobody hears": (
        ["mode=statefulset", "autoscaling.enabled=true", "scaling.watch=false"],
        "scaling.watch",
    ),
    "an autoscaler of less than nothing": (
        ["mode=statefulset", "autoscaling.enabled=true", "autoscaling.maxReplicas=1"],
        "minReplicas is above",
    ),
    "namespaces, and all of them": (
        ["discovery.flink.namespaces={a}", "discovery.flink.allNamespaces=true"],
        "exclude each other",
    ),
    "a namespace that is no name": (["discovery.flink.namespaces={A_b}"], "namespaces"),
    "sidecars as each other's replicas": (
        ["mode=sidecar", "config.global.external_labels.__replica__=a"],
        "Mimir would drop",
    ),
}


def check(deploy: Deploy) -> None:
    chart = deploy.deploy / "helm" / "flinkrelay"
    helm = deploy.tool(tools.HELM)
    everything = deploy.deploy / "helm" / "everything.yaml"
    presets = sorted((chart / "presets").glob("*.yaml"))
    deploy.report.equal("there are presets", 6, len(presets))
    for name, files, values in _cases(presets, everything):
        options = [*(f"--values={file}" for file in files), *(f"--set={value}" for value in values)]
        options.append(f"--kube-version={KUBE_VERSION}")
        deploy.succeeds(f"helm lint takes {name}", helm, "lint", "--strict", chart, *options)
        done = deploy.run(helm, "template", "flinkrelay", chart, "--namespace=flink", *options)
        if done.returncode:
            deploy.report.that(f"{name} is rendered", False, "objects", done.stderr.strip()[-1500:])
            continue
        _rendered(deploy, name, done.stdout)
        if "+" not in name:
            # Dashboards are compared elsewhere, and would be nine tenths of the text.
            parts = [part for part in done.stdout.split("---\n") if "/dashboards.yaml\n" not in part]
            golden = deploy.deploy / "helm" / "golden" / f"{name}.yaml"
            deploy.current(f"{name} is rendered as before", golden, "---\n".join(parts))
    _refused(deploy, helm, chart)
    made = deploy.run(deploy.deploy / "helm" / "readme", *([] if deploy.update else ["--check"]))
    deploy.report.that("the chart's README is current", made.returncode == 0, "current", made.stdout.strip())
    _covered(deploy, chart)


def _cases(presets: list[Path], everything: Path) -> Iterator[tuple[str, list[Path], list[str]]]:
    """Each mode and each preset by itself, and each preset in each mode."""
    prometheus = next(path for path in presets if path.stem == "prometheus")
    for mode in MODES:
        values = [f"mode={mode}", "cluster=eu", *([] if mode == "sidecar" else TARGETS)]
        yield mode, [prometheus], [*values, *(["replicaCount=3"] if mode == "statefulset" else [])]
        yield (
            f"everything-{mode}",
            [everything],
            [
                f"mode={mode}",
                f"serviceMonitor.enabled={str(mode != 'sidecar').lower()}",
                f"autoscaling.enabled={str(mode == 'statefulset').lower()}",
            ],
        )
        for preset in presets:
            yield f"{mode}+{preset.stem}", [preset], values
    found = ["mode=deployment", "discovery.flink.enabled=true"]
    yield "discovery", [prometheus], found
    yield "discovery-in-two", [prometheus], [*found, "discovery.flink.namespaces={a,b}", "discovery.flink.ports=9249-9259"]
    yield "discovery-everywhere", [prometheus], [*found, "discovery.flink.allNamespaces=true", "mode=statefulset"]
    fixed = ["mode=statefulset", "replicaCount=3", "scaling.watch=false", *TARGETS]
    yield "statefulset-fixed", [prometheus], fixed
    for preset in presets:
        yield f"preset-{preset.stem}", [preset], TARGETS


def _rendered(deploy: Deploy, name: str, text: str) -> None:
    objects = deploy.documents(text)
    own = [one for one in objects if one["kind"] not in FOREIGN]
    wrong = deploy.invalid(own)
    names = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in objects]
    wrong += [f"twice: {name}" for name in set(names) if names.count(name) > 1]
    for one in objects:
        data = one.get("data", {}) if one["kind"] == "ConfigMap" else {}
        if "flinkrelay.yaml" in data and (said := deploy.rejected(name, data["flinkrelay.yaml"])):
            wrong.append(f"the relay refuses its configuration: {said}")
        for key in ("pod-template.yaml", "flinkdeployment-patch.yaml"):
            if key in data:
                (document,) = deploy.documents(data[key])
                pod = document if document.get("kind") == "Pod" else document["spec"]["podTemplate"]
                wrong += _sidecar(deploy, pod)
        if one["kind"] == "PrometheusRule":
            wrong += _rules(deploy, one)
    deploy.report.equal(f"{name} is valid", [], wrong)


def _sidecar(deploy: Deploy, pod: dict) -> list[str]:
    """A pod template; Flink gives its main container an image, which Kubernetes' schemas do not ask for."""
    wrong = deploy.invalid([pod])
    (sidecar,) = pod["spec"]["initContainers"]
    if sidecar.get("restartPolicy") != "Always":
        wrong.append("the sidecar would end before Flink begins: no restartPolicy Always")
    if [container["name"] for container in pod["spec"]["containers"]] != ["flink-main-container"]:
        wrong.append("Flink's own container is not there")
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    mounts = {mount["name"] for mount in sidecar["volumeMounts"]}
    return wrong + [f"no volume {name}" for name in sorted(mounts - volumes)]


def _rules(deploy: Deploy, wrapper: dict) -> list[str]:
    file = deploy.scratch / "wrapped.yaml"
    file.write_text(deploy.yaml.safe_dump(wrapper["spec"]))
    done = deploy.run(deploy.tool(tools.PROMTOOL), "check", "rules", file)
    return [] if done.returncode == 0 else [f"promtool: {done.stderr.strip()}"]


def _refused(deploy: Deploy, helm: str, chart: Path) -> None:
    good = [*TARGETS, "config.remote_write[0].url=http://prometheus:9090/api/v1/write"]
    for name, (values, said) in REFUSED.items():
        # What a case replaces must not be set by the good values before it.
        replaced = [value.partition("=")[0].partition("[")[0] for value in values]
        kept = [value for value in good if value.partition("[")[0] not in replaced]
        options = [
            f"--set={value}" for value in [*kept, *(value for value in values if not value.endswith("=null"))]
        ]
        done = deploy.run(helm, "template", "x", chart, f"--kube-version={KUBE_VERSION}", *options)
        holds = done.returncode != 0 and re.search(said, done.stderr) is not None
        deploy.report.that(
            f"{name} is refused",
            holds,
            f"an error that says {said}",
            done.stderr.strip()[-400:] or "rendered",
        )


def _covered(deploy: Deploy, chart: Path) -> None:
    """The schema knows each key of the values, so that none is refused that the chart has, nor the other way round."""
    import json

    schema = json.loads((chart / "values.schema.json").read_text())
    (values,) = deploy.documents((chart / "values.yaml").read_text())

    def keys(value: object, below: dict, path: str) -> Iterator[str]:
        known = below.get("properties")
        if not isinstance(value, dict) or known is None:
            return
        # `global` is helm's own; a spool's directory is the chart's affair, the rest of it is optional.
        for name in (set(value) ^ set(known)) - {"global", "spool", "limits", "requests", "claims"}:
            yield f"{path}{name}"
        for name in set(value) & set(known):
            yield from keys(value[name], known[name], f"{path}{name}.")

    deploy.report.equal(
        "values.yaml and values.schema.json have the same keys", [], sorted(keys(values, schema, ""))
    )
