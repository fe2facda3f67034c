"""Forms as browsers send them, read within bounds."""

from urllib.parse import parse_qs

from starlette.requests import Request

from federation.errors import Failure
from vetting.errors import DESK_FORM_FOREIGN, REQUEST_UNFIT

__all__ = ["Form", "read_form"]

_TYPE = "application/x-www-form-urlencoded"
_MOST_FIELDS = 300


class Form:
    """The fields of a form. Lines end as in the rest of the world, and nothing stands around a text."""

    def __init__(self, fields: dict[str, list[str]]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        """The field of this name, or the first of them; "" where there is none."""
        return self.texts(name)[0] if name in self._fields else ""

    def texts(self, name: str) -> list[str]:
        """All fields of this name: boxes that are ticked, for instance."""
        return [value.replace("\r\n", "\n").strip() for value in self._fields.get(name, [])]


async def read_form(request: Request) -> Form:
    """The form that a request brings; read once, however often it is asked for.

    Raises
    ------
    Failure
        If it is no form as our pages have them, or not UTF-8.
    """
    kept: Form | None = getattr(request.state, "form", None)
    if kept is not None:
        return kept
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise Failure(DESK_FORM_FOREIGN)
    try:
        content = (await request.body()).decode("ascii")
        fields = parse_qs(content, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError as error:  # UnicodeDecodeError is one
        raise Failure(REQUEST_UNFIT) from error
    if any("\0" in value for values in fields.values() for value in values):
        raise Failure(REQUEST_UNFIT)
    form: Form = Form(fields)
    request.state.form = form
    return form
