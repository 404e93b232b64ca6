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
    """Calls the API server; what the clients of all blocks that do so share.

    Args:
        configuration: Where it is, and who we are.
        timeout_seconds: How long one request may take.
    """

    def __init__(self, configuration: kubernetes_client.Configuration, timeout_seconds: float) -> None:
        self._host = str(configuration.host)
        self._timeout = timeout_seconds
        self._api = kubernetes_client.ApiClient(configuration)
        self._versions: dict[tuple[str, str], str] = {}

    def close(self) -> None:
        """Close all connections."""
        self._api.close()  # type: ignore[no-untyped-call]

    def _wait(self, method: Callable[..., Any], namespace: str, name: str, seconds: float) -> None:
        """A watch that ends with the first event since the object's version that was read last."""
        events = watch.Watch().stream(  # type: ignore[no-untyped-call]
            method,
            namespace,
            field_selector=f"metadata.name={name}",
            resource_version=self._versions.get((namespace, name)),
            timeout_seconds=max(1, round(seconds)),
            _request_timeout=self._timeout,
        )
        try:
            with closing(events):
                next(events, None)
        except ApiException as exc:
            if exc.status != 410:  # too old a version: there are changes
                raise self._error(exc) from exc
        except urllib3.exceptions.HTTPError as exc:
            raise self._error(exc) from exc

    def _create(self, method: Callable[..., Any], *arguments: Any) -> None:
        """Create; something of that name that is there already was made by an earlier attempt."""
        try:
            self._call(method, *arguments)
        except ClusterConflict as exc:
            if exc.facts.get("reason") != "AlreadyExists":
                raise

    def _found(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return self._call(method, *arguments, **options)
        except ClusterRejected as exc:
            if exc.facts.get("code") == 404:
                return None
            raise

    def _call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, _request_timeout=self._timeout, **options)
        except (ApiException, urllib3.exceptions.HTTPError) as exc:
            raise self._error(exc) from exc

    def _error(self, exc: Exception) -> PipelineError:
        if not isinstance(exc, ApiException) or not exc.status:
            return ClusterUnreachable(
                f"The cluster at {self._host} cannot be reached ({type(exc).__name__}); check the kubeconfig and the network."
            )
        reason, message = _status(exc)
        facts = {"code": exc.status, "reason": reason}
        if exc.status == 409:
            return ClusterConflict(f"The cluster reports a conflict: {message}.", **facts)
        if exc.status in (429, 500, 502, 503, 504):
            return ClusterUnreachable(f"The cluster at {self._host} answered HTTP {exc.status}: {message}.", **facts)
        if exc.status == 401:
            return ClusterRejected(
                f"The cluster at {self._host} does not accept the credentials of the kubeconfig (HTTP 401): renew them.", **facts
            )
        return ClusterRejected(f"The cluster refused: {message}.", **facts)


def _status(exc: ApiException) -> tuple[str, str]:
    try:
        status = json.loads(exc.body or "")
        return str(status.get("reason", "")), str(status.get("message", exc.reason)).rstrip(".")
    except (TypeError, ValueError, AttributeError):
        return "", str(exc.reason)
