"""What a session asks of a batch system: a choice within its flavour and its site. Pure.

What comes out for a job is whole numbers, and names that the site's settings have: nothing that a person typed goes
further than this module.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from federation.errors import Failure
from federation.settings import BatchSite, Flavour, Site
from vetting.errors import NO_BATCH_SYSTEM, RESOURCE_TOO_MUCH, RESOURCE_UNKNOWN

__all__ = ["JobShape", "Resources", "longest_minutes", "shape", "why_not"]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a person chose; None leaves it to the flavour and the site.

    Parameters
    ----------
    cores, memory_gib, gpus
        At most what the flavour has. The flavour is what is paid for, whatever part of it is asked for.
    walltime_minutes
        For how long the job may run; all of it is set aside in the books.
    partition, account, reservation
        Names that the site's settings list. The account is the one that the scheduler charges.
    """

    cores: int | None = None
    memory_gib: int | None = None
    gpus: int | None = None
    walltime_minutes: int | None = None
    partition: str | None = None
    account: str | None = None
    reservation: str | None = None

    def asked(self) -> dict[str, int | str]:
        """Only what was chosen, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class JobShape:
    """What a job gets, beside its walltime. None: the scheduler's own choice."""

    cores: int
    memory_gib: int
    gpus: int
    partition: str | None
    account: str | None
    reservation: str | None


def longest_minutes(flavour: Flavour, site: BatchSite) -> int:
    """The longest walltime of a flavour at a site."""
    return 60 * min(site.walltime_hours, flavour.walltime_hours or site.walltime_hours)


def why_not(resources: Resources, flavour: Flavour, site: Site, title: str) -> Failure | None:
    """Why a site cannot give what was chosen; None if it can."""
    asked = resources.asked()
    if not isinstance(site, BatchSite):
        return Failure(NO_BATCH_SYSTEM, {"site": title, "options": ", ".join(asked)}) if asked else None
    for option, most in _most(flavour, site).items():
        value = asked.get(option)
        if isinstance(value, int) and value > most:
            return Failure(RESOURCE_TOO_MUCH, {"site": title, "option": option, "value": value, "limit": most})
    for option, known in _known(site).items():
        if option in asked and asked[option] not in known:
            return Failure(RESOURCE_UNKNOWN, {"site": title, "option": option, "value": asked[option]})
    return None


def shape(resources: Resources, flavour: Flavour, site: BatchSite) -> JobShape:
    """The job's shape by the limits of now: what the flavour has, unless less was chosen; the site's partition, unless
    another was.

    Raises
    ------
    Failure
        If the site cannot give what was chosen.
    """
    refusal = why_not(resources, flavour, site, "")
    if refusal is not None:
        raise refusal
    return JobShape(
        cores=flavour.cpu if resources.cores is None else resources.cores,
        memory_gib=flavour.memory_gib if resources.memory_gib is None else resources.memory_gib,
        gpus=flavour.gpu if resources.gpus is None else resources.gpus,
        partition=resources.partition or site.partition,
        account=resources.account,
        reservation=resources.reservation,
    )


def _most(flavour: Flavour, site: BatchSite) -> Mapping[str, int]:
    return {
        "cores": flavour.cpu,
        "memory_gib": flavour.memory_gib,
        "gpus": flavour.gpu,
        "walltime_minutes": longest_minutes(flavour, site),
    }


def _known(site: BatchSite) -> Mapping[str, list[str]]:
    return {
        "partition": [*([site.partition] if site.partition else []), *site.partitions],
        "account": site.charge_accounts,
        "reservation": site.reservations,
    }
