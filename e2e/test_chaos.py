"""Tests of what the chaos checks stand on: `python3 -m unittest discover -s e2e`."""

import contextlib
import io
import random
import tempfile
import unittest
from collections import Counter
from pathlib import Path

import checks
import corruption
import judge
import plan
import relay
import restarts
import rig
from rig import Life

# Two lives, the first of them killed at 10 s, the second stopped at 20 s.
LIVES = [Life(0, 10_000), Life(10_500, 20_000, clean=True, code=0)]
SERIES = 100


def scrape(page: int, at: float, samples: int = SERIES, own: int = 5, **more: object) -> dict:
    found = {
        "timestamp_ms": at, "page": page, "samples": samples, "own": own, "duplicates": 0,
        "first_ms": at + 10, "last_ms": at + 20, "unanswered": False,
    }
    return found | more


def facts(asked_ms: list[int], scrapes: list[dict], gaps_max: int = 0) -> dict:
    target = {
        "instance": "here", "series": SERIES, "gaps_max": gaps_max, "asked_ms": asked_ms, "scrapes": scrapes,
    }
    sums = {"out_of_order": 0, "markers": 0, "requests_1": 1, "requests_2": 0}
    return {"targets": [target], "sums": sums, "faults": []}


class Loss(unittest.TestCase):
    def check(self, asked_ms: list[int], scrapes: list[dict], lost: int, cut: int, own_lost: int = 0) -> None:
        found = judge.judge(facts(asked_ms, scrapes), LIVES)
        self.assertEqual((found.lost, found.cut, found.own_lost), (lost, cut, own_lost))

    def test_all_there(self) -> None:
        self.check([1000, 3000, 11000], [scrape(1, 1000), scrape(2, 3000), scrape(3, 11000)], 0, 0)

    def test_a_page_that_was_followed_by_another_must_be_there(self) -> None:
        self.check([1000, 3000, 11000], [scrape(2, 3000), scrape(3, 11000)], 100, 0, 5)
        self.check([1000, 3000, 11000], [scrape(1, 1000, 99), scrape(2, 3000), scrape(3, 11000)], 1, 0)

    def test_the_last_page_before_a_kill_may_be_missing_or_partial(self) -> None:
        self.check([1000, 9900, 11000], [scrape(1, 1000), scrape(3, 11000)], 0, 100)
        self.check([1000, 9900, 11000], [scrape(1, 1000), scrape(2, 9900, 40, 0), scrape(3, 11000)], 0, 60)

    def test_but_not_when_there_was_time_to_write_it(self) -> None:
        self.check([1000, 8000, 11000], [scrape(1, 1000), scrape(3, 11000)], 100, 0, 5)

    def test_only_the_last_of_a_life(self) -> None:
        self.check([9800, 9900, 11000], [scrape(3, 11000)], 100, 100, 5)

    def test_own_series_are_missed(self) -> None:
        self.check([1000, 3000], [scrape(1, 1000, own=4), scrape(2, 3000)], 0, 0, 1)

    def test_pages_that_are_nearly_always_written_are_counted(self) -> None:
        for asked, missing in ((9900, (0, 0)), (9700, (1, 1))):
            found = judge.judge(facts([asked], []), LIVES)
            self.assertEqual((found.nearly_written, found.nearly_written_missing), missing, asked)


class Duplicates(unittest.TestCase):
    def check(self, at_seams: int, stray: int, **more: object) -> None:
        found = judge.judge(facts([1000], [scrape(1, 1000, duplicates=7, **more)]), LIVES)
        self.assertEqual((found.duplicates_at_seams, found.stray), (at_seams, stray), more)

    def test_only_at_seams(self) -> None:
        self.check(0, 7, first_ms=1010, last_ms=1020)
        self.check(7, 0, first_ms=1010, last_ms=1020, unanswered=True)
        self.check(7, 0, first_ms=9000, last_ms=9500)
        self.check(7, 0, first_ms=1010, last_ms=8000)
        # Delivered after the kill, and then again although nothing broke.
        self.check(0, 7, first_ms=10_600, last_ms=10_700)
        # A clean stop is no seam.
        self.check(0, 7, first_ms=19_900, last_ms=19_990)


