"""What the gateway shows a site, and what the site has to show: key, fresh certificate, pinned host keys.

They are written anew before each sign-in. A connection outlives its certificate, so a certificate of minutes is enough,
and a change of the CA or of federation.yaml holds from the next connection on.
"""

from pathlib import Path

from federation.clock import Clock
from spawners.gateway.ca import CertificateAuthority, new_key
from spawners.gateway.link import Link, MasterKind
from spawners.gateway.locks import locked

__all__ = ["Credentials", "CredentialsError"]

_LONGEST_SOCKET_BYTES = 107 - 17
"""sun_path of Linux (unix(7)), less what ssh appends while it makes a socket: a dot and sixteen characters."""


class CredentialsError(Exception):
    """A site's files cannot be used; the message says which."""


class Credentials:
    """Those for one site.

    Parameters
    ----------
    link
        The site.
    authority
        Signs.
    minutes
        How long a certificate opens the site.
    host_key_file
        What the site's administrators gave us.
    clock
        Numbers the certificates.
    """

    def __init__(
        self, link: Link, authority: CertificateAuthority, *, minutes: int, host_key_file: Path, clock: Clock
    ) -> None:
        self._link = link
        self._authority = authority
        self._minutes = minutes
        self._host_key_file = host_key_file
        self._clock = clock

    def renew(self) -> Path:
        """Write them, and return the certificate's file.

        Raises
        ------
        AuthorityError
            If nothing can be signed.
        CredentialsError
            If the site's host keys cannot be read, or the state folder's name is too long.
        """
        link = self._link
        link.own_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(link.own_folder / "lock"):  # both masters of a site may be started at once
            return self._renewed(link)

    def _renewed(self, link: Link) -> Path:
        socket = link.control(MasterKind.DATA)
        if len(bytes(socket)) > _LONGEST_SOCKET_BYTES:
            raise CredentialsError(
                f"The path {socket} is too long for a socket. NBFED_HOME has to name a folder with a shorter path."
            )
        socket.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            pinned = link.known_host_lines(self._host_key_file.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise CredentialsError(f"The host keys of {link.site} cannot be read: {error}") from error
        if not pinned:
            raise CredentialsError(f"The file {self._host_key_file} has no host key of {link.site}.")
        link.known_hosts.write_text(pinned)
        if not link.key.exists():
            new_key(link.key, f"nbfed gateway for {link.site}")
        serial = int(self._clock().timestamp() * 1000)
        return self._authority.sign(
            link.key.with_name(f"{link.key.name}.pub"), link.grant(minutes=self._minutes, serial=serial)
        )
