"""The real receivers: VictoriaMetrics and Prometheus, as Debian ships them and as they are today."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tools
from net import answers, fetch
from page import parse
from procs import Process, Processes, free_port, require_command
from promql import Api

# How far back an instant query looks. Far longer than any run's interval: what has no staleness
# marker stays visible, so a series that is gone from an answer is gone because of its marker.
LOOKBACK = "5m"

# A Prometheus that scrapes nothing, not even itself: every sample it holds came by remote write.
NO_JOBS = "global: {}\n"

# Labels that Prometheus 3 makes of the metadata that remote write 2.0 brings with each series.
METADATA_LABELS = frozenset({"__type__", "__unit__"})


@dataclass
class Receiver:
    """A running receiver."""

    api: Api
    write_url: str
    process: Process
    # The receiver's own counter of samples it took in by remote write.
    ingested_metric: str
    # What answers when it takes requests.
    ready_path: str = "/-/ready"
    # The newest remote write that it knows.
    messages: str = "1.0"
    # Largest relative error of a stored value, and whether a NaN that is no marker is stored at all.
    rounding: float = 0
    keeps_nan: bool = True
    # Whether what it answered 2xx to is still there after a kill -9.
    survives_kill: bool = True
    # Where it writes ahead, uncompressed; None when nothing there can be read.
    log_directory: Path | None = None
    # Whether its /api/v1/metadata tells what came by remote write; Prometheus' tells of its own targets.
    tells_metadata: bool = False

    @property
    def name(self) -> str:
        return self.api.name

    def ingested(self) -> float:
        """How many samples the receiver itself says it has taken in."""
        name, _, label = self.ingested_metric.partition(" ")
        own = parse(fetch(f"{self.api.url}/metrics").decode())
        return sum(
            value
            for (metric, labels), value in own.items()
            if metric == name and (not label or label in {v for _, v in labels})
        )


Start = Callable[[Processes, Path], Receiver]


def ready(receiver: Receiver) -> bool:
    """Whether it takes requests."""
    return answers(receiver.api.url + receiver.ready_path)


def victoria_metrics(processes: Processes, _cache: Path) -> Receiver:
    """As Debian ships it, years old."""
    command = require_command("victoria-metrics", ["victoria-metrics"])
    return _victoria_metrics(processes, "victoriametrics", command)


def victoria_metrics_today(
    processes: Processes, cache: Path, name: str = "victoriametrics-today"
) -> Receiver:
    """As it is today."""
    command = tools.require(tools.VICTORIA_METRICS, cache)
    receiver = _victoria_metrics(processes, name, command)
    receiver.tells_metadata = True
    return receiver


def prometheus(processes: Processes, _cache: Path) -> Receiver:
    """2.42, as Debian ships it: it knows remote write 1.0 only, and takes whatever comes for that."""
    return _prometheus(processes, "prometheus", require_command("prometheus", ["prometheus"]))


def prometheus_3(processes: Processes, cache: Path, config: str = NO_JOBS) -> Receiver:
    """As it is today, with remote write 2.0."""
    features = "--enable-feature=metadata-wal-records,type-and-unit-labels"
    command = tools.require(tools.PROMETHEUS_3, cache)
    options = [features, "--no-storage.tsdb.wal-compression"]
    receiver = _prometheus(processes, "prometheus3", command, *options, text=config)
    receiver.messages = "2.0"
    receiver.api = Api("prometheus3", receiver.api.url, hidden=METADATA_LABELS)
    receiver.log_directory = processes.directory / "prometheus3" / "wal"
    return receiver


def start(processes: Processes, cache: Path, *which: Start) -> list[Receiver]:
    """Starts them; use `ready` to learn when they answer."""
    return [start_one(processes, cache) for start_one in which]


def _victoria_metrics(processes: Processes, name: str, command: str) -> Receiver:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = processes.start(
        name,
        [
            command,
            f"-httpListenAddr=127.0.0.1:{port}",
            f"-storageDataPath={processes.directory / name}",
            "-retentionPeriod=1d",
            "-memory.allowedBytes=256MiB",
            # By default the newest 30 s are hidden from queries, and a series without new samples
            # vanishes after about two of its intervals, marker or not.
            "-search.latencyOffset=0s",
            "-search.disableCache",
            f"-search.maxStalenessInterval={LOOKBACK}",
            f"-search.minStalenessInterval={LOOKBACK}",
        ],
    )
    return Receiver(
        Api(name, url),
        f"{url}/api/v1/write",
        process,
        ingested_metric="vm_rows_inserted_total promremotewrite",
        ready_path="/health",
        # It stores decimal numbers of about twelve digits, which know no NaN.
        rounding=1e-11,
        keeps_nan=False,
        # Up to five seconds of samples are in its memory alone.
        survives_kill=False,
    )


def _prometheus(
    processes: Processes, name: str, command: str, *options: str, text: str = NO_JOBS
) -> Receiver:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    config = processes.directory / f"{name}.yml"
    config.write_text(text)
    process = processes.start(
        name,
        [
            command,
            f"--config.file={config}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--storage.tsdb.path={processes.directory / name}",
            f"--query.lookback-delta={LOOKBACK}",
            "--web.enable-remote-write-receiver",
            *options,
        ],
    )
    return Receiver(
        Api(name, url),
        f"{url}/api/v1/write",
        process,
        ingested_metric="prometheus_tsdb_head_samples_appended_total",
    )
