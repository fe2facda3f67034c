"""Puts the check of a batch site together from the settings."""

from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

from traitlets.config import Config

from federation.settings import BatchSite, Environment
from hub_config import gateway_wiring
from hub_config.settings import Settings, SettingsError
from spawners.backends.batch_child import child_class, wanted_of
from spawners.backends.batch_script import LAUNCHER, Start
from spawners.gate_file import version
from spawners.gateway.conformance import SiteCheck
from spawners.gateway.conformance_job import ProbeJob
from spawners.gateway.link import Link
from spawners.site_files import gate, offered
from vetting.resources import Resources, shape

__all__ = ["probe_jobs", "site_check"]

_PROBE = LAUNCHER.with_name("site_probe.py")
_SMALLEST = Resources(cores=1, memory_gib=1, gpus=0)
_MORE_MINUTES = 5
"""How long the job of a check that was killed goes on: then it ends by itself."""


def site_check(settings: Settings, name: str, folder: Path, account: str | None) -> SiteCheck:
    """What is checked of a batch site; where each account signs in for itself, as this one. Nothing is contacted yet."""
    site = _batch_site(settings, name)
    hub = settings.yaml.federation.hub

    def link(called: str) -> Link:
        own = account if site.by_account else None
        return Link(hub=hub, site=called, settings=site, folder=folder, account=own)

    return SiteCheck(
        link=link(name),
        stranger=link("another-site" if name != "another-site" else "a-third-site"),
        credentials=lambda of: gateway_wiring.credentials(settings, of),
        gate_version=version(gate(name, site)),
        offered=offered(site, settings.yaml.flavours),
        reverse=gateway_wiring.reverse(settings, site),
        hub_api=f"{settings.hub_url}/hub/api",
        clock=settings.clock(),
    )


def probe_jobs(
    settings: Settings,
    name: str,
    account: str,
    *,
    environments: Sequence[str],
    wait_seconds: float,
    say: Callable[[str], None],
) -> list[ProbeJob]:
    """One job for each of these environments, or for all that batch sites can have.

    Raises
    ------
    hub_config.settings.SettingsError
        If there is none, or an environment is not one of them.
    """
    known = {each: found for each, found in settings.yaml.environments.items() if found.batch is not None}
    unknown = sorted(set(environments) - set(known))
    if unknown or not known:
        raise SettingsError(
            f"{settings.file} has no environment {', '.join(unknown)} with `batch`; it has {', '.join(known) or 'none'}."
        )
    return [_probe_job(settings, name, account, each, known[each], wait_seconds, say) for each in environments or known]


def _probe_job(
    settings: Settings,
    name: str,
    account: str,
    environment_name: str,
    environment: Environment,
    wait_seconds: float,
    say: Callable[[str], None],
) -> ProbeJob:
    """Its script is made by what makes those of sessions: the site's own template, traits and environment."""
    site = _batch_site(settings, name)
    flavour = settings.yaml.flavours[site.flavours[0]]
    wanted = wanted_of(shape(_SMALLEST, flavour, site), minutes=2 * _MORE_MINUTES)
    child = child_class(site.dialect)(
        config=Config(),
        user=SimpleNamespace(name="site-check"),
        site=site,
        software=environment.batch,
        req_username=account,
        **site.batchspawner,
    )
    hub_url = gateway_wiring.reverse(settings, site).url

    def script(attempt: str) -> str:
        start = Start(attempt=attempt, exchange_url=f"{hub_url}/hub/api", patience_seconds=_MORE_MINUTES * 60)
        return child.script_of(start, wanted, _PROBE)

    return ProbeJob(
        environment=environment_name,
        account=account,
        script=script,
        resources=wanted,
        wait_seconds=wait_seconds,
        hub_version=metadata.version("jupyterhub"),
        say=say,
    )


def _batch_site(settings: Settings, name: str) -> BatchSite:
    site = settings.yaml.sites[name]
    assert isinstance(site, BatchSite), "the command asks for no other one"
    return site
