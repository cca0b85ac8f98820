"""The plain manifests: valid for Kubernetes, with configurations and arguments that the relay takes, and without loose ends."""

import re
from collections.abc import Iterator

from parts.base import Deploy


def check(deploy: Deploy) -> None:
    files = sorted((deploy.deploy / "kubernetes").glob("*.yaml"))
    deploy.report.equal("there are manifests", 3, len(files))
    for file in files:
        objects = deploy.documents(file.read_text())
        wrong = deploy.invalid([one for one in objects if one["kind"] != "FlinkDeployment"])
        for one in objects:
            if "flinkrelay.yaml" in one.get("data", {}):
                if said := deploy.rejected(file.stem, one["data"]["flinkrelay.yaml"]):
                    wrong.append(f"the relay refuses its configuration: {said}")
        pods = list(_pods(objects))
        relays = [c for pod in pods for c in _containers(pod) if c["name"] == "flinkrelay"]
        if not relays:
            wrong.append("no relay")
        for pod in pods:
            # Inside a FlinkDeployment nothing else has looked at it yet.
            wrong += deploy.invalid(
                [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod["spec"]}]
            )
            wrong += _loose(pod["spec"], objects)
        wrong += [
            f"no such flag: {flag}" for relay in relays for flag in _strange_flags(deploy, relay["args"])
        ]
        deploy.report.equal(f"{file.name} is valid", [], wrong)


def _pods(objects: list[dict]) -> Iterator[dict]:
    for one in objects:
        spec = one.get("spec", {})
        if pod := spec.get("template") or spec.get("podTemplate"):
            yield pod


def _containers(pod: dict) -> list[dict]:
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def _loose(spec: dict, objects: list[dict]) -> list[str]:
    """Mounts without a volume, and volumes of ConfigMaps and claims that the file does not have."""
    wrong = []
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    for container in spec.get("initContainers", []) + spec["containers"]:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                wrong.append(f"{container['name']}: no volume {mount['name']}")
    there = {(one["kind"], one["metadata"]["name"]) for one in objects}
    for volume in volumes.values():
        for kind, name in (
            ("ConfigMap", volume.get("configMap", {}).get("name")),
            ("PersistentVolumeClaim", volume.get("persistentVolumeClaim", {}).get("claimName")),
        ):
            if name and (kind, name) not in there:
                wrong.append(f"no {kind} {name}")
    return wrong


def _strange_flags(deploy: Deploy, arguments: list[str]) -> list[str]:
    """Flags that `flinkrelay run` does not have."""
    known = set(re.findall(r"--[a-z-]+", deploy.run(deploy.relay, "run", "--help").stdout))
    return [
        flag for argument in arguments for flag in re.findall(r"^--[a-z-]+", argument) if flag not in known
    ]
