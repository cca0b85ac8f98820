#!/usr/bin/env python3
"""Receivers and checkers that Debian does not ship, built from their Go modules into the cache.

`e2e/tools.py` builds what is missing, in several minutes; with everything there it takes no time.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from procs import SetupError


@dataclass(frozen=True)
class Tool:
    """A command of a Go module."""

    name: str
    package: str
    version: str

    def path(self, cache: Path) -> Path:
        """Named for its version, so that another version is another file."""
        return cache / "tools" / f"{self.name}-{self.version}"


# v0.315 is Prometheus 3.15, whose modules are numbered so. The next one, v0.316.0, needs a module that
# Go's proxy does not serve.
PROMETHEUS_3 = Tool("prometheus", "github.com/prometheus/prometheus/cmd/prometheus", "v0.315.0")
VICTORIA_METRICS = Tool(
    "victoria-metrics", "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics", "v1.143.0"
)
# Its rules are those of the Prometheus above, whose module it is in.
PROMTOOL = Tool("promtool", "github.com/prometheus/prometheus/cmd/promtool", "v0.315.0")
VMALERT = Tool("vmalert", "github.com/VictoriaMetrics/VictoriaMetrics/app/vmalert", "v1.143.0")
# The agent beside which `cargo bench --bench agents` measures.
VMAGENT = Tool("vmagent", "github.com/VictoriaMetrics/VictoriaMetrics/app/vmagent", "v1.143.0")
HELM = Tool("helm", "helm.sh/helm/v3/cmd/helm", "v3.22.0")
TOOLS = (PROMETHEUS_3, VICTORIA_METRICS, PROMTOOL, VMALERT, VMAGENT, HELM)


def cache() -> Path:
    """Where downloads are kept between runs, outside the checkout."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("FLINKRELAY_CACHE") or base / "flinkrelay")


def require(tool: Tool, cache: Path) -> str:
    """The path of a tool, which is built when it is missing."""
    path = tool.path(cache)
    if not path.is_file():
        build(tool, path)
    return str(path)


def build(tool: Tool, path: Path) -> None:
    """Builds in a module of its own that requires the tool's: `go install` refuses modules with `replace`."""
    # Go's own installer leaves it to the person to put this directory into PATH.
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if not go:
        raise SetupError(f"{path.name} is not there and cannot be built: Go is missing, see https://go.dev/dl")
    print(f"building {path.name}", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="building-") as directory:
        built = Path(directory) / "built"
        for argv in (
            ["mod", "init", "build"],
            ["get", f"{tool.package}@{tool.version}"],
            ["build", "-o", str(built), tool.package],
        ):
            done = subprocess.run(
                [go, *argv], cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            if done.returncode != 0:
                raise SetupError(f"go {argv[0]} {tool.package} failed: {done.stderr.strip()[-2000:]}")
        # Renamed when complete: a build that is interrupted leaves nothing that looks like a tool.
        built.rename(path)


def main() -> int:
    for tool in TOOLS:
        try:
            print(require(tool, cache()))
        except SetupError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
