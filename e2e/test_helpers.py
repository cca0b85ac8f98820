"""Tests of what the checks stand on: `python3 -m unittest discover -s e2e`."""

import contextlib
import io
import math
import tempfile
import unittest
from pathlib import Path

import checks
import compare
import names
import page
import procs
import promql
import receivers
import relay
import values


def series(name: str, **labels: str) -> page.Series:
    return name, frozenset(labels.items())


def stored(name: str, **labels: str) -> frozenset:
    return frozenset({"__name__": name, "job": "flink", "cluster": "e2e", **labels}.items())


def receiver(keeps_nan: bool) -> receivers.Receiver:
    return receivers.Receiver(promql.Api("x", ""), "", None, "", keeps_nan=keeps_nan)


class Page(unittest.TestCase):
    def test_reads_what_flink_writes(self) -> None:
        text = (
            "# HELP a x (scope: y)\n# TYPE a gauge\n"
            'a{job_name="say \\"hi\\" \\\\ {x} \\n",host="h",} -9.223372036854775808E18\nb NaN\nc{} 1 1700000000000\n'
        )
        got = page.parse(text)
        self.assertEqual(got[series("a", job_name='say "hi" \\ {x} \n', host="h")], -(2.0**63))
        self.assertTrue(math.isnan(got[series("b")]))
        self.assertEqual(got[series("c")], 1.0)

    def test_refuses_what_is_no_page(self) -> None:
        for text in ("<html>", 'a{b="c} 1', "a{b=c} 1", "a one"):
            with self.assertRaises(ValueError, msg=text):
                page.parse(text)

    def test_sanitises_like_the_reporter(self) -> None:
        self.assertEqual(page.sanitised("日志清洗 / log-clean (eu)"), "_______log_clean__eu_")


class Pairs(unittest.TestCase):
    PAGE = {
        series("n", operator_name="Calc_3_", operator_id="1", subtask_index="0"),
        series("n", operator_name="Calc_3_", operator_id="2", subtask_index="1"),
    }

    def test_restored_and_sanitised_names_are_the_same(self) -> None:
        for operator in ("Calc[3]", "Calc_3_"):
            got = compare.pair(
                self.PAGE, {stored("n", operator=operator, subtask_index=i) for i in "01"}
            )
            self.assertEqual((len(got.of_page), got.missing, got.strange), (2, [], []))

    def test_a_lost_series_is_missing(self) -> None:
        got = compare.pair(self.PAGE, {stored("n", operator="Calc[3]", subtask_index="0")})
        self.assertEqual((len(got.missing), len(got.strange)), (1, 0))

    def test_two_series_in_one_are_strange_and_missing(self) -> None:
        got = compare.pair(self.PAGE, {stored("n", operator="Calc[3]")})
        self.assertEqual(len(got.strange), 1)
        got = compare.pair(self.PAGE, {stored("n", operator="Map", subtask_index="0")})
        self.assertEqual((len(got.missing), len(got.strange)), (2, 1))


