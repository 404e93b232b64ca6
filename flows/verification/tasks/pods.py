"""Looks at the pods behind an endpoint, one by one, before, while and after they are under load."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

from blocks.endpoint import Endpoint, EndpointClient
from blocks.errors import EndpointRejected, EndpointUnreachable
from blocks.facts import EngineMetrics, Pod, ServedModel
from flows.naming import PORT

#: Between two looks while the load runs, in seconds: often enough to see a cache fill, rarely enough not to be load itself.
PAUSE_SECONDS = 0.5


class PodWatch:
    """The pods of one endpoint, each reached by itself: a Service answers for any of them.

    Args:
        endpoint: How they are reached.
        namespace: Their namespace.
        pods: The pods.
    """

    def __init__(self, endpoint: Endpoint, namespace: str, pods: Sequence[Pod]) -> None:
        self._open = ExitStack()
        self._clients: dict[str, EndpointClient] = {
            pod.name: self._open.enter_context(endpoint.pod_client(namespace, pod.name, pod.address, PORT)) for pod in pods
        }
        #: The highest share of a KV cache in use that was seen while somebody looked; none if nobody said.
        self.peak_kv_cache_usage: float | None = None
        #: Why a look could not be read; empty if all could.
        self.unreadable = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def models(self) -> dict[str, Sequence[ServedModel]]:
        """What each pod's engine lists. Raises as `EndpointClient.models` does."""
        return {name: client.models() for name, client in self._clients.items()}

    def versions(self) -> list[str]:
        """The version that each pod's engine states. Raises as `EndpointClient.version` does."""
        return [client.version() for client in self._clients.values()]

    def metrics(self) -> dict[str, EngineMetrics]:
        """What each pod's engine has counted so far. Raises as `EndpointClient.metrics` does."""
        return {name: client.metrics() for name, client in self._clients.items()}

    def tokens(self) -> int | None:
        """Tokens that all of them have generated so far; none where one does not say."""
        try:
            return sum(metrics.generated_tokens for metrics in self.metrics().values())
        except (EndpointUnreachable, EndpointRejected):
            return None

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Note the highest use of a KV cache while the block runs, by one look at least."""
        enough = threading.Event()

        def look() -> None:
            while True:
                try:
                    usage = max((metrics.kv_cache_usage for metrics in self.metrics().values()), default=0.0)
                    self.peak_kv_cache_usage = max(self.peak_kv_cache_usage or 0.0, usage)
                except EndpointUnreachable:
                    pass  # busy; the counts after the load are asked for again, and say so if nothing answers
                except EndpointRejected as exc:
                    self.unreadable = self.unreadable or exc.message
                if enough.wait(PAUSE_SECONDS):
                    return

        thread = threading.Thread(target=look, name="watch pods", daemon=True)
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()
