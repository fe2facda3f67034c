"""The programs of the cluster: what Debian has, and what is compiled once into a cache outside of the checkout.

python -m tests.kubernetes.cluster.programs        # fill the cache, and say how long it took
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.cache import made_once

__all__ = ["PAUSE_IMAGE", "SOURCE", "ClusterMissing", "Programs", "prepare", "why_not"]

SOURCE = Path(__file__).parent / "kubernetes"
PARTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
PAUSE_IMAGE = "localhost/pause:1"

_DEBIAN = {"etcd": "etcd-server", "containerd": "containerd", "ctr": "containerd", "runc": "runc",
           "buildah": "buildah", "ip": "iproute2"}  # fmt: skip
_CNI = Path("/usr/lib/cni")
_BUILD_SECONDS = 3 * 3600


class ClusterMissing(Exception):
    """It cannot be had on this machine; the message says why."""


class Programs:
    """Where they are.

    Parameters
    ----------
    folder
        In the cache.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pause_image = folder / "pause.tar"

    def part(self, name: str) -> Path:
        """A part of Kubernetes; each is the same file under another name."""
        return self.folder / "bin" / name

    @property
    def cni(self) -> Path:
        return _CNI


def why_not() -> str | None:
    """Why no cluster can be run here; None if one can."""
    if os.geteuid() != 0:
        return "a cluster needs root: namespaces, mounts and a bridge are made for it"
    missing = sorted({package for program, package in _DEBIAN.items() if shutil.which(program) is None})
    if not (_CNI / "bridge").exists():
        missing.append("containernetworking-plugins")
    if missing:
        return f"not installed: {', '.join(missing)} (on Debian as root, `make cluster` does it)"
    return None


def prepare() -> Programs:
    """The programs, compiled if they are not in the cache yet; processes that start together wait for one.

    Raises
    ------
    ClusterMissing
        If they cannot be had.
    """
    if reason := why_not():
        raise ClusterMissing(reason)
    return Programs(made_once(f"kubernetes-{_key()}", _build))


def _key() -> str:
    """By what is compiled: versions, their sums, and what is ours."""
    files = [SOURCE / "go.mod", SOURCE / "go.sum", *sorted(SOURCE.rglob("*.go"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def _version() -> str:
    """Of Kubernetes, as go.mod names it."""
    for line in (SOURCE / "go.mod").read_text().splitlines():
        match line.split():
            case ["k8s.io/kubernetes", version, *_]:
                return version
    raise AssertionError("go.mod names no k8s.io/kubernetes")


def _build(folder: Path) -> None:
    if shutil.which("go") is None:
        raise ClusterMissing("not installed: go, which compiles Kubernetes")
    programs = folder / "bin"
    programs.mkdir()
    began = time.monotonic()
    version = _version()
    major, minor, _ = version.removeprefix("v").split(".")
    stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    flags = " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{name}={stamp}" for name, stamp in stamps.items())])
    print(f"compiling Kubernetes {version}: about 10 minutes of a core's time, once", file=sys.stderr)
    _run(["go", "build", "-trimpath", "-ldflags", flags, "-o", programs / PARTS[0], "."])
    for name in PARTS[1:]:
        (programs / name).symlink_to(PARTS[0])
    _run(["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", folder / "pause", "./pause"])
    _pack_pause(folder)
    print(f"compiled in {time.monotonic() - began:.0f} s", file=sys.stderr)


def _pack_pause(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "Containerfile"
        file.write_text('FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n')
        storage = ["--root", f"{scratch}/root", "--runroot", f"{scratch}/run", "--storage-driver", "vfs"]
        _run(["buildah", *storage, "bud", "-q", "-f", file, "-t", PAUSE_IMAGE, folder])
        _run(["buildah", *storage, "push", "-q", PAUSE_IMAGE, f"docker-archive:{folder / 'pause.tar'}:{PAUSE_IMAGE}"])


def _run(command: list[str | Path]) -> None:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"}
    done = subprocess.run(
        command, capture_output=True, check=False, text=True, cwd=SOURCE, env=environment, timeout=_BUILD_SECONDS
    )
    if done.returncode:
        raise ClusterMissing(f"{command[0]} failed: {done.stderr[-2000:]}")


if __name__ == "__main__":
    try:
        print(f"Kubernetes {_version()} is in {prepare().folder}")
    except ClusterMissing as missing:
        sys.exit(f"Kubernetes {_version()} cannot be had: {missing}")
