"""kill -9 at random moments, while receivers flap and another stays well.

Each life syncs its disk in its own way: a kill must cost nothing with any of them, since what was
written is the system's. One receiver is down for half of the lives and gets live data first then, so
only its order is its own.
"""

import random
import threading
import time

import counterparts
from judge import MOSTLY_WRITTEN_WITHIN_MS, judge
from plan import Plan, account_checks, delivery_checks
from rig import Rig, To

INTERVAL_S = 0.5
TARGETS, SERIES = 8, 500

# A life is over before the relay listens, or after a few scrapes of every target.
LIFE_S = (0.02, 1.6)
# How long an answer of the flapping receiver lasts. `lose` takes the samples and never answers.
FLAP_S = (0.05, 0.7)
ANSWERS = ("take", "take", "503", "429", "hang", "cut", "lose")

# 4,000 series are a few megabytes; the rest is the spool's memory for three receivers.
PEAK_BYTES_MAX = 96 << 20

FSYNCS = ("always", "interval", "never")


def play(plan: Plan) -> None:
    rng = random.Random(plan.seed)
    peers = counterparts.start(plan.processes, plan.peers, TARGETS, SERIES)
    flapping = peers.counter("flapping")
    steady = peers.counter("steady", counterparts.V1)
    newest = peers.counter("newest")
    receivers = [To(counter.name, counter.write_url) for counter in (flapping, steady)]
    receivers.append(To(newest.name, newest.write_url, queue={"drain": "newest_first"}))
    rig = plan.rig(
        "kills",
        targets=peers.targets,
        receivers=receivers,
        interval=f"{INTERVAL_S * 1000:.0f}ms",
    )
    ended = threading.Event()
    newest.answer("503")
    flappers = []
    for counter in (flapping, newest):
        flaps = random.Random(rng.random())
        flappers.append(threading.Thread(target=flap, args=(counter, flaps, ended), daemon=True))
    flappers[0].start()
    began = time.monotonic()
    for kill in range(plan.kills):
        if kill == plan.kills // 2:
            flappers[1].start()
        rig.start(rng.choice(FSYNCS))
        # Lives of all lengths, more of them short: a start is when most is being read and repaired.
        time.sleep(LIFE_S[0] + (LIFE_S[1] - LIFE_S[0]) * rng.random() ** 2)
        if plan.unexpected_end(rig):
            break
        rig.kill()
    ended.set()
    for flapper, counter in zip(flappers, (flapping, newest), strict=True):
        flapper.join()
        counter.answer("take")
    print(f"#    {plan.kills} kills in {time.monotonic() - began:.0f} s", flush=True)
    settle(plan, rig)
    for counter in (flapping, steady, newest):
        facts = counter.facts()
        finding = judge(facts, rig.lives)
        delivery_checks(plan.report, counter.name, facts, finding, ordered=counter is not newest)
        pages, missing = finding.nearly_written, finding.nearly_written_missing
        what = f"a page is written soon after it was read ({counter.name})"
        expected = f"few missing of those read {MOSTLY_WRITTEN_WITHIN_MS} ms before a kill"
        plan.report.that(what, missing <= 0.05 * pages, expected, f"{missing} of {pages}")
    account_checks(plan.report, rig, at_least=plan.kills // 4)
    peak = rig.watched.peak_bytes
    name = f"memory stays below {PEAK_BYTES_MAX >> 20} MiB through all lives"
    plan.report.that(name, 0 < peak < PEAK_BYTES_MAX, "a bounded peak", f"{peak / 2**20:.1f} MiB")
    peers.stop()


def settle(plan: Plan, rig: Rig) -> None:
    """After the last kill: deliver all, stop as one should, and start once more."""
    rig.start()
    rig.wait_listening()
    time.sleep(4 * INTERVAL_S)
    took = rig.wait_drained(60, below=TARGETS * SERIES)
    print(f"#    drained {took:.1f} s after that", flush=True)
    plan.report.equal("SIGTERM ends the relay with 0", 0, rig.stop())
    # What was delivered before a clean stop is not sent again.
    rig.start()
    rig.wait_listening()
    time.sleep(4 * INTERVAL_S)
    plan.report.equal("SIGTERM ends the next one with 0", 0, rig.stop())


def flap(counter: counterparts.Counter, rng: random.Random, ended: threading.Event) -> None:
    """Changes the answers until it is told to end."""
    while not ended.is_set():
        counter.answer(rng.choice(ANSWERS))
        ended.wait(rng.uniform(*FLAP_S))
