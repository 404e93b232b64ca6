"""A stand-in for an OpenID provider: where the people of the demo and of the tests sign in to the console.

It does the code flow with PKCE as OpenID Connect Core 1.0 and RFC 7636 have it: discovery, keys, `/authorize`, `/token`, ID tokens with
RS256; a code works once, for a minute, for the client, the address and the verifier that it was made for. It does **not** ask who somebody
is: whoever opens `/authorize` picks one of its people. It has no passwords, consent, refresh tokens, user info, sign-out, and one client.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qsl, urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

#: Seconds for which a code works, and an ID token holds.
_CODE_SECONDS, _TOKEN_SECONDS = 60, 300

_PAGE = Markup(
    "<!doctype html><html lang=en><title>Sign in</title><meta name=viewport content='width=device-width'>"
    "<h1>Who are you?</h1><p>A stand-in for your sign-in: it asks for no password.</p><ul>{}</ul></html>"
)
_PERSON = Markup("<li><a href='{}'>{}</a> ({})</li>")


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody who may sign in: a name, and groups."""

    name: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Code:
    person: Person
    redirect_uri: str
    challenge: str
    nonce: str
    until: float


@dataclass(kw_only=True)
class Provider:
    """The provider, as an ASGI application at `app`.

    Attributes:
        issuer: What it calls itself; its addresses lie below.
        client_id: Its one client.
        client_secret: What that proves itself by.
        redirect_uri: The one address that codes are sent to.
        people: Who may sign in.
        changed: What a test has it say otherwise in an ID token.
        key: What it signs with; another than the one that it publishes is a forger's.
    """

    issuer: str
    client_id: str
    client_secret: str
    redirect_uri: str
    people: Sequence[Person]
    changed: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"}))
    _codes: dict[str, _Code] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._published = self.key
        self.app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._configuration),
                Route("/keys", self._keys),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
            ]
        )

    async def _configuration(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            }
        )

    async def _keys(self, _: Request) -> Response:
        return JSONResponse({"keys": [self._published.as_dict(private=False)]})

    async def _authorize(self, request: Request) -> Response:
        """A page of its people; with `login_hint`, back at once as that one."""
        asked = request.query_params
        if asked.get("client_id") != self.client_id or asked.get("redirect_uri") != self.redirect_uri:
            return HTMLResponse("This client, or its address, is not known here.", 400)
        wrong = asked.get("response_type") != "code" or asked.get("code_challenge_method") != "S256" or not asked.get("code_challenge")
        if wrong or "openid" not in asked.get("scope", "").split():
            return self._back(asked, error="invalid_request")
        chosen = next((person for person in self.people if person.name == asked.get("login_hint")), None)
        if chosen is None:
            people = [(f"/authorize?{urlencode({**asked, 'login_hint': person.name})}", person) for person in self.people]
            rows = Markup("").join(_PERSON.format(where, person.name, ", ".join(person.groups)) for where, person in people)
            return HTMLResponse(_PAGE.format(rows))
        code = token_urlsafe(24)
        until = time.monotonic() + _CODE_SECONDS
        self._codes[code] = _Code(
            person=chosen, redirect_uri=self.redirect_uri, challenge=asked["code_challenge"], nonce=asked.get("nonce", ""), until=until
        )
        return self._back(asked, code=code)

    def _back(self, asked: Mapping[str, str], **answer: str) -> Response:
        return RedirectResponse(f"{self.redirect_uri}?{urlencode({**answer, 'state': asked.get('state', '')})}", 303)

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        given = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        if not hmac.compare_digest(request.headers.get("Authorization", ""), f"Basic {given}"):
            return JSONResponse({"error": "invalid_client"}, 401)
        code = self._codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).decode().rstrip("=")
        right = code is not None and challenge == code.challenge and form.get("redirect_uri") == code.redirect_uri
        if code is None or not right or code.until < time.monotonic():
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": hashlib.sha256(code.person.name.encode()).hexdigest()[:16],
            "aud": self.client_id,
            "iat": now,
            "exp": now + _TOKEN_SECONDS,
            "nonce": code.nonce,
            "preferred_username": code.person.name,
            "groups": list(code.person.groups),
        }
        token = jwt.encode({"alg": "RS256", "kid": "1"}, self.changed(claims), self.key)
        return JSONResponse({"access_token": token_urlsafe(16), "token_type": "Bearer", "expires_in": _TOKEN_SECONDS, "id_token": token})
