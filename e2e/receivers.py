"""The two real receivers: VictoriaMetrics and Prometheus, as Debian ships them."""

from dataclasses import dataclass
from pathlib import Path

from net import answers, fetch
from page import parse
from procs import Process, Processes, require_command
from promql import Api

VICTORIA_METRICS_PORT = 18428
PROMETHEUS_PORT = 19090

# How far back an instant query looks. Far longer than any run's interval: what has no staleness
# marker stays visible, so a series that is gone from an answer is gone because of its marker.
LOOKBACK = "5m"


@dataclass
class Receiver:
    """A running receiver."""

    api: Api
    write_url: str
    process: Process
    # The receiver's own counter of samples it took in by remote write.
    ingested_metric: str
    # Largest relative error of a stored value, and whether a NaN that is no marker is stored at all.
    rounding: float = 0
    keeps_nan: bool = True

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


def start(processes: Processes, directory: Path) -> list[Receiver]:
    """Starts both; use `ready` to learn when they answer."""
    return [_victoria_metrics(processes, directory), _prometheus(processes, directory)]


def ready(receiver: Receiver) -> bool:
    """Whether it takes requests."""
    path = "/-/ready" if receiver.name == "prometheus" else "/health"
    return answers(receiver.api.url + path)


def _victoria_metrics(processes: Processes, directory: Path) -> Receiver:
    url = f"http://127.0.0.1:{VICTORIA_METRICS_PORT}"
    process = processes.start(
        "victoriametrics",
        [
            require_command("victoria-metrics", ["victoria-metrics"]),
            f"-httpListenAddr=127.0.0.1:{VICTORIA_METRICS_PORT}",
            f"-storageDataPath={directory / 'victoriametrics'}",
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
        Api("victoriametrics", url),
        f"{url}/api/v1/write",
        process,
        ingested_metric="vm_rows_inserted_total promremotewrite",
        # It stores decimal numbers of about twelve digits, which know no NaN.
        rounding=1e-11,
        keeps_nan=False,
    )


def _prometheus(processes: Processes, directory: Path) -> Receiver:
    url = f"http://127.0.0.1:{PROMETHEUS_PORT}"
    config = directory / "prometheus.yml"
    # It scrapes nothing, not even itself: every sample it holds came by remote write.
    config.write_text("global: {}\n")
    process = processes.start(
        "prometheus",
        [
            require_command("prometheus", ["prometheus"]),
            f"--config.file={config}",
            f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}",
            f"--storage.tsdb.path={directory / 'prometheus'}",
            f"--query.lookback-delta={LOOKBACK}",
            "--web.enable-remote-write-receiver",
        ],
    )
    return Receiver(
        Api("prometheus", url),
        f"{url}/api/v1/write",
        process,
        ingested_metric="prometheus_tsdb_head_samples_appended_total",
    )
