"""Where the look of our pages comes from: templates, our style and script, and JupyterHub's style sheet.

The addresses carry a version, so that what is behind them may be kept for ever.
"""

import hashlib
import re
from functools import cache
from pathlib import Path

from jupyterhub._data import DATA_FILES_PATH

__all__ = ["STATIC_FOLDER", "TEMPLATES_FOLDER", "asset", "hub_style", "style_sheet"]

_PAGES = Path(__file__).parent / "pages"
TEMPLATES_FOLDER = _PAGES / "templates"
STATIC_FOLDER = _PAGES / "static"
_VERSION_CHARACTERS = 12


@cache
def style_sheet() -> bytes:
    """JupyterHub's own style sheet without the icon fonts that it imports: our pages use none, and each would be asked
    for again on every page, after the sheet has come (jupyterhub 6.1, style.min.css).
    """
    sheet = (Path(DATA_FILES_PATH) / "static" / "css" / "style.min.css").read_bytes()
    return re.sub(rb"@import[^;]*;", b"", sheet)


def hub_style() -> str:
    """The address of JupyterHub's style sheet as our pages use it."""
    return f"/hub/nbfed/hub.css?v={_version(style_sheet())}"


@cache
def asset(name: str) -> str:
    """The address of a file of ours."""
    return f"/hub/nbfed/static/{name}?v={_version((STATIC_FOLDER / name).read_bytes())}"


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_VERSION_CHARACTERS]
