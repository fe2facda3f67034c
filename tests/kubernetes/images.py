"""The project's images, built for tests: the same Containerfiles, on a Debian that this machine's `apt` can fetch.

They are kept as archives in the cache, each named by what is in it.

    python -m tests.kubernetes.images            # fill the cache with all of them, and say how large each is
    python -m tests.kubernetes.images hub
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.kubernetes.cluster.programs import ClusterMissing
from tests.support.cache import cache_root
from tests.support.containerfiles import HOUSES, IMAGES, ROOT

__all__ = ["ClusterMissing", "prepare_image", "tag_of"]

_SUITE = "bookworm"
_BASE_PACKAGES = "python3,python3-venv,ca-certificates"
_NOT_NEEDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
_SECONDS = 3600
_UNUSED_SECONDS = 3 * 24 * 3600
_OF_ONE_FILE = ("hub", "gateway")
"""Targets of one Containerfile: the second one has little of its own."""


def tag_of(image: str) -> str:
    """What an image of tests is called in the cluster."""
    return f"localhost/notebooks-federation/{image}:test"


def prepare_image(image: str) -> Path:
    """The archive of an image; processes that start together wait for one.

    Raises
    ------
    ClusterMissing
        If it cannot be built here.
    """
    missing = [program for program in ("buildah", "mmdebstrap") if shutil.which(program) is None]
    if missing:
        raise ClusterMissing(f"not installed: {' and '.join(missing)} (on Debian as root, `make cluster` does it)")
    [base] = _cached([f"debian-{_SUITE}-{_digest([_BASE_PACKAGES.encode()])}.tar"], lambda files: _make_base(files[0]))
    key = _digest([path.read_bytes() for path in _parts(image)] + [base.name.encode()])
    alike = _OF_ONE_FILE if image in _OF_ONE_FILE else (image,)
    made = _cached(
        [f"{name}-{key}.tar" for name in alike], lambda files: _build(dict(zip(alike, files, strict=True)), base)
    )
    return made[alike.index(image)]


def _parts(image: str) -> list[Path]:
    """All that decides what is in it."""
    environment = image.removeprefix("singleuser-")
    if environment != image:
        folders = ["spawners/lab"]
        files = ["images/singleuser/Containerfile", f"images/environments/{environment}/requirements.lock"]
    else:
        folders = [*HOUSES]
        files = ["images/hub/Containerfile", "images/hub/requirements.lock", "requirements/hub.lock", "pyproject.toml"]
    found = [ROOT / file for file in files]
    for folder in folders:
        found += sorted(p for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix != ".pyc" and not _is_node(p))
    return found


def _is_node(path: Path) -> bool:
    return "node_modules" in path.parts


def _cached(names: Sequence[str], make: Callable[[list[Path]], None]) -> list[Path]:
    files = [cache_root() / "images" / name for name in names]
    files[0].parent.mkdir(parents=True, exist_ok=True)
    with files[0].with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all(file.exists() for file in files):
            unfinished = [file.with_suffix(".unfinished.tar") for file in files]
            for file in unfinished:
                file.unlink(missing_ok=True)
            make(unfinished)
            for made, file in zip(unfinished, files, strict=True):
                made.rename(file)
                _forget_unused(file)
    for file in files:
        os.utime(file)
    return files


def _forget_unused(file: Path) -> None:
    """Each change of the sources makes another archive; those that nobody used for days are in the way."""
    for other in file.parent.glob(f"{file.stem.rpartition('-')[0]}-*.tar"):
        if time.time() - other.stat().st_mtime > _UNUSED_SECONDS:
            other.unlink()


def _make_base(file: Path) -> None:
    excluded = [f"--dpkgopt=path-exclude={path}" for path in _NOT_NEEDED]
    _run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_BASE_PACKAGES}", *excluded, _SUITE, str(file)])


def _build(images: Mapping[str, Path], base: Path) -> None:
    """Into these files, one after the other: a later one finds the layers that it shares with an earlier one."""
    with _storage() as options:
        buildah = ["buildah", *options]
        container = _run([*buildah, "from", "scratch"])
        _run([*buildah, "add", "--quiet", container, str(base), "/"])
        _run([*buildah, "commit", "--quiet", "--rm", container, "localhost/base:test"])
        settings = {
            "BASE": "localhost/base:test",
            "BUILDAH_OPTIONS": " ".join(options),
            "BUILD_OPTIONS": "--isolation chroot --network host --layers",
        }
        for image, file in images.items():
            tag = tag_of(image)
            _run([str(ROOT / "scripts" / "build-image"), image, tag], **settings)
            _run([*buildah, "push", "--quiet", tag, f"docker-archive:{file}:{tag}"])


@contextmanager
def _storage() -> Iterator[list[str]]:
    """Options of buildah for a storage of its own: overlay where the machine has it, else copies of everything."""
    with tempfile.TemporaryDirectory(prefix="nbfed-images-") as folder:
        for driver in ("overlay", "vfs"):
            options = [
                "--root",
                f"{folder}/{driver}",
                "--runroot",
                f"{folder}/run-{driver}",
                "--storage-driver",
                driver,
            ]
            tried = subprocess.run(["buildah", *options, "info"], capture_output=True, check=False, timeout=60)
            if tried.returncode == 0:
                break
        try:
            yield options
        finally:
            # The storage is mounted onto itself, and what a build that failed left lies in it.
            mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
            for mount in sorted((one for one in mounts if one.startswith(f"{folder}/")), reverse=True):
                subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False, timeout=60)


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
        for name in sys.argv[1:] or IMAGES:
            archive = prepare_image(name)
            print(f"{archive}: {archive.stat().st_size / 1e6:.0f} MB")
    except ClusterMissing as missing_here:
        sys.exit(f"No image can be built here: {missing_here}")
