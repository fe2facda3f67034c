"""A real Keycloak, as EGI Check-in is one, with a realm that mimics it.

It comes from Maven Central by the `mvn` of the machine, and is unpacked and built once into a cache outside of the
checkout; its database with all tables is kept there as well, which makes a start four times as quick. Each `Keycloak`
works on a copy of that database in a folder of its own.

    python -m tests.support.keycloak        # fill the cache; `make setup-test` does that
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.support.cache import cache_root
from tests.support.certificates import trusted
from tests.support.service import Service, free_ports, running_service

__all__ = ["REALM_FILE", "Keycloak", "KeycloakMissing", "federation_with", "prepare", "running_keycloak"]

VERSION = "26.0.8"
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
REALM_FILE = Path(__file__).parents[1] / "data" / "keycloak" / "realm.json"
CLIENT_ID = "notebooks"
CLIENT_SECRET = "secret-of-the-tests"

_ADMIN = "admin"
_START_SECONDS = 180
_JAVA = {
    # A server that lives for a minute is up sooner without the second compiler.
    "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1",
    "JAVA_OPTS_KC_HEAP": "-Xms128m -Xmx512m",
}


class KeycloakMissing(Exception):
    """It cannot be had on this machine; the message says why."""


def _cache() -> Path:
    return cache_root() / f"keycloak-{VERSION}"


def prepare() -> Path:
    """The folder of the built Keycloak, filled if it is not there yet; processes that start together wait for one.

    Raises
    ------
    KeycloakMissing
        If there is no Java or no Maven, or the download fails.
    """
    home = _cache()
    if (home / "complete").exists():
        return home
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing:
        raise KeycloakMissing(
            f"no {' and no '.join(missing)} is installed (on Debian as root, `make setup-test` does it)"
        )
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            _fetch(home)
            _build(home)
            (home / "complete").touch()
    return home


def _fetch(home: Path) -> None:
    with tempfile.TemporaryDirectory(dir=home.parent) as folder:
        artifact = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
        command = ["mvn", "-q", "-B", f"{PLUGIN}:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}",
                   "-Dmdep.useBaseVersion=true"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, check=False, text=True, cwd=folder, timeout=600)
        archives = list(Path(folder).glob("*.zip"))
        if done.returncode or not archives:
            raise KeycloakMissing(f"mvn could not fetch {artifact}: {done.stdout[-500:]}")
        with zipfile.ZipFile(archives[0]) as archive:
            archive.extractall(folder)
        shutil.move(Path(folder) / f"keycloak-{VERSION}", home)
    (home / "bin" / "kc.sh").chmod(0o755)


def _build(home: Path) -> None:
    options = ["--db=dev-file", "--http-relative-path=/auth", "--features-disabled=organization"]
    done = subprocess.run(
        [home / "bin" / "kc.sh", "build", *options], capture_output=True, check=False, text=True, timeout=600
    )
    if done.returncode:
        raise KeycloakMissing(f"kc.sh build failed: {done.stdout[-1000:]}")
    database = home / "database"
    database.mkdir()
    first = Keycloak(home, database, password=_template_password(home))
    try:
        first.start()
    finally:
        first.stop()


def _template_password(home: Path) -> str:
    """Of the administrator that the first start makes; made up once for each cache."""
    file = home / "admin-password"
    if not file.exists():
        file.touch(0o600)
        file.write_text(secrets.token_urlsafe(24))
    return file.read_text()


class Keycloak:
    """One server on loopback.

    Parameters
    ----------
    home
        Of the built Keycloak.
    data
        A folder for its database.
    password
        Of its administrator.
    tls
        Its certificate and key, for https.
    """

    def __init__(self, home: Path, data: Path, *, password: str, tls: tuple[Path, Path] | None = None) -> None:
        self._home = home
        self._data = data
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_ports(1)[0]
        self._tls = tls
        self.root = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/auth"
        self.issuer = f"{self.root}/realms/egi"
        self.log = data / "keycloak.log"
        self._client = httpx.Client(timeout=30, trust_env=False, verify=trusted())

    def start(self) -> None:
        """Start it and wait until it answers."""
        ways = ["--http-enabled=true", f"--http-port={self.port}"]
        if self._tls is not None:
            certificate, key = self._tls
            ways = [f"--https-certificate-file={certificate}", f"--https-certificate-key-file={key}",
                    f"--https-port={self.port}"]  # fmt: skip
        command = [self._home / "bin" / "kc.sh", "start", "--optimized", "--http-host=127.0.0.1",
                   "--hostname-strict=false", *ways]  # fmt: skip
        environment = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "JAVA_HOME", "LANG")},
            **_JAVA,
            "KC_CACHE": "local",
            "KC_DB_URL": f"jdbc:h2:file:{self._data / 'keycloak'};NON_KEYWORDS=VALUE;DB_CLOSE_ON_EXIT=FALSE",
            "KC_BOOTSTRAP_ADMIN_USERNAME": _ADMIN,
            "KC_BOOTSTRAP_ADMIN_PASSWORD": self._password,
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(httpx.HTTPError):
                if self._client.get(f"{self.root}/realms/master").status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(f"Keycloak did not start:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> None:
        """End it; its database stays, so that it can be started again."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(10)
        self._process = None

    # --- as its administrator ---------------------------------------------------------------------------------

    def admin(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Its administration API, below /admin/realms."""
        form = {"grant_type": "password", "client_id": "admin-cli", "username": _ADMIN, "password": self._password}
        token = self._client.post(f"{self.root}/realms/master/protocol/openid-connect/token", data=form)
        token.raise_for_status()
        headers = {"Authorization": f"Bearer {token.json()['access_token']}"}
        answer = self._client.request(method, f"{self.root}/admin/realms{path}", headers=headers, **options)
        assert answer.is_success, (method, path, answer.status_code, answer.text[:1000])
        return answer

    def load_realm(self) -> None:
        """Make the realm of `tests/data/keycloak/realm.json`, in place of one that is there."""
        realm = json.loads(REALM_FILE.read_text())
        if any(one["realm"] == realm["realm"] for one in self.admin("GET", "").json()):
            self.admin("DELETE", f"/{realm['realm']}")
        self.admin("POST", "", json=realm)

    def provider(self, **changes: Any) -> dict[str, Any]:
        """What an operator writes into federation.yaml for it."""
        return {
            "id": "check-in", "issuer": self.issuer, "title": "Check-in", "client_id": CLIENT_ID,
            "client_secret_file": "secrets/check_in", "subject_claim": "voperson_id",
            "owns_namespaces": ["urn:mace:egi.eu"],
        } | changes  # fmt: skip

    def register(self, base_url: str) -> None:
        """Let a hub sign people in and out: the addresses that the how-to names, and no others."""
        client = self.admin("GET", "/egi/clients", params={"clientId": CLIENT_ID}).json()[0]
        client["redirectUris"] = [base_url + "hub/oauth_callback"]
        client["attributes"]["post.logout.redirect.uris"] = base_url + "hub/signed-out"
        self.admin("PUT", f"/egi/clients/{client['id']}", json=client)

    def user(self, username: str) -> dict[str, Any]:
        """A user of the realm."""
        found = self.admin("GET", "/egi/users", params={"username": username, "exact": "true"}).json()
        return dict(found[0])

    def change(self, username: str, **attributes: list[str]) -> None:
        """Change attributes of a user; an empty list takes one away."""
        user = self.user(username)
        user["attributes"] = {**user.get("attributes", {}), **attributes}
        self.admin("PUT", f"/egi/users/{user['id']}", json=user)

    def revoke(self, username: str) -> None:
        """End all of a user's sessions: their tokens are taken no more."""
        self.admin("POST", f"/egi/users/{self.user(username)['id']}/logout")

    def sessions(self, username: str) -> int:
        """How many sessions a user has."""
        return len(self.admin("GET", f"/egi/users/{self.user(username)['id']}/sessions").json())


@contextlib.contextmanager
def running_keycloak(tls: tuple[Path, Path] | None = None) -> Iterator[Keycloak]:
    """A server, with https if it gets certificate and key, ended and removed afterwards; the realm is not there yet.

    Raises
    ------
    KeycloakMissing
        If it cannot be had here.
    """
    home = prepare()
    data = Path(tempfile.mkdtemp(prefix="nbfed-keycloak-"))
    try:
        for file in (home / "database").glob("*.db"):
            shutil.copy(file, data)
        keycloak = Keycloak(home, data, password=_template_password(home), tls=tls)
        try:
            keycloak.start()
            yield keycloak
        finally:
            keycloak.stop()
    finally:
        shutil.rmtree(data, ignore_errors=True)


@contextlib.contextmanager
def federation_with(keycloak: Keycloak, *, start: bool = True, **changes: Any) -> Iterator[Service]:
    """The whole service with this Keycloak, its only provider by default, registered there as the how-to says."""
    changes.setdefault("identity", {})
    changes["identity"] = {"providers": [keycloak.provider()], "roles": {}} | changes["identity"]
    changes.setdefault("tiers", {"T1": {"communities": ["urn:mace:egi.eu:group:vo.example.org"]}})
    with running_service(start=False, **changes) as service:
        secret = service.root / "secrets" / "check_in"
        secret.parent.mkdir()
        secret.write_text(CLIENT_SECRET)
        keycloak.register(service.base_url)
        if start:
            service.start()
        yield service


if __name__ == "__main__":
    try:
        print(f"Keycloak {VERSION} is in {prepare()}")
    except KeycloakMissing as missing:
        sys.exit(f"Keycloak {VERSION} cannot be had: {missing}")
