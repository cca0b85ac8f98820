"""Scaling a StatefulSet of relays as people do, by `kubectl scale`: 3 -> 5 -> 2 relays and 100 targets, while they scrape.

The chart is installed, and its relays run with the token of its ServiceAccount. Who scrapes what is seen from the targets; what
arrives, and whether any series was ended, from a VictoriaMetrics.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import receivers
import tools
from charts import Helm
from controller import StatefulSet, wait_ready
from net import fetch
from page import parse
from pages import Pages

NAMESPACE = "scaling"
NAME = "relay-flinkrelay"
TARGETS = 100
INTERVAL_S = 3
# Of a watch's word and of a machine with other work. Two intervals are what the sharding promises at most.
SLACK_S = 1.5
ROLE = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles/{NAME}"


def check(run) -> None:
    pages = Pages(TARGETS)
    receiver = receivers.victoria_metrics_today(run.processes, tools.cache())
    run.processes.wait_until("VictoriaMetrics answers", lambda: receivers.ready(receiver), 60)
    run.api.make_namespace(NAMESPACE)
    helm = Helm(run, tools.require(tools.HELM, tools.cache()))
    values = run.directory / "scaling-values.json"
    values.write_text(json.dumps(values_of(pages, receiver.write_url)))
    chart = run.root / "deploy/helm/flinkrelay"
    helm("install", "relay", chart, f"--namespace={NAMESPACE}", f"--values={values}")
    cluster = StatefulSet(run.api, run.processes, NAMESPACE, NAME, start=lambda *pod: relay_of(run, NAMESPACE, "statefulsets", *pod))
    try:
        _without_rights(run, cluster)
        moments = _scaled(run, cluster, pages)
        _without_api(run, cluster, pages)
        _stuck(run, cluster, pages)
        run.report.equal("nothing else went wrong on the way", [], cluster.broken)
        began = moments[0]
        longest = max(gaps(pages, began))
        limit = 2 * INTERVAL_S + SLACK_S
        run.report.that("no target was left alone for longer than two intervals", longest <= limit, f"{limit} s", longest)
        _arrived(run, cluster, receiver, began)
    finally:
        cluster.end()
        pages.close()
    helm("uninstall", "relay", f"--namespace={NAMESPACE}")


def values_of(pages: Pages, url: str) -> dict:
    job = {
        "job_name": "pages",
        # By which the pages know who asks.
        "params": {"relay": ["${POD_NAME}"]},
        "static_configs": [{"targets": pages.targets}],
    }
    queue = {"batch_send_deadline": "200ms"}
    return {
        "mode": "statefulset",
        "replicaCount": 3,
        "config": {
            "global": {"scrape_interval": f"{INTERVAL_S}s", "scrape_timeout": "2s"},
            "scrape_configs": [job],
            "remote_write": [{"url": url, "queue_config": queue}],
            "flink": {"rest": "off"},
        },
    }


def relay_of(run, namespace: str, kind: str, name: str, listen: str) -> tuple[list[str], dict[str, str]]:
    """The relay of a pod: the arguments of the chart with this machine's paths, its configuration, its account."""
    spec = run.api.request("GET", f"/apis/apps/v1/namespaces/{namespace}/{kind}/{NAME}")["spec"]
    pod = spec["template"]["spec"]
    maps = run.api.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/{NAME}")
    config = run.directory / f"{name}.yaml"
    config.write_text(maps["data"]["flinkrelay.yaml"])
    mine = {"--config": config, "--listen": listen, "--data-dir": run.directory / f"{name}-data"}
    arguments = []
    for argument in pod["containers"][0]["args"]:
        flag = argument.partition("=")[0]
        arguments.append(f"{flag}={mine[flag]}" if flag in mine else argument)
    token = run.api.token(namespace, pod["serviceAccountName"])
    kubeconfig = run.api.write_kubeconfig(name, token)
    env = {"POD_NAME": name, "POD_NAMESPACE": namespace, "KUBECONFIG": str(kubeconfig)}
    return [str(run.relay), *arguments], env


