#!/usr/bin/env python3
"""Runs the bench `agents` under several loads, some times each, and writes the medians into the tables of
docs/performance.md and README.md.

usage: compare.py [--runs 3] [--continue] [--only 20x5000]... [--relay BINARY] [--seconds N] [--debian-vmagent]
                  [--agents AGENT,...] [--dry]

The agents are the release build, with either message of remote write, the newest vmagent, which e2e/tools.py builds, Debian's
Prometheus where it is installed, and the bench's floor; `--relay` measures another build of the relay, as that of deploy/order,
`--debian-vmagent` adds Debian's vmagent, `--agents` names others. Builds what is not built, in $CARGO_TARGET_DIR or else where .ci/run
has its builds, and measures for 43 minutes; nothing else should run on the machine.

Tables stand between `<!-- agents LOAD -->` and `<!-- end -->`. Each is written when its load has been measured, those of other loads
stay. Every run is kept in the target directory: after an interrupt, `--continue` measures what is missing, with the same builds.
`--dry` prints the tables.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import astuple, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "e2e"))

import tools  # noqa: E402


@dataclass(frozen=True)
class Load:
    """So many targets with pages of so many samples; what is measured lasts whole intervals, behind one and what a first scrape,
    of which every line is new, takes longer."""

    targets: int
    samples: int
    interval_s: int
    warm_s: int
    seconds: int
    # Prometheus needs longer until it sends as fast as it scrapes.
    warm_prometheus_s: int = 12

    @property
    def name(self) -> str:
        return f"{self.targets}x{self.samples}"

    @property
    def about(self) -> str:
        targets = "1 target" if self.targets == 1 else f"{self.targets} targets"
        return f"{targets} x {self.samples:,} samples every {self.interval_s} s"

    @property
    def samples_per_s(self) -> float:
        return self.targets * self.samples / self.interval_s


# Intervals leave a machine of two cores idle a third of the time with each agent, the bench's own work included: an agent that is
# late is measured at another load. The costliest needs 10 us a sample, which is also what a sample takes that is new: the largest
# load has to be read once within its warm-up. With five agents three runs of all loads take 43 minutes.
LOADS = (
    Load(1, 1400, 1, 3, 8),
    Load(1, 5000, 1, 3, 6),
    Load(1, 50000, 2, 5, 6),
    Load(20, 1400, 1, 3, 6),
    Load(20, 5000, 2, 5, 6),
    Load(20, 50000, 10, 14, 10, warm_prometheus_s=50),
    Load(100, 1400, 2, 5, 6),
    Load(100, 5000, 5, 8, 10, warm_prometheus_s=35),
    Load(100, 50000, 30, 33, 30),
)
# What cannot be measured here, with the reason, which stands in the table.
SKIPPED = {
    ("prometheus", "100x50000"): "not measured: with 5,000,000 series it needs more than this machine's 23 GiB",
}
# Of the samples on the pages: an agent that delivers less did not keep up, and its figures say so. Ours leaves out some
# twentieth of a page, sentinels that are no values.
DELIVERED_MIN = 0.85
# Load averages above it are somebody else's work.
QUIET_LOAD_MAX = 0.5
FILES = ("docs/performance.md", "README.md")
ROW = re.compile(r"^\| (\S+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| (\d+) \|$", re.MULTILINE)
OURS, OURS_2, FLOOR = "flinkrelay", "flinkrelay2", "floor"

# Samples per second, CPU, bytes and memory of each agent.
Figures = dict[str, list[float]]


class Kept:
    """The runs so far, in a file of the target directory, so that an interrupt loses one run at most."""

    def __init__(self, path: Path, of: list[str]) -> None:
        self.path, self.of = path, of
        self.runs: dict[str, list[Figures]] = {}
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            kept = json.loads(path.read_text())
            # Figures of one build say nothing of another.
            if kept["of"] == of:
                self.runs = kept["runs"]

    def under(self, load: Load, seconds: int | None) -> list[Figures]:
        """The list that runs under a load are kept in."""
        return self.runs.setdefault(f"{astuple(load)} {seconds or ''}", [])

    def write(self) -> None:
        """Renamed when complete, for a run may be interrupted here as well."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"of": self.of, "runs": self.runs}))
        new.replace(self.path)


