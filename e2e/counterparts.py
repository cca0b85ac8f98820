"""The other ends of `e2e/chaos`: synthetic targets, and receivers that do as they are told.

They are one Rust process (`e2e/peers`), cheap enough to leave the machine to the relay. Here is how it
is started and asked.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from net import fetch
from procs import Process, Processes, SetupError

# The newest remote write that a receiver knows.
V1, V2 = "1", "2"


@dataclass(frozen=True)
class Counter:
    """A receiver that counts every sample, page by page."""

    name: str
    control: str

    @property
    def write_url(self) -> str:
        return f"{self.control}/write/{self.name}"

    def answer(self, answer: str) -> None:
        """From now on: `take`, a status, `hang`, `cut` or `lose`; see e2e/peers/receiver.rs."""
        self._change(f"answer={answer}")

    def knows(self, messages: str) -> None:
        self._change(f"messages={messages}")

    def sums(self) -> dict[str, int]:
        return json.loads(fetch(f"{self.control}/sums/{self.name}"))

    def facts(self) -> dict:
        return json.loads(fetch(f"{self.control}/facts/{self.name}", timeout_s=60))

    def _change(self, query: str) -> None:
        fetch(f"{self.control}/receiver/{self.name}?{query}", method="PUT")


@dataclass(frozen=True)
class Peers:
    """The running process."""

    process: Process
    control: str
    # host:port of each target.
    targets: tuple[str, ...]
    series: int

    def counter(self, name: str, messages: str = V2) -> Counter:
        counter = Counter(name, self.control)
        counter.knows(messages)
        return counter

    def pages(self) -> int:
        """How many pages were asked for, over all targets."""
        targets = Counter("pages", self.control).facts()["targets"]
        return sum(len(target["asked_ms"]) for target in targets)

    def stop(self) -> None:
        self.process.kill()


def start(processes: Processes, binary: Path, targets: int, series: int) -> Peers:
    """Starts that many targets with that many series each."""
    if not binary.is_file():
        raise SetupError(f"no {binary}; build it with `cargo build --release --example peers`")
    number = sum(1 for process in processes.started if process.name.startswith("peers"))
    argv = [str(binary), "--targets", str(targets), "--series", str(series)]
    process = processes.start(f"peers-{number}", argv)
    processes.wait_until("the counterparts listen", lambda: b"\n" in process.log.read_bytes(), 30, 0.05)
    ports = json.loads(process.log.read_text().splitlines()[0])
    instances = tuple(f"127.0.0.1:{port}" for port in ports["targets"])
    return Peers(process, f"http://127.0.0.1:{ports['control']}", instances, series)
