"""A real Kubernetes API: etcd and a kube-apiserver of this run's own, with RBAC, and no nodes behind it.

Objects can be created, watched, patched and deleted, but no controller acts on them: nobody makes pods of a StatefulSet, and
a pod keeps the status that `Api.set_status` writes, so tests say themselves which address a pod has.

Everything listens on free ports of loopback and ends with the run. The API server can be killed and started again; what it holds is
in etcd.
"""

import base64
import http.client
import json
import shutil
import ssl
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import tools
from procs import Process, Processes, SetupError, free_port, require_command

ADMIN_TOKEN = "admin-token"
START_TIMEOUT_S = 120
_FIELD_MANAGER = "e2e"


class ApiError(Exception):
    """The API server refused a request; `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class Api:
    """One API server with its etcd."""

    def __init__(self, processes: Processes, directory: Path) -> None:
        self.processes = processes
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        etcd = require_command("etcd", ["etcd-server"])
        openssl = require_command("openssl", ["openssl"])
        self._binary = tools.require(tools.KUBE_APISERVER, tools.cache())
        # One that is there is taken: kubectl works with servers newer than itself as far as tests go.
        self.kubectl_path = shutil.which("kubectl") or tools.require(tools.KUBECTL, tools.cache())
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        # Signed by itself when the server starts for the first time.
        self.authority = directory / "certs" / "apiserver.crt"
        self._key = directory / "service-accounts.key"
        curve = ["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", self._key]
        subprocess.run([openssl, *map(str, curve)], check=True, capture_output=True)
        tokens = directory / "tokens.csv"
        tokens.write_text(f"{ADMIN_TOKEN},admin,admin,system:masters\n")
        clients, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.etcd = processes.start(
            "etcd",
            [
                etcd,
                f"--data-dir={directory / 'etcd'}",
                f"--listen-client-urls={clients}",
                f"--advertise-client-urls={clients}",
                f"--listen-peer-urls={peers}",
                f"--initial-advertise-peer-urls={peers}",
                f"--initial-cluster=default={peers}",
            ],
        )
        self.server: Process
        self._argv = [
            self._binary,
            f"--etcd-servers={clients}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self.authority.parent}",
            "--service-account-issuer=https://localhost",
            f"--service-account-key-file={self._key}",
            f"--service-account-signing-key-file={self._key}",
            "--service-cluster-ip-range=10.96.0.0/24",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            # No controller makes the ServiceAccount `default` that this plugin asks for.
            "--disable-admission-plugins=ServiceAccount",
        ]
        self._local = threading.local()
        self.start()
        self.kubeconfig = self.write_kubeconfig("admin", ADMIN_TOKEN)

    def start(self) -> None:
        """Starts the API server, and waits until it is ready."""
        self.server = self.processes.start("kube-apiserver", self._argv)
        self.processes.wait_until("the API server is ready", self._is_ready, START_TIMEOUT_S)

    def kill(self) -> None:
        """kill -9 of the API server; what was written is in etcd."""
        self.server.kill()

    def _is_ready(self) -> bool:
        try:
            return self.request("GET", "/readyz") == "ok"
        except (OSError, ApiError, http.client.HTTPException):
            return False

    def request(
        self, method: str, path: str, body: object = None, kind: str = "application/json", token: str = ADMIN_TOKEN
    ) -> object:
        """One request; the answer, read from JSON if it is such.

        Each thread keeps its connection, so that thousands of requests take seconds. Raises `ApiError` when refused, OSError or
        `HTTPException` when there is no answer.
        """
        data = None if body is None else json.dumps(body)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
        kept = getattr(self._local, "connection", None)
        try:
            answer, text = self._ask(kept or self._connect(), method, path, data, headers)
        except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLError):
            # The server closes what has been idle for long.
            if not kept:
                raise
            answer, text = self._ask(self._connect(), method, path, data, headers)
        if answer.status >= 300:
            raise ApiError(answer.status, text[:500])
        return json.loads(text) if "json" in (answer.getheader("Content-Type") or "") else text

    def _connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.authority))
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)

    def _ask(self, connection: http.client.HTTPSConnection, *request) -> tuple[http.client.HTTPResponse, str]:
        try:
            connection.request(*request)
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException):
            connection.close()
            self._local.connection = None
            raise
        self._local.connection = connection
        return answer, text

    def write_kubeconfig(self, name: str, token: str) -> Path:
        """A kubeconfig with this bearer token."""
        path = self.directory / f"kubeconfig-{name}"
        authority = base64.b64encode(self.authority.read_bytes()).decode()
        cluster = {"server": self.url, "certificate-authority-data": authority}
        # YAML takes JSON.
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "e2e", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": name}}],
            "current-context": "e2e",
        }
        path.write_text(json.dumps(config, indent=1))
        path.chmod(0o600)
        return path

    def token(self, namespace: str, account: str, lasts_s: int = 3600) -> str:
        """A new token of a ServiceAccount, as a kubelet asks for one; the API's minimum is 600 seconds."""
        asked = {"spec": {"expirationSeconds": lasts_s}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        return self.request("POST", path, asked)["status"]["token"]

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """What kubectl wrote; raises `SetupError` with its words when it failed."""
        done = self.try_kubectl(*arguments, stdin=stdin, kubeconfig=kubeconfig)
        if done.returncode:
            raise SetupError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def try_kubectl(
        self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None
    ) -> subprocess.CompletedProcess:
        """The same, whatever becomes of it."""
        argv = [self.kubectl_path, f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments]
        return subprocess.run(argv, input=stdin or "", capture_output=True, text=True, check=False)

    def apply(self, *objects: dict) -> None:
        """Creates or changes objects, server-side."""
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("apply", "--server-side", f"--field-manager={_FIELD_MANAGER}", "--filename=-", stdin=listed)

    def make_namespace(self, name: str) -> None:
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def make_pod(self, pod: dict, address: str | None = None, phase: str = "Running") -> None:
        """Creates a pod (`metadata` with name and namespace, `spec`), and with `address` gives it its status."""
        metadata = pod["metadata"]
        whole = {"apiVersion": "v1", "kind": "Pod", **pod}
        self.request("POST", f"/api/v1/namespaces/{metadata['namespace']}/pods", whole)
        if address:
            self.set_status(metadata["namespace"], metadata["name"], address, phase)

    def set_status(self, namespace: str, name: str, address: str | None, phase: str = "Running") -> None:
        """Says which address a pod has and how it is, as its kubelet would."""
        ready = {"type": "Ready", "status": "True" if phase == "Running" else "False"}
        status = {"phase": phase, "conditions": [ready], "hostIP": "127.0.0.1"}
        if address:
            status |= {"podIP": address, "podIPs": [{"ip": address}]}
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        self.request("PATCH", path, {"status": status}, "application/merge-patch+json")

    def delete_pod(self, namespace: str, name: str) -> None:
        """Deletes a pod at once: there is no kubelet that would end it."""
        self.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}", {"gracePeriodSeconds": 0})

    @property
    def address(self) -> str:
        """`HOST:PORT`."""
        return urlsplit(self.url).netloc
