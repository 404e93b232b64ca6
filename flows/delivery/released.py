"""Looks whether a Helm release runs as it was rendered, and has its next apply take back what others added."""

from __future__ import annotations

from blocks.cluster import Cluster
from blocks.helm import Helm
from flows.delivery.rendered import HELM, Release, added, as_helm_applies, changed, handed_over, shown_name
from flows.runtime.tasks import step
from flows.spec import Environment


@step
def look_at_release(helm: Helm, cluster: Cluster, environment: Environment, release: str) -> Release:
    """Compare what runs with what was rendered, by a dry run of the same apply. Changes nothing.

    Raises:
        HelmUnreachable, ClusterUnreachable: The cluster did not answer; retried.
        HelmRejected, ClusterRejected: It may not be looked at.
    """
    with helm.client() as charts:
        manifest = [as_helm_applies(one, release, environment.namespace) for one in charts.manifest(release, environment.namespace)]
    lines: list[str] = []
    others = []
    with cluster.client() as client:
        for wanted in manifest:
            name, kind = wanted["metadata"]["name"], wanted["kind"]
            live = client.documents.get(wanted["apiVersion"], kind, environment.namespace, name)
            applied = client.documents.applied(wanted, environment.namespace, HELM)
            if applied is None:  # of another kind than the chart's own
                continue
            if live is None:
                lines.append(f"{shown_name(wanted)} is not there")
                continue
            lines += [f"{shown_name(wanted)} {line}" for line in changed(applied, live, environment.ignore_differences)]
            if fields := added(applied, environment.ignore_differences):
                others.append((dict(live), fields))
    return Release(changed=tuple(lines), added=tuple(others))


@step
def take_back(cluster: Cluster, environment: Environment, found: Release) -> None:
    """Make what others added Helm's own, so that its next apply removes it. Nothing that runs is changed by this.

    Raises:
        ClusterConflict: Somebody changed it meanwhile; retried.
    """
    with cluster.client() as client:
        for live, fields in found.added:
            owners = handed_over(live, fields)
            if owners is not None:
                client.documents.give(live, environment.namespace, owners)
