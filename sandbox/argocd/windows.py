"""Sync windows of projects: when Applications may be synced, by themselves and when asked. Pure.

Not emulated: `andOperator` (one matching list is enough), `syncOverrun`, and windows for clusters by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from cronsim import CronSim

from sandbox.argocd.durations import seconds
from sandbox.kubernetes.meta.client import Object

BLOCKED = "Sync operation blocked by sync window"


def may_sync(app: Object, project: Object, now: datetime, *, asked: bool) -> bool:
    """Whether the Application may be synced now.

    Args:
        app: The Application.
        project: Its project.
        now: The time, aware.
        asked: Whether somebody asks for it; some windows only hold Argo CD itself back.
    """
    windows = [window for window in project["spec"].get("syncWindows") or () if _matches(window, app)]
    active = [window for window in windows if _is_active(window, now)]
    denying = [window for window in active if window["kind"] == "deny"]
    # Deny wins; and as soon as there is any allow window, whatever is outside of all of them is denied.
    if denying:
        return asked and _all_manual(denying)
    allowing = [window for window in windows if window["kind"] == "allow"]
    return not allowing or any(window in active for window in allowing) or (asked and _all_manual(allowing))


def _all_manual(windows: Iterable[Object]) -> bool:
    return all(window.get("manualSync") for window in windows)


def _matches(window: Object, app: Object) -> bool:
    names = [*(window.get("applications") or ())], [*(window.get("namespaces") or ())]
    values = app["metadata"]["name"], app["spec"]["destination"].get("namespace", "")
    return any(fnmatchcase(value, pattern) for value, patterns in zip(values, names, strict=True) for pattern in patterns)


def _is_active(window: Object, now: datetime) -> bool:
    """Whether the window opened within its duration before now."""
    local = now.astimezone(ZoneInfo(window.get("timeZone") or "UTC"))
    opened = next(CronSim(window["schedule"], local - timedelta(seconds=seconds(window["duration"]))))
    return opened <= local
