"""Approvals as the registry keeps them: requests, answers with used-up codes, and who is locked out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from blocks.facts.kinds import EventKind
from blocks.facts.registry import Event, OpenRequest
from blocks.registry.connect import Connection
from blocks.registry.events import Appended, append_event
from blocks.registry.repeated import repeated
from blocks.registry.session import Session, change, row

#: Wrong codes in a row that lock an approver out, and for how long.
WRONG_CODES = 5
LOCKED_FOR = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The place of an approval: a gate of a run, and the candidate that wants to pass it."""

    run_id: str
    name: str
    model: str
    environment: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class _Authenticator:
    last_step: int
    wrong_codes: int
    locked_until: datetime | None


class Approvals:
    """Records approvals. Every call may be repeated: a gate's round has one answer."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @repeated
    def mark(self, gate: Gate, kind: EventKind, detail: Mapping[str, object], *, step: str = "", at: datetime | None = None) -> Appended:
        """Record what happened to a gate as a whole (requested, granted, expired, void, frozen), once for each kind and step."""
        with self._session.transaction() as connection:
            return _append(connection, gate, kind, f"{kind}/{step}", detail, None, at)

    @repeated
    def answer(
        self,
        gate: Gate,
        number: int,
        *,
        kind: Literal[EventKind.APPROVED, EventKind.REJECTED],
        approver: str,
        refusal: str | None,
        code_step: int | None,
        detail: Mapping[str, object],
        at: datetime,
    ) -> Appended:
        """Record the answer to a round of the gate: approved, rejected, or `approval_refused` with the reason in `detail.why`.

        The code is used up in the same transaction, so that no kill can lose an approval or use one twice. Codes of the same or an earlier
        time step are refused; five wrong ones in a row lock the approver out for 15 minutes.

        Args:
            gate: The gate.
            number: The round.
            kind: What the answer says.
            approver: Who it says gave it; proven only by the code.
            refusal: Why it is refused whatever the code; none if the code decides.
            code_step: The time step that the code belongs to; none if it is of no step.
            detail: What the record shall hold; never the code.
            at: When the answer was given.
        """
        key = f"answer/{number}"
        with self._session.transaction() as connection:
            facts = {**detail, "round": number}
            # What is refused anyhow uses no code up: the next form can be answered with it.
            why = refusal or self._use_code(connection, gate, key, approver, code_step, at)
            if why is None:
                return _append(connection, gate, kind, key, facts, approver, at)
            # Not the actor: nobody has proven to be that person.
            return _append(connection, gate, EventKind.APPROVAL_REFUSED, key, {**facts, "claimed": approver, "why": why}, None, at)

    def events(self, run_id: str, gate: str) -> list[Event]:
        """What happened at the gate, oldest first."""
        return self._session.rows("gate_events", Event, {"run_id": run_id, "gate": gate})

    def who_approved(self, run_id: str, model: str, environment: str, fingerprint: str) -> list[Event]:
        """The approvals by which the run passed its last gate there with the candidate: one for each approver who was counted, by name."""
        who = {"run_id": run_id, "model": model, "environment": environment, "fingerprint": fingerprint}
        return self._session.rows("who_approved", Event, who)

    def open_requests(self) -> list[OpenRequest]:
        """The requests that wait for people, oldest first."""
        return self._session.rows("open_requests", OpenRequest, {})

    @staticmethod
    def _use_code(connection: Connection, gate: Gate, key: str, approver: str, step: int | None, at: datetime) -> str | None:
        """Use the code up; why it does not count, or none if it does."""
        who = {"approver": approver}
        # So that there is a row to lock. The lock comes before all questions: two processes of a run may bring the same answer.
        change(connection, "add_authenticator", who)
        state = row(connection, "lock_authenticator", _Authenticator, who)
        if row(connection, "event_by_key", Event, {"event_key": _key(gate, key)}) is not None:
            return None  # this very round was answered before; its event is found again
        if state is None:
            return "the authenticator is not known"
        if state.locked_until is not None and at < state.locked_until:
            return f"too many wrong codes: {approver} is locked out until {state.locked_until:%Y-%m-%d %H:%M} UTC"
        # RFC 6238, 5.2: a code is accepted once. One of an earlier step may have been watched, and comes too late.
        if step is None or step <= state.last_step:
            change(connection, "count_wrong_code", {**who, "limit": WRONG_CODES, "locked_until": at + LOCKED_FOR})
            return "the one-time code is wrong" if step is None else "the one-time code was used before; wait for the next one"
        change(connection, "use_code", {**who, "step": step})
        return None


def _key(gate: Gate, key: str) -> str:
    return f"approval/{gate.run_id}/{gate.name}/{key}"


def _append(
    connection: Connection, gate: Gate, kind: EventKind, key: str, detail: Mapping[str, object], actor: str | None, at: datetime | None
) -> Appended:
    return append_event(
        connection,
        kind,
        _key(gate, key),
        detail={**detail, "gate": gate.name},
        organisation=None,
        model=gate.model,
        environment=gate.environment,
        fingerprint=gate.fingerprint,
        run_id=gate.run_id,
        actor=actor,
        at=at,
    )
