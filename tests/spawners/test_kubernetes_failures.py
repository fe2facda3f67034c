"""What people are told when a pod cannot be had, by code and in their language."""

import pytest

from federation.i18n import LANGUAGES, use_language
from spawners.backends.base import Cause, Life, Observation
from spawners.backends.cluster import ClusterRefused
from spawners.backends.kubernetes_failures import Failures
from spawners.backends.pods import Trouble

FAILURES = Failures("The cloud", "Python", 600)
QUOTA = 'pods "nb-0190" is forbidden: exceeded quota: nbfed, requested: pods=1, used: pods=200, limited: pods=200'
SECURITY = 'pods "nb-0190" is forbidden: violates PodSecurity "restricted:latest"'


@pytest.mark.parametrize(
    ("trouble", "at_once", "in_the_end"),
    [
        (None, None, "no-answer-in-time"),
        (Trouble.IMAGE, "image-not-there", "no-answer-in-time"),
        (Trouble.BROKEN, "place-broken", "no-answer-in-time"),
        (Trouble.FULL, None, "no-room-in-time"),
        (Trouble.HOME, None, "home-not-there"),
    ],
)
def test_some_troubles_end_a_start_at_once_and_others_may_go_away(trouble, at_once, in_the_end) -> None:
    told = FAILURES.at_once(trouble)
    assert (told.problem.code if told else None) == at_once
    assert FAILURES.in_the_end(trouble).problem.code == in_the_end


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (None, "ended-before-answer"),
        (Cause.MEMORY, "memory-before-answer"),
        (Cause.EVICTED, "evicted-before-answer"),
    ],
)
def test_a_pod_that_ended_too_early(cause, code) -> None:
    assert FAILURES.ended(Observation(life=Life.ENDED, exit_code=1, cause=cause), "\n").problem.code == code


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [(403, QUOTA, "place-full"), (403, SECURITY, "place-broken"), (422, "port: Invalid value: 0", "place-broken")],
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refused_pod_is_told_without_what_the_cluster_said(status, message, code, language) -> None:
    failure = FAILURES.refused(ClusterRefused(status, message))
    assert failure.problem.code == code
    use_language(language)
    try:
        assert "The cloud" in failure.message
        assert "nb-0190" not in failure.message
        assert "forbidden" not in failure.message
    finally:
        use_language("en")


def test_a_cluster_that_is_away_says_when_to_try_again() -> None:
    assert FAILURES.away().retry_after_seconds == 60
