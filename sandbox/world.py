"""The whole sandbox as one object: PostgreSQL, a hub, a cluster with GPU nodes, and the images that its nodes know.

`with World(folder) as world:` starts everything in this process (and child processes for PostgreSQL and the pods), and leaves
nothing behind but the folder. What each part does not emulate is said in its own module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.argocd.controller import ApplicationController
from sandbox.engine.faults import EngineFaults
from sandbox.forks import Forks
from sandbox.hub import Hub
from sandbox.kubernetes.cluster import AgentOptions, Cluster, NodeSpec
from sandbox.kubernetes.node.images import Image
from sandbox.kubernetes.outside import OutsideCluster
from sandbox.postgres import Postgres
from sandbox.serving import LoopThread

#: Image names that the sandbox's nodes know; every other one cannot be pulled.
ENGINE_IMAGE = "slipway-sandbox/vllm-openai"
PREFETCH_IMAGE = "slipway-sandbox/prefetch"
WORKER_IMAGE = "slipway-sandbox/worker"

#: The folder that whoever sets up a node makes on its disk, for the weights.
STORE = "/var/lib/slipway"

#: Two nodes with four GPUs each: three environments, two replicas in production, and room for a surge.
NODES = (
    NodeSpec(name="gpu-1", gpus=4, cpus=64, memory_bytes=256 << 30),
    NodeSpec(name="gpu-2", gpus=4, cpus=64, memory_bytes=256 << 30),
)


#: What takes a second on a real cluster, and nobody has to wait for here: how a pod ends, and that its Job hears of it.
BRISK = 0.1


class World:
    """Everything that a laptop lacks.

    Args:
        folder: Where all of it keeps its files; made if it is not there.
        nodes: The cluster's nodes.
        kubeconfig: A cluster that the nodes join; without one, the world has a stand-in of its own.
        subnet: The network of the nodes and their pods; needed where the cluster's API server takes no loopback addresses.
        durable: Without, PostgreSQL syncs nothing to disk: for tests.

    Attributes:
        hub: The stand-in hub.
        cluster: The cluster.
        postgres: A real PostgreSQL.
        images: What the nodes know by which name; more may be added at any time.
        engine_faults: What the engines are asked to do wrong.
        loop: The event loop that all of it runs on; further servers may use it.
    """

    def __init__(
        self,
        folder: Path,
        nodes: Sequence[NodeSpec] = NODES,
        *,
        kubeconfig: Path | None = None,
        subnet: str | None = None,
        durable: bool = True,
    ) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._nodes = nodes
        self._kubeconfig = kubeconfig
        self._subnet = subnet
        self._durable = durable
        self._open = ExitStack()
        self._argo: ApplicationController | None = None

    def start(self) -> None:
        """Start all parts; whatever fails, nothing keeps running."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self.engine_faults = EngineFaults(self.folder / "engine-faults.json")
        # Imports are most of what the start of either costs.
        forks = self._open.enter_context(Forks(("sandbox.engine", "flows.node"), ("flows.node.fetch",)))
        self.images = {
            ENGINE_IMAGE: Image(
                command=(sys.executable, "-m", "sandbox.engine"),
                env={"SANDBOX_ENGINE_FAULTS": str(self.engine_faults.path)},
                forks=forks,
            ),
            PREFETCH_IMAGE: Image(command=(sys.executable, "-m", "flows.node"), forks=forks),
            WORKER_IMAGE: Image(command=(), env={"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}),
        }
        self.loop = self._open.enter_context(LoopThread())
        self.postgres = Postgres(self.folder / "postgres", durable=self._durable)
        self._open.callback(self.postgres.close)
        with ThreadPoolExecutor(1) as beside:  # initdb takes longer than all the rest together
            postgres = beside.submit(self.postgres.start)
            self.hub = Hub(self.folder / "hub", self.loop)
            self._open.callback(self.hub.close)
            self.hub.start()
            self.cluster = self._make_cluster(self.images)
            self._open.callback(self.cluster.close)
            self.cluster.start()
            for node in self.cluster.nodes:
                (node.disk / STORE.lstrip("/")).mkdir(parents=True, exist_ok=True)
            postgres.result()

    def _make_cluster(self, images: Mapping[str, Image]) -> Cluster | OutsideCluster:
        folder = self.folder / "cluster"
        if self._kubeconfig is None:
            return Cluster(
                folder, self.loop, nodes=self._nodes, images=images, options=AgentOptions(settle_seconds=BRISK), job_sync_seconds=BRISK
            )
        return OutsideCluster(self._kubeconfig, folder, self.loop, nodes=self._nodes, images=images, subnet=self._subnet)

    def start_argo(self, poll_seconds: float = 180.0) -> ApplicationController:
        """Let Argo CD's stand-in deliver what Applications on the cluster say, from now on; the one that runs where it was started before.

        Args:
            poll_seconds: How often it asks the Git repositories by itself; Argo CD's own default is three minutes.
        """
        if self._argo is None:
            user = "system:serviceaccount:argocd:argocd-application-controller"
            argo = ApplicationController(self.cluster.client(user), self.folder / "argocd", poll_seconds=poll_seconds)
            self._open.callback(lambda: self.loop.run(argo.close()))
            self.loop.run(argo.start())
            self._argo = argo
        return self._argo

    def close(self) -> None:
        """End everything. Safe to call twice."""
        self._open.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
