"""When an Application is synced without being asked: the rules of Argo CD's automated sync. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sandbox.argocd.comparison import Comparison
from sandbox.argocd.rendering import sources_of
from sandbox.argocd.status import revisions_in
from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.meta.values import dig, parse_time

#: How long after a sync Argo CD corrects what drifted from it.
SELF_HEAL_SECONDS = 5.0

#: How often an automated sync is tried again where the Application says nothing else.
RETRIES = 5


@dataclass(frozen=True, kw_only=True)
class Automated:
    """What follows: an operation, a complaint (`SyncError`), or another look after some seconds; nothing where all are empty."""

    operation: Object | None = None
    complaint: str = ""
    again_seconds: float | None = None


def automated_sync(app: Object, compared: Comparison, now: datetime) -> Automated:
    """Whether the Application is synced by itself after this comparison."""
    policy = app["spec"].get("syncPolicy") or {}
    automated = policy.get("automated")
    if automated is None or automated.get("enabled") is False or app.get("operation") or "deletionTimestamp" in app["metadata"]:
        return Automated()
    if compared.status != "OutOfSync":
        return Automated()
    different = [resource for resource in compared.resources if resource["status"] != "Synced"]
    # All that is left is to be pruned, and without `prune` a sync would change nothing.
    if not automated.get("prune") and all(resource.get("requiresPruning") for resource in different):
        return Automated()
    named = {"revisions": compared.revisions} if app["spec"].get("sources") else {"revision": compared.revisions[0]}
    sync: Object = {**named, **({"prune": True} if automated.get("prune") else {})}
    if options := policy.get("syncOptions"):
        sync["syncOptions"] = options
    state = dig(app, "status", "operationState", default={})
    # The same commit is not tried again: after a failure Argo CD waits for another one, or for somebody.
    if _is_attempted(app, state, compared.revisions):
        shown = f"[{' '.join(compared.revisions)}]"
        if state["phase"] != "Succeeded":
            return Automated(complaint=f"Failed last sync attempt to {shown}: {state.get('message', '')}")
        if not automated.get("selfHeal"):
            return Automated()
        left = SELF_HEAL_SECONDS - (now - parse_time(state["finishedAt"])).total_seconds()
        if left > 0:
            return Automated(again_seconds=left)
        sync["autoHealAttemptsCount"] = dig(state, "operation", "sync", "autoHealAttemptsCount", default=0) + 1
        keys = ("group", "kind", "name")
        sync["resources"] = [{key: resource[key] for key in keys if key in resource} for resource in different]
    # Argo CD never deletes the last object by itself: a folder may have been emptied by mistake.
    if automated.get("prune") and not automated.get("allowEmpty") and all(entry.get("requiresPruning") for entry in compared.resources):
        return Automated(complaint=f"Skipping sync attempt to {compared.revisions}: auto-sync will wipe out all resources")
    return Automated(
        operation={"sync": sync, "initiatedBy": {"automated": True}, "retry": policy.get("retry") or {"limit": RETRIES}},
    )


def _is_attempted(app: Object, state: Object, revisions: list[str]) -> bool:
    """Whether the last operation was for the same commits of the same sources."""
    result = state.get("syncResult") or {}
    return bool(result) and revisions_in(result) == revisions and sources_of(result) == sources_of(app["spec"])
