"""The mails about requests and about accounts at sites."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from federation.i18n import gettext, moment, ngettext
from federation.letters import Letter, LetterKind
from vetting.asking import Kind
from vetting.ends import Cause
from vetting.stopping import STOPPED
from vetting.words import about

__all__ = ["DIGEST", "ENDS", "MAPPING_KINDS", "REQUEST_KINDS", "STOPPED_KIND"]


def _(message: str) -> str:
    return message


_DESK = "services/desk/"
_SUBJECTS = {
    "request-received": _("Your request is here"),
    "request-question": _("A question about your request"),
    "request-answered": _("A request that you review was answered"),
    "request-approved": _("Your request is approved"),
    "request-denied": _("Your request is not approved"),
    "request-reduced": _("Your quota is reduced"),
    "request-suspended": _("Your access is suspended"),
    "request-restored": _("Your access is restored"),
    "request-expired": _("What you were given has ended"),
}
_PARAGRAPHS = {
    "request-received": [
        _("You asked for {about}. The support team looks at it and answers you by mail."),
        _("Until then you may go on with what you have."),
    ],
    "request-question": [
        _("You asked for {about}. Before that can be decided, the support team wants to know something."),
        _("Answer on the page of your request, which waits for it."),
    ],
    "request-answered": [_("The person who asked for {about} has answered your question.")],
    "request-approved": [
        _("The support team has approved {about}. It is yours within a few minutes."),
        _("A site where you get an account is asked as well; you are told when it has answered."),
    ],
    "request-denied": [
        _("You asked for {about}. The support team did not approve it, for the reason below."),
        _("You may ask again, with what was missing."),
    ],
    "request-reduced": [
        _("The support team has reduced what you were given. You now have {about}."),
        _("What runs keeps what it has set aside."),
    ],
    "request-suspended": [
        _(
            "The support team has suspended your access, for the reason below. Nothing can be started until it is restored."
        ),
        _("Your files and your quota stay. What runs ends with its lease."),
    ],
    "request-restored": [_("The support team has restored your access. You may start sessions again.")],
    "request-expired": [
        _("What you were given has ended: {about}. Your files are kept."),
        _("If you need it again, ask for it."),
    ],
}
_ENDS = {
    Cause.GRANT: _("What you were given ends on {until}. If you need it for longer, ask the support team in time."),
    Cause.MEMBERSHIP: _(
        "Your provider does not say any more that you are a member of a community, so what you were given ends on {until}. "
        "Renew your membership; then it goes on."
    ),
    Cause.MAPPING: _("Your account at the site ends on {until}, and with it what you were given."),
    Cause.CLASS: _("The class ends on {until}, and with it what you were given."),
}
_MAPPINGS = {
    "mapping-accepted": (
        _("{site} has accepted you"),
        _("{site} has accepted you: sessions there run under the account {account}."),
    ),
    "mapping-refused": (
        _("{site} has not accepted you"),
        _("{site} has not accepted you, for the reason below. All other sites stay as they are."),
    ),
    "mapping-ended": (
        _("Your account at {site} has ended"),
        _("Your account {account} at {site} has ended, for the reason below. What runs there ends with its lease."),
    ),
    "site-answer": (
        _("{site} has refused somebody whom you approved"),
        _(
            "{site} has refused the account {account}, for the reason below. The request stays active without this site."
        ),
    ),
}


_STOPPED = _(
    "The support team has stopped what ran of yours, and has suspended your access, for the reason below. Nothing can be "
    "started until it is restored."
)
_STAYS = _("Your files and your quota stay. If you think that this is a mistake, write to support.")


def _request_letter(kind: str) -> Callable[[Mapping[str, Any]], Letter]:
    def write(figures: Mapping[str, Any]) -> Letter:
        what = _about(figures)
        return Letter(
            subject=gettext(_SUBJECTS[kind]),
            paragraphs=tuple(gettext(text).format(about=what) for text in _PARAGRAPHS[kind]),
            words=str(figures.get("words", "")),
            path=f"{_DESK}{'review' if kind == 'request-answered' else 'requests'}/{figures['request']}",
        )

    return write


def _mapping_letter(kind: str) -> Callable[[Mapping[str, Any]], Letter]:
    subject, text = _MAPPINGS[kind]

    def write(figures: Mapping[str, Any]) -> Letter:
        named = {"site": figures["site"], "account": figures["account"]}
        return Letter(
            subject=gettext(subject).format(**named), paragraphs=(gettext(text).format(**named),),
            words=str(figures.get("words", "")), path="hub/access",
        )  # fmt: skip

    return write


def _ends_letter(figures: Mapping[str, Any]) -> Letter:
    days, until = int(figures["days"]), moment(datetime.fromisoformat(figures["ends_at"]))
    subject = ngettext("{days} day left of what you were given", "{days} days left of what you were given", days)
    text = gettext(_ENDS[Cause(figures["cause"])])
    return Letter(subject=subject.format(days=days), paragraphs=(text.format(until=until),), path="hub/access")


def _digest_letter(figures: Mapping[str, Any]) -> Letter:
    waiting, late = int(figures["waiting"]), int(figures["late"])
    paragraphs = [gettext(_("The list of requests shows them, those first that are due first."))]
    if late:
        text = ngettext("{late} of them is late.", "{late} of them are late.", late)
        paragraphs.insert(0, text.format(late=late))
    subject = ngettext("{waiting} request waits for a reviewer", "{waiting} requests wait for a reviewer", waiting)
    return Letter(subject=subject.format(waiting=waiting), paragraphs=tuple(paragraphs), path=f"{_DESK}queue")


def _stopped_letter(figures: Mapping[str, Any]) -> Letter:
    return Letter(
        subject=gettext(_("Your sessions were stopped")),
        paragraphs=(gettext(_STOPPED), gettext(_STAYS)),
        words=str(figures["words"]),
        path="hub/access",
    )


def _about(figures: Mapping[str, Any]) -> str:
    return about(
        Kind(figures["about"]),
        tier=figures["tier"],
        amount_milli_unit_seconds=figures["amount_milli_unit_seconds"],
        ends_at=datetime.fromisoformat(figures["ends_at"]),
        sites=figures["sites"],
    )


_REQUEST = {
    "request": "019ab000-0000-7000-8000-000000000000", "about": "quota", "tier": "",
    "amount_milli_unit_seconds": 1_800_000_000, "ends_at": "2027-03-02T00:00:00+00:00",
    "sites": [], "words": "Which data do you need there?\nAnd for how long?",
}  # fmt: skip
_MAPPING = {"site": "hpc", "account": "ana", "words": "No project of yours is known here."}

REQUEST_KINDS = tuple(LetterKind(kind, _request_letter(kind), _REQUEST) for kind in _SUBJECTS)
ENDS = LetterKind("request-ends", _ends_letter, {"days": 14, "ends_at": "2027-03-02T00:00:00+00:00", "cause": "grant"})
STOPPED_KIND = LetterKind(
    STOPPED, _stopped_letter, {"words": "Your session takes part in an attack on other machines."}
)
DIGEST = LetterKind("request-digest", _digest_letter, {"waiting": 4, "late": 1})
MAPPING_KINDS = tuple(LetterKind(kind, _mapping_letter(kind), _MAPPING) for kind in _MAPPINGS)
