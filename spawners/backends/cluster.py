"""One Kubernetes API server: asked with its own configuration, with a bound on every request.

Each site has its own `Cluster`, so that one that is away hinders no other. kubespawner shares one configuration and one
client among all spawners of a process (kubespawner 7.1, `clients.py`); nothing of that is used here.

Calls block: hub and worker make them in threads. The client of kubernetes_asyncio runs in a thread of its own, which
begins with the first call, so a `Cluster` may be made before a process forks or has a loop.
"""

import asyncio
import atexit
import json
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from kubernetes_asyncio.client import ApiClient, Configuration, CoreV1Api
from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config

__all__ = ["Cluster", "ClusterAway", "ClusterRefused"]

_T = TypeVar("_T")
_UNAUTHORIZED = 401
_TOO_MANY = 429
_SERVER_ERRORS = 500


class ClusterAway(OSError):
    """It could not be asked: no answer in time, no connection, or an answer that says so itself."""


class ClusterSilent(ClusterAway):
    """Not a word came from it."""


class ClusterRefused(Exception):
    """It answered, and will not: `status` is the HTTP status, and the text its own message, for logs."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Cluster:
    """See the module.

    Parameters
    ----------
    namespace
        Of the sessions.
    kubeconfig
        How to reach it. None: the service account of the pod that this process runs in.
    context
        Of the kubeconfig; None for its current one.
    request_seconds
        How long one request may take.
    pause_seconds
        After a request that got no answer, how long others are refused at once. Without it, a round over many sessions
        would wait for each.
    """

    def __init__(
        self,
        namespace: str,
        *,
        kubeconfig: Path | None = None,
        context: str | None = None,
        request_seconds: float = 10.0,
        pause_seconds: float = 5.0,
    ) -> None:
        self.namespace = namespace
        self._kubeconfig = kubeconfig
        self._context = context
        self._request_seconds = request_seconds
        self._pause_seconds = pause_seconds
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: ApiClient | None = None
        self._away_until = 0.0

    def ask(self, operation: str, **arguments: Any) -> Any:
        """Call an operation of the core API on the namespace, and return what it says, as JSON has it.

        Parameters
        ----------
        operation
            As kubernetes_asyncio names it, without `namespaced`: `read_pod`, `list_pod`.

        Raises
        ------
        ClusterAway
            If it cannot be asked.
        ClusterRefused
            If it refuses.
        """
        if time.monotonic() < self._away_until:
            raise ClusterAway("it did not answer a moment ago")
        try:
            return json.loads(self._text(operation, arguments))
        except ClusterSilent:
            self._away_until = time.monotonic() + self._pause_seconds
            raise

    def log(self, pod: str, container: str, *, lines: int) -> str:
        """The last lines of what a container wrote. Raises as `ask`. The node answers: it may be away by itself."""
        return self._text("read_pod_log", {"name": pod, "container": container, "tail_lines": lines})

    def close(self) -> None:
        """End the thread and its connections; the next call begins anew."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            atexit.unregister(self.close)
            asyncio.run_coroutine_threadsafe(self._drop_client(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    def _text(self, operation: str, arguments: dict[str, Any]) -> str:
        verb, _, kind = operation.partition("_")
        method = f"{verb}_namespaced_{kind}"
        try:
            return self._wait_for(self._request(method, {"namespace": self.namespace, **arguments}))
        except ClusterAway:
            raise
        except (aiohttp.ClientError, OSError, ConfigException) as error:
            raise ClusterSilent(f"{type(error).__name__}: {error}") from error

    def _wait_for(self, work: Coroutine[Any, Any, _T]) -> _T:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="nbfed-cluster", daemon=True).start()
                atexit.register(self.close)
            loop = self._loop
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    async def _request(self, method: str, arguments: dict[str, Any]) -> str:
        async with asyncio.timeout(self._request_seconds):
            status, text = await self._send(method, arguments)
            if status == _UNAUTHORIZED:
                # Tokens of kubeconfigs expire, and plugins make new ones.
                await self._drop_client()
                status, text = await self._send(method, arguments)
        if status == _TOO_MANY or status >= _SERVER_ERRORS:
            raise ClusterAway(f"{status}: {text[:500]}")
        if status >= 400:
            raise ClusterRefused(status, _message_in(text))
        return text

    async def _send(self, method: str, arguments: dict[str, Any]) -> tuple[int, str]:
        if self._client is None:
            self._client = ApiClient(await self._configuration())
        # Objects are read as they were sent: the library's own copies know only the fields of its version.
        answer = await getattr(CoreV1Api(self._client), method)(**arguments, _preload_content=False)
        return answer.status, await answer.text()

    async def _configuration(self) -> Configuration:
        configuration = Configuration()
        if self._kubeconfig is None:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(
                str(self._kubeconfig), context=self._context, client_configuration=configuration, persist_config=False
            )
        return configuration

    async def _drop_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def _message_in(text: str) -> str:
    """Of the Status object that a refusal is."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:500]
