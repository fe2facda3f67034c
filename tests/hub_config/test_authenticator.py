"""Sign-in: from claims to a person to the hub's user name, and what somebody is told who cannot be signed in."""

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import func, select
from traitlets.config import Config

from federation.database import Database, DatabaseUnavailable
from federation.persons import Person, PersonTable, find_by_user_name
from federation.terms import accept
from hub_config.authenticator import FederatedAuthenticator, auth_state_keys, configure_sign_in
from hub_config.demo.personas import PERSONAS
from hub_config.settings import Settings, SettingsError
from hub_config.sign_in.client import ProviderClient
from hub_config.sign_in.providers import SignInProvider
from hub_config.sign_in.refresh import REFRESH_PATH
from hub_config.sign_in.refused import Reason, SignInRefused
from hub_config.wiring import House
from quota.amounts import from_unit_hours
from quota.statement import standing
from spawners.exchange import EXCHANGE_PATH
from spawners.paying import owner_of
from tests.hub_config.conftest import MakeHouse, MakeSettings

pytestmark = pytest.mark.usefixtures("untouched_jupyterhub")

ISSUER = "https://aai.egi.eu/auth/realms/egi"
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
SUBJECT = "a" * 64 + "@egi.eu"
GROUP = "urn:mace:egi.eu:group:vo.example.org#aai.egi.eu"
CLAIMS = {
    "voperson_id": SUBJECT,
    "name": "Inês Carvalho",
    "email": "ines@example.org",
    "eduperson_entitlement": [GROUP],
}


@dataclass
class FakeHouse:
    """A house with a real database; `given` are those who were offered the default quota."""

    database: Database
    given: list[Person] = field(default_factory=list)
    failure: Exception | None = None
    clock: Callable[[], datetime] = lambda: NOW

    @property
    def admission(self) -> "FakeHouse":
        return self

    def give_default(self, person: Person) -> None:
        if self.failure is not None:
            raise self.failure
        self.given.append(person)


@pytest.fixture
def house(database: Database) -> FakeHouse:
    return FakeHouse(database)


PROVIDER = SignInProvider(
    id="check-in", title="EGI Check-in", logo=None, issuer=ISSUER, client_id="x", client_secret="x", scopes=None,
    subject_claim="voperson_id", owns_namespaces=("urn:mace:egi.eu",),
    affiliation_scopes="home-organisation",
)  # fmt: skip


def client_of(house: FakeHouse, **changes: Any) -> ProviderClient:
    return ProviderClient(
        replace(PROVIDER, **changes), cast("House", house), "https://hub.example.org/hub/oauth_callback"
    )


@pytest.fixture
def client(house: FakeHouse) -> ProviderClient:
    return client_of(house)


def sign_in(client: ProviderClient, claims: Any, **more: Any) -> dict[str, Any]:
    """From where the ID token and userinfo were believed."""

    async def token_to_user(_token: Any) -> Any:
        return claims

    client.token_to_user = token_to_user
    token = {"access_token": "x", "refresh_token": "y", "id_token": "z", "sub": "1", "acr": None, **more}
    return dict(asyncio.run(client._token_to_auth_model(token)))


def person(database: Database, name: str) -> Person | None:
    with database.read() as connection:
        return find_by_user_name(connection, name)


def people(database: Database) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(PersonTable)).scalar_one()


# --- who it is ----------------------------------------------------------------------------------------------


def test_claims_become_a_person_with_a_name_of_ours(client: ProviderClient, house: FakeHouse) -> None:
    model = sign_in(client, CLAIMS)
    found = person(house.database, model["name"])
    assert found is not None
    assert (found.issuer, found.subject) == (ISSUER, SUBJECT)
    assert found.user_name.startswith("ines-carvalho-")
    assert found.facts.memberships == (GROUP,)
    assert found.facts.provider == "check-in"
    assert found.facts_at == NOW
    assert house.given == [found]
    assert not model["admin"]
    assert model["groups"] == [GROUP.partition("#")[0]]


def test_of_the_tokens_each_is_kept_once_with_whom_they_are_about(client: ProviderClient) -> None:
    model = sign_in(client, CLAIMS, acr="https://refeds.org/profile/mfa", expires_in=60)
    assert model["auth_state"] == {
        "provider": "check-in", "access_token": "x", "refresh_token": "y", "id_token": "z", "sub": "1",
        "acr": "https://refeds.org/profile/mfa", "claims": CLAIMS, "memberships": [GROUP],
    }  # fmt: skip


def test_how_somebody_signed_in_is_said_by_the_id_token_alone(client: ProviderClient, house: FakeHouse) -> None:
    mfa = "https://refeds.org/profile/mfa"
    claimed = person(house.database, sign_in(client, {**CLAIMS, "acr": mfa})["name"])
    assert claimed is not None
    assert not claimed.facts.mfa
    proven = person(house.database, sign_in(client, CLAIMS, acr=mfa)["name"])
    assert proven is not None
    assert proven.facts.mfa


