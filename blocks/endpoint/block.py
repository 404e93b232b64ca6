"""The block: how a model's endpoint and its pods are reached, by address inside the cluster or through the API server outside."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from prefect.blocks.core import Block
from pydantic import Field, PrivateAttr, SecretStr

from blocks.endpoint.client import EndpointClient
from blocks.errors import EndpointRejected
from blocks.kubeconfig import load_access

# The domain behind `svc` is whatever the cluster was set up with.
_SERVICE = re.compile(r"^(?P<service>[^.:]+)\.(?P<namespace>[^.:]+)\.svc\.[^:]+:(?P<port>\d+)$")


class Endpoint(Block):
    """How model endpoints of an environment are reached: by their DNS name inside the cluster, or through the API server from outside."""

    _block_type_name = "Slipway endpoint"
    _block_type_slug = "slipway-endpoint"

    via: Literal["dns", "service-proxy"] = Field(default="dns", description="dns inside the cluster, service-proxy from outside.")
    kubeconfig: Path | None = Field(
        default=None, description="For the service proxy: kubeconfig file; empty uses the pod's service account."
    )
    context: str | None = Field(default=None, description="A context of that file; empty uses its current one.")
    timeout_seconds: float = Field(default=60.0, gt=0, description="How long one request may take. vLLM's first completion took 28 s.")

    # Of one run: neither saved with the block nor shown.
    _key: SecretStr | None = PrivateAttr(default=None)
    _key_secret: str = PrivateAttr(default="")

    def with_key(self, key: str, secret: str) -> Self:
        """The same, sending the key that engines ask for (vLLM's `--api-key`) as a bearer token.

        Args:
            key: The key.
            secret: Where it comes from, as an engine's refusal names it: `NAME in NAMESPACE`.

        Raises:
            EndpointRejected: The API server's proxy passes no such header on: it takes it for its own, and removes it.
        """
        if self.via == "service-proxy":
            raise EndpointRejected(
                "Engines that ask for a key cannot be reached by the API server's proxy; use an endpoint block with via: dns."
            )
        keyed = self.model_copy()
        keyed._key, keyed._key_secret = SecretStr(key), secret
        return keyed

    def client(self, endpoint: str) -> EndpointClient:
        """A client for the endpoint `host:port`; use it as a context manager.

        Raises:
            EndpointRejected: It is not a cluster-internal service address.
            ClusterRejected: The kubeconfig or its context does not exist.
        """
        return EndpointClient(endpoint, *self.target(endpoint), self.timeout_seconds, self._key_secret)

    def pod_client(self, namespace: str, pod: str, address: str, port: int) -> EndpointClient:
        """A client for one pod behind an endpoint, past its Service; use it as a context manager.

        Args:
            namespace: The pod's namespace.
            pod: Its name, by which the API server reaches it.
            address: Its IP address, by which it is reached inside the cluster.
            port: The port that the engine listens on.

        Raises:
            ClusterRejected: The kubeconfig or its context does not exist.
        """
        name = f"pod {pod}"
        if self.via == "dns":
            host = f"[{address}]" if ":" in address else address
            return EndpointClient(name, f"http://{host}:{port}", self._headers(), None, self.timeout_seconds, self._key_secret)
        access = self.access()
        return EndpointClient(name, access.proxied(namespace, f"pods/{pod}:{port}"), access.headers, access.tls, self.timeout_seconds)

    def target(self, endpoint: str) -> tuple[str, dict[str, str], ssl.SSLContext | None]:
        """How `host:port` is reached from here: base URL, headers, and the TLS context (none for plain HTTP).

        Raises:
            EndpointRejected: It is not a cluster-internal service address.
            ClusterRejected: The kubeconfig or its context does not exist.
        """
        access = self.access()
        return access.base_url(endpoint), access.headers, access.tls

    def access(self) -> EndpointAccess:
        """What is the same for all endpoints: read the kubeconfig once, ask many.

        Raises:
            ClusterRejected: The kubeconfig or its context does not exist.
        """
        if self.via == "dns":
            return EndpointAccess(api_server=None, headers=self._headers(), tls=None, key_secret=self._key_secret)
        cluster = load_access(self.kubeconfig, self.context)
        return EndpointAccess(api_server=cluster.host, headers=cluster.headers(), tls=cluster.tls)

    def _headers(self) -> dict[str, str]:
        return {} if self._key is None else {"Authorization": f"Bearer {self._key.get_secret_value()}"}


@dataclass(frozen=True, kw_only=True)
class EndpointAccess:
    """How the endpoints of an environment are reached from here.

    Attributes:
        api_server: The API server whose proxy is used; None where their DNS names can be resolved.
        headers: To be sent along.
        tls: How to check the server's certificate; None for plain HTTP.
        key_secret: The Secret that the engines' key comes from; empty where none is sent.
    """

    api_server: str | None
    headers: dict[str, str] = field(repr=False)
    tls: ssl.SSLContext | None
    key_secret: str = ""

    def base_url(self, endpoint: str) -> str:
        """The URL of `host:port`.

        Raises:
            EndpointRejected: It is not a cluster-internal service address.
        """
        if self.api_server is None:
            return f"http://{endpoint}"
        match = _SERVICE.match(endpoint)
        if match is None:
            raise EndpointRejected(f"{endpoint!r} is not the address of a Service (name.namespace.svc.domain:port).")
        # With the port: for one that has a name, the proxy finds no endpoints (503) unless it is told which.
        return self.proxied(match["namespace"], f"services/{match['service']}:{match['port']}")

    def proxied(self, namespace: str, what: str) -> str:
        """The URL of a service or a pod behind the API server's proxy."""
        return f"{self.api_server}/api/v1/namespaces/{namespace}/{what}/proxy"
