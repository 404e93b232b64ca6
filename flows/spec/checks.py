"""Check suites as `deployments/checks/NAME.yaml` describes them: what to ask the endpoint, and what must come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from flows.spec.types import STRICT, DnsLabel


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What must hold of an answer; what is not said is not checked.

    Attributes:
        contains: Text that the answer holds.
        regex: A regular expression (Python's `re`) that matches somewhere in it.
        min_tokens: Tokens that the answer has at least, by its own usage.
        finish_reason: How it ended.
    """

    __pydantic_config__ = STRICT

    contains: str | None = None
    regex: str | None = None
    min_tokens: Annotated[int, Field(ge=1)] = 1
    finish_reason: Literal["stop", "length"] | None = None


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question to the endpoint, answered greedily (temperature 0)."""

    __pydantic_config__ = STRICT

    name: DnsLabel
    kind: Literal["completion", "chat"]
    prompt: Annotated[str, Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 32
    expect: Expectation


@dataclass(frozen=True, kw_only=True)
class CheckSuite:
    """Checks that are asked together, in order."""

    __pydantic_config__ = STRICT

    name: DnsLabel
    checks: Annotated[tuple[Check, ...], Field(min_length=1)]
