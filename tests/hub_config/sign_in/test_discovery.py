"""What a provider says of itself: believed only for its own issuer, kept while it is away, asked again in time."""

import asyncio
from typing import Any

import pytest

from hub_config.sign_in.discovery import BadMetadata, Discovery, address, read
from hub_config.sign_in.http import AnswerRefused
from hub_config.sign_in.refused import ProviderAway

ISSUER = "https://idp.example.org/realms/egi"
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
    "jwks_uri": f"{ISSUER}/jwks",
    "id_token_signing_alg_values_supported": ["HS256", "none", "ES256", "RS256"],
}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in DOCUMENT.items() if key != name}


def test_only_signatures_that_we_believe_are_taken() -> None:
    assert read(DOCUMENT, ISSUER).algorithms == ("RS256", "ES256")
    assert read(without("id_token_signing_alg_values_supported"), ISSUER).algorithms == ("RS256",)


def test_what_is_not_said_is_not_known() -> None:
    found = read(DOCUMENT, ISSUER)
    assert (found.end_session_endpoint, found.scopes, found.challenge_methods, found.names_itself) == (None,) * 3 + (
        False,
    )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param([], "no mapping", id="a-list"),
        pytest.param(None, "no mapping", id="nothing"),
        pytest.param(
            {**DOCUMENT, "issuer": "https://evil.example.org"}, "its issuer is https://evil", id="another-issuer"
        ),
        pytest.param({**DOCUMENT, "issuer": ISSUER + "/"}, f"{ISSUER}/, and not", id="a-slash-more"),
        pytest.param({**DOCUMENT, "issuer": [ISSUER]}, "and not", id="a-list-of-issuers"),
        pytest.param(without("token_endpoint"), "no token_endpoint", id="no-token-endpoint"),
        pytest.param(without("jwks_uri"), "no jwks_uri", id="no-keys"),
        pytest.param({**DOCUMENT, "userinfo_endpoint": 7}, "no userinfo_endpoint", id="a-number"),
        pytest.param(
            {**DOCUMENT, "token_endpoint": "http://idp.example.org/token"}, "no https address", id="plain-http"
        ),
        pytest.param({**DOCUMENT, "token_endpoint": "file:///etc/passwd"}, "no https address", id="a-file"),
        pytest.param({**DOCUMENT, "token_endpoint": "https://[/"}, "is no address", id="no-address"),
        pytest.param(
            {**DOCUMENT, "id_token_signing_alg_values_supported": ["none", "HS256"]},
            "none of which",
            id="unsigned-only",
        ),
        pytest.param({**DOCUMENT, "end_session_endpoint": "javascript:x"}, "no https address", id="a-script"),
    ],
)
def test_a_document_that_cannot_be_used_is_refused(document: Any, message: str) -> None:
    with pytest.raises(BadMetadata, match=message):
        read(document, ISSUER)


def test_the_address_has_one_slash() -> None:
    assert (
        address("https://a.example/")
        == address("https://a.example")
        == "https://a.example/.well-known/openid-configuration"
    )


class Asked:
    """A provider whose answers are set, and a clock that is moved."""

    def __init__(self) -> None:
        self.answer: Any = DOCUMENT
        self.times = 0
        self.now = 1000.0

    async def __call__(self, _method: str, url: str) -> Any:
        assert url == address(ISSUER)
        self.times += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def discovery(self) -> Discovery:
        return Discovery(ISSUER, self, lambda: self.now)


def test_it_is_read_once_an_hour() -> None:
    asked = Asked()
    discovery = asked.discovery()

    async def twice() -> None:
        await discovery.metadata()
        await discovery.metadata()

    asyncio.run(twice())
    assert asked.times == 1
    asked.now += 3601
    asyncio.run(discovery.metadata())
    assert asked.times == 2


@pytest.mark.parametrize(
    "trouble", [ProviderAway("no answer"), AnswerRefused(404, ""), BadMetadata("x")], ids=["away", "refused", "bad"]
)
def test_while_the_provider_is_away_what_was_read_stays_in_use(trouble: Exception) -> None:
    asked = Asked()
    discovery = asked.discovery()
    asyncio.run(discovery.metadata())
    asked.answer, asked.now = trouble, asked.now + 3601
    assert asyncio.run(discovery.metadata()).token_endpoint == f"{ISSUER}/token"
    assert asyncio.run(discovery.trouble(patience_seconds=1)) == str(trouble)


def test_a_provider_that_never_answered_is_away() -> None:
    asked = Asked()
    asked.answer = ProviderAway("no answer")
    with pytest.raises(ProviderAway, match="no answer"):
        asyncio.run(asked.discovery().metadata())


def test_a_provider_that_comes_up_within_the_patience_is_used() -> None:
    asked = Asked()
    discovery = asked.discovery()
    answers = iter([ProviderAway("not yet"), DOCUMENT])

    async def one_after_the_other(method: str, url: str) -> Any:
        asked.answer = next(answers)
        return await asked(method, url)

    discovery._question = one_after_the_other
    assert asyncio.run(discovery.metadata(patience_seconds=60)).issuer == ISSUER


def test_the_page_looks_again_when_the_last_look_is_not_recent() -> None:
    asked = Asked()
    discovery = asked.discovery()
    asyncio.run(discovery.metadata())
    asked.answer = ProviderAway("no answer")
    assert asyncio.run(discovery.trouble(patience_seconds=1)) is None
    asked.now += 21
    assert asyncio.run(discovery.trouble(patience_seconds=1)) == "no answer"
    asked.answer, asked.now = DOCUMENT, asked.now + 21
    assert asyncio.run(discovery.trouble(patience_seconds=1)) is None


def test_the_page_does_not_wait_for_a_provider_that_is_silent() -> None:
    async def silent(_method: str, _url: str) -> Any:
        await asyncio.sleep(3600)

    discovery = Discovery(ISSUER, silent)
    assert "nothing in 0.05 s" in str(asyncio.run(discovery.trouble(patience_seconds=0.05)))
