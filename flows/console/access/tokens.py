"""Tokens of machines, and of people at a command line: random, told once, kept as a hash."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from secrets import token_hex, token_urlsafe
from typing import TYPE_CHECKING, cast

from fastapi import Request

from flows.console.access.caller import Caller
from flows.console.edge.problems import ProblemError
from flows.spec.access import Grant, Role

if TYPE_CHECKING:
    from blocks.registry import RegistryClient

#: By its beginning a token is found where it must not be (`blocks/secret_shapes.py`); behind it are 256 random bits.
_SHAPE = re.compile(r"slipway_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """A token that was just made.

    Attributes:
        id: What it is called where it is looked after.
        secret: The token itself, which nobody can be told again.
    """

    id: str
    secret: str = field(repr=False)

    @property
    def sha256(self) -> str:
        """What is kept of it."""
        return digest(self.secret)


def new_token() -> NewToken:
    """A token that nobody can guess."""
    return NewToken(id=token_hex(5), secret=f"slipway_{token_urlsafe(32)}")


def digest(secret: str) -> str:
    """What is kept of a token or of a session's id. A plain hash does: nobody can try 2^256 of them."""
    return hashlib.sha256(secret.encode()).hexdigest()


def bearer(request: Request) -> str | None:
    """The token that the request brings; none if it brings none.

    Raises:
        ProblemError: It brings something else as one (401).
    """
    headers = request.headers.getlist("Authorization")
    if not headers:
        return None
    scheme, _, secret = headers[0].partition(" ")
    if len(headers) != 1 or scheme.lower() != "bearer" or not _SHAPE.fullmatch(secret.strip()):
        raise no_such_token()
    return secret.strip()


def caller_of(registry: RegistryClient, secret: str) -> Caller:
    """Whose requests the token makes.

    Raises:
        ProblemError: It is unknown, revoked or expired (401).
    """
    # By its hash: how long the look takes says nothing of the token.
    found = registry.access.token(digest(secret))
    if found is None:
        raise no_such_token()
    grant = Grant(role=cast(Role, found.role), people=(found.acts_as,), models=tuple(found.models), environments=tuple(found.environments))
    return Caller(name=found.acts_as, how="token", grants=(grant,), label=found.label)


def no_such_token() -> ProblemError:
    """That nobody asks by this token: unknown, revoked, expired, or none; which of them is nobody's business."""
    headers = {"WWW-Authenticate": 'Bearer realm="slipway", error="invalid_token"'}
    return ProblemError(401, "no-such-token", "The token is unknown, revoked or expired.", headers)
