"""Looks at many endpoints at once: `/health`, and a completion of one token, for an engine may be healthy and unable to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from blocks.endpoint.block import EndpointAccess
from blocks.endpoint.client import unauthorized
from blocks.errors import EndpointRejected

#: An endpoint's two requests go over one connection; the next endpoint's over another.
_ONE = httpx.Limits(max_connections=2, max_keepalive_connections=1)

#: More than the answer with one token has. It is not looked into: the status decides.
LARGEST_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What to probe at.

    Attributes:
        endpoint: Host and port.
        model: The name that it serves.
    """

    endpoint: str
    model: str


async def probe_all(access: EndpointAccess, probes: Sequence[Probe], *, at_once: int, timeout_seconds: float) -> list[str | None]:
    """What is wrong with each endpoint, in words; None for one that answers as it should.

    Args:
        access: How they are reached.
        probes: The endpoints, in the order of the answer.
        at_once: How many are looked at at the same time.
        timeout_seconds: What each of an endpoint's two answers may take.
    """
    found: list[str | None] = [None] * len(probes)
    # They share one iterator, so that there are never more tasks than probes at once, however many endpoints there are.
    left = iter(enumerate(probes))
    tls = access.tls or httpx.create_ssl_context()

    async def worker() -> None:
        # A client of its own: one pool for all goes through all of its connections at each request.
        async with httpx.AsyncClient(headers=access.headers, verify=tls, timeout=timeout_seconds, limits=_ONE, trust_env=False) as client:
            for number, probe in left:
                found[number] = await _probe(client, access, probe, timeout_seconds)

    await asyncio.gather(*(worker() for _ in range(min(at_once, len(probes)))))
    return found


async def _probe(client: httpx.AsyncClient, access: EndpointAccess, probe: Probe, seconds: float) -> str | None:
    body: dict[str, object] = {"model": probe.model, "prompt": "Hello", "max_tokens": 1, "temperature": 0}
    path = "/health"
    try:
        base_url = access.base_url(probe.endpoint)
        status = await _status(client, seconds, "GET", base_url + path)
        # vLLM 0.32 answered so with its engine core stopped, and generated nothing.
        if status == 200:
            path = "/v1/completions"
            status = await _status(client, seconds, "POST", base_url + path, body)
    except EndpointRejected as exc:
        return exc.message
    # The last one: a host's name that is none, which Python finds only when it encodes it.
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as exc:
        return f"{path} did not answer ({type(exc).__name__})"
    if status == 401:
        return f"{path} answered HTTP 401: {unauthorized(access.key_secret)}"
    return None if status == 200 else f"{path} answered HTTP {status}"


async def _status(client: httpx.AsyncClient, seconds: float, method: str, url: str, body: dict[str, object] | None = None) -> int:
    """The status of an answer, which is read to its end (so that its connection is kept) and never kept."""
    received = 0
    try:
        # httpx limits each silence and not the whole: a byte now and then would hold one of the places for ever.
        async with asyncio.timeout(seconds), client.stream(method, url, json=body) as response:
            async for piece in response.aiter_raw():
                received += len(piece)
                if received > LARGEST_ANSWER_BYTES:
                    raise EndpointRejected(f"{urlsplit(url).path} answered with more than {LARGEST_ANSWER_BYTES} bytes")
            return response.status_code
    except TimeoutError as exc:
        raise httpx.ReadTimeout("not complete in time") from exc
