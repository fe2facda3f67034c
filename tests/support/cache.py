"""Where tests keep what is dear to make: outside of the checkout, so that every clone has it."""

import os
from pathlib import Path

__all__ = ["cache_root"]


def cache_root() -> Path:
    """The folder; it may not be there yet."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "notebooks-federation"
