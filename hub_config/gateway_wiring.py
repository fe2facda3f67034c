"""Puts the gateway together from the settings."""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, ProcessCollector

from federation.clock import Clock
from federation.database import Database
from federation.nodes import expanded
from federation.settings import BatchSite, port_range
from hub_config.settings import Settings
from spawners.gateway.api import application
from spawners.gateway.book import ForwardBook
from spawners.gateway.ca import CertificateAuthority
from spawners.gateway.calls import Calls
from spawners.gateway.credentials import Credentials
from spawners.gateway.forwards import Forwards
from spawners.gateway.link import ACCOUNTS, Link, MasterKind
from spawners.gateway.masters import Master
from spawners.gateway.metrics import GatewayMetrics
from spawners.gateway.own_logins import OwnLogins
from spawners.gateway.served import RobotSite, Served
from spawners.gateway.site import Reverse, SiteGateway
from spawners.sessions import Sessions

__all__ = ["authority", "credentials", "gateway", "links", "logins", "reverse"]

_LATELY = timedelta(hours=1)
"""For so long after its last session an account is still asked for jobs: one that nobody knows of is found so."""
_STARTS_AT_ONCE = 4
"""Connections to one login node that are begun at a time; sshd turns some away from the tenth on (MaxStartups)."""


def authority(settings: Settings) -> CertificateAuthority:
    """The certificate authority in the state folder."""
    return CertificateAuthority(settings.state.gateway)


def links(settings: Settings) -> dict[str, Link]:
    """How each batch site of federation.yaml is reached; where each account signs in for itself, before it is said which
    one.
    """
    yaml = settings.yaml
    return {
        name: Link(hub=yaml.federation.hub, site=name, settings=site, folder=settings.state.gateway)
        for name, site in yaml.sites.items()
        if isinstance(site, BatchSite)
    }


def logins(settings: Settings) -> list[Link]:
    """All that this gateway, or one before it, may have connections for."""
    found = []
    for link in links(settings).values():
        found += [link, *(replace(link, account=account) for account in _signed_in_to(link))]
    return found


def _signed_in_to(link: Link) -> list[str]:
    """The accounts of a site that there are files for."""
    return sorted(each.name for each in (link.own_folder / ACCOUNTS).glob("*"))


def credentials(settings: Settings, link: Link, *, minutes: int | None = None) -> Credentials:
    """Those for one site; relative names of host key files start at the folder of federation.yaml."""
    return Credentials(
        link,
        authority(settings),
        minutes=minutes or settings.yaml.gateway.certificate_minutes,
        host_key_file=settings.file.parent / link.settings.login.host_key_file,
        clock=settings.clock(),
    )


def gateway(settings: Settings, database: Database) -> FastAPI:
    """The gateway. Make it in the loop that it runs in; nothing is contacted before it serves."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    metrics = GatewayMetrics(registry)
    book = ForwardBook(database, port_range(settings.yaml.gateway.forward_ports), settings.clock())
    sessions = Sessions(database, clock=settings.clock())
    sites = {name: _site(settings, link, book, metrics, sessions) for name, link in links(settings).items()}
    metrics.watch(sites.values())
    return application(sites, registry, settings.gateway_door.token)


class _Accounts:
    """Who has sessions at a site, by their rows; and who had, by the gateway's files."""

    def __init__(self, link: Link, sessions: Sessions, clock: Clock) -> None:
        self._link, self._site, self._sessions, self._clock = link, link.site, sessions, clock

    def accounts(self) -> Collection[str]:
        return self._sessions.accounts_at(self._site, ended_after=self._clock() - _LATELY)

    def account_of(self, attempt: str) -> str | None:
        session = self._sessions.get(attempt)
        return session.account if session is not None and session.site == self._site else None

    def left(self) -> Collection[str]:
        return _signed_in_to(self._link)


def _site(settings: Settings, link: Link, book: ForwardBook, metrics: GatewayMetrics, sessions: Sessions) -> Served:
    places = asyncio.Semaphore(_STARTS_AT_ONCE)

    def signed_in(link: Link) -> RobotSite:
        return RobotSite(_signed_in(settings, link, book, metrics, places))

    if not link.settings.by_account:
        return signed_in(link)
    return OwnLogins(
        link.site,
        address=(link.settings.login.host, link.settings.login.port),
        reverse=reverse(settings, link.settings),
        make=lambda account: signed_in(replace(link, account=account)),
        known=_Accounts(link, sessions, settings.clock()),
    )


def _signed_in(
    settings: Settings, link: Link, book: ForwardBook, metrics: GatewayMetrics, places: asyncio.Semaphore
) -> SiteGateway:
    name, door = link.site, settings.gateway_door
    own = credentials(settings, link)
    masters = {
        kind: Master(link, kind, own, on_start=partial(metrics.start, name, kind), places=places) for kind in MasterKind
    }
    observe = partial(metrics.request, name)
    calls = {kind: Calls(masters[kind], link.command_words(kind), observe=observe) for kind in MasterKind}
    data = masters[MasterKind.DATA]
    return SiteGateway(
        name,
        command=masters[MasterKind.COMMAND],
        data=data,
        calls=calls[MasterKind.COMMAND],
        data_calls=calls[MasterKind.DATA],
        forwards=Forwards(
            name, data, expanded(link.settings.nodes), port_range(link.settings.ports), book, door, link.account or ""
        ),
        reverse=reverse(settings, link.settings),
        on_poll=partial(metrics.poll, name),
    )


def reverse(settings: Settings, site: BatchSite) -> Reverse:
    """Over the login node, where the site's nodes do not reach the public address."""
    if site.notebook_to_hub == "direct":
        return Reverse(settings.base_url.rstrip("/"))
    login = site.login
    host, port = login.cluster_address or login.host, login.reverse_port
    return Reverse(
        f"http://{f'[{host}]' if ':' in host else host}:{port}",
        ("-R", f"[{host}]:{port}:{urlsplit(settings.hub_url).netloc}"),
    )
