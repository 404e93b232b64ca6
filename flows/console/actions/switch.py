"""Taking a model out of an environment, and putting it back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from blocks.errors import RegistryRejected
from flows.console.access.caller import Caller
from flows.console.access.who import require
from flows.console.actions.once import Done, once
from flows.console.edge.problems import ProblemError
from flows.console.services import Services


def disable(services: Services, caller: Caller, key: str, *, model: str, environment: str, reason: str) -> Done:
    """Take the model out of routing until it is enabled, as `slipway disable` does.

    Raises:
        ProblemError: The caller may not, or nothing is there.
    """
    require(caller, "operator", model, environment)

    def act(_: str) -> Mapping[str, object]:
        with _told():
            entry = services.registry.switch.disable(model, environment, reason=reason, actor=caller.name)
        return {"model": model, "environment": environment, "status": entry.status, "candidate": entry.fingerprint}

    return once(services.registry, caller, key, {"disable": [model, environment], "reason": reason}, act)


def enable(services: Services, caller: Caller, key: str, *, model: str, environment: str, reason: str) -> Done:
    """Put the model back, if it answers, as `slipway enable` does.

    Raises:
        ProblemError: The caller may not, or nothing is there.
        VerificationFailed: Its endpoint does not answer; it stays out.
    """
    require(caller, "operator", model, environment)

    def act(_: str) -> Mapping[str, object]:
        # Prefect's own client: a second of imports, which only this needs.
        from flows.health.enable import enable as put_back

        with _told():
            entry = asyncio.run(put_back(model, environment, reason, caller.name))
        status = entry.status if entry is not None else None
        return {"model": model, "environment": environment, "status": status, "candidate": entry.fingerprint if entry is not None else None}

    return once(services.registry, caller, key, {"enable": [model, environment], "reason": reason}, act)


@contextmanager
def _told() -> Iterator[None]:
    """Have it be a no of ours that nothing is there: the registry is asked for what cannot be, and works."""
    try:
        yield
    except RegistryRejected as exc:
        if "model" not in exc.facts:
            raise
        raise ProblemError(409, "nothing-there", f"{exc.message[:1].upper()}{exc.message[1:]}.") from exc
