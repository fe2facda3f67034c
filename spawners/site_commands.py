"""Batch sites on the command line: `nbfed site init` and `nbfed site gate` make what a site's administrator installs.

They stand beside the commands about the life of sites (`vetting.site_commands`) and their check.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import click

from federation.commands import plain
from federation.settings import BatchSite, Flavour
from spawners.check_commands import check
from spawners.gate_file import DIALECTS
from spawners.gateway.ca import CertificateAuthority
from spawners.site_files import SiteFile, gate, site_files
from vetting.site_commands import site

__all__ = ["SiteShop", "site"]


class SiteShop(Protocol):
    """A shop that knows the batch sites of federation.yaml."""

    @property
    def batch_sites(self) -> Mapping[str, BatchSite]: ...

    @property
    def authority(self) -> CertificateAuthority: ...

    @property
    def flavours(self) -> Mapping[str, Flavour]: ...


site.add_command(check)


@site.command("init")
@click.argument("name")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.pass_obj
def init(shop: SiteShop, name: str, folder: Path | None) -> None:
    """Write what the site NAME installs into FOLDER (./NAME if none is given), and say where each file goes.

    Files that are there already stay as they are: a site may have changed them.
    """
    settings = _site(shop, name)
    folder = folder or Path(name)
    folder.mkdir(parents=True, exist_ok=True)
    authorities = shop.authority.public_keys() if shop.authority.exists else ()
    for file_name, file in site_files(name, settings, shop.flavours, authorities=authorities).items():
        click.echo(_written(folder / file_name, file))
    if not authorities:
        click.echo("\nThere is no ca.pub yet: `nbfed ca init` makes the key by which the gateway signs in.")
    click.echo("\nHow to go on: docs/how-to/join-an-hpc-site.md")


@site.command("gate")
@click.argument("name")
@click.pass_obj
def gate_command(shop: SiteShop, name: str) -> None:
    """Print the gate of the site NAME: the one program that the federation may start there.

    A newer gate replaces the file at the site; the files of the site's policy stay.
    """
    click.echo(gate(name, _site(shop, name)), nl=False)


def _written(path: Path, file: SiteFile) -> str:
    try:
        path.touch(mode=file.mode, exist_ok=False)
    except FileExistsError:
        return f"{path} is there already, and stays as it is -> {file.place}"
    path.chmod(file.mode | 0o200)
    path.write_text(file.text, encoding="utf-8")
    path.chmod(file.mode)
    return f"{path} -> {file.place} (root, mode {file.mode:o})"


def _site(shop: SiteShop, name: str) -> BatchSite:
    sites = shop.batch_sites
    if name not in sites:
        known = f"Batch sites are: {', '.join(sorted(sites))}." if sites else "There is no site of `kind: batch`."
        raise click.ClickException(f"federation.yaml has no batch site {plain(name)!r}. {known}")
    if sites[name].dialect not in DIALECTS:
        raise click.ClickException(
            f"There is no gate for {sites[name].dialect} yet; there is one for {', '.join(sorted(DIALECTS))}. "
            "docs/how-to/write-a-dialect.md says how to add one."
        )
    return sites[name]
