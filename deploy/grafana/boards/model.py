"""Dashboards as data, and Grafana's JSON of them.

A dashboard is rows of panels, a panel is a few queries with a unit and a text that says what it shows. Everything
else (ids, places, colours, tooltips) follows from these here, so that all dashboards look and behave alike.
"""

from collections.abc import Iterator
from dataclasses import dataclass

# The JSON model's version as Grafana 12.0 writes it. Newer ones migrate it; older ones, from 9 on, read what they know.
SCHEMA_VERSION = 41
WIDTH = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# What most queries are filtered by. An absent label matches `.*`, so a database without `cluster` or `namespace` works.
SITE = 'cluster=~"$cluster",namespace=~"$namespace"'
JOB = SITE + ',job_name=~"$job"'
TASK = JOB + ',task_name=~"$task"'
PROCESS = SITE + ',instance=~"$instance"'


@dataclass(frozen=True)
class Query:
    """An expression, and how its series are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel. `what` is its description in Grafana and in docs/dashboards.md."""

    title: str
    what: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    # Whether Flink 1.13 and 1.14 have it, too: it must show data there.
    core: bool = True
    # What has to be switched on in Flink or in a connector.
    needs: str = ""
    # Why a healthy cluster may show nothing here; without a reason an empty panel is a failure of the end-to-end test.
    may_be_empty: str = ""
    # (value, colour) from which on a value has that colour; the first is the base.
    thresholds: tuple[tuple[float | None, str], ...] = ((None, "green"),)
    stack: bool = False
    minimum: float | None = 0
    maximum: float | None = None


@dataclass(frozen=True)
class Row:
    """A heading and the panels below it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A choice above the dashboard: the values of `label` on the series of `selector`."""

    name: str
    label: str
    of: str
    selector: str
    what: str


@dataclass(frozen=True)
class Dashboard:
    """One file."""

    uid: str
    title: str
    what: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    tags: tuple[str, ...] = ("flink", "flinkrelay")
    refresh: str = "30s"

    def panels(self) -> Iterator[Panel]:
        for row in self.rows:
            yield from row.panels


CLUSTER = Variable(
    "cluster",
    "Cluster",
    "cluster",
    "flink_jobmanager_Status_JVM_CPU_Time",
    "External label `cluster` of the relay.",
)
NAMESPACE = Variable(
    "namespace",
    "Namespace",
    "namespace",
    'flink_jobmanager_Status_JVM_CPU_Time{cluster=~"$cluster"}',
    "Label `namespace` of the targets.",
)
FLINK_JOB = Variable(
    "job", "Flink job", "job_name", f"flink_jobmanager_job_numRestarts{{{SITE}}}", "Name of the Flink job."
)
FLINK_TASK = Variable(
    "task",
    "Task",
    "task_name",
    f"flink_taskmanager_job_task_numRecordsIn{{{JOB}}}",
    "Task: a vertex of the job graph, with all operators that are chained in it.",
)
INSTANCE = Variable(
    "instance",
    "Instance",
    "instance",
    f'{{__name__=~"flink_(jobmanager|taskmanager)_Status_JVM_CPU_Load",{SITE}}}',
    "`host:port` of the JobManager or TaskManager.",
)


def q(expr: str, legend: str = "") -> Query:
    """A query; line breaks in the source are for its reader only."""
    return Query(" ".join(expr.split()), legend)


def both(expr: str, legend: str) -> tuple[Query, ...]:
    """A query over JobManagers and TaskManagers: `{}` stands for the scope in a metric's name."""
    legends = {"jobmanager": "JobManager ", "taskmanager": "{{tm_id}} "}
    # Not by `replace`: the label matchers have braces, too.
    return tuple(q(expr.replace("{}", scope), (start + legend).strip()) for scope, start in legends.items())


def to_json(dashboard: Dashboard) -> dict:
    """Grafana's JSON."""
    panels: list[dict] = []
    y = 0
    for row in dashboard.rows:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
                "panels": [],
            }
        )
        y += 1
        x = height = 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, height = 0, y + height, 0
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            panels.append(_panel(panel, len(panels) + 1, place))
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.what,
        "tags": list(dashboard.tags),
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "refresh": dashboard.refresh,
        "annotations": {"list": [_restarts()] if FLINK_JOB in dashboard.variables else []},
        "links": [_links()],
        "templating": {"list": [_datasource(), *(_variable(v) for v in dashboard.variables)]},
        "panels": panels,
    }


def _panel(panel: Panel, number: int, place: dict) -> dict:
    targets = [
        {
            "refId": chr(ord("A") + i),
            "datasource": DATASOURCE,
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            # Stats and tables show now; graphs the way to it.
            "instant": panel.kind == "table",
            "range": panel.kind != "table",
            **({"format": "table"} if panel.kind == "table" else {}),
        }
        for i, query in enumerate(panel.queries)
    ]
    defaults: dict = {
        "unit": panel.unit,
        "color": {"mode": "thresholds" if panel.kind == "stat" else "palette-classic"},
        "thresholds": {
            "mode": "absolute",
            "steps": [{"value": value, "color": colour} for value, colour in panel.thresholds],
        },
        "custom": {},
    }
    if panel.minimum is not None:
        defaults["min"] = panel.minimum
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 20 if panel.stack else 5,
            "showPoints": "never",
            # A gap is a gap: the relay ends series on purpose.
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stack else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if len(panel.thresholds) > 1 else "off"},
        }
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": description(panel),
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel),
        "targets": targets,
        **({"transformations": _columns(panel)} if panel.kind == "table" else {}),
    }


def description(panel: Panel) -> str:
    """Its text with what it needs."""
    return panel.what + (f" Needs {panel.needs}." if panel.needs else "")


def _options(panel: Panel) -> dict:
    if panel.kind == "stat":
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value",
            "graphMode": "area",
            "textMode": "auto",
            "justifyMode": "auto",
            "orientation": "auto",
        }
    if panel.kind == "table":
        return {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}}
    return {
        "legend": {
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
            "calcs": ["lastNotNull", "max"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def _columns(panel: Panel) -> list[dict]:
    """Joins the queries of a table by their labels; each query's value is a column named by its legend."""
    names = {f"Value #{chr(ord('A') + i)}": query.legend for i, query in enumerate(panel.queries)}
    # Grafana numbers the columns of several queries only.
    if len(panel.queries) == 1:
        names = {"Value": panel.queries[0].legend}
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": names}},
    ]


def _datasource() -> dict:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
        "refresh": 1,
    }


def _variable(variable: Variable) -> dict:
    query = f"label_values({variable.selector}, {variable.of})"
    return {
        "name": variable.name,
        "label": variable.label,
        "description": variable.what,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": variable.name, "qryType": 1},
        "definition": query,
        # At each change of the time range: jobs come and go.
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }


def _restarts() -> dict:
    return {
        "name": "Restarts",
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": f"max by (job_name) (increase(flink_jobmanager_job_restarts_total{{{JOB}}}[$__rate_interval])) > 0",
        "titleFormat": "{{job_name}} restarts",
        "step": "",
    }


def _links() -> dict:
    return {
        "title": "Flink",
        "type": "dashboards",
        "tags": ["flinkrelay"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }
