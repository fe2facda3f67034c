"""The access desk as this installation runs it: how it asks the hub, and what it is made of."""

from urllib.parse import parse_qs, urlsplit

import pytest

from hub_config.desk_sign_in import HubSignIn
from hub_config.desk_wiring import desk_application, desk_of
from hub_config.settings import Settings
from tests.hub_config.conftest import MakeHouse
from vetting.desk.parts import HubAway


@pytest.fixture
def settings(make_house: MakeHouse) -> Settings:
    return make_house().settings


def test_a_sign_in_begins_at_the_hub_with_a_state_and_a_challenge(settings: Settings) -> None:
    sign_in = HubSignIn(settings)
    first, second = sign_in.begin(), sign_in.begin()
    address = urlsplit(first.address)
    asked = parse_qs(address.query)
    assert (address.scheme, address.netloc, address.path) == ("", "", "/hub/api/oauth2/authorize")
    assert asked["client_id"] == ["service-desk"]
    assert asked["redirect_uri"] == ["/services/desk/oauth_callback"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["state"] == [first.state]
    assert first.verifier not in first.address
    assert len({first.state, second.state, first.verifier, second.verifier}) == 4


def test_a_hub_that_does_not_answer_is_an_outage_and_no_answer(settings: Settings) -> None:
    sign_in = HubSignIn(settings)  # nothing listens at its port
    with pytest.raises(HubAway):
        sign_in.user_name("0123456789abcdef", "")
    with pytest.raises(HubAway):
        sign_in.finish("code", "verifier")


@pytest.mark.parametrize("token", ["", "é", "a b", "a\r\nX: y", "a" * 257, "<script>"])
def test_what_no_hub_made_is_nobodys_and_the_hub_is_not_asked(settings: Settings, token: str) -> None:
    sign_in = HubSignIn(settings)
    assert sign_in.user_name(token, "") is None
    assert token == "" or sign_in.user_name("0123456789abcdef", token) is None


def test_all_copies_of_a_desk_seal_alike_and_hold_nothing(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make_house()
    keys = []
    for token in ("aa" * 32, "aa" * 32, "bb" * 32):
        monkeypatch.setenv("NBFED_DESK_TOKEN", token)
        first = desk_of(house, HubSignIn(house.settings))
        keys.append(first.key)
    assert keys[0] == keys[1] != keys[2], "the token is what they share, also where nothing is left of a state folder"
    assert len(first.key) == 32
    assert repr(first.key) not in repr(first)
    assert desk_application(house).state.desk.offer.sites == house.admission.policy.sites
