"""What a worker answers on its port: `/health` as JSON (200 or 503) and `/metrics` for Prometheus.

It answers in threads of its own, from what the worker knows: nobody who asks keeps a job waiting, and the hub is not
asked for anything.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import waitress.server
from prometheus_client import CollectorRegistry, make_wsgi_app

__all__ = ["application", "serving"]

Health = Callable[[], tuple[bool, dict[str, Any]]]
Application = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


def application(health: Health, registry: CollectorRegistry) -> Application:
    """The two pages as a WSGI application."""
    metrics = make_wsgi_app(registry)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            page: Iterable[bytes] = metrics(environ, start_response)
            return page
        if path != "/health":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"There are /health and /metrics.\n"]
        well, found = health()
        status = "200 OK" if well else "503 Service Unavailable"
        start_response(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [json.dumps(found, indent=2).encode() + b"\n"]

    return answer


def serving(app: Application, host: str, port: int) -> AbstractContextManager[None]:
    """Open the port of that address; while the block runs, answer there.

    Raises
    ------
    OSError
        If the port cannot be opened.
    """
    return _answering(waitress.server.create_server(app, host=host, port=port, threads=2))


@contextmanager
def _answering(server: Any) -> Iterator[None]:
    over = threading.Event()

    def run() -> None:
        try:
            server.run()
        except OSError:
            if not over.is_set():  # its loop may be about to look at the sockets that are closed below
                raise

    threading.Thread(target=run, name="health", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        server.close()
