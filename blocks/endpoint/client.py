"""Asks one endpoint over kept connections. HTTP errors and time-outs of a question are answers here: verification judges them."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx

from blocks.endpoint import protocol
from blocks.endpoint.load import measure
from blocks.errors import EndpointRejected, EndpointUnreachable
from blocks.facts import Answer, EngineMetrics, Load, ServedModel

#: More than an engine has to say about itself, in bytes; what goes on for longer is no engine.
LARGEST_STATEMENT_BYTES = 8 << 20

#: A request ends so long after httpx's own time-outs, in seconds: those tell a connection that cannot be had from a silent one.
GRACE_SECONDS = 0.25


def unauthorized(key_secret: str) -> str:
    """What a 401 means, and what to do: vLLM answers it on all below /v1 where it was started with a key, and another or none comes along.

    Args:
        key_secret: The Secret that the key came from; empty where none was sent.
    """
    if not key_secret:
        return "it asks for a key, and was sent none; api_key_secret in the environment's file names the Secret that has it"
    return (
        f"it asks for another key than the Secret {key_secret} has now; engines read it when they start, "
        "so restart the model's pods (kubectl rollout restart) or put the former key back"
    )


class EndpointClient:
    """Asks one endpoint.

    Args:
        endpoint: How errors name it.
        base_url: Where it is.
        headers: Sent with every request.
        tls: For https.
        timeout_seconds: How long one request may take in all, whatever trickles in meanwhile.
        key_secret: The Secret that the key among the headers comes from; empty where there is none.
    """

    def __init__(
        self,
        endpoint: str,
        base_url: str,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None,
        timeout_seconds: float,
        key_secret: str = "",
    ) -> None:
        self._endpoint = endpoint
        self._base_url = base_url
        self._headers = {**headers, "Accept-Encoding": "identity"}
        self._tls = tls
        self._timeout_seconds = timeout_seconds
        self._key_secret = key_secret
        # No proxy of the environment: these are addresses of the cluster.
        self._client = httpx.AsyncClient(
            base_url=base_url, headers=self._headers, verify=tls or True, timeout=timeout_seconds, trust_env=False
        )
        # A loop of its own, for whichever threads ask: only there can a request be ended whatever trickles in, its head included.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"ask {endpoint}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def health(self) -> int | None:
        """The HTTP status of `/health`; none where no answer came in time.

        Raises:
            EndpointUnreachable: Nothing answered.
        """
        return self._request("GET", "/health")[0]

    def models(self) -> tuple[ServedModel, ...]:
        """What `/v1/models` lists.

        Raises:
            EndpointUnreachable: Nothing answered, or it is not ready.
            EndpointRejected: The answer is not vLLM's.
        """
        return protocol.served_models(self._told("GET", "/v1/models"), self._endpoint)

    def version(self) -> str:
        """The engine's version, by `/version`.

        Raises:
            EndpointUnreachable: Nothing answered, or it is not ready.
            EndpointRejected: The answer is not vLLM's.
        """
        return protocol.version(self._told("GET", "/version"), self._endpoint)

    def metrics(self) -> EngineMetrics:
        """What the engine has counted so far, by `/metrics`.

        Raises:
            EndpointUnreachable: Nothing answered, or it is not ready.
            EndpointRejected: The answer is not vLLM's.
        """
        return protocol.metrics(self._told("GET", "/metrics"), self._endpoint)

    def exposition(self) -> str:
        """All that the engine has counted so far, as Prometheus reads it.

        Raises:
            EndpointUnreachable: Nothing answered, or it is not ready.
            EndpointRejected: The answer is no text, or longer than an engine's.
        """
        return protocol.exposition(self._told("GET", "/metrics"), self._endpoint)

    def tokenize(self, model: str, text: str, *, special: bool = True) -> tuple[int, ...]:
        """The tokens of a text, by `/tokenize`; `special` adds what the tokenizer puts before a prompt.

        Raises:
            EndpointUnreachable: Nothing answered, or it is not ready.
            EndpointRejected: The answer is not vLLM's.
        """
        body = {"model": model, "prompt": text, "add_special_tokens": special}
        return protocol.tokens(self._told("POST", "/tokenize", body), self._endpoint)

    def complete(self, model: str, prompt: str, max_tokens: int) -> Answer:
        """A greedy completion. Raises as `ask` does."""
        return self.ask("/v1/completions", {"model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0})

    def ask(self, path: str, body: Mapping[str, Any], *, patience: float = 1.0) -> Answer:
        """Post a request for a completion or a chat completion, streamed or not, and read the whole answer.

        Args:
            path: Where to.
            body: The request.
            patience: How many times the time-out to wait, for what is known to take longer.

        Raises:
            EndpointUnreachable: Nothing can be connected to, or the connection broke.
            EndpointRejected: It answered with 200 and something that is no completion.
        """
        begin = time.perf_counter()
        timeout_seconds = self._timeout_seconds * patience
        status, content = self._request("POST", path, body, timeout_seconds, protocol.largest_answer(body))
        seconds = time.perf_counter() - begin
        if status is None:
            return Answer(status=None, seconds=seconds, error=f"no answer within {timeout_seconds:g} s")
        if status != 200:
            return protocol.refusal(status, content, seconds)
        return protocol.answer(content, seconds, streamed=bool(body.get("stream")), endpoint=self._endpoint, path=path)

    def load(self, path: str, bodies: Sequence[Mapping[str, Any]], *, concurrency: int, budget_seconds: float) -> Load:
        """Post all bodies in a closed loop: `concurrency` of them are under way at any time. See `blocks.endpoint.load.measure`.

        Raises:
            EndpointUnreachable: Nothing can be connected to.
        """
        try:
            return asyncio.run(
                measure(
                    self._base_url + path,
                    self._headers,
                    self._tls,
                    bodies,
                    concurrency=concurrency,
                    timeout_seconds=self._timeout_seconds,
                    budget_seconds=budget_seconds,
                )
            )
        except (OSError, TimeoutError) as exc:
            raise EndpointUnreachable(f"{self._endpoint} cannot be connected to ({type(exc).__name__}).") from exc

    def _told(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        status, content = self._request(method, path, body)
        if status is None:
            raise EndpointUnreachable(f"{self._endpoint} did not answer {path} within {self._timeout_seconds:g} s.")
        # 503 is the API server's word for a Service without a ready pod.
        if status in (502, 503, 504):
            raise EndpointUnreachable(f"{self._endpoint} answered HTTP {status} for {path}.")
        if status == 401:
            raise EndpointRejected(f"{self._endpoint} answered {path} with HTTP 401: {unauthorized(self._key_secret)}.")
        if status != 200:
            raise EndpointRejected(f"{self._endpoint} answered {path} with HTTP {status}; is it vLLM?")
        return content

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
        most_bytes: int = LARGEST_STATEMENT_BYTES,
    ) -> tuple[int | None, bytes]:
        """Status and content; no status where the answer was not complete in time."""
        exchanged = self._exchange(method, path, body, timeout_seconds or self._timeout_seconds, most_bytes)
        return asyncio.run_coroutine_threadsafe(exchanged, self._loop).result()

    async def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_seconds: float, most_bytes: int
    ) -> tuple[int | None, bytes]:
        content = bytearray()
        try:
            # httpx limits each silence and not the whole: a byte now and then would hold a check for ever.
            async with asyncio.timeout(timeout_seconds + GRACE_SECONDS):
                # Streamed, though it is read whole: only so its size can be limited.
                async with self._client.stream(method, path, json=body, timeout=timeout_seconds) as response:
                    # As it comes over the wire: unpacked, a few kilobytes may become gigabytes before anybody can count them.
                    if (packed := response.headers.get("content-encoding", "identity")).lower() != "identity":
                        raise EndpointRejected(
                            f"{self._endpoint} answered {path} packed ({packed[:40]!r}), though it was asked not to; is it vLLM?"
                        )
                    async for piece in response.aiter_raw():
                        content += piece
                        if len(content) > most_bytes:
                            raise EndpointRejected(
                                f"{self._endpoint} answered {path} with more than {most_bytes} bytes, and was asked for less; is it vLLM?"
                            )
        # Connected and silent says something of the engine; a connection that cannot be had says it of the way there.
        except (httpx.ReadTimeout, httpx.WriteTimeout, TimeoutError):
            return None, b""
        except httpx.HTTPError as exc:
            raise EndpointUnreachable(f"{self._endpoint} did not answer {path} ({type(exc).__name__}).") from exc
        return response.status_code, bytes(content)
