"""What people read while a session waits, and why it runs where it does."""

from concurrent.futures import Future
from datetime import UTC, datetime

import pytest
from jupyterhub.spawner import Spawner

from federation.i18n import use_language
from federation.settings import LocalSite
from hub_config.pages.handlers import is_starting
from hub_config.pages.waiting import reason_text, waiting, why_not_elsewhere
from spawners.backends.child import Wait

SOON = datetime(2026, 11, 25, tzinfo=UTC)
SITES = {"here": LocalSite.model_validate({"kind": "local", "title": {"en": "Here", "es": "Aquí"}, "flavours": ["x"]})}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param("Priority", "Jobs of others go first", id="priority"),
        pytest.param("Resources", "It is next", id="resources"),
        pytest.param("ReqNodeNotAvail, UnavailableNodes:c1", "down, or reserved", id="with-nodes-behind-it"),
        pytest.param("QOSMaxJobsPerUserLimit", "As much runs", id="limit-of-a-qos"),
        pytest.param("AssocGrpCpuLimit", "As much runs", id="limit-of-an-association"),
        pytest.param("SomethingNew", "The batch system says: SomethingNew.", id="a-word-that-we-do-not-know"),
        pytest.param("None", "", id="none"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_a_scheduler_s_word_is_told_in_words(code: str, words: str) -> None:
    assert words in reason_text(code)
    assert bool(reason_text(code)) == bool(words)


def test_an_estimate_is_told_with_the_moment_for_the_reader_s_zone() -> None:
    assert waiting(Wait(reason="Priority", expected_start_at=SOON)) == (
        "Jobs of others go first. It is expected to start at {time}.",
        SOON,
    )
    assert waiting(Wait(reason="Priority")) == ("Jobs of others go first.", None)
    assert waiting(None) == ("", None)


def test_a_silent_site_is_named_as_such_and_not_as_a_wait_of_the_scheduler() -> None:
    text, moment = waiting(Wait(reason="Priority", silent=True))
    assert ("keeps its place" in text, moment) == (True, None)


def test_a_site_cannot_put_a_placeholder_or_control_characters_into_a_page() -> None:
    text, _ = waiting(Wait(reason="{time}\x1b[31m{0}", expected_start_at=SOON))
    assert text.count("{") == 1
    assert "\x1b" not in text


def test_why_a_session_is_not_elsewhere_is_told_in_the_reader_s_language() -> None:
    kept = [
        {"site": "cloud"},
        {"site": "here", "code": "site-not-open", "figures": {"site": "Here"}},
        {"site": "gone", "code": "site-not-open", "figures": {"site": "A site of before"}},
        {"site": "here", "code": "a-code-of-before", "figures": {}},
    ]
    use_language("es")
    try:
        spanish = why_not_elsewhere(kept, SITES)
    finally:
        use_language("en")
    english = why_not_elsewhere(kept, SITES)
    assert english == [
        "Here takes no sessions at the moment: it is not certified.",
        "A site of before takes no sessions at the moment: it is not certified.",
    ]
    assert spanish[0].startswith("Aquí")


def test_a_start_that_failed_is_not_over_before_its_failure_can_be_told() -> None:
    """JupyterHub stops what failed before it keeps the failure, and people look at the page meanwhile."""
    spawner, failed = Spawner(), Future[None]()
    spawner._spawn_pending, spawner._spawn_future = True, failed
    assert is_starting(spawner)
    spawner._spawn_pending, spawner._stop_pending = False, True  # as User.stop sets them
    assert is_starting(spawner)
    spawner._stop_pending = False
    failed.set_exception(RuntimeError("no"))
    assert not is_starting(spawner)
    assert spawner._failed


def test_a_session_that_is_stopped_is_not_starting() -> None:
    spawner = Spawner()
    spawner._stop_pending = True
    assert not is_starting(spawner)
