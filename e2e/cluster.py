"""A real Flink cluster on loopback, started from its archive on PyPI.

The package `apache-flink-libraries` holds Flink's own jars (`deps/lib`, `deps/plugins`) but not its
start scripts, so the JVMs are started here with the arguments those scripts would compute.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from net import answers, fetch
from procs import Process, Processes, SetupError, require_command

REST_PORT = 8081
RPC_PORT = 6123
METRICS_PORTS = range(9250, 9261)

_SOURCES = Path(__file__).parent / "flink"
_JDK_PACKAGES = ["default-jdk-headless"]

# Flink reaches into these packages by reflection; its own scripts pass the same.
_OPENED = "lang net io nio lang.reflect text time util util.concurrent util.concurrent.atomic util.concurrent.locks"
_JVM = [
    # G1 on every machine, whatever its size: the collector's name is part of metric names.
    "-XX:+UseG1GC",
    # Quick to start; nobody measures Flink's speed here.
    "-XX:TieredStopAtLevel=1",
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _OPENED.split()),
    "--add-opens=java.base/sun.net.util=ALL-UNNAMED",
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
]
# The parts of a TaskManager's memory, which Flink's scripts would work out from its total.
_TASK_MANAGER_MEMORY = {
    "task.heap.size": "300mb",
    "task.off-heap.size": "0b",
    "framework.heap.size": "128mb",
    "framework.off-heap.size": "128mb",
    "network.min": "64mb",
    "network.max": "64mb",
    "managed.size": "128mb",
    "jvm-metaspace.size": "256mb",
    "jvm-overhead.min": "128mb",
    "jvm-overhead.max": "128mb",
}


def libraries(version: str, cache: Path) -> Path:
    """The directory with Flink's jars, downloaded and unpacked into `cache` when it is not there."""
    unpacked = cache / f"flink-{version}"
    if unpacked.is_dir():
        return unpacked
    cache.mkdir(parents=True, exist_ok=True)
    archive = _archive(version, cache) or _download(version, cache)
    print(f"unpacking {archive.name}", flush=True)
    # Unpacked beside its place and renamed: a run that is interrupted leaves no half of a Flink.
    with tempfile.TemporaryDirectory(dir=cache, prefix="unpacking-") as directory:
        with tarfile.open(archive) as tar:
            wanted = [m for m in tar if re.match(r"[^/]+/deps/(lib|plugins)/", m.name)]
            # Python before 3.11.4 has no filters; the names are already vetted above.
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(directory, wanted, **safe)
        deps = next(Path(directory).glob("*/deps"), None)
        if deps is None:
            raise SetupError(f"{archive} holds no deps/lib; remove it to download it again")
        deps.rename(unpacked)
    return unpacked


def _archive(version: str, cache: Path) -> Path | None:
    # The newer archives have underscores in their name, the older ones hyphens.
    names = (f"apache{s}flink{s}libraries-{version}.tar.gz" for s in "_-")
    return next((cache / name for name in names if (cache / name).is_file()), None)


