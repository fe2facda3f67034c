"""Puts the gateway together from the settings."""

from functools import partial
from urllib.parse import urlsplit

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, ProcessCollector

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
from spawners.gateway.link import Link, MasterKind
from spawners.gateway.masters import Master
from spawners.gateway.metrics import GatewayMetrics
from spawners.gateway.site import Reverse, SiteGateway

__all__ = ["authority", "credentials", "gateway", "links", "reverse"]


def authority(settings: Settings) -> CertificateAuthority:
    """The certificate authority in the state folder."""
    return CertificateAuthority(settings.state.gateway)


def links(settings: Settings) -> dict[str, Link]:
    """How each batch site of federation.yaml is reached, apart from those that let nobody but people's own accounts in
    (`access: user-certificate`): the gateway signs in to one account of a site.
    """
    yaml = settings.yaml
    return {
        name: Link(hub=yaml.federation.hub, site=name, settings=site, folder=settings.state.gateway)
        for name, site in yaml.sites.items()
        if isinstance(site, BatchSite) and site.access == "robot"
    }


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
    sites = {name: _site(settings, link, book, metrics) for name, link in links(settings).items()}
    metrics.watch(sites.values())
    return application(sites, registry, settings.gateway_door.token)


def _site(settings: Settings, link: Link, book: ForwardBook, metrics: GatewayMetrics) -> SiteGateway:
    name, door = link.site, settings.gateway_door
    own = credentials(settings, link)
    masters = {kind: Master(link, kind, own, on_start=partial(metrics.start, name, kind)) for kind in MasterKind}
    observe = partial(metrics.request, name)
    calls = {kind: Calls(masters[kind], link.command_words(kind), observe=observe) for kind in MasterKind}
    data = masters[MasterKind.DATA]
    return SiteGateway(
        name,
        command=masters[MasterKind.COMMAND],
        data=data,
        calls=calls[MasterKind.COMMAND],
        data_calls=calls[MasterKind.DATA],
        forwards=Forwards(name, data, expanded(link.settings.nodes), port_range(link.settings.ports), book, door),
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
