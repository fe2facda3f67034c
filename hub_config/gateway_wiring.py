"""Puts the gateway together from the settings."""

from federation.settings import BatchSite
from hub_config.settings import Settings
from spawners.gateway.ca import CertificateAuthority
from spawners.gateway.credentials import Credentials
from spawners.gateway.link import Link

__all__ = ["authority", "credentials", "links"]


def authority(settings: Settings) -> CertificateAuthority:
    """The certificate authority in the state folder."""
    return CertificateAuthority(settings.state.gateway)


def links(settings: Settings) -> dict[str, Link]:
    """How each batch site of federation.yaml is reached."""
    yaml = settings.yaml
    return {
        name: Link(hub=yaml.federation.hub, site=name, settings=site, folder=settings.state.gateway)
        for name, site in yaml.sites.items()
        if isinstance(site, BatchSite)
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
