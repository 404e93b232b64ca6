"""One pool of connections to an API server, and what its errors mean."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlencode

import urllib3
import urllib3.exceptions

from blocks.errors import ClusterConflict, ClusterRejected, ClusterUnreachable, PipelineError
from blocks.kubeconfig import ClusterAccess

#: Bytes of a log that are read; 400 lines of an engine are 0.1 MB.
_LONGEST_LOG = 16 << 20


class Document(dict[str, Any]):
    """An object as the API server has it, or a part of one: `pod.spec.nodeName` is that field, none where it is not set.

    `items`, `keys` and the like stay a dictionary's own.
    """

    def __getattr__(self, field: str) -> Any:
        if field.startswith("__"):  # what `copy` and `pickle` look for
            raise AttributeError(field)
        return self.get(field)


def path_of(namespace: str, plural: str, name: str = "", *, group: str = "") -> str:
    """Where objects of a kind are in a namespace, or one of them: `/apis/batch/v1/namespaces/NAMESPACE/jobs/NAME`.

    Args:
        namespace: The namespace.
        plural: The kind, as paths call it.
        name: The object's name; empty for all of them.
        group: Group and version; empty for the core group, which has a path of its own.
    """
    of_group = f"/apis/{group}" if group else "/api/v1"
    return f"{of_group}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


def selector(labels: Mapping[str, str]) -> str:
    """Labels as a selector: `key=value,…`, sorted."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


