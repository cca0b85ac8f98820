"""A Flink process that is not one: its pages have as many series as wanted, and tell which page they are.

Its lines are those of a recorded TaskManager, its job's lines copied under other job ids. The value of a sample is the number
of its page, and after the point its place on it, so what arrives says where it comes from, to the bit. `name[]` it
obeys, ignores or refuses, as told.
"""

import contextlib
import http.server
import random
import re
import threading
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from page import Series, parse

RECORDED = Path(__file__).resolve().parent.parent / "tests/pages/2.3.0/taskmanager-2.prom"

# The part of a value that is a sample's place on its page: a power of two, so that it is exact.
PLACES = 1 << 16

OBEYS, IGNORES, REFUSES = "obeys", "ignores", "refuses"


@dataclass(frozen=True)
class Answer:
    """One page that was asked for."""

    at: float
    # Sample names in the request; None when there were none.
    names: frozenset[str] | None
    status: int
    text: str

    def series(self) -> dict[Series, float]:
        return parse(self.text)


@dataclass(frozen=True)
class Family:
    """Comment lines, the lines that stand once, and those of the job, with `{id}` where another copy differs."""

    head: str
    once: tuple[str, ...]
    copied: tuple[str, ...]


class FakeFlink:
    """Listens on loopback; `copies` of the recorded job, one of which is another every `moves_every` pages."""

    def __init__(self, copies: int = 1, moves_every: int = 0, seed: int = 0) -> None:
        self.mode = OBEYS
        self.answers: list[Answer] = []
        self._families = families(RECORDED.read_text())
        self._copies = copies
        self._moves_every = moves_every
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        fake = self

        class Page(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                answer = fake.answer(self.path)
                body = answer.text.encode()
                self.send_response(answer.status)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                # Who has asked may be stopped at any moment.
                with contextlib.suppress(ConnectionError):
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self._server.daemon_threads = True
        self.instance = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> Answer:
        """Makes the next page and keeps it."""
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)
        names = frozenset(query["name[]"]) if "name[]" in query else None
        with self._lock:
            number = len(self.answers) + 1
            if names and self.mode == REFUSES:
                answer = Answer(time.time(), names, 414, "URI Too Long")
            else:
                wanted = names if self.mode == OBEYS else None
                answer = Answer(time.time(), names, 200, self._page(number, wanted))
            self.answers.append(answer)
            return answer

    def _page(self, number: int, names: frozenset[str] | None) -> str:
        moved = number // self._moves_every if self._moves_every else 0
        shown = list(self._families)
        if self._moves_every and moved % 2:
            # The registry is a hash map: another order whenever it likes.
            self._random.shuffle(shown)
        parts, place = [], 0
        for family in shown:
            lines = list(family.once)
            lines += (line.replace("{id}", f"{copy:08x}") for copy in range(moved, moved + self._copies) for line in family.copied)
            lines = [line for line in lines if names is None or line.partition("{")[0] in names]
            if lines:
                parts.append(family.head)
            for line in lines:
                place += 1
                parts.append(f"{line} {number + place / PLACES!r}\n")
        return "".join(parts)


def number_of(value: float) -> int:
    """Which page of its target a sample was on."""
    return int(value)


def families(text: str) -> list[Family]:
    """Reads a recorded page. Two copies of a line differ in the ids of its job and its attempt."""
    found = []
    for part in re.split(r"(?m)^(?=# HELP )", text):
        lines = part.splitlines()
        head = "".join(f"{line}\n" for line in lines if line.startswith("#"))
        series = [line.rpartition(" ")[0] for line in lines if line and not line.startswith("#")]
        copied = tuple(re.sub(r'((?:job|task_attempt)_id=")\w{8}', r"\1{id}", line) for line in series if "job_id=" in line)
        once = tuple(line for line in series if "job_id=" not in line)
        if head:
            found.append(Family(head, once, copied))
    return found
