"""Sign-in through OpenID providers: who it is, kept under the name that was given at the first sign-in.

The person is (issuer, subject), the hub user name is stored, and the default quota is given once the tier is reached.
What one provider is asked stands in `hub_config.sign_in.client`; this is what JupyterHub sees of all of them.
"""

import asyncio
import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from oauthenticator.generic import GenericOAuthenticator

from hub_config.settings import Settings, SettingsError
from hub_config.sign_in.client import ProviderClient
from hub_config.sign_in.page import (
    ComeBackHandler,
    LeaveHandler,
    LogoHandler,
    SignedOutHandler,
    SignInHandler,
    StartHandler,
)
from hub_config.sign_in.providers import SignInProvider, resolve
from hub_config.sign_in.refresh import REFRESH_PATH, Outcome, Refresher, RefreshHandler
from hub_config.wiring import House
from spawners.exchange import EXCHANGE_PATH, ExchangeHandler

__all__ = ["FederatedAuthenticator", "auth_state_keys", "configure_sign_in"]

_KEY_VARIABLES = ("NBFED_CRYPT_KEY", "JUPYTERHUB_CRYPT_KEY")


class FederatedAuthenticator(GenericOAuthenticator):  # type: ignore[misc]  # oauthenticator has no types
    """See the module. `house`, `providers` and `public_url` are set by `configure_sign_in`."""

    login_handler = StartHandler
    callback_handler = ComeBackHandler
    logout_handler = LeaveHandler

    house: ClassVar[House]
    providers: ClassVar[Sequence[SignInProvider]]
    public_url: ClassVar[str]
    """Of the hub, with a slash at its end."""

    @cached_property
    def clients(self) -> dict[str, ProviderClient]:
        """One for each provider, by its id."""
        callback = self.public_url + "oauth_callback"
        return {each.id: ProviderClient(each, self.house, callback) for each in self.providers}

    @cached_property
    def refresher(self) -> Refresher:
        """Asks the providers again."""
        return Refresher(self.clients, self.log)

    def client(self, provider: str) -> ProviderClient | None:
        """The client of a provider; without an id the only one, if there is one."""
        if not provider and len(self.clients) == 1:
            return next(iter(self.clients.values()))
        return self.clients.get(provider)

    async def troubles(self, *, patience_seconds: float, only: str | None = None) -> dict[str, str | None]:
        """Of each provider, or of one, why it cannot be used now."""
        asked = [client for name, client in self.clients.items() if only in (name, None)]
        found = await asyncio.gather(*(each.discovery.trouble(patience_seconds=patience_seconds) for each in asked))
        return {each.provider.id: trouble for each, trouble in zip(asked, found, strict=True)}

    async def authenticate(self, handler: Any, data: Any = None, **_options: Any) -> dict[str, Any]:
        """Who it is whose browser came back, by the provider that it was sent to."""
        attempt = data["attempt"]
        return await self.clients[attempt.provider].signed_in(data["code"], attempt)

    async def refresh_user(self, user: Any, handler: Any = None, **_options: Any) -> bool | dict[str, Any]:
        """The auth model as the provider answers now; True while it is away; False if a new sign-in is needed."""
        outcome, model = await self.refresher.refresh(user)
        if model is not None:
            return dict(model)
        return outcome is Outcome.AWAY

    def get_handlers(self, app: Any) -> list[tuple[Any, ...]]:
        """Sign-in pages, the worker's way to ask again, and the exchange of a session's secret, which has no place in
        the hub's own API.
        """
        return [
            *super().get_handlers(app),
            (r"/login", SignInHandler),
            (r"/signed-out", SignedOutHandler),
            (r"/nbfed/provider/([a-z0-9-]+)/logo", LogoHandler),
            (REFRESH_PATH, RefreshHandler),
            (EXCHANGE_PATH, ExchangeHandler),
        ]


def configure_sign_in(c: Any, settings: Settings, house: House) -> None:
    """Set the authenticator up for the providers of the settings, or for the demo sign-in. None of them is asked yet.

    Raises
    ------
    SettingsError
        If a secret is missing, or the key that people's tokens are encrypted with.
    """
    os.environ["JUPYTERHUB_CRYPT_KEY"] = auth_state_keys(settings)
    providers = resolve(settings)
    authenticator = c.FederatedAuthenticator
    authenticator.allow_all = True  # whoever signs in may look; what they may use is asked at each start
    authenticator.enable_auth_state = True
    authenticator.manage_groups = True
    authenticator.auto_login = len(providers) == 1
    # The worker starts sessions again for people whose sign-in may have expired by then.
    authenticator.refresh_pre_spawn = False
    FederatedAuthenticator.house = house
    FederatedAuthenticator.providers = providers
    FederatedAuthenticator.public_url = settings.base_url + "hub/"
    c.JupyterHub.authenticator_class = FederatedAuthenticator


def auth_state_keys(settings: Settings) -> str:
    """The keys as JupyterHub wants them: the first one encrypts, all decrypt.

    Raises
    ------
    SettingsError
        If one is no key, or if there is none in production mode: a key that was made on the way would be lost with
        the machine, and nobody would know where it is.
    """
    file = settings.yaml.identity.auth_state_key_file
    key = "identity.auth_state_key_file"
    given = next((os.environ[name] for name in _KEY_VARIABLES if os.environ.get(name)), None)
    if given is None and file is not None:
        given = settings.read_secret(file, key)
    if given is None and settings.yaml.federation.mode == "production":
        raise SettingsError(
            f"{settings.file}: {key} is missing: production mode keeps people's tokens encrypted, with a key that you "
            "keep. Make one with `openssl rand -hex 32`"
        )
    keys = (given or settings.state.secret("crypt_key")).replace(";", "\n").split()
    for each in keys:
        if len(each) != 64 or not all(character in "0123456789abcdefABCDEF" for character in each):
            raise SettingsError(
                f"{settings.file}: {key}: a key is 64 hexadecimal characters (`openssl rand -hex 32` makes one), one on "
                "each line"
            )
    return ";".join(keys)