class Names(unittest.TestCase):
    def check(self, name: str, expected: str, **labels: str) -> None:
        self.assertEqual(names.stored_as(series(name)), series(expected, **labels))

    def test_what_varies_is_a_label(self) -> None:
        gc = "flink_taskmanager_Status_JVM_GarbageCollector_"
        self.check(gc + "G1_Young_Generation_TimeMsPerSecond", gc + "TimeMsPerSecond", gc="G1_Young_Generation")
        self.check(gc + "All_Count", gc + "All_Count")
        task = "flink_taskmanager_job_task_"
        queue = task + "Shuffle_Netty_avgQueueLen"
        for old in ("Shuffle_Netty", "Network"):
            self.check(f"{task}{old}_Input_0_avgQueueLen", queue, direction="input", gate="0")
            self.check(f"{task}{old}_Output_1_avgQueueLen", queue, direction="output", partition="1")
        keys = task + "operator_rocksdb_estimate_num_keys"
        self.check(task + "operator_a_rocksdb_b_rocksdb_estimate_num_keys", keys, state="a_rocksdb_b")
        self.check(task + "operator_rocksdb_bytes_read", task + "operator_rocksdb_bytes_read")
        as_label = series(task + "operator_column_family_rocksdb_estimate_num_keys", column_family="a")
        self.assertEqual(names.stored_as(as_label), series(keys, state="a"))
        latency = "latency_source_id_operator_id_operator_subtask_index_latency_count"
        for scope in ("job", "job_task"):
            self.check(f"flink_taskmanager_{scope}_{latency}", task + "latency_count")
        self.check("flink_jobmanager_job_uptime", "flink_jobmanager_job_uptime")

    def test_a_former_name_is_left_out_beside_the_present_one(self) -> None:
        former = series("flink_jobmanager_job_fullRestarts", job_id="1")
        present = series("flink_jobmanager_job_numRestarts", job_id="1")
        other = series("flink_jobmanager_job_numRestarts", job_id="2")
        self.assertEqual(names.without_copies({former, present, other}), {present, other})
        self.assertEqual(names.without_copies({former, other}), {former, other})


class Values(unittest.TestCase):
    def test_what_is_no_value_is_so_for_its_metric_alone(self) -> None:
        lowest, highest = -9.223372036854776e18, 9.223372036854776e18
        task = "flink_taskmanager_job_task_"
        for name, value, expected in (
            (task + "operator_currentInput2Watermark", lowest, True),
            (task + "currentInputWatermark", highest, True),
            (task + "currentInputWatermark", -1.0, False),
            (task + "busyTimeMsPerSecond", math.nan, True),
            (task + "idleTimeMsPerSecond", math.nan, False),
            ("flink_jobmanager_job_lastCheckpointSize", -1.0, True),
            ("flink_jobmanager_job_lastCheckpointSize", 0.0, False),
            ("flink_taskmanager_Status_JVM_Memory_NonHeap_Max", -1.0, True),
            ("flink_taskmanager_Status_JVM_Memory_NonHeap_Used", -1.0, False),
        ):
            self.assertIs(values.is_none(series(name), value), expected, f"{name} {value}")
        self.assertTrue(values.is_none(series("mine", quantile="0.5"), math.nan))
        self.assertFalse(values.is_none(series("mine"), math.nan))

    def test_what_is_no_value_is_not_to_be_stored_and_what_is_one_at_times_may_be(self) -> None:
        size = "flink_jobmanager_job_lastCheckpointSize"
        never, at_times, always = (series(size, job_id=job) for job in "123")
        polls = [
            page.Poll(at, at + 0.1, {never: -1.0, at_times: value, always: 7.0})
            for at, value in ((1.0, -1.0), (2.0, 5.0))
        ]
        watch = page.Watch("here", polls)
        shown = {never, at_times, always}
        self.assertEqual(compare._with_values(watch, shown, set()), ({always}, {at_times}))
        self.assertEqual(compare._with_values(watch, set(), shown), (set(), {at_times, always}))


