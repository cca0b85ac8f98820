"""What is looked at when something is slow: network, checkpoints, RocksDB."""

from .model import CLUSTER, FLINK_JOB, FLINK_TASK, JOB, NAMESPACE, SITE, TASK, Dashboard, Panel, Row, q

_NETTY = "flink_taskmanager_Status_Shuffle_Netty_"
_TASK_NETTY = "flink_taskmanager_job_task_Shuffle_Netty_"


def _worst(title: str, what: str, metric: str, unit: str, **more) -> Panel:
    return Panel(
        title, what, unit, (q(f"max by (job_name, task_name) ({metric}{{{TASK}}})", "{{task_name}}"),), **more
    )


NETWORK = Dashboard(
    "flinkrelay-network",
    "Flink / Network",
    "Buffers, queues and traffic between tasks.",
    (CLUSTER, NAMESPACE, FLINK_JOB, FLINK_TASK),
    (
        Row(
            "TaskManagers",
            (
                Panel(
                    "Network memory",
                    "Network memory of each TaskManager in use. Full and back pressure together: buffers are short.",
                    "percentunit",
                    (
                        q(
                            f"{_NETTY}UsedMemorySegments{{{SITE}}} / ({_NETTY}TotalMemorySegments{{{SITE}}} > 0)",
                            "{{tm_id}} {{instance}}",
                        ),
                    ),
                    maximum=1,
                ),
                Panel(
                    "Network memory asked for",
                    "Memory that tasks have asked for as a share of what there is. Above 1 more is asked for than there is.",
                    "percentunit",
                    (q(f"{_NETTY}RequestedMemoryUsage{{{SITE}}} / 100", "{{tm_id}} {{instance}}"),),
                    core=False,
                ),
            ),
        ),
        Row(
            "Buffers",
            (
                _worst(
                    "Input buffers in use",
                    "Share of a task's input buffers that are full, its worst subtask. Full: the task does not keep up.",
                    f"{_TASK_NETTY}Input_Buffers_inPoolUsage",
                    "percentunit",
                ),
                _worst(
                    "Output buffers in use",
                    "Share of a task's output buffers that are full, its worst subtask. Full: its consumers do not keep up.",
                    f"{_TASK_NETTY}Output_Buffers_outPoolUsage",
                    "percentunit",
                ),
                _worst(
                    "Buffers queued at inputs",
                    "Buffers that wait in the input queues of a subtask.",
                    f"{_TASK_NETTY}Input_Buffers_inputQueueLength",
                    "short",
                ),
                _worst(
                    "Buffers queued at outputs",
                    "Buffers that wait in the output queues of a subtask.",
                    f"{_TASK_NETTY}Output_Buffers_outputQueueLength",
                    "short",
                ),
                Panel(
                    "Longest queue of a channel",
                    "Longest queue of one channel. Far above the mean: one receiver is slow, or a key is hot.",
                    "short",
                    (
                        q(
                            f"max by (job_name, task_name, direction) ({_TASK_NETTY}maxQueueLen{{{TASK}}})",
                            "{{direction}} {{task_name}}",
                        ),
                    ),
                    needs="`taskmanager.network.detailed-metrics: true`",
                ),
                Panel(
                    "Mean queue of a channel",
                    "Mean length of the queues of a task's channels.",
                    "short",
                    (
                        q(
                            f"avg by (job_name, task_name, direction) ({_TASK_NETTY}avgQueueLen{{{TASK}}})",
                            "{{direction}} {{task_name}}",
                        ),
                    ),
                    needs="`taskmanager.network.detailed-metrics: true`",
                ),
            ),
        ),
        Row(
            "Traffic",
            (
                Panel(
                    "Bytes from the same TaskManager",
                    "Bytes per second that a task reads without the network.",
                    "Bps",
                    (
                        q(
                            f"sum by (job_name, task_name) (rate({_TASK_NETTY}Input_numBytesInLocal{{{TASK}}}[$__rate_interval]))",
                            "{{task_name}}",
                        ),
                    ),
                    width=8,
                ),
                Panel(
                    "Bytes over the network",
                    "Bytes per second that a task reads from other TaskManagers.",
                    "Bps",
                    (
                        q(
                            f"sum by (job_name, task_name) (rate({_TASK_NETTY}Input_numBytesInRemote{{{TASK}}}[$__rate_interval]))",
                            "{{task_name}}",
                        ),
                    ),
                    width=8,
                ),
                Panel(
                    "Bytes out",
                    "Bytes per second that a task emits.",
                    "Bps",
                    (
                        q(
                            f"sum by (job_name, task_name) (rate(flink_taskmanager_job_task_numBytesOut{{{TASK}}}[$__rate_interval]))",
                            "{{task_name}}",
                        ),
                    ),
                    width=8,
                ),
            ),
        ),
    ),
)


