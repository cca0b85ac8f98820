"""A receiver is down for minutes under the load of a large cluster."""

import time
from dataclasses import dataclass

import counterparts
import relay
from judge import judge, survivors_are_newest
from plan import Plan, account_checks, delivery_checks, order_checks
from rig import Rig, To

INTERVAL_S = 2
TARGETS, SERIES = 20, 5000
PER_SCRAPE = TARGETS * (SERIES + 5)
NORMAL_S = 16

# How a receiver is down: it refuses, it breaks off, it says nothing.
WAYS_DOWN = ("503", "cut", "hang")

# The promise: peak memory within 16 MiB of normal, however long the outage.
PEAK_GROWTH_BYTES_MAX = 16 << 20

# Room for all of it: 50,000 samples a second are some 52 MiB a minute.
ROOM_MIB_PER_MINUTE, ROOM_MIB_MIN = 80, 512

# Delivered after an outage at several times the pace at which it was scraped.
CATCH_UP_MIN = 3


@dataclass
class Outage:
    """What is left after one."""

    rig: Rig
    facts: dict
    # By the relay's own counters, at the end.
    dropped: float
    queue_full: float


def play_large(plan: Plan) -> None:
    """With room for all of it nothing is lost."""
    room = max(ROOM_MIB_MIN, round(plan.minutes * ROOM_MIB_PER_MINUTE))
    outage = play(plan, "outage", f"{room}MiB", seconds=plan.minutes * 60)
    delivery_checks(plan.report, "outage", outage.facts, judge(outage.facts, outage.rig.lives))
    plan.report.equal("nothing is dropped (outage)", 0.0, outage.dropped)


def play_small(plan: Plan) -> None:
    """With room for a part of it the rest is counted, to the sample, and the newest is kept."""
    outage = play(plan, "small", "16MiB", seconds=max(plan.minutes * 60, 60))
    finding = judge(outage.facts, outage.rig.lives)
    order_checks(plan.report, "small", outage.facts, finding)
    missing = finding.lost + finding.own_lost
    print(f"#    {missing} samples dropped in {finding.pages} pages", flush=True)
    plan.report.that("more came than there was room for (small)", missing > 0, "some drops", missing)
    name = "the relay's count of drops is the number of missing samples (small)"
    plan.report.equal(name, (missing, missing), (outage.dropped, outage.queue_full))
    plan.report.equal("what survives is the newest (small)", [], survivors_are_newest(outage.facts))


def play(plan: Plan, name: str, max_bytes: str, seconds: float) -> Outage:
    """Normal operation, the outage, the recovery and a clean stop; checks memory and pace."""
    peers = counterparts.start(plan.processes, plan.peers, TARGETS, SERIES)
    counter = peers.counter(name)
    to = To(name, counter.write_url, queue={"max_bytes": max_bytes})
    rig = plan.rig(name, targets=peers.targets, receivers=[to], interval=f"{INTERVAL_S}s")
    rig.start()
    rig.wait_listening()
    time.sleep(NORMAL_S)
    normal = rig.reset_peak()
    for way in WAYS_DOWN:
        counter.answer(way)
        time.sleep(seconds / len(WAYS_DOWN))
    down = rig.reset_peak()
    waited = rig.pending()
    bytes_before = counter.sums()["bytes"]
    counter.answer("take")
    took = rig.wait_drained(max(60, seconds), below=PER_SCRAPE)
    mebibytes = (counter.sums()["bytes"] - bytes_before) / 2**20
    caught_up = rig.peak_bytes()
    print(
        f"#    {waited:.0f} samples waited; {mebibytes:.1f} MiB delivered in {took:.1f} s; "
        f"peak memory {normal / 2**20:.1f} MiB before, {down / 2**20:.1f} down, "
        f"{caught_up / 2**20:.1f} catching up",
        flush=True,
    )
    growth = max(down, caught_up) - normal
    plan.report.that(
        f"peak memory is within 16 MiB of normal ({name})",
        growth <= PEAK_GROWTH_BYTES_MAX,
        "at most 16 MiB more",
        f"{growth / 2**20:.1f} MiB more",
    )
    pace = waited / took / (PER_SCRAPE / INTERVAL_S)
    what = f"the backlog goes at least {CATCH_UP_MIN} times as fast as it came ({name})"
    plan.report.that(what, pace >= CATCH_UP_MIN, f"{CATCH_UP_MIN} times", f"{pace:.1f} times")
    dropped = rig.sum_of(relay.SAMPLES_DROPPED, name)
    queue_full = rig.sum_of(relay.SAMPLES_DROPPED, name, reason="queue_full")
    plan.report.equal(f"SIGTERM ends the relay with 0 ({name})", 0, rig.stop())
    facts = counter.facts()
    peers.stop()
    account_checks(plan.report, rig, at_least=NORMAL_S)
    return Outage(rig, facts, dropped, queue_full)
