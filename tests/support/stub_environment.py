"""A notebook environment for a batch site whose single-user server is a stub: it answers, and costs next to nothing."""

from pathlib import Path

__all__ = ["make_stub_environment"]

_PYTHON = """#!/bin/sh
PYTHONPATH={folder}/lib exec /usr/bin/python3 "$@"
"""
_SERVERAPP = """
class ServerApp:
    @property
    def http_server(self):
        return self

    def add_sockets(self, sockets):
        self.served, = sockets

    def _find_http_port(self):
        raise AssertionError("not patched")

    _bind_http_server_tcp = _find_http_port
"""
_SINGLEUSER = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from jupyter_server.serverapp import ServerApp

BODY = b'{"version": "stub"}'


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-JupyterHub-Version", "6.1.1")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)


def main():
    app = ServerApp()
    app._find_http_port()
    app._bind_http_server_tcp()
    app.served.setblocking(True)
    server = ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = app.served
    server.serve_forever()
"""


def make_stub_environment(folder: Path) -> Path:
    """The environment's prefix, for every account to read."""
    files = {
        "bin/python": _PYTHON.format(folder=folder), "lib/jupyter_server/__init__.py": "",
        "lib/jupyter_server/serverapp.py": _SERVERAPP, "lib/jupyterhub/__init__.py": "",
        "lib/jupyterhub/singleuser.py": _SINGLEUSER,
        # What `nbfed site check` asks of an environment.
        "lib/jupyterhub-6.1.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: jupyterhub\nVersion: 6.1.1\n",
        "lib/jupyter_server-2.21.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: jupyter_server\nVersion: 2.21.0\n",
    }  # fmt: skip
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "bin" / "python").chmod(0o755)
    return folder
