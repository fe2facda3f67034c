"""A decision between the form and the store: what stands in the form at first, and what is read of it. Pure.

What a reviewer leaves as it stands is what was asked for, to the second.
"""

from dataclasses import dataclass

from federation.errors import Failure
from vetting.asking import Decision, DenialCode, Given
from vetting.desk.forms import Form
from vetting.desk.wishes import day_of, hours_of, read_end, read_hours
from vetting.errors import DENIAL_CODE_UNKNOWN
from vetting.requests import Request
from vetting.transitions import Event, State

__all__ = ["DecisionForm", "decision_form", "read_given", "typed_decision"]


@dataclass(frozen=True, kw_only=True)
class DecisionForm:
    """What stands in the fields, as text."""

    hours: str
    until: str
    sites: tuple[str, ...]
    words: str = ""
    private: str = ""
    code: str = ""
    no_conflict: bool = False
    answer: str = ""


def decision_form(request: Request) -> DecisionForm:
    """The form as it is first shown: all that is asked for, or what was decided already."""
    what = request.decision or request.asked
    return DecisionForm(hours=hours_of(what.amount_milli_unit_seconds), until=day_of(what.ends_at), sites=what.sites)


def typed_decision(form: Form) -> DecisionForm:
    """The form with what was typed."""
    return DecisionForm(
        hours=form.text("hours"),
        until=form.text("until"),
        sites=tuple(form.texts("site")),
        words=form.text("words"),
        private=form.text("private"),
        code=form.text("code"),
        no_conflict=bool(form.text("no_conflict")),
        answer=form.text("answer"),
    )


def read_given(request: Request, event: Event, form: Form) -> Given:
    """What comes with an event of a reviewer. Whether it may be is asked by the store.

    Raises
    ------
    Failure
        If an amount, a day or a code cannot be read.
    """
    decides = event is Event.APPROVE and request.state is not State.AWAITING_SECOND
    return Given(
        decision=_decision(request, form) if decides else None,
        code=_code(form.text("code")) if event is Event.DENY else None,
        text=form.text("words"),
        private=form.text("private"),
        no_conflict=bool(form.text("no_conflict")),
        amount_milli_unit_seconds=read_hours(form.text("hours")) if event is Event.REDUCE else 0,
    )


def _decision(request: Request, form: Form) -> Decision:
    asked = request.asked
    hours, until = form.text("hours"), form.text("until")
    as_asked = hours == hours_of(asked.amount_milli_unit_seconds)
    return Decision(
        ends_at=asked.ends_at if until == day_of(asked.ends_at) else read_end(until),
        amount_milli_unit_seconds=asked.amount_milli_unit_seconds if as_asked else read_hours(hours),
        sites=tuple(dict.fromkeys(form.texts("site"))),
    )


def _code(text: str) -> DenialCode | None:
    try:
        return DenialCode(text) if text else None
    except ValueError as error:
        raise Failure(DENIAL_CODE_UNKNOWN) from error
