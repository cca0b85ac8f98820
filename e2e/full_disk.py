"""A real file system runs full under the spool, and has space again later."""

import os
import subprocess
import time
from pathlib import Path

import counterparts
import relay
from judge import judge
from plan import Plan, account_checks, order_checks
from rig import To

INTERVAL_S = 0.5
TARGETS, SERIES = 10, 2000
PER_SCRAPE = TARGETS * (SERIES + 5)

# The file system, and what is left of it beside a file that somebody else put there.
DISK_BYTES = 32 << 20
LEFT_BYTES = 6 << 20
# Small enough to hold back little when it is full, far more than 6 MiB.
MAX_BYTES = "512MiB"

FILL_S_MAX = 60
FULL_S = 10
AFTERWARDS_S = 6

# Of the space that there was, what the samples that survive must have used: the rest are the oldest
# segment, which goes whole, and heads of records.
USED_SHARE_MIN = 0.6


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
    counter.answer("503")
    took = fill(disk)
    print(f"#    full after {took:.0f} s", flush=True)
    plan.report.that("the disk runs full", took < FILL_S_MAX, f"within {FILL_S_MAX} s", f"{took:.0f} s")
    pages = peers.pages()
    time.sleep(FULL_S)
    plan.report.that("the relay lives with a full disk", rig.process.alive, "alive", rig.process.popen.returncode)
    scraped = (peers.pages() - pages) / (TARGETS * FULL_S / INTERVAL_S)
    plan.report.that("and goes on scraping", scraped > 0.9, "every interval", f"{scraped:.0%} of them")
    ballast.unlink()
    time.sleep(AFTERWARDS_S)
    bytes_before = counter.sums()["bytes"]
    counter.answer("take")
    rig.wait_drained(60, below=PER_SCRAPE)
    survived = counter.sums()["bytes"] - bytes_before
    dropped = rig.sum_of(relay.SAMPLES_DROPPED, counter.name)
    plan.report.equal("SIGTERM ends the relay with 0 (full)", 0, rig.stop())
    facts = counter.facts()
    finding = judge(facts, rig.lives)
    order_checks(plan.report, counter.name, facts, finding)
    missing = finding.lost + finding.own_lost
    print(f"#    {survived / 2**20:.1f} MiB survived, {missing} samples were dropped", flush=True)
    name = "what is missing was dropped and counted, to the sample (full)"
    plan.report.equal(name, float(missing), dropped)
    name = "what fitted survived (full)"
    expected = f"at least {USED_SHARE_MIN:.0%} of {LEFT_BYTES >> 20} MiB"
    plan.report.that(name, survived >= USED_SHARE_MIN * LEFT_BYTES, expected, f"{survived} bytes")
    account_checks(plan.report, rig, at_least=10)
    peers.stop()


def fill(disk: Path) -> float:
    """Waits until less is free than a scrape needs; returns how long it took."""
    began = time.monotonic()
    while time.monotonic() - began < FILL_S_MAX:
        space = os.statvfs(disk)
        if space.f_bavail * space.f_frsize < 64 << 10:
            break
        time.sleep(0.1)
    return time.monotonic() - began
