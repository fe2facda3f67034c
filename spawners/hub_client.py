"""The hub's REST API, as far as the worker and the commands use it.

Scopes of the worker: list:users, read:servers, delete:servers, start:servers (docs of JupyterHub 6.1,
"JupyterHub REST API"), and one of our own to ask providers again (hub_config/sign_in/refresh.py). Of the commands:
delete:users.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from federation.trust import trusted
from spawners.sessions import Server

__all__ = ["HttpHubServers", "HubUsers"]

_PAGE = 200


class _Hub:
    """Asks one hub with one token."""

    def __init__(self, api_url: str, token: str) -> None:
        self._client = httpx.Client(
            base_url=api_url,
            headers={"Authorization": f"token {token}"},
            timeout=15,
            trust_env=False,
            verify=trusted(),
        )

    def _ask(self, method: str, path: str, also: tuple[int, ...] = ()) -> httpx.Response:
        try:
            answer = self._client.request(method, path)
        except httpx.HTTPError as error:
            raise OSError(f"{method} {path}: {error}") from error
        if answer.is_error and answer.status_code not in also:
            raise OSError(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer


class HubUsers(_Hub):
    """The hub's own records of people."""

    def forget(self, user: str) -> None:
        """DELETE: the record, its tokens and what the provider said go; one that is not there is gone.

        Raises
        ------
        OSError
            If the hub cannot be reached, or refuses.
        """
        self._ask("DELETE", f"/users/{quote(user, safe='')}", also=(404,))


class HttpHubServers(_Hub):
    """Servers of one hub.

    Parameters
    ----------
    api_url
        Ends with `/hub/api`.
    token
        Of the worker's service.
    hub
        The hub's name in the books.
    """

    def __init__(self, api_url: str, token: str, hub: str) -> None:
        super().__init__(api_url, token)
        self._hub = hub

    def active(self) -> Mapping[Server, datetime | None]:
        """Servers that the hub counts as active, with their last activity.

        Raises
        ------
        OSError
            If the hub cannot be reached, or refuses.
        """
        return {
            Server(self._hub, user["name"], name): _moment(server.get("last_activity"))
            for user in self._users()
            for name, server in (user.get("servers") or {}).items()
        }

    def start(self, server: Server) -> None:
        """POST with an empty body: a body would overwrite the stored options."""
        self._ask("POST", self._path(server))

    def stop(self, server: Server) -> None:
        """DELETE; a server that is not there is stopped."""
        self._ask("DELETE", self._path(server), also=(404,))

    def ask_again(self, user: str) -> str:
        """Let the hub ask the person's provider what it says of them now, and store it; what came of that.

        Raises
        ------
        OSError
            If the hub cannot be reached, or refuses.
        """
        answer: Any = self._ask("POST", f"/nbfed/refresh/{quote(user, safe='')}").json()
        return str(answer["outcome"])

    def _users(self) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            page = self._ask("GET", f"/users?state=active&offset={offset}&limit={_PAGE}").json()
            yield from page
            if len(page) < _PAGE:
                return
            offset += _PAGE

    def _path(self, server: Server) -> str:
        user = quote(server.user, safe="")
        return f"/users/{user}/servers/{quote(server.name, safe='')}" if server.name else f"/users/{user}/server"


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
