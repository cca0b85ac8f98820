"""Whether all of it arrived, and how the relay goes."""

import signal
import time

import relay
from receivers import Receiver
from stage import INTERVAL_S, JM, SLACK_S, Stage, by_instance


def check_conservation(stage: Stage) -> None:
    """By the relay's own counters, and by the receivers'."""
    # A counter under another name would read as 0, and 0 is what some of the checks below want.
    missing = set(relay.SAMPLE_METRICS) - relay.declared(stage.relay.own_page())
    stage.report.equal("the relay exports its counters of samples", set(), missing)
    for receiver in stage.receivers:
        name = receiver.name
        what = f"samples in = delivered + dropped + pending ({name})"
        stage.report.eventually(what, "a balance", 10, lambda n=name: _balance(stage, n))
        own = stage.relay.own_metrics()
        lost = (relay.SAMPLES_DROPPED, relay.SAMPLES_RETRIED, relay.SAMPLES_UNACCOUNTED)
        got = {metric: relay.own_sum(own, metric, name) for metric in lost}
        what = f"no sample was dropped, refused or sent twice ({name})"
        stage.report.equal(what, dict.fromkeys(lost, 0.0), got)
        what = f"{name} counts as many samples as the relay says it delivered"
        expected = "delivered <= ingested <= delivered a moment later"
        stage.report.eventually(what, expected, 10, lambda r=receiver: _agreement(stage, r))


def _balance(stage: Stage, receiver: str) -> tuple[bool, object]:
    own = stage.relay.own_metrics()
    taken = relay.own_sum(own, relay.SAMPLES_IN, receiver)
    ways = (relay.SAMPLES_DELIVERED, relay.SAMPLES_DROPPED, relay.SAMPLES_PENDING)
    parts = {metric: relay.own_sum(own, metric, receiver) for metric in ways}
    return taken > 0 and taken == sum(parts.values()), {relay.SAMPLES_IN: taken, **parts}


def _agreement(stage: Stage, receiver: Receiver) -> tuple[bool, object]:
    def delivered() -> float:
        return relay.own_sum(stage.relay.own_metrics(), relay.SAMPLES_DELIVERED, receiver.name)

    before, ingested, after = delivered(), receiver.ingested(), delivered()
    return 0 < before <= ingested <= after, (before, ingested, after)


def check_no_gaps(stage: Stage) -> None:
    """From its first to its last scrape the JobManager was scraped at every interval."""
    now = time.time()
    for receiver in stage.receivers:
        found = receiver.api.raw(f'up{{instance="{stage.instances[JM]}"}}', now - 600, now)
        times = [at for points in found.values() for at, _ in points]
        pauses = [b - a for a, b in zip(times, times[1:], strict=False)]
        stage.report.that(
            f"no scrape of the JobManager is missing ({receiver.name})",
            len(times) > 10 and max(pauses) < 1.5 * INTERVAL_S,
            f"more than 10 scrapes, each pause about {INTERVAL_S} s",
            f"{len(times)} scrapes, longest pause {max(pauses, default=0):.2f} s",
        )


def check_no_strangers(stage: Stage) -> None:
    """What never was a Flink never became a target, not even one that is down."""
    for receiver in stage.receivers:
        seen = set(receiver.api.last_times("up", window_s=600))
        name = f"no port without a Flink ever became an instance ({receiver.name})"
        stage.report.equal(name, {*stage.alive(), *stage.gone}, seen)


def check_stop(stage: Stage) -> None:
    stopped = time.time()
    process = stage.relay.process
    process.wanted = False
    process.popen.send_signal(signal.SIGTERM)
    code = process.wait(relay.SHUTDOWN_GRACE_S + 1)
    took = time.time() - stopped
    got = f"{code} after {took:.1f} s"
    stage.report.that("SIGTERM ends the relay with 0 within its grace", code == 0, "0", got)
    for receiver in stage.receivers:

        def delivered(receiver=receiver) -> tuple[bool, object]:
            times = receiver.api.last_times("up")
            late = {i: times.get(i, 0) - stopped for i in stage.alive()}
            return all(age > -INTERVAL_S - SLACK_S for age in late.values()), late

        stage.report.eventually(
            f"the last scrape of every target was delivered ({receiver.name})",
            f"a sample of the last {INTERVAL_S} s before the stop",
            5,
            delivered,
        )
    check_not_stale_after_stop(stage)


def check_not_stale_after_stop(stage: Stage) -> None:
    at = time.time() + 1
    time.sleep(2)
    stage.on_each(
        "a stop writes no staleness markers: the series of every page are still there",
        'count by (instance) ({__name__=~"flink_.+"})',
        at,
        set(stage.alive()),
        lambda answer: set(by_instance(answer)),
    )
    held = {receiver.name: receiver.ingested() for receiver in stage.receivers}
    same = len(set(held.values())) == 1
    stage.report.that("all receivers hold the same number of samples", same, "one number", held)
