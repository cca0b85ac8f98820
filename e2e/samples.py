"""The metrics that are compared with the pages one by one, at least one of every group."""

import re
from dataclasses import dataclass

from checks import Report
from compare import Comparison


@dataclass(frozen=True)
class Case:
    """A metric to compare: its group, its name on a page (a pattern), what its value is."""

    group: str
    metric: str


# Patterns where versions differ (GarbageCollector `All` is 1.19 and later) or where the name holds
# something that users chose (RocksDB's state names).
CASES = (
    Case("cpu", r"flink_jobmanager_Status_JVM_CPU_Time"),
    Case("cpu", r"flink_taskmanager_Status_JVM_CPU_Time"),
    Case("memory", r"flink_jobmanager_Status_JVM_Memory_Heap_Max"),
    Case("memory", r"flink_taskmanager_Status_JVM_Memory_Heap_Max"),
    Case("memory", r"flink_taskmanager_Status_Flink_Memory_Managed_Total"),
    Case("threads", r"flink_jobmanager_Status_JVM_Threads_Count"),
    Case("gc", r"flink_jobmanager_Status_JVM_GarbageCollector_G1_Young_Generation_Count"),
    Case("gc", r"flink_taskmanager_Status_JVM_GarbageCollector_G1_Young_Generation_Time"),
    Case("shuffle", r"flink_taskmanager_Status_Shuffle_Netty_TotalMemorySegments"),
    Case("shuffle", r"flink_taskmanager_job_task_Shuffle_Netty_Input_numBytesInLocal"),
    Case("cluster", r"flink_jobmanager_numRegisteredTaskManagers"),
    Case("cluster", r"flink_jobmanager_taskSlotsTotal"),
    Case("cluster", r"flink_jobmanager_numRunningJobs"),
    Case("availability", r"flink_jobmanager_job_uptime"),
    Case("availability", r"flink_jobmanager_job_numRestarts"),
    Case("checkpointing", r"flink_jobmanager_job_numberOfCompletedCheckpoints"),
    Case("checkpointing", r"flink_jobmanager_job_lastCheckpointSize"),
    Case("rocksdb", r"flink_taskmanager_job_task_operator_.+_rocksdb_estimate_num_keys"),
    Case("rocksdb", r"flink_taskmanager_job_task_operator_.+_rocksdb_block_cache_usage"),
    Case("io", r"flink_taskmanager_job_task_numRecordsIn"),
    Case("io", r"flink_taskmanager_job_task_operator_numRecordsOut"),
    Case("custom", r"flink_taskmanager_.+_latency_count"),
)

# Series that neither only rise nor stand still cannot be judged; most do one of the two.
JUDGED_SHARE_MIN = 0.5


def check_cases(report: Report, cases: tuple[Case, ...], compared: dict[str, Comparison]) -> None:
    """One check per case, over all series of that metric on all pages and both receivers."""
    for case in cases:
        problems = []
        for receiver, comparison in compared.items():
            problem = _problem(case, comparison)
            if problem:
                problems.append(f"{receiver}: {problem}")
        name = f"stored equals page: {case.group} {case.metric}"
        report.that(name, not problems, "equal values", "; ".join(problems))
    for receiver, comparison in compared.items():
        _check_all(report, receiver, comparison)


def each_judged(cases: tuple[Case, ...], comparison: Comparison) -> bool:
    """Whether some series of each case could be judged so far. A gauge may fall in any one window."""
    return all(any(v.judged for v in _of(case, comparison).values()) for case in cases)


def _of(case: Case, comparison: Comparison) -> dict:
    pattern = re.compile(case.metric)
    return {s: v for s, v in comparison.verdicts.items() if pattern.fullmatch(s[0])}


def _problem(case: Case, comparison: Comparison) -> str | None:
    pattern = re.compile(case.metric)
    verdicts = _of(case, comparison)
    missing = [series for series in comparison.missing if pattern.fullmatch(series[0])]
    wrong = {series: v.wrong for series, v in verdicts.items() if v.wrong}
    if missing:
        return f"not stored: {_text(missing[0])} ({len(missing)} such)"
    if wrong:
        series, texts = next(iter(wrong.items()))
        return f"{_text(series)} is {texts[0]} ({len(wrong)} such)"
    if not any(verdict.judged for verdict in verdicts.values()):
        return f"{len(verdicts)} series on the pages, none could be judged"
    return None


def _check_all(report: Report, receiver: str, comparison: Comparison) -> None:
    total = len(comparison.verdicts)
    judged = sum(1 for verdict in comparison.verdicts.values() if verdict.judged)
    missing = [_text(series) for series in comparison.missing]
    name = f"every series of every page is stored, once ({receiver})"
    problem = (f"{len(missing)} missing", missing[:3], len(comparison.strange), list(comparison.strange)[:3])
    report.that(name, not missing and not comparison.strange and total > 0, f"{total}", problem)
    wrong = {_text(series): texts[0] for series, texts in comparison.wrong().items()}
    name = f"every series that does not fall has its page's value ({receiver})"
    enough = judged >= JUDGED_SHARE_MIN * total
    got = f"{judged} of {total} judged, wrong: {wrong}"
    report.that(name, not wrong and enough, "all equal, most judged", got)
    print(f"#    {total} series, {judged} judged, {comparison.windows} windows", flush=True)


def _text(series: tuple[str, frozenset[tuple[str, str]]]) -> str:
    name, labels = series
    return name + "{" + ", ".join(f"{n}={v}" for n, v in sorted(labels)) + "}"
