"""Discovery as the chart sets it up: Flink's pods in the namespaces that it is given, by its own configuration and account."""

import json
import re

import tools
from charts import Helm
from net import fetch
from pages import Pages
from procs import free_port
from scaling import relay_of

NAMESPACE = "found"
OTHER = "found-too"
NOT_GIVEN = "found-not"
PODS = 3


def check(run) -> None:
    pages = Pages(PODS)
    for namespace in (NAMESPACE, OTHER, NOT_GIVEN):
        run.api.make_namespace(namespace)
    helm = Helm(run, tools.require(tools.HELM, tools.cache()))
    values = {
        "discovery": {"flink": {"enabled": True, "ports": pages.port, "namespaces": [NAMESPACE, OTHER]}},
        "config": {
            "global": {"scrape_interval": "1s"},
            # Nobody takes what is sent, which is not the point here.
            "remote_write": [{"url": "http://127.0.0.1:1/"}],
            "flink": {"rest": "off"},
        },
    }
    file = run.directory / "looking-values.json"
    file.write_text(json.dumps(values))
    helm("install", "relay", run.root / "deploy/helm/flinkrelay", f"--namespace={NAMESPACE}", f"--values={file}")
    listen = f"127.0.0.1:{free_port()}"
    argv, env = relay_of(run, NAMESPACE, "deployments", "relay-flinkrelay-7d9c-x", listen)
    # The one thing that is not as in a pod: where the API is.
    config = run.directory / "relay-flinkrelay-7d9c-x.yaml"
    source = r"\1source: kubernetes\n\1kubeconfig_file: " + env["KUBECONFIG"]
    config.write_text(re.sub(r"(?m)^( *)source: kubernetes", source, config.read_text()))
    process = run.processes.start("looking", argv, env)
    see = lambda *pods: lambda: (sorted(pods) == sorted(up(listen)), up(listen))  # noqa: E731
    run.processes.wait_until("the relay answers", lambda: up(listen) is not None, 60)
    make_pod(run, NAMESPACE, "session-taskmanager-1-1", 0)
    make_pod(run, OTHER, "batch-taskmanager-1-1", 1)
    make_pod(run, NOT_GIVEN, "secret-taskmanager-1-1", 2)
    both = ["session-taskmanager-1-1", "batch-taskmanager-1-1"]
    run.report.eventually("pods of both namespaces are scraped", "two", 60, see(*both))
    run.api.delete_pod(NAMESPACE, both[0])
    run.report.eventually("a pod that is gone is gone", "one", 60, see(both[1]))
    run.report.equal("one of a third namespace is never asked", [], pages.fetches[2])
    process.stop()
    pages.close()
    helm("uninstall", "relay", f"--namespace={NAMESPACE}")


def up(listen: str) -> list[str] | None:
    """The pods whose pages come; `None` before the relay answers."""
    try:
        targets = json.loads(fetch(f"http://{listen}/targets"))["activeTargets"]
    except OSError:
        return None
    return [target["labels"].get("pod", "") for target in targets if target["health"] == "up"]


def make_pod(run, namespace: str, name: str, number: int) -> None:
    """A TaskManager as native Kubernetes makes it."""
    labels = {"app": name.partition("-")[0], "component": "taskmanager", "type": "flink-native-kubernetes"}
    containers = [{"name": "flink-main-container", "image": "flink:2.3"}]
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    run.api.make_pod({"metadata": metadata, "spec": {"containers": containers}}, f"127.0.1.{number + 1}")
