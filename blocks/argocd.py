"""Argo CD, through its Applications on the Kubernetes API: reads them, and asks for refreshes and syncs. No `argocd` command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from prefect.blocks.core import Block
from pydantic import Field

from blocks.errors import ClusterRejected
from blocks.facts.argocd import REFRESH, Application, application_fact
from blocks.kubeconfig import load_access
from blocks.kubernetes_api import KubernetesApi, path_of

#: Whose Applications these are; the version that every release of Argo CD has served.
_GROUP = "argoproj.io/v1alpha1"


def _path(namespace: str, name: str = "") -> str:
    return path_of(namespace, "applications", name, group=_GROUP)


class Argo(Block):
    """The cluster that Argo CD's Applications lie on: a kubeconfig file with its context, or the service account of the pod.

    It needs `get`, `list`, `watch` and `patch` on `applications.argoproj.io` in Argo CD's namespace, and nothing else.
    """

    _block_type_name = "Slipway Argo CD"
    _block_type_slug = "slipway-argo"

    kubeconfig: Path | None = Field(default=None, description="Kubeconfig file; empty uses the service account of the pod.")
    context: str | None = Field(default=None, description="A context of that file; empty uses its current one.")
    timeout_seconds: float = Field(default=30.0, gt=0, description="How long one request may take.")

    def client(self) -> ArgoClient:
        """A client for this Argo CD; use it as a context manager.

        Raises:
            ClusterRejected: The kubeconfig or its context does not exist.
        """
        return ArgoClient(self)


class ArgoClient:
    """Reads Applications and asks Argo CD for refreshes and operations; it changes nothing else of them."""

    def __init__(self, block: Argo) -> None:
        self._cluster = KubernetesApi(load_access(block.kubeconfig, block.context), block.timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.close()

    def application(self, namespace: str, name: str) -> Application | None:
        """The Application as it is now; none if there is no such Application.

        Raises:
            ClusterRejected: There is no Argo CD on the cluster, or we may not read its Applications.
            ClusterUnreachable: The API server did not answer.
        """
        try:
            document = self._cluster.call("GET", _path(namespace, name))
        except ClusterRejected as exc:
            if exc.facts.get("code") != 404:
                raise
            # Without the definition, the path itself is not found, and the answer does not name the object.
            if name in exc.message:
                return None
            raise ClusterRejected(
                f"The cluster at {self._cluster.host} has no Argo CD: it does not know applications.argoproj.io.", **exc.facts
            ) from exc
        self._cluster.remember(namespace, name, document["metadata"]["resourceVersion"])
        return application_fact(document)

    def wait_for_application(self, namespace: str, name: str, seconds: float) -> None:
        """Wait until the Application changes since it was last looked at, `seconds` at most."""
        self._cluster.wait(_path(namespace), namespace, name, seconds)

    def refresh(self, seen: Application) -> None:
        """Ask Argo CD to resolve the branch anew and to compare at once; it takes the annotation away when it has done so."""
        self._patch(seen, {"metadata": {"annotations": {REFRESH: "normal"}}})

    def request_sync(self, seen: Application, revisions: Sequence[str], *, prune: bool, requester: str) -> None:
        """Ask for a sync of the whole Application, unless it changed since it was looked at.

        Args:
            seen: The Application as it was looked at: no operation ran.
            revisions: What to sync to, one for each source; a commit is best named in full.
            prune: Whether what Git no longer has is deleted.
            requester: Who asks for it, as Argo CD shows it.

        Raises:
            ClusterConflict: The Application changed meanwhile: look again.
        """
        named = {"revisions": list(revisions)} if seen.multiple else {"revision": revisions[0]}
        # Argo CD takes the options of an operation from the operation alone, and not from the Application's policy.
        options = {"syncOptions": list(seen.sync_options)} if seen.sync_options else {}
        sync = {**named, **options, "prune": prune, "syncStrategy": {"hook": {}}}
        operation = {"initiatedBy": {"username": requester}, "sync": sync}
        # As Argo CD's own API does it: the controller merges the new state into the one of the operation before.
        self._patch_unchanged(seen, {"operation": operation, "status": {"operationState": None}})

    def terminate(self, seen: Application) -> None:
        """Ask Argo CD to give up the operation that runs, or take back one that it has not begun; unless the Application changed meanwhile.

        Raises:
            ClusterConflict: The Application changed meanwhile: look again.
        """
        begun = seen.operation is not None and seen.operation.running
        self._patch_unchanged(seen, {"status": {"operationState": {"phase": "Terminating"}}} if begun else {"operation": None})

    def _patch_unchanged(self, seen: Application, patch: Mapping[str, Any]) -> None:
        # A patch that names a version is refused (409) where the object has another by now.
        self._patch(seen, {**patch, "metadata": {"resourceVersion": seen.version}})

    def _patch(self, seen: Application, patch: Mapping[str, Any]) -> None:
        self._cluster.patch(_path(seen.namespace, seen.name), patch)
