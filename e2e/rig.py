"""The relay under chaos: started, killed and started again on one data directory, and watched.

A `Rig` is one configuration and its lives. While it lives a thread asks `/metrics` again and again:
every answer must add up (scraped = delivered + dropped + queued), and the memory is written down.
"""

import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import relay
from net import answers, fetch
from page import Series, parse
from procs import Process, Processes, SetupError, free_port

SHUTDOWN_GRACE_S = 20
_WATCH_PAUSE_S = 0.2


@dataclass(frozen=True)
class To:
    """A receiver in the configuration."""

    name: str
    url: str
    queue: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)


@dataclass
class Life:
    """From a start to an end, by the wall clock; what a kill cut short is not `clean`."""

    began_ms: float
    ended_ms: float = 0
    clean: bool = False
    code: int | None = None


@dataclass
class Watched:
    """What the thread saw."""

    accounts: int = 0
    # Texts of answers that do not add up.
    wrong: list[str] = field(default_factory=list)
    # The largest resident memory since the last `reset`, in bytes.
    peak_bytes: int = 0


class Rig:
    """One configuration, its lives, and what was seen of them."""

    def __init__(
        self,
        processes: Processes,
        binary: Path,
        name: str,
        *,
        targets: tuple[str, ...],
        receivers: list[To],
        interval: str,
        data_directory: Path | None,
    ) -> None:
        self.processes = processes
        self.binary = binary
        self.name = name
        self.receivers = receivers
        self.data_directory = data_directory
        self.listen = f"127.0.0.1:{free_port()}"
        self.lives: list[Life] = []
        self.watched = Watched()
        self.process: Process
        self._ending = threading.Event()
        self._config = processes.directory / f"{name}.yaml"
        self._config_text = _config_text(targets, receivers, interval)

    def start(self, fsync: str = "interval") -> None:
        """Starts the relay, which syncs its spool as this says; does not wait for anything."""
        self._config.write_text(f"{self._config_text}spool:\n  fsync: {fsync}\n")
        argv = [str(self.binary), "run", "-c", str(self._config), "--listen", self.listen]
        argv += ["--shutdown-grace", f"{SHUTDOWN_GRACE_S}s"]
        if self.data_directory:
            argv += ["--data-dir", str(self.data_directory)]
        self.lives.append(Life(time.time() * 1000))
        self.process = self.processes.start(self.name, argv)
        self._ending = threading.Event()
        threading.Thread(target=self._watch, args=(self.process, self._ending), daemon=True).start()

    def kill(self) -> None:
        """kill -9."""
        self._ending.set()
        self._read_peak(self.process)
        self.process.kill()
        self.lives[-1].ended_ms = time.time() * 1000

    def stop(self) -> int | None:
        """SIGTERM; returns the exit code, None when it had to be killed."""
        self._ending.set()
        self._read_peak(self.process)
        self.process.wanted = False
        self.lives[-1].ended_ms = time.time() * 1000
        self.process.popen.send_signal(signal.SIGTERM)
        code = self.process.wait(SHUTDOWN_GRACE_S + 5)
        if code is None:
            self.process.kill()
        self.lives[-1].code = code
        self.lives[-1].clean = code == 0
        return code

    def wait_listening(self) -> None:
        url = f"http://{self.listen}/-/healthy"
        self.processes.wait_until(f"{self.name} answers", lambda: answers(url), 30, 0.05)

    def metrics(self) -> dict[Series, float]:
        return parse(fetch(f"http://{self.listen}/metrics").decode())

    def sum_of(self, metric: str, receiver: str, **labels: str) -> float:
        """A metric of one receiver, over all its series with these labels."""
        wanted = {(relay.RECEIVER_LABEL, receiver), *labels.items()}
        return sum(v for (name, has), v in self.metrics().items() if name == metric and wanted <= has)

    def pending(self) -> float:
        return sum(v for (name, _), v in self.metrics().items() if name == relay.SAMPLES_PENDING)

    def wait_drained(self, timeout_s: float, below: float = 0) -> float:
        """Waits until nothing is pending; returns how long it took."""
        began = time.monotonic()
        drained = lambda: self.pending() <= below  # noqa: E731
        self.processes.wait_until(f"{self.name} has delivered all", drained, timeout_s, 0.1)
        return time.monotonic() - began

    def reset_peak(self) -> int:
        """Begins a new measurement of the memory's peak; returns the old one."""
        self._read_peak(self.process)
        peak, self.watched.peak_bytes = self.watched.peak_bytes, 0
        Path(f"/proc/{self.process.popen.pid}/clear_refs").write_text("5")
        return peak

    def peak_bytes(self) -> int:
        self._read_peak(self.process)
        return self.watched.peak_bytes

    def _read_peak(self, process: Process) -> None:
        try:
            status = Path(f"/proc/{process.popen.pid}/status").read_text()
        except OSError:
            return
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                self.watched.peak_bytes = max(self.watched.peak_bytes, int(line.split()[1]) * 1024)

    def _watch(self, process: Process, ending: threading.Event) -> None:
        while not ending.wait(_WATCH_PAUSE_S) and process.alive:
            self._read_peak(process)
            try:
                own = self.metrics()
            except (OSError, ValueError):
                continue
            for to in self.receivers:
                account = Account.of(own, to.name)
                self.watched.accounts += 1
                if not account.adds_up and len(self.watched.wrong) < 10:
                    self.watched.wrong.append(f"{to.name}: {account}")


@dataclass(frozen=True)
class Account:
    """What became of the samples of one receiver, by the relay's own counters."""

    appended: float
    delivered: float
    dropped: float
    pending: float
    # The relay's own self-check; absent in a page that is not its.
    unaccounted: float | None

    @classmethod
    def of(cls, own: dict[Series, float], receiver: str) -> "Account":
        names = (relay.SAMPLES_IN, relay.SAMPLES_DELIVERED, relay.SAMPLES_DROPPED, relay.SAMPLES_PENDING)
        self_check = (relay.SAMPLES_UNACCOUNTED, frozenset({(relay.RECEIVER_LABEL, receiver)}))
        return cls(*(relay.own_sum(own, name, receiver) for name in names), own.get(self_check))

    @property
    def adds_up(self) -> bool:
        parts = self.delivered + self.dropped + self.pending
        return self.appended == parts and self.unaccounted == 0


def require_end(rig: Rig) -> None:
    """For scenarios that cannot go on when the relay is not there any more."""
    if not rig.process.alive:
        raise SetupError(f"{rig.name} ended with {rig.process.popen.returncode}")


def _config_text(targets: tuple[str, ...], receivers: list[To], interval: str) -> str:
    lines = [
        "global:",
        f"  scrape_interval: {interval}",
        "scrape_configs:",
        "  - job_name: chaos",
        "    static_configs:",
        "      - targets:",
        *(f'          - "{target}"' for target in targets),
        "remote_write:",
    ]
    for to in receivers:
        # In a hang the connection is held for less than this, except where the hang is the point.
        options = {"name": to.name, "url": to.url, "remote_timeout": "5s"} | to.options
        lines += [f"  {'-' if i == 0 else ' '} {k}: {v}" for i, (k, v) in enumerate(options.items())]
        queue = {"batch_send_deadline": "200ms", "max_backoff": "500ms"} | to.queue
        lines += ["    queue_config:", *(f"      {key}: {value}" for key, value in queue.items())]
    return "\n".join(lines) + "\n"
