"""The query API that VictoriaMetrics and Prometheus share."""

import json
import time
import urllib.parse
from dataclasses import dataclass

from net import fetch

# All labels of a stored series, `__name__` among them.
Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Api:
    """The API below `url`; all times are Unix seconds."""

    name: str
    url: str
    # Labels that the receiver itself added: left out of every answer.
    hidden: frozenset[str] = frozenset()

    def instant(self, expression: str, at: float | None = None) -> dict[Labels, float]:
        """The value of each series of `expression` at the time `at` (now)."""
        return {
            self._labels(series): float(series["value"][1])
            for series in self._query(expression, at, "vector")
        }

    def scalar(self, expression: str, at: float | None = None) -> float | None:
        """The value of an expression that yields one series or none."""
        values = list(self.instant(expression, at).values())
        if len(values) > 1:
            raise ValueError(f"{expression} yields {len(values)} series on {self.name}")
        return values[0] if values else None

    def raw(
        self, selector: str, since: float, until: float
    ) -> dict[Labels, list[tuple[float, float]]]:
        """The stored samples (time, value) of (since, until], without staleness markers."""
        window_s = int(until - since) + 1
        return {
            self._labels(series): [
                (float(at), float(value))
                for at, value in series["values"]
                if value is not None and since < float(at) <= until
            ]
            for series in self._query(f"{selector}[{window_s}s]", until, "matrix")
        }

    def last_times(self, selector: str, window_s: float = 120) -> dict[str, float]:
        """The time of the newest sample of each series of `selector`, by its `instance`."""
        now = time.time()
        return {
            dict(labels)["instance"]: samples[-1][0]
            for labels, samples in self.raw(selector, now - window_s, now).items()
            if samples
        }

    def _labels(self, series: dict) -> Labels:
        return frozenset((n, v) for n, v in series["metric"].items() if n not in self.hidden)

    def _query(self, expression: str, at: float | None, kind: str) -> list[dict]:
        arguments = {"query": expression, "time": f"{at or time.time():.3f}", "nocache": "1"}
        body = urllib.parse.urlencode(arguments).encode()
        answer = json.loads(fetch(f"{self.url}/api/v1/query", method="POST", body=body))
        if answer["status"] != "success" or answer["data"]["resultType"] != kind:
            raise ValueError(f"{self.name} answers {expression} with {str(answer)[:300]}")
        return answer["data"]["result"]
