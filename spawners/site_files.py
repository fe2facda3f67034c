"""What a batch site's administrator installs, made from what federation.yaml says of the site.

`nbfed site init` writes these files; at the site they are the site's own, to be changed there as it likes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from federation.settings import BatchSite, Flavour
from spawners.gate_file import assemble
from spawners.gateway.link import principal
from spawners.gateway.protocol import Limits
from spawners.gateway.sshd_lines import sshd_lines

__all__ = ["PROGRAM", "ROBOT", "SiteFile", "gate", "offered", "site_files"]

ROBOT = "nbfed"
"""The account at the site that the gateway logs in to, if federation.yaml names no other one."""
PROGRAM = "site-gate"
"""What the gate is called at the site."""
_MINUTES = 60
_MIB = 1024


@dataclass(frozen=True, kw_only=True)
class SiteFile:
    """A file, its mode, and where it goes."""

    text: str
    mode: int
    place: str


def gate(name: str, site: BatchSite) -> str:
    """The gate of this site, a Python program. Raises KeyError if there is no gate for its scheduler."""
    return assemble(site.dialect, name)


def site_files(
    name: str,
    site: BatchSite,
    flavours: Mapping[str, Flavour],
    *,
    folder: str | None = None,
    authorities: Sequence[str] = (),
) -> dict[str, SiteFile]:
    """All files by name. `folder` is where they will lie at the site, `/etc/nbfed/NAME` if not said; `authorities` are
    the public keys of the federation's certificate authority.

    Raises
    ------
    KeyError
        There is no gate for the site's scheduler.
    """
    folder = folder or f"/etc/nbfed/{name}"
    files = {
        PROGRAM: SiteFile(text=gate(name, site), mode=0o755, place=f"{folder}/{PROGRAM}"),
        "policy.json": SiteFile(text=_policy(name, site, flavours), mode=0o644, place=f"{folder}/policy.json"),
        "accounts": SiteFile(text=_ACCOUNTS, mode=0o644, place=f"{folder}/accounts"),
    }
    if not site.by_account:
        user = site.login.user
        sudoers = f'Defaults:{user} !requiretty\n{user} ALL=(root) NOPASSWD: {folder}/{PROGRAM} ""\n'
        files["sudoers"] = SiteFile(text=sudoers, mode=0o440, place=f"/etc/sudoers.d/nbfed-{name}")
        files["principals"] = SiteFile(text=f"{principal(name)}\n", mode=0o644, place=f"{folder}/principals")
    sshd = f"/etc/ssh/sshd_config.d/nbfed-{name}.conf"
    files["sshd.conf"] = SiteFile(text=sshd_lines(site, folder), mode=0o644, place=sshd)
    if authorities:
        keys = "".join(f"{key}\n" for key in authorities)
        files["ca.pub"] = SiteFile(text=keys, mode=0o644, place=f"{folder}/ca.pub")
    return files


_ACCOUNTS = """\
# Who may run notebooks of the federation here: one login name a line.
# Nobody else is ever acted for. Before you take a name away, block it (file `blocked`) and end its jobs.
"""


def offered(site: BatchSite, flavours: Mapping[str, Flavour]) -> Limits:
    """What people can choose at a site, at the most."""
    there = [flavours[flavour] for flavour in site.flavours if flavour in flavours]
    return Limits(
        minutes=site.walltime_hours * _MINUTES,
        cpus=max((flavour.cpu for flavour in there), default=None),
        memory_mib=max((flavour.memory_gib * _MIB for flavour in there), default=None),
        gpus=max((flavour.gpu for flavour in there), default=None),
        partitions=[*([site.partition] if site.partition else []), *site.partitions],
        charge_accounts=list(site.charge_accounts),
        reservations=list(site.reservations),
    )


def _policy(name: str, site: BatchSite, flavours: Mapping[str, Flavour]) -> str:
    """No more than the flavours offered at the site need; the site may raise or lower it."""
    most = offered(site, flavours)
    policy = {
        "site": name,
        "history": "accounting",
        "partitions": most.partitions,
        "charge_accounts": most.charge_accounts,
        "reservations": most.reservations,
        "limits": most.model_dump(include={"minutes", "cpus", "memory_mib", "gpus"}, exclude_none=True),
        "options": [],
        "environment": {},
        "log": "syslog" if site.by_account else f"/var/log/nbfed-{name}.log",
    }
    return json.dumps(policy, indent=2) + "\n"