class Measures(unittest.TestCase):
    def test_delays_and_pauses_of_a_span(self) -> None:
        found = facts([1000, 2000, 9000], [scrape(1, 1000, last_ms=1300), scrape(2, 2000, last_ms=2100)])
        self.assertEqual(judge.delays_s(found, 0, 5000), [0.1, 0.3])
        self.assertEqual(judge.delays_s(found, 1500, 5000), [0.1])
        self.assertEqual(judge.pauses_s(found, 0, 5000), [1.0])
        self.assertEqual(judge.pauses_s(found, 0, 10_000), [1.0, 7.0])

    def test_survivors(self) -> None:
        asked = [1000, 2000, 3000]
        for scrapes, gaps, wrong in (
            ([scrape(1, 1000), scrape(3, 3000)], 1, 0),
            ([scrape(3, 3000)], 1, 0),
            # More gaps than the one where the oldest were dropped, around what was in flight.
            ([scrape(1, 1000), scrape(3, 3000)], 2, 0),
            ([scrape(1, 1000), scrape(3, 3000)], 3, 1),
            # The newest page is being scraped; the newest two are gone.
            ([scrape(2, 2000)], 3, 0),
            ([scrape(1, 1000)], 1, 1),
        ):
            got = judge.survivors_are_newest(facts(asked, scrapes, gaps))
            self.assertEqual(len(got), wrong, (scrapes, gaps))

    def test_pages_of_real_receivers(self) -> None:
        million = restarts.SERIES_MAX
        # Two series; one sample is stored twice.
        stored = [[(1.0, million), (1.0, million), (3.0, 2.0 * million)], [(1.0, million + 1.0)]]
        found = restarts.samples_by_page(stored)
        self.assertEqual(found, {1: 2, 2: 1})
        target = facts([1000, 3000, 19_900], [])["targets"][0]
        # The last page was asked for while the relay was told to stop.
        for samples, wrong in ((found, 1), ({1: 2, 2: 2}, 0), ({1: 1, 2: 1, 3: 2}, 2), ({3: 2}, 2)):
            pages = judge.pages_of(target, LIVES)
            got = restarts.lacking(pages, Counter(samples), 2, LIVES)
            self.assertEqual(len(got), wrong, samples)


class Accounts(unittest.TestCase):
    def test_an_account_adds_up_or_not(self) -> None:
        self.assertTrue(rig.Account(10, 5, 2, 3, 0).adds_up)
        for account in (rig.Account(10, 5, 2, 2, 0), rig.Account(10, 5, 2, 3, 1), rig.Account(10, 5, 2, 3, None)):
            self.assertFalse(account.adds_up, account)

    def test_an_account_is_read_from_a_page(self) -> None:
        metrics = dict(zip(relay.SAMPLE_METRICS, (10, 5, 2, 99, 3, 0), strict=True))
        own = {(name, frozenset({("receiver", "a")})): value for name, value in metrics.items()}
        self.assertEqual(rig.Account.of(own, "a"), rig.Account(10, 5, 2, 3, 0))
        self.assertIsNone(rig.Account.of(own, "b").unaccounted)

    def test_every_check_of_a_delivery_can_fail(self) -> None:
        whole = facts([1000, 3000], [scrape(1, 1000), scrape(2, 3000)])
        self.assertEqual(self.failed(whole), 0)
        self.assertEqual(self.failed(facts([], [])), 1, "nothing was scraped")
        self.assertEqual(self.failed(facts([1000, 3000], [scrape(2, 3000)])), 2)
        self.assertEqual(self.failed(facts([1000], [scrape(1, 1000, duplicates=1)])), 1)
        for key in ("out_of_order", "markers"):
            self.assertEqual(self.failed(whole | {"sums": whole["sums"] | {key: 1}}), 1, key)
        self.assertEqual(self.failed(whole | {"faults": ["changed"]}), 1)

    def failed(self, found: dict) -> int:
        with contextlib.redirect_stdout(io.StringIO()):
            report = checks.Report()
            plan.delivery_checks(report, "x", found, judge.judge(found, LIVES))
        return report.failed


class Flips(unittest.TestCase):
    def test_one_bit_of_the_files_that_match(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            for file in ("a.seg", "b.other"):
                (directory / file).write_bytes(bytes(1000))
            flipped = corruption.flip(directory, "*.seg", random.Random(1))
            self.assertEqual(len(flipped), corruption.FLIPS)
            ones = sum(byte.bit_count() for byte in (directory / "a.seg").read_bytes())
            self.assertEqual(ones, corruption.FLIPS)
            self.assertEqual((directory / "b.other").read_bytes(), bytes(1000))
            self.assertEqual(corruption.flip(directory, "cursor", random.Random(1)), [])


if __name__ == "__main__":
    unittest.main()