def _without_rights(run, cluster: StatefulSet) -> None:
    """The chart's rule is what the relays need, and no part of it is too much."""
    role = run.api.request("GET", ROLE)
    run.report.equal("the Role has one rule", 1, len(role["rules"]))
    for verb in role["rules"][0]["verbs"]:
        less = [other for other in role["rules"][0]["verbs"] if other != verb]
        run.api.request("PUT", ROLE, role | {"rules": [role["rules"][0] | {"verbs": less}], **_renewed(run)})
        said = lambda verb=verb: (f"cannot {verb} statefulsets" in cluster.log_of(0).read_text(), cluster.log_of(0))  # noqa: E731
        cluster.processes.wait_until("the first relay runs", lambda: bool(cluster.pods), 60)
        run.report.eventually(f"without `{verb}` the log tells", f"cannot {verb}", 60, said)
        if verb == "list":
            text = _not_ready(cluster)
            wanted = "has not said how many relays there are: cannot list statefulsets in namespace scaling"
            run.report.that("a relay that knows nothing is not ready, and says why", wanted in text, wanted, text)
            run.report.equal("and scrapes nothing", 0, metric(cluster, 0, "flinkrelay_target_scrapes_total"))
    run.api.request("PUT", ROLE, role | _renewed(run))
    wait_ready(cluster, 3, 120)


def _renewed(run) -> dict:
    """Metadata of the Role as it is now, without which the API takes no replacement."""
    return {"metadata": run.api.request("GET", ROLE)["metadata"]}


def _not_ready(cluster: StatefulSet) -> str:
    try:
        return fetch(f"http://{cluster.pods[0].listen}/-/ready").decode()
    except OSError as error:
        return str(error)


def _scaled(run, cluster: StatefulSet, pages: Pages) -> list[float]:
    """Returns when each number of relays had become the only one."""
    moments, before = [], None
    for count in (3, 5, 2):
        run.api.kubectl("scale", f"statefulset/{NAME}", f"--replicas={count}", f"--namespace={NAMESPACE}")
        wait_ready(cluster, count)
        owners = _exactly_one(run, cluster, pages, count)
        moments.append(time.time())
        if before:
            moved = sum(old != new for old, new in zip(before, owners, strict=True))
            many, few = max(count, len(set(before))), min(count, len(set(before)))
            fair = TARGETS * (many - few) / many
            name = f"{len(set(before))} -> {count}: only the targets move that must"
            run.report.that(name, abs(moved - fair) < 15, f"about {fair:.0f}", moved)
        before = owners
    return moments


def _exactly_one(run, cluster: StatefulSet, pages: Pages, count: int) -> list[str]:
    """All relays go by `count`, and for two rounds each target is scraped by one of them."""
    counts = lambda: [metric(cluster, n, "flinkrelay_shard_count") for n in range(count)]  # noqa: E731
    known = lambda: (set(counts()) == {count}, counts())  # noqa: E731
    run.report.eventually(f"all relays know that they are {count}", str(count), 40, known)
    # What is under way when a relay learns of it ends as it began.
    began = time.time() + 0.5
    time.sleep(0.5 + 2 * INTERVAL_S + SLACK_S)
    owners = pages.owners(began, time.time())
    wrong = {pages.targets[number]: who for number, who in enumerate(owners) if len(who) != 1}
    run.report.equal(f"{count} relays: each target is scraped by exactly one", {}, wrong)
    one = [min(who, default="nobody") for who in owners]
    names = {f"{NAME}-{number}" for number in range(count)}
    run.report.equal(f"{count} relays: each has its part", names, set(one))
    return one


def _without_api(run, cluster: StatefulSet, pages: Pages) -> None:
    """The relays go on without the API, and hear of what changed when it is back."""
    run.api.kill()
    began = time.time()
    time.sleep(2 * INTERVAL_S + SLACK_S)
    owners = pages.owners(began, time.time())
    run.report.equal("without the API each target is scraped", 0, sum(len(who) != 1 for who in owners))
    ready = [pod.listen for pod in cluster.pods if "is ready" not in fetch(f"http://{pod.listen}/-/ready").decode()]
    run.report.equal("and all relays are ready", [], ready)
    run.api.start()
    run.api.kubectl("scale", f"statefulset/{NAME}", "--replicas=3", f"--namespace={NAMESPACE}")
    wait_ready(cluster, 3, 120)
    _exactly_one(run, cluster, pages, 3)


