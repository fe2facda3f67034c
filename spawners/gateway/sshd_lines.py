"""What a site adds to its sshd so that the gateway can sign in, and do nothing else there. Pure.

All of it stands in one `Match` block (sshd_config(5)), so nothing changes for anybody else: of the robot's account, or,
where each account signs in for itself, of a port that is for that alone, so that people log in at the usual one as they
always did. It says once more what the gateway's certificate says: the site does not have to believe the federation.
"""

from federation.nodes import expanded
from federation.settings import BatchSite
from spawners.gateway.link import gate_command

__all__ = ["sshd_lines"]


def sshd_lines(site: BatchSite, folder: str) -> str:
    """For one site; `folder` is where `ca.pub`, `principals` and the gate lie there."""
    lines = [
        *(["PermitRootLogin no"] if site.by_account else []),
        "AuthenticationMethods publickey",
        "AuthorizedKeysFile none",
        # A site's own programs for keys would let people in, or let in more than the file of principals does.
        "AuthorizedKeysCommand none",
        "AuthorizedPrincipalsCommand none",
        f"TrustedUserCAKeys {folder}/ca.pub",
        f"AuthorizedPrincipalsFile {folder}/principals{'/%u' if site.by_account else ''}",
        f"ForceCommand {gate_command(site, folder)}",
        "PermitTTY no",
        "X11Forwarding no",
        "AllowAgentForwarding no",
        "AllowStreamLocalForwarding no",
        f"PermitOpen {' '.join(f'{node}:*' for node in sorted(expanded(site.nodes)))}",
        *_way_back(site),
        "# A connection that died unseen gives its port back after 15 seconds.",
        "ClientAliveInterval 5",
        "ClientAliveCountMax 3",
    ]
    match = f"LocalPort {site.login.port}" if site.by_account else f"User {site.login.user}"
    return "".join(f"{line}\n" for line in (f"Match {match}", *(f"    {line}" for line in lines)))


def _way_back(site: BatchSite) -> list[str]:
    """Jobs reach the hub through one port of the login node, or not through it at all."""
    if site.notebook_to_hub == "direct":
        return ["AllowTcpForwarding local"]
    login = site.login
    host = login.cluster_address or login.host
    return [
        "AllowTcpForwarding yes",
        "GatewayPorts clientspecified",
        f"PermitListen {f'[{host}]' if ':' in host else host}:{login.reverse_port}",
    ]