def test_a_membership_too_long_for_a_group_of_the_hub_is_no_group(client: ProviderClient) -> None:
    long = "urn:mace:egi.eu:group:" + "g" * 300
    model = sign_in(client, {**CLAIMS, "eduperson_entitlement": [GROUP, long]})
    assert model["groups"] == [GROUP.partition("#")[0]]
    assert long in model["auth_state"]["memberships"]


def test_the_same_claims_again_are_the_same_name(client: ProviderClient, house: FakeHouse) -> None:
    first = sign_in(client, CLAIMS)
    second = sign_in(client, CLAIMS)
    assert first["name"] == second["name"]
    assert people(house.database) == 1


def test_a_name_does_not_change_with_what_somebody_is_called(client: ProviderClient, house: FakeHouse) -> None:
    first = sign_in(client, CLAIMS)
    changed = {**CLAIMS, "name": "Ana", "preferred_username": "root", "email": "ana@example.org"}
    second = sign_in(client, changed)
    assert first["name"] == second["name"]
    found = person(house.database, second["name"])
    assert found is not None
    assert found.facts.email == "ana@example.org"


def test_an_e_mail_address_or_name_of_somebody_else_makes_nobody_them(client: ProviderClient, house: FakeHouse) -> None:
    first = sign_in(client, CLAIMS)
    second = sign_in(client, {**CLAIMS, "voperson_id": "another", "preferred_username": first["name"]})
    assert first["name"] != second["name"]
    assert people(house.database) == 2


def test_the_same_subject_of_another_issuer_is_somebody_else(client: ProviderClient, house: FakeHouse) -> None:
    first = sign_in(client, CLAIMS)
    second = sign_in(client_of(house, issuer="https://evil.example.org"), CLAIMS)
    assert first["name"] != second["name"]
    assert people(house.database) == 2


def test_a_membership_that_is_gone_is_gone_at_the_next_sign_in(client: ProviderClient, house: FakeHouse) -> None:
    model = sign_in(client, CLAIMS)
    sign_in(client, {**CLAIMS, "eduperson_entitlement": []})
    found = person(house.database, model["name"])
    assert found is not None
    assert found.facts.memberships == ()


def test_a_role_of_a_namespace_that_is_not_the_providers_is_not_kept(client: ProviderClient, house: FakeHouse) -> None:
    foreign = "urn:mace:example.org:group:demo:role=operator"
    model = sign_in(client, {**CLAIMS, "eduperson_entitlement": [GROUP, foreign]})
    found = person(house.database, model["name"])
    assert found is not None
    assert found.facts.memberships == (GROUP,)


@pytest.mark.parametrize("persona", PERSONAS, ids=lambda persona: persona.key)
def test_every_persona_can_sign_in(client: ProviderClient, persona: Any) -> None:
    model = sign_in(client, persona.claims)
    assert model["name"].startswith(persona.preferred_username + "-")


def test_the_default_quota_is_given_at_sign_in_once_the_tier_is_reached(make_house: MakeHouse) -> None:
    real = make_house()
    client = client_of(cast("FakeHouse", real), owns_namespaces="any")
    researcher = next(persona for persona in PERSONAS if persona.key == "researcher")
    model = sign_in(client, researcher.claims)
    found = real.admission.person(model["name"])
    with real.database.write() as connection:
        accept(connection, person_id=found.id, version="2026-11", language="en", now=NOW)
    sign_in(client, researcher.claims)
    with real.database.read() as connection:
        assert standing(connection, owner_of(found), NOW).granted == from_unit_hours(100)


# --- who cannot be signed in ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"sub": "1", "email": "ines@example.org"}, id="another-claim"),
        pytest.param({**CLAIMS, "voperson_id": ""}, id="empty"),
        pytest.param({**CLAIMS, "voperson_id": [SUBJECT]}, id="list"),
        pytest.param({**CLAIMS, "voperson_id": f"{SUBJECT}\n"}, id="line-break"),
    ],
)
def test_without_a_subject_nobody_is_signed_in(
    client: ProviderClient, house: FakeHouse, claims: dict[str, Any]
) -> None:
    with pytest.raises(SignInRefused) as caught:
        sign_in(client, claims)
    assert caught.value.reason is Reason.NO_SUBJECT
    assert people(house.database) == 0
    assert house.given == []


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Database]:
    """A database that is none."""
    file = tmp_path / "broken.sqlite"
    file.write_bytes(b"not a database, but as long as the header of one" * 100)
    database = Database(f"sqlite:///{file}")
    yield database
    database.dispose()


def test_without_the_books_nobody_is_signed_in(client: ProviderClient, house: FakeHouse, away: Database) -> None:
    house.database = away
    with pytest.raises(DatabaseUnavailable):
        sign_in(client, CLAIMS)


# --- set-up -------------------------------------------------------------------------------------------------


def configured(settings: Settings, house: FakeHouse) -> FederatedAuthenticator:
    c = Config()
    configure_sign_in(c, settings, cast("House", house))
    assert c.JupyterHub.authenticator_class is FederatedAuthenticator
    return FederatedAuthenticator(config=c)


