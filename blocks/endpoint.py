"""A model's endpoint: vLLM's HTTP, reached by DNS name inside the cluster or through the API server's service proxy outside."""

from __future__ import annotations

import re
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import httpx
from prefect.blocks.core import Block
from pydantic import Field

from blocks.errors import EndpointRejected, EndpointUnreachable
from blocks.facts import Answer, ServedModel
from blocks.kubeconfig import bearer_headers, load_configuration, tls_context

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

    def client(self, endpoint: str) -> EndpointClient:
        """A client for the endpoint `host:port`; use it as a context manager.

        Raises:
            EndpointRejected: It is not a cluster-internal service address.
            ClusterRejected: The kubeconfig or its context does not exist.
        """
        base_url, headers, tls = self.target(endpoint)
        client = httpx.Client(base_url=base_url, headers=headers, verify=tls or True, timeout=self.timeout_seconds, trust_env=False)
        return EndpointClient(endpoint, client)

    def target(self, endpoint: str) -> tuple[str, dict[str, str], ssl.SSLContext | None]:
        """How `host:port` is reached from here: base URL, headers, and the TLS context (none for plain HTTP).

        Raises:
            EndpointRejected: It is not a cluster-internal service address.
            ClusterRejected: The kubeconfig or its context does not exist.
        """
        door = self.door()
        return door.base_url(endpoint), door.headers, door.tls

    def door(self) -> Door:
        """What is the same for all endpoints: read the kubeconfig once, ask many.

        Raises:
            ClusterRejected: The kubeconfig or its context does not exist.
        """
        if self.via == "dns":
            return Door(api_server=None, headers={}, tls=None)
        configuration = load_configuration(self.kubeconfig, self.context)
        return Door(api_server=str(configuration.host), headers=bearer_headers(configuration), tls=tls_context(configuration))


@dataclass(frozen=True, kw_only=True)
class Door:
    """How the endpoints of an environment are reached from here.

    Attributes:
        api_server: The API server whose service proxy is used; None where their DNS names can be resolved.
        headers: To be sent along.
        tls: How to check the server's certificate; None for plain HTTP.
    """

    api_server: str | None
    headers: dict[str, str]
    tls: ssl.SSLContext | None

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
        service = f"{match['service']}:{match['port']}"
        return f"{self.api_server}/api/v1/namespaces/{match['namespace']}/services/{service}/proxy"


class EndpointClient:
    """Asks one endpoint over one kept connection. HTTP errors are answers here, not exceptions: verification judges them."""

    def __init__(self, endpoint: str, client: httpx.Client) -> None:
        self._endpoint = endpoint
        self._client = client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def health(self) -> int:
        """The HTTP status of `/health`.

        Raises:
            EndpointUnreachable: Nothing answered.
        """
        return self._request("GET", "/health").status_code

    def models(self) -> tuple[ServedModel, ...]:
        """What `/v1/models` lists.

        Raises:
            EndpointUnreachable: Nothing answered, or it is not ready.
            EndpointRejected: The answer is not vLLM's.
        """
        response = self._request("GET", "/v1/models")
        if response.status_code in (502, 503, 504):
            raise EndpointUnreachable(f"{self._endpoint} answered HTTP {response.status_code} for /v1/models.")
        try:
            return tuple(
                ServedModel(name=str(line["id"]), root=str(line["root"]), max_model_len=line.get("max_model_len"))
                for line in response.json()["data"]
            )
        except (ValueError, KeyError, TypeError) as exc:
            raise EndpointRejected(
                f"{self._endpoint} answered /v1/models with HTTP {response.status_code} and no list of models; is it vLLM?"
            ) from exc

    def complete(self, model: str, prompt: str, max_tokens: int) -> Answer:
        """A greedy completion.

        Raises:
            EndpointUnreachable: Nothing answered in time.
        """
        return self._answer(
            "/v1/completions", {"model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0}, _completion_text
        )

    def chat(self, model: str, message: str, max_tokens: int) -> Answer:
        """A greedy chat completion of one user message.

        Raises:
            EndpointUnreachable: Nothing answered in time.
        """
        messages = [{"role": "user", "content": message}]
        body = {"model": model, "messages": messages, "max_tokens": max_tokens, "temperature": 0}
        return self._answer("/v1/chat/completions", body, _chat_text)

    def _answer(self, path: str, body: dict[str, Any], text_of: Any) -> Answer:
        begin = time.perf_counter()
        response = self._request("POST", path, body)
        seconds = time.perf_counter() - begin
        if response.status_code != 200:
            return Answer(status=response.status_code, seconds=seconds, error=_error_message(response))
        try:
            data = response.json()
            choice = data["choices"][0]
            return Answer(
                status=200,
                seconds=seconds,
                text=text_of(choice),
                finish_reason=choice["finish_reason"],
                completion_tokens=int(data["usage"]["completion_tokens"]),
            )
        except (ValueError, KeyError, TypeError, IndexError) as exc:
            raise EndpointRejected(f"{self._endpoint} answered {path} with HTTP 200 but not with a completion; is it vLLM?") from exc

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        try:
            return self._client.request(method, path, json=body)
        except httpx.HTTPError as exc:
            raise EndpointUnreachable(f"{self._endpoint} did not answer {path} ({type(exc).__name__}).") from exc


def _completion_text(choice: dict[str, Any]) -> str:
    return str(choice["text"])


def _chat_text(choice: dict[str, Any]) -> str:
    return str(choice["message"]["content"])


def _error_message(response: httpx.Response) -> str:
    try:
        data = response.json()
        return str(data["error"]["message"] if "error" in data else data["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
