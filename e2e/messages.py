"""Which remote write each receiver gets, and the metadata that 2.0 brings with every series."""

import json
import subprocess

import relay
from net import fetch
from promql import Api
from receivers import Receiver
from stage import Stage

# What the relay calls them in its own metrics, by the version that a receiver knows.
MESSAGES = {"1.0": "prometheus.WriteRequest", "2.0": "io.prometheus.write.v2.Request"}

# Metrics whose type, or unit, differs from what Flink's pages say of them: there all is a gauge.
TYPES = {
    "flink_taskmanager_job_task_numRecordsIn": "counter",
    "flink_taskmanager_Status_JVM_Memory_Heap_Max": "gauge",
    "up": "gauge",
}
UNITS = {"flink_taskmanager_Status_JVM_Memory_Heap_Max": "bytes"}


def check_messages(stage: Stage) -> None:
    """2.0 where it is understood, 1.0 elsewhere, found out by itself; nothing lost on the way."""
    own = stage.relay.own_metrics()
    for receiver in stage.receivers:
        used = {
            dict(labels)["message"]
            for (name, labels), value in own.items()
            if name == relay.MESSAGE_INFO and value == 1 and (relay.RECEIVER_LABEL, receiver.name) in labels
        }
        name = f"the relay says which message it sends ({receiver.name})"
        stage.report.equal(name, {MESSAGES[receiver.messages]}, used)
        if receiver.messages == "2.0":
            check_metadata(stage, receiver)
        if receiver.tells_metadata:
            check_told_metadata(stage, receiver)


def check_told_metadata(stage: Stage, receiver: Receiver) -> None:
    """Types and help texts by the receiver's metadata API, as Grafana asks it."""
    help_texts = help_of(stage, set(TYPES))
    told = json.loads(fetch(f"{receiver.api.url}/api/v1/metadata"))["data"]
    for metric, kind in TYPES.items():
        # Each once, whatever the pages of different targets say.
        found = sorted({(entry["type"], entry["help"]) for entry in told.get(metric, [])})
        if metric in help_texts:
            name = f"the metadata API says {kind} and the help of {metric} ({receiver.name})"
            stage.report.equal(name, [(kind, help_texts[metric])], found)


def check_metadata(stage: Stage, receiver: Receiver) -> None:
    """Types and units by the receiver's API, where they are labels; help texts in its log."""
    api = Api(receiver.name, receiver.api.url)
    for what, label, expected in (("type", "__type__", TYPES), ("unit", "__unit__", UNITS)):
        for metric, value in expected.items():
            found = {dict(labels).get(label) for labels in api.instant(metric)}
            stage.report.equal(f"the {what} of {metric} is {value} ({receiver.name})", {value}, found)
    help_texts = help_of(stage, set(TYPES))
    log = b"".join(path.read_bytes() for path in sorted(receiver.log_directory.iterdir()) if path.is_file())
    for metric, text in help_texts.items():
        holds = bool(text) and text.encode() in log
        stage.report.that(f"the help of {metric} is in its log ({receiver.name})", holds, repr(text), "not there")


def help_of(stage: Stage, metrics: set[str]) -> dict[str, str]:
    """The relay's own words for metrics of Flink, from its catalogue."""
    argv = [str(stage.binary), "groups", "-o", "json"]
    groups = json.loads(subprocess.run(argv, capture_output=True, timeout=30, check=True).stdout)["groups"]
    return {
        exported: metric["help"]
        for group in groups
        for metric in group["metrics"]
        for exported in metric["exported"]
        if exported in metrics
    }