def _job(title: str, what: str, expr: str, unit: str, **more) -> Panel:
    return Panel(
        title,
        what,
        unit,
        (q(f"max by (job_name) ({expr})", "{{job_name}}"),),
        width=more.pop("width", 8),
        **more,
    )


CHECKPOINTS = Dashboard(
    "flinkrelay-checkpoints",
    "Flink / Checkpoints",
    "How often, how long, how large; and what a failure would cost now.",
    (CLUSTER, NAMESPACE, FLINK_JOB),
    (
        Row(
            "Outcome",
            (
                Panel(
                    "Completed",
                    "Checkpoints that completed, in steps of the graph's resolution.",
                    "short",
                    (
                        q(
                            f"max by (job_name) (increase(flink_jobmanager_job_numberOfCompletedCheckpoints{{{JOB}}}[$__rate_interval]))",
                            "{{job_name}}",
                        ),
                    ),
                    width=6,
                ),
                Panel(
                    "Failed",
                    "Checkpoints that failed, in steps of the graph's resolution.",
                    "short",
                    (
                        q(
                            f"max by (job_name) (increase(flink_jobmanager_job_checkpoint_failures_total{{{JOB}}}[$__rate_interval]))",
                            "{{job_name}}",
                        ),
                    ),
                    width=6,
                ),
                _job(
                    "In progress",
                    "Checkpoints that are under way. Always 1: they take longer than their interval.",
                    f"flink_jobmanager_job_numberOfInProgressCheckpoints{{{JOB}}}",
                    "short",
                    width=6,
                ),
                _job(
                    "Age",
                    "Time since the last checkpoint completed: what a failure would repeat. Before Flink 2.0 it begins with the first one that completes while the relay looks.",
                    f"flink_jobmanager_job_last_completed_checkpoint_age_seconds{{{JOB}}}",
                    "s",
                    width=6,
                ),
            ),
        ),
        Row(
            "The last checkpoint",
            (
                _job(
                    "Duration",
                    "Time from its trigger to its end.",
                    f"flink_jobmanager_job_lastCheckpointDuration{{{JOB}}} >= 0",
                    "ms",
                ),
                _job(
                    "Size",
                    "Bytes that it wrote; with incremental checkpoints only what was new.",
                    f"flink_jobmanager_job_lastCheckpointSize{{{JOB}}} >= 0",
                    "bytes",
                ),
                _job(
                    "Full size",
                    "Bytes of the whole state (Flink 1.15 and later). Growth without an end: state without a TTL.",
                    f"flink_jobmanager_job_lastCheckpointFullSize{{{JOB}}} >= 0",
                    "bytes",
                    core=False,
                ),
                _job(
                    "Processed while aligning",
                    "Bytes that subtasks processed while they waited for barriers.",
                    f"flink_jobmanager_job_lastCheckpointProcessedData{{{JOB}}} >= 0",
                    "bytes",
                ),
                _job(
                    "Persisted in flight",
                    "Bytes of records in flight that an unaligned checkpoint stored.",
                    f"flink_jobmanager_job_lastCheckpointPersistedData{{{JOB}}} >= 0",
                    "bytes",
                ),
                _job(
                    "Restored at",
                    "When the job was restored from a checkpoint last.",
                    f"flink_jobmanager_job_lastCheckpointRestoreTimestamp{{{JOB}}} > 0",
                    "dateTimeAsIso",
                    may_be_empty="no job of the test was restored",
                    minimum=None,
                ),
            ),
        ),
        Row(
            "Barriers",
            (
                Panel(
                    "Alignment",
                    "Time that the slowest subtask of each task waits for the barriers of its other inputs. Back pressure makes it long.",
                    "ns",
                    (
                        q(
                            f"max by (job_name, task_name) (flink_taskmanager_job_task_checkpointAlignmentTime{{{JOB}}})",
                            "{{task_name}}",
                        ),
                    ),
                ),
                Panel(
                    "Start delay",
                    "Time from the trigger until the first barrier reaches the slowest subtask of each task. Long: records wait before it.",
                    "ns",
                    (
                        q(
                            f"max by (job_name, task_name) (flink_taskmanager_job_task_checkpointStartDelayNanos{{{JOB}}})",
                            "{{task_name}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)


def _rocksdb(title: str, what: str, metric: str, unit: str, how: str = "sum", **more) -> Panel:
    name = f"flink_taskmanager_job_task_operator_rocksdb_{metric}"
    option = "state.backend.rocksdb.metrics." + more.pop("option", metric.replace("_", "-"))
    expr = f"{how} by (job_name, operator, state) ({name}{{{TASK}}})"
    return Panel(
        title, what, unit, (q(expr, "{{operator}} {{state}}"),), width=8, needs=f"`{option}: true`", **more
    )


def _ticker(title: str, what: str, metric: str, unit: str, factor: str = "") -> Panel:
    name = f"flink_taskmanager_job_task_operator_rocksdb_{metric}"
    expr = f"sum by (job_name, operator) (rate({name}{{{TASK}}}[$__rate_interval])){factor}"
    # Flink's option has the long word, RocksDB's ticker the short one.
    option = "state.backend.rocksdb.metrics." + metric.replace("compact_", "compaction_").replace("_", "-")
    return Panel(
        title,
        what,
        unit,
        (q(expr, "{{operator}}"),),
        width=8,
        core=False,
        needs=f"`{option}: true`, Flink 1.16",
    )


ROCKSDB = Dashboard(
    "flinkrelay-rocksdb",
    "Flink / RocksDB",
    "State in RocksDB: size, memory, compaction, stalls. Flink reports what its configuration switches on, metric by metric.",
    (CLUSTER, NAMESPACE, FLINK_JOB, FLINK_TASK),
    (
        Row(
            "State",
            (
                _rocksdb(
                    "Keys",
                    "Estimated number of keys in each state. Growth without an end: state without a TTL.",
                    "estimate_num_keys",
                    "short",
                ),
                _rocksdb(
                    "Live data",
                    "Estimated bytes of live data in each state.",
                    "estimate_live_data_size",
                    "bytes",
                ),
                _rocksdb(
                    "Files",
                    "Bytes of all SST files. Far above the live data: compaction is behind.",
                    "total_sst_files_size",
                    "bytes",
                ),
            ),
        ),
        Row(
            "Memory",
            (
                _rocksdb(
                    "Mem tables",
                    "Bytes in mem tables, those that wait for a flush included.",
                    "cur_size_all_mem_tables",
                    "bytes",
                ),
                _rocksdb(
                    "Block cache",
                    "Bytes in the block cache. All states of a slot share one cache, so the largest value is shown, not a sum.",
                    "block_cache_usage",
                    "bytes",
                    "max",
                ),
                _rocksdb(
                    "Table readers",
                    "Bytes of index and filter blocks outside the block cache.",
                    "estimate_table_readers_mem",
                    "bytes",
                ),
                Panel(
                    "Memory of an operator",
                    "Bytes in mem tables and table readers of all states of an operator together. The block cache is shared, so it is in none of them.",
                    "bytes",
                    (
                        q(
                            f"sum by (job_name, operator) (flink_taskmanager_job_task_operator_rocksdb_memory_bytes{{{TASK}}})",
                            "{{operator}}",
                        ),
                    ),
                    needs="`state.backend.rocksdb.metrics.cur-size-all-mem-tables: true`",
                ),
                Panel(
                    "Block cache in use",
                    "Share of the block cache that is used. All states of a slot share one cache.",
                    "percentunit",
                    (
                        q(
                            f"max by (job_name, operator) (flink_taskmanager_job_task_operator_rocksdb_block_cache_used_ratio{{{TASK}}})",
                            "{{operator}}",
                        ),
                    ),
                    maximum=1,
                    needs="`state.backend.rocksdb.metrics.block-cache-usage: true` and `block-cache-capacity`",
                ),
            ),
        ),
        Row(
            "Compaction and stalls",
            (
                _rocksdb(
                    "Running compactions", "Compactions that run now.", "num_running_compactions", "short"
                ),
                _rocksdb(
                    "Pending compaction",
                    "Bytes that compaction has to rewrite. When it grows, writes are slowed down and then stopped.",
                    "estimate_pending_compaction_bytes",
                    "bytes",
                ),
                _rocksdb(
                    "Delayed writes",
                    "Rate to which writes are slowed down; 0 when they are not.",
                    "actual_delayed_write_rate",
                    "Bps",
                    "max",
                ),
                _rocksdb(
                    "Writes stopped", "1 where writes have been stopped.", "is_write_stopped", "short", "max"
                ),
                _rocksdb(
                    "Flushes pending",
                    "1 where a mem table waits for its flush.",
                    "mem_table_flush_pending",
                    "short",
                    "max",
                ),
                _rocksdb(
                    "Background errors", "Errors of flushes and compactions.", "background_errors", "short"
                ),
            ),
        ),
        Row(
            "Reads and writes",
            (
                Panel(
                    "Block cache hits",
                    "Share of reads that the block cache answers.",
                    "percentunit",
                    (
                        q(
                            "sum by (job_name, operator) (rate(flink_taskmanager_job_task_operator_rocksdb_block_cache_hit"
                            f"{{{TASK}}}[$__rate_interval])) / (sum by (job_name, operator) ("
                            f"rate(flink_taskmanager_job_task_operator_rocksdb_block_cache_hit{{{TASK}}}[$__rate_interval])"
                            f" + rate(flink_taskmanager_job_task_operator_rocksdb_block_cache_miss{{{TASK}}}[$__rate_interval])) > 0)",
                            "{{operator}}",
                        ),
                    ),
                    width=8,
                    maximum=1,
                    core=False,
                    needs="`state.backend.rocksdb.metrics.block-cache-hit: true` and `block-cache-miss`, Flink 1.16",
                ),
                _ticker(
                    "Bytes read", "Bytes per second that reads return, uncompressed.", "bytes_read", "Bps"
                ),
                _ticker(
                    "Bytes written",
                    "Bytes per second that are written, uncompressed.",
                    "bytes_written",
                    "Bps",
                ),
                _ticker(
                    "Write stalls",
                    "Share of time that writers wait for flushes and compactions, summed over subtasks.",
                    "stall_micros",
                    "percentunit",
                    " / 1e6",
                ),
                _ticker(
                    "Compaction reads", "Bytes per second that compaction reads.", "compact_read_bytes", "Bps"
                ),
                _ticker(
                    "Compaction writes",
                    "Bytes per second that compaction writes.",
                    "compact_write_bytes",
                    "Bps",
                ),
            ),
        ),
    ),
)
