"""A sign-in under way: what comes back must fit to it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_config.sign_in.attempt import Attempt, own_path
from hub_config.sign_in.refused import Reason, SignInRefused


def test_the_challenge_is_that_of_rfc_7636_appendix_b() -> None:
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    attempt = Attempt(provider="x", state="s", nonce="n", code_verifier=verifier, next_url="")
    assert attempt.code_challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_no_two_attempts_share_anything() -> None:
    attempts = [Attempt.begin("x", "") for _ in range(50)]
    secrets = {value for a in attempts for value in (a.state, a.nonce, a.code_verifier)}
    assert len(secrets) == 150
    assert all(len(secret) == 43 for secret in secrets)


def test_an_attempt_is_continued_with_its_own_state() -> None:
    attempt = Attempt.begin("x", "/hub/home")
    assert Attempt.continued(attempt.cookie().encode(), attempt.state) == attempt


@pytest.mark.parametrize("state", ["", "another", "é"])
def test_another_state_is_refused(state: str) -> None:
    with pytest.raises(SignInRefused) as caught:
        Attempt.continued(Attempt.begin("x", "").cookie().encode(), state)
    assert caught.value.reason is Reason.WRONG_STATE


@pytest.mark.parametrize(
    "cookie",
    [
        None,
        b"",
        b"{}",
        b"[]",
        b"x",
        b"\xff",
        json.dumps({**json.loads(Attempt.begin("x", "").cookie()), "state": 1}).encode(),
    ],
    ids=["none", "empty", "no-fields", "a-list", "no-json", "no-text", "a-number"],
)
def test_a_cookie_that_is_none_is_refused(cookie: bytes | None) -> None:
    with pytest.raises(SignInRefused) as caught:
        Attempt.continued(cookie, "")
    assert caught.value.reason is Reason.STATE_MISSING


@pytest.mark.parametrize("target", ["/hub/home", "/hub/spawn?flavour=small#a", "/user/ana/lab/tree/ñ", "/"])
def test_paths_of_our_own_are_kept(target: str) -> None:
    assert own_path(target) == target


@given(st.text())
def test_whatever_is_kept_stays_on_this_host(target: str) -> None:
    kept = own_path(target)
    assert kept in ("", target)
    if kept:
        assert kept.startswith("/")
        assert not kept.startswith(("//", "/\\"))
        assert kept.isprintable()
