"""The sections of federation.yaml about quota: what each tier gets by default, pools, and limits."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from federation.settings import Localised, Section

__all__ = ["DefaultGrant", "Limit", "LimitsSection", "Pool"]

Hours = Annotated[int, Field(ge=0, le=10_000_000)]
Period = Literal["day", "week", "month", "year"]


class DefaultGrant(Section):
    """What everyone of a tier gets without asking."""

    amount_hours: Hours = Field(description="billing-unit-hours in each period")
    period: Period = "month"
    sessions: PositiveInt | None = Field(1, description="how many may run at once; null: no cap but the quota")
    flavours: list[str] = Field(min_length=1)


class Limit(Section):
    """What may be in use at the same time."""

    sessions: PositiveInt | None = None
    cpu: PositiveInt | None = None
    memory_gib: PositiveInt | None = None
    gpu: PositiveInt | None = None

    def gauges(self) -> dict[str, int]:
        """The limits that are set, by the names and in the units of `quota.capping.GAUGES`."""
        memory_mib = None if self.memory_gib is None else self.memory_gib * 1024
        every = {"sessions": self.sessions, "cpu": self.cpu, "memory_mib": memory_mib, "gpu": self.gpu}
        return {gauge: limit for gauge, limit in every.items() if limit is not None}


class Pool(Section):
    """Quota that the members of a community (VO) share. It pays where a member's own quota does not."""

    title: Localised
    community: str = Field(description="the entitlement that makes a member")
    amount_hours: Hours = Field(description="billing-unit-hours in each period, for all members together")
    period: Period = "month"
    flavours: list[str] = Field(min_length=1)
    limit: Limit = Field(default_factory=Limit, description="what sessions that the pool pays for may use together")


class LimitsSection(Section):
    """Leases, and caps on what runs at the same time."""

    lease_minutes: Annotated[int, Field(ge=1, le=1440)] = Field(
        45, description="quota is reserved for this long at a time on local and Kubernetes sites"
    )
    shortest_lease_minutes: Annotated[int, Field(ge=1, le=60)] = Field(
        5, description="with less quota than this left, nothing is started"
    )
    per_user: Limit = Field(default_factory=Limit, description="for each person, beside the sessions of the tier")
    per_site: dict[str, Limit] = Field(default_factory=dict, description="for all people of a site together")
    per_flavour: dict[str, Limit] = Field(default_factory=dict, description="for all people of a flavour together")
