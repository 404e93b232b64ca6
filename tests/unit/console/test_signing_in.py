"""Signing in by OpenID Connect: what a browser brings back, and what a provider or a thief may try."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import httpx2
import pytest
from fastapi import FastAPI
from joserfc.jwk import RSAKey

from flows.console.access.oidc import SignIn
from flows.console.access.sessions import cookie_name
from flows.console.access.signing_in import own_path
from flows.console.settings import OidcSettings
from sandbox.oidc import Person, Provider
from tests.support.console import SETTINGS, URL, Asking, console, cookie_of, folder

ISSUER = "https://login.test"
OIDC = OidcSettings(issuer=ISSUER, client_id="slipway", client_secret="the client's secret")
SESSION, SIGN_IN = cookie_name(SETTINGS, "session"), cookie_name(SETTINGS, "sign-in")


class NoRegistry:
    """A registry that remembers sessions that ended, and nothing else."""

    def __init__(self) -> None:
        self.ended: set[str] = set()
        self.access = self

    def is_ended(self, digest: str) -> bool:
        return digest in self.ended

    def end_session(self, digest: str, _: object) -> None:
        self.ended.add(digest)


@dataclass
class World:
    """A console, its provider, and a browser."""

    provider: Provider
    app: FastAPI
    browser: Asking

    def begin(self, path: str = "/sign-in") -> str:
        """Where the provider is asked."""
        return self.browser.get(path).headers["location"]

    def at_provider(self, where: str, name: str = "ada") -> str:
        """What the provider sends the browser back to."""
        transport = httpx2.ASGITransport(self.provider.app)

        async def ask() -> httpx2.Response:
            async with httpx2.AsyncClient(transport=transport) as client:
                return await client.get(where, params={**parse_qs_flat(where), "login_hint": name})

        return str(asyncio.run(ask()).headers["location"]).removeprefix(URL)

    def sign_in(self, name: str = "ada") -> httpx.Response:
        return self.browser.get(self.at_provider(self.begin(), name))


def parse_qs_flat(where: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(where).query).items()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    people = [Person(name="ada", groups=("on-call", "unknown")), Person(name="vera")]
    provider = Provider(
        issuer=ISSUER, client_id="slipway", client_secret="the client's secret", redirect_uri=f"{URL}/sign-in/callback", people=people
    )
    app = console(folder(tmp_path), NoRegistry(), provider=httpx2.ASGITransport(provider.app), oidc=OIDC, proxies=(), proxy_secret=None)
    return World(provider=provider, app=app, browser=Asking(app))


def test_somebody_signs_in_and_is_who_the_provider_says(world: World) -> None:
    answer = world.sign_in()

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = next(value for value in answer.headers.get_list("set-cookie") if value.startswith(SESSION))
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/", "Max-Age=28800"} <= {part.strip() for part in cookie.split(";")}
    told = world.browser.get("/api/v1/me").json()
    assert (told["name"], told["how"]) == ("ada", "session")
    assert {grant["role"] for grant in told["grants"]} == {"admin", "operator"}


def test_the_flow_has_a_challenge_a_state_and_a_nonce(world: World) -> None:
    asked = parse_qs_flat(world.begin())

    assert (asked["code_challenge_method"], asked["response_type"]) == ("S256", "code")
    assert len(asked["code_challenge"]) == 43
    assert len(asked["state"]) >= 20
    assert len(asked["nonce"]) >= 20


def test_after_the_sign_in_one_is_where_one_wanted_to_be(world: World) -> None:
    where = world.at_provider(world.begin("/sign-in?next=/models/tiny-llama"))

    assert world.browser.get(where).headers["location"] == "/models/tiny-llama"


@pytest.mark.parametrize(
    "path", ["//evil.test", "/\\evil.test", "https://evil.test", "javascript:alert(1)", "/\t/evil.test", "/a\r\nX: y", ""]
)
def test_after_the_sign_in_nobody_is_elsewhere(path: str) -> None:
    assert own_path(path) == "/"


def test_another_browsers_answer_is_none(world: World) -> None:
    where = world.at_provider(world.begin())

    assert Asking(world.app).get(where).status_code == 400


def test_an_answer_for_another_state_is_none(world: World) -> None:
    world.begin()
    old = world.at_provider(world.begin())
    world.begin()

    assert world.browser.get(old).status_code == 400


def test_an_answer_works_once(world: World) -> None:
    where = world.at_provider(world.begin())
    before = world.browser.client.cookies[SIGN_IN]
    first = world.browser.get(where)
    thief = Asking(world.app)
    thief.client.cookies.set(SIGN_IN, before)

    assert first.status_code == 303
    assert world.browser.get(where).status_code == 400
    assert thief.get(where).status_code == 403  # the provider takes no code twice


def forged(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda claims: {name: value for name, value in {**claims, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    "changed",
    [
        forged(iss="https://evil.test"),
        forged(aud="another client"),
        forged(aud=["another client", "third"]),
        forged(aud="another client", azp="slipway"),
        forged(aud=None),
        forged(nonce="another"),
        forged(nonce=None),
        forged(exp=1),
        forged(exp=None),
        forged(preferred_username=None),
        forged(preferred_username="x"),
        forged(preferred_username="ada\nadmin"),
        forged(preferred_username=["ada"]),
    ],
)
def test_a_token_that_is_not_for_us_signs_nobody_in(world: World, changed: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    world.provider.changed = changed

    answer = world.sign_in()

    assert answer.status_code in (403, 502)
    assert not cookie_of(answer, SESSION)


def test_a_token_that_another_signed_signs_nobody_in(world: World) -> None:
    world.provider.key = RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"})

    answer = world.sign_in()

    assert answer.status_code in (403, 502)
    assert not cookie_of(answer, SESSION)


def test_a_provider_of_another_name_is_not_believed(world: World) -> None:
    world.provider.issuer = "https://evil.test"

    assert world.browser.get("/sign-in").status_code == 502


def test_an_address_that_nobody_verified_says_nothing(tmp_path: Path, world: World) -> None:
    world.app.state.sign_in._settings = replace(OIDC, name_claim="email")
    world.provider.changed = forged(email="ada@test", email_verified=False)

    assert world.sign_in().status_code == 403


def test_a_session_that_was_there_before_is_replaced(world: World) -> None:
    world.sign_in("vera")
    planted = world.browser.client.cookies[SESSION]

    world.sign_in("ada")

    assert world.browser.client.cookies[SESSION] != planted
    assert world.browser.get("/api/v1/me").json()["name"] == "ada"


def test_a_copied_session_ends_with_the_sign_out(world: World) -> None:
    world.sign_in()
    thief = Asking(world.app)
    thief.client.cookies.set(SESSION, world.browser.client.cookies[SESSION])
    assert thief.get("/api/v1/me").status_code == 200
    token = world.browser.get("/api/v1/me").json()["csrf"]

    answer = world.browser.post("/sign-out", headers={"X-CSRF-Token": token})

    assert answer.status_code == 303
    assert thief.get("/api/v1/me").status_code == 401
    assert world.browser.get("/api/v1/me").status_code == 401


def test_another_site_can_sign_nobody_out(world: World) -> None:
    world.sign_in()

    assert world.browser.post("/sign-out", headers={"Origin": "https://evil.test"}).status_code == 403
    assert world.browser.get("/api/v1/me").status_code == 200


def test_a_session_is_worth_nothing_when_its_time_is_up_or_it_was_made_elsewhere(world: World) -> None:
    world.sign_in()
    good = world.browser.client.cookies[SESSION]
    world.app.state.settings = replace(world.app.state.settings, session_hours=-1)
    assert world.browser.get("/api/v1/me").status_code == 401
    world.app.state.settings = replace(world.app.state.settings, session_hours=8)

    for cookie in ("", "x", good[:-4] + "AAAA", good[::-1]):
        thief = Asking(world.app)
        thief.client.cookies.set(SESSION, cookie)
        assert thief.get("/api/v1/me").status_code == 401


def test_what_was_sealed_for_another_purpose_is_no_session(world: World) -> None:
    world.begin()
    thief = Asking(world.app)
    thief.client.cookies.set(SESSION, world.browser.client.cookies[SIGN_IN])

    assert thief.get("/api/v1/me").status_code == 401


def test_two_replicas_share_keys_alone(world: World, tmp_path: Path) -> None:
    other = console(
        folder(tmp_path), NoRegistry(), provider=httpx2.ASGITransport(world.provider.app), oidc=OIDC, proxies=(), proxy_secret=None
    )
    where = world.at_provider(world.begin())
    second = Asking(other)
    second.client.cookies.set(SIGN_IN, world.browser.client.cookies[SIGN_IN])

    assert second.get(where).status_code == 303
    assert second.get("/api/v1/me").json()["name"] == "ada"


@dataclass
class Saying(httpx2.AsyncBaseTransport):
    """A provider that answers something else at one of its addresses."""

    provider: Provider
    path: str
    content: bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == self.path:
            return httpx2.Response(200, content=self.content, headers={"Content-Type": "application/json"})
        return await httpx2.ASGITransport(self.provider.app).handle_async_request(request)


CONFIGURATION = "/.well-known/openid-configuration"
UNSIGNED = b'{"access_token": "x", "token_type": "Bearer", "userinfo": {"preferred_username": "ada", "iss": "https://login.test"}}'


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (CONFIGURATION, b"[]"),
        (CONFIGURATION, b"null"),
        (CONFIGURATION, b"<html>"),
        (CONFIGURATION, b"[" * 100_000),
        (CONFIGURATION, b'{"issuer": "https://login.test", "authorization_endpoint": 1}'),
        ("/keys", b"[]"),
        ("/keys", b'{"keys": 1}'),
        ("/keys", b'{"keys": [{"kty": "oct", "kid": "1", "k": "AAAA"}]}'),
        ("/token", b"[]"),
        ("/token", b'{"access_token": "x", "token_type": "Bearer", "id_token": 1}'),
        ("/token", b'{"access_token": "x", "token_type": "Bearer", "id_token": "a.b.c"}'),
        ("/token", UNSIGNED),
    ],
)
def test_a_provider_that_answers_anything_else_signs_nobody_in(world: World, path: str, content: bytes) -> None:
    world.app.state.sign_in = SignIn(OIDC, Saying(world.provider, path, content))

    begun = world.browser.get("/sign-in")
    answer = begun if path == CONFIGURATION else world.browser.get(world.at_provider(begun.headers["location"]))

    assert answer.status_code in (403, 502), answer.text
    assert not cookie_of(answer, SESSION)


def test_the_answer_of_another_provider_is_none(world: World) -> None:
    where = world.at_provider(world.begin())

    assert world.browser.get(f"{where}&iss=https://evil.test").status_code == 400
    assert world.browser.get(f"{where}&iss={ISSUER}").status_code == 303
