"""Real receivers are restarted under load, and so is the relay: by the receivers' own answers, no loss.

The values name page and series, so each stored sample is known for what it is. After a kill of the
relay some of what it delivered comes again, older than what the receiver has by then: Prometheus
refuses such samples, and what comes with them in the same request must not be lost over that.
"""

import random
import time
from collections import Counter
from collections.abc import Iterable

import counterparts
import receivers
from counterparts import Peers
from judge import Page, may_be_cut, pages_of
from plan import Plan, account_checks
from receivers import Receiver
from rig import Life, Rig, To

INTERVAL_S = 1.0
TARGETS, SERIES = 10, 500
PER_SCRAPE = TARGETS * (SERIES + 5)
RESTARTS = 3
# How long a receiver runs between two restarts, and how long it is away.
UP_S = (1.5, 3)
DOWN_S = (0.5, 3)
# The lives of the relay.
KILLS = 8
LIFE_S = (1, 4)

# What 20 bits of a value number, see e2e/peers/targets.rs.
SERIES_MAX = 1 << 20


def play(plan: Plan) -> None:
    """The receivers are restarted; the relay lives."""
    rng = random.Random(plan.seed)
    peers, real, rig = start(plan, "restarts", receivers.prometheus_3, receivers.victoria_metrics_today)
    rig.start()
    rig.wait_listening()
    for _ in range(RESTARTS):
        for receiver in real:
            time.sleep(rng.uniform(*UP_S))
            take_down(receiver)
            time.sleep(rng.uniform(*DOWN_S))
            bring_back(plan, receiver)
    end(plan, peers, real, rig)


def play_crashes(plan: Plan) -> None:
    """The relay is killed, and its receivers are away in turn; one of them knows 1.0 only."""
    rng = random.Random(plan.seed)
    which = (receivers.prometheus, receivers.prometheus_3, receivers.victoria_metrics_today)
    peers, real, rig = start(plan, "crashes", *which)
    for _ in range(KILLS):
        # One is away for this life, so that there is something to send after the kill.
        receiver = rng.choice(real)
        take_down(receiver)
        rig.start()
        time.sleep(rng.uniform(*LIFE_S))
        if plan.unexpected_end(rig):
            return
        rig.kill()
        bring_back(plan, receiver)
    rig.start()
    rig.wait_listening()
    end(plan, peers, real, rig)


def start(plan: Plan, name: str, *which: receivers.Start) -> tuple[Peers, list[Receiver], Rig]:
    """Targets, real receivers that are ready, and a relay that is not started yet."""
    peers = counterparts.start(plan.processes, plan.peers, TARGETS, SERIES)
    real = receivers.start(plan.processes, plan.cache, *which)
    for receiver in real:
        what = f"{receiver.name} is ready"
        plan.processes.wait_until(what, lambda r=receiver: receivers.ready(r), 60)
    to = [To(receiver.name, receiver.write_url) for receiver in real]
    return peers, real, plan.rig(name, targets=peers.targets, receivers=to, interval=f"{INTERVAL_S:.0f}s")


def take_down(receiver: Receiver) -> None:
    """Prometheus by kill -9, which its log survives; VictoriaMetrics holds seconds in memory, so by SIGTERM."""
    if receiver.survives_kill:
        receiver.process.kill()
    else:
        receiver.process.stop()


def bring_back(plan: Plan, receiver: Receiver) -> None:
    receiver.process = plan.processes.start_again(receiver.process)
    plan.processes.wait_until(f"{receiver.name} is back", lambda: receivers.ready(receiver), 60)


def end(plan: Plan, peers: Peers, real: list[Receiver], rig: Rig) -> None:
    """Delivers the rest, stops, and asks the receivers for every sample."""
    time.sleep(2 * INTERVAL_S)
    rig.wait_drained(60, below=PER_SCRAPE)
    plan.report.equal(f"SIGTERM ends the relay with 0 ({rig.name})", 0, rig.stop())
    # No receiver of the relay's: its facts are those of the targets alone.
    targets = peers.counter("pages").facts()["targets"]
    for receiver in real:
        # VictoriaMetrics shows samples to queries some seconds after it took them.
        plan.report.eventually(
            f"{receiver.name} holds every sample of every page ({rig.name})",
            "as many as were scraped",
            15,
            lambda r=receiver: whole(r, targets, rig),
        )
    account_checks(plan.report, rig, at_least=10)
    for receiver in real:
        receiver.process.stop()
    peers.stop()


def whole(receiver: Receiver, targets: list[dict], rig: Rig) -> tuple[bool, object]:
    """Whether the receiver holds every page that had to arrive, with all its samples."""
    problems, total = [], 0
    now = time.time()
    for target in targets:
        selector = f'{{instance="{target["instance"]}",series!=""}}'
        stored = receiver.api.raw(selector, rig.lives[0].began_ms / 1000, now)
        found = samples_by_page(stored.values())
        total += found.total()
        problems += lacking(pages_of(target, rig.lives), found, target["series"], rig.lives)
    return total > 0 and not problems, f"{total} samples; wrong: {len(problems)} pages, {problems[:3]}"


def samples_by_page(series: Iterable[list[tuple[float, float]]]) -> Counter[int]:
    """How many series have a sample of each page; one that is stored twice counts once."""
    return Counter(page for points in series for page in {int(value) // SERIES_MAX for _, value in points})


def lacking(
    pages: Iterable[Page], found: Counter[int], series: int, lives: list[Life]
) -> list[str]:
    """The pages that are not whole, but for those that a kill cut short."""
    return [
        f"{found[page.number]} of page {page.number} of {page.instance}"
        for page in pages
        if found[page.number] != series and not may_be_cut(page, lives)
    ]
