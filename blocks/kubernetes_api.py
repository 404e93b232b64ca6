"""One pool of connections to an API server, and what its errors mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import urllib3.exceptions
from kubernetes import client as kubernetes_client
from kubernetes import watch
from kubernetes.client.exceptions import ApiException

from blocks.errors import ClusterConflict, ClusterRejected, ClusterUnreachable, PipelineError


class KubernetesApi:
    """Calls the API server; what the clients of all blocks that do so have.

    Args:
        configuration: Where it is, and who we are.
        timeout_seconds: How long one request may take.
    """

    def __init__(self, configuration: kubernetes_client.Configuration, timeout_seconds: float) -> None:
        self.host = str(configuration.host)
        self._timeout = timeout_seconds
        self.client = kubernetes_client.ApiClient(configuration)
        self._versions: dict[tuple[str, str], str] = {}

    def close(self) -> None:
        """Close all connections."""
        self.client.close()  # type: ignore[no-untyped-call]

    def remember(self, namespace: str, name: str, version: str) -> None:
        """Note which version of an object was read last."""
        self._versions[namespace, name] = version

    def wait(self, method: Callable[..., Any], namespace: str, name: str, seconds: float) -> None:
        """Wait until the object changes since the version that is remembered, `seconds` at most.

        A watch that ends with its first event.

        Args:
            method: What lists objects of its kind in a namespace.
            namespace: Where it is.
            name: Its name.
            seconds: The longest wait.
        """
        events = watch.Watch().stream(  # type: ignore[no-untyped-call]
            method,
            namespace,
            field_selector=f"metadata.name={name}",
            # Without one the API server begins with what is there: an object that was never read is not waited for.
            resource_version=self._versions.get((namespace, name)),
            # Whole seconds; 0 would leave it to the server, which takes half an hour and more.
            timeout_seconds=max(1, round(seconds)),
            _request_timeout=self._timeout,
        )
        try:
            # Or the connection stays with the watch until the server ends that.
            with closing(events):
                next(events, None)
        except ApiException as exc:
            if exc.status != 410:  # too old a version: there are changes
                raise self._error(exc) from exc
        except urllib3.exceptions.HTTPError as exc:
            raise self._error(exc) from exc

    def create(self, method: Callable[..., Any], *arguments: Any) -> None:
        """Call what creates; something of that name that is there already was made by an earlier attempt."""
        try:
            self.call(method, *arguments)
        except ClusterConflict as exc:
            # 409 is also said where somebody else changed the object.
            if exc.facts.get("reason") != "AlreadyExists":
                raise

    def find(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What `call` returns; none if there is no such object."""
        try:
            return self.call(method, *arguments, **options)
        except ClusterRejected as exc:
            if exc.facts.get("code") == 404:
                return None
            raise

    def list(self, path: str, kind: str, selector: str) -> list[Any]:
        """The objects that carry the labels, as the Kubernetes client's own models; one request, with errors as of `call`.

        It does what the client's method for that list does. Those methods' classes import every model there is when they are first used,
        which takes longer than a look at a cluster; this takes those that it needs.

        Args:
            path: Such as `/api/v1/nodes`.
            kind: The list's model, such as `V1NodeList`.
            selector: The labels.
        """

        def ask(*, _request_timeout: float) -> Any:
            request = self.client.param_serialize(
                method="GET",
                resource_path=path,
                query_params=[("labelSelector", selector)],
                header_params={"Accept": "application/json"},
                auth_settings=["BearerToken"],
            )
            response = self.client.call_api(*request, _request_timeout=_request_timeout)
            response.read()  # type: ignore[no-untyped-call]
            return self.client.response_deserialize(response_data=response, response_types_map={"200": kind}).data

        return [*self.call(ask).items]

    def call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What a method of the Kubernetes client returns, in one request with our time limit.

        Raises:
            ClusterUnreachable: The API server did not answer, or cannot now.
            ClusterConflict: The object is there already, or changed meanwhile.
            ClusterRejected: It refuses.
        """
        try:
            return method(*arguments, _request_timeout=self._timeout, **options)
        except (ApiException, urllib3.exceptions.HTTPError) as exc:
            raise self._error(exc) from exc

    def _error(self, exc: Exception) -> PipelineError:
        # The client makes an ApiException of a failed TLS handshake, with status 0.
        if not isinstance(exc, ApiException) or not exc.status:
            return ClusterUnreachable(
                f"The cluster at {self.host} cannot be reached ({type(exc).__name__}); check the kubeconfig and the network."
            )
        reason, message = _status(exc)
        facts = {"code": exc.status, "reason": reason}
        if exc.status == 409:
            return ClusterConflict(f"The cluster reports a conflict: {message}.", **facts)
        # 429: priority and fairness turns requests away while the server is busy. 500: etcd is slow, or has no leader.
        if exc.status in (429, 500, 502, 503, 504):
            return ClusterUnreachable(f"The cluster at {self.host} answered HTTP {exc.status}: {message}.", **facts)
        if exc.status == 401:
            return ClusterRejected(
                f"The cluster at {self.host} does not accept the credentials of the kubeconfig (HTTP 401): renew them.", **facts
            )
        return ClusterRejected(f"The cluster refused: {message}.", **facts)


def _status(exc: ApiException) -> tuple[str, str]:
    try:
        status = json.loads(exc.body or "")
        return str(status.get("reason", "")), str(status.get("message", exc.reason)).rstrip(".")
    # A load balancer in between answers in its own words, without a Status object.
    except (TypeError, ValueError, AttributeError):
        return "", str(exc.reason)
