"""Pages asked for by name, from a real Flink: receivers see no difference. And from servers that do not take names.

Two relays scrape the same cluster with the same filter. One asks by name, the other is told not to; what each sends is
recorded. Their scrapes are not at the same instant, so a value is held against the other's before and after.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import fake
import recorder
import relay
import values
from cluster import METRICS_PORTS
from fake import FakeFlink, number_of
from page import poll
from recorder import Record, Recorder
from stage import INTERVAL_S, JM, SLACK_S, Stage
from wire import Labels, Sample, bits_of

# What is wanted; a page of these groups is well below three quarters of a whole one.
GROUPS = ("checkpointing", "memory", "io", "availability")
PUSHED_TOTAL = "flinkrelay_target_scrapes_pushed_down_total"

# Scrapes within which values are compared.
WINDOW = 6
# One sample may meet a gauge between two that did not see it move; a series that is wrong is so again and again.
WRONG_SHARE_MAX = 1 / 3
JUDGED_SHARE_MIN = 0.5
# The time since the task began less what it was idle, which Flink adds when a task stops to be idle, or every five seconds
# (TaskIOMetricGroup.getAccumulatedBusyTime, TimerGauge): so it goes up and down, and two readers that keep their distance may
# see two different curves.
OF_A_PHASE = "flink_taskmanager_job_task_accumulateBusyTimeMs"
# The scrape's time less a watermark. That goes up and down between two scrapes, the watermark only goes up.
LAG_ENDS = "watermark_lag_seconds"


class Pair:
    """The two relays and what they sent."""

    def __init__(self, stage: Stage) -> None:
        self.recorders = {how: Recorder(how, "2.0") for how in ("auto", "off")}
        self.relays = {
            how: relay.start_with(stage.binary, f"pushdown-{how}", config(kept, how), stage.processes)
            for how, kept in self.recorders.items()
        }

    def read(self) -> tuple[Record, Record]:
        """What was sent by the one that asks by name, and by the other."""
        return recorder.read(self.recorders["auto"]), recorder.read(self.recorders["off"])

    def state(self, instance: str) -> dict:
        """How an instance is asked, by /targets."""
        return state_of(self.relays["auto"], instance)

    def settle(self, stage: Stage, at: float, instances: list[str]) -> None:
        """Waits until both recorders hold scrapes of these instances later than the time `at`."""

        def newer() -> bool:
            return all(
                kept.newest.get(instance, 0) > at * 1000 for kept in self.recorders.values() for instance in instances
            )

        stage.processes.wait_until("both relays have scraped all", newer, 30)

    def close(self) -> None:
        for running in self.relays.values():
            running.stop()
        for kept in self.recorders.values():
            kept.close()


def config(kept: Recorder, pushdown: str) -> str:
    return f"""\
global:
  scrape_interval: {INTERVAL_S}s
  scrape_timeout: {INTERVAL_S}s
scrape_configs:
  - job_name: {relay.JOB}
    probe_interval: {relay.PROBE_INTERVAL_S}s
    static_configs:
      - targets: ["127.0.0.1:{METRICS_PORTS[0]}-{METRICS_PORTS[-1]}"]
flink:
  groups: [{", ".join(GROUPS)}]
  pushdown: {pushdown}
remote_write:
  - name: {kept.name}
    url: {kept.write_url}
