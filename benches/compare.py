#!/usr/bin/env python3
"""Runs `cargo bench --bench agents` under several loads, some times each, and writes the medians into the tables of
docs/performance.md and README.md.

usage: compare.py [--runs 3] [--seconds N] [--only 20x5000]... [--debian-vmagent] [--agents AGENT,...] [--dry]

The agents are those of the bench, its floor, the newest vmagent that e2e/tools.py builds, and Debian's Prometheus where it is
installed; `--debian-vmagent` adds Debian's vmagent, `--agents` names others. Takes 40 minutes; nothing else should run on the machine.
`--dry` prints the tables. Tables stand between `<!-- agents LOAD -->` and `<!-- end -->`; only those of loads that were run are replaced.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "e2e"))

import tools  # noqa: E402


@dataclass(frozen=True)
class Load:
    """So many targets with pages of so many samples; what is measured lasts whole intervals, behind two or three to warm up."""

    targets: int
    samples: int
    interval_s: int
    warm_s: int
    seconds: int

    @property
    def name(self) -> str:
        return f"{self.targets}x{self.samples}"

    @property
    def about(self) -> str:
        targets = "1 target" if self.targets == 1 else f"{self.targets} targets"
        return f"{targets} x {self.samples:,} samples every {self.interval_s} s"


# Intervals leave a machine of two cores idle half of the time with each agent, the bench's own work included: an agent that is
# late is measured at another load. The costliest needs 10 us a sample.
LOADS = (
    Load(1, 1400, 1, 4, 10),
    Load(1, 5000, 1, 4, 8),
    Load(1, 50000, 2, 5, 8),
    Load(20, 1400, 1, 4, 8),
    Load(20, 5000, 2, 6, 12),
    Load(20, 50000, 12, 25, 12),
    Load(100, 1400, 3, 7, 9),
    Load(100, 5000, 8, 17, 16),
    Load(100, 50000, 40, 41, 40),
)
# What cannot be measured here, with the reason, which stands in the table.
SKIPPED = {
    ("prometheus", "100x50000"): "not measured: with 5,000,000 series it needs more than this machine's 23 GiB",
}
FILES = ("docs/performance.md", "README.md")
ROW = re.compile(r"^\| (\S+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| (\d+) \|$", re.MULTILINE)
OURS, OURS_2, FLOOR = "flinkrelay", "flinkrelay2", "floor"

# CPU, bytes and memory of each agent.
Figures = dict[str, tuple[float, float, float]]


def agents(directory: Path, *, debian_vmagent: bool) -> list[str]:
    """Ours by their names in the bench, then the others by path, then the floor."""
    newest = directory / tools.VMAGENT.path(tools.cache()).name
    # It would send VictoriaMetrics' own encoding, which the bench does not read, as long as the receiver does not mind.
    newest.write_text(f'#!/bin/sh\nexec "{tools.require(tools.VMAGENT, tools.cache())}" -remoteWrite.forcePromProto "$@"\n')
    newest.chmod(0o755)
    debian = [Path("/usr/bin/prometheus")]
    debian += [Path("/usr/bin/vmagent")] if debian_vmagent else []
    return [OURS, OURS_2, str(newest), *(str(path) for path in debian if path.is_file()), FLOOR]


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


def measure(load: Load, seconds: int | None, wanted: list[str]) -> Figures:
    """One run of all agents that can be measured."""
    wanted = [agent for agent in wanted if not skipped(agent, load)]
    options = {
        "--targets": load.targets,
        "--samples": load.samples,
        "--interval": load.interval_s,
        "--seconds": seconds or load.seconds,
        "--warm": min(seconds or load.warm_s, load.warm_s),
    }
    argv = ["cargo", "bench", "--locked", "--bench", "agents", "--"]
    argv += [str(part) for option in options.items() for part in option] + wanted
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    rows = ROW.findall(done.stdout)
    if done.returncode != 0 or len(rows) != len(wanted):
        sys.exit(f"{' '.join(argv)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    # In the order of the arguments: two agents may have one file name.
    return {agent: tuple(map(float, row[2:])) for agent, row in zip(wanted, rows, strict=True)}


def medians(runs: list[Figures]) -> Figures:
    return {
        agent: tuple(statistics.median(run[agent][at] for run in runs) for at in range(3)) for agent in runs[0]
    }


def table(figures: Figures, left_out: dict[str, str]) -> str:
    """The figures, CPU also as a multiple of the newest vmagent's and of the floor's, bytes of the former's."""
    lines = [
        "| agent | CPU us per sample | of vmagent's | of the floor's | bytes per sample | of vmagent's | peak MiB |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    peer = next((figures[agent] for agent in figures if is_newest_vmagent(agent)), None)
    floor = figures.get(FLOOR)
    for agent, (cpu, wire, peak) in figures.items():
        sends = agent != FLOOR
        cells = [
            shown(agent),
            f"{cpu:.2f}",
            times(cpu, peer[0] if peer else 0),
            times(cpu, floor[0] if floor else 0, digits=1),
            f"{wire:.1f}" if sends else "",
            times(wire, peer[1] if peer else 0) if sends else "",
            f"{peak:.0f}" if sends else "",
        ]
        lines.append(f"| {' | '.join(cells)} |".replace("  |", " |"))
    lines += [f"| {shown(agent)} | {why} | | | | | |" for agent, why in left_out.items()]
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
    parser.add_argument("--seconds", type=int, help="of each measurement, instead of the load's own; also the longest warm-up")
    parser.add_argument("--only", action="append", choices=[load.name for load in LOADS], help="a load; repeatable")
    parser.add_argument("--debian-vmagent", action="store_true")
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--agents", type=lambda text: text.split(","), help="instead of the usual ones")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        wanted = args.agents or agents(Path(directory), debian_vmagent=args.debian_vmagent)
        return compare(args, wanted)


def compare(args: argparse.Namespace, wanted: list[str]) -> int:
    """All loads that are wanted."""
    for load in LOADS:
        if args.only and load.name not in args.only:
            continue
        began = time.monotonic()
        runs = [measure(load, args.seconds, wanted) for _ in range(args.runs)]
        left_out = {agent: why for agent in wanted if (why := skipped(agent, load))}
        text = table(medians(runs), left_out)
        took = time.monotonic() - began
        print(f"\n{load.about}, medians of {args.runs}, {took:.0f} s\n\n{text}", flush=True)
        if not args.dry:
            write(load.name, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
