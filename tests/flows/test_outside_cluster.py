"""The flows on a cluster that is not the sandbox's own: a bare API server elsewhere, which the sandbox's node joins."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import httpx
import pytest

from sandbox.kubernetes.meta.kubeconfig import read_kubeconfig
from sandbox.world import NODES, World
from tests.flows.conftest import open_site
from tests.support.bare_cluster import bare_cluster
from tests.support.outside import Outside


def test_a_release_on_a_cluster_that_is_not_ours_leaves_nothing_there(
    outside: Outside | None, prefect_deployments: dict[str, UUID], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if outside is not None:
        pytest.skip("all flow tests run on the outside cluster already")
    with bare_cluster(tmp_path / "elsewhere") as kubeconfig:
        access = read_kubeconfig(kubeconfig)
        with httpx.Client(base_url=access.url, verify=access.tls(), headers=access.headers()) as cluster:

            def names(path: str) -> list[str]:
                return [item["metadata"]["name"] for item in cluster.get(path).json()["items"]]

            before = names("/api/v1/namespaces")

            # when a model is released to a cluster in another process, with a node of ours
            with (
                World(tmp_path / "world", NODES[:1], kubeconfig=kubeconfig) as world,
                open_site(world, prefect_deployments, tmp_path, monkeypatch) as site,
            ):
                ended = site.release()
                assert ended.is_completed(), ended.message
                # then it serves, through that cluster's API server
                assert site.ask("The capital of France is") == " Paris."
                assert names("/api/v1/nodes") == ["gpu-1"]
                assert [pod.node for pod in site.pods()] == ["gpu-1"]

            # and when the test is over, nothing of it is left: no node, no lease, no namespace
            assert names("/api/v1/nodes") == []
            assert names("/apis/coordination.k8s.io/v1/leases") == []
            assert names("/api/v1/namespaces") == before
