"""The people of the demonstration: invented, and described by the claims that EGI Check-in gives about real ones.

Subjects never change between starts, so a persona keeps its user name, its files and its books. The entitlements carry
the roles that the federation.yaml beside this module names.
"""

from dataclasses import dataclass
from hashlib import sha256

from babel import Locale

from federation.i18n import current_language

__all__ = ["PERSONAS", "Persona"]

_GROUP = "urn:mace:example.org:group:demo"
_AUTHORITY = "#demo.example.org"
_LOW = ("https://aai.egi.eu/LoA#Low", "https://refeds.org/assurance/IAP/low")
_SUBSTANTIAL = (
    "https://aai.egi.eu/LoA#Substantial",
    "https://refeds.org/assurance/IAP/low",
    "https://refeds.org/assurance/IAP/medium",
    "https://refeds.org/assurance/ID/unique",
    "https://refeds.org/assurance/ATP/ePA-1m",
    "https://refeds.org/assurance/profile/cappuccino",
)


def _(message: str) -> str:  # Marks a text for extraction; it is translated when it is shown.
    return message


def _member(*rest: str) -> tuple[str, ...]:
    """Entitlements (AARC-G069) of a member of the demo group who also has what `rest` names below that group."""
    return tuple(f"{_GROUP}{part}{_AUTHORITY}" for part in ("", *rest))


@dataclass(frozen=True)
class Persona:
    """Somebody to be.

    Parameters
    ----------
    key
        Short and stable; the subject is made of it.
    title
        What the person is in the federation; a message id.
    may
        One sentence: what they may do; a message id.
    institution, scope
        The home organisation and its domain.
    country
        ISO 3166-1 alpha-2.
    affiliations
        Without the scope: `member`, `faculty` …
    """

    key: str
    title: str
    may: str
    given_name: str
    family_name: str
    preferred_username: str
    institution: str
    scope: str
    country: str
    affiliations: tuple[str, ...]
    entitlements: tuple[str, ...]
    assurance: tuple[str, ...]

    @property
    def subject(self) -> str:
        """Shaped like Check-in's voperson_id: 64 hexadecimal characters and a scope."""
        return sha256(self.key.encode()).hexdigest() + "@demo.example.org"

    @property
    def name(self) -> str:
        return f"{self.given_name} {self.family_name}"

    @property
    def email(self) -> str:
        return f"{self.preferred_username}@{self.scope}"

    @property
    def country_name(self) -> str:
        """The country's name in the present language."""
        return str(Locale(current_language()).territories.get(self.country, self.country))

    @property
    def claims(self) -> dict[str, object]:
        """What userinfo says, beside `sub`; values that can be several are lists even where there is one or none."""
        return {
            "voperson_id": self.subject,
            "name": self.name,
            "given_name": self.given_name,
            "family_name": self.family_name,
            "preferred_username": self.preferred_username,
            "email": self.email,
            "email_verified": True,
            "eduperson_entitlement": list(self.entitlements),
            "schac_home_organization": self.scope,
            "eduperson_scoped_affiliation": [f"{affiliation}@{self.scope}" for affiliation in self.affiliations],
            "eduperson_assurance": list(self.assurance),
        }


PERSONAS = (
    Persona(
        key="newcomer",
        title=_("Newcomer"),
        may=_("Belongs to no community yet: may look around, see what is missing, and ask for access."),
        given_name="Valentina",
        family_name="Quispe",
        preferred_username="vquispe",
        institution="Universidad de Valle Alto",
        scope="vallealto.example.org",
        country="PE",
        affiliations=("student", "member"),
        entitlements=(),
        assurance=_LOW,
    ),
    Persona(
        key="researcher",
        title=_("Researcher"),
        may=_("May start sessions within the default quota, and ask for more."),
        given_name="Inês",
        family_name="Carvalho",
        preferred_username="icarvalho",
        institution="Universidade de Serra Clara",
        scope="serraclara.example.org",
        country="BR",
        affiliations=("faculty", "member"),
        entitlements=_member(),
        assurance=_SUBSTANTIAL,
    ),
    Persona(
        key="trainer",
        title=_("Trainer"),
        may=_("May do what a researcher may, and carries the role of those who give classes."),
        given_name="Marta",
        family_name="Kowalska",
        preferred_username="mkowalska",
        institution="Instytut Danych nad Wisłą",
        scope="daneznadwisly.example.org",
        country="PL",
        affiliations=("staff", "member"),
        entitlements=_member(":role=trainer"),
        assurance=_SUBSTANTIAL,
    ),
    Persona(
        key="reviewer-1",
        title=_("Reviewer"),
        may=_("May decide about other people's requests, up to a ceiling, and never about their own."),
        given_name="Camila",
        family_name="Rojas",
        preferred_username="crojas",
        institution="Universidad Andina del Sur",
        scope="andinasur.example.org",
        country="CL",
        affiliations=("staff", "member"),
        entitlements=_member(":role=support"),
        assurance=_SUBSTANTIAL,
    ),
    Persona(
        key="reviewer-2",
        title=_("Second reviewer"),
        may=_("May decide about other people's requests, the first reviewer's among them."),
        given_name="Luc",
        family_name="Moreau",
        preferred_username="lmoreau",
        institution="Centre de calcul de Valombre",
        scope="valombre.example.org",
        country="FR",
        affiliations=("staff", "member"),
        entitlements=_member(":role=support"),
        assurance=_SUBSTANTIAL,
    ),
    Persona(
        key="site-operator",
        title=_("Site operator"),
        may=_("May look after the site “This machine”: its people, its usage, its downtimes."),
        given_name="Jonas",
        family_name="Brandt",
        preferred_username="jbrandt",
        institution="Rechenzentrum Elbtal",
        scope="elbtal.example.org",
        country="DE",
        affiliations=("employee", "member"),
        entitlements=_member(":here", ":here:role=operator"),
        assurance=_SUBSTANTIAL,
    ),
    Persona(
        key="operator",
        title=_("Operator"),
        may=_("May look after the whole federation: grants, corrections, the audit trail."),
        given_name="Sofía",
        family_name="Herrera",
        preferred_username="sherrera",
        institution="Red Académica del Litoral",
        scope="litoral.example.org",
        country="UY",
        affiliations=("employee", "member"),
        entitlements=_member(":role=operator"),
        assurance=_SUBSTANTIAL,
    ),
)
