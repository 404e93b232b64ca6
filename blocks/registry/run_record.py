"""What the registry knows of runs: what they began and never ended, and what became of those that died."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from blocks.facts.kinds import EventKind
from blocks.facts.registry import Event, Failure
from blocks.registry.session import Session

#: Beginnings that are looked through for unfinished ones, besides those of the candidates that do not serve as they should.
_LATEST = 1000


@dataclass(frozen=True, kw_only=True)
class _Overtaken:
    run_id: str
    by_run: str


class RunRecord:
    """Answers for runs."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def orphaned(self) -> list[Event]:
        """The `deploying` events whose run has not recorded an end there, and those that are being cleaned up after; oldest first.

        Runs that are under way are among them: whether a run lives is Prefect's to say.
        """
        return self._session.rows("orphaned_runs", Event, {"limit": _LATEST})

    def events(self, run_ids: Collection[str], kinds: Collection[EventKind] | None = None) -> list[Event]:
        """The events of all these runs, of these kinds or of all, oldest first; one statement however many they are."""
        return self._session.rows("run_events", Event, {"run_ids": list(run_ids), "kinds": None if kinds is None else list(kinds)})

    def naming(self, run_id: str, sha256: str) -> Event | None:
        """The run's first event that names the document of that hash as its evidence or its page; None if there is none."""
        return self._session.row("naming_event", Event, {"run_id": run_id, "sha256": sha256})

    def own_events(self, run_id: str, model: str, environment: str, fingerprint: str, kinds: Collection[EventKind]) -> list[Event]:
        """The run's events of these kinds with the candidate there, oldest first."""
        who = {"run_id": run_id, "model": model, "environment": environment, "fingerprint": fingerprint}
        return self._session.rows("own_events", Event, {**who, "kinds": list(kinds)})

    def unsettled_failure(
        self, run_id: str, model: str, environment: str, fingerprint: str, *, organisation: str | None = None
    ) -> Failure | None:
        """The failure of the run's candidate there after which the environment was left as it is; None if there is none.

        A run that was killed finds here what it still has to do. What another run has done there since is not undone.
        """
        who = {"run_id": run_id, "model": model, "environment": environment, "fingerprint": fingerprint, "organisation": organisation}
        return self._session.row("unsettled_failure", Failure, who)

    def settled_failure(
        self, run_id: str, model: str, environment: str, fingerprint: str, *, organisation: str | None = None
    ) -> Failure | None:
        """The failure of the run's candidate there that the run has settled as its last deed; None if there is none.

        A run that is lost after that has nothing left to do but to end as it would have ended.
        """
        who = {"run_id": run_id, "model": model, "environment": environment, "fingerprint": fingerprint, "organisation": organisation}
        return self._session.row("settled_failure", Failure, who)

    def overtaken(self, runs: Sequence[tuple[str, str, datetime]]) -> dict[str, str]:
        """Which of these runs was overtaken by which: another run began with its model after its own last deed.

        Args:
            runs: For each its id, its model, and when it began.
        """
        run_ids, models, began = ([run[index] for run in runs] for index in range(3))
        found = self._session.rows("begun_since", _Overtaken, {"run_ids": run_ids, "models": models, "began": began})
        return {each.run_id: each.by_run for each in found}
