"""Taking a model out of an environment and putting it back: what a person does, with a reason."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.errors import RegistryRejected
from blocks.facts.registry import Entry, TakenOut
from blocks.registry.repeated import repeated
from blocks.registry.session import Session, change, row, rows


@dataclass(frozen=True, kw_only=True)
class _Enabled:
    moved: int


class Switch:
    """What an operator needs.

    The rules are functions of the database, so that no right to write its tables is needed.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @repeated
    def disable(self, model: str, environment: str, *, reason: str, actor: str, organisation: str | None = None) -> Entry:
        """Take the model out of routing until it is enabled, whatever is released meanwhile; return the entry that holds the endpoint.

        One that is out already stays out with its first reason.

        Raises:
            RegistryRejected: Nothing serves the model there, or the reason or the name is empty.
        """
        place = {"model": model, "environment": environment, "organisation": organisation}
        with self._session.transaction() as connection:
            change(connection, "disable", {**place, "reason": reason, "actor": actor})
            entry = row(connection, "current", Entry, place)
            # That nothing moved says too little: it may have been taken out before.
            if entry is None or entry.disabled_from is None:
                raise RegistryRejected(f"nothing serves {model} in {environment}: there is nothing to take out", model=model)
        return entry

    @repeated
    def enable(self, model: str, environment: str, *, reason: str, actor: str, organisation: str | None = None) -> Entry | None:
        """Put back what was taken out, with the status that it had. What is in stays in.

        Returns:
            The entry that holds the endpoint; None if a failed release took it meanwhile, so that the next release brings the model back.

        Raises:
            RegistryRejected: Nothing is there that could be put back, or the reason or the name is empty.
        """
        place = {"model": model, "environment": environment, "organisation": organisation}
        with self._session.transaction() as connection:
            (enabled,) = rows(connection, "enable", _Enabled, {**place, "reason": reason, "actor": actor})
            entry = row(connection, "current", Entry, place)
            if not enabled.moved and entry is None:
                raise RegistryRejected(f"nothing of {model} in {environment} can be put back: release it", model=model)
        return entry

    def taken_out(self, model: str, environment: str, *, organisation: str | None = None) -> TakenOut | None:
        """Why and by whom the model was taken out of the environment; None if it is not."""
        return self._session.row("taken_out", TakenOut, {"model": model, "environment": environment, "organisation": organisation})
