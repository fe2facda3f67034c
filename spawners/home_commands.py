"""`nbfed home`: people's home folders at Kubernetes sites, on the command line."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import click

from federation.commands import Shop, find_person, necessary_text, operator, plain, table, when
from federation.persons import persons_by_id
from federation.settings import Environment, KubernetesSite, Site
from spawners.backends.cluster import Cluster, ClusterAway, ClusterRefused
from spawners.backends.kubernetes_homes import Volumes
from spawners.homes import Home, HomeError, Homes

__all__ = ["HomeShop", "home"]

_USAGE_SECONDS = 300.0
_KUBECONFIG = click.option(
    "--kubeconfig",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="with whose rights; without it, those of the hub",
)


class HomeShop(Shop, Protocol):
    """A shop that knows homes, and the clusters that they are in."""

    @property
    def homes(self) -> Homes: ...

    @property
    def sites(self) -> Mapping[str, Site]: ...

    @property
    def environments(self) -> Mapping[str, Environment]: ...

    def cluster(self, site: KubernetesSite, kubeconfig: Path | None) -> Cluster: ...


@click.group()
def home() -> None:
    """Home folders at Kubernetes sites: which there are, what is in one, and its end."""


@home.command("list")
@click.option("--site", help="at this site")
@click.option("--person", help="of this person: user name, id, subject, e-mail or part of a name")
@click.option("--due", is_flag=True, help="only those that need not be kept any longer")
@click.pass_obj
def list_homes(shop: HomeShop, site: str | None, person: str | None, *, due: bool) -> None:
    """Show the homes that there are, the longest unused first."""
    someone = find_person(shop, person) if person is not None else None
    now = shop.clock()
    found = shop.homes.found(person_id=someone.id if someone else None, site=site)
    found = [one for one in found if one.is_due(now)] if due else found
    if not found:
        click.echo("No homes are due." if due else "No homes.")
        return
    with shop.database.read() as connection:
        people = persons_by_id(connection, {one.person_id for one in found})
    header = ("PERSON", "SITE", "VOLUME", "GIB", "MADE", "LAST USED", "KEPT UNTIL", "BECAUSE")
    rows = [
        (people[one.person_id].user_name, one.site, one.volume, str(one.size_gib), when(one.made_at), when(one.used_at),
         when(one.kept_until), one.why_kept or "")
        for one in found
    ]  # fmt: skip
    click.echo(table(header, rows))


@home.command()
@click.argument("person")
@click.argument("site")
@click.pass_obj
def usage(shop: HomeShop, person: str, site: str) -> None:
    """Say how much is in PERSON's home at SITE. A small pod looks, and is gone afterwards; it can read and not write."""
    found = _home(shop, person, site)
    settings = _settings(shop, site)
    image = next((one.kubernetes.image for one in shop.environments.values() if one.kubernetes), None)
    if image is None:
        raise click.ClickException("federation.yaml has no environment with an image, and the pod needs one.")
    with _cluster(shop, settings, None) as volumes:
        try:
            seen = volumes.usage(found.volume, site=settings, image=image, seconds=_USAGE_SECONDS)
        except TimeoutError as error:
            raise click.ClickException(
                f"{error}. A volume that one node may mount at a time cannot be looked at from another one while a "
                "session uses it."
            ) from error
    click.echo(f"{seen.size_bytes / 2**30:.2f} of {found.size_gib} GiB, {seen.files} files and folders")


@home.command()
@click.argument("person")
@click.argument("site")
@click.option("--reason", required=True, callback=necessary_text(2000), help="why; auditors read it")
@click.option("--early", is_flag=True, help="although it is still to be kept, as when the person asked for it")
@_KUBECONFIG
@click.pass_obj
def remove(shop: HomeShop, person: str, site: str, reason: str, *, early: bool, kubeconfig: Path | None) -> None:
    """Remove PERSON's home at SITE for good, with all files in it.

    Hub and worker may not remove volumes, so --kubeconfig names an account that may. Given again, it goes on where it
    was interrupted.
    """
    found = _home(shop, person, site)
    with _cluster(shop, _settings(shop, site), kubeconfig) as volumes:
        try:
            shop.homes.remove(found, volumes.remove, by=operator(), reason=reason, early=early)
        except HomeError as error:
            raise click.ClickException(f"The home {found.volume} at {site} is not removed: {error}.") from error
    click.echo(f"The home {found.volume} at {site} is removed. The audit trail has your reason.")


@contextmanager
def _cluster(shop: HomeShop, site: KubernetesSite, kubeconfig: Path | None) -> Iterator[Volumes]:
    """The volumes of a site, and what to do when its cluster says no."""
    cluster = shop.cluster(site, kubeconfig)
    try:
        yield Volumes(cluster)
    except ClusterRefused as refused:
        advice = " Name an account that may with --kubeconfig." if refused.status == HTTPStatus.FORBIDDEN else ""
        raise click.ClickException(f"The cluster refuses: {plain(str(refused))}.{advice}") from refused
    except ClusterAway as error:
        raise click.ClickException(f"The cluster does not answer: {plain(str(error))}. Try again.") from error
    finally:
        cluster.close()


def _home(shop: HomeShop, person: str, site: str) -> Home:
    someone = find_person(shop, person)
    found = shop.homes.found(person_id=someone.id)
    for one in found:
        if one.site == site:
            return one
    where = f"has one at {', '.join(one.site for one in found)}" if found else "has none anywhere"
    raise click.ClickException(f"{someone.user_name} has no home at {plain(site)!r}, and {where}.")


def _settings(shop: HomeShop, name: str) -> KubernetesSite:
    site = shop.sites.get(name)
    if not isinstance(site, KubernetesSite):
        raise click.ClickException(f"federation.yaml has no Kubernetes site {plain(name)!r} any more.")
    return site