def built(relay: Path | None) -> tuple[Path, Path]:
    """The bench and the relay, which are built unless they are there."""
    shared = tools.cache() / "target"
    if shared.is_dir():
        os.environ.setdefault("CARGO_TARGET_DIR", str(shared))
    argv = ["cargo", "bench", "--locked", "--no-run", "--bench", "agents", "--message-format", "json-render-diagnostics"]
    messages = map(json.loads, cargo(argv).splitlines())
    bench = next(m["executable"] for m in messages if m.get("target", {}).get("name") == "agents" and m["executable"])
    if not relay:
        # Behind the bench, whose relay has features that only tests need, under the same name.
        cargo(["cargo", "build", "--locked", "--release"])
        relay = Path(bench).parent.parent / "flinkrelay"
    return Path(bench), relay


def cargo(argv: list[str]) -> str:
    """What it says on its standard output; a person sees the rest."""
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)} failed")
    return done.stdout


def agents(directory: Path, relay: Path, *, debian_vmagent: bool) -> list[str]:
    """Paths of the agents, ours first, and the floor. What else is built meanwhile is not measured."""
    ours = directory / OURS
    ours.unlink(missing_ok=True)
    shutil.copy2(relay, ours)
    ours_2 = directory / OURS_2
    ours_2.unlink(missing_ok=True)
    ours_2.symlink_to(ours)
    newest = directory / tools.VMAGENT.path(tools.cache()).name
    # It would send VictoriaMetrics' own encoding, which the bench does not read, as long as the receiver does not mind.
    newest.write_text(f'#!/bin/sh\nexec "{tools.require(tools.VMAGENT, tools.cache())}" -remoteWrite.forcePromProto "$@"\n')
    newest.chmod(0o755)
    debian = [Path("/usr/bin/prometheus")]
    debian += [Path("/usr/bin/vmagent")] if debian_vmagent else []
    return [str(ours), str(ours_2), str(newest), *(str(path) for path in debian if path.is_file()), FLOOR]


def shown(agent: str) -> str:
    """An agent's name for people."""
    name = Path(agent).name
    if name == OURS_2:
        return "**flinkrelay**, remote write 2.0"
    if name == OURS:
        return "**flinkrelay**, remote write 1.0"
    if name == FLOOR:
        return "floor: pages are read and thrown away"
    if agent.startswith("/usr/bin/"):
        package = {"vmagent": "victoria-metrics", "prometheus": "prometheus"}[name]
        asked = ["dpkg-query", "-W", "-f", "${Version}", package]
        version = subprocess.run(asked, capture_output=True, text=True).stdout
        version = re.match(r"[\d.]*\d", version.rpartition(":")[2])
        of = "Prometheus agent" if name == "prometheus" else name
        return f"{of} {version[0] if version else ''} (Debian)"
    return name.replace("-v", " ")


def is_newest_vmagent(agent: str) -> bool:
    return Path(agent).name.startswith("vmagent-v")


def skipped(agent: str, load: Load) -> str | None:
    """Why an agent is not measured under a load."""
    return SKIPPED.get((Path(agent).name, load.name))


def measure(bench: Path, load: Load, seconds: int | None, wanted: list[str]) -> Figures:
    """One run of all agents that can be measured."""
    wanted = [agent for agent in wanted if not skipped(agent, load)]
    options = {
        "--targets": load.targets,
        "--samples": load.samples,
        "--interval": load.interval_s,
        "--seconds": seconds or load.seconds,
        "--warm": min(seconds or load.warm_s, load.warm_s),
        "--warm-prometheus": min(seconds or load.warm_prometheus_s, load.warm_prometheus_s),
    }
    argv = [str(bench), "--bench", *(str(part) for option in options.items() for part in option), *wanted]
    # The rest is for pages to be made, and for agents to end.
    code, out, err = run(argv, timeout_s=180 + (load.warm_s + (seconds or load.seconds) + 10) * len(wanted))
    rows = ROW.findall(out)
    if code != 0 or len(rows) != len(wanted):
        sys.exit(f"{' '.join(argv)} failed:\n{out[-2000:]}\n{err[-2000:]}")
    # In the order of the arguments: two agents may have one file name.
    return {agent: list(map(float, row[1:])) for agent, row in zip(wanted, rows, strict=True)}