CHECK_IN = {"id": "check-in", "preset": "egi-check-in", "client_id": "notebooks", "client_secret_file": "check_in"}
OTHER = {
    "id": "other", "issuer": "https://idp.example.org", "client_id": "abc", "client_secret_file": "check_in",
    "owns_namespaces": ["urn:mace:example.org"],
}  # fmt: skip


def with_providers(
    make_settings: MakeSettings, tmp_path: Path, *providers: dict[str, Any], **identity: Any
) -> Settings:
    (tmp_path / "check_in").write_text("from-the-file\n")
    return make_settings(identity={"providers": list(providers), **identity})


def test_the_demo_signs_in_at_the_demo_sign_in(make_settings: MakeSettings, house: FakeHouse) -> None:
    settings = make_settings()
    authenticator = configured(settings, house)
    (client,) = authenticator.clients.values()
    assert client.provider.issuer == f"http://127.0.0.1:{settings.yaml.listen.sign_in_port}"
    assert client.provider.subject_claim == "voperson_id"
    assert client.oauth_callback_url == settings.base_url + "hub/oauth_callback"
    assert client.client_secret == settings.state.secret("demo_client_secret")
    assert authenticator.auto_login


def test_one_provider_is_gone_to_straight_and_several_are_asked_for(
    make_settings: MakeSettings, tmp_path: Path, house: FakeHouse
) -> None:
    assert configured(with_providers(make_settings, tmp_path, CHECK_IN), house).auto_login
    authenticator = configured(with_providers(make_settings, tmp_path, CHECK_IN, OTHER), house)
    assert not authenticator.auto_login
    assert list(authenticator.clients) == ["check-in", "other"]
    assert authenticator.client("") is None


def test_no_provider_is_asked_before_somebody_signs_in(
    make_settings: MakeSettings, tmp_path: Path, house: FakeHouse
) -> None:
    """The addresses of these are nowhere on this machine: the hub starts all the same."""
    authenticator = configured(with_providers(make_settings, tmp_path, CHECK_IN, OTHER), house)
    assert {client.token_url for client in authenticator.clients.values()} == {""}


def test_pages_and_interfaces_are_served(make_settings: MakeSettings, house: FakeHouse) -> None:
    routes = [route for route, *_rest in configured(make_settings(), house).get_handlers(None)]
    wanted = ["/oauth_login", "/oauth_callback", "/logout", "/login", "/signed-out", REFRESH_PATH, EXCHANGE_PATH]
    assert set(wanted) <= set(routes)


# --- the key that tokens are encrypted with ---------------------------------------------------------------------


@pytest.fixture
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NBFED_CRYPT_KEY", "JUPYTERHUB_CRYPT_KEY"):
        monkeypatch.delenv(name, raising=False)


ONE, TWO = "1" * 64, "a" * 64


@pytest.mark.usefixtures("no_key_in_the_environment")
def test_a_demonstration_makes_its_own_key(make_settings: MakeSettings) -> None:
    settings = make_settings()
    assert auth_state_keys(settings) == settings.state.secret("crypt_key")


@pytest.mark.usefixtures("no_key_in_the_environment")
def test_the_file_that_is_named_has_the_keys(make_settings: MakeSettings, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{ONE}\n{TWO}\n")
    assert auth_state_keys(make_settings(identity={"auth_state_key_file": "key"})) == f"{ONE};{TWO}"


@pytest.mark.parametrize("name", ["NBFED_CRYPT_KEY", "JUPYTERHUB_CRYPT_KEY"])
@pytest.mark.usefixtures("no_key_in_the_environment")
def test_the_key_of_the_environment_comes_first(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, f"{TWO};{ONE}")
    assert auth_state_keys(make_settings(identity={"auth_state_key_file": "none"})) == f"{TWO};{ONE}"


@pytest.mark.usefixtures("no_key_in_the_environment")
def test_production_does_not_start_without_a_key(make_settings: MakeSettings, house: FakeHouse) -> None:
    settings = make_settings()
    strict = settings.yaml.federation.model_copy(update={"mode": "production"})
    production = replace(settings, yaml=settings.yaml.model_copy(update={"federation": strict}))
    with pytest.raises(SettingsError, match=r"identity\.auth_state_key_file is missing"):
        configured(production, house)
    assert "JUPYTERHUB_CRYPT_KEY" not in os.environ


@pytest.mark.parametrize("content", ["secret", "g" * 64, "1" * 63, f"{ONE}\nshort"])
@pytest.mark.usefixtures("no_key_in_the_environment")
def test_what_is_no_key_is_refused_and_not_shown(make_settings: MakeSettings, tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(SettingsError, match="a key is 64 hexadecimal characters") as caught:
        auth_state_keys(make_settings(identity={"auth_state_key_file": "key"}))
    assert content.rsplit(maxsplit=1)[-1] not in str(caught.value)
