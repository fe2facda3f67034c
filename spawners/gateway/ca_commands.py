"""`nbfed ca`: the certificate authority that opens the batch sites."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import click

from spawners.gateway.ca import AuthorityError, CertificateAuthority
from spawners.gateway.credentials import Credentials, CredentialsError
from spawners.gateway.link import Link

__all__ = ["AuthorityShop", "ca"]

_GIVE = "Give every batch site this file for sshd's TrustedUserCAKeys:"


class AuthorityShop(Protocol):
    """What these commands work with."""

    @property
    def authority(self) -> CertificateAuthority: ...

    @property
    def links(self) -> Mapping[str, Link]:
        """The batch sites of federation.yaml."""

    def credentials(self, link: Link, *, minutes: int | None = None) -> Credentials: ...


@click.group()
def ca() -> None:
    """The certificate authority that lets the gateway sign in at the batch sites."""


@ca.command()
@click.pass_obj
def init(shop: AuthorityShop) -> None:
    """Make it, once, and print what the sites have to trust."""
    with _told():
        shop.authority.init()
        _show(shop)


@ca.command()
@click.argument("site")
@click.option("--minutes", type=click.IntRange(1, 1440), help="how long it opens the site; else as the gateway's")
@click.option("--account", help="the account that it opens, at a site with `access: user-certificate`")
@click.pass_obj
def sign(shop: AuthorityShop, site: str, minutes: int | None, account: str | None) -> None:
    """Make a certificate for SITE as the gateway does, and say how to try it by hand."""
    if site not in shop.links:
        raise click.UsageError(f"There is no batch site {site!r}. There are: {', '.join(shop.links) or 'none'}.")
    link = shop.links[site]
    by_account = link.settings.by_account
    if by_account and account is None:
        raise click.UsageError(f"At {site} each account has a certificate of its own: name one with --account.")
    if account is not None and not by_account:
        raise click.UsageError(f"At {site} the robot {link.user} signs in for everybody: leave --account out.")
    link = replace(link, account=account)
    with _told():
        file = shop.credentials(link, minutes=minutes).renew()
    login = link.settings.login
    words = [
        *("ssh", "-F", "none", "-i", str(link.key), "-o", f"CertificateFile={file}", "-o", "IdentitiesOnly=yes"),
        *("-o", f"UserKnownHostsFile={link.known_hosts}", "-o", "StrictHostKeyChecking=yes"),
        *("-p", str(login.port), f"{link.user}@{login.host}", "nbfed-gate"),
    ]
    click.echo(f"{file}: principal {link.principal}, for port forwarding and this command alone: {link.gate_command}")
    request = shlex.quote('{"v": 1, "id": "by-hand", "verb": "ping"}')
    click.echo(f"The gate should answer in one line:\n  echo {request} | {shlex.join(words)}")


@ca.command()
@click.option("--complete", is_flag=True, help="Sign with the next key from now on; every site must have it.")
@click.pass_obj
def rotate(shop: AuthorityShop, *, complete: bool) -> None:
    """Replace its key in two steps. The first makes the next key, and prints what the sites have to trust meanwhile."""
    with _told():
        if not complete:
            shop.authority.prepare_rotation()
            _show(shop)
            click.echo("The first key still signs. When every site has both: nbfed ca rotate --complete", err=True)
            return
        shop.authority.complete_rotation()
        click.echo("The next key signs from now on. The sites can take the old one away:", err=True)
        _show(shop)


def _show(shop: AuthorityShop) -> None:
    click.echo(_GIVE, err=True)
    click.echo("\n".join(shop.authority.public_keys()))


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (AuthorityError, CredentialsError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}. Nothing was signed.") from error
