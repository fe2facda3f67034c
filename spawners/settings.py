"""The sections of federation.yaml about sessions that run: idle stops, how often the worker looks, the gateway."""

from typing import Annotated

from pydantic import Field, PositiveInt

from federation.settings import PortRange, Section, Url

__all__ = ["GatewaySection", "IdleSection", "WorkerSection"]


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


class GatewaySection(Section):
    """The process that reaches the batch sites."""

    certificate_minutes: Annotated[int, Field(ge=2, le=1440)] = Field(
        10, description="how long its certificates open a site; connections that are open go on"
    )
    forward_ports: PortRange = Field(
        "17000-18999",
        description="where it listens for the sessions of batch sites, one port for each, on loopback unless url is set; "
        "keep them out of the range that the system hands out by itself",
    )
    url: Url | None = Field(
        None,
        description="where hub and worker reach it when it has a machine or pod of its own, and the proxy its forwards: "
        "it listens on that port and on forward_ports of all its addresses, and asks for `NBFED_GATEWAY_TOKEN`; "
        "null: a socket in the state folder",
    )
    with_up: bool = Field(
        True, description="whether `nbfed up` runs it; `false` where it is a service of its own, whose connections stay"
    )
