"""What the counterparts' facts say: what was lost, doubled or out of order, and whether that may be.

Pure functions of what `Counter.facts` returns and of the relay's lives.

What may be missing after a kill is known exactly. The relay scrapes a target with one request at a
time, so when a target's next page is asked for in the same life, the one before was read and written.
Only the last page of a life may be missing, all or part of it, and only when it was asked for within
WRITTEN_WITHIN_MS of the kill.

What may arrive twice: what was delivered within SEAM_MS before a kill, for the spool writes its cursor
once a second; and what a receiver took without answering.
"""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field

from rig import Life

# The series that the relay adds to each good scrape: `up` and four that begin with `scrape_`.
OWN_SERIES = 5

# Longer than the relay needs to read and write a page, on a machine that does much else.
WRITTEN_WITHIN_MS = 1500

# What it needs nearly always. Of the pages between the two that the kill found, few may be missing.
MOSTLY_WRITTEN_WITHIN_MS = 250

# The cursor's second, and as long again for a slow disk.
SEAM_MS = 2500


@dataclass
class Finding:
    """What is known about one receiver."""

    pages: int = 0
    # Samples of pages that had to arrive and did not, and the first of those pages.
    lost: int = 0
    lost_where: list[str] = field(default_factory=list)
    # Samples of pages that a kill cut short: these may be missing.
    cut: int = 0
    # Pages that a kill found this long after they were asked for, and those that are not whole.
    nearly_written: int = 0
    nearly_written_missing: int = 0
    # Of the relay's own series, at the pages that had to arrive.
    own_lost: int = 0
    duplicates_at_seams: int = 0
    stray: int = 0
    stray_where: list[str] = field(default_factory=list)
    # Samples that arrived, each counted once, the relay's own series among them.
    arrived: int = 0


@dataclass(frozen=True)
class Page:
    """One page of a target."""

    instance: str
    number: int
    asked_ms: float
    life: int
    # The last of its target in its life.
    is_last: bool


def pages_of(target: dict, lives: list[Life]) -> Iterator[Page]:
    """The pages of a target, each with the life that asked for it."""
    began = [life.began_ms for life in lives]
    asked = target["asked_ms"]
    life_of = [bisect.bisect_right(began, at) - 1 for at in asked]
    for i, (at, life) in enumerate(zip(asked, life_of, strict=True)):
        is_last = i + 1 == len(asked) or life_of[i + 1] != life
        yield Page(target["instance"], i + 1, at, life, is_last)


def may_be_cut(page: Page, lives: list[Life]) -> bool:
    """Whether the end of its life may have come before it was written."""
    return page.is_last and lives[page.life].ended_ms - page.asked_ms < WRITTEN_WITHIN_MS


def judge(facts: dict, lives: list[Life]) -> Finding:
    """Holds what arrived against what was asked for."""
    finding = Finding()
    for target in facts["targets"]:
        by_page = {s["page"]: s for s in target["scrapes"] if s["page"] is not None}
        for page in pages_of(target, lives):
            scrape = by_page.get(page.number, {"samples": 0, "own": 0})
            finding.pages += 1
            missing = target["series"] - scrape["samples"]
            if may_be_cut(page, lives):
                finding.cut += missing
                if lives[page.life].ended_ms - page.asked_ms >= MOSTLY_WRITTEN_WITHIN_MS:
                    finding.nearly_written += 1
                    finding.nearly_written_missing += missing > 0
                continue
            finding.lost += missing
            finding.own_lost += OWN_SERIES - scrape["own"]
            if missing:
                finding.lost_where.append(f"{missing} of page {page.number} of {page.instance}")
        for scrape in target["scrapes"]:
            finding.arrived += scrape["samples"] + scrape["own"]
            if at_seam(scrape, lives):
                finding.duplicates_at_seams += scrape["duplicates"]
            elif scrape["duplicates"]:
                finding.stray += scrape["duplicates"]
                where = f"{scrape['duplicates']} of page {scrape['page']} of {target['instance']}"
                finding.stray_where.append(where)
    return finding


def at_seam(scrape: dict, lives: list[Life]) -> bool:
    """Whether a scrape may arrive twice."""
    if scrape["unanswered"]:
        return True
    kills = (life.ended_ms for life in lives if not life.clean and life.ended_ms)
    return any(scrape["first_ms"] <= kill <= scrape["last_ms"] + SEAM_MS for kill in kills)


def delays_s(facts: dict, since_ms: float, until_ms: float) -> list[float]:
    """From a scrape to the arrival of its last sample, of all scrapes within a span of time."""
    return sorted(
        (scrape["last_ms"] - scrape["timestamp_ms"]) / 1000
        for target in facts["targets"]
        for scrape in target["scrapes"]
        if since_ms <= scrape["timestamp_ms"] < until_ms
    )


def pauses_s(facts: dict, since_ms: float, until_ms: float) -> list[float]:
    """The pauses between pages of the same target, of all targets within a span of time."""
    pauses = []
    for target in facts["targets"]:
        asked = [at for at in target["asked_ms"] if since_ms <= at < until_ms]
        pauses += [(b - a) / 1000 for a, b in zip(asked, asked[1:], strict=False)]
    return sorted(pauses)


def survivors_are_newest(facts: dict) -> list[str]:
    """Targets that miss the end, or anything in more stretches than dropping the oldest makes.

    That is one; two where a request was in flight while what is older and what is newer went.
    """
    wrong = []
    for target in facts["targets"]:
        by_page = {s["page"]: s["samples"] for s in target["scrapes"] if s["page"] is not None}
        newest = len(target["asked_ms"])
        # The very last page may have been asked for while the relay was told to stop.
        ends = max(by_page.get(newest, 0), by_page.get(newest - 1, 0)) == target["series"]
        allowed = 2 + (by_page.get(newest, 0) < target["series"])
        if not ends or target["gaps_max"] > allowed:
            wrong.append(f"{target['instance']}: {target['gaps_max']} gaps, newest {by_page.get(newest)}")
    return wrong
