"""The schemas of the Prometheus operator's kinds, generated from its Go types as its authors do.

Kept in the cache beside the tools, by version.
"""

import os
import tempfile
from pathlib import Path

import tools
from procs import SetupError

CONTROLLER_GEN = tools.Tool("controller-gen", "sigs.k8s.io/controller-tools/cmd/controller-gen", "v0.23.0")
MONITORING = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring"
MONITORING_VERSION = "v0.95.1"
KINDS = ("podmonitors", "prometheusrules", "servicemonitors")


def monitoring(cache: Path) -> list[Path]:
    """A file with the CustomResourceDefinition of each of `KINDS`."""
    directory = cache / "crds" / f"monitoring-{MONITORING_VERSION}"
    if not directory.is_dir():
        _generate(directory, tools.require(CONTROLLER_GEN, cache))
    return [directory / f"monitoring.coreos.com_{kind}.yaml" for kind in KINDS]


def _generate(directory: Path, generator: str) -> None:
    go = tools.find_go("the schemas of the Prometheus operator")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix="making-") as scratch:
        tools.run_go(go, scratch, "mod", "init", "schemas")
        tools.run_go(go, scratch, "get", f"{MONITORING}/v1@{MONITORING_VERSION}")
        # The generator reads packages that a module imports.
        Path(scratch, "schemas.go").write_text(f'package schemas\n\nimport _ "{MONITORING}/v1"\n')
        made = Path(scratch, "made")
        # It runs `go list` itself.
        path = os.pathsep.join((str(Path(go).parent), os.environ.get("PATH", "")))
        argv = [generator, "crd", f"paths={MONITORING}/v1", f"output:crd:dir={made}"]
        done = tools.run(argv, scratch, {"PATH": path})
        if done.returncode:
            raise SetupError(f"{generator} failed: {done.stderr.strip()[-2000:]}")
        made.rename(directory)
