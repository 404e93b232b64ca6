"""Canaries: the candidate that gets a share of the requests beside the one that serves, and how large that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from psycopg.types.json import Jsonb

from blocks.errors import RegistryRejected
from blocks.facts.canary import Canary, Phase, Wish
from blocks.facts.kinds import EventKind
from blocks.registry.documents import plain
from blocks.registry.repeated import repeated
from blocks.registry.session import Session, row
from blocks.registry.steps import Step, candidate_of, take_turn
from blocks.storable import storable_document


@dataclass(frozen=True, kw_only=True)
class _Asked:
    asked: bool


class Canaries:
    """Begins, shifts and ends canaries for the run that holds the place's lock, and takes operators' wishes.

    Each write is one transaction that waits for its turn, looks, and then writes; repeated it changes nothing. Arguments that all of them
    share: `run_id` and `fence` are of the run that writes, which need not be the one that began the canary; `organisation` is None where
    there is only one; `actor` is the person or service that asked; `at` is when, the database's clock by default. All raise
    `RegistryUnreachable` (retry) or `RegistryRejected` (do not).
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, model: str, environment: str, *, organisation: str | None = None) -> Canary | None:
        """The canary there, or the last one that there was (its phase is `ended` then); None if there never was one."""
        return self._session.row("canary", Canary, {"model": model, "environment": environment, "organisation": organisation})

    def open(self) -> list[Canary]:
        """The canaries that have not ended, of all models in all environments."""
        return self._session.rows("open_canaries", Canary, {})

    @repeated
    def begin(
        self,
        *,
        model: str,
        environment: str,
        stable: str,
        canary: str,
        endpoint: str,
        steps: Sequence[Mapping[str, object]],
        run_id: str,
        fence: int | None = None,
        organisation: str | None = None,
        actor: str | None = None,
        at: datetime | None = None,
    ) -> Canary:
        """Say that a candidate comes up beside the one that serves, before anything of it is delivered. No router hears of it yet.

        Args:
            model: The name that clients send.
            environment: Where.
            stable: Fingerprint of the candidate that serves.
            canary: Fingerprint of the candidate that is tried; it is registered.
            endpoint: Host and port of the canary. It must not mean another candidate while the canary is open.
            steps: What is planned, as JSON; 16 KiB at the most.
            run_id: The flow run.
            fence: Its number at the lock.
            organisation: Whose.
            actor: Who asked.
            at: When.

        Raises:
            RegistryRejected: Another canary is open there, or `stable` is not what is ready there.
        """
        with self._step(model, environment, run_id, fence, organisation, actor, at) as step:
            candidate_of(step.connection, canary, model)
            last = self._found(step)
            if last is not None and last.open:
                if (last.run_id, last.stable, last.canary, last.endpoint) == (run_id, stable, canary, endpoint):
                    return last
                raise RegistryRejected(
                    f"a canary of {model} in {environment} is open already: {last.canary[:12]} of run {last.run_id} ({last.phase}); "
                    "end it first, or wait until it ends",
                    run_id=last.run_id,
                )
            serving = step.current()
            if serving is None or serving.status != "ready" or serving.fingerprint != stable:
                raise RegistryRejected(
                    f"candidate {stable[:12]} does not serve {model} in {environment}: there is nothing to compare a canary with",
                    fingerprint=stable,
                )
            step.change("begin_canary", stable=stable, canary=canary, endpoint=endpoint, steps=Jsonb([plain(dict(each)) for each in steps]))
            detail = {"stable": stable, "endpoint": endpoint, "steps": list(steps)}
            step.record(EventKind.CANARY_BEGUN, detail, fingerprint=canary)
            return self._present(step)

    @repeated
    def change(
        self,
        *,
        model: str,
        environment: str,
        run_id: str,
        fence: int | None = None,
        phase: Phase | None = None,
        weight: int | None = None,
        shadow: int | None = None,
        step: int | None = None,
        until: datetime | None = None,
        reason: str = "",
        heeds: datetime | None = None,
        organisation: str | None = None,
        actor: str | None = None,
        at: datetime | None = None,
    ) -> Canary:
        """Move the open canary on; routers hear of another weight or shadow at once. What is None stays as it is, but for `until`.

        Weight and shadow can be other than 0 in the phases `running`, `held` and `taking_over` only. A weight rises or becomes 0.

        Args:
            model: The name that clients send.
            environment: Where.
            run_id: The flow run that writes.
            fence: Its number at the lock.
            phase: The next phase; to end it is `end`.
            weight: Percent of the requests that the canary answers.
            shadow: Percent of the others that it is sent a copy of.
            step: Which of the steps it is at, from 0.
            until: When that ends; None if it is open.
            reason: Why, for people.
            heeds: `wished_at` of the wish that is done by this: it is no wish any longer. One that came later stays.
            organisation: Whose.
            actor: Who asked.
            at: When.

        Raises:
            RegistryRejected: No canary is open there; the phase does not follow the present one; the weight falls.
        """
        given = {"phase": phase, "weight": weight, "shadow": shadow, "step": step}
        values = {name: value for name, value in given.items() if value is not None}
        with self._step(model, environment, run_id, fence, organisation, actor, at) as taken:
            before = self._opened(taken)
            after = _heeded(replace(before, until=until, **values), heeds)  # type: ignore[arg-type]
            return self._write(taken, before, after, reason)

    @repeated
    def save_judge(
        self,
        *,
        model: str,
        environment: str,
        run_id: str,
        fence: int | None = None,
        state: Mapping[str, object],
        organisation: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """Keep what the judge has seen, a JSON object of 1 MiB at the most, for a run that is taken up again. It is no event.

        Raises:
            RegistryRejected: No canary is open there.
        """
        with self._step(model, environment, run_id, fence, organisation, None, at) as step:
            if not step.change("judge_canary", judge=Jsonb(plain(storable_document(state)))):
                raise _none_open(model, environment)

    @repeated
    def end(
        self,
        *,
        model: str,
        environment: str,
        run_id: str,
        fence: int | None = None,
        outcome: str,
        reason: str = "",
        organisation: str | None = None,
        actor: str | None = None,
        at: datetime | None = None,
    ) -> Canary | None:
        """Say that the canary has ended; nothing is sent to it any longer. One that has ended keeps its first outcome.

        Args:
            model: The name that clients send.
            environment: Where.
            run_id: The flow run that writes.
            fence: Its number at the lock.
            outcome: How, a word of `[a-z_]`, 40 characters at the most.
            reason: Why, for people.
            organisation: Whose.
            actor: Who asked.
            at: When.

        Returns:
            The canary; None if there never was one.
        """
        with self._step(model, environment, run_id, fence, organisation, actor, at) as step:
            before = self._found(step)
            if before is None or not before.open:
                return before
            ended = replace(before, phase="ended", weight=0, shadow=0, until=None, outcome=outcome, outcome_reason=reason[:4000])
            # A wish that nobody can heed any longer is none.
            return self._write(step, before, _heeded(ended, before.wished_at), reason)

    @repeated
    def wish(self, model: str, environment: str, wish: Wish, *, reason: str, actor: str, organisation: str | None = None) -> Canary:
        """Ask the run of the open canary to promote, abort, hold or resume it. A later wish takes the place of an earlier one.

        Raises:
            RegistryRejected: No canary is open there; it takes over or has taken over; the reason or the name is empty.
        """
        place = {"model": model, "environment": environment, "organisation": organisation}
        with self._session.transaction() as connection:
            asked = row(connection, "wish_canary", _Asked, {**place, "wish": wish, "reason": reason, "actor": actor})
            found = row(connection, "canary", Canary, place)
        if asked is None or not asked.asked or found is None:
            raise _none_open(model, environment)
        return found

    def _write(self, step: Step, before: Canary, after: Canary, reason: str) -> Canary:
        if after == before:
            return before
        step.change("change_canary", **{**asdict(replace(after, steps=(), judge={})), "since": step.who["at"]})
        why = {"reason": reason} if reason else {}
        if (after.weight, after.shadow, after.step) != (before.weight, before.shadow, before.step):
            shifted = {"weight": after.weight, "from": before.weight, "shadow": after.shadow, "step": after.step}
            step.record(EventKind.CANARY_SHIFTED, {**shifted, "until": _text(after.until), **why}, fingerprint=after.canary)
        if after.phase == "ended":
            step.record(EventKind.CANARY_ENDED, {"outcome": after.outcome, "from": before.phase, **why}, fingerprint=after.canary)
        elif after.phase != before.phase:
            moved = {"phase": after.phase, "from": before.phase, "until": _text(after.until)}
            step.record(EventKind.CANARY_MOVED, {**moved, **why}, fingerprint=after.canary)
        return self._present(step)

    def _found(self, step: Step) -> Canary | None:
        return row(step.connection, "canary", Canary, step.who)

    def _present(self, step: Step) -> Canary:
        canary = self._found(step)
        if canary is None:
            raise _none_open(step.who["model"], step.who["environment"])
        return canary

    def _opened(self, step: Step) -> Canary:
        canary = self._present(step)
        if not canary.open:
            raise _none_open(step.who["model"], step.who["environment"])
        return canary

    @contextmanager
    def _step(
        self,
        model: str,
        environment: str,
        run_id: str,
        fence: int | None,
        organisation: str | None,
        actor: str | None,
        at: datetime | None,
    ) -> Iterator[Step]:
        place = {"organisation": organisation, "model": model, "environment": environment}
        with self._session.transaction() as connection:
            moment = take_turn(connection, place, at)
            step = Step(connection=connection, who={**place, "run_id": run_id, "actor": actor, "at": moment})
            step.require_lock(fence)
            yield step


def _heeded(canary: Canary, wished_at: datetime | None) -> Canary:
    if wished_at is None or canary.wished_at != wished_at:
        return canary
    return replace(canary, wish=None, wish_actor=None, wish_reason=None, wished_at=None)


def _none_open(model: object, environment: object) -> RegistryRejected:
    return RegistryRejected(f"there is no canary of {model} in {environment}", model=model, environment=environment)


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
