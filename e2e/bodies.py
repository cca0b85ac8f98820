"""Bodies of remote write, decoded by three implementations, hold what was scraped and what real receivers store.

Two recorders get all that the receivers of the run get, one in 1.0 and one in 2.0. Beside them a relay of its own scrapes
synthetic processes of thousands of series that come, go and change places, and here every sample, label, time and marker is known.
VictoriaMetrics and Prometheus decode the same by Go.
"""

import threading
import time

import recorder
import relay
import values
from fake import FakeFlink
from page import Series
from receivers import Receiver
from recorder import Record, Recorder
from stage import INTERVAL_S, Stage
from wire import Labels, Sample

# How often the recorded job stands on a target's pages: 1,400 and 4,200 series.
COPIES = (1, 3)
MOVES_EVERY = 3
PAGES = 10

CONFIG = """\
global: {{scrape_interval: {interval}s, scrape_timeout: {interval}s}}
scrape_configs:
  - job_name: {job}
    static_configs: [{{targets: [{targets}]}}]
flink: {{names: raw, labels: raw, sentinels: keep, rest: off}}
remote_write:
"""


class Synthetic:
    """A relay of its own that scrapes processes whose pages are known."""

    def __init__(self, stage: Stage) -> None:
        self.servers = [FakeFlink(copies, MOVES_EVERY, seed) for seed, copies in enumerate(COPIES)]
        self.recorders = recorder.pair()
        targets = ", ".join(f'"{server.instance}"' for server in self.servers)
        text = CONFIG.format(interval=INTERVAL_S, job=relay.JOB, targets=targets)
        text += "".join(f'  - {{name: {kept.name}, url: "{kept.write_url}"}}\n' for kept in self.recorders)
        self._relay = relay.start_with(stage.binary, "bodies", text, stage.processes)
        # Its end would be a surprise to nobody.
        self._relay.process.wanted = False
        self._code: int | None = None
        # It plays beside other checks, and ends when there is enough to judge.
        self._playing = threading.Thread(target=self._play, daemon=True)
        self._playing.start()

    def _play(self) -> None:
        while self._relay.process.alive and any(len(server.answers) < PAGES for server in self.servers):
            time.sleep(0.2)
        self._code = self._relay.stop()

    def finish(self, stage: Stage) -> None:
        """Waits for the end, judges."""
        self._playing.join(PAGES * INTERVAL_S + 60)
        stage.report.equal("the relay of the synthetic pages stops", 0, self._code)
        for kept in self.recorders:
            self.judge(stage, kept)
        for part in (*self.servers, *self.recorders):
            part.close()

    def judge(self, stage: Stage, kept: Recorder) -> None:
        """Page by page: all of its samples and no other, and markers of what the page before had."""
        found = read(stage, kept)
        faults, pages, ended = [], 0, 0
        for server in self.servers:
            scrapes = scrapes_of(found, server.instance)
            before: set[Labels] = set()
            for number, (at, samples) in enumerate(sorted(scrapes.items())):
                if number >= len(server.answers):
                    faults.append(f"more scrapes than pages of {server.instance}")
                    break
                page = {stored(series, server.instance): value for series, value in server.answers[number].series().items()}
                arrived = {labels: sample.value for labels, sample in samples.items() if not sample.is_stale}
                markers = {labels for labels, sample in samples.items() if sample.is_stale}
                if arrived != page or markers != before - page.keys():
                    faults.append(fault(number, page, arrived, markers ^ (before - page.keys())))
                if abs(at / 1000 - server.answers[number].at) > INTERVAL_S:
                    faults.append(f"page {number + 1} of {server.instance} has the time {at}")
                before, pages, ended = set(page), pages + 1, ended + len(markers)
            if len(scrapes) < len(server.answers) - 1:
                faults.append(f"{len(scrapes)} scrapes of {len(server.answers)} pages of {server.instance}")
        enough = pages >= len(COPIES) * (PAGES - 1) and ended > 1000
        name = f"each page arrived as it was, sample by sample and marker by marker ({kept.name})"
        stage.report.that(name, enough and not faults, "all equal", f"{pages} pages, {ended} markers: {faults[:2]}")
        print(f"#    {pages} pages, {len(found.series)} series, {ended} markers", flush=True)


def scrapes_of(found: Record, instance: str) -> dict[int, dict[Labels, Sample]]:
    """The samples that stood on pages, by their times."""
    scrapes: dict[int, dict[Labels, Sample]] = {}
    for labels, points in found.series.items():
        has = dict(labels)
        if has["instance"] == instance and not values.made(has["__name__"]):
            for point in points:
                scrapes.setdefault(point.at_ms, {})[labels] = point
    return scrapes


def stored(series: Series, instance: str) -> Labels:
    """What a series of a page is called where names and labels stay raw."""
    name, labels = series
    return frozenset({("__name__", name), ("job", relay.JOB), ("instance", instance), *((n, v) for n, v in labels if v)})


