"""How long a hub asks to wait, and what its token must be like: pure, and the same for the plan and for the nodes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import time_machine

from blocks.errors import HubRejected
from blocks.hub.token import sendable_token
from blocks.hub.waits import stated_wait

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "30"}, 30),
        ({"Retry-After": " 1.5 "}, 1.5),
        ({"Retry-After": "Thu, 01 Jan 2026 12:01:00 GMT"}, 60),
        ({"Retry-After": "Thu, 01 Jan 2026 11:00:00 GMT"}, None),
        ({"Retry-After": "0"}, None),
        ({"Retry-After": "0.001"}, None),
        ({"Retry-After": "1000000000"}, 1e9),
        ({"RateLimit": '"api";r=0;t=110'}, 111),
        ({"RateLimit": '"api"; r=0; t=110'}, 111),
        ({"RateLimit": '"pages";r=7;t=200, "api";r=0;t=55'}, 56),
        ({"RateLimit": '"api";r=12;t=110'}, None),
        ({"RateLimit": '"api";r=0;t=110', "Retry-After": "5"}, 111),
    ],
)
def test_what_is_asked_for(headers: dict[str, str], seconds: float | None) -> None:
    with time_machine.travel(NOW, tick=False):
        assert stated_wait(headers) == seconds


@pytest.mark.parametrize(
    "value",
    ["", "soon", "-5", "nan", "inf", "1e400", "9" * 400, "Thu, 99 Jan 2026 12:00:00 GMT", "Thu, 01 Jan 99999999 12:00:00 GMT", "\x00"],
)
def test_what_makes_no_sense_asks_for_nothing(value: str) -> None:
    assert stated_wait({"Retry-After": value}) is None
    assert stated_wait({"RateLimit": f'"api";r=0;t={value}'}) is None


@pytest.mark.parametrize(("text", "token"), [(None, None), ("", None), ("\n", None), ("hf_a\n", "hf_a"), (" \r\nhf_a \n", "hf_a")])
def test_white_space_around_a_token_does_no_harm(text: str | None, token: str | None) -> None:
    assert sendable_token(text, "here") == token


@pytest.mark.parametrize(("text", "place"), [("hf\na", 3), ("hf a", 3), ("hf_\x00", 4), ("hfé", 3), ("\ufeffhf", 1)])
def test_a_token_that_no_header_can_carry_is_named_by_the_place(text: str, place: int) -> None:
    with pytest.raises(HubRejected, match=rf"The token of here cannot be sent: its character {place} is"):
        sendable_token(text, "here")
