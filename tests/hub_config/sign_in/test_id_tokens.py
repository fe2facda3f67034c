"""Which keys are used, and when they are read again. Forged tokens: see tests/services/test_sign_in.py."""

import asyncio
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hub_config.sign_in.http import AnswerRefused
from hub_config.sign_in.id_tokens import Keys, usable_keys
from hub_config.sign_in.refused import Reason, SignInRefused

RSA = json.loads(
    jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key())
)
EC = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()))
URI = "https://idp.example.org/jwks"


class Published:
    """Keys that a provider publishes, and a clock that is moved."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.document: Any = {"keys": list(keys)}
        self.times = 0
        self.now = 1000.0

    async def __call__(self, _method: str, url: str) -> Any:
        assert url == URI
        self.times += 1
        if isinstance(self.document, Exception):
            raise self.document
        return self.document

    def find(self, keys: Keys, key_id: str | None, algorithm: str = "RS256") -> jwt.PyJWK:
        return asyncio.run(keys.find(URI, key_id, algorithm))


def test_a_key_is_found_by_its_id_and_kind() -> None:
    published = Published({**RSA, "kid": "a"}, {**EC, "kid": "b"})
    keys = Keys(published, lambda: published.now)
    assert published.find(keys, "a").key_id == "a"
    assert published.find(keys, "b", "ES256").key_id == "b"
    assert published.find(keys, None).key_id == "a"
    assert published.times == 1


@pytest.mark.parametrize(
    ("listed", "key_id", "algorithm"),
    [
        pytest.param([{**RSA, "kid": "a"}], "b", "RS256", id="another-id"),
        pytest.param([{**EC, "kid": "a"}], "a", "RS256", id="another-kind"),
        pytest.param([{**RSA, "kid": "a", "use": "enc"}], "a", "RS256", id="for-encryption"),
        pytest.param([{**RSA, "kid": "a"}, {**RSA, "kid": "b"}], None, "RS256", id="no-id-and-two-keys"),
        pytest.param([{"kty": "oct", "k": "c2VjcmV0", "kid": "a"}], "a", "RS256", id="a-secret"),
        pytest.param([], "a", "RS256", id="none"),
    ],
)
def test_a_key_that_does_not_fit_is_not_used(listed: list[dict[str, Any]], key_id: str | None, algorithm: str) -> None:
    published = Published(*listed)
    with pytest.raises(SignInRefused) as caught:
        published.find(Keys(published, lambda: published.now), key_id, algorithm)
    assert caught.value.reason is Reason.UNKNOWN_KEY


def test_a_new_key_is_read_when_it_is_needed_and_not_more_often_than_every_half_minute() -> None:
    published = Published({**RSA, "kid": "a"})
    keys = Keys(published, lambda: published.now)
    published.find(keys, "a")
    published.document = {"keys": [{**RSA, "kid": "b"}]}
    with pytest.raises(SignInRefused):
        published.find(keys, "b")
    published.now += 31
    assert published.find(keys, "b").key_id == "b"
    assert published.times == 2


def test_keys_that_cannot_be_read_are_unknown() -> None:
    published = Published()
    published.document = AnswerRefused(404, "")
    with pytest.raises(SignInRefused, match="HTTP 404"):
        published.find(Keys(published, lambda: published.now), "a")


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"keys": {}},
        {"keys": [None, 7, {}, {"kty": "RSA"}, {"kty": "RSA", "n": 1, "e": []}, {"kty": ["RSA"]}]},
    ],
    ids=["none", "list", "empty", "dict", "nonsense"],
)
def test_nonsense_is_no_key(document: Any) -> None:
    assert usable_keys(document) == []
