"""The relay under test: its config, its process and what it says about itself.

Every name that the relay chose (config keys aside) stands in the constants below, once.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from net import answers, fetch
from page import Series, parse
from procs import Process, Processes, free_port
from receivers import Receiver
from recorder import Recorder

JOB = "flink"
EXTERNAL_LABELS = {"cluster": "e2e"}
EXCLUDED_GROUP = "classloader"
EXCLUDED_METRICS = r"flink_(jobmanager|taskmanager)_Status_JVM_ClassLoader_.+"

INTERVAL_S = 2
PROBE_INTERVAL_S = 2
SHUTDOWN_GRACE_S = 5

# Series that describe a target rather than stand on its page.
SCRAPE_SERIES = r"up|scrape_.+|flinkrelay_.+"

# The relay's own counters of samples, all with the label RECEIVER_LABEL:
# SAMPLES_IN = SAMPLES_DELIVERED + SAMPLES_DROPPED (by reason) + SAMPLES_PENDING at any time.
SAMPLES_IN = "flinkrelay_remote_write_samples_appended_total"
SAMPLES_DELIVERED = "flinkrelay_remote_write_samples_total"
SAMPLES_DROPPED = "flinkrelay_remote_write_samples_dropped_total"
SAMPLES_RETRIED = "flinkrelay_remote_write_samples_retried_total"
SAMPLES_PENDING = "flinkrelay_remote_write_samples_pending"
# What of it the relay itself cannot place; it must always be 0.
SAMPLES_UNACCOUNTED = "flinkrelay_remote_write_samples_unaccounted"
SAMPLE_METRICS = (
    SAMPLES_IN,
    SAMPLES_DELIVERED,
    SAMPLES_DROPPED,
    SAMPLES_RETRIED,
    SAMPLES_PENDING,
    SAMPLES_UNACCOUNTED,
)
RECEIVER_LABEL = "receiver"

# 1 for the message that a receiver gets, in the label `message`.
MESSAGE_INFO = "flinkrelay_remote_write_message_info"

# Records of the spool that could not be read any more.
RECORDS_CORRUPT = "flinkrelay_spool_corrupt_records_total"


@dataclass
class Relay:
    """A running relay."""

    process: Process
    # host:port of its own endpoints.
    listen: str

    def stop(self) -> int | None:
        """SIGTERM; the exit code, None when it outlived its grace and was killed."""
        return self.process.stop(SHUTDOWN_GRACE_S + 1)

    def ready(self) -> bool:
        return answers(f"http://{self.listen}/-/ready")

    def own_page(self) -> str:
        return fetch(f"http://{self.listen}/metrics").decode()

    def own_metrics(self) -> dict[Series, float]:
        return parse(self.own_page())

    def targets(self) -> dict:
        """The JSON of /targets."""
        return json.loads(fetch(f"http://{self.listen}/targets"))


def start(binary: Path, ports: range, receivers: list[Receiver | Recorder], processes: Processes) -> Relay:
    """Writes the config of the relay that most checks are about, and starts it."""
    return start_with(binary, "relay", config_text(ports, receivers), processes)


def start_with(binary: Path, name: str, text: str, processes: Processes) -> Relay:
    """Starts a relay with this config."""
    config = processes.directory / f"{name}.yaml"
    config.write_text(text)
    listen = f"127.0.0.1:{free_port()}"
    options = ["--listen", listen, "--shutdown-grace", f"{SHUTDOWN_GRACE_S}s"]
    argv = [str(binary), "run", "-c", str(config), *options]
    return Relay(processes.start(name, argv), listen)


def config_text(ports: range, receivers: list[Receiver | Recorder]) -> str:
    """One range of ports, every receiver, one group filtered out."""
    external = "\n".join(f"    {name}: {value}" for name, value in EXTERNAL_LABELS.items())
    text = f"""\
global:
  scrape_interval: {INTERVAL_S}s
  scrape_timeout: {INTERVAL_S}s
  external_labels:
{external}
scrape_configs:
  - job_name: {JOB}
    probe_interval: {PROBE_INTERVAL_S}s
    static_configs:
      - targets: ["127.0.0.1:{ports[0]}-{ports[-1]}"]
flink:
  groups:
    exclude: [{EXCLUDED_GROUP}]
remote_write:
"""
    for receiver in receivers:
        text += f"  - name: {receiver.name}\n    url: {receiver.write_url}\n"
    return text


def declared(own_page: str) -> set[str]:
    """The counters and gauges of a page by the name of their samples, also those without any yet."""
    types = re.findall(r"^# TYPE (\S+) (\S+)$", own_page, re.M)
    # OpenMetrics names the family of a counter without the `_total` of its samples.
    return {
        name + "_total" if kind == "counter" and not name.endswith("_total") else name
        for name, kind in types
    }


def own_sum(own: dict[Series, float], metric: str, receiver: str) -> float:
    """The sum of a metric over all its series of one receiver."""
    return sum(
        value
        for (name, labels), value in own.items()
        if name == metric and (RECEIVER_LABEL, receiver) in labels
    )


def is_excluded(metric: str) -> bool:
    """Whether a metric belongs to the group that the config excludes."""
    return re.fullmatch(EXCLUDED_METRICS, metric) is not None


def ignored(targets: dict, port: int) -> str | None:
    """What /targets says about a port of a range that is not Flink's, None when it says nothing."""
    reasons = (found["ignored"].get(str(port)) for found in targets["ranges"])
    return next((reason for reason in reasons if reason), None)