class Judgement(unittest.TestCase):
    KEY = series("n")

    def judge(self, before: float, value: float, after: float) -> compare.Verdict:
        polls = [page.Poll(at, at + 0.1, {self.KEY: v}) for at, v in ((1.0, before), (2.0, after))]
        watch = page.Watch("here", polls)
        return compare.judge(watch, self.KEY, [(1.5, value)], {1.5: 1.6})

    def test_equal_between_and_moved(self) -> None:
        nan = math.nan
        for before, value, after, outcome in (
            (5, 5, 5, (1, 0)),
            (nan, nan, nan, (1, 0)),
            (5, 6, 5, (1, 1)),
            (5, nan, 5, (1, 1)),
            (nan, 5, nan, (1, 1)),
            (5, 6, 7, (1, 0)),
            (5, 8, 7, (1, 1)),
            (7, 6, 5, (0, 0)),
        ):
            got = self.judge(before, value, after)
            self.assertEqual((got.judged, len(got.wrong)), outcome, (before, value))

    def test_only_what_is_wrong_in_every_window_stays_wrong(self) -> None:
        labels = stored("n")
        polls = [page.Poll(at, at + 0.1, {self.KEY: 5}) for at in (1.0, 2.0)]
        comparison = compare.Comparison(receiver(keeps_nan=True))
        for value, wrong in ((6, 1), (7, 1), (5, 0), (6, 0)):
            comparison.add([page.Watch("here", polls)], [{labels: [(1.5, value)]}])
            self.assertEqual(len(comparison.wrong()), wrong, value)
        comparison.add([page.Watch("here", polls)], [{}])
        self.assertEqual(comparison.missing, set(), "it was there in the first window")

    def test_a_gauge_that_is_seen_to_fall_is_acquitted(self) -> None:
        comparison = compare.Comparison(receiver(keeps_nan=True))
        for values, wrong in (((5, 5), 1), ((5, 4), 0), ((5, 5), 0)):
            polls = [page.Poll(a, a + 0.1, {self.KEY: v}) for a, v in zip((1.0, 2.0), values)]
            comparison.add([page.Watch("here", polls)], [{stored("n"): [(1.5, 6)]}])
            self.assertEqual(len(comparison.wrong()), wrong, values)

    def test_nan_is_missed_only_where_it_can_be_stored(self) -> None:
        polls = [page.Poll(at, at + 0.1, {self.KEY: math.nan}) for at in (1.0, 2.0)]
        for keeps_nan in (True, False):
            comparison = compare.Comparison(receiver(keeps_nan))
            comparison.add([page.Watch("here", polls)], [{}])
            self.assertEqual(comparison.missing, {self.KEY} if keeps_nan else set())

    def test_rounding_is_relative(self) -> None:
        polls = [page.Poll(at, at + 0.1, {self.KEY: -100.0}) for at in (1.0, 2.0)]
        for value, rounding, wrong in ((-100.5, 0.01, 0), (-102, 0.01, 1), (-100.5, 0, 1), (-99.5, 0.01, 0)):
            got = compare.judge(page.Watch("here", polls), self.KEY, [(1.5, value)], {}, rounding)
            self.assertEqual(len(got.wrong), wrong, (value, rounding))

    def test_a_sample_outside_the_watched_time_says_nothing(self) -> None:
        watch = page.Watch("here", [page.Poll(1.0, 1.1, {self.KEY: 5})])
        self.assertEqual(compare.judge(watch, self.KEY, [(1.5, 6)], {}), compare.Verdict())


class Others(unittest.TestCase):
    def test_declared_names_are_those_of_samples(self) -> None:
        text = "# TYPE a counter\na_total 1\n# TYPE b_total counter\n# TYPE c gauge\nc 1\n"
        self.assertEqual(relay.declared(text), {"a_total", "b_total", "c"})

    def test_ignored_ports_have_a_reason(self) -> None:
        targets = {"ranges": [{"range": "127.0.0.1:9250-9260", "ignored": {"9260": "text/html"}}]}
        self.assertEqual(relay.ignored(targets, 9260), "text/html")
        self.assertIsNone(relay.ignored(targets, 9251))

    def test_a_failed_check_and_an_error_fail_the_run(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            report = checks.Report()
            self.assertEqual(report.finish(), 1, "a run without checks proves nothing")
            report.equal("one", 1, 1)
            self.assertEqual(report.finish(), 0)
            report.equal("two", 1, 2)
            self.assertEqual(report.finish(), 1)
        self.assertIn("\nFAIL two: expected 1, got 2\n", printed.getvalue())
        self.assertEqual(printed.getvalue().splitlines()[-1], "1 passed, 1 failed")

    def test_a_process_that_dies_ends_the_wait(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            processes = procs.Processes(Path(directory))
            processes.start("false", ["false"])
            with self.assertRaisesRegex(procs.SetupError, "false ended with exit code 1"):
                processes.wait_until("never", lambda: False, 10, 0.01)


if __name__ == "__main__":
    unittest.main()
