"""Operations: from the wish in an Application's `operation` to its end in `status.operationState` and `status.history`.

Not emulated: hooks, the dry run of all objects before the first is applied, rollbacks, `syncOptions` other than `CreateNamespace=true`
(everything is applied server-side), and a pause between waves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from sandbox.argocd.comparison import Comparer, Comparison
from sandbox.argocd.durations import seconds
from sandbox.argocd.live import Live, Reference, reference_of, wave_of
from sandbox.argocd.status import revisions_in
from sandbox.argocd.windows import BLOCKED, may_sync
from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.values import clone, dig, now, parse_time

#: What is kept of the history where the Application says nothing else.
HISTORY = 10

#: How often a running operation is looked at when nothing tells of a change.
LOOK_SECONDS = 2.0


@dataclass
class Faults:
    """What the controller is asked to do wrong.

    Attributes:
        down: It does nothing at all.
        slow_seconds: How long each comparison and each step of an operation takes longer.
        stuck: Operations never end by themselves.
    """

    down: bool = False
    slow_seconds: float = 0.0
    stuck: bool = False

    def clear(self) -> None:
        """Do everything right again."""
        self.down, self.slow_seconds, self.stuck = False, 0.0, False


def is_running(app: Object) -> bool:
    """Whether the Application's last operation has not ended."""
    return dig(app, "status", "operationState", "phase") in ("Running", "Terminating")


class Operations:
    """Takes operations to their end, a step at a time.

    Args:
        comparer: Compares Applications.
        live: The cluster.
        faults: What goes wrong.
        save: Writes a merge patch into an Application and returns it as it is then.
        read: Reads an Application anew.
    """

    def __init__(
        self,
        comparer: Comparer,
        live: Live,
        faults: Faults,
        save: Callable[[Object, Object], Awaitable[Object]],
        read: Callable[[Object], Awaitable[Object]],
    ) -> None:
        self._comparer = comparer
        self._live = live
        self._faults = faults
        self._save = save
        self._read = read

    async def advance(self, app: Object, trouble: str, project: Object | None) -> float | None:
        """Do the next step of the Application's operation; after how many seconds to look again, or none when it has ended.

        Args:
            app: The Application, with an operation.
            trouble: Why the Application cannot be synced at all; empty if it can.
            project: Its project.
        """
        if not is_running(app):
            state: Object = {"operation": app["operation"], "phase": "Running", "startedAt": now()}
            # As in Argo CD, this is merged into what is there: whoever asks for an operation is to clear the state of the one before.
            app = await self._save(app, {"status": {"operationState": {"finishedAt": None, **state}}})
        state = clone(app["status"]["operationState"])
        asked = not dig(state, "operation", "initiatedBy", "automated", default=False)
        if project is not None and not may_sync(app, project, datetime.now(UTC), asked=asked):
            # Argo CD looks at this first: what a window holds back does not end before the window does, even when told to.
            return await self._wait(app, state, BLOCKED)
        if state["phase"] == "Terminating":
            await self._end(app, state, "Failed", "Operation terminated")
            return None
        if state.get("finishedAt"):
            left = (_retry_at(state) - datetime.now(UTC)).total_seconds()
            if left > 0:
                return left
            state.pop("finishedAt")
            state.pop("syncResult", None)
        if self._faults.stuck:
            return await self._wait(app, state, "waiting for completion of hook batch/Job/stuck")
        return await self._sync(app, state, trouble)

    async def _sync(self, app: Object, state: Object, trouble: str) -> float | None:
        sync = state["operation"].get("sync")
        if sync is None:
            return await self._fail(app, state, "Failed", "Invalid operation request: no operation specified")
        if trouble:
            return await self._fail(app, state, "Error", trouble)
        wanted = revisions_in(state.get("syncResult") or {}) or revisions_in(sync)
        compared = await self._comparer.compare(app, wanted, fresh=not state.get("syncResult"))
        result = state.setdefault("syncResult", {})
        result.update(_place(app, compared.revisions or wanted))
        if compared.error:
            return await self._fail(app, state, "Error", f"ComparisonError: {compared.error}")
        if "CreateNamespace=true" in (sync.get("syncOptions") or ()):
            await self._live.ensure_namespace(app["spec"]["destination"]["namespace"])
        for position, (_, targets) in enumerate(waves := _waves(_chosen(compared, sync))):
            if not await self._apply(result, targets):
                failed = next(entry["message"] for entry in result["resources"] if entry["status"] == "SyncFailed")
                return await self._fail(app, state, "Failed", f"one or more objects failed to apply, reason: {failed}")
            if position < len(waves) - 1:  # the last wave is not waited for, as where there is only one
                for target in targets:
                    health = await self._comparer.health(target) or ("Healthy", "")
                    reference = reference_of(target)
                    if health[0] == "Degraded":
                        return await self._fail(app, state, "Failed", "one or more synchronization tasks completed unsuccessfully")
                    if health[0] != "Healthy":
                        shown = "/".join(filter(None, (reference.group, reference.kind, reference.name)))
                        return await self._wait(app, state, f"waiting for healthy state of {shown}")
        await self._prune(compared, sync, result)
        await self._end(app, state, "Succeeded", "successfully synced (all tasks run)")
        return None

    async def _apply(self, result: Object, targets: list[Object]) -> bool:
        done = {(entry["kind"], entry["namespace"], entry["name"]) for entry in result.get("resources", ()) if entry["status"] == "Synced"}
        for target in targets:
            reference = reference_of(target)
            if (reference.kind, reference.namespace, reference.name) in done:
                continue  # in an earlier step
            try:
                await self._live.apply(target)
            except ApiError as exc:
                _note(result, reference, "SyncFailed", exc.message)
                return False
            _note(result, reference, "Synced", f"{reference.kind.lower()}/{reference.name} serverside-applied")
        return True

    async def _prune(self, compared: Comparison, sync: Object, result: Object) -> None:
        for reference in [] if sync.get("resources") else compared.prunable:
            if sync.get("prune"):
                await self._live.delete(reference)
                _note(result, reference, "Pruned", "pruned")
            else:
                _note(result, reference, "PruneSkipped", "ignored (requires pruning)")

    async def _wait(self, app: Object, state: Object, message: str) -> float | None:
        # It may have been told to end meanwhile: that must not be written over.
        if dig(await self._read(app), "status", "operationState", "phase") != "Terminating":
            await self._save(app, {"status": {"operationState": {"finishedAt": None, **state, "phase": "Running", "message": message}}})
        return LOOK_SECONDS

    async def _fail(self, app: Object, state: Object, phase: str, message: str) -> float | None:
        retries, limit = state.get("retryCount", 0), dig(state, "operation", "retry", "limit", default=0)
        # A negative limit is none.
        if 0 <= limit <= retries:
            await self._end(app, state, phase, f"{message} (retried {retries} times)." if retries else message)
            return None
        state.update(finishedAt=now(), retryCount=retries + 1)
        retry_at = _retry_at(state)
        state["message"] = f"{message}. Retrying attempt #{retries + 1} at {retry_at.strftime('%I:%M%p').lstrip('0')}."
        await self._save(app, {"status": {"operationState": state}})
        return (retry_at - datetime.now(UTC)).total_seconds()

    async def _end(self, app: Object, state: Object, phase: str, message: str) -> None:
        state.update(phase=phase, message=message, finishedAt=now())
        status: Object = {"operationState": state}
        sync = state["operation"].get("sync") or {}
        if phase == "Succeeded" and not sync.get("resources"):
            status["history"] = _history(app, state)
        await self._save(app, {"operation": None, "status": status})


