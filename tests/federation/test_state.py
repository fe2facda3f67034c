"""The state folder: secrets are made once and are their owner's alone, whoever starts when."""

import multiprocessing
import os
import re
import stat
from collections.abc import Iterator
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from federation.state import StateFolder

PROCESSES = 4
ROUNDS = 40


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "deep" / "run")


@pytest.fixture(autouse=True, params=[0o022, 0o000, 0o077], ids=["umask-022", "umask-000", "umask-077"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever the account's umask is."""
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nothing_is_made_before_it_is_asked_for(state: StateFolder) -> None:
    assert not state.root.exists()


def test_folders_are_made_with_their_modes(state: StateFolder) -> None:
    assert (mode(state.logs), mode(state.homes), mode(state.sessions)) == (0o700, 0o711, 0o711)
    assert mode(state.root) == 0o711
    state.secret("x")
    assert mode(state.root / "secrets") == 0o700


@pytest.mark.parametrize("name", ["federation_database", "hub_database", "lock"])
def test_asking_for_a_file_makes_its_folder_and_not_the_file(state: StateFolder, name: str) -> None:
    path: Path = getattr(state, name)
    assert path.parent == state.root
    assert state.root.is_dir()
    assert not path.exists()


def test_a_folder_with_another_mode_is_put_right(state: StateFolder) -> None:
    folder = state.root / "secrets"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    state.secret("x")
    assert mode(folder) == 0o700


def test_a_relative_root_does_not_move_with_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = StateFolder(Path("run"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert state.logs == tmp_path / "run" / "logs"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("/somewhere/else", "/somewhere/else", id="named"),
        pytest.param("", "run", id="empty"),
        pytest.param(None, "run", id="not-set"),
    ],
)
def test_the_environment_names_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NBFED_HOME", raising=False) if value is None else monkeypatch.setenv("NBFED_HOME", value)
    assert StateFolder.from_environment().root == tmp_path / expected


# --- secrets ------------------------------------------------------------------------------------------------


def test_a_secret_is_long_random_and_its_owners_alone(state: StateFolder) -> None:
    secret = state.secret("cookie_secret")
    assert re.fullmatch("[0-9a-f]{64}", secret)
    assert secret != state.secret("proxy_token")
    assert mode(state.root / "secrets" / "cookie_secret") == 0o600


def test_a_secret_is_made_once(state: StateFolder) -> None:
    assert state.secret("x") == state.secret("x") == StateFolder(state.root).secret("x")
    assert [path.name for path in (state.root / "secrets").iterdir()] == ["x"]


def test_a_secret_has_as_many_bytes_as_are_asked_for(state: StateFolder) -> None:
    assert len(state.secret("x", hexadecimal_bytes=16)) == 32


def test_a_secret_that_somebody_wrote_is_kept(state: StateFolder) -> None:
    folder = state.root / "secrets"
    folder.mkdir(parents=True)
    (folder / "x").write_text("  mine\n")
    assert state.secret("x") == "mine"


@pytest.mark.parametrize("content", ["", "\n", "  "])
def test_an_empty_secret_is_refused(state: StateFolder, content: str) -> None:
    folder = state.root / "secrets"
    folder.mkdir(parents=True)
    (folder / "x").write_text(content)
    with pytest.raises(OSError, match=r"secrets/x is empty; remove the file, and a new one is made$"):
        state.secret("x")


def test_the_environment_comes_first_and_leaves_nothing_on_disk(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk = state.secret("worker_token")
    monkeypatch.setenv("NBFED_WORKER_TOKEN", "from-the-environment")
    assert state.secret("worker_token") == "from-the-environment"
    monkeypatch.setenv("NBFED_PROXY_TOKEN", "another")
    assert state.secret("proxy_token") == "another"
    assert not (state.root / "secrets" / "proxy_token").exists()
    monkeypatch.setenv("NBFED_WORKER_TOKEN", "")
    assert state.secret("worker_token") == on_disk


def make_secrets(root: Path) -> list[str]:
    found = []
    for number in range(ROUNDS):
        _together.wait(30)
        found.append(StateFolder(root).secret(f"secret_{number}"))
    return found


def remember_barrier(barrier: Barrier) -> None:
    global _together  # noqa: PLW0603 - each process of the pool has one
    _together = barrier


_together: Barrier


def test_of_processes_that_start_together_all_have_the_same_whole_secret(state: StateFolder) -> None:
    context = multiprocessing.get_context("fork")
    with Pool(PROCESSES, remember_barrier, (context.Barrier(PROCESSES),), context=context) as pool:
        found = pool.map(make_secrets, [state.root] * PROCESSES, chunksize=1)
    assert all(secrets == found[0] for secrets in found)
    assert all(re.fullmatch("[0-9a-f]{64}", secret) for secret in found[0])
    assert len(set(found[0])) == ROUNDS
    assert len(list((state.root / "secrets").iterdir())) == ROUNDS
