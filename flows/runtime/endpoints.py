"""The way to endpoints whose engines ask for a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from blocks.cluster import Cluster, ClusterClient
from blocks.endpoint import Endpoint
from blocks.errors import PipelineError, Transient
from flows.spec import Environment

#: Where the Secret that an environment names has the key.
API_KEY = "api-key"


def keyed(endpoint: Endpoint, cluster: ClusterClient, environment: Environment) -> Endpoint:
    """The endpoint block as it is, or with the key that the environment's engines ask for, read from its Secret.

    Raises:
        ClusterRejected: There is no such Secret, or it has no such key.
        ClusterUnreachable: The cluster did not answer.
        EndpointRejected: Endpoints are reached by a way that passes no key on.
    """
    if (secret := environment.api_key_secret) is None:
        return endpoint
    return endpoint.with_key(cluster.secrets.text(environment.namespace, secret, API_KEY), f"{secret} in {environment.namespace}")


class Ways:
    """How the endpoints of all environments are reached. Keys are read anew each time: whoever watches for weeks sees Secrets change.

    Args:
        endpoints: The block of each environment, by its name.
        guarded: The environments whose engines ask for a key, with the cluster that has their Secrets.
    """

    def __init__(self, endpoints: Mapping[str, Endpoint], guarded: Mapping[str, tuple[Cluster, Environment]]) -> None:
        self._endpoints = endpoints
        self._guarded = guarded
        self._known: dict[str, Endpoint] = {}

    def now(self, tell: Callable[[str], None]) -> Mapping[str, Endpoint]:
        """The endpoint block of each environment, by its name, with its key.

        One whose Secret cannot be read is left out, so that the others are seen all the same; `tell` is told why. A cluster that does not
        answer changes nothing: the key that was read last goes on.
        """
        for name, (cluster, environment) in self._guarded.items():
            try:
                with cluster.client() as client:
                    self._known[name] = keyed(self._endpoints[name], client, environment)
            except PipelineError as exc:
                tell(f"The key of the engines in {name} cannot be read: {exc.message}")
                if not isinstance(exc, Transient):
                    self._known.pop(name, None)
        plain = {name: endpoint for name, endpoint in self._endpoints.items() if name not in self._guarded}
        return {**plain, **self._known}
