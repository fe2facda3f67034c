"""The job of `nbfed site check`: goes the way of a session, and tells at its own port what it found on its node.

    <prefix>/bin/python site_probe.py FOLDER HUB_API_URL [the launcher's options]

It is copied to the nodes beside the launcher, whose ways it goes: the same options, the same ports, the same
`session.json`. Nothing is exchanged, and no session begins: whoever reaches the port reads one JSON object, which says
whether this node reaches the hub, and which versions its Python has. It ends when the job is cancelled, or after its
patience. Python 3.8 or newer, the standard library alone.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

PACKAGES = ("jupyterhub", "jupyter_server", "jupyterlab")
HUB_SECONDS = 10.0
READER_SECONDS = 10.0
LARGEST_ANSWER_BYTES = 65536


def main(arguments: list[str]) -> None:
    """Bind a port, look, say where, and tell who asks."""
    launcher = importlib.import_module("launcher")
    options, _ = launcher.parse(arguments)
    folder = os.path.abspath(options.folder)
    listener = launcher.listen(options.host, options.ports)
    with open(os.path.join(folder, "secret")) as file:
        secret = file.read().strip()
    os.unlink(os.path.join(folder, "secret"))
    found = {
        "attempt": os.path.basename(folder),
        "hub": hub(launcher.http_client(), options.exchange_url),
        "python": "%d.%d.%d" % sys.version_info[:3],
        "versions": {package: version(package) for package in PACKAGES},
    }
    node, port = options.node or options.host, listener.getsockname()[1]
    proof = launcher.address_proof(secret, node, port)
    launcher.write_json(folder, "session.json", {"node": node, "port": port, "proof": proof})
    tell(listener, json.dumps(found).encode(), options.patience)


def hub(client: Any, url: str) -> dict[str, str]:
    """The version of the hub that answers there, or why none does."""
    try:
        with client.open(url, timeout=HUB_SECONDS) as answer:
            return {"version": str(json.loads(answer.read(LARGEST_ANSWER_BYTES))["version"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {"error": "%s: %s" % (type(error).__name__, error)}


def version(package: str) -> str | None:
    """The version of a package that a session needs; None if it is not there."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def tell(listener: socket.socket, body: bytes, seconds: float) -> None:
    """Answer everybody who connects, one after the other, for so long."""
    head = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    over_at = time.monotonic() + seconds
    while time.monotonic() < over_at:
        listener.settimeout(max(0.1, over_at - time.monotonic()))
        try:
            connection, _ = listener.accept()
        except OSError:
            continue
        with connection:
            try:
                connection.settimeout(READER_SECONDS)
                connection.recv(4096)
                connection.sendall(head + body)
            except OSError:  # Who only tried whether the port is there reads nothing.
                continue


if __name__ == "__main__":
    main(sys.argv[1:])
