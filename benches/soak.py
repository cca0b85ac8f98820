#!/usr/bin/env python3
"""Lets the jobs of some TaskManagers restart again and again under a relay, and watches its memory.

usage: soak.py [--every 10] [--restarts 60] [--steady 0] [--targets 4] [--samples 5000] [--interval 2]
               [--grown 10] [--peak MIB] RELAY

At each restart all jobs are gone for an interval and then come back under new ids of job and attempt, so that every
one of their lines, and every one of their series, is new, and all those from before have ended. Ten minutes by default;
an hour of restarts every ten seconds is `--restarts 360`, in six minutes with `--every 1 --interval 0.25`.

With `--steady` and restarts, says what a line costs that is new, and what its series costs that has ended: the CPU time of the
restarts, without what as many known lines would have taken, which is measured in the second half of the steady time.

Prints the relay's memory after every tenth of the restarts: its own, which is what allocations take, and all with the
pages of its files, of which more come in whenever rarer code is reached. Fails when the median of its own in the last
third of all restarts is more than `--grown` percent above that in the third before, when the peak is above `--peak`,
when a scrape failed or a sample was lost, and when a scrape was late: when it began half an interval and more after
its time.
Without restarts it is a load that stays as it is: `--restarts 0 --steady 60 --targets 1 --samples 142000 --interval 5
--peak 64` scrapes a page of 67 MB every five seconds.

An allocator is compared with another by what the relay is started with: `LD_PRELOAD=libjemalloc.so.2 soak.py …`,
`MALLOC_ARENA_MAX=1 soak.py …`. Both ends are in this process, on loopback; nothing else is needed.
"""

import argparse
import http.server
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "tests/pages/2.3.0/taskmanager-2.prom"
JOB = 'job_id="'


