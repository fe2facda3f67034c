"""`nbfed identity check`: whether people can sign in through a provider, looked at from this machine. Changes nothing.

Each check takes what it looks at as arguments and never raises: what cannot be found out is its answer. Nothing that is
printed holds a token.
"""

from collections.abc import Generator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from federation.persons import person_key, user_name
from federation.plain import plain
from hub_config.doctor import Check, State
from hub_config.sign_in.attempt import Attempt
from hub_config.sign_in.discovery import BadMetadata, Metadata, address, read
from hub_config.sign_in.id_tokens import LEEWAY_SECONDS, usable_keys
from hub_config.sign_in.providers import SCOPES, SignInProvider, scopes_to_ask
from vetting.identity import NoSubject, identify

__all__ = ["claims_of", "examine"]

_MOST_CHARACTERS = 160
_NEEDED = ("openid", "voperson_id", "eduperson_entitlement", "eduperson_assurance")


def examine(provider: SignInProvider, base_url: str, client: httpx.Client, now: datetime) -> Iterator[Check]:
    """All checks of one provider, in the order in which their failures explain each other.

    Parameters
    ----------
    base_url
        Of this federation, with a slash at its end.
    client
        Asks the provider; follows no redirects.
    """
    answer = _get(client, address(provider.issuer))
    metadata = yield from _discovery(answer, provider)
    if metadata is None:
        return
    yield _redirect_uri(base_url)
    yield _scopes(provider, metadata)
    yield _keys(_get(client, metadata.jwks_uri), metadata)
    yield _challenge(metadata)
    yield _sign_out(metadata, base_url)
    yield _clock(answer, now)
    yield _acceptance(client, provider, metadata, base_url)


def _get(client: httpx.Client, url: str, **options: Any) -> httpx.Response | str:
    try:
        return client.get(url, **options)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return str(error) or type(error).__name__


def _document(answer: httpx.Response | str) -> Any:
    """The JSON of an answer; a text says why there is none."""
    if isinstance(answer, str):
        return answer
    if answer.status_code != httpx.codes.OK:
        return f"HTTP {answer.status_code}"
    try:
        return answer.json()
    except (ValueError, RecursionError):
        return "the answer is no JSON"


def _discovery(answer: httpx.Response | str, provider: SignInProvider) -> Generator[Check, None, Metadata | None]:
    name, document = "discovery", _document(answer)
    if isinstance(document, str):
        advice = "Is `issuer` right, and may this machine reach it?"
        yield Check(name, State.FAIL, f"{address(provider.issuer)}: {document}", advice)
        return None
    try:
        metadata = read(document, provider.issuer)
    except BadMetadata as error:
        advice = "`issuer` must be written as the provider writes it, to the last slash."
        yield Check(name, State.FAIL, f"{address(provider.issuer)}: {error}", advice)
        return None
    yield Check(name, State.OK, address(provider.issuer))
    yield Check("issuer", State.OK, metadata.issuer)
    return metadata


def _redirect_uri(base_url: str) -> Check:
    return Check("redirect URI", State.OK, f"{base_url}hub/oauth_callback is to be registered, and nothing else")


def _scopes(provider: SignInProvider, metadata: Metadata) -> Check:
    asked = scopes_to_ask(provider.scopes, metadata.scopes)
    text = f"asked for: {' '.join(asked)}"
    if metadata.scopes is None:
        return Check("scopes", State.OK, f"{text}; the provider does not say what it offers")
    missing = [scope for scope in SCOPES if scope not in metadata.scopes]
    text += f"; not offered: {' '.join(missing)}" if missing else ""
    refused = [scope for scope in asked if scope not in metadata.scopes]
    if refused:
        return Check("scopes", State.WARN, text, f"The provider may refuse {' '.join(refused)}: see `scopes`.")
    if any(scope in missing for scope in _NEEDED):
        advice = "What these stand for can reach us in other scopes; --token-file shows what does."
        return Check("scopes", State.WARN, text, advice)
    return Check("scopes", State.OK, text)


def _keys(answer: httpx.Response | str, metadata: Metadata) -> Check:
    name, document = "keys", _document(answer)
    if isinstance(document, str):
        return Check(name, State.FAIL, f"{metadata.jwks_uri}: {document}", "Without them no ID token can be verified.")
    keys = usable_keys(document)
    kinds = ", ".join(sorted({f"{key.key_type}" for key in keys}))
    text = f"{len(keys)} for signatures ({kinds}); algorithms {', '.join(metadata.algorithms)}"
    if not keys:
        return Check(name, State.FAIL, text, "Without a key no ID token can be verified.")
    return Check(name, State.OK, text)


