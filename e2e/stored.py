"""What the receivers hold while nothing happens to the cluster."""

import time

import relay
from compare import Comparison
from names import VARYING_OR_FORMER
from page import poll, sanitised, watch
from promql import Labels
from rest import OWN_JOB
from samples import CASES, check_cases, each_judged
from stage import INTERVAL_S, Stage, address, by_instance, label_names, values


def check_up(stage: Stage) -> None:
    at = time.time()
    stage.settle(at, stage.alive())
    stage.on_each(
        "up is 1 for the JobManager and both TaskManagers, and nothing else is a target",
        # While jobs start, Flink 2.3's JobManager now and then closes a connection without an answer.
        f'max_over_time(up{{job="{relay.JOB}"}}[{3 * INTERVAL_S}s])',
        at,
        {instance: 1.0 for instance in stage.alive()},
        by_instance,
    )
    names = {"__name__", "job", "instance", *relay.EXTERNAL_LABELS}
    stage.on_each(
        "up has job, instance and the external labels, no other",
        "up",
        at,
        {frozenset(names)},
        label_names,
    )


def check_presence(stage: Stage) -> None:
    at = time.time()
    stage.settle(at, stage.alive())
    true_names = stage.cluster.job_names()
    expected_jobs = {id_: sanitised(true_names[id_]) for id_ in stage.jobs.values()}

    def names_by_id(answer: dict[Labels, float]) -> dict[str, str]:
        return {dict(ls)["job_id"]: sanitised(dict(ls)["job_name"]) for ls in answer}

    for what, metric in (
        ("the JobManager", "flink_jobmanager_job_uptime"),
        ("the TaskManagers", "flink_taskmanager_job_task_numRecordsOut"),
    ):
        name = f"every job has series from {what}, under its name"
        stage.on_each(name, metric, at, expected_jobs, names_by_id)
    stage.on_each(
        "every TaskManager has series",
        "flink_taskmanager_Status_JVM_Memory_Heap_Max",
        at,
        {sanitised(id_) for id_ in stage.cluster.taskmanager_ids()},
        lambda answer: {sanitised(dict(labels)["tm_id"]) for labels in answer},
    )


def check_labels(stage: Stage) -> None:
    everywhere = {"__name__", "job", "instance", *relay.EXTERNAL_LABELS}
    job = {"job_id", "job_name"}
    task = job | {"task_name", "subtask_index", "tm_id"}
    # The host stands where no tm_id tells the process: it says nothing that tm_id does not.
    for what, metric, kept in (
        ("an operator", "flink_taskmanager_job_task_operator_numRecordsOut", task | {"operator"}),
        ("a task", "flink_taskmanager_job_task_numRecordsOut", task),
        # Whether they also name a job is `rest`'s to check.
        ("a TaskManager", "flink_taskmanager_Status_JVM_Threads_Count", {"tm_id"}),
        ("a job", "flink_jobmanager_job_uptime", job | {"host"}),
        ("the JobManager", "flink_jobmanager_taskSlotsTotal", {"host"}),
    ):
        stage.on_each(
            f"labels of {what}'s series are the normalised ones and no other",
            metric,
            time.time(),
            {frozenset(everywhere | kept)},
            lambda answer, kept=kept: {
                names - (set() if "job_id" in kept else OWN_JOB) for names in label_names(answer)
            },
        )
    stage.on_each(
        "no series has task_attempt_id, task_attempt_num or operator_name",
        'count({task_attempt_id!=""} or {task_attempt_num!=""} or {operator_name!=""})',
        time.time(),
        [],
        values,
    )


def check_names(stage: Stage) -> None:
    at = time.time()
    for what, metric, label in (
        ("collectors", "flink_taskmanager_Status_JVM_GarbageCollector_Count", "gc"),
        ("states", "flink_taskmanager_job_task_operator_rocksdb_estimate_num_keys", "state"),
        ("directions", "flink_taskmanager_job_task_Shuffle_Netty_totalQueueLen", "direction"),
    ):
        stage.on_each(
            f"{what} are the label {label} and in no name",
            f'min(count by ({label}) ({metric}{{{label}!=""}})) > bool 0',
            at,
            [1.0],
            values,
        )
    stage.on_each(
        "no series has a name that varies, or one that Flink gave up",
        f'count({{__name__=~"{VARYING_OR_FORMER}"}})',
        at,
        [],
        values,
    )


