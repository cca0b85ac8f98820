"""HTTP requests to loopback, and listeners that are not Flink.

Proxies from the environment are never used: everything here lives on 127.0.0.1.
"""

import contextlib
import http.client
import http.server
import socket
import threading
import urllib.error
import urllib.request

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class NoAnswer(OSError):
    """The server took the request and closed the connection without a whole answer."""


def fetch(
    url: str, method: str = "GET", body: bytes | None = None, timeout_s: float = 10
) -> bytes:
    """The body of a 2xx answer; OSError for everything else."""
    request = urllib.request.Request(url, data=body, method=method)
    try:
        with _DIRECT.open(request, timeout=timeout_s) as answer:
            return answer.read()
    except (http.client.HTTPException, ConnectionResetError) as error:
        raise NoAnswer(f"{url}: {type(error).__name__} {error}") from error
    except urllib.error.HTTPError as error:
        raise OSError(f"{url}: {error.code} {error.read(1000).decode(errors='replace')}") from error


def answers(url: str) -> bool:
    """Whether `url` answers with 2xx now."""
    try:
        fetch(url, timeout_s=2)
    except OSError:
        return False
    return True


class HtmlServer:
    """A web page on a port of Flink's range: HTTP 200, but not Prometheus' format."""

    def __init__(self, port: int) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), _HtmlPage)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _HtmlPage(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = b"<!doctype html>\n<title>not Flink</title>\n<p>up 1</p>\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        # Who has asked may be stopped at any moment.
        with contextlib.suppress(ConnectionError):
            self.end_headers()
            self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Requests are not logged."""


class SilentListener:
    """A port that accepts connections (the kernel does) and never says a word."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._socket.listen(128)

    def close(self) -> None:
        self._socket.close()
