"""Every query of the dashboards and rules, asked of databases that a real Flink has filled.

A relay of its own writes into receivers of its own, as a person would set it up: nothing filtered, its own page among
the targets, a data directory. Prometheus evaluates the rules itself. An empty panel fails, unless the dashboard says
why it may be empty; an alert may be silent, but the series that it looks at must be there.
"""

import json
import math
import sys
import time
from pathlib import Path

import receivers
from cluster import METRICS_PORTS
from net import answers, fetch
from procs import Processes, free_port
from promql import Api
from receivers import Receiver
from stage import Stage

_DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
sys.path.insert(0, str(_DEPLOY / "grafana"))

from boards.model import Dashboard  # noqa: E402
from boards.pages import ALL, metrics  # noqa: E402

RULES = sorted((_DEPLOY / "alerts").glob("*.yaml"))

# What a rule looks at and a healthy cluster does not have.
ABSENT = {
    "flinkrelay_scrape_failure": "every page is scraped",
    "flinkrelay_remote_write_samples_dropped_total": "nothing is dropped",
    "flinkrelay_budget_job_level": "no budget is set",
    "flinkrelay_budget_jobs_short": "no budget is set",
}

_WINDOW = "30s"
_SCRAPES = 12

_CONFIG = """\
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  external_labels: {{cluster: e2e}}
scrape_configs:
  - job_name: flink
    probe_interval: 2s
    static_configs:
      - targets: ["127.0.0.1:{first}-{last}"]
        labels: {{namespace: e2e}}
  - job_name: flinkrelay
    static_configs:
      - targets: ["{listen}"]
        labels: {{namespace: e2e}}
remote_write:
"""


def check_queries(stage: Stage) -> None:
    """Plays with receivers and a relay of its own, and stops them."""
    processes = Processes(stage.processes.directory / "queries")
    processes.directory.mkdir()
    try:
        rules = "\n".join(f"  - {path}" for path in RULES)
        config = f"global: {{evaluation_interval: 1s}}\nrule_files:\n{rules}\n"
        to = [
            receivers.victoria_metrics_today(processes, stage.cache),
            receivers.prometheus_3(processes, stage.cache, config),
        ]
        for receiver in to:
            processes.wait_until(f"{receiver.name} is ready", lambda r=receiver: receivers.ready(r), 60)
        _start_relay(stage.binary, to, processes)
        for receiver in to:
            processes.wait_until(f"{receiver.name} holds enough", lambda r=receiver: _enough(r.api), 90)
        for receiver in to:
            check_panels(stage, receiver.api)
        check_rules(stage, to)
    finally:
        processes.stop_all()


def check_panels(stage: Stage, api: Api) -> None:
    """One check for each dashboard: the panels without data."""
    old = _version(stage.version) < (2, 1)
    for dashboard in ALL:
        empty = []
        for panel in dashboard.panels():
            # Each query is asked, so that each one must be valid; one of them with data fills the panel.
            filled = [_filled(api, substituted(query.expr)) for query in panel.queries]
            if not any(filled) and not panel.may_be_empty and (panel.core or not old):
                empty.append(panel.title)
            if any("vector(0)" in query.expr for query in panel.queries):
                empty += [f"{panel.title}: {name}" for name in _missing(api, panel.queries[0].expr)]
        report = stage.report
        report.equal(f"no panel of {dashboard.title!r} is empty ({api.name})", [], empty)
        report.equal(
            f"each variable of {dashboard.title!r} has values ({api.name})", [], _valueless(api, dashboard)
        )


def check_rules(stage: Stage, to: list[Receiver]) -> None:
    """Prometheus has evaluated them without an error, VictoriaMetrics takes them, and what they ask for is there."""
    prometheus = next(receiver.api for receiver in to if receiver.name.startswith("prometheus"))
    groups = json.loads(fetch(f"{prometheus.url}/api/v1/rules"))["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    sick = {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"}
    stage.report.equal("Prometheus evaluates every rule", {}, sick)
    kinds = {rule["type"] for rule in rules}
    stage.report.equal("there are rules of both kinds", {"alerting", "recording"}, kinds)
    for receiver in to:
        api, missing, silent = receiver.api, {}, []
        for rule in rules:
            filled = _filled(api, rule["query"])
            if rule["type"] == "recording":
                if not filled:
                    silent.append(rule["name"])
            elif names := _missing(api, rule["query"]):
                missing[rule["name"]] = names
        stage.report.equal(f"every recording rule yields series ({api.name})", [], silent)
        stage.report.equal(f"what alerts look at is there ({api.name})", {}, missing)
    recorded = {rule["name"] for rule in rules if rule["type"] == "recording"}
    got = {name for name in recorded if _filled(prometheus, name)}
    stage.report.equal("what is recorded can be asked for", recorded, got)


def substituted(expr: str) -> str:
    """A panel's expression with Grafana's variables filled in, all values chosen."""
    expr = expr.replace("$__rate_interval", _WINDOW).replace("$__range", "1m")
    for dashboard in ALL:
        for variable in dashboard.variables:
            expr = expr.replace(f'"${variable.name}"', '".*"')
    if "$" in expr:
        raise ValueError(f"a variable that no dashboard has: {expr}")
    return expr


def _valueless(api: Api, dashboard: Dashboard) -> list[str]:
    found = []
    for variable in dashboard.variables:
        answer = api.instant(f"count by ({variable.of}) ({substituted(variable.selector)})")
        if not any(dict(labels).get(variable.of) for labels in answer):
            found.append(variable.name)
    return found


def _filled(api: Api, expr: str) -> bool:
    """Whether it yields a number; NaN draws nothing."""
    return any(not math.isnan(value) for value in api.instant(expr).values())


def _missing(api: Api, expr: str) -> list[str]:
    """The metrics of an expression without a series."""
    return sorted(name for name in metrics(expr) if name not in ABSENT and not api.instant(f"count({name})"))


def _start_relay(binary: Path, to: list[Receiver], processes: Processes) -> None:
    listen = f"127.0.0.1:{free_port()}"
    text = _CONFIG.format(first=METRICS_PORTS[0], last=METRICS_PORTS[-1], listen=listen)
    text += "".join(f"  - name: {receiver.name}\n    url: {receiver.write_url}\n" for receiver in to)
    config = processes.directory / "relay.yaml"
    config.write_text(text)
    argv = [str(binary), "run", "-c", str(config), "--listen", listen]
    processes.start("relay", [*argv, "--data-dir", str(processes.directory / "spool")])
    processes.wait_until("the relay is ready", lambda: answers(f"http://{listen}/-/ready"), 30)


def _enough(api: Api) -> bool:
    """Whether rates can be computed, of Flink's metrics and of the relay's."""
    now = time.time()
    for metric in ("flink_taskmanager_Status_JVM_CPU_Load", "flinkrelay_remote_write_samples_total"):
        counts = api.instant(f"count_over_time({metric}[{_WINDOW}])", now).values()
        if not counts or min(counts) < _SCRAPES:
            return False
    return True


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])
