"""Codes belong to time steps as RFC 6238 says; the vectors are its appendix B (SHA-1), cut to six digits."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.approval.totp import current_code, matching_step, new_secret, provisioning_uri

RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
NOW = datetime(2026, 5, 17, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_the_vectors_of_the_rfc(seconds: int, code: str) -> None:
    at = datetime.fromtimestamp(seconds, UTC)

    assert current_code(RFC_SECRET, at) == code
    assert matching_step(RFC_SECRET, code, at) == seconds // 30


@pytest.mark.parametrize(("late_seconds", "accepted"), [(-60, False), (-30, True), (0, True), (30, True), (60, False), (86400, False)])
def test_a_code_is_good_for_its_step_and_those_beside_it(late_seconds: int, accepted: bool) -> None:
    secret = new_secret()
    code = current_code(secret, NOW)

    step = matching_step(secret, code, NOW + timedelta(seconds=late_seconds))

    assert step == (int(NOW.timestamp()) // 30 if accepted else None)


def test_digits_may_be_grouped_as_apps_show_them() -> None:
    secret = new_secret()
    code = current_code(secret, NOW)

    assert matching_step(secret, f" {code[:3]} {code[3:]} ", NOW) is not None


@given(st.text(max_size=30))
def test_anything_else_is_no_code(text: str) -> None:
    if not text.strip().replace(" ", "").replace("-", "").isdecimal():
        assert matching_step(RFC_SECRET, text, NOW) is None


def test_the_address_for_apps_names_issuer_and_approver() -> None:
    uri = provisioning_uri(RFC_SECRET, "release-desk")

    assert uri.startswith("otpauth://totp/Slipway:release-desk?secret=")
    assert "issuer=Slipway" in uri
