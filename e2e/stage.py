"""What the scenario plays on: one cluster, four receivers, one relay, and how they are asked.

Times are taken from the machine's clock, and every question about "gone" or "there" is asked for a
stated time: first the receivers must hold something newer of every target (`settle`), then they are
asked what was true at that time. So neither batching nor a slow machine changes an answer.
"""

from collections.abc import Callable
from pathlib import Path

import receivers
import recorder
import relay
from checks import Report
from cluster import METRICS_PORTS, REST_PORT, RPC_PORT, Cluster, libraries
from net import HtmlServer, SilentListener
from page import poll, sanitised
from procs import Process, Processes, require_free_ports
from promql import Labels
from receivers import Receiver

# Ports of the range that answer, but not as Flink does, from the start to the end.
SILENT_PORT = METRICS_PORTS[-2]
HTML_PORT = METRICS_PORTS[-1]

INTERVAL_S = relay.INTERVAL_S
# Between an event on a page and our noticing it, and for a clock read twice.
SLACK_S = 0.5

JOBS = ("orders", "clicks", "logs")
JM, TM1, TM2 = "jobmanager", "taskmanager-1", "taskmanager-2"


# What a check makes of an instant answer.
Read = Callable[[dict[Labels, float]], object]


def address(port: int) -> str:
    return f"127.0.0.1:{port}"


class Stage:
    """One cluster, four receivers, one relay, and what is done to them."""

    def __init__(
        self, version: str, binary: Path, cache: Path, processes: Processes, report: Report
    ) -> None:
        self.version = version
        self.binary = binary
        self.cache = cache
        self.processes = processes
        self.report = report
        self.cluster: Cluster
        self.receivers: list[Receiver]
        # Receivers that keep what they get as it came.
        self.recorders = recorder.pair()
        self.relay: relay.Relay
        self.taskmanagers: dict[str, Process] = {}
        # host:port by the part's name, of what is alive.
        self.instances: dict[str, str] = {}
        # The TaskManager that is killed.
        self.victim: str
        # Addresses that were a TaskManager's once.
        self.gone: list[str] = []
        self.jobs: dict[str, str] = {}
        self.listeners: list[HtmlServer | SilentListener] = []

    def start(self) -> None:
        deps = libraries(self.version, self.cache)
        ports = {port: "Flink's metrics" for port in METRICS_PORTS}
        ports |= {REST_PORT: "Flink's REST API", RPC_PORT: "Flink's JobManager"}
        require_free_ports(ports)
        directory = self.processes.directory
        self.report.heading(f"Flink {self.version} starts")
        which = (
            receivers.victoria_metrics,
            receivers.victoria_metrics_today,
            receivers.prometheus,
            receivers.prometheus_3,
        )
        self.receivers = receivers.start(self.processes, self.cache, *which)
        self.cluster = Cluster(self.version, deps, directory / "flink", self.processes)
        self.cluster.start_jobmanager()
        for number in (1, 2):
            self.taskmanagers[f"taskmanager-{number}"] = self.cluster.start_taskmanager(number)
        wait_until = self.processes.wait_until
        wait_until("the TaskManagers have registered", lambda: self.cluster.ready(2), 90)
        wait_until("three pages answer", self.find_instances, 30)
        for receiver in self.receivers:
            wait_until(f"{receiver.name} is ready", lambda r=receiver: receivers.ready(r), 30)
        self.listeners = [SilentListener(SILENT_PORT), HtmlServer(HTML_PORT)]
        self.report.heading("the relay and the jobs start")
        self.relay = relay.start(self.binary, METRICS_PORTS, [*self.receivers, *self.recorders], self.processes)
        wait_until("the relay is ready", self.relay.ready, 30)
        self.jobs = self.cluster.submit(*JOBS)
        wait_until("the pages show the jobs and a checkpoint of each", self.jobs_on_pages, 60)

    def find_instances(self) -> bool:
        """Learns who listens on which port from the pages themselves."""
        for port in METRICS_PORTS:
            if port in (SILENT_PORT, HTML_PORT):
                continue
            try:
                page = poll(address(port))
            except (OSError, ValueError):
                continue
            ids = {sanitised(id_) for id_ in page.values("tm_id")}
            names = {f"taskmanager-{id_[-1]}" for id_ in ids} or {JM}
            for name in names if page.samples else ():
                self.instances[name] = address(port)
        return len(self.instances) == 3

    def jobs_on_pages(self) -> bool:
        pages = {name: poll(instance) for name, instance in self.instances.items()}
        on_tasks = pages[TM1].values("job_id") | pages[TM2].values("job_id")
        done = {
            dict(labels)["job_id"]: value
            for (name, labels), value in pages[JM].samples.items()
            if name == "flink_jobmanager_job_numberOfCompletedCheckpoints"
        }
        ids = set(self.jobs.values())
        return ids <= on_tasks and ids <= done.keys() and all(done[id_] >= 1 for id_ in ids)

    def settle(self, at: float, instances: list[str]) -> None:
        """Waits until all receivers hold a scrape of each instance later than the time `at`."""

        def newer() -> bool:
            return all(
                times.get(instance, 0) > at
                for times in (receiver.api.last_times("up") for receiver in self.receivers)
                for instance in instances
            )

        self.processes.wait_until(
            f"all receivers hold `up` of {', '.join(instances)} after {at:.3f}", newer, 30
        )

    def on_each(self, name: str, expression: str, at: float, expected: object, read: Read) -> None:
        """One check per receiver: `read` of the instant answer at the time `at`."""
        for receiver in self.receivers:
            got = read(receiver.api.instant(expression, at))
            self.report.equal(f"{name} ({receiver.name})", expected, got)

    def alive(self) -> list[str]:
        return list(self.instances.values())

    def close(self) -> None:
        """Ends what lives in this process; processes are stopped by their owner."""
        for listener in (*self.listeners, *self.recorders):
            listener.close()


def values(answer: dict[Labels, float]) -> list[float]:
    """The values of an answer without their labels."""
    return list(answer.values())


def by_instance(answer: dict[Labels, float]) -> dict[str, float]:
    """The value of each target."""
    return {dict(labels)["instance"]: value for labels, value in answer.items()}


def label_names(answer: dict[Labels, float]) -> set[frozenset[str]]:
    """All sets of label names in an answer."""
    return {frozenset(dict(labels)) for labels in answer}
