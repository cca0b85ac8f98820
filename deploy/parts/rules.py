"""Alerts and recording rules: valid for Prometheus and vmalert, tested, explained, about metrics that exist."""

import re
import shutil

import tools

from parts.base import Deploy


def check(deploy: Deploy) -> None:
    directory = deploy.deploy / "alerts"
    files = sorted(directory.glob("*.yaml"))
    tests = sorted((directory / "tests").glob("*.yaml"))
    # Prometheus of today, and the one that Debian ships, years older, where it is installed.
    promtools = {"promtool 3": deploy.tool(tools.PROMTOOL)}
    if debian := shutil.which("promtool"):
        promtools["Debian's promtool"] = debian
    for name, promtool in promtools.items():
        deploy.succeeds(f"{name} takes the rules", promtool, "check", "rules", *files)
        deploy.succeeds(f"{name} passes their tests", promtool, "test", "rules", *tests)
    deploy.succeeds(
        "vmalert takes the rules", deploy.tool(tools.VMALERT), "-dryRun", *(f"-rule={file}" for file in files)
    )
    rules = [
        rule
        for file in files
        for document in deploy.documents(file.read_text())
        for group in document["groups"]
        for rule in group["rules"]
    ]
    alerts = {rule["alert"]: rule for rule in rules if "alert" in rule}
    _tested(deploy, alerts, tests)
    _explained(deploy, alerts)
    unknown = {
        rule.get("alert") or rule["record"]: names
        for rule in rules
        if (names := deploy.unknown_metrics(rule["expr"]))
    }
    deploy.report.equal("rules name metrics that exist", {}, unknown)
    chart = deploy.deploy / "helm" / "flinkrelay" / "files" / "alerts"
    for file in files:
        deploy.current(f"the chart has {file.name}", chart / file.name, file.read_text())


def _tested(deploy: Deploy, alerts: dict, tests: list) -> None:
    cases: dict[str, set[bool]] = {}
    for file in tests:
        for document in deploy.documents(file.read_text()):
            for test in document["tests"]:
                for case in test["alert_rule_test"]:
                    cases.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    expected = {name: {True, False} for name in alerts}
    deploy.report.equal("each alert is tested firing and quiet", expected, cases)


def _explained(deploy: Deploy, alerts: dict) -> None:
    text = (deploy.root / "docs" / "runbooks.md").read_text()
    sections = set(re.findall(r"^### (\w+)$", text, re.M))
    deploy.report.equal("each alert has a runbook, and each runbook an alert", set(alerts), sections)
    wrong = []
    for name, alert in alerts.items():
        annotations = alert["annotations"]
        if set(annotations) != {"summary", "description", "runbook_url"}:
            wrong.append(f"{name}: annotations {sorted(annotations)}")
        if annotations.get("runbook_url") != f"docs/runbooks.md#{name.lower()}":
            wrong.append(f"{name}: {annotations.get('runbook_url')}")
        if alert["labels"].get("severity") not in ("critical", "warning"):
            wrong.append(f"{name}: severity {alert['labels']}")
    deploy.report.equal("each alert has a severity, texts and the address of its runbook", [], wrong)
