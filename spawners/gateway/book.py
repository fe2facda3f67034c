"""The rows of forwards in the federation database. Calls block; the gateway makes them in threads."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import RowMapping, delete, insert, select, update

from federation.clock import Clock
from federation.database import Database
from spawners.gateway.door import LOOPBACK
from spawners.gateway.tables import ForwardTable

__all__ = ["Forward", "ForwardBook", "PortsTaken"]


class PortsTaken(Exception):
    """All ports that forwards may use are taken."""


@dataclass(frozen=True, kw_only=True)
class Forward:
    """Who connects to `local_port` at the gateway reaches `node` and `port` at the site, over the connection of `account`,
    or of the robot if that is empty.
    """

    attempt: str
    site: str
    node: str
    port: int
    local_port: int
    account: str = ""

    def words(self, bind: str = LOOPBACK) -> list[str]:
        """As ssh(1) takes it with -L; `bind` is where it listens."""
        return ["-L", f"{bind}:{self.local_port}:{self.node}:{self.port}"]


class ForwardBook:
    """Those of all sites.

    Parameters
    ----------
    ports
        Where forwards listen.
    """

    def __init__(self, database: Database, ports: range, clock: Clock) -> None:
        self._database = database
        self._ports = ports
        self._clock = clock

    def of(self, site: str, account: str = "") -> list[Forward]:
        """All of one site's robot, or of one account."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(ForwardTable.__table__)
                .where(ForwardTable.site == site, ForwardTable.account == account)
                .order_by(ForwardTable.local_port)
            ).mappings()
            return [_forward(row) for row in rows]

    def get(self, site: str, attempt: str, account: str = "") -> Forward | None:
        """The one of an attempt; None, too, if the attempt is of another site or account."""
        with self._database.read() as connection:
            row = connection.execute(
                select(ForwardTable.__table__).where(
                    ForwardTable.attempt == attempt, ForwardTable.site == site, ForwardTable.account == account
                )
            ).mappings().first()  # fmt: skip
            return _forward(row) if row else None

    def add(
        self, site: str, attempt: str, node: str, port: int, *, account: str = "", tried: Collection[int] = ()
    ) -> Forward:
        """A new one on a port that no other one has; one that was tried already only if nothing else is left.

        Raises
        ------
        PortsTaken
            If there is none.
        """
        with self._database.write() as connection:
            # Of a site that had another kind of access before.
            connection.execute(delete(ForwardTable).where(ForwardTable.attempt == attempt))
            taken = set(connection.execute(select(ForwardTable.local_port)).scalars())
            free = [each for each in self._ports if each not in taken]
            if not free:
                raise PortsTaken(
                    f"all {len(self._ports)} ports of gateway.forward_ports are taken by sessions; give it more"
                )
            # By chance: a port that a session gave back is not given to another one at once.
            local_port = secrets.choice([each for each in free if each not in tried] or free)
            made = Forward(attempt=attempt, site=site, account=account, node=node, port=port, local_port=local_port)
            connection.execute(insert(ForwardTable).values(vars(made) | {"created_at": self._clock()}))
            return made

    def redirect(self, forward: Forward, node: str, port: int) -> Forward:
        """The same port leads elsewhere from now on: the job was started again on another node."""
        with self._database.write() as connection:
            connection.execute(
                update(ForwardTable).where(ForwardTable.attempt == forward.attempt).values(node=node, port=port)
            )
        return Forward(**vars(forward) | {"node": node, "port": port})

    def remove(self, forward: Forward) -> None:
        """It is not wanted any more; twice is once."""
        with self._database.write() as connection:
            connection.execute(delete(ForwardTable).where(ForwardTable.attempt == forward.attempt))


def _forward(row: RowMapping) -> Forward:
    return Forward(**{name: value for name, value in row.items() if name != "created_at"})
