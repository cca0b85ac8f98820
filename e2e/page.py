"""Flink's pages, read without the relay: the other half of every comparison.

This reader is written against the text format's description and shares nothing with the relay's
parser, so a fault in one does not hide in the other.
"""

import itertools
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from net import NoAnswer, fetch

# A series as it stands on a page: its name and its labels.
Series = tuple[str, frozenset[tuple[str, str]]]

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?')
_ESCAPE = re.compile(r"\\(.)")


def parse(page: str) -> dict[Series, float]:
    """All samples of a page; ValueError names the first line that is not in the format."""
    samples = {}
    for line in page.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = _SAMPLE.fullmatch(line)
        if not match:
            raise ValueError(f"not a sample: {line[:200]}")
        name, labels, value = match.groups()
        samples[name, frozenset(_labels(labels or ""))] = float(value)
    return samples


def _labels(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text.rstrip()):
        match = _LABEL.match(text, at)
        if not match:
            raise ValueError(f"not a label: {text[at : at + 200]}")
        name, value = match.groups()
        yield name, _ESCAPE.sub(lambda e: {"n": "\n"}.get(e[1], e[1]), value)
        at = match.end()


def sanitised(text: str) -> str:
    """A label value the way Flink's reporter writes it; a value that already is stays as it is."""
    return re.sub(r"[^a-zA-Z0-9:_]", "_", text)


@dataclass
class Poll:
    """One answer of a target, with the wall-clock seconds just before and after the request."""

    start: float
    end: float
    samples: dict[Series, float]

    def values(self, label: str) -> set[str]:
        """All values of a label on the page."""
        return {value for _, labels in self.samples for name, value in labels if name == label}


@dataclass
class Watch:
    """What a target's page showed again and again during some seconds."""

    instance: str
    polls: list[Poll] = field(default_factory=list)

    def steady_series(self) -> set[Series]:
        """The series that stood on every page."""
        return set.intersection(*(set(poll.samples) for poll in self.polls))

    def never_falls(self, series: Series) -> bool:
        """Whether the value was the same or larger from page to page (or NaN on all of them)."""
        values = [poll.samples[series] for poll in self.polls]
        if all(math.isnan(value) for value in values):
            return True
        return all(a <= b for a, b in itertools.pairwise(values))

    def bracket(self, series: Series, start: float, end: float) -> tuple[float, float] | None:
        """The page's value just before `start` and just after `end`, when both were seen."""
        before = [poll for poll in self.polls if poll.end <= start]
        after = [poll for poll in self.polls if poll.start >= end]
        if not before or not after:
            return None
        return before[-1].samples[series], after[0].samples[series]


def poll(instance: str, tries: int = 5) -> Poll:
    """Reads the page of `host:port`.

    Flink closes the connection without an answer when one of its gauges throws, which gauges of
    a task do for a moment while it starts or ends; so an answer that stays out is asked for again.
    """
    start = time.time()
    try:
        body = fetch(f"http://{instance}/metrics")
    except NoAnswer:
        if tries <= 1:
            raise
        time.sleep(0.2)
        return poll(instance, tries - 1)
    return Poll(start, time.time(), parse(body.decode()))


def watch(instances: list[str], seconds: float, pause_s: float = 0.3) -> list[Watch]:
    """Reads the pages of all `instances` in turn for `seconds`."""
    watches = [Watch(instance) for instance in instances]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for target in watches:
            target.polls.append(poll(target.instance))
        time.sleep(pause_s)
    return watches
