"""Puts the access desk together from the house."""

import logging

import uvicorn
from fastapi import FastAPI

from hub_config.desk_sign_in import HubSignIn
from hub_config.look import TEMPLATES_FOLDER, asset, hub_static, hub_style
from hub_config.ports import LOOPBACK
from hub_config.wiring import House
from vetting.desk.app import application
from vetting.desk.parts import Desk, Look, Offer, SignIn

__all__ = ["desk_application", "desk_of", "serve_desk"]

_GRACE_SECONDS = 5


def desk_of(parts: House, sign_in: SignIn) -> Desk:
    """What the desk's pages work with."""
    settings, policy = parts.settings, parts.admission.policy
    offer = Offer(
        federation=settings.yaml.federation,
        roles=settings.yaml.identity.roles,
        tiers=policy.tiers,
        flavours=policy.flavours,
        environments=policy.environments,
        sites=policy.sites,
        defaults=policy.defaults,
        snapshot=policy.snapshot,
        grant_months=settings.yaml.desk.grant_months,
        is_demo=settings.is_demo_sign_in,
    )
    return Desk(
        offer=offer,
        look=Look(templates=TEMPLATES_FOLDER, asset=asset, hub_style=hub_style, hub_static=hub_static),
        database=parts.database,
        requests=parts.requests,
        ledger=parts.ledger,
        sign_in=sign_in,
        clock=parts.clock,
        key=bytes.fromhex(settings.state.secret("desk_key")),
        closed=parts.admission.away,
    )


def desk_application(parts: House) -> FastAPI:
    """The desk of an installation, with sign-in by its hub."""
    return application(desk_of(parts, HubSignIn(parts.settings)))


def serve_desk(parts: House) -> None:
    """Answer on the loopback interface, at `listen.desk_port`, until an end signal comes."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    uvicorn.run(
        desk_application(parts), host=LOOPBACK, port=parts.settings.yaml.listen.desk_port, log_level="warning",
        server_header=False, timeout_graceful_shutdown=_GRACE_SECONDS, ws="none",
    )  # fmt: skip