"""


def state_of(running: relay.Relay, instance: str) -> dict:
    """How an instance is asked, by /targets; empty when nothing is said of that."""
    targets = running.targets()["activeTargets"]
    found = [target for target in targets if target["labels"]["instance"] == instance]
    return found[0].get("pushdown", {}) if found else {}


def own(labels: Labels) -> bool:
    """Whether a series describes a scrape rather than stands on a page."""
    name = dict(labels)["__name__"]
    return name == "up" or name.startswith(("scrape_", "flinkrelay_"))


def check_asked(stage: Stage, pair: Pair) -> None:
    """TaskManagers are asked by name after their first page, and what arrives is the same."""
    managers = [instance for name, instance in stage.instances.items() if name != JM]
    for name, instance in stage.instances.items():
        if name == JM:
            continue
        see = lambda i=instance: (pair.state(i).get("state") == "pushed", pair.state(i))  # noqa: E731
        stage.report.eventually(f"{name} is asked by name", "pushed", 30, see)
    stage.report.eventually("the other relay asks for whole pages", "off", 5, lambda: off(pair, managers))
    since = time.time() + INTERVAL_S
    pair.settle(stage, since + WINDOW * INTERVAL_S, stage.alive())
    until = since + WINDOW * INTERVAL_S
    pushed, whole = pair.read()
    check_decoded(stage, pushed, whole)
    check_same(stage, window(pushed, since, until), window(whole, since, until))
    check_scraped(stage, pair, managers, (pushed, whole), (since, until))
    ups = {sample.value for points in pushed.of(name="up").values() for sample in points}
    stage.report.equal("no scrape failed while asked by name", {1.0}, ups)


def off(pair: Pair, instances: list[str]) -> tuple[bool, object]:
    states = [state_of(pair.relays["off"], instance) for instance in instances]
    return not any(states), states


def check_decoded(stage: Stage, *records: Record) -> None:
    for record in records:
        late = record.out_of_order()
        ok = not record.disagree and not late
        stage.report.that("what was sent can be read and is in order", ok, "no fault", (record.disagree[:2], late[:2]))


def window(record: Record, since: float, until: float) -> dict[Labels, list[Sample]]:
    """The samples of Flink's own series within a span of time."""
    found = {
        labels: [sample for sample in points if since * 1000 <= sample.at_ms < until * 1000]
        for labels, points in record.series.items()
        if not own(labels)
    }
    return {labels: points for labels, points in found.items() if points}


def check_same(stage: Stage, pushed: dict[Labels, list[Sample]], whole: dict[Labels, list[Sample]]) -> None:
    """The same series, and values that fit in between those of the other."""
    # Withheld values and new series come and go: what is there all the time must be on both sides.
    scrapes = max(map(len, whole.values()), default=0)
    steady = {
        labels
        for labels, points in whole.items()
        if len(points) >= scrapes - 1 and not any(point.is_stale for point in points)
    }
    missing, strange = steady - pushed.keys(), pushed.keys() - whole.keys()
    name = "the same series arrive from a page by name, with the same labels"
    ok = len(steady) > 300 and not missing and not strange
    got = f"{len(steady)}, {list(missing)[:2]}, {list(strange)[:2]}"
    stage.report.that(name, ok, "more than 300, none missing, none strange", got)
    ended = [labels for labels in steady if any(point.is_stale for point in pushed.get(labels, []))]
    stage.report.equal("none of them ends in between", [], ended[:3])
    judged, wrong = 0, []
    for labels in steady & pushed.keys():
        if ("__name__", OF_A_PHASE) in labels:
            continue
        tried, differ = compare(monotonic(labels, pushed[labels]), monotonic(labels, whole[labels]))
        judged += tried > 0
        if differ > WRONG_SHARE_MAX * tried:
            wrong.append((sorted(labels), differ, tried))
    ok = not wrong and judged >= JUDGED_SHARE_MIN * len(steady)
    stage.report.that("and with the same values", ok, "all in between, most judged", f"{judged} judged, {len(wrong)} wrong: {wrong[:2]}")
    print(f"#    {len(steady)} series, {judged} judged", flush=True)


def monotonic(labels: Labels, points: list[Sample]) -> list[Sample]:
    """The samples, or the watermarks that they were made from where they are lags."""
    if not dict(labels)["__name__"].endswith(LAG_ENDS):
        return points
    # In whole milliseconds, as they were.
    return [replace(point, bits=bits_of(round(point.at_ms - 1000 * point.value))) for point in points]


def compare(pushed: list[Sample], whole: list[Sample]) -> tuple[int, int]:
    """How many samples could be judged, and how many of them do not fit. Series that fall are not judged."""
    seen = [sample.value for sample in whole]
    if any(a > b for a, b in zip(seen, seen[1:], strict=False)):
        return 0, 0
    judged = differ = 0
    for sample in pushed:
        before = [other for other in whole if other.at_ms <= sample.at_ms - 500]
        after = [other for other in whole if other.at_ms >= sample.at_ms + 500]
        if before and after:
            judged += 1
            same = before[-1].bits == sample.bits == after[0].bits
            differ += not (same or before[-1].value <= sample.value <= after[0].value)
    return judged, differ


