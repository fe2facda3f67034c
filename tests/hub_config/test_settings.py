"""federation.yaml: good files are read, and of each mistake file, line, key and the nearest known key are said."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from federation.clock import system_clock
from federation.i18n import use_language
from federation.settings import BatchSite, KubernetesSite, in_language
from federation.state import StateFolder
from hub_config.settings import DEMO_FILE, FederationYaml, Settings, SettingsError, load, parse

FILES = Path(__file__).parents[1] / "data" / "config"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NBFED_CONFIG", "NBFED_HOME", "NBFED_DATABASE_URL", "NBFED_CLOCK_FILE"):
        monkeypatch.delenv(name, raising=False)


def loaded(file: Path, tmp_path: Path) -> Settings:
    return load(file, StateFolder(tmp_path / "run"))


# --- the clock file -----------------------------------------------------------------------------------------


def test_without_a_clock_file_time_is_the_machines(tmp_path: Path) -> None:
    assert loaded(DEMO_FILE, tmp_path).clock() is system_clock


def test_a_clock_file_of_the_demo_lies_in_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBFED_CLOCK_FILE", "clock")
    settings = loaded(DEMO_FILE, tmp_path)
    assert settings.clock_file == tmp_path / "run" / "clock"
    settings.state.root.mkdir()
    settings.clock_file.write_text("-3600")
    assert 3590 < (system_clock() - settings.clock()()).total_seconds() < 3610


def test_a_clock_file_with_nonsense_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NBFED_CLOCK_FILE", str(tmp_path / "clock"))
    (tmp_path / "clock").write_text("soon")
    with pytest.raises(SettingsError, match="NBFED_CLOCK_FILE names cannot be used"):
        loaded(DEMO_FILE, tmp_path)


def test_production_refuses_a_clock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBFED_CLOCK_FILE", "clock")
    with pytest.raises(SettingsError, match="production mode refuses it"):
        loaded(FILES / "good-production.yaml", tmp_path)


# --- good files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [DEMO_FILE, *sorted(FILES.glob("good-*.yaml"))], ids=lambda file: file.stem)
def test_a_good_file_is_read_and_nothing_is_made(file: Path, tmp_path: Path) -> None:
    settings = loaded(file, tmp_path)
    assert settings.file == file
    assert settings.yaml.sites
    assert list(tmp_path.iterdir()) == []


def test_the_demo(tmp_path: Path) -> None:
    settings = loaded(DEMO_FILE, tmp_path)
    assert settings.is_demo_sign_in
    assert (settings.base_url, settings.public_port) == ("http://127.0.0.1:8000/", 8000)
    assert settings.database_url == f"sqlite:///{tmp_path}/run/federation.sqlite"
    assert settings.hub_database_url == f"sqlite:///{tmp_path}/run/jupyterhub.sqlite"
    assert [site.kind for site in settings.yaml.sites.values()] == ["local"]


def test_the_pool_of_the_demo_that_is_commented_out_can_be_taken_in(tmp_path: Path) -> None:
    lines = DEMO_FILE.read_text().splitlines()
    begins = lines.index("# pools:")
    taken_in = [
        line.removeprefix("# ") if n >= begins and line.startswith("# ") else line for n, line in enumerate(lines)
    ]
    file = tmp_path / "federation.yaml"
    file.write_text("\n".join(taken_in))
    assert list(load(file, StateFolder(tmp_path)).yaml.pools) == ["demo"]


def test_the_smallest_file_is_a_demo_with_nothing_for_nothing(tmp_path: Path) -> None:
    content = loaded(FILES / "good-smallest.yaml", tmp_path).yaml
    assert content.federation.mode == "demo"
    assert content.defaults == {}
    assert content.flavours["small"].tier == "T1"
    assert content.limits.lease_minutes == 45


def test_production(tmp_path: Path) -> None:
    settings = loaded(FILES / "good-production.yaml", tmp_path)
    content = settings.yaml
    assert not settings.is_demo_sign_in
    assert (settings.base_url, settings.public_port) == ("https://notebooks.example.org/", 8000)
    assert settings.database_url == "postgresql+psycopg://nbfed:not-a-real-password@db.example.org/nbfed"
    provider = content.identity.providers[0]
    assert provider.client_secret_file is not None
    assert settings.read_secret(provider.client_secret_file, "x") == "not-a-real-secret"
    assert isinstance(content.sites["cloud"], KubernetesSite)
    assert isinstance(content.sites["hpc-andes"], BatchSite)
    assert str(content.flavours["gpu"].weight) == "20.125"
    assert list(content.tiers) == ["T0", "T1", "T2", "T3"]


def test_settings_do_not_change(tmp_path: Path) -> None:
    content = loaded(DEMO_FILE, tmp_path).yaml
    with pytest.raises(ValidationError, match="frozen"):
        content.federation.name = "x"  # type: ignore[misc]


# --- bad files ----------------------------------------------------------------------------------------------

NAME_PATTERN = "'^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$'"
LOCAL_SITE_KEYS = "account, boot_seconds, country, files, flavours, kind, title"
HUGE = "1" + "0" * 20

MISTAKES = {
    "address": "11: federation.base_url: string should match pattern '^https?://[^/?#\\s]+/?$' "
    "(it is 'http://127.0.0.1:8000/notebooks')",
    "address-without-such-a-port": "11: federation.base_url: Port out of range 0-65535",
    "affiliation": "4: tiers.T1.affiliation.1: input should be 'faculty', 'student', 'staff', 'alum', 'member', "
    "'affiliate', 'employee' or 'library-walk-in' (it is 'professor')",
    "any-namespace-beside-another-provider": "16: identity.providers.1.owns_namespaces: any would let this "
    "provider hand out what belongs to the others, the operator's role among it; production mode needs its "
    "namespaces",
    "assurance": "4: tiers.T1.assurance: character 14: a value was expected before '|'",
    "assurance-of-an-alternative": "6: tiers.T1.any.1.assurance: character 1: this parenthesis is not closed",
    "assurance-that-is-a-list": "4: tiers.T1.assurance: ['IAP/medium'] is no assurance expression; a right one "
    "is IAP/medium | profile/espresso",
    "assurance-value": "4: tiers.T1.assurance: REFEDS has no value 'IAP/meduim'; did you mean 'IAP/medium'? "
    "(values of others are written in full)",
    "assurance-value-of-nobody": "4: tiers.T1.assurance: REFEDS has no value 'LoA#Substantial'; known are "
    "IAP/low, IAP/medium, IAP/high, IAP/local-enterprise, ID/unique, ID/eppn-unique-no-reassign, "
    "ID/eppn-unique-reassign-1y, ATP/ePA-1m, ATP/ePA-1d, profile/cappuccino, profile/espresso, version/2 (values "
    "of others are written in full)",
    "capability": "4: tiers.T1.communities.0: 'urn:mace:egi.eu:res:notebooks:act:' is no entitlement: one of its "
    "parts is empty; a right one is urn:mace:egi.eu:group:vo.example.org:role=operator",
    "comment-only": "1: a federation.yaml is a mapping of sections; this is empty",
    "communities-that-are-a-text": "4: tiers.T1.communities: input should be a valid list (it is "
    "'urn:mace:egi.eu:group:vo.example.org')",
    "community": "6: tiers.T1.communities.1: 'vo.example.org' is no entitlement: it names neither a group "
    "(:group:) nor a resource (:res:); a right one is urn:mace:egi.eu:group:vo.example.org:role=operator",
    "community-of-an-alternative": "5: tiers.T1.any.0.communities.0: "
    "'urn:mace:egi.eu:group:vo.example.org:role=member:sub' is no entitlement: only its last part can be a role; "
    "a right one is urn:mace:egi.eu:group:vo.example.org:role=operator",
    "community-that-is-a-number": "4: tiers.T1.communities.0: 7 is no text; a right entitlement is "
    "urn:mace:egi.eu:group:vo.example.org:role=operator",
    "country-that-is-a-boolean": "9: sites.here.country: input should be a valid string (it is False)",
    "demo-sign-in-in-production": "1: identity.providers: production mode refuses the demo sign-in; name one",
    "demo-sign-in-with-a-public-address": "12: federation.base_url: the demo sign-in lets anyone in as anyone, so this "
    "must be a loopback address; add identity.providers to serve other machines",
    "doubled-key": "10: tiers: this key stands here twice; only one of them would count",
    "doubled-key-inside": "9: flavours.small.weight: this key stands here twice; only one of them would count",
    "empty": "1: a federation.yaml is a mapping of sections; this is empty",
    "entitlements-of-nobody": [
        (
            "5: tiers.T1.any.0.communities.0: no provider speaks for urn:mace:egi.eu, so nobody could have this; "
            "see owns_namespaces"
        ),
        (
            "22: identity.roles.operator.1: no provider speaks for urn:mace:egi.eu, so nobody could have this; see "
            "owns_namespaces"
        ),
        (
            "23: identity.roles.site_operator.cloud.0: no provider speaks for urn:mace:egi.eu, so nobody could have "
            "this; see owns_namespaces"
        ),
    ],
    "everything-in-production": [
        "1: identity.providers: production mode refuses the demo sign-in; name one",
        "9: sites.here.kind: production mode refuses local sites",
        "12: federation.base_url: production mode needs https",
    ],
    "http-in-production": "12: federation.base_url: production mode needs https",
    "http-provider-in-production": "16: identity.providers.0.issuer: production mode needs https",
    "huge-numbers": [
        f"6: flavours.small.cpu: input should be less than or equal to 1000000 (it is {HUGE})",
        f"7: flavours.small.memory_gib: input should be less than or equal to 1000000 (it is {HUGE})",
        f"8: flavours.small.gpu: input should be less than or equal to 1000000 (it is {HUGE})",
        f"9: flavours.small.weight: input should be less than or equal to 1000000 (it is {HUGE})",
        f"10: flavours.small.walltime_hours: input should be less than or equal to 8784 (it is {HUGE})",
        f"16: defaults.T1.amount_hours: input should be less than or equal to 10000000 (it is {HUGE})",
        "17: idle.stop_after_minutes: input should be less than or equal to 100000 (it is 1e+300)",
        "18: worker.interval_seconds: input should be less than or equal to 300 (it is nan)",
    ],
    "key-nothing-is-like": "11: desk.colour: unknown key; known here: answers, grant_months, membership_grace_days, "
    "reviewer_ceiling_hours, target_answer_days",
    "key-of-another-kind-of-site": f"13: sites.here.namespace: unknown key; known here: {LOCAL_SITE_KEYS}",
    "language": "13: federation.languages.1: there is no language 'fr'; known here: en, es, pt",
    "language-of-a-title": "8: environments.python.title: unknown language fr; known are en, es, pt",
    "language-of-the-terms": "13: federation.terms.files.fr: there is no language 'fr'; known here: en, es, pt",
    "lease-too-short": "12: limits.shortest_lease_minutes: 30 is longer than limits.lease_minutes, so nothing could start",
    "list": "1: a federation.yaml is a mapping of sections; this is a list",
    "local-site-in-production": "9: sites.here.kind: production mode refuses local sites",
    "long-name": f"9: sites.{'x' * 41}: string should match pattern {NAME_PATTERN} (it is '{'x' * 41}')",
    "malformed": "9: this is not YAML: while parsing a flow sequence, expected ',' or ']', but got '}'",
    "name": f"5: flavours.Small_One: string should match pattern {NAME_PATTERN} (it is 'Small_One')",
    "name-that-is-a-number": "9: sites.1: input should be a valid string (it is 1)",
    "namespace": "15: identity.providers.0.owns_namespaces: 'urn:mace:egi.eu:' is no namespace; a right one is "
    "urn:mace:example.org",
    "namespaces-that-are-a-text": "15: identity.providers.0.owns_namespaces: 'urn:mace:example.org' is neither a "
    "list of namespaces, such as [urn:mace:example.org], nor any",
    "needs-a-later-tier": "4: tiers.T1.needs: T2 does not stand above T1; "
    "tiers are listed from the lowest to the highest",
    "needs-itself": "4: tiers.T1.needs: T1 does not stand above T1; tiers are listed from the lowest to the highest",
    "negative-cpu": "5: flavours.small.cpu: input should be greater than or equal to 1 (it is -1)",
    "no-environments": "1: environments: field required",
    "no-kind-of-site": "9: sites.here.kind: field required",
    "no-language": "11: federation.languages: list should have at least 1 item after validation, not 0",
    "no-sites": "8: sites: dictionary should have at least 1 item after validation, not 0",
    "no-such-date": "11: this is not YAML: day is out of range for month",
    "ports": "16: sites.hpc-andes.ports: input should be a valid string (it is 20000)",
    "provider-twice": "13: identity.providers.1.id: another provider is called check-in, too",
    "provider-without-issuer": "12: identity.providers.0: a generic provider needs an issuer",
    "own-accounts-without-their-own-way": [
        (
            "8: sites.hpc-andes.notebook_to_hub: access: user-certificate needs `direct`: a way back through one "
            "person's connection would be theirs to close for everybody"
        ),
        (
            "14: sites.hpc-andes.login.port: access: user-certificate needs a port that sshd has for it alone: at 22 "
            "nobody could log in there as usual any more"
        ),
    ],
    "provider-without-namespaces": "12: identity.providers.0: a generic provider needs owns_namespaces: the "
    "entitlements that it speaks for, such as [urn:mace:example.org], [] for none, or any",
    "python": "11: this is not YAML: could not determine a constructor for the tag "
    "'tag:yaml.org,2002:python/object/apply:os.system'",
    "recursion": "11: idle.notice_minutes: input should be a valid integer (it is {'notice_minutes': {...}})",
    "role": "13: identity.roles.operator.0: 'urn:mace:egi.eu:group:role=operator' is no entitlement: it names no "
    "group; a right one is urn:mace:egi.eu:group:vo.example.org:role=operator",
    "role-of-a-site": "12: identity.roles.site_operator.here.0: 'urn:mace:egi.eu:group:caf%E9:role=operator' is "
    "no entitlement: its percent-encoding is not UTF-8; a right one is "
    "urn:mace:egi.eu:group:vo.example.org:role=operator",
    "scope": "16: identity.providers.0.affiliation_scopes: 'staff@example.org' is no domain; a right one is "
    "example.org",
    "scopes-that-are-a-text": "16: identity.providers.0.affiliation_scopes: 'example.org' is neither a list of "
    "domains, such as [example.org], nor home-organisation, nor any",
    "tab": "3: this is not YAML: while scanning for the next token, found character '\\t' that cannot start any token",
    "terms-of-nobody": [
        (
            "3: tiers.T1.terms: there are no terms to accept, so nobody could have this tier; name them in "
            "federation.terms"
        ),
        (
            "6: tiers.T2.any.0.terms: there are no terms to accept, so nobody could have this tier; name them in "
            "federation.terms"
        ),
    ],
    "terms-without-words": "11: federation.terms.files: field required",
    "text": "1: a federation.yaml is a mapping of sections; this is a str",
    "two-documents": "10: this is not YAML: expected a single document in the stream, but found another document",
    "unknown-flavour": "14: sites.here.flavours.1: there is no flavour 'smal'; did you mean 'small'?",
    "unknown-key": "11: idle.stop_after_minute: unknown key; did you mean 'stop_after_minutes'?",
    "unknown-key-of-a-batch-site": "18: sites.hpc-andes.partiton: unknown key; did you mean 'partition'?",
    "unknown-key-of-a-login": [
        "14: sites.hpc-andes.login.host_key_file: field required",
        "14: sites.hpc-andes.login.hostkey_file: unknown key; did you mean 'host_key_file'?",
    ],
    "unknown-key-of-a-rule": "6: tiers.T1.any.1.asurance: unknown key; did you mean 'assurance'?",
    "unknown-kind-of-site": "11: sites.here.kind: there is no kind 'locale'; did you mean 'local'?",
    "unknown-names": [
        "11: defaults.T9: there is no tier 'T9'; known here: T1",
        "11: defaults.T9.flavours.0: there is no flavour 'smal'; did you mean 'small'?",
        "14: limits.per_site.hier: there is no site 'hier'; did you mean 'here'?",
        "18: identity.roles.site_operator.there: there is no site 'there'; did you mean 'here'?",
    ],
    "unknown-section": ["1: tiers: field required", "2: teirs: unknown key; did you mean 'tiers'?"],
    "unknown-tier": "6: flavours.large.tier: there is no tier 'T2'; known here: T1",
    "weight-of-nothing": "5: flavours.small.weight: input should be greater than 0 (it is 0)",
    "weight-that-is-no-number": "5: flavours.small.weight: input should be a finite number (it is inf)",
    "weight-with-four-decimals": "5: flavours.small.weight: decimal input should have no more than 3 decimal places "
    "(it is 0.1234)",
    "worker-too-slow": "13: worker.interval_seconds: 120 is more than a quarter of limits.lease_minutes, "
    "so leases would be renewed too late",
    "wrong-type": "5: flavours.small.cpu: input should be a valid integer, unable to parse string as an integer "
    "(it is 'one')",
    "wrong-type-of-section": "10: idle: input should be a mapping (it is 60)",
    "wrong-type-of-title": [
        "7: environments.python.title: input should be a valid string (it is 3)",
        "7: environments.python.title: input should be a mapping (it is 3)",
    ],
}
"""What follows file and colon; a list where there are several lines."""

SECRETS = {
    "secret-missing": "the secret's file {folder}/secrets/none cannot be read: No such file or directory",
    "secret-empty": "the secret's file {folder}/secrets/empty is empty",
    "secret-is-a-folder": "the secret's file {folder}/secrets cannot be read: Is a directory",
}


def test_the_table_has_every_bad_file() -> None:
    assert {file.stem for file in FILES.glob("bad-*.yaml")} == {f"bad-{name}" for name in (*MISTAKES, *SECRETS)}


@pytest.mark.parametrize(("name", "message"), [pytest.param(*each, id=each[0]) for each in MISTAKES.items()])
def test_a_mistake_is_told_with_file_line_and_key(name: str, message: str | list[str], tmp_path: Path) -> None:
    file = FILES / f"bad-{name}.yaml"
    with pytest.raises(SettingsError) as caught:
        loaded(file, tmp_path)
    lines = [message] if isinstance(message, str) else message
    assert str(caught.value).splitlines() == [f"{file}:{line}" for line in lines]


@pytest.mark.parametrize(("name", "message"), [pytest.param(*each, id=each[0]) for each in SECRETS.items()])
def test_a_secret_that_is_not_there_is_told_when_it_is_needed(name: str, message: str, tmp_path: Path) -> None:
    settings = loaded(FILES / f"bad-{name}.yaml", tmp_path)
    with pytest.raises(SettingsError) as caught:
        _ = settings.database_url
    assert str(caught.value) == f"{settings.file}: database.url_file: {message.format(folder=FILES)}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            "federation: {name: Pequeña}".encode("latin-1"), " cannot be read: this is not UTF-8 text: byte 24. "
            "Save it as UTF-8.", id="latin-1",
        ),
        pytest.param(
            b"tiers: {}\nidle: \x00\n", "2: this is not YAML: unacceptable character #x0000: special characters are "
            "not allowed", id="control-character",
        ),
        pytest.param(
            b"idle:\n  stop_after_minutes: " + b"9" * 5000, "2: this is not YAML: Exceeds the limit (4300 digits) for "
            "integer string conversion: value has 5000 digits; use sys.set_int_max_str_digits() to increase the limit",
            id="five-thousand-digits",
        ),
        pytest.param(b"x: &x {x: *x}", "1: x: unknown key; known here: ", id="a-mapping-in-itself"),
        pytest.param(b"{a: [&b [*b, *b]]}", "1: a: unknown key; known here: ", id="a-list-in-itself"),
        pytest.param(b"x: 1\n" * 2, "2: x: this key stands here twice; only one of them would count", id="doubled"),
        pytest.param(b"? [a, b]\n: c\n", "1: this is not YAML: while constructing a mapping, found unhashable key",
                     id="a-list-as-key"),
        pytest.param(b"1: 2\n", "1: 1: keys should be strings", id="a-number-as-key"),
    ],
)  # fmt: skip
def test_what_is_hardly_a_file_is_told(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "federation.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        loaded(file, tmp_path)
    assert any(line.startswith(f"{file}:{message}") for line in str(caught.value).splitlines()), str(caught.value)


def test_a_long_value_is_cut_in_the_message() -> None:
    text = (FILES / "good-smallest.yaml").read_text().replace("cpu: 1", f"cpu: {'x' * 1000}")
    with pytest.raises(SettingsError, match=rf"\(it is '{'x' * 79}…\)$"):
        parse(text, "f")


def test_bytes_that_are_no_text_are_no_secret(tmp_path: Path) -> None:
    settings = loaded(FILES / "good-smallest.yaml", tmp_path)
    (tmp_path / "secret").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"x: the secret's file .*/secret cannot be read: this is not UTF-8 text"):
        settings.read_secret(str(tmp_path / "secret"), "x")


# --- which file, which address, which database ------------------------------------------------------------------


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"^{re.escape(str(tmp_path))}/none: cannot be read: No such file"):
        load(tmp_path / "none")
    with pytest.raises(SettingsError, match=r"cannot be read: Is a directory$"):
        load(tmp_path)


def test_the_environment_names_file_and_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBFED_HOME", str(tmp_path / "home"))
    assert load().file == DEMO_FILE
    monkeypatch.setenv("NBFED_CONFIG", str(FILES / "good-smallest.yaml"))
    assert load().file == FILES / "good-smallest.yaml"
    assert load(DEMO_FILE).file == DEMO_FILE
    assert load().state.root == tmp_path / "home"


def test_a_relative_file_name_does_not_move_with_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FILES)
    settings = load(Path("good-production.yaml"), StateFolder(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert settings.database_url.startswith("postgresql")


def test_the_environment_comes_before_the_file_of_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBFED_DATABASE_URL", "sqlite:////elsewhere")
    assert loaded(FILES / "good-production.yaml", tmp_path).database_url == "sqlite:////elsewhere"
    assert loaded(FILES / "bad-secret-missing.yaml", tmp_path).database_url == "sqlite:////elsewhere"


def smallest(**sections: Any) -> FederationYaml:
    return parse(yaml.safe_dump(yaml.safe_load((FILES / "good-smallest.yaml").read_text()) | sections), "f")


PROVIDERS = {"providers": [{"id": "x", "preset": "egi-check-in", "client_id": "x"}]}


@pytest.mark.parametrize(
    ("base_url", "listen", "expected_url", "expected_port"),
    [
        pytest.param("http://127.0.0.1:8000", {}, "http://127.0.0.1:8000/", 8000, id="plain"),
        pytest.param("http://127.0.0.1:8000/", {}, "http://127.0.0.1:8000/", 8000, id="with-a-slash"),
        pytest.param("http://localhost", {}, "http://localhost/", 80, id="http"),
        pytest.param("https://notebooks.example.org", {}, "https://notebooks.example.org/", 443, id="https"),
        pytest.param("http://[::1]:9000", {}, "http://[::1]:9000/", 9000, id="ipv6"),
        pytest.param(
            "https://notebooks.example.org", {"public_port": 8000}, "https://notebooks.example.org/", 8000,
            id="behind-something-that-ends-tls",
        ),
    ],
)  # fmt: skip
def test_the_address_and_the_port_of_the_proxy(
    tmp_path: Path, base_url: str, listen: dict[str, Any], expected_url: str, expected_port: int
) -> None:
    content = smallest(federation={"base_url": base_url}, listen=listen, identity=PROVIDERS)
    settings = Settings(file=tmp_path / "f", yaml=content, state=StateFolder(tmp_path))
    assert (settings.base_url, settings.public_port) == (expected_url, expected_port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_the_demo_sign_in_serves_this_machine(host: str) -> None:
    assert smallest(federation={"base_url": f"http://{host}:8000"})


@pytest.mark.parametrize(
    "base_url",
    [
        pytest.param("http://0.0.0.0:8000", id="every-interface"),
        pytest.param("http://127.0.0.1.example.org:8000", id="a-name-that-begins-like-it"),
        pytest.param("http://127.0.0.1@example.org", id="a-user-that-looks-like-it"),
        pytest.param("http://localhost.example.org", id="a-host-called-localhost-elsewhere"),
        pytest.param("http://2130706433", id="written-as-a-number"),
        pytest.param("https://notebooks.example.org", id="https"),
    ],
)
def test_the_demo_sign_in_serves_nobody_else(base_url: str) -> None:
    with pytest.raises(SettingsError, match=r"federation\.base_url: the demo sign-in lets anyone in as anyone"):
        smallest(federation={"base_url": base_url})
    assert smallest(federation={"base_url": base_url}, identity=PROVIDERS)


@pytest.mark.parametrize(
    "base_url", ["ftp://x", "x", "", "http://", "http://x/y", "http://x?y", "http://x#y", "http://[::1", "http://:80",
                 "http://x:0", "http://x:y", "http://x\n", "http://x y"]
)  # fmt: skip
def test_an_address_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(SettingsError, match=r"federation\.base_url: "):
        smallest(federation={"base_url": base_url}, identity=PROVIDERS)


# --- texts in several languages -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param({"en": "Small", "es": "Pequeña"}, "Pequeña", id="the-readers"),
        pytest.param({"pt": "Pequena", "en": "Small"}, "Pequena", id="else-the-first"),
        pytest.param({"es": "", "en": "Small"}, "Small", id="else-the-first-that-is-not-empty"),
        pytest.param({"es": ""}, "small", id="only-an-empty-one"),
        pytest.param("Small", "Small", id="one-for-all"),
        pytest.param("", "small", id="none"),
    ],
)
def test_a_text_is_in_the_readers_language(text: Any, expected: str) -> None:
    use_language("es")
    try:
        assert in_language(text, "small") == expected
    finally:
        use_language("en")
