"""What a PostgreSQL server must be like to be trusted with the books."""

import ipaddress
from dataclasses import dataclass

from sqlalchemy import text

from federation.database import Database

__all__ = ["Facts", "complaints", "facts"]

_OLDEST = 13
"""Older ones get no fixes any more, https://www.postgresql.org/support/versioning/."""
_CONNECTIONS = 60
"""Of four processes of ours, with 15 each at most."""
_FACTS = """
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::integer / 10000 AS major,
           current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
           current_setting('synchronous_commit') AS synchronous_commit, current_setting('server_encoding') AS encoding,
           current_setting('max_connections')::integer AS max_connections, pg_is_in_recovery() AS standby,
           host(inet_server_addr()) AS address,
           coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted
"""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the server says of itself; `address` is None on a Unix socket."""

    version: str
    major: int
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    encoding: str
    max_connections: int
    standby: bool
    address: str | None
    encrypted: bool


def facts(database: Database) -> Facts:
    """Ask it.

    Raises
    ------
    federation.database.DatabaseUnavailable
        If it does not answer.
    """
    with database.read() as connection:
        return Facts(**connection.execute(text(_FACTS)).mappings().one())


def complaints(server: Facts) -> list[str]:
    """What is wrong with it, each in one sentence."""
    off = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if getattr(server, name) == "off"]
    found = {
        f"version {server.version} is older than {_OLDEST}": server.major < _OLDEST,
        f"{' and '.join(off)} off: a power cut loses what people were charged": bool(off),
        f"its encoding is {server.encoding}: names need UTF8": server.encoding != "UTF8",
        f"{server.max_connections} connections are too few: this service may open {_CONNECTIONS}": (
            server.max_connections < _CONNECTIONS
        ),
        "it is a standby: it can only be read": server.standby,
        "the connection crosses a network and is not encrypted: add ?sslmode=verify-full to the address": (
            not server.encrypted and server.address is not None and not ipaddress.ip_address(server.address).is_loopback
        ),
    }
    return [text for text, is_so in found.items() if is_so]
