"""The names under which series of a page are to be stored.

Written against Flink's own list of metrics and what it renamed from version to version, and shares
nothing with the relay's catalogue, so a fault in one does not hide in the other.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from page import Series

_TASK = "flink_taskmanager_job_task_"
_OPERATOR = _TASK + "operator_"

# What a match of a name makes of it: the name that is stored and the labels that it gives.
Rename = Callable[[re.Match[str]], tuple[str, dict[str, str]]]


@dataclass(frozen=True)
class Rule:
    """A kind of name, what becomes of it, and whether Flink has it beside another one."""

    pattern: str
    rename: Rename
    former: bool = False


def _as(name: str, *labels: str) -> Rename:
    """A fixed name (with the groups of the pattern in it) and labels named like groups."""
    return lambda match: (match.expand(name), {label: match[label] for label in labels})


def _queue(match: re.Match[str]) -> tuple[str, dict[str, str]]:
    index = "gate" if match["side"] == "Input" else "partition"
    labels = {"direction": match["side"].lower(), index: match["index"]}
    return _TASK + "Shuffle_Netty_" + match["length"], labels


_QUEUE = r"_(?P<side>Input|Output)_(?P<index>\d+)_(?P<length>\w+QueueLen)"

RULES = (
    Rule(
        r"(flink_\w+?_Status_JVM_GarbageCollector)_(?P<gc>(?!All_)\w+)_(Count|Time|TimeMsPerSecond)",
        _as(r"\1_\3", "gc"),
    ),
    Rule(
        _OPERATOR + r"(?P<state>\w+)_rocksdb_num_files_at_level(?P<level>\d)",
        _as(_OPERATOR + "rocksdb_num_files_at_level", "state", "level"),
    ),
    Rule(_OPERATOR + r"(?P<state>\w+)_(rocksdb_[a-z_]+)", _as(_OPERATOR + r"\2", "state")),
    Rule(
        _OPERATOR + r"(?P<state>\w+)_(\w+State\w+Latency(_count)?)",
        _as(_OPERATOR + r"\2", "state"),
    ),
    Rule(
        _OPERATOR + r"currentInput(?P<input>\d+)Watermark",
        _as(_OPERATOR + "currentInputNWatermark", "input"),
    ),
    Rule(_OPERATOR + r"KafkaSourceReader_topic_partition_(\w+)", _as(_OPERATOR + r"KafkaSourceReader_\1")),
    Rule(r"flink_taskmanager_job(_task)?_latency_\w+_id(_\w+)?_latency(_count)?", _as(_TASK + r"latency\3")),
    Rule(_TASK + "Shuffle_Netty" + _QUEUE, _queue),
    Rule(
        _TASK + r"Shuffle_Netty_Input_(?P<gate>\d+)_(\w+)",
        _as(_TASK + r"Shuffle_Netty_Input_\2", "gate"),
    ),
    Rule(_TASK + "debloatedBufferSize", _as(_TASK + "Shuffle_Netty_Input_debloatedBufferSize")),
    # Up to 1.20, beside the names of today.
    Rule(_TASK + "Network" + _QUEUE, _queue, former=True),
    Rule(_TASK + r"buffers_(in\w+)", _as(_TASK + r"Shuffle_Netty_Input_Buffers_\1"), former=True),
    Rule(_TASK + r"buffers_(out\w+)", _as(_TASK + r"Shuffle_Netty_Output_Buffers_\1"), former=True),
    Rule(
        r"flink_taskmanager_Status_Network_(\w+)",
        _as(r"flink_taskmanager_Status_Shuffle_Netty_\1"),
        former=True,
    ),
    Rule("flink_jobmanager_job_fullRestarts", _as("flink_jobmanager_job_numRestarts"), former=True),
    # In all versions.
    Rule(
        _TASK + r"(num(Bytes|Buffers)In(Local|Remote)(PerSecond)?)",
        _as(_TASK + r"Shuffle_Netty_Input_\1"),
        former=True,
    ),
)

# Names on pages that no stored series may have, for a receiver's own matcher.
VARYING_OR_FORMER = "|".join(
    (
        "flink_.+_GarbageCollector_G1_.+",
        "flink_.+_operator_.+_rocksdb_.+",
        "flink_.+_currentInput[0-9]+Watermark",
        "flink_.+_(Input|Output)_[0-9]+_.+",
        "flink_.+_task_(Network|buffers|numBytesInLocal|numBuffersInRemote).*",
        "flink_.+_Status_Network_.+",
        "flink_.+_fullRestarts",
        "flink_.+_source_id_.+",
    )
)


def stored_as(series: Series) -> Series:
    """The series with the name that is stored, and with what left the name as labels."""
    name, labels = series
    matches = ((rule, re.fullmatch(rule.pattern, name)) for rule in RULES)
    for rule, match in matches:
        if match:
            name, added = rule.rename(match)
            if "state" in added and (column := dict(labels).get("column_family")):
                added["state"] = column
                labels -= {("column_family", column)}
            return name, labels | frozenset(added.items())
    return series


def is_former(name: str) -> bool:
    """Whether this is a name that the metric has beside its present one."""
    return any(rule.former and re.fullmatch(rule.pattern, name) for rule in RULES)


def without_copies(page: Iterable[Series]) -> set[Series]:
    """The series of a page without those that it has under their present names too."""
    page = set(page)
    present = {stored_as(series) for series in page if not is_former(series[0])}
    return {s for s in page if not (is_former(s[0]) and stored_as(s) in present)}
