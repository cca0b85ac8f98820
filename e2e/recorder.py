"""A receiver that keeps each body as it came, and what the bodies say when two decoders have read them.

It answers as the specifications of remote write 1.0 and 2.0 want it. Bodies are decoded by libsnappy, Google's own C++, when
they arrive, and by `wire.uncompress` when they are judged.
"""

import ctypes
import http.server
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

import wire
from procs import install
from wire import Labels, Malformed, Request, Sample

V1_TYPE = "application/x-protobuf"
V2_TYPE = "application/x-protobuf;proto=io.prometheus.write.v2.Request"


class Libsnappy:
    """Google's snappy by its C interface."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libsnappy.so.1")
        except OSError:
            install("libsnappy.so.1", ["libsnappy1v5"])
            self._library = ctypes.CDLL("libsnappy.so.1")

    def uncompress(self, body: bytes) -> bytes:
        """The body's content; Malformed for what libsnappy does not take."""
        length = ctypes.c_size_t()
        size = ctypes.c_size_t(len(body))
        if self._library.snappy_uncompressed_length(body, size, ctypes.byref(length)):
            raise Malformed("libsnappy finds no length")
        # One more, for a buffer of no bytes is none.
        out = ctypes.create_string_buffer(length.value + 1)
        if self._library.snappy_uncompress(body, size, out, ctypes.byref(length)):
            raise Malformed("libsnappy refuses it")
        return out.raw[: length.value]

    @staticmethod
    def path() -> str:
        """The file that is in this process, which says what it is."""
        with open("/proc/self/maps") as maps:
            return next(line.split()[-1] for line in maps if "libsnappy" in line)


@dataclass(frozen=True)
class Body:
    """One request, as it came."""

    at: float
    body: bytes
    is_v2: bool

    def read(self, message: bytes) -> Request:
        return wire.read_v2(message) if self.is_v2 else wire.read_v1(message)


class Recorder:
    """A listening receiver that knows remote write up to `messages`."""

    def __init__(self, name: str, messages: str) -> None:
        self.name = name
        self.messages = messages
        self.bodies: list[Body] = []
        # What could not be taken, and why.
        self.refused: list[str] = []
        # When each instance's newest `up` was scraped, in ms.
        self.newest: dict[str, int] = {}
        self._snappy = Libsnappy()
        recorder = self

        class Write(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = recorder.take(self.headers, body)
                self.send_response(status)
                for field_name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(field_name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Write)
        self._server.daemon_threads = True
        self.write_url = f"http://127.0.0.1:{self._server.server_port}/api/v1/write"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        """The status and fields of the answer."""
        kind = headers["Content-Type"]
        if headers["Content-Encoding"] != "snappy" or kind not in (V1_TYPE, V2_TYPE):
            return self._refuse(415, f"{kind} in {headers['Content-Encoding']}")
        if kind == V2_TYPE and self.messages == "1.0":
            # Not a fault: so a sender finds out.
            return 415, {}
        version = headers["X-Prometheus-Remote-Write-Version"]
        if version != ("2.0.0" if kind == V2_TYPE else "0.1.0"):
            return self._refuse(400, f"{kind} of version {version}")
        one = Body(time.time(), body, kind == V2_TYPE)
        try:
            request = one.read(self._snappy.uncompress(body))
        except (Malformed, UnicodeDecodeError) as error:
            return self._refuse(400, str(error))
        self.bodies.append(one)
        for labels, samples in request.series:
            if ("__name__", "up") in labels:
                self.newest[dict(labels)["instance"]] = samples[-1].at_ms
        written = {"Samples": request.samples, "Histograms": 0, "Exemplars": 0}
        return 204, {f"X-Prometheus-Remote-Write-{what}-Written": str(n) for what, n in written.items()}

    def _refuse(self, status: int, why: str) -> tuple[int, dict[str, str]]:
        self.refused.append(why)
        return status, {}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def pair() -> list[Recorder]:
    """One for each message."""
    return [Recorder(f"recorder-{messages}", messages) for messages in ("1.0", "2.0")]


@dataclass
class Record:
    """What the bodies of one recorder say, all of them together."""

    requests: int = 0
    samples: int = 0
    series: dict[Labels, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    # By family in 1.0, by name of a series in 2.0: all that was ever told.
    about: dict[str, set[wire.About]] = field(default_factory=lambda: defaultdict(set))
    # Bodies for which the two decoders disagree, or one of which fails.
    disagree: list[str] = field(default_factory=list)

    def of(self, **labels: str) -> dict[Labels, list[Sample]]:
        """The series with these labels; `name` is the metric's."""
        wanted = {(("__name__" if n == "name" else n), v) for n, v in labels.items()}
        return {has: samples for has, samples in self.series.items() if wanted <= has}

    def out_of_order(self) -> list[Labels]:
        """Series with samples that are not each later than the one before."""
        return [
            labels
            for labels, samples in self.series.items()
            if any(a.at_ms >= b.at_ms for a, b in zip(samples, samples[1:], strict=False))
        ]


def read(recorder: Recorder, since: float = 0) -> Record:
    """Decodes what has come since then, by both decoders."""
    library = Libsnappy()
    record = Record()
    for number, one in enumerate(list(recorder.bodies)):
        if one.at < since:
            continue
        try:
            message = wire.uncompress(one.body)
        except Malformed as error:
            record.disagree.append(f"body {number}: {error}")
            continue
        if library.uncompress(one.body) != message:
            record.disagree.append(f"body {number}: libsnappy reads other bytes")
            continue
        _add(record, one.read(message))
    return record


def _add(record: Record, request: Request) -> None:
    record.requests += 1
    record.samples += request.samples
    for labels, samples in request.series:
        record.series[labels] += samples
    for name, about in request.about.items():
        record.about[name].add(about)
    for labels, about in request.about_series.items():
        record.about[dict(labels)["__name__"]].add(about)
