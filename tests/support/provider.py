"""An OpenID provider that tells the truth until a test says otherwise: what a real one cannot be made to show.

It asks nobody anything: whoever comes is the person of `claims`, and is sent back at once.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

__all__ = ["Provider", "running_provider"]

CLIENT_ID = "notebooks"
CLIENT_SECRET = "the-clients-secret"


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _honest(value: Any) -> Any:
    return value


@dataclass
class Provider:
    """What it says. Each `…_of` may change an answer on its way out; `reset` makes it honest again.

    Parameters
    ----------
    claims
        Of userinfo; the ID token has `sub` alone.
    id_claims_of, id_token_of
        Of the claims before they are signed; of the token afterwards.
    userinfo_of, token_answer_of, discovery_of
        Of these answers; a `(status, content)` is sent as it is.
    back_of
        Of the query with which the browser is sent back.
    issued
        Every code, token and state that passed: none of them may be found in a log.
    """

    issuer: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    key: rsa.RSAPrivateKey = field(default_factory=_key)
    issued: set[str] = field(default_factory=set)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    refresh_tokens: set[str] = field(default_factory=set)
    access_tokens: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Honest again, and about somebody new."""
        self.claims = {"sub": secrets.token_hex(32) + "@egi.eu", "name": "Inês Carvalho"}
        self.claims["voperson_id"] = self.claims["sub"]
        self.id_claims_of: Callable[[dict[str, Any]], dict[str, Any]] = _honest
        self.id_token_of: Callable[[str], Any] = _honest
        self.userinfo_of: Callable[[Any], Any] = _honest
        self.token_answer_of: Callable[[dict[str, Any]], Any] = _honest
        self.discovery_of: Callable[[dict[str, Any]], Any] = _honest
        self.back_of: Callable[[dict[str, str]], dict[str, str]] = _honest
        self.asked.clear()

    def revoke(self) -> None:
        """No token that was given out is taken any more."""
        self.access_tokens.clear()
        self.refresh_tokens.clear()

    # --- answers ------------------------------------------------------------------------------------------------

    def discovery(self) -> Any:
        endpoints = {f"{name}_endpoint": f"{self.issuer}/{name}" for name in ("authorization", "token", "userinfo")}
        return self.discovery_of({
            "issuer": self.issuer, **endpoints, "jwks_uri": f"{self.issuer}/jwks",
            "end_session_endpoint": f"{self.issuer}/logout",
            "scopes_supported": ["openid", "profile", "email", "voperson_id", "eduperson_entitlement"],
            "id_token_signing_alg_values_supported": ["RS256"], "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        })  # fmt: skip

    def jwks(self) -> Any:
        entry = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**entry, "kid": "one", "use": "sig", "alg": "RS256"}]}

    def authorization(self, query: dict[str, str]) -> str:
        code = self._new("code")
        self.codes[code] = query
        self.issued.add(query["state"])
        back = self.back_of({"code": code, "state": query["state"], "iss": self.issuer})
        return f"{query['redirect_uri']}?{urlencode(back)}"

    def token(self, form: dict[str, str], authorization: str) -> Any:
        expected = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if authorization != f"Basic {expected}":
            return 401, {"error": "invalid_client"}
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] not in self.refresh_tokens:
                return 400, {"error": "invalid_grant"}
            return self.token_answer_of(self._tokens({}))
        request = self.codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if request is None or challenge.decode() != request["code_challenge"]:
            return 400, {"error": "invalid_grant", "error_description": f"the code {form['code']} is not good"}
        return self.token_answer_of({**self._tokens(request), "id_token": self._id_token(request["nonce"])})

    def userinfo(self, authorization: str) -> Any:
        if authorization.removeprefix("Bearer ") not in self.access_tokens:
            return 401, {"error": "invalid_token"}
        return self.userinfo_of(dict(self.claims))

    def _tokens(self, _request: dict[str, str]) -> dict[str, Any]:
        access, refresh = self._new("access"), self._new("refresh")
        self.access_tokens.add(access)
        self.refresh_tokens.add(refresh)
        return {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": 60}

    def _id_token(self, nonce: str) -> Any:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT_ID, "sub": self.claims["sub"], "iat": now, "exp": now + 300,
                  "nonce": nonce}  # fmt: skip
        token = self.id_token_of(self.signed(self.id_claims_of(claims)))
        if isinstance(token, str) and token.count(".") == 2 and len(token) > 100:
            # Its signature as well: of a token in a log, that alone would do.
            self.issued |= {token, *filter(None, [token.rpartition(".")[2]])}
        return token

    def signed(self, claims: dict[str, Any], *, key: Any = None, algorithm: str = "RS256", kid: str = "one") -> str:
        """A token with these claims; by default with the key that is published."""
        return jwt.encode(claims, key or self.key, algorithm=algorithm, headers={"kid": kid})

    def _new(self, kind: str) -> str:
        value = f"{kind}-{secrets.token_urlsafe(24)}"
        self.issued.add(value)
        return value


class _Handler(BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        provider = self.provider
        provider.asked.append(path)
        if path == "/authorization":
            self._redirect(provider.authorization({name: values[0] for name, values in query.items()}))
        elif path == "/logout":
            self._redirect(query["post_logout_redirect_uri"][0])
        elif path == "/userinfo":
            self._answer(provider.userinfo(self.headers.get("Authorization", "")))
        elif path == "/jwks":
            self._answer(provider.jwks())
        elif path == "/.well-known/openid-configuration":
            self._answer(provider.discovery())
        else:
            self._answer((404, {}))

    def do_POST(self) -> None:
        self.provider.asked.append(self.path)
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        flat = {name: values[0] for name, values in form.items()}
        self._answer(self.provider.token(flat, self.headers.get("Authorization", "")))

    def _redirect(self, address: str) -> None:
        self.send_response(302)
        self.send_header("Location", address)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, answer: Any) -> None:
        status, content = answer if isinstance(answer, tuple) else (200, answer)
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"{self.provider.issuer}/elsewhere")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True  # who asked had enough

    def log_message(self, *_arguments: Any) -> None:
        """Nothing."""


@contextmanager
def running_provider(provider: Provider | None = None, port: int = 0) -> Iterator[Provider]:
    """It answers on loopback until the end of the block."""
    told = provider or Provider()
    server = ThreadingHTTPServer(("127.0.0.1", port), type("_One", (_Handler,), {"provider": told}))
    server.daemon_threads = True
    told.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
