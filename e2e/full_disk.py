"""A real file system runs full under the spool, and has space again later."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

import counterparts
import relay
from judge import judge
from plan import Plan, account_checks, order_checks
from rig import Rig, To

INTERVAL_S = 0.5
TARGETS, SERIES = 10, 4000
PER_SCRAPE = TARGETS * (SERIES + 5)

# The file system, and what is left of it beside a file that somebody else put there: a quarter of what
# the spool may take, so the disk is full long before the spool is.
DISK_BYTES = 64 << 20
LEFT_BYTES = 16 << 20
MAX_BYTES = "64MiB"

FILL_S_MAX = 60
FULL_S = 10
AFTERWARDS_S = 4

# Of what was on the full disk, what must survive: room is made a segment at a time, which is a
# sixteenth of MAX_BYTES, a quarter of the space; as much again is for the one that is being written.
SURVIVORS_SHARE_MIN = 0.5

# So long the disk is full at first, with a receiver that takes what comes.
UP_S = 5


def play(plan: Plan) -> None:
    disk = plan.processes.directory / "full-disk"
    disk.mkdir()
    refusal = mount(disk)
    if refusal:
        print(f"skip the disk is full: no file system can be mounted here ({refusal})", flush=True)
        return
    try:
        play_on(plan, disk)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)


def mount(directory: Path) -> str | None:
    """Mounts a small tmpfs; returns why not, where that is not permitted."""
    if os.geteuid() != 0:
        return "not root"
    argv = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "flinkrelay-e2e", str(directory)]
    done = subprocess.run(argv, capture_output=True, text=True)
    return done.stderr.strip() or "mount failed" if done.returncode else None


def play_on(plan: Plan, disk: Path) -> None:
    peers = counterparts.start(plan.processes, plan.peers, TARGETS, SERIES)
    counter = peers.counter("full")
    to = To(counter.name, counter.write_url, queue={"max_bytes": MAX_BYTES})
    rig = plan.rig(
        "full",
        targets=peers.targets,
        receivers=[to],
        interval=f"{INTERVAL_S * 1000:.0f}ms",
        data_directory=disk / "data",
    )
    rig.start()
    rig.wait_listening()
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(DISK_BYTES - LEFT_BYTES))
    time.sleep(4)
    check_full_while_up(plan, rig, counter.name, disk)
    counter.answer("503")
    down_ms = time.time() * 1000
    took = fill(disk)
    full_ms = time.time() * 1000
    print(f"#    full after {took:.0f} s", flush=True)
    plan.report.that("the disk runs full", took < FILL_S_MAX, f"within {FILL_S_MAX} s", f"{took:.0f} s")
    pages = peers.pages()
    time.sleep(FULL_S)
    plan.report.that("the relay lives with a full disk", rig.process.alive, "alive", rig.process.popen.returncode)
    scraped = (peers.pages() - pages) / (TARGETS * FULL_S / INTERVAL_S)
    plan.report.that("and goes on scraping", scraped > 0.9, "every interval", f"{scraped:.0%} of them")
    ballast.unlink()
    freed_ms = time.time() * 1000
    time.sleep(AFTERWARDS_S)
    counter.answer("take")
    rig.wait_drained(60, below=PER_SCRAPE)
    dropped = rig.sum_of(relay.SAMPLES_DROPPED, counter.name)
    plan.report.equal("SIGTERM ends the relay with 0 (full)", 0, rig.stop())
    facts = counter.facts()
    finding = judge(facts, rig.lives)
    order_checks(plan.report, counter.name, facts, finding)
    missing = finding.lost + finding.own_lost
    name = "what is missing was dropped and counted, to the sample (full)"
    plan.report.equal(name, float(missing), dropped)
    check_survivors(plan, facts, down_ms, full_ms, freed_ms)
    account_checks(plan.report, rig, at_least=10)
    peers.stop()


def check_full_while_up(plan: Plan, rig: Rig, receiver: str, disk: Path) -> None:
    """Somebody takes all the space while the receiver is well: nothing is lost, from memory or otherwise."""
    taken = disk / "taken"
    with taken.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(64 << 10)):
            pass
    delivered = rig.sum_of(relay.SAMPLES_DELIVERED, receiver)
    time.sleep(UP_S)
    delivered = rig.sum_of(relay.SAMPLES_DELIVERED, receiver) - delivered
    share = delivered / (PER_SCRAPE * UP_S / INTERVAL_S)
    plan.report.that("a full disk stops nobody who keeps up", share > 0.8, "all is delivered", f"{share:.0%}")
    dropped = rig.sum_of(relay.SAMPLES_DROPPED, receiver)
    plan.report.equal("and costs nothing", 0.0, dropped)
    taken.unlink()


def check_survivors(plan: Plan, facts: dict, down_ms: float, full_ms: float, freed_ms: float) -> None:
    """Of the time without a receiver: what the disk held when it was full, what is left of all, what came after."""
    fitted = sum(count_asked(target, down_ms, full_ms) * target["series"] for target in facts["targets"])
    survived, after, asked_after = 0, 0, 0
    for target in facts["targets"]:
        asked_after += count_asked(target, freed_ms, freed_ms + AFTERWARDS_S * 1000) * target["series"]
        for scrape in target["scrapes"]:
            survived += scrape["samples"] if down_ms <= scrape["timestamp_ms"] < freed_ms else 0
            is_after = freed_ms <= scrape["timestamp_ms"] < freed_ms + AFTERWARDS_S * 1000
            after += scrape["samples"] if is_after else 0
    share = survived / fitted if fitted else 0
    print(f"#    {fitted} samples filled the disk, {survived} of the outage survived", flush=True)
    expected = f"at least {SURVIVORS_SHARE_MIN:.0%} of what filled the disk"
    plan.report.that("what fitted survived", share >= SURVIVORS_SHARE_MIN, expected, f"{share:.0%}")
    whole = after / asked_after if asked_after else 0
    expected = "nearly all of what was scraped when there was space again"
    plan.report.that("the spool recovers when there is space", whole > 0.9, expected, f"{whole:.0%}")


def count_asked(target: dict, since_ms: float, until_ms: float) -> int:
    return sum(1 for at in target["asked_ms"] if since_ms <= at < until_ms)


def fill(disk: Path) -> float:
    """Waits until the disk is full but for a few records; returns how long it took.

    Looks often: the spool makes room for itself, a segment at a time, as soon as a write fails.
    """
    began = time.monotonic()
    while time.monotonic() - began < FILL_S_MAX:
        space = os.statvfs(disk)
        if space.f_bavail * space.f_frsize < 512 << 10:
            break
        time.sleep(0.02)
    return time.monotonic() - began
