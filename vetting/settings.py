"""The sections of federation.yaml about people: identity providers, roles, tiers, the desk."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from federation.settings import Localised, Name, Section
from vetting.assurance import AssuranceError, parse

__all__ = ["DeskSection", "IdentitySection", "Provider", "Roles", "Rule", "Tier"]


class Provider(Section):
    """One OpenID provider on the sign-in page."""

    id: Name
    preset: Literal["egi-check-in", "egi-check-in-demo", "egi-check-in-dev", "generic"] = "generic"
    issuer: str | None = Field(None, description="needed for generic; presets know theirs")
    title: Localised = Field("", description="on the sign-in page; else the preset's, else the id")
    logo: str | None = Field(None, description="an SVG or PNG file for the sign-in page, at most 64 KiB")
    client_id: str
    client_secret_file: str | None = Field(None, description="else NBFED_CLIENT_SECRET_<ID>")
    scopes: list[str] | None = Field(
        None, description="what is asked for; else what we know of and the provider offers"
    )
    subject_claim: str | None = Field(
        None, description="says who somebody is; else the preset's (Check-in: voperson_id), or sub"
    )
    owns_namespaces: list[str] | None = Field(
        None,
        description="entitlements of other namespaces from this provider are ignored; else the preset's. "
        "A generic provider without them may speak for all, but only where it is the only provider",
    )

    @model_validator(mode="after")
    def _generic_needs_an_issuer(self) -> "Provider":
        if self.preset == "generic" and not self.issuer:
            raise ValueError("a generic provider needs an issuer")
        return self


class Roles(Section):
    """Which entitlements carry which role."""

    reviewer: list[str] = Field(default_factory=list)
    operator: list[str] = Field(default_factory=list)
    trainer: list[str] = Field(default_factory=list)
    site_operator: dict[str, list[str]] = Field(default_factory=dict)


class IdentitySection(Section):
    """Where people sign in. Without providers, the demo sign-in is used (demo mode only)."""

    providers: list[Provider] = Field(default_factory=list)
    auth_state_key_file: str | None = Field(
        None,
        description="32 bytes in hexadecimal that people's tokens are encrypted with; several lines: the first encrypts, "
        "all decrypt. Else NBFED_CRYPT_KEY, else one of the state folder (demo mode only)",
    )
    snapshot_hours: Annotated[int, Field(ge=1, le=744)] = Field(
        24, description="how long what a provider said last counts while it cannot be asked again"
    )
    roles: Roles = Field(default_factory=Roles)


def _valid_assurance(expression: str | None) -> str | None:
    if expression is not None:
        try:
            parse(expression)
        except AssuranceError as error:
            raise ValueError(str(error)) from error
    return expression


class Rule(Section):
    """Facts that must all hold."""

    communities: list[str] | None = Field(None, description="entitlements; one of them is needed")
    assurance: str | None = Field(None, description="an assurance expression: | & ( )")
    affiliation: list[str] | None = Field(None, description="one of these at the home organisation")
    evidence: Literal["recorded"] | None = Field(None, description="a reviewer recorded evidence")
    terms: Literal["accepted"] | None = None
    mapping: Literal["accepted"] | None = Field(None, description="the site accepted the person")
    mfa: Literal["when-the-site-asks", "always"] | None = None

    _check_assurance = field_validator("assurance")(_valid_assurance)


class Tier(Rule):
    """A tier is a rule, on top of the tier that it needs; of `any` one rule must hold."""

    needs: str | None = None
    any: list[Rule] = Field(default_factory=list)
    vetting: Literal["membership", "review"] = Field(
        "membership", description="membership alone gives it, or a person decides once"
    )


class DeskSection(Section):
    """The access desk."""

    target_answer_days: Annotated[int, Field(ge=1, le=366)] = 3
    reviewer_ceiling_hours: Annotated[int, Field(ge=0, le=10_000_000)] = 1000
    grant_months: Annotated[int, Field(ge=1, le=120)] = 12
