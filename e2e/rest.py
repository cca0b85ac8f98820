"""The names that people gave, which only Flink's REST API knows: given back from the first sample on."""

import time

from cluster import REST_PORT
from page import poll
from promql import Labels
from stage import JM, Stage

# What the relay adds to the leading JobManager's page.
INFO_SERIES = r"flink_(cluster|job|job_checkpoint|task|taskmanager)_info"

# So long jobs start one after the other, on a machine that is busy with starting them.
STARTING_S = 15

# Of a TaskManager itself, where one job uses it.
OWN_JOB = {"job_id", "job_name"}


def is_process(metric: str) -> bool:
    """Whether a metric is of a TaskManager's process and not of a job on it."""
    return metric.startswith("flink_taskmanager_") and not metric.startswith("flink_taskmanager_job_")


def check_names(stage: Stage) -> None:
    """Names are those of REST, and no series ever had others."""
    at = time.time()
    stage.settle(at, stage.alive())
    jobs = stage.cluster.job_names()
    expected = {id_: {jobs[id_]} for id_ in stage.jobs.values()}
    assert "日志清洗 / log-clean (eu)" in jobs.values()
    for metric in ("flink_jobmanager_job_uptime", "flink_taskmanager_job_task_numRecordsOut"):
        stage.on_each(f"{metric} names its jobs", metric, at, expected, by("job_id", "job_name"))
    vertices = {
        vertex["name"] for id_ in jobs for vertex in stage.cluster.rest(f"/jobs/{id_}")["vertices"]
    }
    stage.on_each(
        "tasks are named",
        "flink_taskmanager_job_task_numRecordsOut",
        at,
        vertices,
        lambda answer: set(values("task_name", answer)),
    )
    stage.on_each(
        "operators are named as in their tasks",
        "flink_taskmanager_job_task_operator_numRecordsOut",
        at,
        set(),
        lambda answer: {
            dict(ls)["operator"] for ls in answer if dict(ls)["operator"] not in dict(ls)["task_name"]
        },
    )
    stage.on_each(
        "TaskManagers are named",
        "flink_taskmanager_Status_JVM_Threads_Count",
        at,
        stage.cluster.taskmanager_ids(),
        lambda answer: set(values("tm_id", answer)),
    )
    for receiver in stage.receivers:
        # Over the whole run: held samples have no series under the page's names. A scrape holds them for
        # less than this run's short interval, so a busy machine may be late once, while jobs start.
        seen = receiver.api.raw("flink_jobmanager_job_uptime", at - 600, at)
        names = {dict(labels)["job_name"]: [when for when, _ in samples] for labels, samples in seen.items()}
        name = f"all jobs bear their true name ({receiver.name})"
        stage.report.that(name, set(jobs.values()) <= set(names), set(jobs.values()), set(names))
        began = min(when for times in names.values() for when in times)
        others = {n: max(times) - began for n, times in names.items() if n not in jobs.values()}
        name = f"no job had another name but while jobs start ({receiver.name})"
        stage.report.that(name, all(after < STARTING_S for after in others.values()), "none", others)
    check_processes(stage)
    check_info(stage, at)
    check_load(stage)


def check_processes(stage: Stage) -> None:
    """A TaskManager names a job only when no other runs there; one that was shared names none."""
    jobs = {stage.instances[name]: poll(stage.instances[name]).values("job_id") for name in stage.taskmanagers}
    at = time.time()
    stage.settle(at, stage.alive())

    def wrong(answer: dict[Labels, float]) -> set[str]:
        named = {dict(ls)["instance"]: dict(ls).get("job_id") for ls in answer}
        return {instance for instance, job in named.items() if job and jobs[instance] - {job}}

    metric = "flink_taskmanager_Status_JVM_Threads_Count"
    stage.on_each("TaskManagers name no job but their only one", metric, at, set(), wrong)


def check_info(stage: Stage, at: float) -> None:
    config = stage.cluster.rest("/config")
    stage.on_each(
        "the version is told",
        "flink_cluster_info",
        at,
        [(stage.instances[JM], config["flink-version"])],
        lambda answer: [(dict(ls)["instance"], dict(ls)["version"]) for ls in answer],
    )
    tasks = [
        (vertex["name"], str(vertex["parallelism"]))
        for id_ in stage.jobs.values()
        for vertex in stage.cluster.rest(f"/jobs/{id_}")["vertices"]
    ]
    shown = poll(stage.instances[JM]).values("job_id")
    stage.report.that("the JobManager's page shows the jobs", shown >= set(stage.jobs.values()), "all", shown)
    stage.on_each(
        "tasks are told with their parallelism",
        "flink_task_info",
        at,
        sorted(tasks),
        lambda answer: sorted((dict(ls)["task_name"], dict(ls)["parallelism"]) for ls in answer),
    )


def check_load(stage: Stage) -> None:
    own = stage.relay.own_metrics()
    url = ("url", f"http://127.0.0.1:{REST_PORT}/")
    requests = own.get(("flinkrelay_flink_rest_requests_total", frozenset({url})))
    # What the relay's limit allows while a cluster starts: 30 polls beside the regular ones, of three
    # GETs each, and two for each of three jobs. How many it takes depends on how slowly jobs come up.
    holds = requests is not None and requests <= 30 * 3 + 3 * 2 + 3
    stage.report.that("REST was asked within the limit of polls", holds, "some, at most 99", requests)
    state = stage.relay.targets()["flinkRest"]
    got = ([endpoint["health"] for endpoint in state["endpoints"]], state["unknown"])
    stage.report.equal("nothing is unknown", (["up"], []), got)


def by(key: str, label: str):
    """The values of one label by another's."""

    def read(answer: dict[Labels, float]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for labels in answer:
            found.setdefault(dict(labels)[key], set()).add(dict(labels)[label])
        return found

    return read


def values(label: str, answer: dict[Labels, object]) -> list[str]:
    return [dict(labels)[label] for labels in answer]
