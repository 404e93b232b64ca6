"""The lock of a release: one run at a time changes a model in an environment.

It is a row and not a session's lock: it outlives a cut connection, names its holder, and its fencing number makes a holder that was
given up for dead (and lives) harmless.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from blocks.errors import RegistryRejected
from blocks.facts.registry import Lock
from blocks.registry.connect import Connection
from blocks.registry.repeated import repeated
from blocks.registry.session import Session, change, row, rows

#: A holder that gave no sign of life for so long is given up: six of its heartbeats, and more than a restart of PostgreSQL takes.
STALE_SECONDS = 60.0


class Locks:
    """Takes and gives back locks."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @repeated
    def take(
        self, model: str, environment: str, run_id: str, *, organisation: str | None = None, stale_seconds: float = STALE_SECONDS
    ) -> Lock:
        """Take the lock, unless another run holds it and gives signs of life; return the lock as it stands then.

        The run has it if the lock's `run_id` is its own. Each taking has a higher number, also by the same run: of two processes of one
        run, the later one may write.
        """
        who = {"model": model, "environment": environment, "organisation": organisation, "run_id": run_id}
        with self._session.transaction() as connection:
            # A taking that is refused locks the row as well (ON CONFLICT DO UPDATE does), so its holder is still the same when it is read.
            change(connection, "take_lock", {**who, "stale_seconds": stale_seconds})
            (lock,) = rows(connection, "lock", Lock, who)
        return lock

    def keep(self, lock: Lock) -> bool:
        """Give a sign of life; False if the lock was lost."""
        return self._session.change("keep_lock", asdict(lock)) == 1

    def free(self, lock: Lock) -> None:
        """Give the lock back, if it is still held."""
        self._session.change("free_lock", asdict(lock))

    def give_back(self, model: str, environment: str, run_id: str, *, organisation: str | None = None) -> None:
        """Give back what an earlier process of the run took and, being lost, did not; nothing if the run does not hold it."""
        self._session.change("give_back_lock", {"model": model, "environment": environment, "organisation": organisation, "run_id": run_id})

    def held(self) -> list[Lock]:
        """The locks that somebody holds, with the seconds since each holder's last sign of life."""
        return self._session.rows("held_locks", Lock, {})


def require_lock(connection: Connection, who: Mapping[str, object], fence: int | None) -> None:
    """Refuse a write of a run that does not hold the lock (any longer), and one without a number while somebody holds it.

    Nobody takes the lock before the end of the transaction.

    Args:
        connection: In the transaction of the write.
        who: Parameters: organisation, model, environment, run_id.
        fence: The number with which the run took the lock.

    Raises:
        RegistryRejected: Another run, or another process of this run, holds the lock.
    """
    lock = row(connection, "guard_lock", Lock, who)
    holder = lock.run_id if lock is not None else None
    if fence is None and holder is None:
        return
    if lock is not None and (holder, lock.fence) == (who["run_id"], fence):
        return
    place = f"{who['model']} in {who['environment']}"
    if holder is None:
        raise RegistryRejected(f"run {who['run_id']} does not hold {place} any longer", run_id=who["run_id"])
    other = "another process of this run" if holder == who["run_id"] else f"run {holder}"
    raise RegistryRejected(f"{other} holds {place}: run {who['run_id']} may not write there", run_id=holder)