def check_scraped(stage: Stage, pair: Pair, managers: list[str], records: tuple[Record, Record], span: tuple[float, float]) -> None:
    """What the relay says of itself: fewer samples read, as many kept, and how often it asked by name."""
    pushed, whole = records
    for instance in managers:
        on_page = len(poll(instance).samples)
        read = {how: counts(r, "scrape_samples_scraped", instance, span) for how, r in zip(("auto", "off"), records, strict=True)}
        ok = bool(read["off"]) and all(0.9 * on_page < n < 1.1 * on_page for n in read["off"])
        stage.report.that(f"scrape_samples_scraped counts the whole page ({instance})", ok, f"about {on_page}", read["off"])
        most = max(read["auto"], default=on_page)
        ok = most < 0.75 * on_page or most > 0.9 * on_page and min(read["auto"]) < 0.75 * on_page
        stage.report.that(f"and what came of a page by name ({instance})", ok, f"less than {on_page}", read["auto"])
        kept = [counts(r, "scrape_samples_post_metric_relabeling", instance, span) for r in records]
        ok = all(kept) and abs(sum(kept[0]) / len(kept[0]) - sum(kept[1]) / len(kept[1])) < 0.02 * max(kept[1])
        stage.report.that(f"as many samples are kept of both ({instance})", ok, "the same but for 2 %", kept)
    metrics = pair.relays["auto"].own_metrics()
    total = {dict(labels).get("instance"): value for (name, labels), value in metrics.items() if name == PUSHED_TOTAL}
    told = {instance: pair.state(instance).get("scrapesPushed") for instance in managers}
    # They count on while we look.
    ok = all(WINDOW / 2 <= total.get(i, 0) <= told[i] for i in managers)
    stage.report.that(f"{PUSHED_TOTAL} counts them", ok, str(told), total)
    seen = {i: pair.state(i) for i in managers}
    ok = all(2 * s["pushedBytes"] < 1.5 * s["wholeBytes"] and s["familiesLeftOut"] > 10 for s in seen.values())
    stage.report.that("/targets says what is saved", ok, "less than three quarters of the bytes", seen)


def counts(record: Record, name: str, instance: str, span: tuple[float, float]) -> list[float]:
    since, until = (1000 * at for at in span)
    found = record.of(name=name, instance=instance).values()
    return [sample.value for points in found for sample in points if since <= sample.at_ms < until]


def check_ended(stage: Stage, pair: Pair, what: str, labels: dict[str, str], instances: list[str]) -> None:
    """What has ended has a marker as its last sample, in both, at most an interval apart."""
    pair.settle(stage, time.time(), instances)
    pushed, whole = pair.read()
    ends = [{has: points[-1] for has, points in record.of(**labels).items() if not own(has)} for record in (pushed, whole)]
    for how, last in zip(("by name", "whole"), ends, strict=True):
        left = [sorted(has) for has, sample in last.items() if not sample.is_stale]
        name = f"each series of {what} has ended with a marker ({how})"
        stage.report.that(name, bool(last) and not left, "none left", f"{len(left)} of {len(last)}: {left[:2]}")
    both = ends[0].keys() & ends[1].keys()
    apart = [abs(ends[0][has].at_ms - ends[1][has].at_ms) / 1000 for has in both]
    # One that came and went within an interval is seen by one of them only.
    share = len(both) / max(1, len(ends[0].keys() | ends[1].keys()))
    stage.report.that(f"the same series of {what} have ended", share > 0.98, "> 98 %", f"{share:.1%} of {len(ends[1])}")
    # Markers of what ends a moment later by itself, such as a withheld value, are earlier.
    late = sorted(apart)[int(0.98 * len(apart))] if apart else 0
    stage.report.that(f"at most an interval apart ({what})", late <= INTERVAL_S + SLACK_S, f"{INTERVAL_S} s", late)


FAKE_CONFIG = """\
global: {{scrape_interval: 2s, scrape_timeout: 2s}}
scrape_configs:
  - job_name: fake
    static_configs: [{{targets: ["{target}"]}}]
flink: {{groups: [memory, io], rest: off, sentinels: keep}}
remote_write:
  - {{name: {name}, url: "{url}"}}
"""


def check_servers(stage: Stage) -> None:
    """A server that forgets about names, and one that never took them: asked for whole pages, and nothing is lost."""
    forgets = lambda server, running: change(stage, server, running)  # noqa: E731
    play(stage, "ignores", fake.OBEYS, "ignored", forgets)
    play(stage, "refuses", fake.REFUSES, "refused", lambda *_: None)


def play(stage: Stage, name: str, mode: str, state: str, between: Callable[[FakeFlink, relay.Relay], None]) -> None:
    server, kept = FakeFlink(copies=2), Recorder(name, "2.0")
    server.mode = mode
    text = FAKE_CONFIG.format(target=server.instance, name=name, url=kept.write_url)
    running = relay.start_with(stage.binary, f"pushdown-{name}", text, stage.processes)
    stage.processes.wait_until("the relay is ready", running.ready, 30)
    between(server, running)
    see = lambda: (state_of(running, server.instance).get("state") == state, state_of(running, server.instance))  # noqa: E731
    stage.report.eventually(f"a server that {name} names is asked for whole pages", state, 40, see)
    asked = len(server.answers)
    stage.processes.wait_until("some more pages are read", lambda: len(server.answers) > asked + 3, 60)
    running.stop()
    server.close()
    kept.close()
    by_name = [answer for answer in server.answers[asked + 1 :] if answer.names]
    stage.report.equal(f"and not by name again ({name})", [], [len(answer.names) for answer in by_name])
    check_nothing_lost(stage, name, server, recorder.read(kept))


def change(stage: Stage, server: FakeFlink, running: relay.Relay) -> None:
    """Lets the server obey for a while, then forget."""
    obeyed = lambda: sum(a.names is not None for a in server.answers)  # noqa: E731
    stage.processes.wait_until("pages are asked for by name", lambda: obeyed() >= 4, 60)

    def total() -> tuple[bool, object]:
        before, metrics, after = obeyed(), running.own_metrics(), obeyed()
        value = sum(v for (name, _), v in metrics.items() if name == PUSHED_TOTAL)
        # The page that is being read is not counted yet.
        return before - 1 <= value <= after, (before, value, after)

    stage.report.eventually(f"{PUSHED_TOTAL} counts the requests by name", "as many", 10, total)
    server.mode = fake.IGNORES


def check_nothing_lost(stage: Stage, name: str, server: FakeFlink, record: Record) -> None:
    """Every scrape has all series, all of one page, and tells how much of it came."""
    check_decoded(stage, record)
    ups = [sample for points in record.of(name="up").values() for sample in points]
    wrong = [sample.value for sample in ups if sample.value != 1]
    stage.report.that(f"each scrape is good ({name})", len(ups) >= 4 and not wrong, "4 or more", (len(ups), wrong))
    shown = {labels: points for labels, points in record.series.items() if not values.made(dict(labels)["__name__"])}
    lengths = {len(points) for points in shown.values()}
    ok = len(shown) > 300 and lengths == {len(ups)}
    expected = f"more than 300 series, {len(ups)} samples each"
    stage.report.that(f"no series misses one ({name})", ok, expected, (len(shown), lengths))
    pages: dict[int, set[int]] = {}
    for points in shown.values():
        for sample in points:
            pages.setdefault(sample.at_ms, set()).add(-1 if sample.is_stale else number_of(sample.value))
    mixed = {at: numbers for at, numbers in pages.items() if len(numbers) != 1 or -1 in numbers}
    stage.report.equal(f"the samples of a scrape are of one page ({name})", {}, mixed)
    scraped = {sample.at_ms: sample.value for points in record.of(name="scrape_samples_scraped").values() for sample in points}
    came = {at: float(len(server.answers[min(numbers) - 1].series())) for at, numbers in pages.items()}
    stage.report.equal(f"scrape_samples_scraped is what came ({name})", came, scraped)
