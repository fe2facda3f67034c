"""Sign-in: from claims to a person to the hub's user name, and what somebody is told who cannot be signed in."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import func, select
from tornado import web
from traitlets.config import Config

from federation.database import Database, DatabaseUnavailable
from federation.i18n import use_language
from federation.persons import Person, PersonTable, find_by_user_name
from hub_config.authenticator import FederatedAuthenticator, configure_sign_in
from hub_config.demo.personas import PERSONAS
from hub_config.settings import Settings, SettingsError
from hub_config.wiring import House
from quota.amounts import from_unit_hours
from quota.statement import standing
from spawners.exchange import EXCHANGE_PATH, ExchangeHandler
from spawners.paying import owner_of
from tests.hub_config.conftest import MakeHouse, MakeSettings
from vetting.settings import Provider

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


@pytest.fixture
def authenticator(house: FakeHouse) -> FederatedAuthenticator:
    provider = Provider(
        id="check-in", preset="egi-check-in", client_id="x", subject_claim="voperson_id",
        owns_namespaces=["urn:mace:egi.eu"],
    )  # fmt: skip
    FederatedAuthenticator.house = cast("House", house)
    FederatedAuthenticator.provider = provider
    FederatedAuthenticator.issuer = ISSUER
    return FederatedAuthenticator(
        client_id="x", client_secret="x", oauth_callback_url="https://hub.example.org/hub/oauth_callback",
        username_claim="voperson_id", enable_auth_state=True,
    )  # fmt: skip


def sign_in(authenticator: FederatedAuthenticator, claims: Any) -> dict[str, Any]:
    """From where oauthenticator has the claims."""
    model = {"name": "made-by-oauthenticator", "admin": None, "auth_state": {"oauth_user": claims}}
    return dict(asyncio.run(authenticator.update_auth_model(model)))


def sign_in_from_token(authenticator: FederatedAuthenticator, claims: Any) -> dict[str, Any]:
    """From where oauthenticator has the token: what userinfo says to it are the claims."""

    async def token_to_user(_token: Any) -> Any:
        return claims

    authenticator.token_to_user = token_to_user
    return dict(asyncio.run(authenticator._token_to_auth_model({"access_token": "x", "refresh_token": "y"})))


def person(database: Database, name: str) -> Person | None:
    with database.read() as connection:
        return find_by_user_name(connection, name)


def people(database: Database) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(PersonTable)).scalar_one()


# --- who it is ----------------------------------------------------------------------------------------------


def test_claims_become_a_person_with_a_name_of_ours(authenticator: FederatedAuthenticator, house: FakeHouse) -> None:
    model = sign_in(authenticator, CLAIMS)
    found = person(house.database, model["name"])
    assert found is not None
    assert (found.issuer, found.subject) == (ISSUER, SUBJECT)
    assert found.user_name.startswith("ines-carvalho-")
    assert found.facts.memberships == (GROUP,)
    assert found.facts.provider == "check-in"
    assert found.facts_at == NOW
    assert house.given == [found]
    assert model["auth_state"] == {"oauth_user": CLAIMS}
    assert not model["admin"]


def test_the_same_claims_again_are_the_same_name(authenticator: FederatedAuthenticator, house: FakeHouse) -> None:
    first = sign_in(authenticator, CLAIMS)
    second = sign_in(authenticator, CLAIMS)
    assert first["name"] == second["name"]
    assert people(house.database) == 1


def test_a_name_does_not_change_with_what_somebody_is_called(
    authenticator: FederatedAuthenticator, house: FakeHouse
) -> None:
    first = sign_in(authenticator, CLAIMS)
    changed = {**CLAIMS, "name": "Ana", "preferred_username": "root", "email": "ana@example.org"}
    second = sign_in(authenticator, changed)
    assert first["name"] == second["name"]
    found = person(house.database, second["name"])
    assert found is not None
    assert found.facts.email == "ana@example.org"


def test_an_e_mail_address_or_name_of_somebody_else_makes_nobody_them(
    authenticator: FederatedAuthenticator, house: FakeHouse
) -> None:
    first = sign_in(authenticator, CLAIMS)
    second = sign_in(authenticator, {**CLAIMS, "voperson_id": "another", "preferred_username": first["name"]})
    assert first["name"] != second["name"]
    assert people(house.database) == 2


def test_the_same_subject_of_another_issuer_is_somebody_else(
    authenticator: FederatedAuthenticator, house: FakeHouse
) -> None:
    first = sign_in(authenticator, CLAIMS)
    FederatedAuthenticator.issuer = "https://evil.example.org"
    second = sign_in(authenticator, CLAIMS)
    assert first["name"] != second["name"]
    assert people(house.database) == 2


def test_a_membership_that_is_gone_is_gone_at_the_next_sign_in(
    authenticator: FederatedAuthenticator, house: FakeHouse
) -> None:
    model = sign_in(authenticator, CLAIMS)
    sign_in(authenticator, {**CLAIMS, "eduperson_entitlement": []})
    found = person(house.database, model["name"])
    assert found is not None
    assert found.facts.memberships == ()


def test_a_role_of_a_namespace_that_is_not_the_providers_is_not_kept(
    authenticator: FederatedAuthenticator, house: FakeHouse
) -> None:
    foreign = "urn:mace:example.org:group:demo:role=operator"
    model = sign_in(authenticator, {**CLAIMS, "eduperson_entitlement": [GROUP, foreign]})
    found = person(house.database, model["name"])
    assert found is not None
    assert found.facts.memberships == (GROUP,)


@pytest.mark.parametrize("persona", PERSONAS, ids=lambda persona: persona.key)
def test_every_persona_can_sign_in(authenticator: FederatedAuthenticator, persona: Any) -> None:
    model = sign_in(authenticator, persona.claims)
    assert model["name"].startswith(persona.preferred_username + "-")


def test_the_default_quota_is_given_at_sign_in(authenticator: FederatedAuthenticator, make_house: MakeHouse) -> None:
    real = make_house()
    FederatedAuthenticator.house = real
    researcher = next(persona for persona in PERSONAS if persona.key == "researcher")
    FederatedAuthenticator.provider = Provider(
        id="demo", issuer=ISSUER, client_id="x", subject_claim="voperson_id", owns_namespaces="any"
    )
    model = sign_in(authenticator, researcher.claims)
    found = real.admission.person(model["name"])
    sign_in(authenticator, researcher.claims)
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
    authenticator: FederatedAuthenticator, house: FakeHouse, claims: dict[str, Any]
) -> None:
    with pytest.raises(web.HTTPError) as caught:
        sign_in(authenticator, claims)
    assert caught.value.status_code == 403
    assert caught.value.log_message == (
        "Your provider did not say who you are, so you cannot be signed in. Tell support."
    )
    assert people(house.database) == 0
    assert house.given == []


@pytest.mark.parametrize(
    "claims", [{}, {"voperson_id": ""}, {"voperson_id": [SUBJECT]}], ids=["nothing", "empty", "list"]
)
def test_without_a_subject_nobody_is_signed_in_on_the_whole_way(
    authenticator: FederatedAuthenticator, claims: dict[str, Any]
) -> None:
    with pytest.raises(web.HTTPError) as caught:
        sign_in_from_token(authenticator, claims)
    assert caught.value.status_code == 403


def test_the_whole_way_with_a_subject(authenticator: FederatedAuthenticator) -> None:
    model = sign_in_from_token(authenticator, CLAIMS)
    assert model["name"].startswith("ines-carvalho-")
    assert model["auth_state"]["refresh_token"] == "y"
    assert not model["admin"]


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Database]:
    """A database that is none."""
    file = tmp_path / "broken.sqlite"
    file.write_bytes(b"not a database, but as long as the header of one" * 100)
    database = Database(f"sqlite:///{file}")
    yield database
    database.dispose()


def test_without_the_books_nobody_is_signed_in(
    authenticator: FederatedAuthenticator, house: FakeHouse, away: Database
) -> None:
    house.database = away
    with pytest.raises(web.HTTPError) as caught:
        sign_in(authenticator, CLAIMS)
    assert caught.value.status_code == 503
    assert caught.value.log_message == (
        "The federation's books cannot be reached, so nobody can be signed in. Try again soon."
    )


def test_books_that_fail_half_way_are_an_outage_too(authenticator: FederatedAuthenticator, house: FakeHouse) -> None:
    house.failure = DatabaseUnavailable("locked")
    with pytest.raises(web.HTTPError) as caught:
        sign_in(authenticator, CLAIMS)
    assert caught.value.status_code == 503
    house.failure = None
    assert sign_in(authenticator, CLAIMS)


def test_why_not_is_told_in_the_readers_language(authenticator: FederatedAuthenticator) -> None:
    use_language("es")
    try:
        with pytest.raises(web.HTTPError, match="Su proveedor"):
            sign_in(authenticator, {})
    finally:
        use_language("en")


# --- set-up -------------------------------------------------------------------------------------------------


def test_the_exchange_of_secrets_is_served(authenticator: FederatedAuthenticator) -> None:
    assert (EXCHANGE_PATH, ExchangeHandler) in authenticator.get_handlers(None)


def configured(settings: Settings, house: FakeHouse) -> Any:
    c = Config()
    configure_sign_in(c, settings, cast("House", house))
    return c.FederatedAuthenticator


def test_the_demo_asks_the_demo_sign_in(make_settings: MakeSettings, house: FakeHouse) -> None:
    settings = make_settings()
    found = configured(settings, house)
    issuer = f"http://127.0.0.1:{settings.yaml.listen.sign_in_port}"
    assert found.authorize_url == f"{issuer}/oauth2/authorize"
    assert found.token_url == f"{issuer}/oauth2/token"
    assert found.userdata_url == f"{issuer}/userinfo"
    assert found.oauth_callback_url == settings.base_url + "hub/oauth_callback"
    assert found.client_secret == settings.state.secret("demo_client_secret")
    assert found.auto_login
    assert FederatedAuthenticator.issuer == issuer
    assert FederatedAuthenticator.provider.subject_claim == "voperson_id"


CHECK_IN = {"id": "check-in", "preset": "egi-check-in", "client_id": "notebooks", "subject_claim": "voperson_id"}
DISCOVERED = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, httpx.Response | httpx.HTTPError]:
    """What providers answer, by address; all others cannot be reached."""
    known: dict[str, httpx.Response | httpx.HTTPError] = {
        f"{ISSUER}/.well-known/openid-configuration": httpx.Response(200, json=DISCOVERED)
    }

    def get(url: str, **_options: Any) -> httpx.Response:
        answer = known.get(url, httpx.ConnectError("Connection refused"))
        if isinstance(answer, httpx.HTTPError):
            raise answer
        answer.request = httpx.Request("GET", url)
        return answer

    monkeypatch.setattr(httpx, "get", get)
    monkeypatch.delenv("NBFED_CLIENT_SECRET_CHECK_IN", raising=False)
    return known


def with_provider(make_settings: MakeSettings, tmp_path: Path, **changes: Any) -> Settings:
    (tmp_path / "check_in").write_text("from-the-file\n")
    provider = CHECK_IN | {"client_secret_file": "check_in"} | changes
    return make_settings(identity={"providers": [{k: v for k, v in provider.items() if v is not None}]})


@pytest.mark.usefixtures("answers")
def test_a_provider_is_asked_for_its_endpoints(make_settings: MakeSettings, tmp_path: Path, house: FakeHouse) -> None:
    found = configured(with_provider(make_settings, tmp_path), house)
    assert found.authorize_url == f"{ISSUER}/authorize"
    assert found.token_url == f"{ISSUER}/token"
    assert found.userdata_url == f"{ISSUER}/userinfo"
    assert (found.client_id, found.client_secret) == ("notebooks", "from-the-file")
    assert not found.auto_login
    assert {"openid", "voperson_id", "eduperson_entitlement", "eduperson_assurance"} <= set(found.scope)
    assert FederatedAuthenticator.issuer == ISSUER


@pytest.mark.usefixtures("answers")
def test_the_secret_of_the_environment_comes_first(
    make_settings: MakeSettings, tmp_path: Path, house: FakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBFED_CLIENT_SECRET_CHECK_IN", "from-the-environment")
    settings = with_provider(make_settings, tmp_path, client_secret_file="none")
    assert configured(settings, house).client_secret == "from-the-environment"


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"client_secret_file": None},
            "identity.providers.check-in.client_secret_file is missing, and NBFED_CLIENT_SECRET_CHECK_IN is not set",
            id="no-secret",
        ),
        pytest.param(
            {"client_secret_file": "none"}, "identity.providers.check-in.client_secret_file: the secret's file "
            "{folder}/none cannot be read: No such file or directory", id="secret-file-missing",
        ),
        pytest.param(
            {"preset": "egi-check-in-dev"}, "identity.providers.check-in: the provider at "
            "https://aai-dev.egi.eu/auth/realms/egi cannot be asked: Connection refused", id="provider-away",
        ),
    ],
)  # fmt: skip
def test_a_provider_that_cannot_be_used_is_told(
    make_settings: MakeSettings, tmp_path: Path, house: FakeHouse, changes: dict[str, Any], message: str
) -> None:
    settings = with_provider(make_settings, tmp_path, **changes)
    with pytest.raises(SettingsError) as caught:
        configured(settings, house)
    assert str(caught.value) == f"{settings.file}: {message.format(folder=tmp_path)}"


def test_two_providers_are_one_too_many(make_settings: MakeSettings, house: FakeHouse) -> None:
    settings = make_settings(identity={"providers": [CHECK_IN, {**CHECK_IN, "id": "other"}]})
    with pytest.raises(SettingsError, match="through one provider"):
        configured(settings, house)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(httpx.Response(500), "cannot be asked: Server error '500", id="error"),
        pytest.param(httpx.Response(302, headers={"Location": "/"}), "cannot be asked: Redirect response", id="redirect"),
        pytest.param(httpx.Response(200, text="<html>"), "cannot be asked: Expecting value", id="no-json"),
        pytest.param(httpx.Response(200, json=[]), "says that its issuer is None", id="a-list"),
        pytest.param(httpx.Response(200, json={}), "says that its issuer is None", id="nothing"),
        pytest.param(
            httpx.Response(200, json={**DISCOVERED, "issuer": "https://evil.example.org"}),
            "says that its issuer is https://evil.example.org", id="another-issuer",
        ),
        pytest.param(
            httpx.Response(200, json={**DISCOVERED, "issuer": ISSUER + "/"}),
            f"says that its issuer is {ISSUER}/", id="a-slash-more",
        ),
        pytest.param(
            httpx.Response(200, json={"issuer": ISSUER}), "authorization_endpoint", id="no-endpoints",
        ),
        pytest.param(
            httpx.Response(200, json=7), "cannot be asked", id="a-number",
        ),
    ],
)  # fmt: skip
def test_a_provider_that_answers_something_else_is_told(
    make_settings: MakeSettings,
    tmp_path: Path,
    house: FakeHouse,
    answers: dict[str, httpx.Response | httpx.HTTPError],
    answer: httpx.Response,
    message: str,
) -> None:
    answers[f"{ISSUER}/.well-known/openid-configuration"] = answer
    settings = with_provider(make_settings, tmp_path)
    with pytest.raises(SettingsError) as caught:
        configured(settings, house)
    assert str(caught.value).startswith(f"{settings.file}: identity.providers.check-in: ")
    assert message in str(caught.value)
