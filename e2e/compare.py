"""Stored samples against the pages they came from.

A page cannot be read at the very instant at which the relay read it, so pages are read all the
time, and a stored sample is held against the page just before its scrape and the page just after.
Series that were constant or only grew during the whole window are judged: the stored value must be
the page's own when both pages agree, and lie between them otherwise. Gauges that rise and fall
cannot be judged this way.

A gauge may still be 0, 1, 0 between two pages; so one disagreement proves nothing, and one that
the same series shows in every window does.
"""

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field

from names import stored_as, without_copies
from page import Series, Watch, sanitised
from promql import Labels
from receivers import Receiver
from relay import EXTERNAL_LABELS, SCRAPE_SERIES, is_excluded
from rest import INFO_SERIES, OWN_JOB, is_process
from values import DERIVED, is_none

# Labels that the relay adds, and its names for labels that the page calls otherwise.
_ADDED = {"__name__", "job", "instance", *EXTERNAL_LABELS}
_PAGE_NAMES = {"operator": "operator_name"}

# Values of a moment: reading a page opens a connection, so every reader sees a number of its own;
# and a checkpoint, a compaction or a buffer in a queue comes and goes between two polls that both saw
# none. Polled every 10 ms, the queues' gauges go 0, 1, 0 within tens of milliseconds. The jobs work in
# bursts of a whole second and scrapes come every two, so a scrape can meet the burst in every window.
_OF_A_MOMENT = re.compile(
    r"flink_(jobmanager|taskmanager)_Status_JVM_FileDescriptor_Open"
    r"|flink_jobmanager_job_numberOfInProgressCheckpoints"
    r"|flink_taskmanager_job_task_(Network|Shuffle_Netty)_(Input|Output)_\d+_(min|max|avg|total)QueueLen"
    r"|flink_taskmanager_job_task_(buffers|Shuffle_Netty_(Input|Output)_Buffers)_\w+(Usage|QueueLength|QueueSize)"
    r"|flink_taskmanager_job_task_operator_.+_rocksdb_num_running_compactions"
)

Samples = dict[Labels, list[tuple[float, float]]]


@dataclass
class Pairing:
    """Which stored series is which series of the page."""

    of_page: dict[Series, Labels] = field(default_factory=dict)
    # Series of the page that no stored series stands for, or more than one.
    missing: list[Series] = field(default_factory=list)
    # Stored series that stand for no series of the page, or for several (samples overwritten).
    strange: list[Labels] = field(default_factory=list)


def relayed(series: Series) -> bool:
    """Whether a series of a page is one that the relay was told to send."""
    return not is_excluded(series[0])


def pair(page: set[Series], stored: set[Labels]) -> Pairing:
    """Pairs by the name that is to be stored and by every label that the relay kept.

    Names of jobs, tasks and operators may be sanitised or restored.
    """
    pairing = Pairing()
    candidates: dict[str, list[tuple[Series, dict[str, str]]]] = defaultdict(list)
    for series in page:
        name, has = stored_as(series)
        labels = {name: sanitised(value) for name, value in has}
        candidates[name].append((series, labels))
    taken: dict[Series, list[Labels]] = defaultdict(list)
    for labels in stored:
        name = dict(labels)["__name__"]
        if re.fullmatch(f"{SCRAPE_SERIES}|{INFO_SERIES}|{DERIVED}", name):
            continue
        added = _ADDED | OWN_JOB if is_process(name) else _ADDED
        kept = {_PAGE_NAMES.get(n, n): sanitised(v) for n, v in labels if n not in added}
        same = [series for series, has in candidates[name] if kept.items() <= has.items()]
        for series in same:
            taken[series].append(labels)
        if len(same) != 1:
            pairing.strange.append(labels)
    for series in page:
        if len(taken[series]) == 1:
            pairing.of_page[series] = taken[series][0]
        else:
            pairing.missing.append(series)
    return pairing


def scrape_ends(samples: Samples) -> dict[float, float]:
    """When each scrape (by its time) was over, from `scrape_duration_seconds`."""
    for labels, points in samples.items():
        if ("__name__", "scrape_duration_seconds") in labels:
            return {at: at + duration for at, duration in points}
    return {}


