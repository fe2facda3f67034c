"""What the access desk is made of: handed in by whoever runs it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from federation.clock import Clock
from federation.database import Database
from federation.errors import Failure
from federation.settings import Environment, FederationSection, Flavour, Site
from quota.ledger import Ledger
from quota.settings import DefaultGrant
from vetting.desk.running import SupportSessions
from vetting.requests import Requests
from vetting.settings import Answer, RoleRules, Tier

__all__ = ["PREFIX", "Departure", "Desk", "HubAway", "Look", "Offer", "SignIn", "SignInFailed"]

PREFIX = "/services/desk/"
"""Where the desk is, below the public address: JupyterHub's place for a service of this name."""


class HubAway(Exception):
    """Who signs in people cannot be asked now."""


class SignInFailed(Exception):
    """A sign-in that was begun cannot be finished: its code is used up, or too old."""


@dataclass(frozen=True, kw_only=True)
class Departure:
    """A sign-in that begins: where the browser is sent, and what it has to bring back (RFC 6749, 10.12; RFC 7636)."""

    address: str
    state: str
    verifier: str


class SignIn(Protocol):
    """How people sign in. All calls block."""

    def begin(self) -> Departure:
        """Begin a sign-in."""

    def finish(self, code: str, verifier: str) -> str:
        """Exchange the code for a token, which stands for the sign-in from then on.

        Raises
        ------
        SignInFailed
            If it is none.
        HubAway
            If nobody can say so.
        """

    def user_name(self, token: str, session: str) -> str | None:
        """The hub user name of the person whose token this is; None if it is nobody's, or may not use the desk.

        Parameters
        ----------
        session
            The hub's own session in this browser: a token ends with it.

        Raises
        ------
        HubAway
            If nobody can say so.
        """


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What federation.yaml says of what there is and of who may do what."""

    federation: FederationSection
    roles: RoleRules
    tiers: Mapping[str, Tier]
    flavours: Mapping[str, Flavour]
    environments: Mapping[str, Environment]
    sites: Mapping[str, Site]
    defaults: Mapping[str, DefaultGrant]
    snapshot: timedelta
    grant_months: int
    answers: Mapping[str, Answer] = field(default_factory=dict)
    is_demo: bool = False

    @property
    def origin(self) -> str:
        """Scheme, host and port of the public address."""
        parts = urlsplit(self.federation.base_url)
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, kw_only=True)
class Look:
    """The frame around the pages, which is the hub's: its templates, and where its style and scripts are."""

    templates: Path
    asset: Callable[[str], str]
    hub_style: Callable[[], str]
    hub_static: Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Everything that the pages work with.

    Parameters
    ----------
    closed
        Says which sites take nothing just now, and why. Asked often; it should not take long.
    key
        What forms are sealed with; the same for all copies of the desk.
    """

    offer: Offer
    look: Look
    database: Database
    requests: Requests
    ledger: Ledger
    sessions: SupportSessions
    sign_in: SignIn
    clock: Clock
    key: bytes = field(repr=False)
    closed: Callable[[], Mapping[str, Failure]] = dict
