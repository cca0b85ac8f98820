"""Processes and ports of one run.

Only processes started here are ever signalled, each by its own pid: the machine may run another
Flink or another Prometheus. Whatever ends the run (success, failure, Ctrl-C, SIGTERM), `stop_all`
is called; should this script itself be killed with SIGKILL, the kernel ends the children.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


class SetupError(Exception):
    """Something that the run needs is not there; its text tells the person what to do."""


@dataclass
class Process:
    """A started process, its name in messages and the file that takes its output."""

    name: str
    popen: subprocess.Popen
    log: Path
    argv: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    more_logs: tuple[Path, ...] = ()
    # Whether its end, at this point of the run, would be a surprise.
    wanted: bool = True

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, or None when it still runs after `timeout_s`."""
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """kill -9, and waits until the pid is gone."""
        self.wanted = False
        if self.alive:
            self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    def stop(self, grace_s: float = 30) -> int | None:
        """SIGTERM; the exit code, None when it outlived `grace_s` and was killed."""
        self.wanted = False
        if self.alive:
            self.popen.terminate()
        code = self.wait(grace_s)
        if code is None:
            self.kill()
        return code


class Processes:
    """All processes of this run, in the order of their start."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[Process] = []

    def start(
        self,
        name: str,
        argv: list[str],
        env: dict[str, str] | None = None,
        more_logs: tuple[Path, ...] = (),
    ) -> Process:
        """Starts `argv` with its output in `<directory>/<name>.log` (appended to on a restart)."""
        log = self.directory / f"{name}.log"
        # setpriv replaces itself with the command, so the pid and the exit code are the command's.
        prefix = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with open(log, "ab") as out:
            popen = subprocess.Popen(
                prefix + argv,
                cwd=self.directory,
                env=os.environ | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                # Ctrl-C must reach this script only, which then stops the others in order.
                start_new_session=True,
            )
        process = Process(name, popen, log, argv, env or {}, more_logs)
        self.started.append(process)
        return process

    def start_again(self, process: Process) -> Process:
        """Starts what has ended as it was started before."""
        return self.start(process.name, process.argv, process.env, process.more_logs)

    def wait_until(
        self, what: str, condition: Callable[[], bool], timeout_s: float, pause_s: float = 0.25
    ) -> float:
        """Waits for what the run cannot go on without; returns the Unix time at which it held."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            for process in self.started:
                if process.wanted and not process.alive:
                    code = process.popen.returncode
                    raise SetupError(f"{process.name} ended with exit code {code} before {what}")
            if time.monotonic() > deadline:
                raise SetupError(f"not within {timeout_s:.0f} s: {what}")
            time.sleep(pause_s)
        return time.time()

    def stop_all(self, grace_s: float = 5) -> None:
        """SIGTERM to each that still runs, SIGKILL to those that outlive `grace_s`."""
        running = [process for process in reversed(self.started) if process.alive]
        for process in running:
            process.popen.terminate()
        deadline = time.monotonic() + grace_s
        for process in running:
            if process.wait(max(0.0, deadline - time.monotonic())) is None:
                process.kill()

    def print_log_tails(self, lines_max: int = 40) -> None:
        """The end of every log, once per file, for the person who reads a failed run."""
        logs = dict.fromkeys(
            path for process in self.started for path in (process.log, *process.more_logs)
        )
        for path in logs:
            if not path.exists():
                continue
            tail = path.read_text(errors="replace").splitlines()[-lines_max:]
            print(f"--- last {len(tail)} lines of {path.name}", flush=True)
            for line in tail:
                print(f"    {line[:400]}")


def require_free_ports(wanted: dict[int, str]) -> None:
    """Fails with the list of ports of `wanted` (port -> what needs it) that somebody listens on."""
    taken = [f"{port} (for {user})" for port, user in sorted(wanted.items()) if is_taken(port)]
    if taken:
        raise SetupError(
            f"these ports are taken: {', '.join(taken)}; end what listens there (`ss -ltnp` names it)"
        )


def free_port() -> int:
    """A port on loopback that nobody listens on now, from the range for such, so never a server's own.

    Somebody else could take it before it is used; the kernel hands them out in turn, so it takes long.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_taken(port: int) -> bool:
    """Whether a listener holds `port` on any local address."""
    with socket.socket() as probe:
        # Connections in TIME_WAIT do not keep a server from binding; a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


def require_command(command: str, packages: list[str]) -> str:
    """The path of `command`; installs the Debian `packages` when it is missing."""
    if not shutil.which(command):
        install(command, packages)
    if path := shutil.which(command):
        return path
    raise SetupError(f"{command} is still missing after installing {' '.join(packages)}")


def install(wanted: str, packages: list[str]) -> None:
    """Installs Debian packages, for the sake of `wanted`."""
    apt = ["apt-get"] if os.geteuid() == 0 else ["sudo", "-n", "apt-get"]
    if not shutil.which(apt[0]) or not shutil.which("apt-get"):
        raise SetupError(f"{wanted} is missing; install {' '.join(packages)}")
    print(f"installing {' '.join(packages)}", flush=True)
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    arguments = ["install", "-y", "-qq", "--no-install-recommends", *packages]
    for arguments in (["update", "-qq"], arguments):
        done = subprocess.run(
            apt + arguments, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise SetupError(f"apt-get {arguments[0]} failed: {done.stderr.strip()}")
