"""Tests of what `compare.py` makes of the bench's output: `python3 -m unittest discover -s benches`."""

import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

import compare

LOAD = compare.Load(20, 5000, 2, 5, 8)
VMAGENT, PROMETHEUS = "/x/vmagent-v1.143.0", "/usr/bin/prometheus"
# Samples per second, CPU, bytes, memory.
FIGURES = {
    "/x/flinkrelay": [50_000.0, 0.25, 20.0, 40.0],
    VMAGENT: [50_000.0, 2.5, 50.0, 130.0],
    compare.FLOOR: [50_000.0, 0.1, 0.0, 3.0],
}


def lives(pid: str) -> bool:
    """Whether it runs; who has ended may still have a parent to be asked for by."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Loads(unittest.TestCase):
    def test_three_runs_take_less_than_three_quarters_of_an_hour(self) -> None:
        seconds = 0
        for load in compare.LOADS:
            agents = [compare.OURS, compare.OURS_2, VMAGENT, PROMETHEUS]
            measured = [agent for agent in agents if not compare.skipped(agent, load)]
            seconds += sum(max(load.warm_s, load.warm_prometheus_s * (a == PROMETHEUS)) for a in measured) + 1
            # A target alone is waited for at both ends.
            seconds += (len(measured) + 1) * (load.seconds + load.interval_s / load.targets)
            # To make the pages.
            seconds += 1 + load.targets * load.samples // 500_000
        self.assertLess(3 * seconds, 45 * 60)

    def test_what_is_measured_lasts_whole_intervals_behind_the_first_scrapes(self) -> None:
        for load in compare.LOADS:
            self.assertEqual(0, load.seconds % load.interval_s, load)
            self.assertGreater(load.warm_s, load.interval_s, load)


class Table(unittest.TestCase):
    def test_has_ratios_to_vmagent_and_to_the_floor(self) -> None:
        rows = compare.table(LOAD, FIGURES, {}, 3).splitlines()[2:]
        self.assertEqual(
            rows,
            [
                "| **flinkrelay**, remote write 1.0 | 0.25 | 0.10x | 2.5x | 20.0 | 0.40x | 40 |",
                "| vmagent 1.143.0 | 2.50 | 1.00x | 25.0x | 50.0 | 1.00x | 130 |",
                "| floor: pages are read and thrown away | 0.10 | 0.04x | 1.0x | | | |",
            ],
        )

    def test_tells_who_was_too_late_and_who_was_left_out(self) -> None:
        late = FIGURES | {VMAGENT: [30_000.0, 2.5, 50.0, 130.0]}
        text = compare.table(LOAD, late, {"prometheus": "not measured: too large"}, 1)
        self.assertIn("| vmagent 1.143.0 (too late: 60% of the samples) |", text)
        self.assertIn("| not measured: too large |", text)
        self.assertTrue(text.endswith("\n\nOne run."), text)

    def test_replaces_its_own_only(self) -> None:
        with tempfile.TemporaryDirectory() as directory, mock.patch.object(compare, "ROOT", Path(directory)):
            for name in compare.FILES:
                path = Path(directory, name)
                path.parent.mkdir(exist_ok=True)
                path.write_text("<!-- agents 1x1 -->\none\n<!-- end -->\n<!-- agents 2x2 -->\ntwo\n<!-- end -->\n")
            compare.write("2x2", r"\1 new")
            for name in compare.FILES:
                text = Path(directory, name).read_text()
                self.assertEqual(
                    text, "<!-- agents 1x1 -->\none\n<!-- end -->\n<!-- agents 2x2 -->\n\\1 new\n<!-- end -->\n"
                )


class Kept(unittest.TestCase):
    def test_runs_are_there_again_for_the_same_builds_alone(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "runs.json")
            kept = compare.Kept(path, ["bench", "relay"])
            kept.under(LOAD, None).append(FIGURES)
            kept.write()
            self.assertEqual([FIGURES], compare.Kept(path, ["bench", "relay"]).under(LOAD, None))
            self.assertEqual([], compare.Kept(path, ["bench", "relay"]).under(LOAD, 5))
            self.assertEqual([], compare.Kept(path, ["bench", "another relay"]).under(LOAD, None))
            # As a disk that was full leaves it.
            path.write_text("{")
            self.assertEqual([], compare.Kept(path, ["bench", "relay"]).under(LOAD, None))


class Run(unittest.TestCase):
    def test_what_the_bench_has_started_ends_with_it(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            told = Path(directory, "pids")
            script = f"touch $TMPDIR/data; sleep 600 & echo $$ $! $TMPDIR > {told}; wait"
            with self.assertRaises(SystemExit):
                compare.run(["bash", "-c", script], timeout_s=2)
            *pids, data = told.read_text().split()
        self.assertEqual(2, len(pids))
        self.assertFalse(Path(data).exists())
        until = time.monotonic() + 30
        while (left := [pid for pid in pids if lives(pid)]) and time.monotonic() < until:
            time.sleep(0.1)
        self.assertEqual([], left)

    def test_rows_of_the_bench_are_read(self) -> None:
        row = "| flinkrelay | 50123 | 0.493 | 23.6 | 37 |"
        self.assertEqual([("flinkrelay", "50123", "0.493", "23.6", "37")], compare.ROW.findall(f"\n{row}\n"))


if __name__ == "__main__":
    unittest.main()
