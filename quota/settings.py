"""The sections of federation.yaml about quota: what each tier gets by default, and limits."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from federation.settings import Section

__all__ = ["DefaultGrant", "LimitsSection", "SiteLimit"]


class DefaultGrant(Section):
    """What everyone of a tier gets without asking."""

    amount_hours: Annotated[int, Field(ge=0, le=10_000_000)] = Field(description="billing-unit-hours in each period")
    period: Literal["day", "week", "month", "year"] = "month"
    sessions: PositiveInt | None = Field(1, description="how many may run at once; null: no cap but the quota")
    flavours: list[str] = Field(min_length=1)


class SiteLimit(Section):
    """What the federation's people may use of one site together."""

    sessions: PositiveInt | None = None
    cpu: PositiveInt | None = None
    memory_gib: PositiveInt | None = None
    gpu: PositiveInt | None = None


class LimitsSection(Section):
    """Leases, and caps on sites."""

    lease_minutes: Annotated[int, Field(ge=1, le=1440)] = Field(
        45, description="quota is reserved for this long at a time on local and Kubernetes sites"
    )
    shortest_lease_minutes: Annotated[int, Field(ge=1, le=60)] = Field(
        5, description="with less quota than this left, nothing is started"
    )
    per_site: dict[str, SiteLimit] = Field(default_factory=dict)
