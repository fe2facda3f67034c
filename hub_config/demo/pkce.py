"""PKCE (RFC 7636, S256) for the demo sign-in, whose protocol library leaves it out: a code is good only for whoever
began, once, and a code that was begun without a challenge is good for nobody.
"""

import base64
import hashlib
import hmac
from urllib.parse import parse_qs, urlsplit

import flask
from flask.typing import ResponseReturnValue

__all__ = ["CodeChallenges"]


class CodeChallenges:
    """The challenges of codes that were given out; in memory, as the codes are.

    Parameters
    ----------
    authorize, token
        Names of the endpoints that give out codes and take them.
    """

    def __init__(self, *, authorize: str, token: str) -> None:
        self._authorize = authorize
        self._token = token
        self._challenges: dict[str, str] = {}

    def remember(self, response: flask.Response) -> flask.Response:
        """After a request: what the code that is given out must be shown with."""
        request = flask.request
        if request.endpoint == self._authorize and request.method == "POST" and response.location:
            codes = parse_qs(urlsplit(response.location).query).get("code", [])
            challenges = request.values.getlist("code_challenge")
            if len(codes) == len(challenges) == 1 and request.values.get("code_challenge_method") == "S256":
                self._challenges[codes[0]] = challenges[0]
        return response

    def check(self) -> ResponseReturnValue | None:
        """Before a request: a code that comes without its verifier is refused, and used up."""
        form = flask.request.form
        if flask.request.endpoint != self._token or form.get("grant_type") != "authorization_code":
            return None
        expected = self._challenges.pop(form.get("code", ""), "")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        told = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if hmac.compare_digest(told.encode(), expected.encode()):
            return None
        return flask.jsonify({"error": "invalid_grant"}), 400