def run(argv: list[str], timeout_s: float) -> tuple[int, str, str]:
    """Runs the bench. Whatever ends this, Ctrl-C included, the bench, the agent that it has started and what that has written
    go with it."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        env = os.environ | {"TMPDIR": directory}
        pipe = subprocess.PIPE
        bench = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
        stack.enter_context(bench)
        try:
            out, err = bench.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            sys.exit(f"{' '.join(argv)} was not at its end after {timeout_s:.0f} s")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(bench.pid, signal.SIGKILL)
    return bench.returncode, out, err


def medians(runs: list[Figures]) -> Figures:
    return {
        agent: [statistics.median(run[agent][at] for run in runs) for at in range(4)] for agent in runs[0]
    }


def table(load: Load, figures: Figures, left_out: dict[str, str], runs: int) -> str:
    """The figures, CPU also as a multiple of the newest vmagent's and of the floor's, bytes of the former's."""
    lines = [
        "| agent | CPU us per sample | of vmagent's | of the floor's | bytes per sample | of vmagent's | peak MiB |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    peer = next((figures[agent] for agent in figures if is_newest_vmagent(agent)), None)
    floor = figures.get(FLOOR)
    for agent, (samples_per_s, cpu, wire, peak) in figures.items():
        sends = agent != FLOOR
        delivered = samples_per_s / load.samples_per_s
        late = "" if delivered >= DELIVERED_MIN else f" (too late: {delivered:.0%} of the samples)"
        cells = [
            shown(agent) + late,
            f"{cpu:.2f}",
            times(cpu, peer[1] if peer else 0),
            times(cpu, floor[1] if floor else 0, digits=1),
            f"{wire:.1f}" if sends else "",
            times(wire, peer[2] if peer else 0) if sends else "",
            f"{peak:.0f}" if sends else "",
        ]
        lines.append(f"| {' | '.join(cells)} |".replace("  |", " |"))
    lines += [f"| {shown(agent)} | {why} | | | | | |" for agent, why in left_out.items()]
    if runs != 3:
        lines += ["", "One run." if runs == 1 else f"Medians of {runs} runs."]
    return "\n".join(lines)


def times(value: float, of: float, digits: int = 2) -> str:
    """A ratio; nothing where there is nothing to compare with."""
    return f"{value / of:.{digits}f}x" if of else ""


def write(load: str, text: str) -> None:
    """Replaces the load's tables."""
    begin, end = f"<!-- agents {load} -->", "<!-- end -->"
    for name in FILES:
        path = ROOT / name
        before = path.read_text()
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        after = pattern.sub(lambda _: f"{begin}\n{text}\n{end}", before)
        if after != before:
            path.write_text(after)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--continue", dest="resumed", action="store_true", help="measure what an earlier call did not")
    parser.add_argument("--seconds", type=int, help="of each measurement, instead of the load's own; also the longest warm-up")
    parser.add_argument("--only", action="append", choices=[load.name for load in LOADS], help="a load; repeatable")
    parser.add_argument("--relay", type=Path, metavar="BINARY", help="the relay to measure (the release build)")
    parser.add_argument("--debian-vmagent", action="store_true")
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--agents", type=lambda text: text.split(","), help="instead of the usual ones")
    args = parser.parse_args()
    # Like Ctrl-C: through `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if (busy := os.getloadavg()[0]) > QUIET_LOAD_MAX:
        print(f"# the load average is {busy:.1f}: what else runs here changes times", flush=True)
    bench, relay = built(args.relay)
    directory = bench.parent.parent.parent / "agents"
    directory.mkdir(exist_ok=True)
    wanted = args.agents or agents(directory, relay, debian_vmagent=args.debian_vmagent)
    of = [*(hashlib.sha256(path.read_bytes()).hexdigest() for path in (bench, relay)), *wanted]
    compare(args, bench, wanted, Kept(directory / "runs.json", of))
    return 0


def compare(args: argparse.Namespace, bench: Path, wanted: list[str], kept: Kept) -> None:
    """All loads that are wanted."""
    began = time.monotonic()
    loads = [load for load in LOADS if not args.only or load.name in args.only]
    all_runs = [kept.under(load, args.seconds) for load in loads]
    if args.resumed:
        print(f"# {sum(map(len, all_runs))} runs of these builds are there already", flush=True)
    else:
        for runs in all_runs:
            runs.clear()
    for load, runs in zip(loads, all_runs, strict=True):
        while len(runs) < args.runs:
            runs.append(measure(bench, load, args.seconds, wanted))
            kept.write()
        left_out = {agent: why for agent in wanted if (why := skipped(agent, load))}
        text = table(load, medians(runs), left_out, len(runs))
        print(f"\n{load.about}, {len(runs)} runs, after {time.monotonic() - began:.0f} s\n\n{text}", flush=True)
        if not args.dry:
            write(load.name, text)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted: --continue measures what is missing")
