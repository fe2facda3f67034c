"""The project's images, built for tests: the same Containerfiles, on a Debian that this machine's `apt` can fetch.

They are kept as archives in the cache, each named by what is in it.

    python -m tests.kubernetes.images        # fill the cache, and say how large each is
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.kubernetes.cluster.programs import ClusterMissing
from tests.support.cache import cache_root

__all__ = ["TAG", "ClusterMissing", "prepare_image"]

ROOT = Path(__file__).parents[2]
TAG = "localhost/notebooks-federation/singleuser-{environment}:test"

_SUITE = "bookworm"
_BASE_PACKAGES = "python3,python3-venv,ca-certificates"
_NOT_NEEDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
_SECONDS = 3600


def prepare_image(environment: str) -> Path:
    """The archive of a notebook environment's image; processes that start together wait for one.

    Raises
    ------
    ClusterMissing
        If it cannot be built here.
    """
    missing = [program for program in ("buildah", "mmdebstrap") if shutil.which(program) is None]
    if missing:
        raise ClusterMissing(f"not installed: {' and '.join(missing)} (on Debian as root, `make cluster` does it)")
    base = _cached(f"debian-{_SUITE}-{_digest([_BASE_PACKAGES.encode()])}.tar", _make_base)
    parts = [
        ROOT / "images" / "singleuser" / "Containerfile",
        ROOT / "images" / "environments" / environment / "requirements.lock",
        *sorted(path for path in (ROOT / "spawners" / "lab").rglob("*") if path.is_file() and path.suffix != ".pyc"),
    ]
    key = _digest([path.read_bytes() for path in parts] + [base.name.encode()])
    return _cached(f"singleuser-{environment}-{key}.tar", lambda file: _build(environment, base, file))


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    file = cache_root() / "images" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            unfinished = file.with_suffix(".unfinished.tar")
            unfinished.unlink(missing_ok=True)
            make(unfinished)
            unfinished.rename(file)
    return file


def _make_base(file: Path) -> None:
    excluded = [f"--dpkgopt=path-exclude={path}" for path in _NOT_NEEDED]
    _run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_BASE_PACKAGES}", *excluded, _SUITE, str(file)])


def _build(environment: str, base: Path, file: Path) -> None:
    tag = TAG.format(environment=environment)
    with tempfile.TemporaryDirectory(prefix="nbfed-images-") as folder:
        options = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]
        buildah = ["buildah", *options]
        container = _run([*buildah, "from", "scratch"])
        _run([*buildah, "add", "--quiet", container, str(base), "/"])
        _run([*buildah, "commit", "--quiet", "--rm", container, "localhost/base:test"])
        settings = {
            "BASE": "localhost/base:test",
            "BUILDAH_OPTIONS": " ".join(options),
            "BUILD_OPTIONS": "--isolation chroot --network host",
        }
        _run([str(ROOT / "scripts" / "build-image"), environment, tag], **settings)
        _run([*buildah, "push", "--quiet", tag, f"docker-archive:{file}:{tag}"])


def _run(command: list[str], **settings: str) -> str:
    done = subprocess.run(
        command, capture_output=True, check=False, text=True, env={**os.environ, **settings}, timeout=_SECONDS
    )
    if done.returncode:
        raise ClusterMissing(f"{command[0]} failed: {done.stderr[-2000:]}")
    return done.stdout.strip()


def _digest(parts: list[bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


if __name__ == "__main__":
    try:
        for name in sys.argv[1:] or ["minimal"]:
            archive = prepare_image(name)
            print(f"{archive}: {archive.stat().st_size / 1e6:.0f} MB")
    except ClusterMissing as missing_here:
        sys.exit(f"No image can be built here: {missing_here}")
