"""Grafana's dashboards: current, about metrics that exist, and each panel complete."""

import json
import re

from boards.model import SCHEMA_VERSION, WIDTH, to_json
from boards.pages import ALL, page

from parts.base import Deploy


def check(deploy: Deploy) -> None:
    directory = deploy.deploy / "grafana" / "dashboards"
    chart = deploy.deploy / "helm" / "flinkrelay" / "files" / "dashboards"
    deploy.current("docs/dashboards.md is current", deploy.root / "docs" / "dashboards.md", page())
    names = set()
    for dashboard in ALL:
        name = dashboard.uid.removeprefix("flinkrelay-") + ".json"
        names.add(name)
        text = json.dumps(to_json(dashboard), indent=1, ensure_ascii=False) + "\n"
        deploy.current(f"{name} is current", directory / name, text)
        deploy.current(f"the chart has {name}", chart / name, text)
        deploy.report.equal(
            f"{name} is sound", [], faults(deploy, json.loads((directory / name).read_text()))
        )
    for place in (directory, chart):
        found = {path.name for path in place.iterdir()}
        deploy.report.equal(f"{place.relative_to(deploy.root)} holds nothing else", names, found)
    uids = {dashboard.uid for dashboard in ALL}
    deploy.report.equal("each dashboard has an id of its own", len(ALL), len(uids))


def faults(deploy: Deploy, dashboard: dict) -> list[str]:
    """What is wrong with a dashboard, in words."""
    wrong = []
    if dashboard["schemaVersion"] != SCHEMA_VERSION:
        wrong.append(f"schemaVersion {dashboard['schemaVersion']}")
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    known = variables | {"__rate_interval", "__range"}
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(set(ids)) != len(ids):
        wrong.append("two panels have one id")
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        if taken & cells or place["x"] + place["w"] > WIDTH:
            wrong.append(f"{panel['title']}: lies upon another one or leaves the page")
        taken |= cells
        if panel["type"] == "row":
            continue
        if not panel["description"].endswith("."):
            wrong.append(f"{panel['title']}: no description")
        if not panel["fieldConfig"]["defaults"]["unit"]:
            wrong.append(f"{panel['title']}: no unit")
        for target in panel["targets"]:
            expr = target["expr"]
            if target["legendFormat"] == "__auto":
                wrong.append(f"{panel['title']}: no legend")
            if unknown := deploy.unknown_metrics(expr):
                wrong.append(f"{panel['title']}: nothing is called {unknown}")
            if strange := set(re.findall(r"\$(\w+)", expr)) - known:
                wrong.append(f"{panel['title']}: no variable {sorted(strange)}")
            if "cluster=~" not in expr or "namespace=~" not in expr:
                wrong.append(f"{panel['title']}: not filtered by cluster and namespace")
    for variable in dashboard["templating"]["list"]:
        if unknown := deploy.unknown_metrics(str(variable["query"])):
            wrong.append(f"variable {variable['name']}: nothing is called {unknown}")
    return wrong