def fault(number: int, page: dict[Labels, float], arrived: dict[Labels, float], markers: set[Labels]) -> str:
    """The first differences, for the person who has to find them."""
    missing = [sorted(labels) for labels in page.keys() - arrived.keys()]
    strange = [sorted(labels) for labels in arrived.keys() - page.keys()]
    other = [(page[labels], arrived[labels]) for labels in page.keys() & arrived.keys() if page[labels] != arrived[labels]]
    parts = {"missing": missing, "strange": strange, "other values": other, "markers": [sorted(m) for m in markers]}
    return f"page {number + 1}: " + "; ".join(f"{len(p)} {what}, as {p[:1]}" for what, p in parts.items() if p)


def read(stage: Stage, kept: Recorder) -> Record:
    """Decodes what a recorder has; the first checks are that this can be done."""
    began = time.monotonic()
    found = recorder.read(kept)
    name = f"libsnappy and the decoder of these tests read the same from each body ({kept.name})"
    stage.report.that(name, found.requests > 5 and not found.disagree, "no difference", (found.requests, found.disagree[:2]))
    stage.report.equal(f"no body was refused ({kept.name})", [], kept.refused[:3])
    versions = {body.is_v2 for body in kept.bodies}
    # Who finds out that 2.0 is not known has been answered with 415, which is not kept.
    stage.report.equal(f"each is of the message that it knows ({kept.name})", {kept.messages == "2.0"}, versions)
    late = found.out_of_order()
    stage.report.that(f"each series is in order, no sample twice ({kept.name})", not late, "no other", late[:2])
    size = sum(len(body.body) for body in kept.bodies)
    print(
        f"#    {found.requests} bodies, {found.samples} samples, {len(found.series)} series, "
        f"{size / max(1, found.samples):.1f} bytes a sample, decoded in {time.monotonic() - began:.1f} s",
        flush=True,
    )
    return found


def check_recorded(stage: Stage, since: float) -> None:
    """After the run: both recorders have the same, and it is what the receivers have stored since then."""
    library = recorder.Libsnappy.path()
    print(f"#    {library}", flush=True)
    first, second = (read(stage, kept) for kept in stage.recorders)
    check_equal(stage, first, second)
    # Of the seconds at both ends some may have arrived here and not there.
    span = (since + INTERVAL_S, time.time() - 2 * INTERVAL_S)
    for receiver in stage.receivers:
        check_stored(stage, receiver, first, span)
    ended = sum(sample.is_stale for points in first.series.values() for sample in points)
    stage.report.that("jobs ended and restarted in these bodies", ended > 1000, "more than 1,000 markers", ended)
    for kept, found in zip(stage.recorders, (first, second), strict=True):
        kinds = {about.kind for told in found.about.values() for about in told}
        helped = sum(bool(about.help) for told in found.about.values() for about in told)
        ok = {"counter", "gauge"} <= kinds and helped > 100
        stage.report.that(f"they tell what metrics are ({kept.name})", ok, "types and more than 100 texts", (kinds, helped))


def check_equal(stage: Stage, first: Record, second: Record) -> None:
    """1.0 and 2.0 say the same, to the bit; only 2.0 tells when counters began."""
    plain = lambda found: {has: [(p.at_ms, p.bits) for p in points] for has, points in found.series.items()}  # noqa: E731
    one, two = plain(first), plain(second)
    differ = [sorted(labels) for labels in one.keys() | two.keys() if one.get(labels) != two.get(labels)]
    stage.report.that("1.0 and 2.0 bring the same samples", not differ, "no difference", (len(differ), differ[:2]))
    starts = {how: sum(p.start_ms > 0 for points in r.series.values() for p in points) for how, r in (("1.0", first), ("2.0", second))}
    stage.report.that("starts of counters come by 2.0 alone", starts["1.0"] == 0 < starts["2.0"], "some, none in 1.0", starts)


def check_stored(stage: Stage, receiver: Receiver, found: Record, span: tuple[float, float]) -> None:
    """What a real receiver decoded by Go and stored is what stands in the bodies."""
    since, until = span
    differ, compared = [], 0
    instances = {dict(labels)["instance"] for labels in found.series}
    for instance in sorted(instances):
        held = receiver.api.raw(f'{{instance="{instance}"}}', since, until)
        for labels, points in found.of(instance=instance).items():
            sent = [p for p in points if since < p.at_ms / 1000 <= until and not p.is_stale]
            got = held.pop(labels, [])
            if not receiver.keeps_nan:
                # A marker is one of its own, and told as a NaN.
                sent = [p for p in sent if p.value == p.value]
                got = [(at, value) for at, value in got if value == value]
            compared += len(sent)
            if not equal(sent, got, receiver.rounding):
                differ.append(f"{sorted(labels)}: {len(sent)} sent, {len(got)} held")
        differ += [f"{sorted(labels)}: not sent" for labels, points in held.items() if points]
    name = f"it stores exactly what the bodies say ({receiver.name})"
    stage.report.that(name, compared > 10000 and not differ, "all equal", f"{compared} compared, {len(differ)} differ: {differ[:2]}")


def equal(sent: list[Sample], held: list[tuple[float, float]], rounding: float) -> bool:
    if [p.at_ms for p in sent] != [round(at * 1000) for at, _ in held]:
        return False
    pairs = ((p.value, value) for p, (_, value) in zip(sent, held, strict=True))
    return all(a == b or a != a and b != b or abs(a - b) <= rounding * abs(a) for a, b in pairs)
