"""One task and its operators, subtask by subtask; and the JVMs that they run in."""

from .model import (
    CLUSTER,
    FLINK_JOB,
    FLINK_TASK,
    INSTANCE,
    NAMESPACE,
    PROCESS,
    TASK,
    Dashboard,
    Panel,
    Row,
    both,
    q,
)


def _subtasks(title: str, what: str, metric: str, unit: str, **more) -> Panel:
    expr = f"max by (task_name, subtask_index) ({metric}{{{TASK}}})"
    return Panel(title, what, unit, (q(expr, "{{subtask_index}} {{task_name}}"),), **more)


def _skew(metric: str, over: str) -> str:
    rate = f"sum by ({over}, subtask_index) (rate({metric}{{{TASK}}}[$__rate_interval]))"
    return f"max by ({over}) ({rate}) / (avg by ({over}) ({rate}) > 0)"


# Sources of the old kind do not measure it, and are absent.
_BUSY = f"avg_over_time(flink_taskmanager_job_task_busy_ratio{{{TASK}}}[$__rate_interval])"

TASKS = Dashboard(
    "flinkrelay-task",
    "Flink / Tasks",
    "Tasks and operators of a job down to subtasks: skew, load, queues, watermarks, latency.",
    (CLUSTER, NAMESPACE, FLINK_JOB, FLINK_TASK),
    (
        Row(
            "Skew",
            (
                Panel(
                    "Skew of records",
                    "Records of the busiest subtask over the mean of its task. 1 is even; 2 means that one subtask has twice its share, mostly because of a hot key.",
                    "none",
                    (
                        q(
                            _skew("flink_taskmanager_job_task_numRecordsIn", "job_name, task_name"),
                            "{{task_name}}",
                        ),
                    ),
                ),
                Panel(
                    "Skew of busy time",
                    "Busy time of the busiest subtask over the mean of its task. High with even records: one host is slower, or its keys are costlier.",
                    "none",
                    (
                        q(
                            f"max by (job_name, task_name) ({_BUSY}) / (avg by (job_name, task_name) ({_BUSY}) > 0)",
                            "{{task_name}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Subtasks",
            (
                Panel(
                    "Records in",
                    "Records per second that each subtask takes in.",
                    "recps",
                    (
                        q(
                            f"sum by (task_name, subtask_index) (rate(flink_taskmanager_job_task_numRecordsIn{{{TASK}}}[$__rate_interval]))",
                            "{{subtask_index}} {{task_name}}",
                        ),
                    ),
                ),
                Panel(
                    "Records out",
                    "Records per second that each subtask emits.",
                    "recps",
                    (
                        q(
                            f"sum by (task_name, subtask_index) (rate(flink_taskmanager_job_task_numRecordsOut{{{TASK}}}[$__rate_interval]))",
                            "{{subtask_index}} {{task_name}}",
                        ),
                    ),
                ),
                _subtasks(
                    "Busy",
                    "Share of time that each subtask works.",
                    "flink_taskmanager_job_task_busy_ratio",
                    "percentunit",
                    width=8,
                    maximum=1,
                ),
                _subtasks(
                    "Back pressure",
                    "Share of time that each subtask is held back by its consumers.",
                    "flink_taskmanager_job_task_backpressured_ratio",
                    "percentunit",
                    width=8,
                    maximum=1,
                ),
                _subtasks(
                    "Idle",
                    "Share of time that each subtask waits for input.",
                    "flink_taskmanager_job_task_idle_ratio",
                    "percentunit",
                    width=8,
                    maximum=1,
                ),
                Panel(
                    "Watermark lag",
                    "Clock less the watermark of each subtask. The oldest one holds its task.",
                    "s",
                    (
                        q(
                            f"max by (task_name, subtask_index) (flink_taskmanager_job_task_watermark_lag_seconds{{{TASK}}})",
                            "{{subtask_index}} {{task_name}}",
                        ),
                    ),
                    needs="watermarks",
                    minimum=None,
                ),
                _subtasks(
                    "Initialisation",
                    "Time that a subtask has spent on restoring its state, while it does so and afterwards.",
                    "flink_taskmanager_job_task_initializationTime",
                    "ms",
                    core=False,
                ),
                Panel(
                    "Mailbox latency",
                    "Time that actions (timers, checkpoint steps) wait for the task's thread, 99th percentile. Long waits are a thread that is blocked.",
                    "ms",
                    (
                        q(
                            f'max by (task_name, subtask_index) (flink_taskmanager_job_task_mailboxLatencyMs{{quantile="0.99",{TASK}}})',
                            "{{subtask_index}} {{task_name}}",
                        ),
                    ),
                    core=False,
                ),
                Panel(
                    "Timers fired",
                    "Timers per second, of windows for instance.",
                    "ops",
                    (
                        q(
                            f"sum by (task_name, subtask_index) (rate(flink_taskmanager_job_task_numFiredTimers{{{TASK}}}[$__rate_interval]))",
                            "{{subtask_index}} {{task_name}}",
                        ),
                    ),
                    core=False,
                ),
            ),
        ),
        Row(
            "Operators",
            (
                Panel(
                    "Records in, by operator",
                    "Records per second that each operator takes in.",
                    "recps",
                    (
                        q(
                            f"sum by (operator) (rate(flink_taskmanager_job_task_operator_numRecordsIn{{{TASK}}}[$__rate_interval]))",
                            "{{operator}}",
                        ),
                    ),
                ),
                Panel(
                    "Records out, by operator",
                    "Records per second that each operator emits.",
                    "recps",
                    (
                        q(
                            f"sum by (operator) (rate(flink_taskmanager_job_task_operator_numRecordsOut{{{TASK}}}[$__rate_interval]))",
                            "{{operator}}",
                        ),
                    ),
                ),
                Panel(
                    "Watermark lag, by operator",
                    "Clock less the oldest watermark that each operator emits.",
                    "s",
                    (
                        q(
                            f"max by (operator) (flink_taskmanager_job_task_operator_output_watermark_lag_seconds{{{TASK}}})",
                            "{{operator}}",
                        ),
                    ),
                    needs="watermarks",
                    minimum=None,
                ),
                Panel(
                    "Latency from the source",
                    "Time that latency markers take from a source to each operator, 99th percentile. Flink gives operators by id here.",
                    "ms",
                    (
                        q(
                            'max by (operator_id) (flink_taskmanager_job_task_latency{quantile="0.99",'
                            'cluster=~"$cluster",namespace=~"$namespace",job_name=~"$job"})',
                            "{{operator_id}}",
                        ),
                    ),
                    needs="`metrics.latency.interval`",
                ),
                Panel(
                    "Records sent by sinks",
                    "Records per second that sinks hand to the outside system.",
                    "recps",
                    (
                        q(
                            f"sum by (operator) (rate(flink_taskmanager_job_task_operator_numRecordsSend{{{TASK}}}[$__rate_interval]))",
                            "{{operator}}",
                        ),
                    ),
                    core=False,
                    needs="a sink of the present kind (Flink 1.15 and later)",
                ),
                Panel(
                    "Errors of sinks",
                    "Records per second that sinks could not send.",
                    "recps",
                    (
                        q(
                            f"sum by (operator) (rate(flink_taskmanager_job_task_operator_numRecordsSendErrors{{{TASK}}}[$__rate_interval]))",
                            "{{operator}}",
                        ),
                    ),
                    core=False,
                    needs="a sink of the present kind (Flink 1.15 and later)",
                ),
            ),
        ),
    ),
)


def _jvm(title: str, what: str, metric: str, unit: str, **more) -> Panel:
    return Panel(
        title, what, unit, both(f"flink_{{}}_Status_JVM_{metric}{{{PROCESS}}}", "{{instance}}"), **more
    )


def _area(title: str, what: str, area: str) -> Panel:
    queries = (
        *both(f"flink_{{}}_Status_JVM_Memory_{area}_Used{{{PROCESS}}}", "{{instance}} used"),
        *both(f"flink_{{}}_Status_JVM_Memory_{area}_Max{{{PROCESS}}} > 0", "{{instance}} max"),
    )
    return Panel(title, what, "bytes", queries, width=8)


def _rate(metric: str, factor: str = "") -> str:
    return f"rate(flink_{{}}_Status_JVM_{metric}{{{PROCESS}}}[$__rate_interval]){factor}"


JVM = Dashboard(
    "flinkrelay-jvm",
    "Flink / JVM",
    "CPU, memory, threads, classes and garbage collection of each JobManager and TaskManager.",
    (CLUSTER, NAMESPACE, INSTANCE),
    (
        Row(
            "CPU",
            (
                _jvm(
                    "CPU load",
                    "Share of the machine's CPU that the JVM uses, as it sees it; in a container a share of its limit.",
                    "CPU_Load",
                    "percentunit",
                ),
                Panel(
                    "CPU in use",
                    "Cores that the JVM uses.",
                    "none",
                    both(_rate("CPU_Time", " / 1e9"), "{{instance}}"),
                ),
            ),
        ),
        Row(
            "Memory",
            (
                _area("Heap", "Heap in use and its maximum.", "Heap"),
                _area(
                    "Non-heap",
                    "Metaspace, code cache and the like. A maximum is shown where the JVM has one.",
                    "NonHeap",
                ),
                _area(
                    "Metaspace",
                    "Memory of classes. Growth with each submission to a session cluster is a leak of class loaders.",
                    "Metaspace",
                ),
                Panel(
                    "Direct buffers",
                    "Memory of direct buffers: network and connectors. Its limit is -XX:MaxDirectMemorySize.",
                    "bytes",
                    both(f"flink_{{}}_Status_JVM_Memory_Direct_MemoryUsed{{{PROCESS}}}", "{{instance}}"),
                    width=8,
                ),
                Panel(
                    "Mapped buffers",
                    "Memory of files that are mapped. 0 in most clusters.",
                    "bytes",
                    both(f"flink_{{}}_Status_JVM_Memory_Mapped_MemoryUsed{{{PROCESS}}}", "{{instance}}"),
                    width=8,
                ),
                Panel(
                    "Managed memory",
                    "Memory that Flink manages off the heap, for RocksDB and batch operators, reserved by slots, and the total.",
                    "bytes",
                    (
                        q(
                            f"flink_taskmanager_Status_Flink_Memory_Managed_Used{{{PROCESS}}}",
                            "{{tm_id}} {{instance}} used",
                        ),
                        q(
                            f"flink_taskmanager_Status_Flink_Memory_Managed_Total{{{PROCESS}}}",
                            "{{tm_id}} {{instance}} total",
                        ),
                    ),
                    width=8,
                ),
                Panel(
                    "Heap in use",
                    "Heap in use as a share of its maximum. What counts is the bottom of the saw.",
                    "percentunit",
                    both(f"flink_{{}}_memory_heap_used_ratio{{{PROCESS}}}", "{{instance}}"),
                    maximum=1,
                ),
                Panel(
                    "Managed memory in use",
                    "Managed memory in use as a share of what there is. With RocksDB it is near 1 once its caches are full, which is as it should be.",
                    "percentunit",
                    (
                        q(
                            f"flink_taskmanager_memory_managed_used_ratio{{{PROCESS}}}",
                            "{{tm_id}} {{instance}}",
                        ),
                    ),
                    maximum=1,
                ),
            ),
        ),
        Row(
            "Garbage collection",
            (
                Panel(
                    "Time in collectors",
                    "Share of time that each collector takes. Collectors named Concurrent or Cycles work beside the program.",
                    "percentunit",
                    both(_rate("GarbageCollector_Time", " / 1000"), "{{gc}} {{instance}}"),
                ),
                Panel(
                    "Collections",
                    "Runs per second of each collector.",
                    "ops",
                    both(_rate("GarbageCollector_Count"), "{{gc}} {{instance}}"),
                ),
            ),
        ),
        Row(
            "Threads, classes, files",
            (
                _jvm(
                    "Threads",
                    "Live threads. Growth without an end is a leak, mostly of a connector.",
                    "Threads_Count",
                    "short",
                    width=6,
                ),
                Panel(
                    "Classes loaded",
                    "Classes loaded less those unloaded.",
                    "short",
                    both(
                        f"flink_{{}}_Status_JVM_ClassLoader_ClassesLoaded{{{PROCESS}}} - flink_{{}}_Status_JVM_ClassLoader_ClassesUnloaded{{{PROCESS}}}",
                        "{{instance}}",
                    ),
                    width=6,
                ),
                Panel(
                    "Class loading",
                    "Classes loaded per second. Steady loading in a job that runs is a generator without a cache.",
                    "ops",
                    both(_rate("ClassLoader_ClassesLoaded"), "{{instance}}"),
                    width=6,
                ),
                Panel(
                    "File descriptors",
                    "Open file descriptors as a share of their limit (Flink 2.1 and later).",
                    "percentunit",
                    both(
                        f"flink_{{}}_Status_JVM_FileDescriptor_Open{{{PROCESS}}} / flink_{{}}_Status_JVM_FileDescriptor_Max{{{PROCESS}}}",
                        "{{instance}}",
                    ),
                    width=6,
                    core=False,
                ),
            ),
        ),
    ),
)
