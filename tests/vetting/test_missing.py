"""What is asked of a person, in words that they read."""

from datetime import UTC, datetime

import pytest

from federation.i18n import use_language
from vetting.eligibility import Check
from vetting.missing import describe, describe_all
from vetting.settings import Tier

UNTIL = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "field", [*sorted(set(Tier.model_fields) - {"needs", "any", "vetting"}), "tier", "review", "suspension"]
)
@pytest.mark.parametrize("language", ["en", "es", "pt"])
def test_each_field_has_words_in_each_language(field: str, language: str) -> None:
    use_language(language)
    try:
        words = describe(Check(field, "X", holds=False))
    finally:
        use_language("en")
    assert words
    assert "{" not in words


ALTERNATIVES = (
    (Check("assurance", "IAP/medium", holds=False),),
    (Check("assurance", "IAP/low", holds=True), Check("class_seat", "held", holds=False)),
)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        pytest.param(
            Check("any", "IAP/medium | IAP/low & held", holds=False, alternatives=ALTERNATIVES),
            "one of these: a sign-in that is vouched for better: IAP/medium; or a sign-in that is vouched for better: "
            "IAP/low, with a seat in a class",
            id="alternatives",
        ),
        pytest.param(
            Check("any", "x", holds=True, alternatives=(*ALTERNATIVES, (Check("mfa", "always", holds=True),))),
            "a sign-in with a second factor",
            id="the-alternative-that-holds",
        ),
        pytest.param(
            Check("assurance", "IAP/medium & IAP/low", holds=False, by=("IAP/low",)),
            "a sign-in that is vouched for better: IAP/medium & IAP/low",
            id="half-of-what-is-needed",
        ),
        pytest.param(
            Check("communities", "urn:a", holds=True, by=("urn:a:b", "urn:a:c")),
            "the membership urn:a:b, urn:a:c",
            id="a-membership-that-is-held",
        ),
        pytest.param(
            Check("affiliation", "staff, member", holds=True, by=("staff@a.org",)),
            "the affiliation staff@a.org",
            id="an-affiliation-that-is-held",
        ),
        pytest.param(
            Check("evidence", "recorded", holds=True, until=UNTIL),
            "evidence that the support team has recorded (until Dec 1, 2026, 12:00:00\u202fAM UTC)",
            id="evidence-that-ends",
        ),
        pytest.param(
            Check("terms", "accepted", holds=True, by=("1",), until=UNTIL),
            "your acceptance of the terms of use (of an earlier version; the present one must be accepted before "
            "Dec 1, 2026, 12:00:00\u202fAM UTC)",
            id="terms-in-the-days-of-grace",
        ),
    ],
)
def test_what_is_said(check: Check, words: str) -> None:
    assert describe(check) == words


def test_several_in_one_line() -> None:
    assert describe_all((Check("mapping", "accepted", holds=False), Check("mfa", "always", holds=False))) == (
        "the acceptance of the site; a sign-in with a second factor"
    )
    assert describe_all(()) == ""
