"""A refusal as JupyterHub can show it: on the form, on the pending page, in the progress stream and over REST.

JupyterHub reads a message from different attributes in different places (`format_exception` in jupyterhub/utils.py,
`write_error` in handlers/base.py and apihandlers/base.py); all of them are set here, once.
"""

from collections.abc import Mapping
from html import escape
from urllib.parse import urlencode

from jupyterhub.spawner import SpawnException
from prometheus_client import Counter

from federation.errors import Failure
from federation.i18n import gettext

__all__ = ["Refusal"]


REFUSALS = Counter("nbfed_refusals", "Refusals that people got from this hub, by the code of the reason.", ["code"])
"""In the registry that JupyterHub shows at /hub/metrics."""


class Refusal(SpawnException):  # type: ignore[misc]  # jupyterhub has no types
    """A failure of the catalogue, raised through JupyterHub.

    Parameters
    ----------
    failure
        What happened, with its figures.
    ask_url
        Where the person can ask for more or for help; the problem's code is added as `?about=`.
    asked
        What was refused, for the form there: a flavour, a site.
    """

    def __init__(self, failure: Failure, ask_url: str, asked: Mapping[str, str] | None = None) -> None:
        message = failure.message
        reference = gettext("Reference: {reference}").format(reference=failure.reference) if failure.reference else ""
        query = urlencode({"about": failure.problem.code, **(asked or {})})
        link = f'<a href="{escape(f"{ask_url}?{query}")}">{escape(gettext("Where to ask"))}</a>'
        html = " ".join(part for part in (escape(message), link, f"<small>{escape(reference)}</small>") if part)
        plain = f"{message} {reference}".strip()
        # The reason becomes the HTTP phrase and a Prometheus label: a stable code without numbers.
        super().__init__(
            plain,
            reason=failure.problem.code,
            log_message=f"{failure} {reference}".strip().replace("%", "%%"),
            message_html=html,
            status_code=failure.problem.status,
        )
        REFUSALS.labels(failure.problem.code).inc()
        self.failure = failure
        self.jupyterhub_message = plain
        self.jupyterhub_html_message = html
        self.headers = {"Retry-After": str(failure.retry_after_seconds)} if failure.retry_after_seconds else {}
