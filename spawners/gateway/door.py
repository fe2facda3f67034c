"""Where the gateway is asked: at a socket that its own account alone can open; or, where it has a machine or a pod of its
own, at an address, by whoever shows the token.
"""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["LOOPBACK", "Door"]

LOOPBACK = "127.0.0.1"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Door:
    """See the module; `socket` counts where there is no `url`.

    Parameters
    ----------
    url
        Scheme, host and port.
    token
        What hub and worker show there.
    """

    socket: Path
    url: str | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def port(self) -> int | None:
        """The port of the address; None for a socket."""
        if self.url is None:
            return None
        parts = urlsplit(self.url)
        return parts.port or _PORTS[parts.scheme]

    @property
    def forward_host(self) -> str:
        """Where the proxy finds the beginnings of forwards."""
        return LOOPBACK if self.url is None else urlsplit(self.url).hostname or LOOPBACK

    @property
    def forward_bind(self) -> str:
        """Where forwards listen, as ssh(1) takes it: `*` is every address."""
        return LOOPBACK if self.url is None else "*"

    def __str__(self) -> str:
        return self.url or str(self.socket)
