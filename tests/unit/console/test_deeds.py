"""Forms: who may hand one in, what of it is refused, and that what is refused is told on a page without what was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.console import Asking, console, folder

KEY = "11111111-2222-4333-8444-555555555555"
RUN = "00000000-2222-4333-8444-555555555555"


@pytest.fixture
def asking(tmp_path: Path) -> Asking:
    return Asking(console(folder(tmp_path)), "vera")


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/release", {"model": "tiny-llama", "revision": "main", "key": KEY}, 403),
        ("/release", {"model": "other", "revision": "main", "key": KEY}, 404),
        ("/release", {"model": "tiny-llama", "revision": "main", "what": "plan", "key": KEY}, 403),
        ("/release", {"model": "tiny-llama", "revision": "../up", "key": KEY}, 422),
        ("/release", {"model": "tiny-llama", "revision": "main", "in-<b>": "yes", "key": KEY}, 422),
        ("/models/tiny-llama/production/rollback", {"reason": "worse", "key": KEY}, 403),
        ("/models/tiny-llama/production/rollback", {"reason": "worse", "to": "abc", "key": KEY}, 422),
        ("/models/tiny-llama/production/disable", {"reason": "worse", "key": KEY}, 403),
        ("/models/tiny-llama/production/enable", {"reason": "mended", "key": KEY}, 403),
        ("/models/tiny-llama/production/enable", {"reason": "", "key": KEY}, 422),
        ("/models/tiny-llama/production/disable", {"reason": "worse", "key": "<script>"}, 422),
        ("/runs/no-run/cancel", {"key": KEY}, 422),
        (f"/approvals/{RUN}", {"decision": "perhaps", "gate": "g", "code": "123456", "key": KEY}, 422),
    ],
)
def test_a_viewer_changes_nothing_and_what_is_wrong_is_said_on_a_page(
    asking: Asking, path: str, fields: dict[str, str], status: int
) -> None:
    answer = asking.post(path, data=fields)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert "123456" not in answer.text
    assert "<script>" not in answer.text
    assert "<b>" not in answer.text


def test_another_sites_form_is_not_taken(asking: Asking) -> None:
    fields = {"model": "tiny-llama", "revision": "main", "key": KEY}

    assert asking.post("/release", data=fields, headers={"Origin": "https://evil.test"}).status_code == 403
    asking.token = "another session's"
    assert asking.post("/release", data=fields).status_code == 403
    # Of a form without a script the token is a field.
    answer = asking.client.post("/release", data={**fields, "csrf": "guessed"}, headers={"Origin": asking.app.state.settings.url})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "path", ["/", "/models/tiny-llama", "/runs", f"/runs/{RUN}", "/approvals", "/nodes", "/record", "/evidence/abcdef01"]
)
def test_who_is_nobody_is_led_to_the_sign_in_and_sees_nothing(asking: Asking, path: str) -> None:
    answer = Asking(asking.app).get(path)

    assert (answer.status_code, "/sign-in?next=" in answer.text) == (401, True)


def test_files_keep_for_ever_and_others_are_none(asking: Asking) -> None:
    sheet = asking.get("/static/0000000000000000/console.css")
    found = [part for part in Asking(asking.app).get("/").text.split('"') if part.startswith("/static/")]

    assert sheet.status_code == 404
    assert asking.get("/static/0000000000000000/../render.py").status_code == 404
    assert {asking.get(path).headers["cache-control"] for path in found} == {"public, max-age=31536000, immutable"}
