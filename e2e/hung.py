"""One receiver hangs: neither the other's delay nor the scrapes move."""

import time

import counterparts
from judge import delays_s, judge, pauses_s
from plan import Plan, account_checks, delivery_checks
from rig import To

INTERVAL_S = 1.0
TARGETS, SERIES = 10, 1000
NORMAL_S = 15

# What the worst delay and the worst pause may grow by, on a machine that does other things too.
SLACK_S = 0.5


def play(plan: Plan) -> None:
    peers = counterparts.start(plan.processes, plan.peers, TARGETS, SERIES)
    well, hung = peers.counter("well"), peers.counter("hung")
    rig = plan.rig(
        "hung",
        targets=peers.targets,
        receivers=[
            To(well.name, well.write_url),
            # So long that no request ends while the hang lasts: each lane is stuck on its first one.
            To(hung.name, hung.write_url, options={"remote_timeout": "1h"}),
        ],
        interval=f"{INTERVAL_S:.0f}s",
    )
    rig.start()
    rig.wait_listening()
    time.sleep(2 * INTERVAL_S)
    began = time.time() * 1000
    time.sleep(NORMAL_S)
    hung.answer("hang")
    hangs = time.time() * 1000
    time.sleep(max(2 * NORMAL_S, plan.minutes * 60 / 2))
    before = hung.sums()
    ends = time.time() * 1000
    facts = well.facts()
    check_unmoved(plan, facts, (began, hangs), (hangs, ends))
    pending = {name: rig.sum_of("flinkrelay_remote_write_samples_pending", name) for name in ("well", "hung")}
    per_scrape = TARGETS * (SERIES + 5)
    holds = pending["hung"] > 10 * per_scrape and pending["well"] < 3 * per_scrape
    plan.report.that("only the hung receiver's samples wait", holds, "scrapes of the hang", pending)
    hung.answer("take")
    rig.wait_drained(60, below=per_scrape)
    plan.report.equal("SIGTERM ends the relay with 0", 0, rig.stop())
    grown = hung.sums()["samples"] - before["samples"]
    plan.report.that("the hung receiver had taken nothing meanwhile", grown > 10 * per_scrape, "a backlog", grown)
    for counter in (well, hung):
        facts = counter.facts()
        delivery_checks(plan.report, counter.name, facts, judge(facts, rig.lives))
    account_checks(plan.report, rig, at_least=NORMAL_S)
    peers.stop()


def check_unmoved(plan: Plan, facts: dict, normal: tuple[float, float], hang: tuple[float, float]) -> None:
    """The other receiver's delays and the pauses between scrapes, before and during the hang."""
    for what, measure in (("delay", delays_s), ("pause between scrapes", pauses_s)):
        before, during = measure(facts, *normal), measure(facts, *hang)
        got = f"{_spread(before)} before, {_spread(during)} during the hang"
        print(f"#    {what}: {got}", flush=True)
        plan.report.that(
            f"the other receiver's {what} does not move" if what == "delay" else f"no {what} moves",
            len(before) > 50 and len(during) > 50 and during[-1] < before[-1] + SLACK_S,
            f"at most {SLACK_S} s more than before",
            got,
        )


def _spread(values: list[float]) -> str:
    if not values:
        return "none"
    return f"{values[len(values) // 2]:.2f} s in the middle, {values[-1]:.2f} s at most"