def check_derived(stage: Stage) -> None:
    at = time.time()
    stage.settle(at, stage.alive())
    heap = "flink_taskmanager_Status_JVM_Memory_Heap"
    shown = [value for page in map(poll, stage.alive()) for (n, _), value in page.samples.items() if n.endswith("_Max")]
    stage.report.that("the pages have a maximum that is none", -1.0 in shown, -1.0, sorted(set(shown)))
    for what, query, expected in (
        (
            "a maximum that is none is no series",
            'count({__name__=~"flink_.+_Status_JVM_Memory_(NonHeap|Metaspace)_Max"} < 0)',
            [],
        ),
        (
            "slots in use are those that are not free",
            "sum(flink_jobmanager_task_slots_used)"
            " == bool sum(flink_jobmanager_taskSlotsTotal) - sum(flink_jobmanager_taskSlotsAvailable)",
            [1.0],
        ),
        (
            "the share of the heap in use is that of its two metrics",
            # The units differ, and Prometheus 3 has them as labels.
            f"max(abs(flink_taskmanager_memory_heap_used_ratio - on(instance) {heap}_Used / on(instance) {heap}_Max))"
            " < bool 0.000001",
            [1.0],
        ),
        (
            "restarts are as many as Flink counts",
            "max(abs(flink_jobmanager_job_restarts_total - flink_jobmanager_job_numRestarts))",
            [0.0],
        ),
        (
            "shares of time lie between 0 and 1",
            "min(flink_taskmanager_job_task_idle_ratio) >= bool 0"
            " and on() max(flink_taskmanager_job_task_idle_ratio) <= 1",
            [1.0],
        ),
        (
            "watermarks have a lag",
            "count(flink_taskmanager_job_task_operator_output_watermark_lag_seconds) > bool 0",
            [1.0],
        ),
    ):
        stage.on_each(what, query, at, expected, values)


def check_foreign_ports(stage: Stage, *ports: int) -> None:
    for port in ports:

        def reported(port=port) -> tuple[bool, object]:
            reason = relay.ignored(stage.relay.targets(), port)
            return reason is not None, reason

        stage.report.eventually(
            f"/targets reports port {port}, which is not Flink's, with a reason",
            "a reason",
            3 * relay.PROBE_INTERVAL_S + relay.INTERVAL_S,
            reported,
        )


def check_values(stage: Stage) -> None:
    comparisons = {receiver.name: Comparison(receiver) for receiver in stage.receivers}
    # Further windows only acquit flukes, see compare.py, and judge what fell in the ones before.
    for _ in range(5):
        watches = watch(stage.alive(), seconds=3.5 * INTERVAL_S)
        since, until = watches[0].polls[0].start, watches[-1].polls[-1].end
        stage.settle(until, stage.alive())
        for receiver in stage.receivers:
            stored = [
                receiver.api.raw(f'{{instance="{target.instance}"}}', since, until)
                for target in watches
            ]
            comparisons[receiver.name].add(watches, stored)
        done = (c.settled() and each_judged(CASES, c) for c in comparisons.values())
        if all(done):
            break
    check_cases(stage.report, CASES, comparisons)


def check_filter(stage: Stage) -> None:
    at = time.time()
    stage.settle(at, stage.alive())
    on_page = [
        name
        for instance in stage.alive()
        for name, _ in poll(instance).samples
        if relay.is_excluded(name)
    ]
    stage.report.that("the pages hold the excluded group", bool(on_page), "some", on_page)
    stage.on_each(
        f"the excluded group {relay.EXCLUDED_GROUP} is absent",
        f'count({{__name__=~"{relay.EXCLUDED_METRICS}"}})',
        at,
        [],
        values,
    )


def check_movement(stage: Stage) -> None:
    until = time.time()
    since = until - 8
    jobs = {job: stage.jobs[job] for job in ("orders", "clicks")}
    stage.settle(until, stage.alive())
    for receiver in stage.receivers:
        for job, id_ in jobs.items():
            for metric in (
                "flink_taskmanager_job_task_operator_numRecordsOut",
                "flink_jobmanager_job_numberOfCompletedCheckpoints",
            ):
                total = f'sum({metric}{{job_id="{id_}"}})'
                before, after = (receiver.api.scalar(total, at) for at in (since, until))
                stage.report.that(
                    f"{metric} of {job} moves ({receiver.name})",
                    before is not None and after is not None and after > before >= 0,
                    "growth within 8 s",
                    (before, after),
                )
            records = "flink_taskmanager_job_task_operator_numRecordsOut"
            rate = receiver.api.scalar(f'sum(rate({records}{{job_id="{id_}"}}[10s]))', until)
            name = f"rate() of {job}'s records is above 0 ({receiver.name})"
            stage.report.that(name, rate is not None and rate > 0, "> 0", rate)
