"""Puts the access desk together from the house."""

import hmac
import logging

import uvicorn
from fastapi import FastAPI

from hub_config.desk_sign_in import HubSignIn
from hub_config.look import TEMPLATES_FOLDER, asset, hub_static, hub_style
from hub_config.wiring import House
from spawners.support import DeskSessions
from vetting.desk.app import application
from vetting.desk.parts import Desk, Look, Offer, SignIn

__all__ = ["desk_application", "desk_of", "serve_desk"]

_GRACE_SECONDS = 5
_OF_SEALS = b"nbfed desk: seals on forms"


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
        answers=settings.yaml.desk.answers,
        is_demo=settings.is_demo_sign_in,
    )
    return Desk(
        offer=offer,
        look=Look(templates=TEMPLATES_FOLDER, asset=asset, hub_style=hub_style, hub_static=hub_static),
        database=parts.database,
        requests=parts.requests,
        ledger=parts.ledger,
        sessions=DeskSessions(parts.sessions, parts.backends),
        sign_in=sign_in,
        clock=parts.clock,
        # The same for every desk of an installation: a form may come back to another one, or after a restart.
        key=hmac.digest(settings.state.secret("desk_token").encode(), _OF_SEALS, "sha256"),
        closed=parts.admission.away,
    )


def desk_application(parts: House) -> FastAPI:
    """The desk of an installation, with sign-in by its hub."""
    return application(desk_of(parts, HubSignIn(parts.settings)))


def serve_desk(parts: House) -> None:
    """Answer at `listen.desk_ip` and `listen.desk_port`, until an end signal comes."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    listen = parts.settings.yaml.listen
    uvicorn.run(
        desk_application(parts), host=listen.desk_ip, port=listen.desk_port, log_level="warning",
        server_header=False, timeout_graceful_shutdown=_GRACE_SECONDS, ws="none",
    )  # fmt: skip
