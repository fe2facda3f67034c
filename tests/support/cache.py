"""Where tests keep what is dear to make: outside of the checkout, so that every clone has it."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

__all__ = ["cache_root", "made_once"]


def cache_root() -> Path:
    """The folder; it may not be there yet."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "notebooks-federation"


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of the cache, made if it is not there whole; processes that start together wait for one."""
    folder = cache_root() / name
    if (folder / "complete").exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "complete").touch()
    return folder
