"""How people sign in to the access desk: by JupyterHub, whose service it is.

JupyterHub's own client does the talking (`HubOAuth`). Its way of remembering a sign-in that is under way is not used: it
is in the memory of one process.
"""

import re
import secrets
from typing import Any
from urllib.parse import urlencode

from jupyterhub.services.auth import HubOAuth
from tornado.web import HTTPError

from hub_config.settings import Settings
from vetting.desk.parts import PREFIX, Departure, HubAway, SignInFailed

__all__ = ["DESK_SCOPE", "SERVICE", "HubSignIn"]

SERVICE = "desk"
DESK_SCOPE = f"access:services!service={SERVICE}"
_SAME_SECONDS = 30
_BAD_GATEWAY = 502
_NO_ANSWER = "Failed to connect"
_STATE_BYTES = 18
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}")


class HubSignIn:
    """Answers `SignIn` for the desk of an installation. What the hub says of a token counts for half a minute."""

    def __init__(self, settings: Settings) -> None:
        self._auth = HubOAuth(
            api_token=settings.state.secret("desk_token"),
            api_url=f"{settings.hub_url}/hub/api",
            hub_host="",
            hub_prefix="/hub/",
            base_url=PREFIX,
            oauth_client_id=f"service-{SERVICE}",
            oauth_redirect_uri=f"{PREFIX}oauth_callback",
            cache_max_age=_SAME_SECONDS,
        )

    def begin(self) -> Departure:
        verifier, challenge, method = self._auth.generate_pkce_code_challenge()
        state = secrets.token_urlsafe(_STATE_BYTES)
        asked = urlencode({"state": state, "code_challenge": challenge, "code_challenge_method": method})
        return Departure(address=f"{self._auth.login_url}&{asked}", state=state, verifier=verifier)

    def finish(self, code: str, verifier: str) -> str:
        try:
            return str(self._auth.token_for_code(code, code_verifier=verifier))
        except HTTPError as error:
            raise _told(error) from error

    def user_name(self, token: str, session: str) -> str | None:
        if not _TOKEN.fullmatch(token) or not _TOKEN.fullmatch(session or "-"):
            return None  # no hub made it, and it should not get into a header
        try:
            found: dict[str, Any] | None = self._auth.user_for_token(token, session_id=session)
        except HTTPError as error:
            raise HubAway(str(error)) from error
        may_enter = found is not None and found.get("kind") == "user" and self._auth.check_scopes({DESK_SCOPE}, found)
        return str(found["name"]) if found is not None and may_enter else None


def _told(error: HTTPError) -> Exception:
    """Whether the hub said no to a code, or nothing: the client tells both as 500 (jupyterhub 6.1, services/auth.py)."""
    silent = error.status_code == _BAD_GATEWAY or str(error.log_message).startswith(_NO_ANSWER)
    return HubAway(str(error)) if silent else SignInFailed(str(error))
