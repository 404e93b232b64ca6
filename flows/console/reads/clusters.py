"""What the clusters say: nodes, and the pods of a rollout. Asked for seconds at the most, and only where the console reaches them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar, get_args

from blocks.cluster import ClusterSettings
from blocks.errors import PipelineError
from blocks.facts import Node, Pod
from blocks.facts.cluster import INSTANCE
from flows.console.reads.known import Unknown
from flows.errors import SpecInvalid
from flows.naming import Slot, engine_name, release_name
from flows.runtime.prefect_api import PrefectApi
from flows.runtime.saved_blocks import block_settings
from flows.spec import Environment

_LOG = logging.getLogger(__name__)

Seen = TypeVar("Seen")

#: How long one request to a cluster may take, and all that a page asks of clusters, in seconds.
REQUEST_SECONDS, PAGE_SECONDS = 3.0, 5.0

#: Clusters that are asked at the same time.
_AT_ONCE = 8

#: What the chart labels everything with.
_CHART = "vllm-deployment"


@dataclass(frozen=True, kw_only=True)
class EnvironmentNodes:
    """The nodes that an environment's pods may run on, and which snapshots its pods mount on each, by the node's name."""

    nodes: tuple[Node, ...]
    mounted: Mapping[str, tuple[str, ...]]


class Clusters:
    """Asks the clusters that the environments name.

    Args:
        prefect: Where their blocks are saved.
    """

    def __init__(self, prefect: PrefectApi) -> None:
        self._prefect = prefect
        # What hangs beyond its time ends by itself, and keeps no page waiting.
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="clusters")

    def close(self) -> None:
        """Ask nothing any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def nodes(self, environments: Sequence[Environment]) -> Mapping[str, EnvironmentNodes | Unknown]:
        """The nodes of each environment, by its name."""
        return self._each(environments, self._nodes)

    def pods(self, model: str, environments: Sequence[Environment]) -> Mapping[str, tuple[Pod, ...] | Unknown]:
        """The model's pods in each environment, by its name."""
        return self._each(environments, lambda environment: self._pods(model, environment))

    def _each(self, environments: Sequence[Environment], ask: Callable[[Environment], Seen]) -> dict[str, Seen | Unknown]:
        asked = {environment.name: self._threads.submit(ask, environment) for environment in environments}
        found: dict[str, Seen | Unknown] = {}
        for name, answer in asked.items():
            try:
                found[name] = answer.result(timeout=PAGE_SECONDS)
            except PipelineError as exc:
                # What a cluster or Prefect says of itself names its address, which is nobody's business who looks at a page.
                _LOG.warning("The cluster of %s cannot be asked: %s", name, exc.message)
                ours = isinstance(exc, SpecInvalid) and "prefect_status" not in exc.facts
                found[name] = Unknown(why=exc.message if ours else f"the cluster of {name} cannot be asked; the console's log has why")
            except TooLate:
                found[name] = Unknown(why=f"the cluster of {name} did not answer within {PAGE_SECONDS:g} s")
        return found

    def _settings(self, environment: Environment) -> ClusterSettings:
        settings = block_settings(self._prefect, ClusterSettings, "slipway-cluster", environment.blocks)
        return settings.model_copy(update={"timeout_seconds": min(settings.timeout_seconds, REQUEST_SECONDS)})

    def _nodes(self, environment: Environment) -> EnvironmentNodes:
        with self._settings(environment).client() as client:
            nodes = tuple(client.nodes.list(environment.node_selector))
            mounted = client.mounts.claimed_by_node(environment.namespace, {"app.kubernetes.io/name": _CHART})
        return EnvironmentNodes(nodes=nodes, mounted=mounted)

    def _pods(self, model: str, environment: Environment) -> tuple[Pod, ...]:
        release = release_name(model, environment.name)
        with self._settings(environment).client() as client:
            # Both engines of it: one may stand beside the one that serves.
            both = (
                client.pods.list(environment.namespace, {"app.kubernetes.io/name": _CHART, INSTANCE: engine_name(release, slot)})
                for slot in get_args(Slot)
            )
            return tuple(chain.from_iterable(both))
