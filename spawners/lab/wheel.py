"""Packs `nbfed_lab` as a wheel, for notebook environments: `nbfed lab-wheel`, or `python -m spawners.lab.wheel FOLDER`.

A wheel of its own, because notebook environments must not get the rest of the project among people's own modules, and
may have an older Python. Written by hand, because an installed hub has no tools to build one: it is a zip file with
three more files in it (PyPA specifications, "Binary distribution format"). The same files give the same bytes. The
version says what is in it, so that an installer sees what is new.
"""

import base64
import hashlib
import json
import sys
import zipfile
from pathlib import Path

__all__ = ["VERSION", "build"]

VERSION = "0.1.0"
_NAME = "nbfed_lab"
_EXTENSION = "nbfed-lab"
_SOURCE = Path(__file__).parent / _NAME
_MOMENT = (2020, 1, 1, 0, 0, 0)  # of each file in the zip; the real one would make each wheel another
_TEXT_DIGITS = 16

_PACKAGE = {
    "name": _EXTENSION,
    "description": "Time and quota left in a session of notebooks-federation",
    "license": "BSD-3-Clause",
    # What JupyterLab checks its own modules against, before it calls an extension compatible.
    "dependencies": {
        "@jupyterlab/apputils": "^4.0.0",
        "@jupyterlab/services": "^7.0.0",
        "@jupyterlab/statusbar": "^4.0.0",
        "@lumino/widgets": "^2.0.0",
    },
}
_INSTALL = {
    "packageManager": "python",
    "packageName": _EXTENSION,
    "uninstallInstructions": f"pip uninstall {_EXTENSION}",
}
_SERVER_CONFIG = {"ServerApp": {"jpserver_extensions": {_NAME: True}}}


def build(folder: Path) -> Path:
    """Write the wheel into a folder, which is made if need be, and return its path."""
    script, module = ((_SOURCE / name).read_bytes() for name in ("extension.js", "__init__.py"))
    version = f"{VERSION}+{_hash(script + module)[:8]}"
    data, info = f"{_NAME}-{version}.data/data", f"{_NAME}-{version}.dist-info"
    extension = f"{data}/share/jupyter/labextensions/{_EXTENSION}"
    # JupyterLab lets browsers keep what lies in `static` for ever: the name says what is in it.
    entry = f"static/remoteEntry.{_hash(script)}.js"
    package = {**_PACKAGE, "version": version.replace("+", "-"),
               "jupyterlab": {"extension": True, "_build": {"load": entry, "extension": "./extension"}}}  # fmt: skip
    files = {
        f"{_NAME}/__init__.py": module,
        f"{extension}/{entry}": script,
        f"{extension}/package.json": _json(package),
        f"{extension}/install.json": _json(_INSTALL),
        f"{data}/etc/jupyter/jupyter_server_config.d/{_NAME}.json": _json(_SERVER_CONFIG),
        f"{info}/METADATA": _lines(
            "Metadata-Version: 2.1", f"Name: {_EXTENSION}", f"Version: {version}",
            f"Summary: {_PACKAGE['description']}", "License: BSD-3-Clause", "Requires-Python: >=3.8",
        ),
        f"{info}/WHEEL": _lines("Wheel-Version: 1.0", "Generator: nbfed", "Root-Is-Purelib: true", "Tag: py3-none-any"),
    }  # fmt: skip
    record = f"{info}/RECORD"
    rows = [f"{path},sha256={_record_hash(content)},{len(content)}" for path, content in files.items()]
    files[record] = _lines(*rows, f"{record},,")
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{_NAME}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            member = zipfile.ZipInfo(path, _MOMENT)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
    return wheel


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_TEXT_DIGITS]


def _record_hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _json(content: object) -> bytes:
    return json.dumps(content, indent=2).encode()


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
