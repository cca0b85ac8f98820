"""What of a page's values is no value, and which series the relay makes itself.

Written against Flink's code and documentation, and shares nothing with the relay's catalogue.
"""

import math
import re

from page import Series

# `Long.MIN_VALUE` before a first watermark, `Long.MAX_VALUE` after the end of bounded input.
_WATERMARK = re.compile(r"flink_\w+_current(Input|Input\d+|Output)?Watermark")
_FARTHEST = 2.0**63

# -1 while there is none: no checkpoint yet, no maximum, no job that runs, no event yet.
_MINUS_ONE = re.compile(
    r"flink_jobmanager_job_(lastCheckpoint(Duration|Size|FullSize|MetadataSize|ProcessedData|PersistedData)"
    r"|lastCheckpoint(Completed|Restore)Timestamp|lastCompletedCheckpointId|uptime|downtime)"
    r"|flink_\w+_Status_JVM_Memory_(Heap|NonHeap|Metaspace)_Max"
    r"|flink_\w+_(currentEmitEventTimeLag|millisBehindLatest|currentOffset|committedOffset)"
)
_NAN = re.compile(r"flink_taskmanager_job_task_(busyTimeMsPerSecond|accumulateBusyTimeMs)")

# What the relay makes from a page's samples.
DERIVED = (
    r"flink_taskmanager_job_task_(operator_(input_|output_)?)?watermark_lag_seconds"
    r"|flink_jobmanager_job_(last_completed_checkpoint_age_seconds|checkpoint_failures_total|restarts_total)"
    r"|flink_taskmanager_job_task_(busy|idle|backpressured)_ratio"
    r"|flink_(jobmanager|taskmanager)_memory_(heap|managed)_used_ratio"
    r"|flink_taskmanager_job_task_operator_rocksdb_(memory_bytes|block_cache_used_ratio)"
    r"|flink_jobmanager_task_slots_used"
)


def made(name: str) -> bool:
    """Whether a stored series describes a scrape, or was made from others."""
    return bool(re.fullmatch(rf"up|scrape_.+|flinkrelay_.+|{DERIVED}", name))


def is_none(series: Series, value: float) -> bool:
    """Whether Flink says by this value that it has none."""
    name, labels = series
    if math.isnan(value):
        # A quantile of nothing, whoever registered the histogram.
        return bool(_NAN.fullmatch(name)) or "quantile" in dict(labels)
    if _WATERMARK.fullmatch(name):
        return abs(value) >= _FARTHEST
    return value == -1 and bool(_MINUS_ONE.fullmatch(name))
