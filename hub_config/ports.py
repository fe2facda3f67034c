"""The ports that `nbfed up` needs: looked at before anything starts, and each complaint names the setting to change."""

import errno
import os
import socket
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from hub_config.settings import LOOPBACK, Settings

__all__ = ["LOOPBACK", "Port", "complaints", "free_ports", "ports", "public_host"]


@dataclass(frozen=True)
class Port:
    """A port that one of our processes listens on, and the key of federation.yaml that chooses it."""

    number: int
    host: str
    setting: str


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind((LOOPBACK, 0))
    found = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return found


def public_host(settings: Settings) -> str:
    """The address that the proxy listens on: `listen.public_ip`, else the host of `federation.base_url`."""
    if settings.yaml.listen.public_ip:
        return settings.yaml.listen.public_ip
    host = urlsplit(settings.base_url).hostname or LOOPBACK
    return LOOPBACK if host == "localhost" else host


def ports(settings: Settings) -> list[Port]:
    """Every port that is needed with these settings."""
    listen = settings.yaml.listen
    public_setting = "listen.public_port" if listen.public_port else "federation.base_url"
    needed = [
        Port(settings.public_port, public_host(settings), public_setting),
        Port(listen.proxy_api_port, LOOPBACK, "listen.proxy_api_port"),
        Port(listen.hub_port, listen.hub_ip, "listen.hub_port"),
        Port(listen.worker_port, listen.worker_ip, "listen.worker_port"),
        Port(listen.desk_port, listen.desk_ip, "listen.desk_port"),
    ]
    if settings.is_demo_sign_in:
        needed.append(Port(listen.sign_in_port, LOOPBACK, "listen.sign_in_port"))
    return needed


def complaints(settings: Settings) -> list[str]:
    """What stands in the way of listening, one sentence or two for each port; empty if nothing does."""
    needed = ports(settings)
    found = []
    for number, times in Counter(port.number for port in needed).items():
        if times > 1:
            names = " and ".join(port.setting for port in needed if port.number == number)
            found.append(f"Port {number} is named by {names} in {settings.file}. Each needs its own.")
    for port in needed:
        error = _try(port)
        if error:
            found.append(_complaint(port, error, settings))
    return found


def _try(port: Port) -> OSError | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            port.host, port.number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: connections that only wait for their end (TIME_WAIT) do not make a port busy.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        return error
    return None


def _complaint(port: Port, error: OSError, settings: Settings) -> str:
    where = f"{port.setting} in {settings.file}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port.number} is in use by another program{_program_on(port.number)}. "
            f"Choose another with {where}, or stop that program."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port.number} may not be opened by this account. Choose one above 1023 with {where}."
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return f"{port.host} is not an address of this machine. Choose another with {where}."
    return f"Port {port.number} cannot be opened: {os.strerror(error.errno or 0)}. Choose another with {where}."


def _program_on(number: int) -> str:
    """The program's name and process id where the system tells them to this account, else nothing."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr or not connection.pid:
                continue
            if connection.laddr.port == number:
                return f" ({psutil.Process(connection.pid).name()}, process {connection.pid})"
    except (psutil.Error, OSError):
        pass
    return ""
