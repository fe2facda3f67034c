"""The hub as the client of one provider: from a code, or a token that was kept, to who it is and what they may.

oauthenticator gives the steps; between them stands what it leaves out: the ID token is verified, userinfo must speak of
the same subject, and every request is bounded and keeps out of the log. Nothing that comes from a provider is believed
before that.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlencode

from oauthenticator.generic import GenericOAuthenticator
from tornado.httpclient import HTTPRequest
from tornado.httputil import url_concat

from federation.i18n import current_language
from federation.persons import Person, remember
from hub_config.sign_in.attempt import Attempt
from hub_config.sign_in.discovery import Discovery, Metadata
from hub_config.sign_in.http import AnswerRefused, ask
from hub_config.sign_in.id_tokens import Keys, verify
from hub_config.sign_in.providers import SignInProvider, scopes_to_ask
from hub_config.sign_in.refused import ProviderAway, Reason, SignInRefused
from hub_config.wiring import House
from vetting.identity import NoSubject, identify

__all__ = ["ProviderClient"]

_RECENT_SECONDS = 2.0
_MOST_GROUP_CHARACTERS = 255
"""Of a group's name in JupyterHub's database (jupyterhub 6.1, orm.py)."""


class ProviderClient(GenericOAuthenticator):  # type: ignore[misc]  # oauthenticator has no types
    """See the module.

    Parameters
    ----------
    provider
        Whom to ask.
    house
        Where persons are remembered.
    callback_url
        Where browsers come back to; registered at the provider.
    """

    basic_auth = True
    enable_auth_state = True
    manage_groups = True
    allow_all = True
    user_auth_state_key: ClassVar[str] = "claims"

    def __init__(self, provider: SignInProvider, house: House, callback_url: str) -> None:
        super().__init__(
            client_id=provider.client_id, client_secret=provider.client_secret, oauth_callback_url=callback_url
        )
        self.provider = provider
        self.house = house
        self.discovery = Discovery(provider.issuer)
        self.keys = Keys()

    # --- at the browser's pace ------------------------------------------------------------------------------

    async def address_of(self, attempt: Attempt, *, patience_seconds: float) -> str:
        """Where to send the browser that begins to sign in.

        Raises
        ------
        ProviderAway
            If the provider does not answer now: the browser could not tell what that means.
        """
        metadata = await self._ready(patience_seconds=patience_seconds)
        trouble = await self.discovery.trouble(patience_seconds=patience_seconds, recent_seconds=_RECENT_SECONDS)
        if trouble is not None:
            raise ProviderAway(trouble)
        return str(
            url_concat(
                metadata.authorization_endpoint,
                {
                    "response_type": "code",
                    "client_id": self.client_id,
                    "redirect_uri": self.oauth_callback_url,
                    "scope": " ".join(scopes_to_ask(self.provider.scopes, metadata.scopes)),
                    "state": attempt.state,
                    "nonce": attempt.nonce,
                    "code_challenge": attempt.code_challenge,
                    "code_challenge_method": "S256",
                    "ui_locales": current_language(),
                },
            )
        )

    async def check_response_issuer(self, told: str | None) -> None:
        """RFC 9207: an answer that names its issuer must name this one; one that promises to, must.

        Raises
        ------
        SignInRefused
            If it does not.
        """
        promised = (await self._ready()).names_itself
        if told != self.provider.issuer and (told is not None or promised):
            raise SignInRefused(Reason.WRONG_RESPONSE_ISSUER, f"{told} instead of {self.provider.issuer}")

    async def signed_in(self, code: str, attempt: Attempt) -> dict[str, Any]:
        """The auth model for the code of an answer.

        Raises
        ------
        SignInRefused, ProviderAway
            If nobody may be signed in with it.
        federation.database.DatabaseUnavailable
            If the person cannot be remembered.
        """
        await self._ready()
        params = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.oauth_callback_url,
            "code_verifier": attempt.code_verifier,
        }
        try:
            answer = await self.get_token_info(None, params)
            verified = await self._verified(answer.get("id_token"), attempt.nonce)
            return await self._model({**answer, "sub": verified["sub"], "acr": verified.get("acr")})
        except AnswerRefused as error:
            # Used, expired, another's, or without its verifier: RFC 6749, 5.2, gives one word for all of them.
            reason = Reason.CODE_REFUSED if error.error == "invalid_grant" else Reason.CLIENT_REFUSED
            raise SignInRefused(reason, str(error)) from error

    async def logout_address(self, auth_state: Mapping[str, Any], back: str) -> str | None:
        """Where the browser ends its session at the provider (RP-Initiated Logout 1.0), if the provider has that.

        Raises
        ------
        ProviderAway
            If the provider does not answer now.
        """
        metadata = await self._ready()
        if metadata.end_session_endpoint is None:
            return None
        query = {"client_id": self.client_id, "post_logout_redirect_uri": back}
        if isinstance(auth_state.get("id_token"), str):
            query["id_token_hint"] = auth_state["id_token"]
        return str(url_concat(metadata.end_session_endpoint, query))

    # --- without the browser --------------------------------------------------------------------------------

    async def asked_again(self, auth_state: Mapping[str, Any]) -> dict[str, Any] | None:
        """A new auth model from the tokens that were kept; None if the provider takes them no more.

        Raises
        ------
        ProviderAway
            If the provider does not answer: nothing is known then.
        SignInRefused
            If what it answers cannot be believed.
        """
        await self._ready()
        kept = {name: auth_state.get(name) for name in ("access_token", "refresh_token", "id_token", "sub", "acr")}
        try:
            return await self._model({**kept, "token_type": "Bearer"})
        except AnswerRefused as error:
            self.log.debug("The access token is taken no more: %s", error)
        if not kept["refresh_token"]:
            return None
        try:
            answer = await self.get_token_info(None, self.build_refresh_token_request_params(kept["refresh_token"]))
            if answer.get("id_token"):
                renewed = await self._verified(answer["id_token"], None)
                self._same_subject(renewed.get("sub"), kept["sub"])
            return await self._model({**kept, **{name: value for name, value in answer.items() if value}})
        except AnswerRefused as error:
            self.log.info("%s takes a refresh token no more: %s", self.provider.id, error)
            return None

    # --- oauthenticator's steps -----------------------------------------------------------------------------

    async def fetch(self, req: HTTPRequest, label: str = "", parse_json: bool = True, **_options: Any) -> Any:
        """In place of oauthenticator's own, which logs what a provider answers; this one is bounded, too."""
        return await ask(req.method, req.url, headers=dict(req.headers), body=req.body)

    async def get_token_info(self, handler: Any, params: dict[str, str]) -> dict[str, Any]:
        """Tokens for a code or a refresh token, without what else the answer contains."""
        answer = await self.httpfetch(
            self.token_url,
            method="POST",
            headers=self.build_token_info_request_headers(),
            body=urlencode(params).encode(),
        )
        known = ("access_token", "refresh_token", "id_token", "scope")
        tokens = {name: answer.get(name) for name in known} if isinstance(answer, dict) else {}
        if not all(isinstance(value, str | None) for value in tokens.values()) or not tokens.get("access_token"):
            raise SignInRefused(Reason.UNUSABLE_ANSWER, "the token answer has no access token")
        if str(answer.get("token_type")).lower() != "bearer":
            raise SignInRefused(Reason.UNUSABLE_ANSWER, "the access token is no bearer token")
        return {**tokens, "token_type": "Bearer"}

    async def token_to_user(self, token_info: dict[str, Any]) -> dict[str, Any]:
        """Claims from userinfo, about whom the ID token was about (Core 1.0, 5.3.2)."""
        claims = await super().token_to_user(token_info)
        if not isinstance(claims, dict):
            raise SignInRefused(Reason.UNUSABLE_ANSWER, "userinfo is no mapping")
        self._same_subject(claims.get("sub"), token_info["sub"])
        return claims

    def user_info_to_username(self, user_info: Mapping[str, Any]) -> str:
        """A placeholder: oauthenticator wants a name before `update_auth_model` has found the person and their own."""
        return "unnamed"

    def build_auth_state_dict(self, token_info: Mapping[str, Any], user_info: Mapping[str, Any]) -> dict[str, Any]:
        """What is kept, encrypted: each token once, and whom it is about."""
        kept = ("access_token", "refresh_token", "id_token", "sub", "acr")
        return {
            "provider": self.provider.id,
            **{name: token_info.get(name) for name in kept},
            self.user_auth_state_key: dict(user_info),
        }

    async def update_auth_model(self, auth_model: dict[str, Any]) -> dict[str, Any]:
        """Turn claims into a person, and the person's stored name into the hub's user name."""
        auth_state = auth_model["auth_state"]
        # How somebody signed in is said by the ID token alone.
        claims = {**auth_state[self.user_auth_state_key], "acr": auth_state["acr"]}
        person = await asyncio.to_thread(self._remember, claims)
        auth_model["name"] = person.user_name
        auth_state["memberships"] = list(person.facts.memberships)
        return auth_model

    async def get_user_groups(self, auth_state: Mapping[str, Any]) -> set[str]:
        """JupyterHub's groups: memberships without the authority, which is no part of what they mean."""
        names = {membership.partition("#")[0] for membership in auth_state["memberships"]}
        return {name for name in names if len(name) <= _MOST_GROUP_CHARACTERS}

    # --- parts ----------------------------------------------------------------------------------------------

    async def _ready(self, *, patience_seconds: float = 0) -> Metadata:
        """What the provider says of itself, and oauthenticator's settings made from it."""
        metadata = await self.discovery.metadata(patience_seconds=patience_seconds)
        self.authorize_url = metadata.authorization_endpoint
        self.token_url = metadata.token_endpoint
        self.userdata_url = metadata.userinfo_endpoint
        return metadata

    async def _verified(self, id_token: object, nonce: str | None) -> dict[str, Any]:
        metadata = await self._ready()
        return await verify(
            id_token,
            keys=self.keys,
            jwks_uri=metadata.jwks_uri,
            issuer=metadata.issuer,
            client_id=self.client_id,
            algorithms=metadata.algorithms,
            nonce=nonce,
        )

    async def _model(self, token_info: dict[str, Any]) -> dict[str, Any]:
        model: dict[str, Any] = await self._token_to_auth_model(token_info)
        return model

    def _same_subject(self, told: object, expected: object) -> None:
        if not isinstance(told, str) or told != expected:
            raise SignInRefused(Reason.WRONG_SUBJECT, f"{str(told)[:80]} instead of {expected}")

    def _remember(self, claims: Mapping[str, Any]) -> Person:
        house, provider = self.house, self.provider
        try:
            identity = identify(
                claims,
                provider=provider.id,
                issuer=provider.issuer,
                subject_claim=provider.subject_claim,
                owns_namespaces=provider.owns_namespaces,
                affiliation_scopes=provider.affiliation_scopes,
            )
        except NoSubject as error:
            raise SignInRefused(Reason.NO_SUBJECT, str(error)) from error
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