def _download(version: str, cache: Path) -> Path:
    package = f"apache-flink-libraries=={version}"
    print(f"downloading {package}", flush=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="downloading-") as directory:
        pip = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check"]
        options = ["--no-deps", "--no-cache-dir", "--no-binary", ":all:", "--dest", directory]
        done = subprocess.run(
            [*pip, "download", *options, package],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise SetupError(f"pip download {package} failed: {done.stderr.strip()[-1000:]}")
        for file in Path(directory).iterdir():
            file.rename(cache / file.name)
    archive = _archive(version, cache)
    if archive is None:
        raise SetupError(f"pip downloaded {package}, but not as the archive that was expected")
    return archive


class Cluster:
    """One JobManager and its TaskManagers `tm-1`, `tm-2`, each a JVM of its own."""

    def __init__(self, version: str, deps: Path, directory: Path, processes: Processes) -> None:
        self.version = version
        self.directory = directory
        self.processes = processes
        self.classpath = f"{deps}/lib/*"
        self.environment = {
            "FLINK_PLUGINS_DIR": f"{deps}/plugins",
            "FLINK_LIB_DIR": f"{deps}/lib",
            "FLINK_CONF_DIR": f"{directory}/conf",
        }
        self.java = require_command("java", _JDK_PACKAGES)
        self._write_config()

    def start_jobmanager(self) -> Process:
        main = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        return self._start("jobmanager", ["-Xmx500m"], main, [])

    def start_taskmanager(self, number: int) -> Process:
        sizes = ["-Xmx428m", "-XX:MaxDirectMemorySize=192m", "-XX:MaxMetaspaceSize=256m"]
        settings = {
            "taskmanager.resource-id": f"tm-{number}",
            "taskmanager.cpu.cores": "1",
            **{f"taskmanager.memory.{key}": size for key, size in _TASK_MANAGER_MEMORY.items()},
        }
        arguments = [part for key, value in settings.items() for part in ("-D", f"{key}={value}")]
        main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        return self._start(f"taskmanager-{number}", sizes, main, arguments)

    def submit(self, *jobs: str) -> dict[str, str]:
        """Submits `flink/<job>.sql` each and returns their job ids by `job`."""
        classes = self.directory / "classes"
        javac = require_command("javac", _JDK_PACKAGES)
        compile_ = [javac, "-nowarn", "-cp", self.classpath, "-d", str(classes)]
        self._run([*compile_, str(_SOURCES / "SqlJobs.java")])
        java = [self.java, *_JVM, "-Xmx500m", "-Dfile.encoding=UTF-8"]
        java += ["-cp", f"{self.classpath}:{classes}", "SqlJobs", str(REST_PORT)]
        printed = self._run([*java, *(str(_SOURCES / f"{job}.sql") for job in jobs)])
        ids = {job: id_ for id_, job in re.findall(r"^job ([0-9a-f]{32}) (\w+)\.sql$", printed, re.M)}
        if set(ids) != set(jobs):
            raise SetupError(f"only these jobs were submitted: {ids}; output: {printed[-2000:]}")
        return ids

    def rest(self, path: str, method: str = "GET") -> dict:
        """An answer of the JobManager's REST API."""
        return json.loads(fetch(f"http://127.0.0.1:{REST_PORT}{path}", method=method) or b"{}")

    def ready(self, taskmanagers: int) -> bool:
        """Whether that many TaskManagers have registered."""
        if not answers(f"http://127.0.0.1:{REST_PORT}/overview"):
            return False
        return self.rest("/overview")["taskmanagers"] == taskmanagers

    def job_names(self) -> dict[str, str]:
        """The true name of each job, by job id."""
        return {job["jid"]: job["name"] for job in self.rest("/jobs/overview")["jobs"]}

    def job_state(self, job_id: str) -> str:
        return self.rest(f"/jobs/{job_id}")["state"]

    def taskmanager_ids(self) -> set[str]:
        return {tm["id"] for tm in self.rest("/taskmanagers")["taskmanagers"]}

    def cancel(self, job_id: str) -> None:
        self.rest(f"/jobs/{job_id}", method="PATCH")

    def _write_config(self) -> None:
        conf = self.directory / "conf"
        conf.mkdir(parents=True)
        text = (_SOURCES / "config.yaml").read_text()
        places = {
            "rpc_port": RPC_PORT,
            "rest_port": REST_PORT,
            "metrics_ports": f"{METRICS_PORTS[0]}-{METRICS_PORTS[-1]}",
            "run": self.directory,
        }
        for place, value in places.items():
            text = text.replace(f"{{{place}}}", str(value))
        name = "config.yaml"
        if tuple(int(part) for part in self.version.split(".")[:2]) < (1, 19):
            name = "flink-conf.yaml"
            text = text.replace("state.backend.type:", "state.backend:")
            text = text.replace("execution.checkpointing.dir:", "state.checkpoints.dir:")
        (conf / name).write_text(text)
        shutil.copy(_SOURCES / "log4j.properties", conf)

    def _start(self, name: str, sizes: list[str], main: str, arguments: list[str]) -> Process:
        log = self.directory / f"{name}.flink.log"
        conf = self.directory / "conf"
        argv = [self.java, *_JVM, *sizes, f"-Dlog.file={log}"]
        argv += [f"-Dlog4j.configurationFile={conf / 'log4j.properties'}"]
        argv += ["-cp", f"{self.classpath}:{conf}", main, "--configDir", str(conf), *arguments]
        return self.processes.start(name, argv, env=self.environment, more_logs=(log,))

    def _run(self, argv: list[str]) -> str:
        done = subprocess.run(
            argv,
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
        )
        if done.returncode != 0:
            raise SetupError(f"{argv[0]} failed: {(done.stdout + done.stderr)[-3000:]}")
        return done.stdout
