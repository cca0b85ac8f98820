"""What the parts of `deploy/check` share: the report, tools, Kubernetes' schemas, the names of all metrics."""

import re
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType

import tools
from checks import Report

# Pinned, for what is valid must not change from day to day. It brings PyYAML.
KUBERNETES_VALIDATE = "kubernetes-validate==1.37.0"
# The oldest that the chart allows, and a present one.
KUBERNETES = ("1.29", "1.35")


@dataclass
class Deploy:
    """One run."""

    root: Path
    relay: Path
    scratch: Path
    update: bool
    report: Report = field(default_factory=Report)

    @property
    def deploy(self) -> Path:
        return self.root / "deploy"

    def run(self, *argv: str | Path, **options) -> subprocess.CompletedProcess:
        """Runs a command to its end; its output as text."""
        options = {"stdin": subprocess.DEVNULL} | options
        return subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False, **options)

    def succeeds(self, name: str, *argv: str | Path) -> None:
        """One check: the command exits with 0."""
        done = self.run(*argv)
        self.report.that(
            name, done.returncode == 0, "exit code 0", (done.stdout + done.stderr).strip()[-1500:]
        )

    def tool(self, tool: tools.Tool) -> str:
        """The path of a tool, which is built when it is missing."""
        return tools.require(tool, tools.cache())

    @cached_property
    def python(self) -> Path:
        """The directory of the packages from PyPI, in the cache."""
        directory = tools.cache() / "python" / KUBERNETES_VALIDATE.replace("==", "-")
        if not directory.is_dir():
            made = directory.with_suffix(".making")
            pip = [
                sys.executable,
                "-m",
                "pip",
                "--no-input",
                "--disable-pip-version-check",
                "install",
                "--quiet",
            ]
            done = self.run(*pip, "--target", made, KUBERNETES_VALIDATE)
            if done.returncode:
                raise RuntimeError(f"pip install {KUBERNETES_VALIDATE} failed: {done.stderr.strip()[-1000:]}")
            made.rename(directory)
        return directory

    @cached_property
    def yaml(self) -> ModuleType:
        self._find_packages()
        import yaml

        return yaml

    def _find_packages(self) -> None:
        if str(self.python) not in sys.path:
            sys.path.append(str(self.python))

    def documents(self, text: str) -> list[dict]:
        """The objects of a YAML text."""
        loader = getattr(self.yaml, "CSafeLoader", self.yaml.SafeLoader)
        return [document for document in self.yaml.load_all(text, loader) if document]

    def invalid(self, objects: list[dict]) -> list[str]:
        """What Kubernetes' schemas say against objects of its own kinds; unknown fields count."""
        self._find_packages()
        import kubernetes_validate

        wrong = []
        for version in KUBERNETES:
            for one in objects:
                try:
                    kubernetes_validate.validate(one, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    where = f"{one['kind']} {one['metadata']['name']}"
                    wrong.append(
                        f"{version}: {where}: {'.'.join(map(str, error.path))}: {error.message[:300]}"
                    )
        return wrong

    @cached_property
    def metric_names(self) -> set[str]:
        """Everything that a canonical series can be called, and the relay's own metrics with their `_bucket`s."""
        documents = ("metric-catalogue.md", "metric-names.md", "metrics.md", "flink.md")
        text = "\n".join((self.root / "docs" / name).read_text() for name in documents)
        names = set(re.findall(r"`((?:flink_|flinkrelay_|process_)\w+|up)`", text))
        # A canonical name that no page has stands only in the column of what is sent; states stand before RocksDB's.
        names |= {
            re.sub(r"_<\w+>_(rocksdb)", r"_\1", name) for name in re.findall(r"`(flink_[\w<>]+)`", text)
        }
        histograms = re.findall(r"`(flinkrelay_\w+)` \| histogram", text)
        return names | {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}

    def unknown_metrics(self, expression: str) -> list[str]:
        """The names in an expression that nothing is called."""
        used = set(re.findall(r"\b(?:flink_|flinkrelay_|process_)\w+(?![\w:])", expression))
        return sorted(used - self.metric_names)

    def rejected(self, name: str, config: str) -> str:
        """What the relay says against a configuration file; empty when it takes it."""
        file = self.scratch / f"{name}.yaml"
        file.write_text(config)
        done = self.run(
            self.relay, "check", "-c", file, env={"POD_NAME": "relay-0", "POD_NAMESPACE": "flink"}
        )
        return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()

    def current(self, name: str, path: Path, text: str) -> None:
        """One check: a file has the text that it would be given now; with --update it is given it."""
        if self.update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        is_current = path.is_file() and path.read_text() == text
        where = path.relative_to(self.root)
        self.report.that(
            name,
            is_current,
            f"{where} as it is generated now",
            "another text: deploy/check --update, then read the difference",
        )