class Cluster:
    """The pages of all TaskManagers, as they are at the moment."""

    def __init__(self, targets: int, samples: int) -> None:
        lines = PAGE.read_text().splitlines(keepends=True)
        plain = sum(1 for line in lines if JOB not in line and not line.startswith("#"))
        of_job = sum(1 for line in lines if JOB in line)
        copies = max(1, -(-(samples - plain) // of_job))
        self.families = family(lines)
        self.targets, self.copies = targets, copies
        self.pages: list[bytes] = []
        # Samples of a page, and of all that were asked for; lines that were not there before the last restart.
        self.samples = 0
        self.served = 0
        self.of_jobs = of_job * self.copies * targets
        self.asked: list[list[float]] = [[] for _ in range(targets)]

    def start(self, run: int) -> None:
        """Jobs run, under ids that no run before had."""
        self.show(run)

    def stop(self) -> None:
        """No job runs."""
        self.show(None)

    def show(self, run: int | None) -> None:
        self.pages = [self.page(target, run) for target in range(self.targets)]
        self.samples = sum(1 for line in self.pages[0].splitlines() if not line.startswith(b"#"))

    def page(self, target: int, run: int | None) -> bytes:
        """A real page whose jobs stand on it in several copies, the families together as the format wants it."""
        made = []
        for head, plain, jobs in self.families:
            if not plain and run is None:
                continue
            made += [head, plain]
            for copy in range(self.copies if run is not None else 0):
                ids = f"{target:04x}{copy:04x}{run:08x}"
                made.append(re.sub(r'((?:job_id|task_attempt_id)=")[0-9a-f]{16}', rf"\g<1>{ids}", jobs))
        return "".join(made).encode()


def family(lines: list[str]) -> list[tuple[str, str, str]]:
    """For each family its comments, the lines of the process, and those of jobs."""
    families: list[tuple[list[str], list[str], list[str]]] = []
    for line in lines:
        if line.startswith("# HELP") or not families:
            families.append(([], [], []))
        families[-1][0 if line.startswith("#") else 2 if JOB in line else 1].append(line)
    return [("".join(head), "".join(plain), "".join(jobs)) for head, plain, jobs in families]


def handler(cluster: Cluster) -> type[http.server.BaseHTTPRequestHandler]:
    """Both ends of the relay: `/0`, `/1`, … are targets, what is posted is taken."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            target = int(self.path.strip("/"))
            cluster.asked[target].append(time.monotonic())
            cluster.served += cluster.samples
            self.answer(200, cluster.pages[target])

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(204, b"")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            if status == 200:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class Server(http.server.ThreadingHTTPServer):
    """One that a relay which ends in the middle does not make talk."""

    def handle_error(self, *_: object) -> None:
        pass


def write_config(path: Path, args: argparse.Namespace, port: int) -> None:
    """One scrape job a target, since each is a path of the same server."""
    jobs = "".join(
        f"- {{job_name: tm-{i}, metrics_path: /{i}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
        for i in range(args.targets)
    )
    interval = f"{int(args.interval * 1000)}ms"
    path.write_text(
        f"global: {{scrape_interval: {interval}, scrape_timeout: {interval}}}\nscrape_configs:\n{jobs}remote_write:\n"
        f"- {{url: 'http://127.0.0.1:{port}/', protobuf_message: prometheus.WriteRequest}}\n"
    )


def mib(pid: int, field: str) -> float:
    """A field of /proc/PID/status."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)[1]) / 1024


def cpu_s(pid: int) -> float:
    """User and system time of the process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def soak(relay: subprocess.Popen, cluster: Cluster, args: argparse.Namespace) -> list[float]:
    """Restarts the jobs; returns the memory before each restart."""
    memory = []
    time.sleep(args.steady / 2)
    half = (cpu_s(relay.pid), cluster.served)
    time.sleep(args.steady / 2)
    first = (cpu_s(relay.pid), cluster.served)
    print(f"{'restarts':>9} {'own MiB':>8} {'all MiB':>8} {'peak MiB':>9} {'CPU s':>7}", flush=True)
    due = time.monotonic()
    for run in range(1, args.restarts + 1):
        cluster.stop()
        due += args.every
        time.sleep(args.interval)
        cluster.start(run)
        time.sleep(max(0.0, due - time.monotonic()))
        memory.append(mib(relay.pid, "RssAnon"))
        if run % max(1, args.restarts // 10) == 0:
            now, peak = mib(relay.pid, "VmRSS"), mib(relay.pid, "VmHWM")
            row = f"{run:>9} {memory[-1]:>8.1f} {now:>8.1f} {peak:>9.1f} {cpu_s(relay.pid):>7.1f}"
            print(row, flush=True)
    if args.restarts > 0 and first[1] > half[1]:
        known = (first[0] - half[0]) / (first[1] - half[1])
        restarts_s = cpu_s(relay.pid) - first[0] - known * (cluster.served - first[1])
        of_new = restarts_s / (cluster.of_jobs * args.restarts)
        print(f"{known * 1e6:.2f} us of CPU for a known line, {of_new * 1e6:.2f} us for a new one with its series' end")
    return memory


def lateness(asked: list[float], interval: float) -> float:
    """Seconds by which the latest scrape of a target began after its time. That is when the most punctual one says, and
    one interval later for each: a scrape that was left out makes all later ones late."""
    if len(asked) < 2:
        return float("inf")
    places = [at - number * interval for number, at in enumerate(asked)]
    return max(places) - min(places)


def complaints(log: str) -> list[str]:
    """What the relay says went wrong, and what of its end is missing."""
    wrong = [line for line in log.splitlines() if re.search(r"\b(WARN|ERROR)\b", line)]
    return wrong if "all samples delivered" in log else [*wrong, "not all samples were delivered"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--every", type=float, default=10, help="seconds between two restarts")
    parser.add_argument("--restarts", type=int, default=60)
    parser.add_argument("--steady", type=float, default=0, help="seconds before the first restart")
    parser.add_argument("--targets", type=int, default=4)
    parser.add_argument("--samples", type=int, default=5000, help="samples of a page, about")
    parser.add_argument("--interval", type=float, default=2, help="seconds between two scrapes")
    parser.add_argument("--grown", type=float, default=10, help="percent that memory may grow")
    parser.add_argument("--peak", type=float, help="MiB that memory may reach")
    parser.add_argument("relay", type=Path)
    args = parser.parse_args()
    cluster = Cluster(args.targets, args.samples)
    cluster.start(0)
    server = Server(("127.0.0.1", 0), handler(cluster))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as directory:
        config, log = Path(directory, "relay.yaml"), Path(directory, "log")
        write_config(config, args, server.server_port)
        with log.open("w") as stderr:
            command = [args.relay.resolve(), "run", "--listen", "", "-c", config]
            relay = subprocess.Popen(command, stderr=stderr)
            try:
                memory = soak(relay, cluster, args)
                peak = mib(relay.pid, "VmHWM")
                late = max(lateness(asked, args.interval) for asked in cluster.asked)
            finally:
                relay.terminate()
                relay.wait()
        wrong = complaints(log.read_text())
    scrapes = sum(map(len, cluster.asked))
    print(f"{scrapes} scrapes, the latest {late:.3f} s after its time; peak {peak:.1f} MiB")
    if late > args.interval / 2:
        wrong.append("a scrape was late")
    if args.peak is not None and peak > args.peak:
        wrong.append(f"more than {args.peak:g} MiB")
    if memory:
        third = max(1, len(memory) // 3)
        before, after = statistics.median(memory[-2 * third : -third] or memory), statistics.median(memory[-third:])
        grown = (after / before - 1) * 100
        print(f"{before:.1f} MiB of its own in the second third, {after:.1f} MiB in the last: {grown:+.1f} %")
        if grown > args.grown:
            wrong.append("memory has grown")
    for line in wrong[:5]:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
