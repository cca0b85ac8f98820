"""A real Prometheus and a real VictoriaMetrics are restarted under load: by their own answers, no loss."""

import random
import time

import counterparts
import receivers
from judge import may_be_cut, pages_of
from plan import Plan, account_checks
from receivers import Receiver
from rig import Life, To

INTERVAL_S = 1.0
TARGETS, SERIES = 10, 500
PER_SCRAPE = TARGETS * (SERIES + 5)
RESTARTS = 3
# How long a receiver runs between two restarts, and how long it is away.
UP_S = (3, 6)
DOWN_S = (0.5, 3)


def play(plan: Plan) -> None:
    rng = random.Random(plan.seed)
    peers = counterparts.start(plan.processes, plan.peers, TARGETS, SERIES)
    which = (receivers.prometheus_3, receivers.victoria_metrics_today)
    real = receivers.start(plan.processes, plan.cache, *which)
    for receiver in real:
        what = f"{receiver.name} is ready"
        plan.processes.wait_until(what, lambda r=receiver: receivers.ready(r), 60)
    rig = plan.rig(
        "restarts",
        targets=peers.targets,
        receivers=[To(receiver.name, receiver.write_url) for receiver in real],
        interval=f"{INTERVAL_S:.0f}s",
    )
    rig.start()
    rig.wait_listening()
    for _ in range(RESTARTS):
        for receiver in real:
            time.sleep(rng.uniform(*UP_S) / len(real))
            restart(plan, receiver, rng.uniform(*DOWN_S))
    time.sleep(2 * INTERVAL_S)
    rig.wait_drained(60, below=PER_SCRAPE)
    plan.report.equal("SIGTERM ends the relay with 0 (restarts)", 0, rig.stop())
    # The counting receiver was not among the relay's: its facts are those of the targets alone.
    facts = peers.counter("pages").facts()
    for receiver in real:
        # VictoriaMetrics shows samples to queries some seconds after it took them.
        plan.report.eventually(
            f"{receiver.name} holds every sample of every page",
            "as many as were scraped",
            15,
            lambda r=receiver: counts(r, facts, rig.lives),
        )
    account_checks(plan.report, rig, at_least=10)
    for receiver in real:
        receiver.process.stop()
    peers.stop()


def restart(plan: Plan, receiver: Receiver, down_s: float) -> None:
    """Prometheus by kill -9, which its log survives; VictoriaMetrics holds seconds in memory, so by SIGTERM."""
    if receiver.survives_kill:
        receiver.process.kill()
    else:
        receiver.process.stop()
    time.sleep(down_s)
    receiver.process = plan.processes.start_again(receiver.process)
    plan.processes.wait_until(f"{receiver.name} is back", lambda: receivers.ready(receiver), 60)


def counts(receiver: Receiver, facts: dict, lives: list[Life]) -> tuple[bool, object]:
    """Whether it holds as many samples of each target as that served; the last page may be one too many."""
    wrong, total = [], 0.0
    for target in facts["targets"]:
        pages = list(pages_of(target, lives))
        sure = sum(1 for page in pages if not may_be_cut(page, lives))
        selector = f'count_over_time({{instance="{target["instance"]}",series!=""}}[1h])'
        counted = receiver.api.scalar(f"sum({selector})") or 0.0
        total += counted
        if counted not in {count * target["series"] for count in (sure, len(pages))}:
            wrong.append(f"{counted:.0f} of {target['instance']}, {sure} to {len(pages)} pages")
    return total > 0 and not wrong, f"{total:.0f} samples, wrong: {wrong[:3]}"
