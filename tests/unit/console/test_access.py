"""Who somebody is, and what they may."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI

from flows.console.access.proxy import GROUPS, SECRET, USER
from flows.console.access.who import signed_in
from flows.console.settings import console_settings
from flows.errors import SpecInvalid
from flows.spec.access import Grant
from tests.support.console import PROXY_SECRET, Asking, console, folder


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    app = console(folder(tmp_path))
    app.add_api_route("/api/v1/changes", signed_in, methods=["POST"])
    return app


def test_a_configured_proxy_with_its_secret_says_who_somebody_is(app: FastAPI) -> None:
    assert Asking(app, "vera").get("/api/v1/me").json()["name"] == "vera"


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("10.0.0.2", {USER: "ada", SECRET: PROXY_SECRET}),
        ("10.0.0.1", {USER: "ada"}),
        ("10.0.0.1", {USER: "ada", SECRET: PROXY_SECRET[:-1]}),
        ("10.0.0.1", {SECRET: PROXY_SECRET}),
        ("10.0.0.1", {USER: " ", SECRET: PROXY_SECRET}),
    ],
)
def test_nobody_else_says_who_somebody_is(app: FastAPI, address: str, headers: dict[str, str]) -> None:
    assert Asking(app, address=address, headers=headers).get("/api/v1/me").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"X-CSRF-Token": "guessed"},
        {"X-CSRF-Token": ""},
    ],
)
def test_a_write_from_another_sites_page_is_refused(app: FastAPI, headers: dict[str, str]) -> None:
    ada = Asking(app, "ada")

    assert ada.post("/api/v1/changes").status_code == 200
    assert ada.post("/api/v1/changes", headers=headers).json()["type"] == "/problems/foreign-request"


def test_the_token_of_another_is_worth_nothing(app: FastAPI) -> None:
    vera = str(Asking(app, "vera").get("/api/v1/me").json()["csrf"])

    assert Asking(app, "ada", token=vera).post("/api/v1/changes").status_code == 403


def test_a_form_brings_the_token_in_a_field(app: FastAPI) -> None:
    ada = Asking(app, "ada")
    token = str(ada.get("/api/v1/me").json()["csrf"])
    plain = Asking(app, headers=ada_headers())

    assert plain.post("/api/v1/changes", data={"csrf": token}).status_code == 200
    assert plain.post("/api/v1/changes", data={"csrf": "other"}).status_code == 403


def test_groups_are_told_once_and_in_utf_8(app: FastAPI) -> None:
    known = {**ada_headers(), USER: "anybody"}

    def grants(*listed: bytes) -> int:
        headers = [(name.encode(), text.encode()) for name, text in known.items()] + [(GROUPS.encode(), each) for each in listed]
        answer = Asking(app).client.get("/api/v1/me", headers=headers)
        return len(answer.json()["grants"]) if answer.status_code == 200 else -1

    assert grants(b"others, on-call") == 1
    assert grants("Übung, on-call".encode()) == 1
    assert grants(b"on-call", b"others") == -1, "one of them may be what a client sent"


@pytest.mark.parametrize("name", ["ａｄａ", "ᵃᵈᵃ", "аda", "ad\u00aa"])
def test_a_name_that_looks_like_anothers_has_none_of_their_rights(app: FastAPI, name: str) -> None:
    headers = [(USER.encode(), name.encode()), (SECRET.encode(), PROXY_SECRET.encode())]

    told = Asking(app).client.get("/api/v1/me", headers=headers).json()

    assert (told["name"], told["grants"]) == (name, [])


def ada_headers() -> dict[str, str]:
    return {USER: "ada", SECRET: PROXY_SECRET}


def test_roles_are_by_model_and_environment_and_a_higher_one_includes_the_lower() -> None:
    grant = Grant(role="operator", people=("otto",), models=("tiny-*",), environments=("staging",))

    assert grant.covers("tiny-llama", "staging")
    assert not grant.covers("tiny-llama", "production")
    assert not grant.covers("huge", "staging")
    assert grant.is_for(" OTTO", ())
    assert not grant.is_for("ottoline", ())
    assert Grant(role="viewer", groups=("*",)).is_for("anybody", ())


def test_a_role_that_is_taken_away_is_gone_at_the_next_request(tmp_path: Path) -> None:
    deployments = folder(tmp_path)
    vera = Asking(console(deployments), "vera")
    before = vera.get("/api/v1/me").json()["grants"]

    folder(tmp_path, access="grants: []")

    assert before
    assert vera.get("/api/v1/me").json()["grants"] == []


@pytest.mark.parametrize(
    ("access", "said"),
    [
        ("grants: [{role: viewer}]", "is for nobody"),
        ("grants: [{role: owner, people: [xy]}]", "line 1: grants[0].role"),
        ("grants: [{role: viewer, people: [xy], models: ['*tiny']}]", "grants[0].models[0]"),
        ("grants: [{role: viewer, people: [xy], models: []}]", "grants[0].models"),
    ],
)
def test_grants_that_are_wrong_are_told_with_their_place(tmp_path: Path, access: str, said: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        folder(tmp_path, access=access).access()

    assert said in caught.value.message
    assert "access.yaml" in caught.value.message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"SLIPWAY_CONSOLE_URL": "http://slipway.test"}, "must be an https address"),
        ({"SLIPWAY_CONSOLE_URL": "https://slipway.test/path"}, "without a path"),
        ({"SLIPWAY_CONSOLE_URL": ""}, "SLIPWAY_CONSOLE_URL"),
        ({"SLIPWAY_CONSOLE_KEYS_FILE": ""}, "slipway serve --new-key"),
        ({"SLIPWAY_CONSOLE_PROXIES": "0.0.0.0/0"}, "would believe everybody"),
        ({"SLIPWAY_CONSOLE_PROXIES": "somewhere"}, "no address or network"),
        ({"SLIPWAY_CONSOLE_PROXIES": ""}, "SLIPWAY_CONSOLE_PROXIES is not set"),
        ({"SLIPWAY_CONSOLE_PROXIES": "", "SLIPWAY_CONSOLE_PROXY_SECRET_FILE": ""}, "Nobody could sign in"),
        ({"SLIPWAY_OIDC_ISSUER": "http://login.test"}, "must be an https address"),
        ({"SLIPWAY_OIDC_ISSUER": "https://login.test"}, "SLIPWAY_OIDC_CLIENT_ID"),
        ({"SLIPWAY_OIDC_ISSUER": "https://[::1"}, "SLIPWAY_OIDC_ISSUER is"),
        ({"SLIPWAY_OIDC_ISSUER": "https://login.test:99999"}, "SLIPWAY_OIDC_ISSUER is"),
        ({"SLIPWAY_CONSOLE_URL": "https://slip way.test"}, "SLIPWAY_CONSOLE_URL is"),
        ({"SLIPWAY_CONSOLE_PROXIES": "::ffff:0:0/96"}, "would believe everybody"),
        ({"SLIPWAY_CONSOLE_SESSION_HOURS": "nan"}, "0.1 to 24"),
    ],
)
def test_settings_that_are_wrong_are_told_in_one_sentence(tmp_path: Path, changes: dict[str, str], said: str) -> None:
    (tmp_path / "keys").write_text("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n")
    (tmp_path / "secret").write_text(PROXY_SECRET)
    good = {
        "SLIPWAY_CONSOLE_URL": "https://slipway.test",
        "SLIPWAY_CONSOLE_KEYS_FILE": str(tmp_path / "keys"),
        "SLIPWAY_CONSOLE_PROXIES": "10.0.0.1",
        "SLIPWAY_CONSOLE_PROXY_SECRET_FILE": str(tmp_path / "secret"),
    }

    assert console_settings(good).host == "slipway.test"
    with pytest.raises(SpecInvalid) as caught:
        console_settings({**good, **changes})
    assert said in caught.value.message
    assert PROXY_SECRET not in caught.value.message