def same(a: float, b: float) -> bool:
    """Bit for bit as far as a person can tell: NaN equals NaN."""
    return a == b or (math.isnan(a) and math.isnan(b))


@dataclass
class Verdict:
    """What the scrapes of one window say about one series."""

    # Scrapes that could be judged, and what was wrong with those that disagree.
    judged: int = 0
    # The value went down while it was watched: a gauge that cannot be judged.
    falls: bool = False
    wrong: list[str] = field(default_factory=list)


def judge(
    watch: Watch,
    series: Series,
    points: list[tuple[float, float]],
    ends: dict[float, float],
    rounding: float = 0,
) -> Verdict:
    """Holds each stored sample of a series against the pages around its scrape."""
    verdict = Verdict(falls=not watch.never_falls(series))
    if verdict.falls or _OF_A_MOMENT.fullmatch(series[0]):
        return verdict
    for at, value in points:
        # The stored time has whole milliseconds.
        around = watch.bracket(series, at, ends.get(at, at) + 0.001)
        if around is None:
            continue
        before, after = around
        verdict.judged += 1
        low, high = before - rounding * abs(before), after + rounding * abs(after)
        if not (low <= value <= high or same(before, value) and same(value, after)):
            verdict.wrong.append(f"{value} at {at:.3f}, page {before} to {after}")
    return verdict


def _with_values(
    watch: Watch, page: set[Series], passing: set[Series]
) -> tuple[set[Series], set[Series]]:
    """The series that have a value on all pages, and those that have one on some."""
    ever, always = set(), set()
    for series in page | passing:
        values = [poll.samples[series] for poll in watch.polls if series in poll.samples]
        nothing = [is_none(series, value) for value in values]
        if not all(nothing):
            ever.add(series)
        if not any(nothing):
            always.add(series)
    return page & always, (passing | (page - always)) & ever


@dataclass
class Comparison:
    """All windows so far of one receiver against the pages of all targets."""

    receiver: Receiver
    verdicts: dict[Series, Verdict] = field(default_factory=dict)
    missing: set[Series] = field(default_factory=set)
    strange: set[Labels] = field(default_factory=set)
    windows: int = 0

    def add(self, watches: list[Watch], stored: list[Samples]) -> None:
        """Takes in one window; what disagreed before but does not now is acquitted."""
        missing, strange = set(), set()
        for watch, samples in zip(watches, stored, strict=True):
            page = {series for series in watch.steady_series() if relayed(series)}
            # What comes or goes within the window belongs to another check.
            passing = {series for poll in watch.polls for series in poll.samples} - page
            # So does what is no value now and then; what is none all the time is not to be stored.
            page, passing = _with_values(watch, page, passing)
            sent = without_copies(page | passing)
            page, passing = page & sent, passing & sent
            pairing = pair(page | passing, set(samples))
            missing |= {s for s in pairing.missing if s in page and self._storable(watch, s)}
            strange |= set(pairing.strange)
            ends = scrape_ends(samples)
            for series, labels in pairing.of_page.items():
                if series in page:
                    points = samples[labels]
                    verdict = judge(watch, series, points, ends, self.receiver.rounding)
                    self._add(series, verdict)
        self.missing = missing if not self.windows else self.missing & missing
        self.strange = strange if not self.windows else self.strange & strange
        self.windows += 1

    def _storable(self, watch: Watch, series: Series) -> bool:
        values = (poll.samples[series] for poll in watch.polls)
        return self.receiver.keeps_nan or not any(math.isnan(value) for value in values)

    def _add(self, series: Series, verdict: Verdict) -> None:
        known = self.verdicts.setdefault(series, verdict)
        if known is not verdict:
            known.judged += verdict.judged
            known.falls |= verdict.falls
            if known.falls or verdict.judged:
                known.wrong = [] if known.falls else known.wrong and verdict.wrong

    def wrong(self) -> dict[Series, list[str]]:
        return {series: v.wrong for series, v in self.verdicts.items() if v.wrong}

    def settled(self) -> bool:
        """Whether another window could not change the outcome for the better."""
        return not (self.missing or self.strange or self.wrong())