def _chosen(compared: Comparison, sync: Object) -> list[Object]:
    """What the operation is for: everything, or the resources that it names."""
    named = {(entry.get("group", ""), entry["kind"], entry["name"]) for entry in sync.get("resources") or ()}
    references = [(target, reference_of(target)) for target in compared.targets]
    return [target for target, of in references if not named or (of.group, of.kind, of.name) in named]


def _waves(targets: list[Object]) -> list[tuple[int, list[Object]]]:
    """The objects by wave, and in a wave what others need first."""
    first = ("Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "ServiceAccount", "Secret", "ConfigMap", "Service")
    ordered = sorted(targets, key=lambda obj: (wave_of(obj), first.index(obj["kind"]) if obj["kind"] in first else len(first)))
    return [(wave, list(members)) for wave, members in groupby(ordered, key=wave_of)]


def _note(result: Object, reference: Reference, status: str, message: str) -> None:
    entries = [entry for entry in result.get("resources", ()) if (entry["kind"], entry["name"]) != (reference.kind, reference.name)]
    phase = {"SyncFailed": "Failed", "Pruned": "Succeeded", "PruneSkipped": "Succeeded"}.get(status, "Running")
    entry = {
        "group": "",
        "namespace": "",
        **reference.fields(),
        "status": status,
        "message": message,
        "hookPhase": phase,
        "syncPhase": "Sync",
    }
    result["resources"] = [*entries, entry]


def _place(app: Object, revisions: list[str]) -> Object:
    """Sources and revisions, as they stand in results and in the history."""
    if app["spec"].get("sources"):
        return {"sources": app["spec"]["sources"], "revisions": revisions, "revision": ""}
    return {"source": app["spec"]["source"], "revision": revisions[0] if revisions else ""}


def _history(app: Object, state: Object) -> list[Object]:
    before = dig(app, "status", "history", default=[])
    entry = {
        **{key: value for key, value in _place(app, revisions_in(state["syncResult"])).items() if value},
        "id": before[-1]["id"] + 1 if before else 0,
        "deployedAt": now(),
        "deployStartedAt": state["startedAt"],
        "initiatedBy": state["operation"].get("initiatedBy") or {},
    }
    return [*before, entry][-(app["spec"].get("revisionHistoryLimit") or HISTORY) :]


def _retry_at(state: Object) -> datetime:
    backoff = dig(state, "operation", "retry", "backoff", default={})
    first, most = (seconds(backoff.get(key) or default) for key, default in (("duration", "5s"), ("maxDuration", "3m")))
    delay = min(first * (backoff.get("factor") or 2) ** (state["retryCount"] - 1), most)
    return parse_time(state["finishedAt"]) + timedelta(seconds=delay)