def _stuck(run, cluster: StatefulSet, pages: Pages) -> None:
    """There is no node for the last of five: four share the targets. That the file is wrong meanwhile keeps none from its part."""
    config: Path = run.directory / f"{NAME}-0.yaml"
    good = config.read_text()
    config.write_text(good + "nonsense: 1\n")
    reloaded = lambda: metric(cluster, 0, "flinkrelay_config_last_reload_successful")  # noqa: E731
    run.report.eventually("a wrong file is refused", "0", 60, lambda: (reloaded() == 0, reloaded()))
    cluster.pending_from = 4
    run.api.kubectl("scale", f"statefulset/{NAME}", "--replicas=5", f"--namespace={NAMESPACE}")
    wait_ready(cluster, 4)
    _exactly_one(run, cluster, pages, 4)
    run.report.equal("the file is still refused", 0, reloaded())
    config.write_text(good)
    run.report.eventually("until it is right", "1", 60, lambda: (reloaded() == 1, reloaded()))


def gaps(pages: Pages, since: float) -> Iterator[float]:
    """The longest time between two scrapes, of each target."""
    for number in range(TARGETS):
        times = [fetched.at for fetched in pages.fetches[number] if fetched.at >= since]
        yield max((b - a for a, b in zip(times, times[1:], strict=False)), default=float("inf"))


def metric(cluster: StatefulSet, number: int, name: str) -> float:
    samples = parse(fetch(f"http://{cluster.pods[number].listen}/metrics").decode())
    return sum(value for (metric, _), value in samples.items() if metric == name)


def _arrived(run, cluster: StatefulSet, receiver, began: float) -> None:
    """What the receiver holds. At the end one target goes for good, so that a marker is seen where there is one."""
    gone = "127.0.1.1:"
    for pod in cluster.pods:
        config: Path = run.directory / f"{pod.name}.yaml"
        lines = config.read_text().splitlines(keepends=True)
        kept = [line for line in lines if gone not in line]
        run.report.equal(f"one target is taken out of {config.name}", 1, len(lines) - len(kept))
        config.write_text("".join(kept))
    ended = lambda: {instance for instance, _, values in exported(receiver, began) if None in values}  # noqa: E731
    run.report.eventually("its series have ended", gone, 60, lambda: (bool(ended()), ended()))
    others = sorted(instance for instance in ended() if not instance.startswith(gone))
    run.report.equal("and no other, of all that have moved", [], others)
    ups = [times for _, times, _ in exported(receiver, began, "up")]
    run.report.equal("every target has samples", TARGETS, len(ups))
    longest = max(b - a for times in ups for a, b in zip(times, times[1:], strict=False)) / 1000
    limit = 2 * INTERVAL_S + SLACK_S
    run.report.that("no series has a gap longer than two intervals", longest <= limit, f"{limit} s", longest)


def exported(receiver, began: float, name: str = "flink_.*|up") -> list[tuple[str, list[int], list]]:
    """Instance, times in ms and values of each stored series, with `None` for a staleness marker."""
    query = f"match[]={{__name__=~%22{name}%22,job=%22pages%22}}&start={began:.3f}&max_rows_per_line=1000000"
    fetch(f"{receiver.api.url}/internal/force_flush")
    text = fetch(f"{receiver.api.url}/api/v1/export?{query}").decode()
    found: dict[str, tuple[str, list[int], list]] = {}
    for line in text.splitlines():
        series = json.loads(line)
        key = json.dumps(series["metric"], sort_keys=True)
        entry = found.setdefault(key, (series["metric"]["instance"], [], []))
        entry[1].extend(series["timestamps"])
        entry[2].extend(series["values"])
    return list(found.values())

