"""Sign-in through an OpenID provider: who it is, kept under the name that was given at the first sign-in.

oauthenticator keeps its flow (PKCE, state, token exchange); what is ours is what follows from the claims: the person is
(issuer, subject), the hub user name is stored, and the default quota is given once the tier is reached.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any, ClassVar

import httpx
from oauthenticator.generic import GenericOAuthenticator
from tornado import web

from federation.database import DatabaseUnavailable
from federation.i18n import gettext
from federation.persons import Person, remember
from hub_config.demo import CLIENT_ID as DEMO_CLIENT_ID
from hub_config.settings import Settings, SettingsError
from hub_config.wiring import House
from spawners.exchange import EXCHANGE_PATH, ExchangeHandler
from vetting.identity import NoSubject, identify
from vetting.settings import Provider

__all__ = ["FederatedAuthenticator", "configure_sign_in"]

_PRESETS = {
    "egi-check-in": "https://aai.egi.eu/auth/realms/egi",
    "egi-check-in-demo": "https://aai-demo.egi.eu/auth/realms/egi",
    "egi-check-in-dev": "https://aai-dev.egi.eu/auth/realms/egi",
}
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint")
_SCOPES = [
    "openid", "profile", "email", "voperson_id", "eduperson_entitlement", "eduperson_scoped_affiliation",
    "eduperson_assurance", "offline_access",
]  # fmt: skip


class FederatedAuthenticator(GenericOAuthenticator):  # type: ignore[misc]  # oauthenticator has no types
    """See the module. `house` and `provider` are set by `configure_sign_in`."""

    house: ClassVar[House]
    provider: ClassVar[Provider]
    issuer: ClassVar[str]

    def user_info_to_username(self, user_info: Mapping[str, Any]) -> str:
        """A placeholder: oauthenticator wants a name before `update_auth_model` has found the person and their own."""
        return "unnamed"

    async def update_auth_model(self, auth_model: dict[str, Any]) -> dict[str, Any]:
        """Turn claims into a person, and the person's stored name into the hub's user name."""
        claims = auth_model["auth_state"][self.user_auth_state_key]
        try:
            person = await asyncio.to_thread(self._remember, claims)
        except NoSubject as error:
            self.log.warning("Sign-in refused: %s", error)
            message = gettext("Your provider did not say who you are, so you cannot be signed in. Tell support.")
            raise web.HTTPError(403, message) from error
        except DatabaseUnavailable as error:
            self.log.error("Sign-in is not possible: %s", error)
            message = gettext("The federation's books cannot be reached, so nobody can be signed in. Try again soon.")
            raise web.HTTPError(503, message) from error
        auth_model["name"] = person.user_name
        return auth_model

    def get_handlers(self, app: Any) -> list[tuple[Any, ...]]:
        """Sign-in pages, and the exchange of a session's secret, which has no place in the hub's own API."""
        return [*super().get_handlers(app), (EXCHANGE_PATH, ExchangeHandler)]

    def _remember(self, claims: Mapping[str, Any]) -> Person:
        house, provider = self.house, self.provider
        identity = identify(
            claims,
            provider=provider.id,
            issuer=self.issuer,
            subject_claim=provider.subject_claim,
            owns_namespaces=provider.speaks_for,
            affiliation_scopes=provider.affiliation_scopes,
        )
        with house.database.write() as connection:
            person = remember(
                connection,
                issuer=identity.issuer,
                subject=identity.subject,
                preferred=identity.preferred,
                facts=identity.facts,
                now=house.clock(),
            )
        house.admission.give_default(person)
        return person


def configure_sign_in(c: Any, settings: Settings, house: House) -> None:
    """Set the authenticator up for the provider of the settings, or for the demo sign-in.

    Raises
    ------
    SettingsError
        If the provider cannot be asked for its endpoints.
    """
    if settings.is_demo_sign_in:
        provider, issuer, endpoints, secret = _demo(settings)
    else:
        provider, issuer, endpoints, secret = _configured(settings)
    authenticator = c.FederatedAuthenticator
    authenticator.client_id = provider.client_id
    authenticator.client_secret = secret
    authenticator.authorize_url = endpoints["authorization_endpoint"]
    authenticator.token_url = endpoints["token_endpoint"]
    authenticator.userdata_url = endpoints["userinfo_endpoint"]
    authenticator.oauth_callback_url = settings.base_url + "hub/oauth_callback"
    authenticator.basic_auth = True
    authenticator.scope = _SCOPES
    authenticator.allow_all = True  # whoever signs in may look; what they may use is asked at each start
    authenticator.enable_auth_state = True
    authenticator.auto_login = settings.is_demo_sign_in
    # The worker starts sessions again for people whose sign-in may have expired by then.
    authenticator.refresh_pre_spawn = False
    FederatedAuthenticator.house = house
    FederatedAuthenticator.provider = provider
    FederatedAuthenticator.issuer = issuer
    c.JupyterHub.authenticator_class = FederatedAuthenticator


def _demo(settings: Settings) -> tuple[Provider, str, dict[str, str], str]:
    issuer = f"http://127.0.0.1:{settings.yaml.listen.sign_in_port}"
    provider = Provider(
        id="demo", issuer=issuer, client_id=DEMO_CLIENT_ID, subject_claim="voperson_id", owns_namespaces="any"
    )
    endpoints = {
        "authorization_endpoint": f"{issuer}/oauth2/authorize",
        "token_endpoint": f"{issuer}/oauth2/token",
        "userinfo_endpoint": f"{issuer}/userinfo",
    }
    return provider, issuer, endpoints, settings.state.secret("demo_client_secret")


def _configured(settings: Settings) -> tuple[Provider, str, dict[str, str], str]:
    providers = settings.yaml.identity.providers
    if len(providers) > 1:
        raise SettingsError(f"{settings.file}: identity.providers: this version signs people in through one provider")
    provider = providers[0]
    issuer = provider.issuer or _PRESETS[provider.preset]
    key = f"identity.providers.{provider.id}"
    variable = "NBFED_CLIENT_SECRET_" + provider.id.upper().replace("-", "_")
    secret = os.environ.get(variable, "")
    if not secret and provider.client_secret_file is None:
        raise SettingsError(f"{settings.file}: {key}.client_secret_file is missing, and {variable} is not set")
    if not secret and provider.client_secret_file is not None:
        secret = settings.read_secret(provider.client_secret_file, f"{key}.client_secret_file")
    try:
        answer = httpx.get(f"{issuer}/.well-known/openid-configuration", timeout=20).raise_for_status()
        endpoints = dict(answer.json())
    except (httpx.HTTPError, ValueError, TypeError) as error:
        raise SettingsError(f"{settings.file}: {key}: the provider at {issuer} cannot be asked: {error}") from error
    if endpoints.get("issuer") != issuer:
        raise SettingsError(f"{settings.file}: {key}: {issuer} says that its issuer is {endpoints.get('issuer')}")
    missing = [name for name in _ENDPOINTS if not isinstance(endpoints.get(name), str)]
    if missing:
        raise SettingsError(f"{settings.file}: {key}: the provider at {issuer} names no {', '.join(missing)}")
    return provider, issuer, endpoints, secret
