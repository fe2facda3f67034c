"""The providers of federation.yaml with everything filled in: presets, secrets, logos."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from federation.settings import Localised, in_language
from hub_config.demo import CLIENT_ID as DEMO_CLIENT_ID
from hub_config.settings import Settings, SettingsError
from hub_config.sign_in.presets import PRESETS
from vetting.settings import Provider

__all__ = ["SCOPES", "SignInProvider", "resolve", "scopes_to_ask", "secret_variable"]

SCOPES = (
    "openid", "profile", "email", "voperson_id", "eduperson_entitlement", "entitlements", "eduperson_scoped_affiliation",
    "eduperson_assurance", "schac_home_organization", "offline_access",
)  # fmt: skip
"""What we know how to use, as Check-in and the AARC profile call it."""

_MOST_LOGO_BYTES = 64 * 1024
_LOGO_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True, kw_only=True)
class SignInProvider:
    """One way to sign in. `logo` is its content and its media type."""

    id: str
    title: Localised
    logo: tuple[bytes, str] | None
    issuer: str
    client_id: str
    client_secret: str
    scopes: tuple[str, ...] | None
    subject_claim: str
    owns_namespaces: tuple[str, ...] | Literal["any"]
    affiliation_scopes: tuple[str, ...] | Literal["home-organisation", "any"]

    @property
    def shown_title(self) -> str:
        """In the reader's language."""
        return in_language(self.title, self.id)


def scopes_to_ask(wanted: tuple[str, ...] | None, offered: tuple[str, ...] | None) -> list[str]:
    """What the settings name, else what we know and the provider offers: some refuse a scope that they do not know."""
    if wanted is not None:
        return list(wanted)
    return [scope for scope in SCOPES if offered is None or scope in offered or scope == "openid"]


def resolve(settings: Settings) -> list[SignInProvider]:
    """All providers, in their order in the file; the demo sign-in where there are none.

    Raises
    ------
    SettingsError
        If a secret or a logo is missing.
    """
    if settings.is_demo_sign_in:
        return [_demo(settings)]
    return [_configured(settings, provider) for provider in settings.yaml.identity.providers]


def secret_variable(provider_id: str) -> str:
    """The environment variable with a provider's client secret."""
    return "NBFED_CLIENT_SECRET_" + provider_id.upper().replace("-", "_")


def _demo(settings: Settings) -> SignInProvider:
    return SignInProvider(
        id="demo",
        title=settings.yaml.federation.name,
        logo=None,
        issuer=f"http://127.0.0.1:{settings.yaml.listen.sign_in_port}",
        client_id=DEMO_CLIENT_ID,
        client_secret=settings.state.secret("demo_client_secret"),
        scopes=None,
        subject_claim="voperson_id",
        owns_namespaces="any",
        affiliation_scopes="home-organisation",
    )


def _configured(settings: Settings, provider: Provider) -> SignInProvider:
    preset = PRESETS[provider.preset]
    return SignInProvider(
        id=provider.id,
        title=provider.title or preset.title or provider.id,
        logo=_logo(settings, provider),
        issuer=provider.issuer or preset.issuer,
        client_id=provider.client_id,
        client_secret=_secret(settings, provider),
        scopes=None if provider.scopes is None else tuple(provider.scopes),
        subject_claim=provider.subject_claim or preset.subject_claim,
        owns_namespaces=provider.speaks_for,
        affiliation_scopes=provider.affiliation_scopes,
    )


def _secret(settings: Settings, provider: Provider) -> str:
    key, variable = f"identity.providers.{provider.id}.client_secret_file", secret_variable(provider.id)
    if from_environment := os.environ.get(variable):
        return from_environment
    if provider.client_secret_file is None:
        raise SettingsError(f"{settings.file}: {key} is missing, and {variable} is not set")
    return settings.read_secret(provider.client_secret_file, key)


def _logo(settings: Settings, provider: Provider) -> tuple[bytes, str] | None:
    if provider.logo is None:
        return None
    path: Path = settings.file.parent / provider.logo
    key = f"{settings.file}: identity.providers.{provider.id}.logo"
    kind = _LOGO_TYPES.get(path.suffix.lower())
    if kind is None:
        raise SettingsError(f"{key}: {path} is neither an SVG nor a PNG file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{key}: {path} cannot be read: {error.strerror}") from error
    if len(content) > _MOST_LOGO_BYTES:
        raise SettingsError(f"{key}: {path} is larger than {_MOST_LOGO_BYTES // 1024} KiB")
    return content, kind
