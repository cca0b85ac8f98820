#!/usr/bin/env python3
"""Receivers and checkers that Debian does not ship, built from their Go modules into the cache.

`e2e/tools.py` builds what is missing, in several minutes; with everything there it takes no time.
"""

import json
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
    # Version of the modules that its go.mod replaces by directories of its own repository: whoever requires the
    # tool's module does not inherit that.
    staging: str = ""
    # The variable that holds the version, where the command is of no use without it.
    stamp: str = ""

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
# The agent beside which benches/compare.py measures, which builds it when it needs it.
VMAGENT = Tool("vmagent", "github.com/VictoriaMetrics/VictoriaMetrics/app/vmagent", "v1.143.0")
HELM = Tool("helm", "helm.sh/helm/v3/cmd/helm", "v3.22.0")
# The API server tells its version, and helm refuses one that it cannot read. Its build takes five minutes on two
# cores with empty caches, kubectl's one more.
KUBE_APISERVER = Tool(
    "kube-apiserver",
    "k8s.io/kubernetes/cmd/kube-apiserver",
    "v1.35.4",
    staging="v0.35.4",
    stamp="k8s.io/component-base/version.gitVersion",
)
KUBECTL = Tool(
    "kubectl",
    "k8s.io/kubernetes/cmd/kubectl",
    "v1.35.4",
    staging="v0.35.4",
    stamp="k8s.io/component-base/version.gitVersion",
)
# Without kubectl, which some machines have: it is built where there is none.
TOOLS = (PROMETHEUS_3, VICTORIA_METRICS, PROMTOOL, VMALERT, HELM, KUBE_APISERVER)


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
    go = find_go(path.name)
    print(f"building {path.name}", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="building-") as directory:
        built = Path(directory) / "built"
        run_go(go, directory, "mod", "init", "build")
        for module in staged(go, directory, tool) if tool.staging else ():
            run_go(go, directory, "mod", "edit", "-replace", f"{module}={module}@{tool.staging}")
        run_go(go, directory, "get", f"{tool.package}@{tool.version}")
        stamp = [f"-ldflags=-X {tool.stamp}={tool.version}"] if tool.stamp else []
        run_go(go, directory, "build", *stamp, "-o", str(built), tool.package)
        # Renamed when complete: a build that is interrupted leaves nothing that looks like a tool.
        built.rename(path)


def staged(go: str, directory: str, tool: Tool) -> list[str]:
    """The modules that the tool's own go.mod replaces by directories beside it."""
    root = "/".join(tool.package.split("/")[:2])
    told = run_go(go, directory, "mod", "download", "-json", f"{root}@{tool.version}")
    replaced = json.loads(run_go(go, directory, "mod", "edit", "-json", json.loads(told)["GoMod"]))["Replace"]
    return [entry["Old"]["Path"] for entry in replaced if entry["New"]["Path"].startswith("./")]


def find_go(wanted: str) -> str:
    """The path of the go command, without which `wanted` cannot be had."""
    # Go's own installer leaves it to the person to put this directory into PATH.
    if go := shutil.which("go") or shutil.which("go", path="/usr/local/go/bin"):
        return go
    raise SetupError(f"{wanted} is not there and cannot be built: Go is missing, see https://go.dev/dl")


def run(argv: list[str], directory: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """Runs a command to its end; its output as text."""
    env = os.environ | (env or {})
    return subprocess.run(
        argv, cwd=directory, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def run_go(go: str, directory: str, *arguments: str) -> str:
    """What a go command wrote to its standard output."""
    done = run([go, *arguments], directory)
    if done.returncode != 0:
        raise SetupError(f"go {' '.join(arguments)} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


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
