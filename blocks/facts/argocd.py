"""What Argo CD was seen to say of an Application: plain frozen data. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ApplicationSource:
    """One place that an Application's manifests come from.

    Attributes:
        repository: The Git repository, or the Helm one of a chart.
        target: The branch, tag, commit or chart version that it follows; empty for the repository's default branch.
        path: The folder in a Git repository; empty for a chart of a Helm repository, or a source that only gives values.
        chart: The chart's name in a Helm repository; empty for Git.
        ref: The name by which other sources' value files refer to this one (`$NAME/…`); empty if they do not.
        value_files: Helm's value files, as they are written in the Application.
        release_name: Helm's release name; empty for the Application's own.
    """

    repository: str
    target: str = ""
    path: str = ""
    chart: str = ""
    ref: str = ""
    value_files: tuple[str, ...] = ()
    release_name: str = ""


@dataclass(frozen=True, kw_only=True)
class ArgoOperation:
    """The operation of an Application that was asked for, runs, or ran last.

    Attributes:
        phase: Argo CD's phase: `Running`, `Terminating`, `Succeeded`, `Failed` or `Error`; `Pending` where it has not begun it yet.
        message: Argo CD's own words about it.
        revisions: What it syncs to, one for each source; what was asked for where it is not resolved yet.
        whole: Whether it syncs everything for real: neither a dry run nor chosen resources only.
        requester: Who asked for it; empty where Argo CD itself did.
        started_at: When it began, by Argo CD's clock, whole seconds.
        finished_at: When it ended, or when its last attempt failed.
        retries: How often Argo CD has tried it again.
    """

    phase: str
    message: str = ""
    revisions: tuple[str, ...] = ()
    whole: bool = True
    requester: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    retries: int = 0

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.phase in ("Running", "Terminating")


@dataclass(frozen=True, kw_only=True)
class Application:
    """An Argo CD Application, and how far Argo CD is with it.

    Attributes:
        name: Its name.
        namespace: The namespace that it lies in, which is Argo CD's and not the one that it deploys to.
        version: The object's version that was read.
        deleting: Whether it is being deleted.
        sources: Where its manifests come from.
        multiple: Whether it lists its sources (`spec.sources`), so that its revisions are lists, too.
        destination_namespace: Where it deploys to.
        automated: Whether Argo CD syncs it by itself.
        sync_options: Its sync options, which an operation must repeat to have them.
        sync_status: `Synced`, `OutOfSync` or `Unknown`; empty before the first comparison.
        revisions: What it was compared to, one for each source.
        health: `Healthy`, `Progressing`, `Degraded`, `Suspended`, `Missing` or `Unknown`; empty before the first look.
        reconciled_at: When it was compared last, by Argo CD's clock, whole seconds.
        refreshing: Whether a refresh was asked for that Argo CD has not come to yet.
        requested: Whether an operation was asked for that has not ended; Argo CD may not have begun it.
        operation: The operation that was asked for, runs, or ran last.
        conditions: What Argo CD complains of, message by type (`ComparisonError`, `InvalidSpecError`, `SyncError`, …).
        out_of_sync: The resources that are not as Git has them, `Kind/name`.
    """

    name: str
    namespace: str
    version: str = ""
    deleting: bool = False
    sources: tuple[ApplicationSource, ...]
    multiple: bool = False
    destination_namespace: str = ""
    automated: bool = False
    sync_options: tuple[str, ...] = ()
    sync_status: str = ""
    revisions: tuple[str, ...] = ()
    health: str = ""
    reconciled_at: datetime | None = None
    refreshing: bool = False
    requested: bool = False
    operation: ArgoOperation | None = None
    conditions: Mapping[str, str]
    out_of_sync: tuple[str, ...] = ()


#: The annotation by which people and programs ask Argo CD to compare at once.
REFRESH = "argocd.argoproj.io/refresh"


def application_fact(document: Mapping[str, Any]) -> Application:
    """The Application that an object of `applications.argoproj.io` describes."""
    metadata, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
    policy = spec.get("syncPolicy") or {}
    listed = spec.get("sources")
    compared = status.get("sync") or {}
    return Application(
        name=metadata["name"],
        namespace=metadata["namespace"],
        version=metadata.get("resourceVersion", ""),
        deleting="deletionTimestamp" in metadata,
        sources=tuple(_source(source) for source in listed or [spec.get("source") or {}]),
        multiple=bool(listed),
        destination_namespace=(spec.get("destination") or {}).get("namespace", ""),
        automated=_is_automated(policy),
        sync_options=tuple(policy.get("syncOptions") or ()),
        sync_status=compared.get("status", ""),
        revisions=_revisions(compared),
        health=(status.get("health") or {}).get("status", ""),
        reconciled_at=_time(status.get("reconciledAt")),
        refreshing=REFRESH in (metadata.get("annotations") or {}),
        requested=bool(document.get("operation")),
        operation=_operation(document.get("operation"), status.get("operationState")),
        conditions={condition["type"]: condition.get("message", "") for condition in status.get("conditions") or ()},
        out_of_sync=tuple(
            f"{resource.get('kind', '')}/{resource.get('name', '')}"
            for resource in status.get("resources") or ()
            if resource.get("status") == "OutOfSync"
        ),
    )


def _source(source: Mapping[str, Any]) -> ApplicationSource:
    helm = source.get("helm") or {}
    return ApplicationSource(
        repository=source.get("repoURL", ""),
        target=source.get("targetRevision", ""),
        path=source.get("path", ""),
        chart=source.get("chart", ""),
        ref=source.get("ref", ""),
        value_files=tuple(helm.get("valueFiles") or ()),
        release_name=helm.get("releaseName", ""),
    )


def _is_automated(policy: Mapping[str, Any]) -> bool:
    """An `automated` without `enabled` is on; Argo CD 3.1 and newer know `enabled: false`."""
    automated = policy.get("automated")
    return automated is not None and automated.get("enabled") is not False


def _operation(requested: Mapping[str, Any] | None, state: Mapping[str, Any] | None) -> ArgoOperation | None:
    if requested and (state or {}).get("phase") not in ("Running", "Terminating"):
        state = {"phase": "Pending", "operation": requested}  # what is there is of the operation before
    if not state:
        return None
    asked = state.get("operation") or {}
    sync, by = asked.get("sync") or {}, asked.get("initiatedBy") or {}
    return ArgoOperation(
        phase=state.get("phase", ""),
        message=state.get("message", ""),
        # The result first: it names the commit that a branch was resolved to.
        revisions=_revisions(state.get("syncResult") or {}) or _revisions(sync),
        whole=not sync.get("dryRun") and not sync.get("resources"),
        requester="" if by.get("automated") else by.get("username", ""),
        started_at=_time(state.get("startedAt")),
        finished_at=_time(state.get("finishedAt")),
        retries=int(state.get("retryCount") or 0),
    )


def _revisions(place: Mapping[str, Any]) -> tuple[str, ...]:
    """The revisions of all sources, or that of the only one."""
    return tuple(place.get("revisions") or ([place["revision"]] if place.get("revision") else []))


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
