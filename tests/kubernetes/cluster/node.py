"""One cluster of one node: started, looked at, and gone without a trace."""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.kubernetes.cluster import parts
from tests.kubernetes.cluster.bridge import Bridge
from tests.kubernetes.cluster.parts import API_PORT, NODE, SOCKET
from tests.kubernetes.cluster.programs import PAUSE_IMAGE, Programs, prepare
from tests.support.certificates import Authority
from tests.support.service import free_ports

__all__ = ["Node", "running_node"]

_START_SECONDS = 180
_STOP_SECONDS = 20
_FOLDER_SIZE = "8g"
_OWNER = 1000
"""Who runs in our images."""
_CGROUPS = Path("/sys/fs/cgroup")


class Node:
    """See the module.

    Parameters
    ----------
    programs
        What is run.
    folder
        Empty, on a file system that overlays can lie on; everything that the cluster writes is in it.
    patience_seconds
        After how long of silence the node counts as lost, and after how long more its pods are given up; None for
        Kubernetes' own 50 and 300 seconds.
    """

    def __init__(self, programs: Programs, folder: Path, patience_seconds: int | None = None) -> None:
        self.folder = folder
        self.kubeconfig = folder / "admin.kubeconfig"
        self._programs = programs
        self._patience_seconds = patience_seconds
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, tuple[str, ...]] = {}
        self.bridge = Bridge()
        self.address = self.bridge.address
        """Where processes of this machine can be reached from pods."""
        self._client: httpx.Client | None = None

    # --- life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until the node takes pods."""
        for name in ("logs", "pki", "etcd", "kubelet", "cni", "volumes"):
            (self.folder / name).mkdir()
        self._sign()
        self._configure()
        etcd, peers = free_ports(2)
        self._run("etcd", "etcd", *parts.etcd(self.folder, etcd, peers))
        self._run_part("kube-apiserver", *parts.api_server(self.folder, self.address, etcd, self._patience_seconds))
        self._run("containerd", "containerd", "--config", str(self.folder / "containerd.toml"))
        self._wait("the API server", lambda: self.api("GET", "/readyz").status_code == 200)
        controllers = parts.controllers(self.folder, self.kubeconfig, self._patience_seconds)
        self._run_part("kube-controller-manager", *controllers)
        self._run_part("kube-scheduler", f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--secure-port=0")
        self._wait("containerd", lambda: self._ctr("version").returncode == 0)
        self.load(self._programs.pause_image)
        self._make_cgroup()
        self._run_part("kubelet", *parts.kubelet(self.folder, self.address))
        self._wait("the node", self._is_ready)

    def stop(self) -> None:
        """End everything that belongs to it, pods included, and take back what it made on this machine."""
        self._end("kubelet", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")
        self._kill_pods()
        self._end("containerd")
        self._unmount()
        self._remove_cgroup()
        self.bridge.remove()
        if self._client is not None:
            self._client.close()

    # --- as its administrator ---------------------------------------------------------------------------------

    def api(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
        """One request with all rights."""
        if self._client is None:
            pki = self.folder / "pki"
            context = ssl.create_default_context(cafile=pki / "ca.crt")
            context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
            self._client = httpx.Client(
                base_url=f"https://{self.address}:{API_PORT}", verify=context, trust_env=False, timeout=30
            )
        return self._client.request(method, path, json=body, **options)

    def make(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Make an object."""
        answer = self.api("POST", path, body)
        assert answer.is_success, (path, answer.status_code, answer.text)
        return dict(answer.json())

    def load(self, archive: Path) -> None:
        """Give the node the images of an archive, as `buildah push docker-archive:` makes one."""
        done = self._ctr("images", "import", "--no-unpack", str(archive))
        assert done.returncode == 0, done.stderr

    def add_volume(self, name: str, gib: int, *, claim: tuple[str, str] | None = None) -> Path:
        """A volume of this machine's disk, for the claim of this namespace and name or for any one; its folder."""
        folder = self.folder / "volumes" / name
        folder.mkdir()
        os.chown(folder, _OWNER, -1)
        self.make(
            "/api/v1/persistentvolumes",
            {
                "metadata": {"name": name},
                "spec": {
                    "capacity": {"storage": f"{gib}Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "hostPath": {"path": str(folder), "type": "Directory"},
                    "persistentVolumeReclaimPolicy": "Retain",
                    **({"claimRef": dict(zip(("namespace", "name"), claim, strict=True))} if claim else {}),
                },
            },
        )
        return folder

    def execute(self, container: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a container, as `kubectl exec` does; `container` is the id that the pod's status says."""
        name = container.removeprefix("containerd://")
        return self._ctr("tasks", "exec", "--exec-id", f"nbfed-{time.monotonic_ns()}", name, *command)

    @contextlib.contextmanager
    def without_api(self, *, hangs: bool) -> Iterator[None]:
        """Meanwhile the API server does not answer: it hangs, or it is gone. What runs in pods goes on."""
        name = "kube-apiserver"
        if hangs:
            self._processes[name].send_signal(signal.SIGSTOP)
        else:
            self._end(name)
        try:
            yield
        finally:
            if hangs:
                self._processes[name].send_signal(signal.SIGCONT)
            else:
                self._run(name, *self._commands[name])
            self._wait("the API server", lambda: self.api("GET", "/readyz").status_code == 200)

    @contextlib.contextmanager
    def without_kubelet(self) -> Iterator[None]:
        """Meanwhile the node is silent: what runs in pods goes on, and nobody hears of it."""
        with self._company():
            self._end("kubelet")
            try:
                yield
            finally:
                self._run("kubelet", *self._commands["kubelet"])
                self._wait("the node", self._is_ready)

    @contextlib.contextmanager
    def _company(self) -> Iterator[None]:
        """Another node that says that it is well, and takes no pods. Where all nodes are silent, nothing is given up: it
        may be the controllers themselves who hear nothing (kubernetes.io, Nodes, “Rate limits on eviction”).
        """
        name, leases = "company", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        self.make("/api/v1/nodes", {"metadata": {"name": name}, "spec": {"unschedulable": True}})
        self.make(leases, {"metadata": {"name": name}, "spec": {"holderIdentity": name, "leaseDurationSeconds": 40}})
        ready = {"type": "Ready", "status": "True", "reason": "Well", "message": "it is well"}
        over = threading.Event()

        def be_well() -> None:
            merge = {"headers": {"Content-Type": "application/merge-patch+json"}}
            while not over.wait(1):
                now = datetime.now(UTC)
                beat = {"lastHeartbeatTime": f"{now:%Y-%m-%dT%H:%M:%SZ}", **ready}
                self.api("PATCH", f"/api/v1/nodes/{name}/status", {"status": {"conditions": [beat]}}, **merge)
                lease = {"spec": {"renewTime": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}"}}
                self.api("PATCH", f"{leases}/{name}", lease, **merge)

        thread = threading.Thread(target=be_well, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.api("DELETE", f"/api/v1/nodes/{name}")

    def logs(self) -> str:
        """The end of every log, for a test that failed."""
        files = sorted((self.folder / "logs").glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-1500:]}" for file in files)

    # --- what each part is told -------------------------------------------------------------------------------

    def _sign(self) -> None:
        authority = Authority(self.folder / "pki")
        authority.sign("api", "kube-apiserver", hosts=(self.address, "10.96.0.1", "kubernetes.default.svc"))
        authority.sign("admin", "admin", group="system:masters")
        authority.sign("kubelet", f"system:node:{NODE}", group="system:nodes", hosts=(NODE, self.address))
        authority.key_pair("accounts")
        self._write_kubeconfig(self.kubeconfig, "admin")
        self._write_kubeconfig(self.folder / "kubelet.kubeconfig", "kubelet")

    def _write_kubeconfig(self, file: Path, name: str) -> None:
        pki = self.folder / "pki"
        cluster = {"server": f"https://{self.address}:{API_PORT}", "certificate-authority": str(pki / "ca.crt")}
        user = {"client-certificate": str(pki / f"{name}.crt"), "client-key": str(pki / f"{name}.key")}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": name}}],
            "current-context": "here",
        }
        file.touch(0o600)
        file.write_text(yaml.safe_dump(content))

    def _configure(self) -> None:
        plugin = self.bridge.plugin(str(self.folder / "addresses"))
        (self.folder / "cni" / "10-bridge.conflist").write_text(json.dumps(plugin))
        (self.folder / "containerd.toml").write_text(
            parts.CONTAINERD.format(folder=self.folder, pause=PAUSE_IMAGE, cni=self._programs.cni)
        )
        (self.folder / "kubelet.yaml").write_text(yaml.safe_dump(parts.kubelet_settings(self.folder, self.bridge)))

    # --- processes --------------------------------------------------------------------------------------------

    @property
    def _socket(self) -> Path:
        return self.folder / SOCKET

    def _run_part(self, name: str, *arguments: str) -> None:
        self._run(name, str(self._programs.part(name)), *arguments)

    def _run(self, name: str, *command: str) -> None:
        self._commands[name] = command
        dies_with_us = ["setpriv", "--pdeathsig", "KILL"]  # a run that is killed leaves no cluster behind
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*dies_with_us, *command], stdout=log, stderr=subprocess.STDOUT, cwd=self.folder, start_new_session=True
            )

    def _wait(self, what: str, is_there: Any) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            ended = [name for name, process in self._processes.items() if process.poll() is not None]
            assert not ended, f"{', '.join(ended)} ended:\n{self.logs()}"
            with contextlib.suppress(httpx.HTTPError):
                if is_there():
                    return
            time.sleep(0.2)
        raise AssertionError(f"{what} did not come up:\n{self.logs()}")

    def _is_ready(self) -> bool:
        answer = self.api("GET", f"/api/v1/nodes/{NODE}")
        conditions = answer.json()["status"].get("conditions", []) if answer.is_success else []
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def _ctr(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ctr", "--address", self._socket, "-n", "k8s.io", *words],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def _end(self, *names: str) -> None:
        """By force: what they would put in order goes away with the folder, and the API server waits for its clients."""
        ending = [process for name in names if (process := self._processes.pop(name, None)) is not None]
        for process in ending:
            process.kill()
        for process in ending:
            process.wait()

    def _kill_pods(self) -> None:
        """What runs in pods, and the shims that hold them: both outlive containerd."""
        deadline = time.monotonic() + _STOP_SECONDS
        while (left := self._of_pods()) and time.monotonic() < deadline:
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.1)

    def _of_pods(self) -> list[psutil.Process]:
        pids = {int(word) for file in self._cgroup_files("cgroup.procs") for word in _read(file).split()}
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            words = process.info["cmdline"] or [""]
            is_shim = "containerd-shim" in words[0] and str(self._socket) in words
            # One that ended is not waited for: whose child it is now is not ours to say.
            if (is_shim or process.pid in pids) and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    # --- what it makes on this machine ------------------------------------------------------------------------

    def _cgroup_roots(self) -> list[Path]:
        if (_CGROUPS / "cgroup.controllers").exists():
            return [_CGROUPS / self.bridge.name]
        return [folder / self.bridge.name for folder in _CGROUPS.iterdir() if (folder / "cgroup.procs").exists()]

    def _make_cgroup(self) -> None:
        for folder in self._cgroup_roots():
            folder.mkdir(exist_ok=True)

    def _cgroup_files(self, name: str) -> list[Path]:
        return [file for root in self._cgroup_roots() for file in root.rglob(name)]

    def _remove_cgroup(self) -> None:
        for root in self._cgroup_roots():
            for folder in sorted((path for path in root.rglob("*") if path.is_dir()), reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            with contextlib.suppress(OSError):
                root.rmdir()

    def _unmount(self) -> None:
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((one for one in mounts if one.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True, timeout=30)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # its last process ended just now
        return ""


@contextlib.contextmanager
def running_node(*, patience_seconds: int | None = None) -> Iterator[Node]:
    """A cluster that takes pods; ended and removed afterwards, whatever happened.

    Raises
    ------
    ClusterMissing
        If it cannot be had here.
    """
    programs = prepare()
    folder = Path(tempfile.mkdtemp(prefix="nbfed-cluster-"))
    # In memory: an unpacked image is thousands of files, and etcd waits for the disk at each write.
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_FOLDER_SIZE},mode=0711", "nbfed", folder], check=True)
    try:
        node = Node(programs, folder, patience_seconds)
        try:
            node.start()
            yield node
        finally:
            node.stop()
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)
        folder.rmdir()
