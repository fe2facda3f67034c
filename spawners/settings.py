"""The sections of federation.yaml about sessions that run: idle stops and how often the worker looks."""

from typing import Annotated

from pydantic import Field, PositiveInt

from federation.settings import Section

__all__ = ["IdleSection", "WorkerSection"]


class IdleSection(Section):
    """When a session that nobody uses is stopped."""

    stop_after_minutes: Annotated[float, Field(gt=0, le=100_000)] | None = Field(
        60, description="null: never; charged to the second and explained on the home page"
    )
    notice_minutes: PositiveInt = Field(
        10, description="how long before the stop the person is told; at most half of stop_after_minutes"
    )


class WorkerSection(Section):
    """The process that renews leases, settles ended sessions and stops idle ones."""

    interval_seconds: Annotated[float, Field(gt=0, le=300)] = Field(10, description="how often it looks")
    silent_minutes: Annotated[float, Field(gt=0, le=100_000)] = Field(
        10, description="how long a site may be silent about its sessions before that is an error in log and metrics"
    )
