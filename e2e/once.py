"""The one-shot scrape against the real cluster, plain and compressed."""

import json
import subprocess

from cluster import METRICS_PORTS
from page import poll
from stage import HTML_PORT, JM, SILENT_PORT, Stage

CONFIG = """\
scrape_configs:
  - job_name: once
    compression: {compression}
    static_configs:
      - targets: ["127.0.0.1:{first}-{last}"]
flink: {{rest: off}}
"""


def check_scrape_once(stage: Stage) -> None:
    found = {how: scrape(stage, how) for how in ("identity", "gzip")}
    for how, (code, document) in found.items():
        stage.report.equal(f"scrape exits with 0 ({how})", 0, code)
        roles = {name: "jobmanager" if name == JM else "taskmanager" for name in stage.instances}
        expected = {stage.instances[name]: (role, True) for name, role in roles.items()}
        got = {t["labels"]["instance"]: (t["role"], t["up"]) for t in document["targets"]}
        stage.report.equal(f"scrape finds each process and its role ({how})", expected, got)
        ignored = document["ranges"][0]["ignored"]
        name = f"scrape says what it ignores in the range ({how})"
        stage.report.equal(name, {str(SILENT_PORT), str(HTML_PORT)}, set(ignored))
        jobmanager = stage.instances[JM]
        got = {t["labels"]["instance"]: t["samples_scraped"] for t in document["targets"]}[jobmanager]
        name = f"scrape counts the samples of the JobManager's page ({how})"
        stage.report.equal(name, len(poll(jobmanager).samples), got)
    identity, gzip = (series(document) for _, document in found.values())
    share = len(identity & gzip) / max(1, len(identity | gzip))
    # Jobs register metrics while they run, so the two moments may differ by a few series.
    stage.report.that("a compressed page has the same series", share > 0.98, "> 98 %", f"{share:.2%}")


def scrape(stage: Stage, compression: str) -> tuple[int, dict]:
    first, last = METRICS_PORTS[0], METRICS_PORTS[-1]
    text = CONFIG.format(compression=compression, first=first, last=last)
    return scrape_with(stage, f"once-{compression}", text)


def scrape_with(stage: Stage, name: str, text: str) -> tuple[int, dict]:
    config = stage.processes.directory / f"{name}.yaml"
    config.write_text(text)
    argv = [str(stage.binary), "scrape", "-c", str(config), "-o", "json", "--log-level", "error"]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout or b'{"targets": [], "ranges": [{"ignored": {}}]}')


def series(document: dict) -> set:
    return {
        (found["name"], frozenset(found["labels"].items()))
        for target in document["targets"]
        for found in target["series"]
    }
