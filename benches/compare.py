#!/usr/bin/env python3
"""Runs `cargo bench --bench agents` under several loads, some times each, and writes the medians into the tables of
docs/performance.md and README.md.

usage: compare.py [--runs 3] [--seconds 20] [--only 20x5000] [--dry] [AGENT...]

The agents are those of the bench, the newest vmagent that e2e/tools.py builds, and Debian's vmagent and Prometheus
where they are installed. Takes half an hour; nothing else should run on the machine. `--dry` prints the tables.
Tables stand between `<!-- agents LOAD -->` and `<!-- end -->`; only those of loads that were run are replaced.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "e2e"))

import tools  # noqa: E402

# Targets, samples of a page, seconds between scrapes: a sidecar, a session cluster, a central relay, pages of 23 MB.
LOADS = ((1, 1416, 1), (20, 5000, 2), (100, 5000, 5), (2, 50000, 5))
# vmagent refuses pages above 16 MiB unless told otherwise.
SAMPLES_MAX_OF_VMAGENT = 30000
FILES = ("docs/performance.md", "README.md")
ROW = re.compile(r"^\| (\S+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| (\d+) \|$", re.MULTILINE)
OURS = "flinkrelay"


def agents(directory: Path) -> list[str]:
    """Ours by their names in the bench, then the others by path."""
    own = [OURS]
    if "flinkrelay2" in (ROOT / "benches/agents.rs").read_text():
        own.append("flinkrelay2")
    newest = directory / tools.VMAGENT.path(tools.cache()).name
    # It would send VictoriaMetrics' own encoding, which the bench does not read, as long as the receiver does not mind.
    newest.write_text(f'#!/bin/sh\nexec "{tools.require(tools.VMAGENT, tools.cache())}" -remoteWrite.forcePromProto "$@"\n')
    newest.chmod(0o755)
    debian = [Path("/usr/bin/vmagent"), Path("/usr/bin/prometheus")]
    return [*own, str(newest), *(str(path) for path in debian if path.is_file())]


def shown(agent: str) -> str:
    """An agent's name for people."""
    name = Path(agent).name
    if name == "flinkrelay2":
        return "**flinkrelay**, remote write 2.0"
    if name == OURS:
        return "**flinkrelay**, remote write 1.0"
    if agent.startswith("/usr/bin/"):
        package = {"vmagent": "victoria-metrics", "prometheus": "prometheus"}[name]
        asked = ["dpkg-query", "-W", "-f", "${Version}", package]
        version = subprocess.run(asked, capture_output=True, text=True).stdout
        version = re.match(r"[\d.]*\d", version.rpartition(":")[2])
        of = "Prometheus agent" if name == "prometheus" else name
        return f"{of} {version[0] if version else ''} (Debian)"
    return name.replace("-v", " ")


def measure(load: tuple[int, int, int], seconds: int, wanted: list[str]) -> dict[str, tuple[float, float, float]]:
    """One run: CPU, bytes and memory of each agent."""
    targets, samples, interval = load
    if samples > SAMPLES_MAX_OF_VMAGENT:
        wanted = [agent for agent in wanted if "vmagent" not in agent]
    argv = ["cargo", "bench", "--locked", "--bench", "agents", "--"]
    argv += ["--targets", targets, "--samples", samples, "--interval", interval, "--seconds", seconds]
    argv += ["--warm", max(8, 3 * interval), *wanted]
    done = subprocess.run([str(arg) for arg in argv], cwd=ROOT, capture_output=True, text=True)
    rows = ROW.findall(done.stdout)
    if done.returncode != 0 or len(rows) != len(wanted):
        sys.exit(f"{' '.join(map(str, argv))} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    # In the order of the arguments: two agents may have one file name.
    return {agent: tuple(map(float, row[2:])) for agent, row in zip(wanted, rows)}


def table(runs: list[dict[str, tuple[float, float, float]]]) -> str:
    """The medians, with the CPU of the others as multiples of ours."""
    lines = ["| agent | CPU us per sample | bytes per sample | peak MiB |", "| --- | --: | --: | --: |"]
    ours = None
    for agent in runs[0]:
        cpu, wire, peak = (statistics.median(run[agent][at] for run in runs) for at in range(3))
        ours = ours or cpu
        times = "" if "flinkrelay" in Path(agent).name or not ours else f" ({cpu / ours:.0f}x)"
        lines.append(f"| {shown(agent)} | {cpu:.2f}{times} | {wire:.1f} | {peak:.0f} |")
    return "\n".join(lines)


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
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--only", action="append", help="a load, as 20x5000")
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("agents", nargs="*")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        wanted = args.agents or agents(Path(directory))
        return compare(args, wanted)


def compare(args: argparse.Namespace, wanted: list[str]) -> int:
    """All loads that are wanted."""
    for load in LOADS:
        name = f"{load[0]}x{load[1]}"
        if args.only and name not in args.only:
            continue
        runs = [measure(load, args.seconds, wanted) for _ in range(args.runs)]
        text = table(runs)
        print(f"\n{load[0]} target(s) x {load[1]} samples every {load[2]} s, medians of {args.runs}\n\n{text}", flush=True)
        if not args.dry:
            write(name, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
