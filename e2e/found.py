"""The processes of the real cluster, found by its REST API: by probing the range, and by their logs."""

import once
from cluster import METRICS_PORTS, REST_PORT
from stage import JM, Stage

CONFIG = """\
scrape_configs:
  - job_name: found
    flink_sd_configs: [{{source: rest, url: "http://127.0.0.1:{rest}", ports: {ports}}}]
    relabel_configs: [{{source_labels: [__meta_flink_tm_id], target_label: found_as}}]
flink: {{rest: off}}
"""


def check_found(stage: Stage) -> None:
    roles = {name: "jobmanager" if name == JM else "taskmanager" for name in stage.instances}
    expected = {stage.instances[name]: (role, True) for name, role in roles.items()}
    for how, ports in (("range", f"{METRICS_PORTS[0]}-{METRICS_PORTS[-1]}"), ("logs", "logs")):
        text = CONFIG.format(rest=REST_PORT, ports=ports)
        code, document = once.scrape_with(stage, f"found-{how}", text)
        stage.report.equal(f"what REST names is found ({how})", 0, code)
        got = {t["labels"]["instance"]: (t["role"], t["up"]) for t in document["targets"]}
        stage.report.equal(f"each process is found by REST, and no other ({how})", expected, got)
        if how == "logs":
            named = {_name(t["labels"].get("found_as")): t["labels"]["instance"] for t in document["targets"]}
            name = "a log's port belongs to the process whose log it is"
            stage.report.equal(name, stage.instances, named)


def _name(found_as: str | None) -> str:
    return f"taskmanager-{found_as[-1]}" if found_as else JM