def _challenge(metadata: Metadata) -> Check:
    methods = metadata.challenge_methods
    if methods is not None and "S256" in methods:
        return Check("PKCE", State.OK, "S256")
    return Check("PKCE", State.WARN, "the provider does not say that it checks S256", "It is sent all the same.")


def _sign_out(metadata: Metadata, base_url: str) -> Check:
    if metadata.end_session_endpoint is None:
        advice = "People stay signed in there when they sign out here."
        return Check("sign-out", State.WARN, "the provider offers none", advice)
    return Check("sign-out", State.OK, f"{base_url}hub/signed-out is to be registered for after signing out")


def _clock(answer: httpx.Response | str, now: datetime) -> Check:
    told = "" if isinstance(answer, str) else answer.headers.get("Date", "")
    try:
        there = parsedate_to_datetime(told)
    except ValueError:
        return Check("clock", State.OK, "the provider does not tell its time")
    apart = now - (there if there.tzinfo else there.replace(tzinfo=UTC))
    text = f"{apart.total_seconds():.0f} s ahead of the provider's"
    if abs(apart) > timedelta(seconds=LEEWAY_SECONDS):
        advice = (
            f"More than {LEEWAY_SECONDS} s, and its tokens look expired or not valid yet. Let this machine follow NTP."
        )
        return Check("clock", State.FAIL, text, advice)
    return Check("clock", State.OK, text)


def _acceptance(client: httpx.Client, provider: SignInProvider, metadata: Metadata, base_url: str) -> Check:
    """Begin to sign in, and look only at whether the provider goes along with it."""
    name, attempt = "sign-in", Attempt.begin(provider.id, "")
    callback = base_url + "hub/oauth_callback"
    query = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": callback,
        "scope": " ".join(scopes_to_ask(provider.scopes, metadata.scopes)),
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": attempt.code_challenge,
        "code_challenge_method": "S256",
    }
    answer = _get(client, metadata.authorization_endpoint, params=query)
    if isinstance(answer, str):
        return Check(name, State.FAIL, answer, "The authorization endpoint does not answer.")
    back = answer.headers.get("Location", "")
    error = httpx.URL(back).params.get("error") if back.startswith(callback) else None
    if error is not None:
        return Check(
            name,
            State.FAIL,
            f"the provider sends people back with {plain(error)[:_MOST_CHARACTERS]}",
            "invalid_scope: allow the scopes above for this client there, or name fewer in `scopes`.",
        )
    if answer.is_error:
        return Check(
            name,
            State.FAIL,
            f"the provider refuses to begin: HTTP {answer.status_code}",
            "Is `client_id` right, and the redirect URI above registered, to the letter?",
        )
    return Check(name, State.OK, "the provider takes our client, redirect URI and scopes")


def claims_of(provider: SignInProvider, token: str, client: httpx.Client) -> Iterator[Check]:
    """What userinfo says to an access token, and what we make of it."""
    metadata_document = _document(_get(client, address(provider.issuer)))
    try:
        metadata = read(metadata_document, provider.issuer)
    except BadMetadata as error:
        yield Check("claims", State.FAIL, f"the provider cannot be asked: {error}")
        return
    claims = _document(_get(client, metadata.userinfo_endpoint, headers={"Authorization": f"Bearer {token}"}))
    if not isinstance(claims, dict):
        why = claims if isinstance(claims, str) else "the answer is no mapping"
        advice = "The token may have expired: they live for minutes. It needs the scopes above."
        yield Check("claims", State.FAIL, f"userinfo: {why}", advice)
        return
    for name, value in sorted(claims.items()):
        yield Check(f"claim {_shown(name)}", State.OK, _shown(value, token))
    yield from _derived(provider, claims)


def _derived(provider: SignInProvider, claims: Mapping[str, Any]) -> Iterator[Check]:
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
        advice = "Nobody can be signed in. `subject_claim` names the claim that says who somebody is."
        yield Check("person", State.FAIL, str(error), advice)
        return
    facts = identity.facts
    name = user_name(identity.preferred, person_key(identity.issuer, identity.subject))
    yield Check("person", State.OK, f"{_shown(identity.subject)}, new user name {name}")
    for title, values in (
        ("memberships", facts.memberships),
        ("assurance", facts.assurance),
        ("affiliations", facts.affiliations),
    ):
        yield Check(title, State.OK if values else State.WARN, ", ".join(values) or "none: a missing claim denies")
    if facts.not_understood:
        advice = "These give nothing. Other namespaces than those of `owns_namespaces` are left out without a word."
        yield Check("not understood", State.WARN, ", ".join(facts.not_understood), advice)


def _shown(value: object, token: str = "") -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = text.replace(token, "[the token]") if token else text
    return plain(text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + " …")
