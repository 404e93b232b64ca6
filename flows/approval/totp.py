"""One-time codes (RFC 6238): which time step a code belongs to. Whether that step was used before is the registry's to say."""

from __future__ import annotations

import re
from datetime import datetime

import pyotp

#: Seconds of one step, and the steps before and after that are accepted: clocks differ, and people need a moment to type.
STEP_SECONDS = 30
_TOLERATED_STEPS = (0, -1, 1)


def new_secret() -> str:
    """A fresh secret: 160 random bits in base 32, as RFC 4226 recommends."""
    return pyotp.random_base32()


def matching_step(secret: str, code: str, given_at: datetime) -> int | None:
    """The time step (30 s since 1970) whose code this is; none if it is of no step around the time at which it was given.

    Args:
        secret: The approver's secret, base 32.
        code: Six digits; spaces between them do not count.
        given_at: When the code was handed in.
    """
    digits = re.sub(r"[\s-]", "", code)
    # Not `\d`, which takes the digits of every script.
    if not re.fullmatch(r"[0-9]{6}", digits):
        return None
    now = int(given_at.timestamp()) // STEP_SECONDS
    totp = pyotp.TOTP(secret, interval=STEP_SECONDS)
    for offset in _TOLERATED_STEPS:
        # Compares in constant time.
        if pyotp.utils.strings_equal(totp.generate_otp(now + offset), digits):
            return now + offset
    return None


def current_code(secret: str, at: datetime) -> str:
    """The code of that moment."""
    return str(pyotp.TOTP(secret, interval=STEP_SECONDS).at(at))


def provisioning_uri(secret: str, approver: str) -> str:
    """The `otpauth://` address that authenticator apps read."""
    return str(pyotp.TOTP(secret, interval=STEP_SECONDS).provisioning_uri(name=approver, issuer_name="Slipway"))
