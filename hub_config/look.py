"""Where the look of our pages comes from: templates, our style and script, and JupyterHub's style sheet.

The addresses carry a version, so that what is behind them may be kept for ever.
"""

import hashlib
import re
from functools import cache
from pathlib import Path

from jupyterhub._data import DATA_FILES_PATH

__all__ = ["STATIC_FOLDER", "TEMPLATES_FOLDER", "asset", "hub_static", "hub_style", "style_sheet"]

_HUB_STATIC = Path(DATA_FILES_PATH) / "static"
_PAGES = Path(__file__).parent / "pages"
TEMPLATES_FOLDER = _PAGES / "templates"
STATIC_FOLDER = _PAGES / "static"
_VERSION_CHARACTERS = 12


@cache
def style_sheet() -> bytes:
    """JupyterHub's own style sheet without the icon fonts that it imports: our pages use none, and each would be asked
    for again on every page, after the sheet has come (jupyterhub 6.1, style.min.css).
    """
    sheet = (_HUB_STATIC / "css" / "style.min.css").read_bytes()
    return re.sub(rb"@import[^;]*;", b"", sheet)


def hub_style() -> str:
    """The address of JupyterHub's style sheet as our pages use it."""
    return f"/hub/nbfed/hub.css?v={_version(style_sheet())}"


@cache
def hub_static(name: str) -> str:
    """The address of a file of JupyterHub's own: with a version, as it wants to let a browser keep it."""
    return f"/hub/static/{name}?v={_version((_HUB_STATIC / name).read_bytes())}"


@cache
def asset(name: str) -> str:
    """The address of a file of ours."""
    return f"/hub/nbfed/static/{name}?v={_version((STATIC_FOLDER / name).read_bytes())}"


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_VERSION_CHARACTERS]
