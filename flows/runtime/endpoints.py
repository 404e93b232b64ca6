"""The way to endpoints whose engines ask for a key."""

from __future__ import annotations

from blocks.cluster import ClusterClient
from blocks.endpoint import Endpoint
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
    if environment.api_key_secret is None:
        return endpoint
    return endpoint.with_key(cluster.secrets.text(environment.namespace, environment.api_key_secret, API_KEY))
