"""Doing a thing once, however often it is asked for under the same key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.console.access.caller import Caller
from flows.console.edge.problems import ProblemError

if TYPE_CHECKING:
    from blocks.registry import RegistryClient


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of a request.

    Attributes:
        body: What is answered.
        again: Whether it was done before, and this is the answer of then.
    """

    body: Mapping[str, object]
    again: bool = False


def request_hash(request: Mapping[str, object]) -> str:
    """What a request asks for, as one hash."""
    return hashlib.sha256(json.dumps(request, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def prefect_key(caller: Caller, key: str, sha256: str) -> str:
    """Under what Prefect knows the run: it makes no second one for the same, also where the first answer was lost."""
    return hashlib.sha256("\0".join(("slipway-console", caller.name, key, sha256)).encode()).hexdigest()


def once(
    registry: RegistryClient, caller: Caller, key: str, request: Mapping[str, object], act: Callable[[str], Mapping[str, object]]
) -> Done:
    """Do it, unless it was done under the caller's key before; then tell what came of it.

    Args:
        registry: Where answers are kept, for a day.
        caller: Whose key it is: another's is another.
        key: Chosen by who asks.
        request: What is asked for, without secrets.
        act: Does it, given the key under which Prefect makes one run and no more; raises if nothing was done.

    Raises:
        ProblemError: The key was used for something else (422), or the same is under way (409).
    """
    sha256 = request_hash(request)
    before = registry.access.begin_answer(caller.name, key, sha256)
    if before is not None:
        if before.request_sha256 != sha256:
            raise ProblemError(422, "key-used-before", "This Idempotency-Key was used for another request: choose a new one for each.")
        if before.body is None:
            raise ProblemError(409, "under-way", "The same request is under way: ask again in a moment.", {"Retry-After": "2"})
        return Done(body=before.body, again=True)
    try:
        body = act(prefect_key(caller, key, sha256))
    except Exception:
        registry.access.drop_answer(caller.name, key)
        raise
    registry.access.keep_answer(caller.name, key, 202, body)
    return Done(body=body)
