"""Plays what stands behind a StatefulSet in a cluster: its controller, and the kubelet that runs its pods.

As Kubernetes does with `podManagementPolicy: OrderedReady`: a pod is made when all before it are ready, the last one goes first,
and the status tells how many are ready. A pod is an object of the API and a relay's process, ready when its `/-/ready` says so.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubernetes import Api, ApiError
from net import answers
from procs import Process, Processes, free_port

_PAUSE_S = 0.1


@dataclass
class Pod:
    """One relay."""

    name: str
    process: Process
    listen: str
    is_ready: bool = False


class StatefulSet:
    """Keeps as many relays as a StatefulSet wants; `start` makes the command line and environment of one."""

    def __init__(
        self,
        api: Api,
        processes: Processes,
        namespace: str,
        name: str,
        start: Callable[[str, str], tuple[list[str], dict[str, str]]],
    ) -> None:
        self.api = api
        self.processes = processes
        self.namespace = namespace
        self.name = name
        self._start = start
        self.pods: list[Pod] = []
        # Numbers of pods that never get ready: there is no node for them.
        self.pending_from = 1 << 20
        self.broken: list[str] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._control, daemon=True)
        self._thread.start()

    @property
    def path(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/statefulsets/{self.name}"

    def end(self) -> None:
        """Stops all relays, and controls no more."""
        self._ending.set()
        self._thread.join()
        for pod in self.pods:
            pod.process.stop()

    def ready(self) -> int:
        return sum(pod.is_ready for pod in self.pods)

    def log_of(self, number: int) -> Path:
        return self.processes.directory / f"{self.name}-{number}.log"

    def _control(self) -> None:
        told = None
        while not self._ending.wait(_PAUSE_S):
            try:
                wanted = self.api.request("GET", self.path)["spec"]["replicas"]
                self._step(wanted)
                status = {"replicas": len(self.pods), "readyReplicas": self.ready()}
                if status != told:
                    body = {"status": status}
                    self.api.request("PATCH", f"{self.path}/status", body, "application/merge-patch+json")
                    told = status
            except (ApiError, OSError) as error:
                # The API server is killed by tests, and comes back.
                if not isinstance(error, OSError):
                    self.broken.append(str(error))
            except Exception as error:  # a thread that ends silently would look like a relay that hangs
                self.broken.append(f"{type(error).__name__}: {error}")

    def _step(self, wanted: int) -> None:
        while len(self.pods) > wanted:
            # The pod is being deleted: its relay is told to stop, and gone from the API when it has.
            pod = self.pods.pop()
            pod.process.stop()
            self.api.delete_pod(self.namespace, pod.name)
        for pod in self.pods:
            self._probe(pod)
        if len(self.pods) < min(wanted, self.pending_from) and all(pod.is_ready for pod in self.pods):
            self.pods.append(self._make(f"{self.name}-{len(self.pods)}"))

    def _make(self, name: str) -> Pod:
        containers = [{"name": "flinkrelay", "image": "flinkrelay:next"}]
        pod = {"metadata": {"name": name, "namespace": self.namespace}, "spec": {"containers": containers}}
        self.api.make_pod(pod, "127.0.0.1")
        listen = f"127.0.0.1:{free_port()}"
        argv, env = self._start(name, listen)
        return Pod(name, self.processes.start(name, argv, env), listen)

    def _probe(self, pod: Pod) -> None:
        pod.is_ready = answers(f"http://{pod.listen}/-/ready")


def wait_ready(statefulset: StatefulSet, count: int, timeout_s: float = 60) -> None:
    """Until exactly so many relays are ready and no others are there."""
    there = lambda: statefulset.ready() == count == len(statefulset.pods)  # noqa: E731
    statefulset.processes.wait_until(f"{count} relays are ready", there, timeout_s, 0.1)


