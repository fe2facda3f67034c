"""The table of forwards: which local port leads to which session. It is written before a forward is made.

No ssh command lists the targets of a master's forwards. After the gateway, or a master, was started anew, this table is
what they are found again by, on the same ports: running sessions have their address in the hub.
"""

from datetime import datetime

from sqlalchemy import Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from federation.database import Base, Moment

__all__ = ["ForwardTable"]


class ForwardTable(Base):
    __tablename__ = "forward"
    __table_args__ = (
        Index("uq_forward_local_port", "local_port", unique=True),
        Index("ix_forward_site", "site"),
    )

    attempt: Mapped[str] = mapped_column(String(36), primary_key=True)
    site: Mapped[str] = mapped_column(String(40))
    account: Mapped[str] = mapped_column(String(64), server_default="")
    """That is signed in to; empty where a robot is."""
    node: Mapped[str] = mapped_column(String(255))
    port: Mapped[int] = mapped_column(Integer)
    local_port: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(Moment)
