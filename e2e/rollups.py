"""Roll-ups against PromQL's aggregations over the raw series, by a receiver that holds both.

Two more relays scrape the cluster, one with roll-ups within each target and one across them, and push
into a receiver of their own.
"""

import json
import math
import re
import time
from collections import defaultdict

import receivers
import relay
from cluster import METRICS_PORTS
from procs import free_port
from promql import Api, Labels
from receivers import Receiver
from stage import TM1, TM2, Stage

INTERVAL_S = 5
# Intervals in which each way of rolling up is looked at.
ROUNDS = 3
KINDS = ("within", "across")

CONFIG = """\
global:
  scrape_interval: {interval}s
  external_labels: {{kind: {kind}}}
scrape_configs:
  - job_name: {kind}
    probe_interval: 1s
    static_configs:
      - targets: ["127.0.0.1:{first}-{last}"]
flink:
  rollups: {{level: task, keep_raw: true, across_targets: {across}}}
remote_write:
  - url: {url}
"""

# What the relay makes of a metric's series, in the words of PromQL; `{raw}` is the selector of those.
FUNCTIONS = {
    "sum": "sum by ({by}) ({raw})",
    "avg": "avg by ({by}) ({raw})",
    "min": "min by ({by}) ({raw})",
    "max": "max by ({by}) ({raw})",
    "skew": "max by ({by}) ({raw}) / (avg by ({by}) ({raw}) > 0)",
}
# A sum in another order of its parts.
TOLERANCE = 1e-9


def check_rollups(stage: Stage) -> None:
    """Each roll-up of the real cluster is what PromQL makes of the raw series of the same scrapes."""
    receiver = receivers.victoria_metrics_today(stage.processes, stage.cache, "victoriametrics-rollups")
    wait_until = stage.processes.wait_until
    wait_until(f"{receiver.name} is ready", lambda: receivers.ready(receiver), 30)
    relays = [start(stage, kind, receiver) for kind in KINDS]
    for kind, one in zip(KINDS, relays, strict=True):
        wait_until(f"the relay of roll-ups {kind} targets is ready", one.ready, 30)
    check_within(stage, receiver.api)
    check_across(stage, receiver.api, relays[-1])
    for one in relays:
        stage.report.equal("a relay of roll-ups stops", 0, one.process.stop())


def start(stage: Stage, kind: str, receiver: Receiver) -> relay.Relay:
    config = stage.processes.directory / f"rollups-{kind}.yaml"
    first, last = METRICS_PORTS[0], METRICS_PORTS[-1]
    across = json.dumps(kind == "across")
    text = CONFIG.format(
        interval=INTERVAL_S, kind=kind, first=first, last=last, across=across, url=receiver.write_url
    )
    config.write_text(text)
    listen = f"127.0.0.1:{free_port()}"
    argv = [str(stage.binary), "run", "-c", str(config), "--listen", listen]
    return relay.Relay(stage.processes.start(f"relay-{kind}", argv), listen)


def check_within(stage: Stage, api: Api) -> None:
    """Roll-ups of one target have the time of its scrape, as its raw series have."""
    for name in (TM1, TM2):
        at_least = '{kind="within",instance="' + stage.instances[name] + '"}'
        stage.processes.wait_until(
            f"two scrapes of {name}", lambda s=at_least: len(one_series(api, f"up{s}")) >= 2, 60
        )
        at, _ = one_series(api, f"up{at_least}")[-1]
        compare(stage, api, f"within {name}", at_least, at, "")


def check_across(stage: Stage, api: Api, relay_: relay.Relay) -> None:
    """Roll-ups of all targets have the end of an interval, in which each target was scraped once."""
    seen = list[str]()
    deadline = time.monotonic() + 12 * INTERVAL_S
    rounds = 0
    name = '{__name__=~"flink_.+:task_sum",kind="across"}'
    before = time.time()
    while rounds < ROUNDS and time.monotonic() < deadline:
        time.sleep(INTERVAL_S)
        ends = {at for samples in api.raw(name, before, time.time()).values() for at, _ in samples}
        # The newest may still be on its way.
        for at in sorted(ends)[:-1]:
            before = at
            window = api.raw('up{kind="across"}', at - INTERVAL_S, at)
            good = [series for series in window.values() if [value for _, value in series] == [1.0]]
            if len(good) != len(stage.instances):
                seen.append(f"{at}: {len(good)} targets")
                continue
            rounds += 1
            compare(stage, api, f"across targets, interval {rounds}", '{kind="across"}', at, f"[{INTERVAL_S}s]")
    stage.report.that("intervals with a page of each target", rounds >= ROUNDS, f"{ROUNDS}", seen)
    told = relay_.own_metrics().get(("flinkrelay_rollup_targets", frozenset({("job", "across")})))
    stage.report.equal("the relay tells how many targets are in it", len(stage.instances), told)


def one_series(api: Api, selector: str) -> list[tuple[float, float]]:
    now = time.time()
    found = list(api.raw(selector, now - 60, now).values())
    return found[0] if found else []


def compare(stage: Stage, api: Api, what: str, selector: str, at: float, window: str) -> None:
    """Every roll-up that the receiver has at this time, by PromQL."""
    at_once = '{__name__=~"flink_.+:task_.+",' + selector[1:]
    found = defaultdict(dict[Labels, float])
    for series, samples in api.raw(at_once, at - 0.001, at).items():
        labels = dict(series)
        name = labels.pop("__name__")
        found[name][frozenset(labels.items())] = samples[-1][1]
    # In the interval in which a job ends PromQL still sees the sample before its marker.
    ended = {id_ for id_ in stage.jobs.values() if stage.cluster.job_state(id_) != "RUNNING"}
    goes_on = lambda labels: dict(labels).get("job_id") not in ended  # noqa: E731
    wrong, compared, functions = [], 0, set()
    for name, rolled in found.items():
        metric, function = re.fullmatch(r"(.+):task_(\w+)", name).groups()
        functions.add(function)
        by = sorted({label for labels in rolled for label, _ in labels})
        raw = f"{metric}{selector}"
        raw = f"last_over_time({raw}{window})" if window else raw
        expression = FUNCTIONS[function].format(by=",".join(by), raw=raw)
        expected = api.instant(expression, at)
        for labels, value in rolled.items():
            if not goes_on(labels):
                continue
            other = expected.get(labels, math.nan)
            # A marker, which the receiver exports as NaN: a skew ends where the mean is zero, and PromQL has none either.
            if math.isnan(value) and math.isnan(other):
                continue
            compared += 1
            if not math.isclose(value, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
                wrong.append(f"{name} {sorted(labels)}: {value}, PromQL {other}")
        missing = {ls for ls, value in expected.items() if not math.isnan(value) and goes_on(ls)} - rolled.keys()
        wrong += [f"{name} {sorted(labels)}: only by PromQL" for labels in missing]
    stage.report.equal(f"roll-ups are PromQL's aggregations ({what})", [], wrong[:5])
    many = compared >= 100 and functions >= {"sum", "avg", "max", "min", "skew"}
    stage.report.that(f"there are many of them ({what})", many, "100 of five functions", (compared, functions))
