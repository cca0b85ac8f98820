"""Bits of the spool's files are flipped between a kill and a restart."""

import random
import time
from pathlib import Path

import counterparts
import relay
from judge import judge
from plan import Plan, account_checks, order_checks
from rig import To

INTERVAL_S = 0.5
TARGETS, SERIES = 8, 500
PER_SCRAPE = TARGETS * (SERIES + 5)
# A record holds a page at most, with the relay's own series of it.
PER_RECORD_MAX = SERIES + 5

ROUNDS = 6
FLIPS = 4
BACKLOG_S = 4


def play(plan: Plan) -> None:
    rng = random.Random(plan.seed)
    peers = counterparts.start(plan.processes, plan.peers, TARGETS, SERIES)
    counter = peers.counter("corrupt")
    rig = plan.rig(
        "corruption",
        targets=peers.targets,
        receivers=[To(counter.name, counter.write_url)],
        interval=f"{INTERVAL_S * 1000:.0f}ms",
    )
    flips, corrupt = 0, 0.0
    for number in range(1, ROUNDS + 1):
        counter.answer("503")
        rig.start()
        rig.wait_listening()
        time.sleep(BACKLOG_S)
        rig.kill()
        # In the last round the cursor: then nothing is lost, only sent again.
        is_last = number == ROUNDS
        flipped = flip(rig.data_directory, "cursor" if is_last else "*.seg", rng)
        flips += 0 if is_last else len(flipped)
        counter.answer("take")
        rig.start()
        rig.wait_listening()
        time.sleep(2 * INTERVAL_S)
        rig.wait_drained(30, below=PER_SCRAPE)
        found = rig.sum_of(relay.RECORDS_CORRUPT, counter.name)
        corrupt += found
        print(f"#    round {number}: {found:.0f} corrupt records after {', '.join(flipped)}", flush=True)
        plan.report.equal(f"round {number}: SIGTERM ends the relay with 0", 0, rig.stop())
    facts = counter.facts()
    finding = judge(facts, rig.lives)
    order_checks(plan.report, counter.name, facts, finding, anywhere=True)
    lost = finding.lost + finding.own_lost
    plan.report.that("bits were flipped", flips >= ROUNDS - 1, "one a round", flips)
    name = f"{lost} samples are lost to {flips} flipped bits: no record but the flipped ones"
    plan.report.that(name, lost <= corrupt * PER_RECORD_MAX, f"at most {corrupt:.0f} records", lost)
    plan.report.that("what is corrupt is counted", 0 < corrupt <= flips, f"1 to {flips}", corrupt)
    account_checks(plan.report, rig, at_least=ROUNDS)
    peers.stop()


def flip(directory: Path | None, pattern: str, rng: random.Random) -> list[str]:
    """Flips single bits of the files that match, at random places; says where."""
    flipped = []
    files = sorted(path for path in directory.rglob(pattern) if path.stat().st_size) if directory else []
    for _ in range(FLIPS if files else 0):
        path = rng.choices(files, weights=[file.stat().st_size for file in files])[0]
        at, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
        with path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << bit]))
        flipped.append(f"{path.name}:{at}.{bit}")
    return flipped
