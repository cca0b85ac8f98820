"""Flink pages of many targets in one thread, which write down who fetched them and when.

Each target has a loopback address of its own (127.0.1.N) and all have the same port, so that each is another target to a
relay. Who fetches says so in the query: `?relay=NAME`.
"""

import asyncio
import threading
import time
from collections import defaultdict
from dataclasses import dataclass

from procs import free_port

PAGE = (
    "# HELP flink_taskmanager_Status_JVM_Threads_Count Count (scope: taskmanager_Status_JVM_Threads)\n"
    "# TYPE flink_taskmanager_Status_JVM_Threads_Count gauge\n"
    'flink_taskmanager_Status_JVM_Threads_Count{host="h",tm_id="t",} 9.0\n'
)


@dataclass(frozen=True)
class Fetch:
    """One scrape."""

    at: float
    relay: str


class Pages:
    """Listens for all targets; `fetches` has the scrapes of each, by its number."""

    def __init__(self, count: int) -> None:
        self.port = free_port()
        self.targets = [f"127.0.1.{number + 1}:{self.port}" for number in range(count)]
        self.fetches: dict[int, list[Fetch]] = defaultdict(list)
        self._loop = asyncio.new_event_loop()
        for number in range(count):
            self._loop.run_until_complete(self._listen(number))
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _listen(self, number: int) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while head := await reader.readuntil(b"\r\n\r\n"):
                    query = head.split(b" ", 2)[1].decode().partition("relay=")[2]
                    self.fetches[number].append(Fetch(time.time(), query))
                    fields = f"Content-Type: text/plain; version=0.0.4\r\nContent-Length: {len(PAGE)}"
                    writer.write(f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{PAGE}".encode())
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        await asyncio.start_server(answer, f"127.0.1.{number + 1}", self.port)

    def owners(self, since: float, until: float) -> list[set[str]]:
        """Who scraped each target between two moments."""
        return [
            {fetch.relay for fetch in list(self.fetches[number]) if since <= fetch.at < until}
            for number in range(len(self.targets))
        ]