class KubernetesApi:
    """Calls the API server; what the clients of all blocks that do so have.

    Not by the Kubernetes client, whose methods and models take longer to import than a look at a cluster takes, in each run anew.

    Args:
        access: Where it is, and who we are.
        timeout_seconds: How long one request may take.
    """

    def __init__(self, access: ClusterAccess, timeout_seconds: float) -> None:
        self.host = access.host
        self._access, self._timeout = access, timeout_seconds
        self._versions: dict[tuple[str, str], str] = {}

    def close(self) -> None:
        """Close all connections."""
        self._access.pool.clear()

    def remember(self, namespace: str, name: str, version: str) -> None:
        """Note which version of an object was read last."""
        self._versions[namespace, name] = version

    def wait(self, path: str, namespace: str, name: str, seconds: float) -> None:
        """Wait until the object changes since the version that is remembered, `seconds` at most.

        A watch that ends with its first event.

        Args:
            path: Where objects of its kind are listed.
            namespace: Where it is.
            name: Its name.
            seconds: The longest wait.
        """
        # Whole seconds; 0 would leave it to the server, which takes half an hour and more.
        longest = max(1, round(seconds))
        query = {"watch": "true", "fieldSelector": f"metadata.name={name}", "timeoutSeconds": str(longest)}
        # Without one the API server begins with what is there: an object that was never read is not waited for.
        if (version := self._versions.get((namespace, name))) is not None:
            query["resourceVersion"] = version
        try:
            # The server is silent for as long as nothing changes, and its answer takes its time besides.
            with self._sent("GET", path, query, silent_seconds=longest) as response:
                next(response.stream(), None)
        except ClusterRejected as exc:
            if exc.facts.get("code") != 410:  # too old a version: there are changes
                raise

    def create(self, path: str, body: Mapping[str, Any]) -> None:
        """Create an object; one of that name that is there already was made by an earlier attempt.

        Args:
            path: Where objects of its kind are listed.
            body: The object.
        """
        try:
            self.call("POST", path, body=body)
        except ClusterConflict as exc:
            # 409 is also said where somebody else changed the object.
            if exc.facts.get("reason") != "AlreadyExists":
                raise

    def patch(self, path: str, body: Mapping[str, Any], *, missing_ok: bool = False) -> None:
        """Change these fields of an object, each to its whole new value (a merge patch); none takes a field away. Errors as of `call`.

        Args:
            path: The object's.
            body: The fields.
            missing_ok: Whether nothing is to be done if the object is not there.
        """
        change = self._unless_missing if missing_ok else self.call
        change("PATCH", path, body=body, content_type="application/merge-patch+json")

    def delete(self, path: str) -> None:
        """Delete an object, and in time what it owns; nothing happens if it is not there."""
        # Said, as the API orphans the pods of a Job that is deleted without a word (batch/v1).
        self._unless_missing("DELETE", path, {"propagationPolicy": "Background"})

    def find(self, path: str) -> Document | None:
        """The object; none if it is not there. Errors as of `call`."""
        return self._unless_missing("GET", path)

    def list(self, path: str, *, labels: str = "", fields: str = "") -> list[Document]:
        """The objects that these selectors choose, in one request; errors as of `call`."""
        chosen = {"labelSelector": labels, "fieldSelector": fields}
        return list(self.call("GET", path, {name: value for name, value in chosen.items() if value})["items"])

    def log(self, path: str, **query: str) -> str:
        """A container's log as text, 16 MiB at most: `path` is its pod's; errors as of `call`."""
        # Lines are the program's own, and may have no end.
        with self._sent("GET", f"{path}/log", {"limitBytes": str(_LONGEST_LOG), **query}) as response:
            return str(response.data.decode(errors="replace"))

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        content_type: str = "application/json",
    ) -> Document:
        """What the API server answers, in one request with our time limit.

        Raises:
            ClusterUnreachable: The API server did not answer, or cannot now.
            ClusterConflict: The object is there already, or changed meanwhile.
            ClusterRejected: It refuses, or what answers is no API server.
        """
        with self._sent(method, path, query or {}, body, content_type) as response:
            text = response.data
        try:
            answer = json.loads(text, object_hook=Document)
        except ValueError:
            answer = None
        if not isinstance(answer, Document):
            raise ClusterRejected(f"What answers at {self.host} is no Kubernetes API server; check the kubeconfig.")
        return answer

    def _unless_missing(self, method: str, path: str, query: Mapping[str, str] | None = None, **request: Any) -> Document | None:
        try:
            return self.call(method, path, query, **request)
        except ClusterRejected as exc:
            if exc.facts.get("code") == 404:
                return None
            raise

    @contextmanager
    def _sent(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        content_type: str = "application/json",
        *,
        silent_seconds: float = 0,
    ) -> Iterator[Any]:
        """The answer, before its body is read; whatever goes wrong until the end of the block is one of our errors."""
        headers = {"Accept": "application/json, */*", "User-Agent": "slipway", **self._access.headers()}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            response = self._access.pool.request(
                method,
                f"{self.host}{path}" + (f"?{urlencode(query)}" if query else ""),
                body=None if body is None else json.dumps(body),
                headers=headers,
                timeout=urllib3.Timeout(connect=self._timeout, read=self._timeout + silent_seconds),
                preload_content=False,
                # urllib3 would send a request again by itself, writes too: whoever repeats one looks first whether it arrived. Nor does it
                # follow redirects then, with our token.
                retries=False,
            )
            # A connection whose answer was read to its end is back in the pool by then; that of a watch ends here.
            with closing(response):
                if not 200 <= response.status <= 299:
                    raise self._refusal(path, response.status, response.reason or "", response.data)
                yield response
        except urllib3.exceptions.HTTPError as exc:
            if (why := _untrusted(exc)) is not None:
                raise ClusterRejected(
                    f"The certificate of the cluster at {self.host} is not trusted ({why}): the kubeconfig names another authority "
                    "than the one that signed it, or another address, or it has expired; renew the kubeconfig."
                ) from exc
            raise ClusterUnreachable(
                f"The cluster at {self.host} cannot be reached ({type(exc).__name__}); check the kubeconfig and the network."
            ) from exc

    def _is_going(self, namespace: str) -> bool:
        """Whether the namespace is being deleted; no, if that cannot be told."""
        try:
            return self.call("GET", f"/api/v1/namespaces/{namespace}").metadata.deletionTimestamp is not None
        except PipelineError:
            return False

    def _refusal(self, path: str, code: int, said: str, body: bytes) -> PipelineError:
        reason, message = _status(body, said)
        facts = {"code": code, "reason": reason}
        if code == 409:
            return ClusterConflict(f"The cluster reports a conflict: {message}.", **facts)
        # 429: priority and fairness turns requests away while the server is busy. 500: etcd is slow, or has no leader. The API server has
        # no others that pass; load balancers do: 408, and those above 504 (507, 520 to 530).
        if code in (408, 429) or (code >= 500 and code not in (501, 505)):
            return ClusterUnreachable(f"The cluster at {self.host} answered HTTP {code}: {message}.", **facts)
        if code == 401:
            return ClusterRejected(
                f"The cluster at {self.host} does not accept the credentials of the kubeconfig (HTTP 401): the token or certificate was "
                "revoked or has expired, so renew it.",
                **facts,
            )
        if code < 400:
            return ClusterRejected(f"What answers at {self.host} is no Kubernetes API server (HTTP {code}); check the kubeconfig.", **facts)
        if code == 403 and (namespace := _namespace(path)) and self._is_going(namespace):
            return ClusterRejected(f"{_TERMINATING}: its rights went before it (The cluster refused: {message}.).", **facts)
        if "because it is being terminated" in message:
            return ClusterRejected(f"{_TERMINATING} ({message}).", **facts)
        return ClusterRejected(f"The cluster refused: {message}.", **facts)


_TERMINATING = "The namespace is being deleted; wait until it is gone, and install the environment anew (docs/environments.md)"


def _namespace(path: str) -> str:
    """The namespace that a path is in; empty for what is in none, and for a namespace itself."""
    found = re.search(r"/namespaces/([^/]+)/", path)
    return found[1] if found is not None else ""


def _untrusted(exc: BaseException) -> str | None:
    """Why the server's certificate was not accepted; none if that is not what went wrong."""
    seen: BaseException | None = exc
    while seen is not None:
        # urllib3 keeps the error within its own.
        found = next((arg for arg in (seen, *seen.args) if isinstance(arg, ssl.SSLCertVerificationError)), None)
        if found is not None:
            return found.verify_message.rstrip(".")
        seen = (
            getattr(seen, "reason", None)
            if isinstance(getattr(seen, "reason", None), BaseException)
            else seen.__cause__ or seen.__context__
        )
    said = re.search(r"certificate verify failed: ([^(\]\n]{1,200})", str(exc))
    return said[1].strip() if said is not None else None


def _status(body: bytes, said: str) -> tuple[str, str]:
    try:
        status = json.loads(body)
        return str(status.get("reason") or ""), str(status.get("message") or said).rstrip(".")
    # A load balancer in between answers in its own words, without a Status object.
    except (TypeError, ValueError, AttributeError):
        return "", said
