"""What the receivers hold when jobs end and when a TaskManager dies and comes back."""

import time

import relay
from net import HtmlServer
from page import poll, sanitised
from stage import INTERVAL_S, JM, SLACK_S, TM1, TM2, Stage, values


def check_job_ends(stage: Stage) -> None:
    """The bounded job ends by itself, another is cancelled: both leave the pages and storage."""
    finished, cancelled = stage.jobs["logs"], stage.jobs["clicks"]
    wait_until = stage.processes.wait_until
    check_job_stored(stage, "clicks", "before its end")
    stage.cluster.cancel(cancelled)
    wait_until("clicks is cancelled", lambda: stage.cluster.job_state(cancelled) == "CANCELED", 30)
    wait_until("logs finishes", lambda: stage.cluster.job_state(finished) == "FINISHED", 90)

    def gone() -> bool:
        pages = [poll(instance) for instance in stage.alive()]
        return all(not {finished, cancelled} & page.values("job_id") for page in pages)

    at = wait_until("no page shows the ended jobs", gone, 30) + 2 * INTERVAL_S + SLACK_S
    stage.settle(at, stage.alive())
    for job in ("logs", "clicks"):
        stage.on_each(
            f"the series of {job} are stale within two intervals of its end",
            f'count({{job_id="{stage.jobs[job]}"}})',
            at,
            [],
            values,
        )
    check_job_stored(stage, "orders", "while others end")


def check_job_stored(stage: Stage, job: str, moment: str) -> None:
    """That the question which later finds nothing does find something now."""
    at = time.time()
    stage.settle(at, stage.alive())
    for receiver in stage.receivers:
        count = receiver.api.scalar(f'count({{job_id="{stage.jobs[job]}"}})', at)
        name = f"the series of {job} are there {moment} ({receiver.name})"
        stage.report.that(name, bool(count), "some", count)


def check_taskmanager_killed(stage: Stage) -> None:
    """One that has tasks of `orders`, which has to restart then; Flink may have put all of them on either."""
    shows = {name: poll(stage.instances[name]).values("job_id") for name in (TM1, TM2)}
    stage.victim = TM1 if stage.jobs["orders"] in shows[TM1] else TM2
    other = TM2 if stage.victim == TM1 else TM1
    instance = stage.instances[stage.victim]
    own = f'count({{instance="{instance}",__name__!~"{relay.SCRAPE_SERIES}"}})'
    before = time.time()
    stage.settle(before, stage.alive())
    stage.taskmanagers[stage.victim].kill()
    at = time.time() + 2 * INTERVAL_S + SLACK_S
    stage.settle(at, stage.alive())
    for receiver in stage.receivers:
        count = receiver.api.scalar(own, before)
        name = f"the TaskManager's series are there before the kill ({receiver.name})"
        stage.report.that(name, bool(count), "some", count)
    up = f'up{{instance="{instance}"}}'
    stage.on_each("its up is 0 within two intervals", up, at, [0.0], values)
    stage.on_each("its other series are stale within two intervals", own, at, [], values)
    for name in (JM, other):
        # Of the last two scrapes one may find no answer while jobs restart, see `page.poll`.
        up = f'max_over_time(up{{instance="{stage.instances[name]}"}}[{2 * INTERVAL_S}s])'
        stage.on_each(f"up of {name} is still 1", up, at, [1.0], values)


def check_taskmanager_back(stage: Stage) -> None:
    old = stage.instances.pop(stage.victim)
    number = int(stage.victim[-1])
    stage.gone.append(old)
    old_port = int(old.split(":")[1])
    stage.listeners.append(HtmlServer(old_port))
    stage.taskmanagers[stage.victim] = stage.cluster.start_taskmanager(number)
    served = stage.processes.wait_until("the TaskManager's page answers", stage.find_instances, 60)
    new = stage.instances[stage.victim]
    stage.report.that("it listens on another port", new != old, f"not {old}", new)
    at = served + relay.PROBE_INTERVAL_S + 2 * INTERVAL_S + SLACK_S
    stage.settle(at, stage.alive())
    name = "it is found on its new port within one probe interval and two scrapes"
    stage.on_each(name, f'up{{instance="{new}"}}', at, [1.0], values)
    stage.on_each(
        "its series carry its own id on the new port",
        f'flink_taskmanager_Status_JVM_Memory_Heap_Max{{instance="{new}"}}',
        at,
        [f"tm_{number}"],
        lambda answer: [sanitised(dict(labels)["tm_id"]) for labels in answer],
    )
    stage.on_each(
        "the web page on its old port is not up", f'up{{instance="{old}"}} == 1', at, [], values
    )
    stage.report.eventually(
        "/targets says that something else answers on its old port",
        "not_prometheus",
        2 * relay.INTERVAL_S + SLACK_S,
        lambda: (failure(stage, old) == "not_prometheus", failure(stage, old)),
    )


def check_job_restarted(stage: Stage) -> None:
    """Its series go on or begin anew, each once; none of what was before the restart is left over."""
    job = stage.jobs["orders"]
    metric = "flink_taskmanager_job_task_numRecordsOut"

    def lines() -> list[dict[str, str]]:
        pages = [poll(instance) for instance in stage.alive()]
        found = [dict(labels) for page in pages for name, labels in page.samples if name == metric]
        return [labels for labels in found if labels["job_id"] == job]

    def restarted() -> bool:
        shown = lines()
        return bool(shown) and all(int(labels["task_attempt_num"]) > 0 for labels in shown)

    wait_until = stage.processes.wait_until
    wait_until("orders runs again", lambda: stage.cluster.job_state(job) == "RUNNING", 60)
    since = wait_until("all of its tasks are on the pages again", restarted, 60) + INTERVAL_S + SLACK_S
    at = since + 2 * INTERVAL_S
    stage.settle(at, stage.alive())
    expected = sorted((labels["task_name"], labels["subtask_index"]) for labels in lines())

    def subtasks(answer: dict) -> list[tuple[str, str]]:
        found = [dict(labels) for labels in answer]
        return sorted((sanitised(labels["task_name"]), labels["subtask_index"]) for labels in found)

    one = f'{metric}{{job_id="{job}"}}'
    stage.on_each("each subtask of the restarted job has one series", one, at, expected, subtasks)
    for receiver in stage.receivers:
        there = receiver.api.instant(f'{{job_id="{job}"}}', at)
        fed = receiver.api.raw(f'{{job_id="{job}"}}', since, at)
        left = sorted(str(sorted(labels)) for labels in there if not fed.get(labels))
        name = f"no series of it is left from before ({receiver.name})"
        stage.report.that(name, bool(there) and not left, "none", f"{len(left)} of {len(there)}: {left[:2]}")


def failure(stage: Stage, instance: str) -> str | None:
    """The reason of an instance's last failed scrape, by /targets."""
    targets = stage.relay.targets()["activeTargets"]
    found = [target for target in targets if target["labels"]["instance"] == instance]
    return found[0]["lastErrorReason"] if found else None
